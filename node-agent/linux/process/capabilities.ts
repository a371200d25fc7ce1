import { readFile } from 'node:fs/promises';

/** Numbers of include/uapi/linux/capability.h. */
const CAPABILITIES = { CAP_SYS_RESOURCE: 24n } as const;

/** Whether this process, and the programs that it starts as root, have the capability. */
export async function hasCapability(name: keyof typeof CAPABILITIES): Promise<boolean> {
  const status = await readFile('/proc/self/status', 'utf8');
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> CAPABILITIES[name]) & 1n) === 1n;
}
