import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { Command, type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import {
  type DeletedVolumes,
  VOLUME_DELETE_PATH,
  VOLUME_STREAM_PATH,
} from '../../core/config/admin-paths.ts';
import { Fault } from '../../core/fault.ts';
import { formatBytes } from '../../core/kube-text/quantity.ts';
import { exchangeWithAgent } from '../admin-stream.ts';
import type { CliContext } from '../context.ts';
import { formatOutput, outputOption } from '../output/output.ts';

/** Creates `keelson volume` with its subcommands. */
export function volumeCommand(context: CliContext): CommandUnknownOpts {
  return new Command()
    .addCommand(exportCommand(context))
    .addCommand(importCommand(context))
    .addCommand(deleteCommand(context));
}

const runDirOption = (): Option<'--run-dir <dir>', undefined, '/run/keelson'> =>
  new Option('--run-dir <dir>', 'directory of the sockets of the agent').default('/run/keelson');

function exportCommand({ signal, stdout }: CliContext): CommandUnknownOpts {
  return new Command('export')
    .summary('Write a volume or a snapshot as a stream')
    .description('Writes a volume or a snapshot as a stream, whole or as changes since an older snapshot.')
    .argument('<source>', 'id or name of a volume or a snapshot')
    .option('--from <snapshot>', 'write only changes since this snapshot')
    .option('-f, --file <file>', 'file to write; - for standard output', '-')
    .addOption(runDirOption())
    .action(async (source, { from, file, runDir }) => {
      if (file === '-' && stdout.isTTY === true) {
        throw new Fault('invalid', 'refusing to write a binary stream to a terminal; use -f FILE or a pipe');
      }
      const query = new URLSearchParams({ source, ...(from === undefined ? {} : { parent: from }) });
      const response = await exchangeWithAgent(
        join(runDir, 'admin.sock'),
        { method: 'GET', path: `${VOLUME_STREAM_PATH}?${query.toString()}` },
        signal,
      );
      if (file === '-') await pipeline(response, stdout, { signal, end: false });
      else await writeWhole(file, response, signal);
    });
}

/** Gives the file its name once it is complete. */
async function writeWhole(file: string, content: NodeJS.ReadableStream, signal: AbortSignal): Promise<void> {
  const partial = `${file}.${randomUUID().slice(0, 8)}.partial`;
  try {
    await pipeline(content, createWriteStream(partial, { mode: 0o600, flush: true }), { signal });
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

interface ImportedVolume {
  readonly id: string;
  readonly name: string;
  readonly pool: string;
  readonly sizeBytes: string;
}

function importCommand({ signal, stdin, stdout }: CliContext): CommandUnknownOpts {
  return new Command('import')
    .summary('Create a volume from an exported stream')
    .description('Creates a volume from an exported stream; creates none if the stream is not whole.')
    .argument('<name>', 'name of the new volume')
    .option('-f, --file <file>', 'file to read; - for standard input', '-')
    .option('--pool <pool>', 'pool of the new volume')
    .option('--keep-base', 'keep the snapshot that later changes are applied to', false)
    .addOption(runDirOption())
    .addOption(outputOption())
    .action(async (name, { file, pool, keepBase, runDir, output }) => {
      const query = new URLSearchParams({
        name,
        keepBase: String(keepBase),
        ...(pool === undefined ? {} : { pool }),
      });
      const response = await exchangeWithAgent(
        join(runDir, 'admin.sock'),
        {
          method: 'POST',
          path: `${VOLUME_STREAM_PATH}?${query.toString()}`,
          body: file === '-' ? stdin : createReadStream(file),
        },
        signal,
      );
      const volume = (await json(response)) as ImportedVolume;
      const size = formatBytes(BigInt(volume.sizeBytes));
      stdout.write(
        formatOutput(output, volume, () => `${volume.id}\t${volume.name}, ${size} in pool ${volume.pool}\n`),
      );
    });
}

function deleteCommand({ signal, stdout }: CliContext): CommandUnknownOpts {
  return new Command('delete')
    .summary('Delete a volume, a snapshot or data without a record')
    .description(
      'Deletes a volume, a snapshot or data without a record, by its id. The agent refuses while a LocalVolume ' +
        'or a PersistentVolume refers to it or a pod uses it: delete the claim instead.',
    )
    .argument('<id>', 'id as `keelson status` lists it')
    .addOption(runDirOption())
    .addOption(outputOption())
    .action(async (id, { runDir, output }) => {
      const response = await exchangeWithAgent(
        join(runDir, 'admin.sock'),
        { method: 'POST', path: `${VOLUME_DELETE_PATH}?${new URLSearchParams({ id }).toString()}` },
        signal,
      );
      const deleted = (await json(response)) as DeletedVolumes;
      stdout.write(
        formatOutput(output, deleted, () => deleted.removed.map((what) => `deleted ${what}\n`).join('')),
      );
    });
}
