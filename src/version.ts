import packageJson from '../package.json' with { type: 'json' };

/** The release of this build, as in package.json. */
export const VERSION: string = packageJson.version;

/** Versions of the interfaces that this build speaks. */
export const INTERFACES = { csi: '1.13.0', cni: '1.1.0', cri: 'runtime.v1' } as const;
