import { parseQuantity } from '../kube-text/quantity.ts';

/** CEL types of the fields that rules may read, by record. */
type FieldTypes = Readonly<Record<string, string>>;

/**
 * What rules may read of a NodeInventory. It omits what changes while a node runs (allocated space,
 * number of volumes, conditions): kubelet ends running pods whose required labels changed when it
 * restarts (kubernetes/kubernetes#123859).
 */
export const FACT_TYPES = {
  Inventory: {
    operatingSystem: 'string',
    kernel: 'Kernel',
    cpu: 'Cpu',
    memory: 'Memory',
    disks: 'list<Disk>',
    filesystems: 'list<string>',
    interfaces: 'list<Interface>',
    pciDevices: 'list<PciDevice>',
    runtime: 'Runtime',
    network: 'Network',
    storage: 'Storage',
  },
  Kernel: { release: 'string', features: 'list<string>', cgroup: 'string' },
  Cpu: {
    architecture: 'string',
    vendor: 'string',
    model: 'string',
    sockets: 'int',
    cores: 'int',
    threads: 'int',
    features: 'list<string>',
  },
  Memory: { total: 'string', swap: 'string', hugePages: 'map<string, int>', numaNodes: 'int' },
  Disk: {
    name: 'string',
    type: 'string',
    rotational: 'bool',
    size: 'string',
    model: 'string',
    inUse: 'bool',
  },
  Interface: { name: 'string', driver: 'string', speedMbps: 'int', mtu: 'int' },
  PciDevice: { class: 'string', vendor: 'string', device: 'string', count: 'int' },
  Runtime: { name: 'string', version: 'string', proxied: 'bool' },
  Network: { ranges: 'list<string>', mtu: 'int' },
  Storage: { capacity: 'string', pools: 'list<Pool>' },
  Pool: {
    name: 'string',
    backend: 'string',
    origin: 'string',
    labels: 'map<string, string>',
    ready: 'bool',
    capacity: 'string',
    features: 'list<string>',
  },
  Node: { name: 'string', labels: 'map<string, string>' },
} as const satisfies Readonly<Record<string, FieldTypes>>;

/** The name of a record that rules read. */
export type FactType = keyof typeof FACT_TYPES;

/** Classes of the records, by which the evaluator tells types. */
export const FACT_CLASSES = Object.fromEntries(
  Object.keys(FACT_TYPES).map((name) => [
    name,
    { [name]: class extends Object {} }[name] as new () => object,
  ]),
) as Readonly<Record<FactType, new () => object>>;

/** What rules read of one node, as plain data. */
export interface NodeFacts {
  readonly inventory: object;
  readonly node: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
}

/**
 * Returns `facts` as the evaluator expects them: records of known types, integers as bigint, only
 * what `FACT_TYPES` lists.
 */
export function toCelFacts({ inventory, node }: NodeFacts): { inventory: object; node: object } {
  return { inventory: toCel(inventory, 'Inventory') as object, node: toCel(node, 'Node') as object };
}

/** Returns the bytes of a quantity, within CEL's integers. */
export function quantityBytes(text: string): bigint {
  return BigInt.asIntN(64, parseQuantity(text, 'quantity()'));
}

/** Returns the closest valid label value: other characters become dashes. */
export function toLabelValue(text: string): string {
  const trim = (part: string): string => part.replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '');
  return trim(trim(text.replace(/[^-A-Za-z0-9_.]+/g, '-')).slice(0, 63));
}

function toCel(value: unknown, type: string): unknown {
  const list = /^list<(.+)>$/.exec(type)?.[1];
  if (list !== undefined) return Array.isArray(value) ? value.map((item) => toCel(item, list)) : undefined;
  const map = /^map<string, (.+)>$/.exec(type)?.[1];
  if (map !== undefined) {
    return isRecord(value)
      ? new Map(Object.entries(value).map(([key, inner]) => [key, toCel(inner, map)]))
      : undefined;
  }
  if (type === 'int') return Number.isSafeInteger(value) ? BigInt(value as number) : undefined;
  if (!(type in FACT_TYPES)) return value;
  if (!isRecord(value)) return undefined;
  const record = new FACT_CLASSES[type as FactType]() as Record<string, unknown>;
  for (const [field, fieldType] of Object.entries<string>(FACT_TYPES[type as FactType])) {
    const inner = toCel(value[field] ?? undefined, fieldType);
    // Unknown facts are absent: `has()` is false, and reading one is an error, never an empty
    // value.
    if (inner !== undefined) record[field] = inner;
  }
  return record;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
