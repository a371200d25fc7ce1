import { readFile } from 'node:fs/promises';
import type { NodeLayout } from './node.ts';
import type { DemoFindings } from './report.ts';

export const HOW_TO_GO_ON = `
  Next steps:
    make demo KEEP=1      keep the node running, and print commands to inspect it
    bin/keelson help      list the commands; docs/ describes the installation
`;

/** Returns commands to inspect a kept node. */
export function describeNextSteps(layout: NodeLayout, { pods }: DemoFindings, keelson: string): string {
  const { directory, enter, criSocket, csiSocket, runDir, policiesDir, containerdDir } = layout;
  const [pod] = pods;
  const commands: (readonly [string, string])[] = [
    ['the agent', `${enter} ${keelson} status --run-dir ${runDir}`],
    ['pods, through the proxy', `crictl --runtime-endpoint unix://${criSocket} pods`],
    ['a shell in a pod', `crictl --runtime-endpoint unix://${criSocket} exec -it CONTAINER sh`],
    [
      'containers, without crictl',
      `ctr --address ${containerdDir}/c.sock --namespace k8s.io containers list`,
    ],
    [
      'volumes',
      `${enter} grpcurl -plaintext -unix -import-path proto -proto csi/v1/csi.proto ${csiSocket} csi.v1.Controller/ListVolumes`,
    ],
    ['mounts', `${enter} findmnt --types btrfs`],
    ['the pod network', `${enter} ip route`],
    ['nftables rules', `${enter} nft list ruleset`],
    ...(pod === undefined
      ? []
      : [['a pod from its node', `${enter} busybox ping -c 1 ${pod.addresses[0] ?? ''}`] as const]),
    ['policies (edit, then create a pod)', `${policiesDir}/demo.yaml`],
    ['logs', `tail -n 20 ${directory}/*.log ${containerdDir}/*.log`],
    ['remove the node', `${keelson} demo --clean`],
  ];
  const width = Math.max(...commands.map(([what]) => what.length));
  const lines = commands.map(([what, command]) => `    ${what.padEnd(width)}  ${command}\n`).join('');
  return `\n  The node keeps running. To inspect it:\n${lines}`;
}

/** Returns the ends of a node's logs, except for one that `shown` ends with. */
export async function describeLogs({ logs }: NodeLayout, shown: string, lines = 12): Promise<string> {
  const texts = await Promise.all(
    Object.entries(logs).map(async ([name, file]) => {
      const text = await readFile(file, 'utf8').catch(() => '');
      const end = text.trimEnd().split('\n').slice(-lines).join('\n');
      if (text === '' || shown.endsWith(end)) return '';
      return `\n  Last lines of the log of ${name}:\n${end.replace(/^/gm, '    ')}\n`;
    }),
  );
  return texts.join('');
}
