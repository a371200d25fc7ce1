import { writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { benchCni, formatCniBench } from './cni.ts';
import { benchCri, formatCriBench } from './cri.ts';

// Ours and a peer in turn, in the same run: the ratios are what counts, the times are this machine's.
const { values } = parseArgs({ options: { record: { type: 'boolean', default: false } } });

const machine =
  `${cpus().length} processors (${cpus()[0]?.model ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GiB, ` +
  `Linux ${release()}, Node ${process.version}`;
console.log(`${machine}\n`);

const cni = await benchCni();
const cniText =
  cni === undefined
    ? 'CNI: not measured, the reference plugins are missing; install the package containernetworking-plugins'
    : formatCniBench(cni);
console.log(`${cniText}\n`);

const criText = formatCriBench(await benchCri());
console.log(`${criText}\n`);

if (values.record) {
  const file = join(import.meta.dirname, '../../docs/benchmarks.md');
  const block = (text: string): string => `\`\`\`\n${text}\n\`\`\`\n`;
  await writeFile(
    file,
    `# Benchmarks

Written by \`make bench ARGS=--record\`. Ours and the peer run in turn in the same run; the ratios count, the times are the machine's:
${machine}.

## Pod network

One IPv4 pod with masquerading, through the exec binary as a runtime calls it, beside the reference \`bridge\` + \`host-local\` plugins of
Debian 12.

${block(cniText)}
## CRI proxy

Unary calls of one client to containerd, directly and through \`keelson cri-proxy\`.

${block(criText)}`,
  );
  console.log(`recorded in ${file}`);
}
