import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, isFault } from '../../../../src/core/fault.ts';
import { absent } from '../../../linux/files/absent.ts';
import type {
  SentContent,
  ContentTransfer,
  ContentFrame,
  StreamHeader,
} from '../../contract/content-transfer.ts';

/** Transfers content that is a subvolume, as the stream of `btrfs send` and `btrfs receive`. */
export class SubvolumeTransfer implements ContentTransfer {
  readonly encoding = 'btrfs';
  readonly #directory: string;

  /** `path` is the pool's path, as these programs open it. */
  constructor({ path }: { readonly path: string }) {
    this.#directory = join(path, 'snapshots');
  }

  async send(id: string, parentId: string | undefined, signal: AbortSignal): Promise<SentContent> {
    const parent = parentId === undefined ? [] : ['-p', join(this.#directory, parentId)];
    const child = spawn('btrfs', ['send', '-q', ...parent, join(this.#directory, id)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      signal,
      killSignal: 'SIGKILL',
    });
    const ended = endOf(child, 'btrfs send');
    ended.catch(() => undefined);
    return {
      contentBytes: 0n,
      async *frames(): AsyncGenerator<ContentFrame> {
        let offset = 0n;
        for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
          yield { kind: 'data', offset, bytes: chunk };
          offset += BigInt(chunk.length);
        }
        await ended;
      },
      async [Symbol.asyncDispose]() {
        child.kill('SIGKILL');
        await ended.catch(() => undefined);
      },
    };
  }

  async receive(
    id: string,
    _header: StreamHeader,
    frames: AsyncIterable<ContentFrame>,
    signal: AbortSignal,
  ): Promise<void> {
    // Confined to the directory (-C): paths in the stream are untrusted.
    const child = spawn('btrfs', ['receive', '-q', '-e', '-C', this.#directory], {
      stdio: ['pipe', 'ignore', 'pipe'],
      signal,
      killSignal: 'SIGKILL',
    });
    const ended = endOf(child, 'btrfs receive');
    ended.catch(() => undefined);
    const input = child.stdin;
    // The program's stderr says why it ended.
    input.on('error', () => undefined);
    let offset = 0n;
    try {
      for await (const frame of frames) {
        if (frame.kind !== 'data' || frame.offset !== offset) {
          throw new Fault('invalid', 'the stream is not a `btrfs send` stream in order');
        }
        offset += BigInt(frame.bytes.length);
        if (!input.write(frame.bytes)) await Promise.race([once(input, 'drain'), ended]);
      }
      input.end();
      await ended;
    } catch (error) {
      child.kill('SIGKILL');
      const failure: unknown = await ended.catch((reason: unknown) => reason);
      // EPIPE says less than the error of the program that closed the pipe.
      throw isFault(error) || signal.aborted ? error : (failure ?? error);
    }
    if ((await stat(join(this.#directory, id)).catch(absent)) !== undefined) return;
    throw new Fault('invalid', `the stream holds another snapshot than ${id}, which its header names`);
  }
}

/** Resolves when the program succeeds. Throws `precondition` with the end of its stderr. */
async function endOf(child: ReturnType<typeof spawn>, name: string): Promise<void> {
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr = `${stderr}${chunk.toString('utf8')}`.slice(-2_000);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code === 0) return;
  throw new Fault('precondition', `${name} failed: ${stderr.trim() === '' ? `exit ${code}` : stderr.trim()}`);
}
