import { access, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentStatus } from '../core/inventory/agent-status.ts';
import { Fault } from '../core/fault.ts';
import { isServed } from '../runtime/unix-socket.ts';
import { getFromAgent } from '../runtime/admin-client.ts';
import { findDemos } from '../demo/demo-directory.ts';
import { readLoopDevices } from '../demo/machine-state.ts';
import { evaluatePreflight, type Finding, NODE_PROGRAMS, type Requirements } from '../preflight/preflight.ts';
import { probeMachine } from '../preflight/preflight-probe.ts';

interface DoctorOptions {
  readonly stateDir: string;
  readonly runDir: string;
  /** Parent of the demos' directories. */
  readonly demoDir: string;
  /** The machine's PATH. */
  readonly path: string;
  readonly signal: AbortSignal;
}

/** For the first small volumes; pools have checks of their own. */
const NODE_REQUIREMENTS: Requirements = {
  freeBytes: 2n ** 30n,
  filesystems: ['btrfs', 'overlay'],
  programs: NODE_PROGRAMS,
};

/** TMPFS_MAGIC (statfs(2)). */
const TMPFS = 0x01021994n;

/** Checks the machine, leftovers of earlier runs, and the agent if one was started before. */
export async function runDoctor(options: DoctorOptions): Promise<Finding[]> {
  const { stateDir, path, signal } = options;
  const machine = await probeMachine(NODE_REQUIREMENTS, { dataDir: stateDir, path, signal });
  const [leftovers, agent] = await Promise.all([checkLeftovers(options), checkAgent(options)]);
  return [...evaluatePreflight(machine, NODE_REQUIREMENTS), ...leftovers, ...agent];
}

async function checkLeftovers({ demoDir }: DoctorOptions): Promise<Finding[]> {
  const stale = (await findDemos(demoDir)).filter(({ state }) => state === 'stale');
  const orphans = (await readLoopDevices()).filter(({ file }) => file.endsWith(' (deleted)'));
  return [
    {
      check: 'killed demos',
      ok: stale.length === 0,
      found: stale.length === 0 ? 'none' : stale.map(({ directory }) => directory).join(', '),
      why: 'their pools, mounts and processes take space and memory',
      remedy: 'keelson demo --clean',
    },
    {
      check: 'loop devices of deleted files',
      ok: orphans.length === 0,
      found:
        orphans.length === 0 ? 'none' : orphans.map(({ device, file }) => `${device} (${file})`).join(', '),
      why: 'the space of a deleted pool file is free once its device is detached',
      remedy: `check that nothing uses them, then: losetup --detach ${orphans[0]?.device ?? 'DEVICE'}`,
    },
  ];
}

async function checkAgent({ stateDir, runDir, signal }: DoctorOptions): Promise<Finding[]> {
  const used = await Promise.all([exists(stateDir), exists(runDir)]);
  if (!used.includes(true)) return [];
  const sockets = ['csi.sock', 'cni.sock', 'admin.sock'];
  const served = await Promise.all(sockets.map((socket) => isServed(join(runDir, socket))));
  const unserved = sockets.filter((_, index) => served[index] !== true);
  const findings: Finding[] = [
    {
      check: 'agent',
      ok: unserved.length === 0,
      found:
        unserved.length === 0 ? `serving in ${runDir}` : `${unserved.join(', ')} not serving in ${runDir}`,
      why: 'without it volumes are not mounted and new pods get no network; running pods continue',
      remedy: 'start keelson agent; if it ends, inspect its log',
    },
    await checkRunDir(runDir),
  ];
  return served[2] === true
    ? [...findings, ...(await checkStatus(join(runDir, 'admin.sock'), signal))]
    : findings;
}

async function checkRunDir(runDir: string): Promise<Finding> {
  const type = await statfs(runDir, { bigint: true }).then(
    ({ type: magic }) => magic,
    () => undefined,
  );
  return {
    check: 'run directory on tmpfs',
    ok: type === undefined || type === TMPFS,
    found:
      type === undefined ? `${runDir} does not exist` : type === TMPFS ? runDir : `${runDir} is not on tmpfs`,
    why: 'its content is valid for one boot only',
    remedy: 'use a directory under /run with --run-dir',
  };
}

async function checkStatus(adminSocket: string, signal: AbortSignal): Promise<Finding[]> {
  try {
    const status = (await getFromAgent(adminSocket, '/status', signal)) as AgentStatus;
    const full = status.pools.filter(({ availableBytes }) => BigInt(availableBytes) === 0n);
    return [
      {
        check: 'records',
        ok: status.quarantined.length === 0,
        found:
          status.quarantined.length === 0
            ? `${status.volumes.length} volumes, ${status.snapshots.length} snapshots`
            : status.quarantined.map(({ file, reason }) => `${file}: ${reason}`).join('; '),
        why: 'an unreadable record is quarantined and its volume is not served; its data is unchanged',
        remedy: 'restore the record from a backup, or remove it together with its data',
      },
      {
        check: 'data without a record',
        ok: status.orphans.length === 0,
        found:
          status.orphans.length === 0
            ? 'none'
            : status.orphans.map(({ id, pool }) => `${id} in pool ${pool}`).join(', '),
        why: 'it uses space and belongs to no volume',
        remedy: `restore its record below the state directory, or: keelson volume delete ${status.orphans[0]?.id ?? 'ID'}`,
      },
      {
        check: 'pools',
        ok: status.pools.length > 0 && full.length === 0,
        found: status.pools.length === 0 ? 'none' : status.pools.map(describePool).join(', '),
        why: 'new volumes need available space',
        remedy: 'delete volumes, or enlarge the pool',
      },
    ];
  } catch (error) {
    return [
      {
        check: 'status of the agent',
        ok: false,
        found: Fault.from(error).message,
        why: 'the agent does not respond',
        remedy: 'inspect its log',
      },
    ];
  }
}

function describePool({ name, availableBytes, totalBytes }: AgentStatus['pools'][number]): string {
  const percent = (100n * BigInt(availableBytes)) / (BigInt(totalBytes) || 1n);
  return `${name} (${percent} % available)`;
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
