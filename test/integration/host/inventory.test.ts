import { cpus, totalmem } from 'node:os';
import { expect, it } from 'vitest';
import { InventoryCollector } from '../../../node-agent/inventory/collector.ts';
import { systemFiles } from '../../../node-agent/inventory/file-reader.ts';
import { machineSources } from '../../../node-agent/inventory/sources.ts';
import { NODE_INVENTORY_KIND } from '../../../src/api/node-inventory.ts';
import { parseQuantity } from '../../../src/core/kube-text/quantity.ts';

const collect = () =>
  new InventoryCollector(
    machineSources(systemFiles, { architecture: process.arch, provenFeatures: [] }),
  ).collect();

it('reads this machine without a fault, in the form that the API takes', async () => {
  const { facts, problems } = await collect();
  expect(problems).toEqual([]);
  expect(NODE_INVENTORY_KIND.status.safeParse(facts).error).toBeUndefined();
  expect(facts.cpu?.threads).toBeGreaterThanOrEqual(cpus().length);
  expect(parseQuantity(facts.memory?.total ?? '', 'total')).toBe(BigInt(totalmem()));
  for (const disk of facts.disks ?? []) expect(disk.name).not.toMatch(/^(loop|zram|dm-)/);
});

it('finds the same the second time: nothing volatile is in it', async () => {
  expect((await collect()).facts).toEqual((await collect()).facts);
});
