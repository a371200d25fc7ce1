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

interface FilesystemCommands {
  /** Creates it in a file; 4 KiB blocks and sectors fit every disk that the pool may move to. */
  readonly make: readonly string[];
  /** Further options so that its directories can be encrypted; absent if they cannot be. */
  readonly makeEncryptable?: readonly string[];
  /** Options of every mount: discards return freed blocks to the pool. */
  readonly mountData: string;
  /** Grows it to the size of its device while it is mounted. */
  readonly grow: (device: string, mountPoint: string) => readonly string[];
  /** Grows it unmounted, for kernels that restrict online growth; an interruption destroys it. */
  readonly growOffline?: (file: string) => readonly (readonly string[])[];
  /** Gives a copy in a file its own UUID. */
  readonly renew: (file: string) => readonly (readonly string[])[];
}

const KINDS: Readonly<Record<FsType, FilesystemCommands>> = {
  ext4: {
    make: ['mkfs.ext4', '-q', '-F', '-b', '4096', '-m', '0', '-O', 'metadata_csum_seed', '-E', 'nodiscard'],
    // The last -O option applies.
    makeEncryptable: ['-O', 'metadata_csum_seed,encrypt'],
    mountData: 'discard',
    grow: (device) => ['resize2fs', device],
    // Online growth needs CAP_SYS_RESOURCE, which some sandboxes drop.
    growOffline: (file) => [
      ['e2fsck', '-f', '-p', file],
      ['resize2fs', file],
    ],
    // e2fsck replays the journal of a copy of a mounted file system; both are fast for any size.
    renew: (file) => [
      ['e2fsck', '-p', file],
      ['tune2fs', '-U', 'random', file],
    ],
  },
  xfs: {
    make: ['mkfs.xfs', '-q', '-f', '-K', '-m', 'reflink=1', '-s', 'size=4096'],
    // Copies keep their UUID (a new one needs a clean log); volumes are not identified by it.
    mountData: 'discard,nouuid',
    grow: (_, mountPoint) => ['xfs_growfs', mountPoint],
    renew: () => [],
  },
  btrfs: {
    make: ['mkfs.btrfs', '-q', '-f', '--nodiscard', '-s', '4096'],
    mountData: 'discard=async',
    grow: (_, mountPoint) => ['btrfs', 'filesystem', 'resize', 'max', mountPoint],
    // The kernel treats two file systems with one UUID as one.
    renew: (file) => [['btrfstune', '-f', '-m', file]],
  },
};

/** Exit codes of e2fsck after repairs. */
const REPAIRED = [1, 2];

/** Creates a file system in a new file of its final size. */
export async function makeFilesystem(
  type: FsType,
  file: string,
  { encryptable }: { readonly encryptable: boolean },
): Promise<void> {
  const { make, makeEncryptable } = KINDS[type];
  if (encryptable && makeEncryptable === undefined) {
    throw new Fault('bug', `a volume with ${type} cannot be encrypted`);
  }
  const [program = '', ...args] = make;
  await runCommand(program, [...args, ...(encryptable ? (makeEncryptable ?? []) : []), file]);
}

/** Gives the file system in `file`, a copy, its own UUID where that is necessary. */
export async function renewFilesystem(type: FsType, file: string): Promise<void> {
  await runAll(KINDS[type].renew(file));
}

/** Whether this process may grow such a file system online, which is crash-safe. */
export async function growsMounted(type: FsType): Promise<boolean> {
  return KINDS[type].growOffline === undefined || (await hasCapability('CAP_SYS_RESOURCE'));
}

/** Grows an unmounted file system to the size of its file; not crash-safe, so use it on a copy. */
export async function growUnmounted(type: FsType, file: string): Promise<void> {
  await runAll(KINDS[type].growOffline?.(file) ?? []);
}

async function runAll(commands: readonly (readonly string[])[]): Promise<void> {
  for (const [program = '', ...args] of commands) {
    await runCommand(program, args, { accept: program === 'e2fsck' ? REPAIRED : [], timeoutMs: 600_000 });
  }
}

/** Returns the mount data of a volume's file system (mount(2)); a context has no quotes. */
export function mountDataOf(type: FsType, selinuxContext: string | undefined): string {
  const { mountData } = KINDS[type];
  return selinuxContext === undefined ? mountData : `${mountData},context="${selinuxContext}"`;
}

/** Grows a mounted file system to the size of its device. */
export async function growFilesystem(type: FsType, device: string, mountPoint: string): Promise<void> {
  const [program = '', ...args] = KINDS[type].grow(device, mountPoint);
  await runCommand(program, args);
}

/**
 * Probes the file system of a volume. Throws `precondition` for another type; it is never
 * reformatted.
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
    `volume ${volumeId} has ${found?.type ?? 'no known file system'} in its file, expected ${type}; the file is left untouched`,
    { fields: { volumeId, expected: type, found: found?.type ?? 'none' } },
  );
}
