import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type CniCall, parseCniRequest } from '../../src/core/cni/cni-request.ts';
import { Fault, isFault } from '../../src/core/fault.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { decodeRequest } from './frame.ts';
import type { CniNetwork } from './handler.ts';

/**
 * DELs that arrived while the agent was down: the exec binary writes each call to a file and
 * succeeds, so that pods can terminate during an upgrade of the agent. A file holds the payload of
 * the request.
 */
export class DeleteQueue {
  readonly #directory: string;
  readonly #network: Pick<CniNetwork, 'detach'>;
  readonly #logger: Logger;

  constructor(
    directory: string,
    deps: { readonly network: Pick<CniNetwork, 'detach'>; readonly logger: Logger },
  ) {
    this.#directory = directory;
    this.#network = deps.network;
    this.#logger = deps.logger;
  }

  /** Serves the queue. A DEL that fails stays for the next time, unless it can never succeed. */
  async drain(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    for (const file of await readdir(this.#directory)) {
      // The exec binary writes to a name with a dot and renames.
      if (file.startsWith('.')) continue;
      const path = join(this.#directory, file);
      const payload = await readFile(path).catch(() => undefined);
      if (payload === undefined) continue;
      try {
        await this.#serve(decodeRequest(payload));
      } catch (error) {
        this.#logger.warn({ file, err: error }, 'queued DEL failed');
        if (!isFault(Fault.from(error), 'invalid')) continue;
      }
      await rm(path, { force: true });
    }
  }

  async #serve(call: CniCall): Promise<void> {
    const request = parseCniRequest(call);
    if (request.command !== 'DEL') throw new Fault('invalid', `${request.command} is queued; expected DEL`);
    await this.#network.detach(request);
    const { containerId, ifname } = request;
    this.#logger.info({ containerId, ifname }, 'served a queued DEL');
  }
}
