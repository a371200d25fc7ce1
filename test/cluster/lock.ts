import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSameProcess, readProcess } from '../../src/demo/processes.ts';
import { Fault } from '../../src/core/fault.ts';

/**
 * Holds `file` until it is disposed. Rejects with `busy` while another process that lives holds it.
 */
export async function acquireLock(file: string): Promise<AsyncDisposable> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const self = await readProcess(process.pid);
  for (;;) {
    try {
      await writeFile(file, `${process.pid} ${self?.startTicks ?? ''}`, { flag: 'wx' });
      return { [Symbol.asyncDispose]: () => rm(file, { force: true }) };
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const [pid = '', startTicks = ''] = (await readFile(file, 'utf8').catch(() => '')).split(' ');
    if (await isSameProcess(Number(pid), startTicks)) {
      throw new Fault('busy', `process ${pid} is at work on this cluster (${file}); wait until it has ended`);
    }
    await rm(file, { force: true });
  }
}
