import { open } from 'node:fs/promises';
import { Fault } from '../../../../src/core/fault.ts';
import {
  type FoundFilesystem,
  PROBE_BYTES,
  probeFilesystem,
} from '../../../../src/core/volumes/filesystem-probe.ts';
import type { FsType } from '../../../../src/core/volumes/volume.ts';
import { runCommand } from '../../../../src/runtime/child-process.ts';
import { hasCapability } from '../../../linux/process/capabilities.ts';

interface FilesystemKind {
  /**
   * Makes one in a file; blocks and sectors of 4 KiB fit every disk, also one that the pool moves
   * to later.
   */
  readonly make: readonly string[];
  /**
   * More of the same, so that directories in it can be encrypted; absent where that is not
   * possible.
   */
  readonly makeEncryptable?: readonly string[];
  /** What is set in every mount: freed blocks go back to the pool. */
  readonly mountData: string;
  /** Grows one that is mounted to the size of its device. */
  readonly grow: (device: string, mountPoint: string) => readonly string[];
  /**
   * Grows one in a file that nothing mounts, where the kernel does not let everybody grow it
   * mounted. Cut off, it leaves a ruin.
   */
  readonly growOffline?: (file: string) => readonly (readonly string[])[];
  /** Gives a copy, in a file, an identity of its own. */
  readonly renew: (file: string) => readonly (readonly string[])[];
}

const KINDS: Readonly<Record<FsType, FilesystemKind>> = {
  ext4: {
    make: ['mkfs.ext4', '-q', '-F', '-b', '4096', '-m', '0', '-O', 'metadata_csum_seed', '-E', 'nodiscard'],
    // The last -O is the one that counts.
    makeEncryptable: ['-O', 'metadata_csum_seed,encrypt'],
    mountData: 'discard',
    grow: (device) => ['resize2fs', device],
    // The kernel lets only CAP_SYS_RESOURCE grow a mounted one; some sandboxes keep that from root.
    growOffline: (file) => [
      ['e2fsck', '-f', '-p', file],
      ['resize2fs', file],
    ],
    // The journal first: a copy of a mounted file system has something in it. Both are short,
    // whatever the size.
    renew: (file) => [
      ['e2fsck', '-p', file],
      ['tune2fs', '-U', 'random', file],
    ],
  },
  xfs: {
    make: ['mkfs.xfs', '-q', '-f', '-K', '-m', 'reflink=1', '-s', 'size=4096'],
    // Copies keep their UUID: a new one would need the log to be empty. Nothing here knows a volume
    // by it.
    mountData: 'discard,nouuid',
    grow: (_, mountPoint) => ['xfs_growfs', mountPoint],
    renew: () => [],
  },
  btrfs: {
    make: ['mkfs.btrfs', '-q', '-f', '--nodiscard', '-s', '4096'],
    mountData: 'discard=async',
    grow: (_, mountPoint) => ['btrfs', 'filesystem', 'resize', 'max', mountPoint],
    // The kernel takes two of one UUID for one file system.
    renew: (file) => [['btrfstune', '-f', '-m', file]],
  },
};

/** What e2fsck answers when it mended something. */
const MENDED = [1, 2];

/** Makes a file system in a new file of the right size. */
export async function makeFilesystem(
  type: FsType,
  file: string,
  { encryptable }: { readonly encryptable: boolean },
): Promise<void> {
  const { make, makeEncryptable } = KINDS[type];
  if (encryptable && makeEncryptable === undefined) {
    throw new Fault('bug', `${type} has no encryption, and a volume with it was to be encrypted`);
  }
  const [program = '', ...args] = make;
  await runCommand(program, [...args, ...(encryptable ? (makeEncryptable ?? []) : []), file]);
}

/**
 * Gives the file system in `file`, a copy of another one, an identity of its own where that is
 * possible.
 */
export async function renewFilesystem(type: FsType, file: string): Promise<void> {
  await runAll(KINDS[type].renew(file));
}

/**
 * Whether this process may grow such a file system while it is mounted, which its journal makes
 * safe at any moment.
 */
export async function growsMounted(type: FsType): Promise<boolean> {
  return KINDS[type].growOffline === undefined || (await hasCapability('CAP_SYS_RESOURCE'));
}

/**
 * Makes a file system that is not mounted as large as its file. Killed in the middle, it leaves
 * what nobody can mount: do it to a copy.
 */
export async function growUnmounted(type: FsType, file: string): Promise<void> {
  await runAll(KINDS[type].growOffline?.(file) ?? []);
}

async function runAll(commands: readonly (readonly string[])[]): Promise<void> {
  for (const [program = '', ...args] of commands) {
    await runCommand(program, args, { accept: program === 'e2fsck' ? MENDED : [], timeoutMs: 600_000 });
  }
}

/**
 * Options that a volume's file system is mounted with, as mount(2) takes them; a context holds no
 * quotes.
 */
export function mountDataOf(type: FsType, selinuxContext: string | undefined): string {
  const { mountData } = KINDS[type];
  return selinuxContext === undefined ? mountData : `${mountData},context="${selinuxContext}"`;
}

/** Makes a mounted file system as large as its device. */
export async function growFilesystem(type: FsType, device: string, mountPoint: string): Promise<void> {
  const [program = '', ...args] = KINDS[type].grow(device, mountPoint);
  await runCommand(program, args);
}

/**
 * What lies in the file of a volume. Throws `precondition` when it is not what the record says: it
 * is never formatted again.
 */
export async function readFilesystem(type: FsType, volumeId: string, file: string): Promise<FoundFilesystem> {
  const head = Buffer.alloc(PROBE_BYTES);
  {
    await using handle = await open(file, 'r');
    await handle.read(head, 0, head.length, 0);
  }
  const found = probeFilesystem(head);
  if (found?.type === type) return found;
  throw new Fault(
    'precondition',
    `volume ${volumeId} should hold ${type}, but its file holds ${found?.type ?? 'no file system'}; it is left alone`,
    { fields: { volumeId, expected: type, found: found?.type ?? 'none' } },
  );
}
