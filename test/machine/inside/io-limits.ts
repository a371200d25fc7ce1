/**
 * Runs in an emulated machine whose agent serves CSI: `node io-limits.ts`. Pods are cgroups of
 * version 2 below `kubepods` here, as kubelet makes them.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { waitFor } from '../../cluster/wait.ts';
import { connectKubelet } from './kubelet.ts';

const PODS = '/sys/fs/cgroup/kubepods';
const MIB = 2 ** 20;

/**
 * Seconds that a pod's dd took by its own account: to start it takes long here, and is not limited.
 */
function secondsOf(...dd: readonly string[]): Promise<number> {
  return secondsOfPod('pod-0', 'dd', ...dd);
}

/** The same of several pods that begin together, the longest of them. */
async function secondsOfPods(pods: number, ...dd: readonly string[]): Promise<number> {
  const gate = await mkdtemp('/run/pods-');
  const script = `touch ${gate}/$$; until [ -e ${gate}/open ]; do sleep 0.1; done; exec dd "$@"`;
  const command = ['sh', '-c', script, 'sh', ...dd];
  const all = Promise.all(Array.from({ length: pods }, (_, pod) => secondsOfPod(`pod-${pod}`, ...command)));
  const isThere = async () => ((await readdir(gate)).length === pods ? true : undefined);
  await Promise.race([waitFor('all pods are there', isThere, { timeoutMs: 600_000, everyMs: 500 }), all]);
  await writeFile(`${gate}/open`, '');
  return Math.max(...(await all));
}

async function secondsOfPod(pod: string, ...command: readonly string[]): Promise<number> {
  await mkdir(join(PODS, pod), { recursive: true });
  const enter = 'echo $$ >"$0/cgroup.procs" && exec "$@"';
  const { stderr } = await runCommand('sh', ['-c', enter, join(PODS, pod), ...command], {
    env: { ...process.env, LC_ALL: 'C' },
    timeoutMs: 900_000,
  });
  const seconds = /copied, ([\d.]+) s,/.exec(stderr)?.[1];
  if (seconds === undefined) throw new Error(`dd said ${stderr}`);
  return Number(seconds);
}

/** What the kernel has for the device in the cgroup of all pods; undefined for nothing. */
async function limitsOf(device: string): Promise<string | undefined> {
  const text = await readFile(join(PODS, 'io.max'), 'utf8');
  return text.split('\n').find((line) => line.startsWith(`${device} `));
}

async function readBytes(device: string): Promise<number> {
  const text = await readFile(join(PODS, 'io.stat'), 'utf8');
  const line = text.split('\n').find((entry) => entry.startsWith(`${device} `));
  return Number(/rbytes=(\d+)/.exec(line ?? '')?.[1] ?? 0);
}

await test('limits of cgroup v2 hold for all pods together, change in use, and outlive the agent', async () => {
  await secondsOf('if=/dev/zero', 'of=/dev/null', 'count=1');
  using kubelet = connectKubelet();
  await kubelet.probe();
  const limit = (id: string, mutable_parameters: Record<string, string>) =>
    kubelet.controller('ControllerModifyVolume', { volume_id: id, mutable_parameters });
  const id = await kubelet.create({ name: 'limited', pool: 'files', form: 'block' });
  const target = await kubelet.publish(id, 'block');
  const { rdev } = await stat(target);
  const device = `${rdev >> 8}:${rdev & 0xff}`;
  const read = [`if=${target}`, 'of=/dev/null', 'iflag=direct', 'bs=256k'];
  const write = ['if=/dev/zero', `of=${target}`, 'oflag=direct', 'bs=256k'];
  const free = await secondsOf(...read, 'count=64');

  await limit(id, { readBandwidth: '1Mi', writeBandwidth: '1Mi' });
  assert.equal(await limitsOf(device), `${device} rbps=${MIB} wbps=${MIB} riops=max wiops=max`);
  // 16 MiB at 1 MiB/s. Lower bounds: a busy machine is only slower.
  const alone = await secondsOf(...read, 'count=64');
  assert.ok(alone > 12 && alone > free, `16 MiB were read in ${alone} s, and without a limit in ${free} s`);
  const together = await secondsOfPods(2, ...read, 'count=32');
  assert.ok(together > 12, `8 MiB were read by two pods each in ${together} s`);
  const written = await secondsOf(...write, 'count=64');
  assert.ok(written > 12, `16 MiB were written in ${written} s`);
  await limit(id, { readIOPS: '16' });
  const blocks = [`if=${target}`, 'of=/dev/null', 'iflag=direct', 'bs=4k', 'count=256'];
  const operations = await secondsOf(...blocks);
  assert.ok(operations > 12, `256 blocks were read in ${operations} s`);

  // In use: 32 MiB at 64 KiB/s would take 512 s.
  await limit(id, { readBandwidth: '64Ki' });
  const before = await readBytes(device);
  const slow = secondsOf(...read, 'count=128');
  const begun = async () => ((await readBytes(device)) > before ? true : undefined);
  await waitFor('the pod reads', begun, { timeoutMs: 600_000, everyMs: 500 });
  await limit(id, {});
  const inUse = await slow;
  assert.ok(inUse < 512, `with its limit lifted in use it took ${inUse} s`);
  assert.equal(await limitsOf(device), undefined);

  await limit(id, { writeIOPS: '100' });
  const kept = `${device} rbps=max wbps=max riops=max wiops=100`;
  assert.equal(await limitsOf(device), kept);
  await runCommand('systemctl', ['restart', 'keelson-agent'], { timeoutMs: 600_000 });
  await kubelet.probe();
  assert.equal(await limitsOf(device), kept);
  await kubelet.remove(id);
  assert.equal(await limitsOf(device), undefined);
  const said = Object.entries({ free, alone, together, written, operations, inUse });
  console.log(`# seconds: ${said.map(([name, seconds]) => `${name} ${seconds.toFixed(1)}`).join(', ')}`);
});
