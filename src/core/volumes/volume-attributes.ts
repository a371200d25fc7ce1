import { Fault } from '../fault.ts';
import { formatBytes, parseQuantity } from '../kube-text/quantity.ts';

/** Mutable attributes of a volume: the keys of a VolumeAttributesClass. */
export const ATTRIBUTES = [
  'readIOPS',
  'writeIOPS',
  'readBandwidth',
  'writeBandwidth',
  'quotaInodes',
] as const;
/** One of `ATTRIBUTES`. */
export type AttributeName = (typeof ATTRIBUTES)[number];

/** Attributes that limit the I/O of a volume's device, of all pods of the node together. */
export const IO_ATTRIBUTES = ['readIOPS', 'writeIOPS', 'readBandwidth', 'writeBandwidth'] as const;

/** All attributes of a volume: IOPS, bytes per second, inodes. An absent one is not limited. */
export type VolumeAttributes = Readonly<Partial<Record<AttributeName, bigint>>>;

/** Value for no limit: a VolumeAttributesClass needs at least one key. */
const UNLIMITED = 'max';

interface Bounds {
  readonly least: bigint;
  readonly most: bigint;
}

/**
 * The kernel counts operations in 32 bits. With lower limits mounting a file system takes minutes
 * and cannot be killed.
 */
const BOUNDS: Readonly<Record<AttributeName, Bounds>> = {
  readIOPS: { least: 10n, most: 2n ** 32n - 1n },
  writeIOPS: { least: 10n, most: 2n ** 32n - 1n },
  readBandwidth: { least: 64n << 10n, most: 2n ** 62n },
  writeBandwidth: { least: 64n << 10n, most: 2n ** 62n },
  quotaInodes: { least: 16n, most: 2n ** 48n },
};

const isBandwidth = (name: AttributeName): boolean => name.endsWith('Bandwidth');

/**
 * Parses attributes: quantities, or `max` for no limit; an absent one is not limited. Ignores keys
 * with the prefix `ignored`. Throws `invalid` for an unknown key or a value out of bounds.
 */
export function parseAttributes(
  parameters: Readonly<Record<string, string>>,
  field: string,
  ignored?: string,
): VolumeAttributes {
  const found: [AttributeName, bigint][] = [];
  for (const [key, value] of Object.entries(parameters)) {
    if (ignored !== undefined && key.startsWith(ignored)) continue;
    const name = ATTRIBUTES.find((known) => known === key);
    if (name === undefined) {
      throw new Fault(
        'invalid',
        `${field}: ${JSON.stringify(key)} is unknown; expected ${ATTRIBUTES.join(', ')}`,
      );
    }
    if (value !== UNLIMITED) found.push([name, parseValue(name, value, `${field}: ${name}`)]);
  }
  return attributesOf(found);
}

function parseValue(name: AttributeName, text: string, field: string): bigint {
  const { least, most } = BOUNDS[name];
  const example = isBandwidth(name) ? '50Mi' : '1000';
  if (!/^\d/.test(text)) {
    throw new Fault(
      'invalid',
      `${field} is ${JSON.stringify(text)}; expected a number like ${example}, or ${UNLIMITED} for no limit`,
    );
  }
  const value = parseQuantity(text, field);
  if (value >= least && value <= most) return value;
  const show = (number: bigint): string => (isBandwidth(name) ? formatBytes(number) : String(number));
  throw new Fault(
    'invalid',
    `${field} is ${JSON.stringify(text)}; expected ${show(least)} to ${show(most)}, or ${UNLIMITED} for no limit`,
  );
}

/** Builds attributes in the order of `ATTRIBUTES`, so that equal ones serialize equally. */
function attributesOf(values: readonly (readonly [AttributeName, bigint])[]): VolumeAttributes {
  const byName = new Map(values);
  return Object.fromEntries(
    ATTRIBUTES.flatMap((name) => {
      const value = byName.get(name);
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** Lists the attributes that are set, in the order of `ATTRIBUTES`. */
export function attributeNames(attributes: VolumeAttributes): AttributeName[] {
  return ATTRIBUTES.filter((name) => attributes[name] !== undefined);
}

/** Whether both have the same values. */
export function sameAttributes(left: VolumeAttributes, right: VolumeAttributes): boolean {
  return ATTRIBUTES.every((name) => left[name] === right[name]);
}

/** Whether any attribute limits I/O. */
export function limitsIo(attributes: VolumeAttributes): boolean {
  return IO_ATTRIBUTES.some((name) => attributes[name] !== undefined);
}
