import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import {
  type DeletedVolumes,
  VOLUME_DELETE_PATH,
  VOLUME_STREAM_PATH,
} from '../../core/config/admin-paths.ts';
import { Fault } from '../../core/fault.ts';
import { formatBytes } from '../../core/kube-text/quantity.ts';
import { exchangeWithAgent } from '../admin-stream.ts';
import { type Command, type CommandContext, parseWords } from '../command.ts';

const usage = `keelson volume export VOLUME|SNAPSHOT [--from SNAPSHOT] [-o FILE] [--run-dir DIR]
       keelson volume import NAME [-i FILE] [--pool POOL] [--keep-base] [--run-dir DIR]
       keelson volume delete ID [--run-dir DIR]`;

export const volumeCommand: Command = {
  summary:
    'move a volume as a stream, whole or what changed since a snapshot; delete one that nobody asks for',
  usage,
  async run(context) {
    const [verb, ...args] = context.args;
    if (verb === 'export') return await exportVolume({ ...context, args });
    if (verb === 'import') return await importVolume({ ...context, args });
    if (verb === 'delete') return await deleteVolume({ ...context, args });
    throw new Fault('invalid', `say export, import or delete, not ${verb ?? 'nothing'}\nusage: ${usage}`);
  },
};

const RUN_DIR = { 'run-dir': { type: 'string', default: '/run/keelson' } } as const;

async function exportVolume({ args, signal, stdout }: CommandContext): Promise<number> {
  const options = { ...RUN_DIR, from: { type: 'string' }, output: { type: 'string', short: 'o' } } as const;
  const { flags, words } = parseWords(args, options, usage);
  const source = onlyWord(words, 'a volume or a snapshot, by id or name');
  const { output = '-', from } = flags;
  if (output === '-' && stdout.isTTY === true) {
    throw new Fault('invalid', 'a stream of bytes is not for a terminal; give -o FILE, or a pipe');
  }
  const query = new URLSearchParams({ source, ...(from === undefined ? {} : { parent: from }) });
  const answer = await exchangeWithAgent(
    join(flags['run-dir'], 'admin.sock'),
    { method: 'GET', path: `${VOLUME_STREAM_PATH}?${query.toString()}` },
    signal,
  );
  if (output === '-') {
    await pipeline(answer, stdout, { signal, end: false });
    return 0;
  }
  // It has its name when it is whole.
  const unfinished = `${output}.${randomUUID().slice(0, 8)}.partial`;
  try {
    await pipeline(answer, createWriteStream(unfinished, { mode: 0o600, flush: true }), { signal });
    await rename(unfinished, output);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
  return 0;
}

async function importVolume({ args, signal, stdin, stdout }: CommandContext): Promise<number> {
  const options = {
    ...RUN_DIR,
    input: { type: 'string', short: 'i', default: '-' },
    pool: { type: 'string' },
    'keep-base': { type: 'boolean', default: false },
  } as const;
  const { flags, words } = parseWords(args, options, usage);
  const name = onlyWord(words, 'a name for the volume');
  const query = new URLSearchParams({
    name,
    keepBase: String(flags['keep-base']),
    ...(flags.pool === undefined ? {} : { pool: flags.pool }),
  });
  const answer = await exchangeWithAgent(
    join(flags['run-dir'], 'admin.sock'),
    {
      method: 'POST',
      path: `${VOLUME_STREAM_PATH}?${query.toString()}`,
      body: flags.input === '-' ? stdin : createReadStream(flags.input),
    },
    signal,
  );
  const made = (await json(answer)) as { id: string; name: string; pool: string; sizeBytes: string };
  stdout.write(`${made.id}\t${made.name}, ${formatBytes(BigInt(made.sizeBytes))} in pool ${made.pool}\n`);
  return 0;
}

/** By id alone: names are those of claims, and a claim has its own way to go. */
async function deleteVolume({ args, signal, stdout }: CommandContext): Promise<number> {
  const { flags, words } = parseWords(args, RUN_DIR, usage);
  const id = onlyWord(words, 'the id of a volume, a snapshot or data without a record');
  const answer = await exchangeWithAgent(
    join(flags['run-dir'], 'admin.sock'),
    { method: 'POST', path: `${VOLUME_DELETE_PATH}?${new URLSearchParams({ id }).toString()}` },
    signal,
  );
  const { removed } = (await json(answer)) as DeletedVolumes;
  stdout.write(removed.map((what) => `deleted ${what}\n`).join(''));
  return 0;
}

function onlyWord(words: readonly string[], what: string): string {
  const [word, ...more] = words;
  if (word !== undefined && more.length === 0) return word;
  throw new Fault('invalid', `name ${what}, and nothing else\nusage: ${usage}`);
}
