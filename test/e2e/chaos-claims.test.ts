import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiServerDown } from '../cluster/faults.ts';
import { type ClaimsLab, claimOf, startClaimsLab } from './claims-lab.ts';

/** `KEELSON_CHAOS=full` runs what the list of proofs asks for; that takes a quarter of an hour. */
const FULL = process.env['KEELSON_CHAOS'] === 'full';
const KILLS = FULL ? 50 : 12;
const OUTAGE_MS = FULL ? 60_000 : 15_000;

/**
 * Claims come and go while what serves them is killed. In the end there is one volume for each
 * claim, and none besides.
 */
describe('kills while claims are created and deleted', { timeout: 1_800_000 }, () => {
  let lab: ClaimsLab;
  let count = 0;

  beforeAll(async () => {
    lab = await startClaimsLab({ poolSize: '8Gi' });
  }, 900_000);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  }, 120_000);

  test(`the controller, ${KILLS} times: exactly one volume for each claim`, async () => {
    const kept = await churnClaims(KILLS, async () => {
      await (await lab.cluster.keelson()).killController();
    });
    await lab.expectOneEach(kept);
    await removeAll(kept);
  });

  test(`the agents, ${KILLS} times: exactly one volume for each claim`, async () => {
    const nodes = [await lab.cluster.node('node-1'), await lab.cluster.node('node-2')];
    let turn = 0;
    const kept = await churnClaims(KILLS, async () => {
      const node = nodes[turn % nodes.length];
      turn += 1;
      await node?.killAgent();
    });
    await lab.expectOneEach(kept);
    await removeAll(kept);
  });

  test(`the API server, for ${OUTAGE_MS / 1_000} s: no volume is created or deleted without a request`, async () => {
    const early = await addClaims(10);
    await lab.expectOneEach(early);
    const before = await onDisk();
    const kept = await addClaims(10);
    await lab.remove(...early.slice(0, 5).map((name) => `pvc/${name}`));
    await apiServerDown(lab.cluster, OUTAGE_MS);
    await lab.expectOneEach([...early.slice(5), ...kept]);
    const after = await onDisk();
    const survivors = await Promise.all(
      early.slice(5).map(async (name) => (await lab.claim(name)).spec?.volumeName),
    );
    expect(before).toEqual(expect.arrayContaining(survivors));
    expect(after).toEqual(expect.arrayContaining(survivors));
    // A leader that could not renew its lease has ended, and the next one waits until that has run
    // out.
    await removeAll([...early.slice(5), ...kept], 180_000);
  });

  const addClaims = async (howMany: number): Promise<readonly string[]> => {
    const names = Array.from({ length: howMany }, () => {
      count += 1;
      return `chaos-${count}`;
    });
    const atOnce = { storageClassName: 'keelson-immediate' };
    await lab.apply(...names.map((name) => claimOf(name, '16Mi', atOnce)));
    return names;
  };

  /**
   * In each round three claims come, one of them goes at once, and `kill` strikes at another moment
   * of their making.
   */
  const churnClaims = async (rounds: number, kill: () => Promise<void>): Promise<readonly string[]> => {
    const kept: string[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const [hasty = '', ...others] = await addClaims(3);
      kept.push(...others);
      const going = lab.remove(`pvc/${hasty}`);
      await delay((round * 37) % 400);
      await kill();
      await going;
    }
    return kept;
  };

  const onDisk = async (): Promise<readonly string[]> =>
    [...(await lab.onDisk('node-1')), ...(await lab.onDisk('node-2'))].sort();

  const removeAll = async (claims: readonly string[], timeoutMs?: number): Promise<void> => {
    await lab.remove(...claims.map((name) => `pvc/${name}`));
    await lab.expectNothingLeft(timeoutMs);
  };
});
