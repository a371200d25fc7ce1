import type { NodeState } from '../../core/labels/node-label-plan.ts';
import type { Node } from '../../kube/built-in.ts';
import { withoutManagedFields } from '../../kube/informer.ts';

/**
 * Field managers of what rules apply, one for each part, so that one write cannot remove another
 * part's fields.
 */
export const LABELS_MANAGER = 'keelson-node-labels';
export const RESOURCES_MANAGER = 'keelson-node-resources';
export const TAINTS_MANAGER = 'keelson-node-taints';
/** On a Node: the taints that rules own. `spec.taints` is an atomic list with a single owner. */
export const TAINTS_ANNOTATION = 'keelson.dev/rule-taints';

/** The part of metav1.ManagedFieldsEntry that lists the fields of a manager. */
interface ManagedFields {
  readonly manager?: string;
  readonly operation?: string;
  readonly fieldsV1?: FieldSet;
}
interface FieldSet {
  readonly [field: string]: FieldSet;
}

/**
 * Drops what the controller does not read, which is most of a Node: images, conditions, other
 * managers' fields.
 */
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

/** Returns what rules read of a node; also works after `slimNode`. */
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
