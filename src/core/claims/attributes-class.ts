import { DRIVER_NAME } from '../volumes/driver.ts';
import { Fault } from '../fault.ts';
import { parseAttributes, type VolumeAttributes } from '../volumes/volume-attributes.ts';

/** A VolumeAttributesClass. */
export interface AttributesClassView {
  readonly name: string;
  readonly driverName: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/**
 * Returns the attributes that a class gives its volumes. Throws `invalid` for a class of another
 * driver and for invalid parameters.
 */
export function attributesOfClass({ name, driverName, parameters }: AttributesClassView): VolumeAttributes {
  const who = `VolumeAttributesClass ${name}`;
  if (driverName !== DRIVER_NAME) {
    throw new Fault('invalid', `${who} has driverName ${driverName}; expected ${DRIVER_NAME}`);
  }
  return parseAttributes(parameters, who);
}

/**
 * Returns the class of a new claim; undefined when it has none. Throws `precondition` when the
 * class does not exist, and as `attributesOfClass`.
 */
export function requireAttributesClass(
  name: string | undefined,
  found: AttributesClassView | undefined,
): AttributesClassView | undefined {
  if (name === undefined || name === '') return undefined;
  if (found !== undefined) {
    attributesOfClass(found);
    return found;
  }
  throw new Fault(
    'precondition',
    `VolumeAttributesClass ${name} does not exist; create it, or set another one`,
  );
}
