import { Fault } from '../../src/core/fault.ts';
import { sleep } from '../../src/runtime/clock.ts';
import { runCommand } from '../../src/runtime/child-process.ts';

export interface KubectlOptions {
  readonly signal?: AbortSignal | undefined;
  readonly input?: string;
  readonly timeoutMs?: number;
}

/** The real kubectl on one cluster, as its administrator. */
export class Kubectl {
  readonly file: string;
  readonly kubeconfig: string;

  constructor(file: string, kubeconfig: string) {
    this.file = file;
    this.kubeconfig = kubeconfig;
  }

  /** Output of a command, which must succeed. */
  async run(args: readonly string[], options: KubectlOptions = {}): Promise<string> {
    // HOME: it keeps a cache of what the server has.
    const env = { PATH: '/usr/bin:/bin', HOME: `${this.kubeconfig}.home` };
    const { stdout } = await runCommand(this.file, ['--kubeconfig', this.kubeconfig, ...args], {
      env,
      timeoutMs: 180_000,
      ...options,
    });
    return stdout;
  }

  /** The object, or list of objects, that `get` finds. */
  async get<T>(args: readonly string[], options: KubectlOptions = {}): Promise<T> {
    return JSON.parse(await this.run(['get', ...args, '--output=json'], options)) as T;
  }

  /** Applies manifests, as objects. */
  async apply(objects: readonly object[], options: KubectlOptions = {}): Promise<void> {
    const list = { apiVersion: 'v1', kind: 'List', items: objects };
    await this.run(['apply', '--filename=-'], { ...options, input: JSON.stringify(list) });
  }

  /** Waits until `what`, e.g. `node/node-1`, is as `condition` says (kubectl wait --for). */
  async wait(
    what: string,
    condition: string,
    { timeoutMs = 120_000, signal }: KubectlOptions = {},
  ): Promise<void> {
    const giveUpAtMs = performance.now() + timeoutMs;
    for (;;) {
      const seconds = Math.max(1, Math.ceil((giveUpAtMs - performance.now()) / 1_000));
      const args = ['wait', what, `--for=${condition}`, `--timeout=${seconds}s`];
      try {
        await this.run(args, { signal, timeoutMs: seconds * 1_000 + 10_000 });
        return;
      } catch (error) {
        // It takes an object that has no conditions yet, as one that was made this moment, for a
        // mistake.
        const isTooNew = Fault.from(error).message.includes('accessor error');
        if (!isTooNew || performance.now() >= giveUpAtMs) throw error;
        await sleep(200, { signal });
      }
    }
  }
}

interface NodeList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly spec: { readonly podCIDR?: string };
  }[];
}

/** The range for pods of every node that has been given one. */
export async function readPodRanges(
  kubectl: Kubectl,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const { items } = await kubectl.get<NodeList>(['nodes'], { signal });
  return new Map(
    items.flatMap(({ metadata, spec }) =>
      spec.podCIDR === undefined ? [] : [[metadata.name, spec.podCIDR] as const],
    ),
  );
}
