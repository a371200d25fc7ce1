import { spawn } from 'node:child_process';
import { Fault } from '../../../src/core/fault.ts';

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one transaction. Throws `precondition` with nft's first error; then nothing has changed. */
export async function applyNft(script: string): Promise<void> {
  const { status, stderr } = await run(['-f', '-'], script);
  if (status === 0) return;
  const [complaint = 'no reason given'] = stderr.split('\n');
  throw new Fault('precondition', `nft refused a transaction: ${complaint}`, {
    fields: { status: status ?? -1 },
  });
}

/** Returns the table as `nft -j list table` prints it; undefined for an absent table. */
export async function listNftTable(family: string, name: string): Promise<unknown> {
  const { status, stdout } = await run(['-j', 'list', 'table', family, name]);
  return status === 0 ? (JSON.parse(stdout) as unknown) : undefined;
}

function run(args: readonly string[], input = ''): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn('nft', args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (chunk: string) => (output[stream] += chunk));
    }
    child.on('error', (error) => {
      reject(
        new Fault('precondition', 'nft cannot be started; install the nftables package', { cause: error }),
      );
    });
    child.on('close', (status) => resolve({ status, ...output }));
    // nft may exit before it reads all input: its exit status reports the error.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}
