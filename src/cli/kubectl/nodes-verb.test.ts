import { expect, test } from 'vitest';
import type { NodeInventory } from '../../api/node-inventory.ts';
import type { NodeFacts } from '../../core/why/facts.ts';
import { nodeRow, renderNodes } from './nodes-verb.ts';

const node = {
  name: 'n1',
  agent: { state: 'serves', version: '1' },
  isCordoned: false,
  taints: [],
  view: { name: 'n1', labels: {}, isUsable: true, pools: [] },
} as unknown as NodeFacts;
const pool = {
  backend: 'image',
  ready: true,
  capacity: '1Gi',
  allocated: '0',
  largestVolume: '1Gi',
  volumes: 0,
};
const inventory = {
  status: {
    storage: {
      capacity: '2Gi',
      allocated: '0',
      volumes: 0,
      pools: [
        { ...pool, name: 'fast', labels: { tier: 'gold', media: 'ssd' } },
        // An agent before labels says nothing of them.
        { ...pool, name: 'plain' },
      ],
    },
  },
} as NodeInventory;

test('the wide list shows by which labels classes select a pool', () => {
  const wide = renderNodes([nodeRow(node, inventory)], true);
  expect(wide).toMatch(/BACKEND +LABELS/);
  expect(wide).toMatch(/fast .* image +media=ssd,tier=gold /);
  expect(wide).toMatch(/plain .* image +-$/m);
  expect(renderNodes([nodeRow(node, inventory)], false)).not.toContain('media=ssd');
});
