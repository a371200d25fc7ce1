import type { NodeState } from '../../core/labels/node-label-plan.ts';
import type { Node } from '../../kube/built-in.ts';
import { withoutManagedFields } from '../../kube/informer.ts';

/** Owners of what rules give, one for each concern, so that none can take away what another gave. */
export const LABELS_MANAGER = 'keelson-node-labels';
export const RESOURCES_MANAGER = 'keelson-node-resources';
export const TAINTS_MANAGER = 'keelson-node-taints';
/** On a Node: which taints are ours. `spec.taints` has one owner for all of it, so the server cannot tell. */
export const TAINTS_ANNOTATION = 'keelson.dev/rule-taints';

/** The part of metav1.ManagedFieldsEntry that says what a manager applies. */
interface ManagedFields {
  readonly manager?: string;
  readonly operation?: string;
  readonly fieldsV1?: FieldSet;
}
interface FieldSet {
  readonly [field: string]: FieldSet;
}

/** A node without what nobody here reads, which is most of it: images, conditions, and who owns the fields of others. */
export function slimNode(node: Node): Node {
  const { status, ...kept } = withoutManagedFields(node);
  const managedFields = (node.metadata?.managedFields ?? []).filter(
    ({ manager }: ManagedFields) => manager === LABELS_MANAGER || manager === RESOURCES_MANAGER,
  );
  const capacity = extendedResources(status?.capacity);
  return {
    ...kept,
    ...(managedFields.length === 0 ? {} : { metadata: { ...kept.metadata, managedFields } }),
    ...(Object.keys(capacity).length === 0 ? {} : { status: { capacity } }),
  };
}

/** What rules find on a node; works on one that `slimNode` has left. */
export function nodeStateOf({ metadata, spec, status }: Node): NodeState {
  const record = metadata?.annotations?.[TAINTS_ANNOTATION] ?? '';
  return {
    labels: metadata?.labels ?? {},
    ownedLabels: appliedKeys(metadata?.managedFields, LABELS_MANAGER, ['f:metadata', 'f:labels']),
    taints: spec?.taints ?? [],
    ownedTaints: new Set(record.split(',').filter((id) => id !== '')),
    capacity: extendedResources(status?.capacity),
    ownedResources: appliedKeys(metadata?.managedFields, RESOURCES_MANAGER, ['f:status', 'f:capacity']),
  };
}

function appliedKeys(
  entries: readonly ManagedFields[] | undefined,
  owner: string,
  path: readonly string[],
): ReadonlySet<string> {
  const keys = (entries ?? [])
    .filter(({ manager, operation }) => manager === owner && operation === 'Apply')
    .flatMap(({ fieldsV1 }) => {
      const fields = path.reduce<FieldSet | undefined>((inner, key) => inner?.[key], fieldsV1);
      return Object.keys(fields ?? {});
    });
  return new Set(keys.filter((key) => key.startsWith('f:')).map((key) => key.slice(2)));
}

function extendedResources(capacity: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(capacity).filter(([name]) => name.includes('/')));
}
