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
    intro: `CSI calls on the socket of a real agent, for a btrfs and an image pool in sparse files: volumes one after the other and all at once,
snapshots and restores of volumes with so much data in them, and a whole run of csi-sanity. \`PEER_CSI=unix:///…\` names the socket of another CSI
driver on this machine, which then does the same in turn.`,
    run: async () => formatStorageBench(await benchStorage({ peer: process.env['PEER_CSI'] })),
  },
  cluster: {
    title: 'Claims and pods on a cluster',
    intro: `Claims of an Immediate class, all made at once, until the last is Bound; then all deleted at once, until the last PersistentVolume is deleted
and no LocalVolume and no volume on disk is left. The floor is a provisioner that makes no volumes at all, with one write a claim: what
that takes is the time of Kubernetes' own controllers, which no provisioner can beat. Pods are made with a claim of a class that waits for
them: kube-scheduler looks once a second whether such a claim is Bound, so a second of what a volume adds is its own. Without \`BENCH_KUBECONFIG\` (a cluster with Keelson) this makes a cluster of two nodes of its own; \`PEER_CLASS\` names a class of
another provisioner in that cluster, which then does the same in turn, and \`PEER_PROCESSES\` its processes on one node. Each has the cluster
for itself: a controller follows all claims and volumes, also those of another one, so those of the others are stopped meanwhile, and each turn
begins with one claim that does not count, so that who stood still has read by then what it missed. A peer that keeps to so many requests a second
takes its time on any machine: ratios against it say how fast the machine is too, those against the floor do not.`,
    run: async () => formatClusterBench(await benchCluster(clusterBenchOptionsOf(process.env))),
  },
  scale: {
    title: 'Many nodes and claims, simulated',
    intro: `A real API server with etcd, Kubernetes' own volume controllers and \`keelson controller\` as processes of one machine. The agents are
played by the bench: each writes what a real one decides to write, and keeps its volumes in a map. Loads one after the other: the floor (a
provisioner with one write a claim and no volume), claims of an Immediate class, and claims with a selected node, as a scheduler leaves them.`,
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
