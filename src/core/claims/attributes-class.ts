import { DRIVER_NAME } from '../volumes/driver.ts';
import { Fault } from '../fault.ts';
import { parseAttributes, type VolumeAttributes } from '../volumes/volume-attributes.ts';

/** A VolumeAttributesClass. */
export interface AttributesClassView {
  readonly name: string;
  readonly driverName: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** What the volumes of a class are to have. Throws `invalid` for a class of another driver, and for parameters that cannot be. */
export function attributesOfClass({ name, driverName, parameters }: AttributesClassView): VolumeAttributes {
  const who = `VolumeAttributesClass ${name}`;
  if (driverName !== DRIVER_NAME) {
    throw new Fault('invalid', `${who} is of driver ${driverName}; name one of driver ${DRIVER_NAME}`);
  }
  return parseAttributes(parameters, who);
}

/** The class that a new claim names; undefined when it names none. Throws `precondition` for one that is not there, and as `attributesOfClass`. */
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
    `VolumeAttributesClass ${name} does not exist; make it, or name another one`,
  );
}
