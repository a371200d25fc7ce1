import { beforeEach, expect, it } from 'vitest';
import type { Attachment } from '../../../src/core/network/attachment.ts';
import { Fault } from '../../../src/core/fault.ts';
import { parseCidrs } from '../../../src/core/network/ipam-ranges.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { Firewall } from './firewall.ts';

/** An nftables that knows one table, as the text of the transactions since the last whole one. */
class FakeNft {
  readonly applied: string[] = [];
  table: string | undefined;
  refuseElements = false;

  async apply(script: string): Promise<void> {
    await Promise.resolve();
    const element = /^(add|delete) element/.test(script);
    if (element && (this.refuseElements || this.table === undefined))
      throw new Fault('precondition', 'no such table');
    this.applied.push(element ? script.trim() : 'whole');
    this.table = element ? `${this.table ?? ''}${script}` : script;
  }

  async list(): Promise<unknown> {
    return await Promise.resolve(this.table === undefined ? undefined : { nftables: [{ text: this.table }] });
  }
}

const attachment = {
  containerId: 'a',
  addresses: ['10.88.0.2'],
  portMappings: [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }],
} as unknown as Attachment;

let nft: FakeNft;
let living: Attachment[];
let firewall: Firewall;
beforeEach(async () => {
  nft = new FakeNft();
  living = [];
  firewall = new Firewall(
    { ranges: parseCidrs('ranges', ['10.88.0.0/24']), exclusions: [] },
    { nft, logger: silentLogger, attachments: () => living },
  );
  await firewall.apply();
});

it('touches single elements for a pod, and nothing for one without host ports', async () => {
  await firewall.open(attachment);
  await firewall.open({ ...attachment, portMappings: [] });
  expect(nft.applied.slice(1).join('\n')).toContain('add element inet keelson_network ports4 { tcp . 8080');
  expect(nft.applied).toHaveLength(2);
});

it('makes the whole table when an element is refused, from the attachments that live', async () => {
  nft.table = undefined;
  living = [attachment];
  await firewall.open(attachment);
  expect(nft.table).toContain('tcp . 8080 : 10.88.0.2 . 80');
  nft.refuseElements = true;
  living = [];
  await firewall.close(attachment);
  expect(nft.table).not.toContain('8080');
});

it('leaves a table alone that is as it was made', async () => {
  await firewall.verify();
  const before = nft.applied.length;
  expect(await firewall.verify()).toBe(false);
  expect(nft.applied).toHaveLength(before);
});

it.each([
  ['flushed', undefined],
  ['changed', 'something else'],
])('restores a table that was %s', async (_, found) => {
  await firewall.verify();
  const right = nft.table;
  nft.table = found;
  expect(await firewall.verify()).toBe(true);
  expect(nft.table).toBe(right);
});

it('does not take its own change for that of others', async () => {
  await firewall.verify();
  living = [attachment];
  await firewall.open(attachment);
  expect(await firewall.verify()).toBe(false);
  expect(nft.table).toContain('8080');
});
