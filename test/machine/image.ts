import { createHash } from 'node:crypto';
import { chmod, cp, mkdir, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import { runCommand } from '../../src/runtime/child-process.ts';

/** What a machine is started from; all of it is only read. */
export interface MachineImage {
  readonly kernel: string;
  readonly initrd: string;
  /** A raw ext4 with a whole Debian. */
  readonly root: string;
}

const SUITE = 'bookworm';
const PACKAGES = [
  ...['systemd-sysv', 'udev', 'kmod', 'linux-image-cloud-amd64', 'initramfs-tools', 'zstd'],
  ...['btrfs-progs', 'xfsprogs', 'e2fsprogs', 'nftables', 'iproute2', 'procps', 'strace', 'fdisk'],
  // A policy, for the kernel with SELinux enabled; the others do not use it.
  'selinux-policy-default',
  // What Node's binary is linked with.
  ...['libstdc++6', 'libatomic1'],
];
/**
 * Debian's periodic work, which is not needed here: at a tenth of the speed it would take minutes.
 */
const MASKED = [
  ...['apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer', 'e2scrub_all.timer'],
  ...['e2scrub_reap.service', 'fstrim.timer', 'getty@tty1.service', 'serial-getty@ttyS0.service'],
  ...['systemd-logind.service', 'systemd-timesyncd.service', 'systemd-networkd.service'],
  ...['systemd-update-utmp.service', 'systemd-tmpfiles-clean.timer', 'nftables.service'],
  // A boot with SELinux after one without would label every file of the disk, and boot again.
  'selinux-autorelabel-mark.service',
];
const ROOT_BYTES = 3 * 2 ** 30;
const BUILD_MS = 1_800_000;
const GUEST = join(import.meta.dirname, 'guest');

export const MACHINE_CACHE = join(homedir(), '.cache/keelson/machine');

export interface ImageDeps {
  /** Called for each slow step. */
  readonly report: (text: string) => void;
}

/**
 * A Debian of its own, made once in a cache outside of the repository. Needs root, mmdebstrap and
 * mke2fs, and the archive.
 */
export async function ensureMachineImage({ report }: ImageDeps): Promise<MachineImage> {
  const guest = await Promise.all((await readdir(GUEST)).sort().map(readGuest));
  const recipe = JSON.stringify([SUITE, PACKAGES, MASKED, ROOT_BYTES, guest]);
  const key = createHash('sha256').update(recipe).digest('hex').slice(0, 16);
  const directory = join(MACHINE_CACHE, `debian-${key}`);
  if ((await stat(directory).catch(() => undefined)) === undefined) await build(directory, report);
  const boot = await readdir(join(directory, 'boot'));
  const named = (prefix: string): string => {
    const name = boot.find((file) => file.startsWith(prefix));
    if (name === undefined) throw new Fault('bug', `${directory}/boot has no ${prefix}; remove ${directory}`);
    return join(directory, 'boot', name);
  };
  return { kernel: named('vmlinuz-'), initrd: named('initrd.img-'), root: join(directory, 'root.img') };
}

async function readGuest(name: string): Promise<string> {
  const { stdout } = await runCommand('cat', [join(GUEST, name)]);
  return `${name}\n${stdout}`;
}

/** Whole or not at all: the directory gets its name when everything is in it. */
async function build(directory: string, report: (text: string) => void): Promise<void> {
  const fresh = `${directory}.${process.pid}`;
  const tree = join(fresh, 'tree');
  try {
    await mkdir(tree, { recursive: true });
    report(`making a Debian ${SUITE} for the machine, once; it takes some minutes`);
    const archive = join(fresh, 'root.tar');
    const include = `--include=${PACKAGES.join(',')}`;
    await runCommand('mmdebstrap', ['--quiet', '--variant=minbase', include, SUITE, archive], {
      timeoutMs: BUILD_MS,
    });
    await runCommand('tar', ['--extract', '--file', archive, '--directory', tree], { timeoutMs: BUILD_MS });
    await rm(archive);
    await furnish(tree);
    await cp(join(tree, 'boot'), join(fresh, 'boot'), { recursive: true });
    await makeDisk(join(fresh, 'root.img'), { from: tree, label: 'root', sizeBytes: ROOT_BYTES });
    await rm(tree, { recursive: true });
    await rename(fresh, directory);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

/** What makes a Debian this machine: where its disks go, and who answers to the host. */
async function furnish(tree: string): Promise<void> {
  await mkdir(join(tree, 'keelson'));
  await writeFile(join(tree, 'etc/hostname'), 'machine\n');
  await writeFile(
    join(tree, 'etc/fstab'),
    [
      '/dev/vda / ext4 defaults 0 1',
      'LABEL=keelson-code /keelson ext4 ro 0 0',
      'LABEL=keelson-npm /keelson/node_modules ext4 ro 0 0',
      '',
    ].join('\n'),
  );
  await cp(join(GUEST, 'answer.sh'), join(tree, 'usr/local/sbin/answer'));
  await chmod(join(tree, 'usr/local/sbin/answer'), 0o755);
  const type = 'usr/share/selinux/container.cil';
  await cp(join(GUEST, 'container.cil'), join(tree, type));
  await runCommand('chroot', [tree, 'semodule', '--noreload', '--install', `/${type}`], {
    timeoutMs: BUILD_MS,
  });
  const units = join(tree, 'etc/systemd/system');
  for (const unit of MASKED) await symlink('/dev/null', join(units, unit));
  await cp(join(GUEST, 'answer.service'), join(units, 'answer.service'));
  await mkdir(join(units, 'multi-user.target.wants'), { recursive: true });
  await symlink('../answer.service', join(units, 'multi-user.target.wants/answer.service'));
}

/** A disk with an ext4 that holds what is in a directory. */
export async function makeDisk(
  file: string,
  { from, label, sizeBytes }: { readonly from: string; readonly label: string; readonly sizeBytes: number },
): Promise<void> {
  await runCommand('truncate', ['--size', String(sizeBytes), file]);
  await runCommand('mke2fs', ['-q', '-t', 'ext4', '-L', label, '-E', 'root_owner=0:0', '-d', from, file], {
    timeoutMs: BUILD_MS,
  });
}
