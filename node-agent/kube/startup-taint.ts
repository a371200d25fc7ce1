import { isFault } from '../../src/core/fault.ts';
import { type Node, NODES } from '../../src/kube/built-in.ts';
import type { JsonPatchOperation, KubeClient } from '../../src/kube/client.ts';
import type { Logger } from '../../src/runtime/logger.ts';

/** On a node from its registration until its agent serves, so that no pod starts that would find neither network nor volumes. */
export const STARTUP_TAINT = 'keelson.dev/agent-not-ready';

/**
 * The patch that takes the startup taint from a Node; undefined where there is none. The list of taints has one owner for all of it, so
 * server-side apply cannot remove an entry: each removal is tied to what stands at its place instead.
 */
export function planTaintRemoval({ spec }: Node): readonly JsonPatchOperation[] | undefined {
  const operations: JsonPatchOperation[] = [];
  const taints = spec?.taints ?? [];
  for (let index = taints.length - 1; index >= 0; index -= 1) {
    if (taints[index]?.key !== STARTUP_TAINT) continue;
    operations.push({ op: 'test', path: `/spec/taints/${index}/key`, value: STARTUP_TAINT });
    operations.push({ op: 'remove', path: `/spec/taints/${index}` });
  }
  return operations.length === 0 ? undefined : operations;
}

/** Takes the startup taint from `node`. Throws `busy` when the taints have changed meanwhile. */
export async function removeStartupTaint(
  node: Node,
  {
    client,
    logger,
    fieldManager,
  }: { readonly client: Pick<KubeClient, 'patch'>; readonly logger: Logger; readonly fieldManager: string },
): Promise<Node | undefined> {
  const json = planTaintRemoval(node);
  const { name = '', uid } = node.metadata ?? {};
  if (json === undefined) return undefined;
  try {
    const answer = await client.patch(NODES, { name }, { json, precondition: { uid } }, { fieldManager });
    logger.info({ node: name, taint: STARTUP_TAINT }, 'node can serve; startup taint removed');
    return answer;
  } catch (error) {
    if (isFault(error, 'not-found')) return undefined;
    throw error;
  }
}
