import { checked, libc } from './libc.ts';

/** Unmounts `target`; flags as in umount2(2). Throws SysError. */
export function umount(target: string, flags: number): void {
  checked(libc.umount2(target, flags) as number, 'umount2', target);
}
