import type { KubeObject } from '../../src/kube/resource.ts';
import type { Json } from './fake-api-error.ts';

/**
 * Which leaves of an object each manager owns. A leaf is a value or a whole list, named by its JSON
 * pointer.
 */
export type FieldOwners = Map<string, Set<string>>;

/** Server-side apply, with lists as single values. */
export function applyFields(
  owners: FieldOwners,
  manager: string,
  stored: KubeObject,
  applied: Json,
  force: boolean,
): { readonly result: Json; readonly conflicts: readonly string[] } {
  const before = leavesOf(stored);
  const wanted = leavesOf(applied);
  const conflicts = [...wanted].flatMap(([path, value]) => {
    const holder = [...owners].find(([name, paths]) => name !== manager && paths.has(path))?.[0];
    return holder !== undefined && before.get(path) !== value ? [path] : [];
  });
  if (conflicts.length > 0 && !force) return { result: {}, conflicts };
  for (const [name, paths] of owners) if (name !== manager) for (const path of conflicts) paths.delete(path);
  const result = structuredClone(stored) as unknown as Json;
  const owned = owners.get(manager) ?? new Set<string>();
  for (const path of owned) {
    const shared = [...owners].some(([name, paths]) => name !== manager && paths.has(path));
    if (!wanted.has(path) && !shared) write(result, path, undefined);
  }
  for (const [path, value] of wanted) write(result, path, JSON.parse(value));
  owners.set(manager, new Set(wanted.keys()));
  return { result, conflicts: [] };
}

/** Takes note of who wrote what by a plain write. */
export function recordWrite(
  owners: FieldOwners,
  manager: string,
  before: KubeObject | undefined,
  after: KubeObject,
): void {
  const old = before === undefined ? new Map<string, string>() : leavesOf(before);
  const now = leavesOf(after);
  for (const path of old.keys()) {
    if (!now.has(path)) for (const paths of owners.values()) paths.delete(path);
  }
  for (const [path, value] of now) {
    if (old.get(path) === value) continue;
    for (const paths of owners.values()) paths.delete(path);
    const owned = owners.get(manager) ?? new Set<string>();
    owners.set(manager, owned.add(path));
  }
}

const UNOWNED = new Set(['/apiVersion', '/kind', '/metadata/name', '/metadata/namespace', '/metadata/uid']);
const SERVERS = [
  '/metadata/resourceVersion',
  '/metadata/generation',
  '/metadata/creationTimestamp',
  '/metadata/managedFields',
];

/**
 * Field owners as in metadata.managedFields; without owners by plain writes, which are not used
 * here.
 */
export function managedFieldsOf(owners: FieldOwners, appliers: ReadonlySet<string>): readonly object[] {
  return [...owners]
    .filter(([manager, paths]) => appliers.has(manager) && paths.size > 0)
    .map(([manager, paths]) => {
      const fieldsV1: Json = {};
      for (const path of paths) {
        const keys = path.split('/').slice(1);
        keys.reduce<Json>((inner, key) => {
          const name = `f:${key.replaceAll('~1', '/').replaceAll('~0', '~')}`;
          return (inner[name] ??= {}) as Json;
        }, fieldsV1);
      }
      return { manager, operation: 'Apply', fieldsType: 'FieldsV1', fieldsV1 };
    });
}

/** JSON text by pointer. */
function leavesOf(object: unknown): Map<string, string> {
  const leaves = new Map<string, string>();
  const visit = (value: unknown, path: string): void => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) {
        visit(inner, `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`);
      }
    } else if (value !== undefined && !UNOWNED.has(path) && !SERVERS.includes(path)) {
      leaves.set(path, JSON.stringify(value));
    }
  };
  visit(object, '');
  return leaves;
}

function write(target: Json, path: string, value: unknown): void {
  const keys = path
    .split('/')
    .slice(1)
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
  const last = keys.pop() ?? '';
  let inner = target;
  for (const key of keys) {
    if (typeof inner[key] !== 'object' || inner[key] === null) inner[key] = {};
    inner = inner[key] as Json;
  }
  if (value === undefined) Reflect.deleteProperty(inner, last);
  else inner[last] = value;
}
