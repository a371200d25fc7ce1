import { Fault } from '../fault.ts';
import { formatBytes, parseQuantity } from '../kube-text/quantity.ts';

/**
 * What of a volume can be set when it is made, and changed while pods use it: the keys of a
 * VolumeAttributesClass.
 */
export const ATTRIBUTES = [
  'readIOPS',
  'writeIOPS',
  'readBandwidth',
  'writeBandwidth',
  'quotaInodes',
] as const;
export type AttributeName = (typeof ATTRIBUTES)[number];

/** Those that bound the I/O of a volume's device, together on all pods of the node. */
export const IO_ATTRIBUTES = ['readIOPS', 'writeIOPS', 'readBandwidth', 'writeBandwidth'] as const;

/**
 * All attributes of a volume; what is absent is not limited. IOPS and bytes each second, a number
 * of inodes.
 */
export type VolumeAttributes = Readonly<Partial<Record<AttributeName, bigint>>>;

/**
 * Written instead of a number where there should be no limit: a VolumeAttributesClass has to have a
 * key.
 */
const UNLIMITED = 'max';

interface Bounds {
  readonly least: bigint;
  readonly most: bigint;
}

/**
 * The kernel counts operations in 32 bits. Below the least a file system takes minutes to be
 * mounted, and cannot be killed meanwhile.
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
 * Attributes as a caller writes them: quantities, or `max` for no limit. They are the whole truth:
 * what is absent is lifted. Keys with a prefix in `ignored` are passed over. Throws `invalid` for a
 * key that is unknown and a value that cannot be, naming what is possible.
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
        `${field}: ${JSON.stringify(key)} is unknown; possible are ${ATTRIBUTES.join(', ')}`,
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
      `${field} is ${JSON.stringify(text)}; write a number like ${example}, or ${UNLIMITED} for no limit`,
    );
  }
  const value = parseQuantity(text, field);
  if (value >= least && value <= most) return value;
  const show = (number: bigint): string => (isBandwidth(name) ? formatBytes(number) : String(number));
  throw new Fault(
    'invalid',
    `${field} is ${JSON.stringify(text)}; possible are ${show(least)} to ${show(most)}, or ${UNLIMITED} for no limit`,
  );
}

/** In the order of `ATTRIBUTES`, so that equal ones read equal. */
function attributesOf(values: readonly (readonly [AttributeName, bigint])[]): VolumeAttributes {
  const byName = new Map(values);
  return Object.fromEntries(
    ATTRIBUTES.flatMap((name) => {
      const value = byName.get(name);
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** The attributes that are set, in the order of `ATTRIBUTES`. */
export function attributeNames(attributes: VolumeAttributes): AttributeName[] {
  return ATTRIBUTES.filter((name) => attributes[name] !== undefined);
}

/** Whether both say the same. */
export function sameAttributes(left: VolumeAttributes, right: VolumeAttributes): boolean {
  return ATTRIBUTES.every((name) => left[name] === right[name]);
}

/** Whether any of the device's I/O is limited. */
export function limitsIo(attributes: VolumeAttributes): boolean {
  return IO_ATTRIBUTES.some((name) => attributes[name] !== undefined);
}
