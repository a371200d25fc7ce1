import { Fault } from '../fault.ts';
import type { SnapshotClassView } from './snapshot.ts';

/** Keys with this prefix address the snapshot controller, and never reach the driver. */
const RESERVED = 'csi.storage.k8s.io/';

/**
 * Returns the class of a snapshot of a volume of `driver`. Throws a Fault when it is missing or
 * ambiguous.
 */
export function chooseSnapshotClass(
  className: string | undefined,
  driver: string,
  classes: readonly SnapshotClassView[],
): SnapshotClassView {
  const chosen = className === undefined ? defaultClass(driver, classes) : named(className, classes);
  if (chosen.driver !== driver) {
    throw new Fault(
      'invalid',
      `VolumeSnapshotClass ${chosen.name} has driver ${chosen.driver}, but the claim's volume has driver ${driver}`,
    );
  }
  const unknown = Object.keys(chosen.parameters).find((key) => !key.startsWith(RESERVED));
  if (unknown === undefined) return chosen;
  throw new Fault(
    'invalid',
    `VolumeSnapshotClass ${chosen.name}: unknown parameter ${JSON.stringify(unknown)}; ${driver} takes none`,
  );
}

function named(name: string, classes: readonly SnapshotClassView[]): SnapshotClassView {
  const found = classes.find((candidate) => candidate.name === name);
  if (found !== undefined) return found;
  throw new Fault('precondition', `VolumeSnapshotClass ${name} does not exist`);
}

function defaultClass(driver: string, classes: readonly SnapshotClassView[]): SnapshotClassView {
  const [found, ...others] = classes.filter((each) => each.isDefault && each.driver === driver);
  if (found === undefined) {
    throw new Fault(
      'precondition',
      `no default VolumeSnapshotClass of driver ${driver} exists; set spec.volumeSnapshotClassName`,
    );
  }
  if (others.length === 0) return found;
  const names = [found, ...others].map(({ name }) => name).sort();
  throw new Fault(
    'precondition',
    `${names.length} VolumeSnapshotClasses of driver ${driver} are the default: ${names.join(', ')}; set spec.volumeSnapshotClassName`,
  );
}
