/**
 * Runs in an emulated machine whose agent serves CSI. `node-volumes.ts make` makes a volume in each
 * pool and leaves data in it; `check` looks what is left of them after a boot, before anybody asked
 * for them; `missing POOL...` finds those pools away and the others well.
 */
import assert from 'node:assert/strict';
import { open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../../src/runtime/child-process.ts';
import type { AgentStatus } from '../../../src/core/inventory/agent-status.ts';
import { waitFor } from '../../cluster/wait.ts';
import { fillAsPod } from '../../integration/storage/storage-lab.ts';
import { connectKubelet } from './kubelet.ts';

const KEPT = '/root/volumes.json';
/** What volumes hold, below where the pool keeps them while they are staged. */
const POOLS: Readonly<Record<string, (id: string) => string>> = {
  subvolumes: (id) => `/var/lib/keelson/pools/subvolumes/volumes/${id}`,
  files: (id) => `/var/lib/keelson/mounts/files/${id}`,
  directories: (id) => `/srv/data/volumes/${id}/data`,
  devices: (id) => `/var/lib/keelson/mounts/devices/${id}`,
};
const TEXT = 'synced before the machine went down';
const LIMIT = { writeBandwidth: '32Mi' };

type Kept = Readonly<Record<string, string>>;

const [verb, ...away] = process.argv.slice(2);
using kubelet = connectKubelet();
await kubelet.probe();
if (verb === 'make') await make();
else await check(JSON.parse(await readFile(KEPT, 'utf8')) as Kept);
console.log(`${verb}: well, ${Object.keys(POOLS).length - away.length} pools`);

async function make(): Promise<void> {
  const kept: Record<string, string> = {};
  for (const pool of Object.keys(POOLS)) {
    const isImage = pool === 'files' || pool === 'devices';
    const id = await kubelet.create({ name: `in ${pool}`, pool, ...(isImage && { mutable: LIMIT }) });
    kept[pool] = id;
    await using file = await open(join(await kubelet.publish(id), 'text'), 'w');
    await file.writeFile(TEXT);
    await file.sync();
  }
  await writeFile(KEPT, JSON.stringify(kept));
  await runCommand('sync', []);
}

async function check(kept: Kept): Promise<void> {
  // First what the agent has restored by itself: no call for a volume was made since the boot.
  for (const [pool, place] of Object.entries(POOLS)) {
    if (away.includes(pool)) continue;
    await isHeld(place(kept[pool] ?? ''));
  }
  const status = await readStatus();
  assert.deepEqual(
    { orphans: status.orphans, quarantined: status.quarantined },
    { orphans: [], quarantined: [] },
  );
  for (const { name, problem } of status.pools) {
    if (away.includes(name)) assert.match(problem ?? '', new RegExp(`pool ${name}\\b`));
    else assert.equal(problem, undefined, `pool ${name}`);
  }
  for (const pool of away) await isRefused(pool, kept[pool] ?? '');
  // Then as kubelet does after a boot.
  for (const [pool, id] of Object.entries(kept)) {
    if (!away.includes(pool)) await isHeld(await kubelet.publish(id));
  }
}

async function isHeld(place: string): Promise<void> {
  assert.equal(await readFile(join(place, 'text'), 'utf8'), TEXT, place);
  assert.match(
    await fillAsPod(join(place, 'more'), 72),
    /^(ENOSPC|EDQUOT)$/,
    `${place} is written beyond its size`,
  );
  await rm(join(place, 'more'));
}

/** Nothing of it can be used, and nothing is made where its file system should be. */
async function isRefused(pool: string, id: string): Promise<void> {
  await assert.rejects(kubelet.publish(id), { message: new RegExp(`pool ${pool}`) });
  await assert.rejects(kubelet.create({ name: 'never', pool }), { message: new RegExp(`pool ${pool}`) });
  const root = pool === 'directories' ? '/srv/data' : `/var/lib/keelson/pools/${pool}`;
  assert.equal((await stat(root)).dev, (await stat('/')).dev, `${root} is on the root disk now`);
  assert.deepEqual(await readdir(root), []);
}

async function readStatus(): Promise<AgentStatus> {
  const read = async (): Promise<AgentStatus | undefined> => {
    const { stdout } = await runCommand('/opt/keelson/current/bin/keelson', ['status', '-o', 'json']);
    const status = JSON.parse(stdout) as AgentStatus;
    const isSettled = status.pools.every(
      ({ name, problem }) => away.includes(name) === (problem !== undefined),
    );
    if (!isSettled) throw new Error(JSON.stringify(status.pools));
    return status;
  };
  return await waitFor('pools are as they should be', read, { timeoutMs: 900_000, everyMs: 5_000 });
}
