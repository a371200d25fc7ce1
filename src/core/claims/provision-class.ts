import { Fault } from '../fault.ts';
import { parsePoolParameters, POOL_PARAMETERS, type PoolParameters } from '../pools/pool-parameters.ts';
import { type ClaimView, type ClassView, describeClaim } from './provision.ts';
import type { PoolRequest } from './provision-placement.ts';
import { isSecretKey, isSecretNamed } from './secret-templates.ts';
import { FS_TYPES, type FsType } from '../volumes/volume.ts';

/** Parameters of a class; without a pool each volume goes to the pool with the most free space. */
export interface ClassParameters extends PoolParameters {
  readonly fsType: FsType | undefined;
  /** The driver's own parameters, which a volume records. */
  readonly own: Readonly<Record<string, string>>;
}

/** Keys with this prefix address the provisioner, and never reach the driver. */
const RESERVED = 'csi.storage.k8s.io/';
const FS_TYPE_KEY = `${RESERVED}fstype`;
const OLD_FS_TYPE_KEY = 'fstype';

/**
 * Returns the parameters of a class. Throws `invalid` for an unknown parameter, so that a typing
 * error is noticed.
 */
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
    throw fault(`${FS_TYPE_KEY} and ${OLD_FS_TYPE_KEY} are both set; keep the first`);
  }
  const own: Record<string, string> = {};
  for (const [key, value] of Object.entries(parameters)) {
    if (key === FS_TYPE_KEY || key === OLD_FS_TYPE_KEY || isSecretKey(key)) continue;
    if (!POOL_PARAMETERS.includes(key)) {
      const possible = [...POOL_PARAMETERS, FS_TYPE_KEY].join(', ');
      throw fault(`unknown parameter ${JSON.stringify(key)}; expected one of ${possible}`);
    }
    own[key] = value;
  }
  const wanted = fsTypes[0] ?? '';
  const fsType = FS_TYPES.find((type) => type === wanted);
  if (wanted !== '' && fsType === undefined) {
    throw fault(`unknown file system ${JSON.stringify(wanted)}; expected one of ${FS_TYPES.join(', ')}`);
  }
  const pools = parsePoolParameters(own, `StorageClass ${name}`);
  if (pools.encrypted && !isSecretNamed(parameters, 'node-stage')) {
    throw fault(
      'encrypted: "true" requires a Secret with the passphrase: set csi.storage.k8s.io/node-stage-secret-name and -namespace',
    );
  }
  return { ...pools, fsType, own };
}

/**
 * Returns which pools the volume of a claim may be in; the file system of a class applies to claims
 * with volumeMode Filesystem. Throws `unsupported` for an encrypted block volume.
 */
export function poolRequestOf(
  { own: _own, fsType, ...pools }: ClassParameters,
  claim: Pick<ClaimView, 'namespace' | 'name' | 'className' | 'volumeMode'>,
): PoolRequest {
  const { volumeMode, className } = claim;
  if (pools.encrypted && volumeMode === 'Block') {
    throw new Fault(
      'unsupported',
      `${describeClaim(claim)} requests volumeMode Block of StorageClass ${className}, whose volumes are encrypted; encryption requires Filesystem`,
    );
  }
  return { ...pools, fsType: volumeMode === 'Block' ? undefined : fsType, volumeMode };
}
