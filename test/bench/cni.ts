import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { NetworkLab, runPlugin } from '../integration/network/network-lab.ts';
import { median } from './quantile.ts';

/** Debian's containernetworking-plugins. */
const REFERENCE = '/usr/lib/cni';

/** Rounds that do not count: the first makes the bridge itself. */
const WARM_UP = 2;

export interface CniBenchOptions {
  readonly rounds?: number;
}

export interface CniBenchRow {
  readonly call: 'ADD' | 'DEL';
  readonly keelsonMs: number;
  readonly bridgeMs: number;
  /** Ours by theirs; less is faster. */
  readonly ratio: number;
}

export interface CniBenchResult {
  readonly rounds: number;
  readonly rows: readonly CniBenchRow[];
}

/**
 * Times ADD and DEL through our exec binary and through the reference bridge + host-local plugins,
 * in turn, on one IPv4 pod with masquerading each, in namespaces of their own. Undefined when the
 * reference plugins are not installed.
 */
export async function benchCni({ rounds = 40 }: CniBenchOptions = {}): Promise<CniBenchResult | undefined> {
  if (!existsSync(join(REFERENCE, 'bridge'))) return undefined;
  await using lab = new NetworkLab();
  await lab.startAgent({ ranges: ['10.88.0.0/16'] });
  const bridge = referenceBridge(lab);
  const times: Record<'ADD' | 'DEL', { keelson: number[]; bridge: number[] }> = {
    ADD: { keelson: [], bridge: [] },
    DEL: { keelson: [], bridge: [] },
  };
  // Namespaces are made before and removed after: their removal goes on in the kernel and holds the
  // lock that ADD and DEL need.
  const names = Array.from({ length: rounds + WARM_UP }, (_, i) => [`keelson-bench${i}`, `bridge-bench${i}`]);
  const pods = new Map(names.flat().map((name) => [name, lab.addPod(name)]));
  for (let round = -WARM_UP; round < rounds; round += 1) {
    const id = `bench${round + WARM_UP}`;
    for (const [who, call] of [
      ['keelson', (command: string, netns: string) => lab.cni({ command, containerId: id, netns })],
      ['bridge', (command: string, netns: string) => bridge(command, id, netns)],
    ] as const) {
      const netns = pods.get(`${who}-${id}`) ?? '';
      for (const command of ['ADD', 'DEL'] as const) {
        const started = performance.now();
        const { status, stdout } = await call(command, netns);
        const ms = performance.now() - started;
        if (status !== 0) throw new Error(`${who} ${command} failed: ${stdout}`);
        if (round >= 0) times[command][who].push(ms);
      }
    }
  }
  const rows = (['ADD', 'DEL'] as const).map((call) => {
    const [keelsonMs, bridgeMs] = [median(times[call].keelson), median(times[call].bridge)];
    return { call, keelsonMs, bridgeMs, ratio: keelsonMs / bridgeMs };
  });
  return { rounds, rows };
}

/** The table that people read. */
export function formatCniBench({ rounds, rows }: CniBenchResult): string {
  const lines = rows.map(
    ({ call, keelsonMs, bridgeMs, ratio }) =>
      `${call}    ${keelsonMs.toFixed(1).padStart(7)}  ${bridgeMs.toFixed(1).padStart(7)}  ${ratio.toFixed(2).padStart(6)}`,
  );
  return [
    `CNI through the exec binaries, medians of ${rounds} rounds in turn`,
    'call   keelson   bridge   ratio',
    '            ms       ms',
    ...lines,
  ].join('\n');
}

/** The reference plugin must run in the namespace that plays the node. */
function referenceBridge(
  lab: NetworkLab,
): (command: string, id: string, netns: string) => ReturnType<typeof runPlugin> {
  const config = JSON.stringify({
    cniVersion: '1.0.0',
    name: 'reference',
    type: 'bridge',
    bridge: 'cni0',
    isGateway: true,
    ipMasq: true,
    ipam: { type: 'host-local', subnet: '10.89.0.0/16', dataDir: join(lab.directory, 'host-local') },
  });
  const enter = join(lab.directory, 'bridge-in-node');
  execFileSync('cc', ['-O2', '-o', enter, '-x', 'c', '-'], {
    // Enters the namespace and becomes the plugin: no shell, no second process, so the comparison
    // is fair.
    input: `#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
int main(void) {
  if (setns(open("${lab.node}", O_RDONLY | O_CLOEXEC), CLONE_NEWNET) != 0) return 99;
  execl("${REFERENCE}/bridge", "bridge", (char *)0);
  return 98;
}`,
  });
  return (command, id, netns) =>
    runPlugin(enter, config, {
      CNI_COMMAND: command,
      CNI_CONTAINERID: id,
      CNI_NETNS: netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: REFERENCE,
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    });
}

if (process.argv[1] === import.meta.filename) {
  const result = await benchCni();
  console.log(
    result === undefined
      ? `not measured: ${REFERENCE}/bridge is missing (apt install containernetworking-plugins)`
      : formatCniBench(result),
  );
}
