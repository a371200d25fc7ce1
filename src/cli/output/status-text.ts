import type { AgentStatus } from '../../core/inventory/agent-status.ts';
import { formatBytes } from '../../core/kube-text/quantity.ts';
import { renderTable } from '../../runtime/text-table.ts';

const size = (bytes: string): string => formatBytes(BigInt(bytes));

/** Returns the status of an agent as tables; `wide` shows full container ids. */
export function renderStatus(status: AgentStatus, wide: boolean): string {
  const { network } = status;
  const sections = [
    `node ${status.nodeName}, keelson ${status.version}, up since ${status.startedAt}\n`,
    renderTable(
      ['POOL', 'BACKEND', 'QUOTA', 'SIZE', 'ALLOCATED', 'AVAILABLE'],
      status.pools.map((pool) => [
        pool.name,
        pool.backend,
        pool.quota,
        size(pool.totalBytes),
        size(pool.allocatedBytes),
        size(pool.availableBytes),
      ]),
    ),
    renderTable(
      ['VOLUME', 'NAME', 'POOL', 'SIZE', 'PUBLISHED AT'],
      status.volumes.map((volume) => [
        volume.id,
        volume.name,
        volume.pool,
        size(volume.sizeBytes),
        volume.published.join(', ') || '-',
      ]),
    ),
    renderTable(
      ['SNAPSHOT', 'NAME', 'OF VOLUME', 'SIZE'],
      status.snapshots.map((snapshot) => [
        snapshot.id,
        snapshot.name,
        snapshot.sourceVolumeId,
        size(snapshot.sizeBytes),
      ]),
    ),
    renderTable(
      ['ADDRESSES', 'TOTAL', 'IN USE', 'COOLING'],
      network.families.map((family) => [
        `IPv${family.family}`,
        family.total,
        String(family.inUse),
        String(family.cooling),
      ]),
    ),
    renderTable(
      ['POD', 'INTERFACE', 'ADDRESS', 'CONTAINER'],
      network.attachments.map((attachment) => [
        attachment.pod ?? '-',
        attachment.ifname,
        attachment.addresses.join(', '),
        wide ? attachment.containerId : attachment.containerId.slice(0, 12),
      ]),
    ),
    status.pools
      .map(({ name, problem }) => (problem === undefined ? '' : `pool ${name}: ${problem}\n`))
      .join(''),
    status.quarantined.map(({ file, reason }) => `quarantined: ${file}: ${reason}\n`).join(''),
    status.orphans.map(({ pool, id }) => `data without a record: ${id} in pool ${pool}\n`).join(''),
  ];
  return sections.filter((section) => section !== '').join('\n');
}
