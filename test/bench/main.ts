import { readFile, writeFile } from 'node:fs/promises';
import { constants, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Fault } from '../../src/core/fault.ts';
import { benchCluster, clusterBenchOptionsOf, formatClusterBench } from './cluster.ts';
import { benchCni, formatCniBench } from './cni.ts';
import { benchCri, formatCriBench } from './cri.ts';
import { type Section, updateDocument } from './document.ts';
import { benchScale, formatScaleBench } from './scale.ts';
import { benchStorage, formatStorageBench } from './storage.ts';

// Ours and a peer in turn, in the same run: the ratios are what counts, the times are this
// machine's.
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    record: { type: 'boolean', default: false },
    nodes: { type: 'string', default: '500' },
    claims: { type: 'string', default: '5000' },
  },
});

interface Part extends Omit<Section, 'result'> {
  readonly run: () => Promise<string>;
}

const PARTS: Readonly<Record<string, Part>> = {
  cni: {
    title: 'Pod network',
    intro: `One IPv4 pod with masquerading, through the exec binary as a runtime calls it, beside the reference \`bridge\` + \`host-local\` plugins of
Debian 12.`,
    run: async () => {
      const result = await benchCni();
      if (result !== undefined) return formatCniBench(result);
      return 'not measured: the reference plugins are missing; install the package containernetworking-plugins';
    },
  },
  cri: {
    title: 'CRI proxy',
    intro: 'Unary calls of one client to containerd, directly and through `keelson cri-proxy`.',
    run: async () => formatCriBench(await benchCri()),
  },
  storage: {
    title: 'Volumes and snapshots',
    intro: `CSI calls on the socket of an agent, for a btrfs and an image pool in sparse files: volumes in sequence and at once, snapshots and restores of volumes with
data, and a run of csi-sanity. \`PEER_CSI=unix:///…\` names the socket of another CSI driver on this machine, which runs alternately.`,
    run: async () => formatStorageBench(await benchStorage({ peer: process.env['PEER_CSI'] })),
  },
  cluster: {
    title: 'Claims and pods on a cluster',
    intro: `Creates claims of an Immediate class at once, until the last is Bound; then deletes them at once, until the last PersistentVolume, LocalVolume and volume
on disk is deleted. The floor is a provisioner without volumes that makes one write per claim: the time of Kubernetes' own controllers. kube-scheduler checks
once a second whether the claim of a pod is Bound, so up to a second of a pod start is its own. \`BENCH_KUBECONFIG\` names a cluster with Keelson; without it
the benchmark creates a cluster of two nodes. \`PEER_CLASS\` names a class of another provisioner there, \`PEER_PROCESSES\` its processes on one node. While one
runs, the controllers of the other are stopped, and each turn starts with one claim that does not count. A peer with a client rate limit takes its time on
any machine: ratios against it depend on the machine, those against the floor do not.`,
    run: async () => formatClusterBench(await benchCluster(clusterBenchOptionsOf(process.env))),
  },
  scale: {
    title: 'Many nodes and claims, simulated',
    intro: `An API server with etcd, Kubernetes' volume controllers and \`keelson controller\` are processes of one machine. The benchmark simulates the agents: each writes
what a real agent writes, and keeps its volumes in a map. The loads run in sequence: the floor (a provisioner with one write per claim), claims of an Immediate
class, and claims with a selected node.`,
    run: async () =>
      formatScaleBench(
        await benchScale({
          nodes: count('--nodes', values.nodes),
          claims: count('--claims', values.claims),
        }),
      ),
  },
};

const machine =
  `Measured on ${cpus().length} processors (${cpus()[0]?.model ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GiB, ` +
  `Linux ${release().split('.', 2).join('.')}, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`;
console.log(`${machine}\n`);

// A signal alone would end the process without what it does at its exit: processes that stand still
// meanwhile go on then.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => process.exit(128 + constants.signals[signal]));
}

const sections: Section[] = [];
for (const name of positionals.length === 0 ? Object.keys(PARTS) : positionals) {
  const part = PARTS[name];
  if (part === undefined) {
    throw new Fault('invalid', `there is no part ${name}; choose of ${Object.keys(PARTS).join(', ')}`);
  }
  const { title, intro } = part;
  console.log(`## ${title}`);
  const result = await part.run();
  console.log(`${result}\n`);
  sections.push({ title, intro, result });
}

if (values.record) {
  const file = join(import.meta.dirname, '../../docs/develop/benchmarks.md');
  await writeFile(file, updateDocument(await readFile(file, 'utf8'), sections, machine));
  console.log(`recorded in ${file}`);
}

function count(flag: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Fault('invalid', `${flag} ${text}: give a whole number above 0`);
}
