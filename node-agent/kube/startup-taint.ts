import { isFault } from '../../src/core/fault.ts';
import { type Node, NODES } from '../../src/kube/built-in.ts';
import type { JsonPatchOperation, KubeClient } from '../../src/kube/client.ts';
import type { Logger } from '../../src/runtime/logger.ts';

/**
 * On a node from its registration until its agent serves, so that pods do not start without network
 * or volumes.
 */
export const STARTUP_TAINT = 'keelson.dev/agent-not-ready';

/**
 * Returns the patch that removes the startup taint from a Node; undefined without the taint. The
 * list of taints is atomic, so server-side apply cannot remove an entry: each removal tests the
 * value at its index.
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

/** Removes the startup taint from `node`. Throws `busy` when the taints changed meanwhile. */
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
    logger.info({ node: name, taint: STARTUP_TAINT }, 'node can serve; removed the startup taint');
    return answer;
  } catch (error) {
    if (isFault(error, 'not-found')) return undefined;
    throw error;
  }
}
