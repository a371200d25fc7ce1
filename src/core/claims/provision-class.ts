import { Fault } from '../fault.ts';
import { parsePoolParameters, POOL_PARAMETERS, type PoolParameters } from '../pools/pool-parameters.ts';
import { type ClaimView, type ClassView, describeClaim } from './provision.ts';
import type { PoolRequest } from './provision-placement.ts';
import { isSecretKey, isSecretNamed } from './secret-templates.ts';
import { FS_TYPES, type FsType } from '../volumes/volume.ts';

/** What a class says of its volumes; without a pool each is in the one with the most room. */
export interface ClassParameters extends PoolParameters {
  readonly fsType: FsType | undefined;
  /** Those that are the driver's own: what a volume records of its class. */
  readonly own: Readonly<Record<string, string>>;
}

/** Keys under this prefix speak to whoever provisions, and never reach the driver. */
const RESERVED = 'csi.storage.k8s.io/';
const FS_TYPE_KEY = `${RESERVED}fstype`;
const OLD_FS_TYPE_KEY = 'fstype';

/** The parameters of a class. Throws `invalid` for one that means nothing, so that a typing error does not go unnoticed. */
export function parseClassParameters({
  name,
  parameters,
}: Pick<ClassView, 'name' | 'parameters'>): ClassParameters {
  const fault = (what: string): Fault =>
    new Fault('invalid', `StorageClass ${name}: ${what}`, { fields: { storageClass: name } });
  const fsTypes = [parameters[FS_TYPE_KEY], parameters[OLD_FS_TYPE_KEY]].filter(
    (value) => value !== undefined,
  );
  if (fsTypes.length > 1) {
    throw fault(`both ${FS_TYPE_KEY} and ${OLD_FS_TYPE_KEY} are given; keep the first`);
  }
  const own: Record<string, string> = {};
  for (const [key, value] of Object.entries(parameters)) {
    if (key === FS_TYPE_KEY || key === OLD_FS_TYPE_KEY || isSecretKey(key)) continue;
    if (!POOL_PARAMETERS.includes(key)) {
      const possible = [...POOL_PARAMETERS, FS_TYPE_KEY].join(', ');
      throw fault(`parameter ${JSON.stringify(key)} is unknown; possible are ${possible}`);
    }
    own[key] = value;
  }
  const wanted = fsTypes[0] ?? '';
  const fsType = FS_TYPES.find((type) => type === wanted);
  if (wanted !== '' && fsType === undefined) {
    throw fault(`there is no file system ${JSON.stringify(wanted)}; possible are ${FS_TYPES.join(', ')}`);
  }
  const pools = parsePoolParameters(own, `StorageClass ${name}`);
  if (pools.encrypted && !isSecretNamed(parameters, 'node-stage')) {
    throw fault(
      'encrypted: "true" needs a Secret with the passphrase: name it in csi.storage.k8s.io/node-stage-secret-name and -namespace',
    );
  }
  return { ...pools, fsType, own };
}

/**
 * Which pools the volume of a claim of the class may be in: the file system of a class is for those of its claims that want one. Throws
 * `unsupported` for a block device that would have to be encrypted.
 */
export function poolRequestOf(
  { own: _own, fsType, ...pools }: ClassParameters,
  claim: Pick<ClaimView, 'namespace' | 'name' | 'className' | 'volumeMode'>,
): PoolRequest {
  const { volumeMode, className } = claim;
  if (pools.encrypted && volumeMode === 'Block') {
    throw new Fault(
      'unsupported',
      `${describeClaim(claim)} wants a block device of StorageClass ${className}, whose volumes are encrypted: only those with a file system can be`,
    );
  }
  return { ...pools, fsType: volumeMode === 'Block' ? undefined : fsType, volumeMode };
}
