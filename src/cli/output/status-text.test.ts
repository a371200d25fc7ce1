import { expect, test } from 'vitest';
import { renderStatus } from './status-text.ts';

test('renders a status as aligned tables without empty ones', () => {
  const text = renderStatus(
    {
      version: '0.1.0',
      nodeName: 'node-1',
      startedAt: '2026-11-21T10:00:00.000Z',
      sockets: { csi: '/run/keelson/csi.sock', cni: '/run/keelson/cni.sock' },
      pools: [
        {
          name: 'default',
          backend: 'btrfs',
          quota: 'simple',
          totalBytes: '21474836480',
          allocatedBytes: '1073741824',
          availableBytes: '20401094656',
        },
      ],
      volumes: [{ id: 'vol-1', name: 'pvc-1', pool: 'default', sizeBytes: '1073741824', published: [] }],
      snapshots: [],
      quarantined: [{ file: 'volumes/vol-2.json', reason: 'unexpected end of JSON' }],
      orphans: [{ pool: 'default', id: 'vol-3' }],
      network: { families: [{ family: 4, total: '253', inUse: 0, cooling: 1 }], attachments: [] },
    },
    false,
  );
  expect(text).toBe(`node node-1, keelson 0.1.0, up since 2026-11-21T10:00:00.000Z

POOL     BACKEND  QUOTA   SIZE    ALLOCATED  AVAILABLE
default  btrfs    simple  20 GiB  1 GiB      19 GiB

VOLUME  NAME   POOL     SIZE   PUBLISHED AT
vol-1   pvc-1  default  1 GiB  -

ADDRESSES  TOTAL  IN USE  COOLING
IPv4       253    0       1

quarantined: volumes/vol-2.json: unexpected end of JSON

data without a record: vol-3 in pool default
`);
});
