import { openBeneath } from './beneath.ts';
import { checked, libc, SysError } from '../libc/libc.ts';

/** include/uapi/linux/fs.h: `struct fsxattr`, and the calls that read and write it. */
const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_IOC_FSSETXATTR = 0x401c5820;
const FSXATTR_BYTES = 28;
const PROJECT_OFFSET = 12;
const FS_XFLAG_PROJINHERIT = 0x200;

/** include/uapi/linux/quota.h and dqblk_xfs.h. The generic calls serve ext4 and XFS alike. */
const SYS_QUOTACTL_FD = 443;
const PRJQUOTA = 2;
const Q_GETQUOTA = 0x800007;
const Q_SETQUOTA = 0x800008;
const Q_XGETQSTATV = 0x5808;
const DQBLK_BYTES = 72;
const STATV_BYTES = 160;
const STATV_VERSION = 1;
const FS_QUOTA_PDQ_ACCT = 1 << 4;
const FS_QUOTA_PDQ_ENFD = 1 << 5;
const QIF_BLIMITS = 1;
const QIF_ILIMITS = 4;
/** Limits are in blocks of this size for any file system; usage is in bytes. */
const LIMIT_BLOCK_BYTES = 1024n;

/** Errors of file systems and kernels without project ids. */
const NO_PROJECTS = ['EOPNOTSUPP', 'ENOTTY', 'EINVAL', 'ENOSYS'];
/** Errors of file systems without project quotas; ESRCH while these are disabled. */
const NO_QUOTA = ['ENOSYS', 'EINVAL', 'EOPNOTSUPP', 'ENOTTY', 'ESRCH', 'ENODEV'];

/** Support for project quotas on a file system: none, accounting only, or enforced limits. */
type ProjectQuotaState = 'none' | 'counted' | 'enforced';

/** Usage and limits of a project. */
interface ProjectQuota {
  readonly project: number;
  readonly usedBytes: bigint;
  readonly usedInodes: bigint;
  /** Undefined for no limit. */
  readonly limitBytes: bigint | undefined;
  readonly limitInodes: bigint | undefined;
}

/** Limits to set; an absent one stays, 0 removes it. */
interface ProjectLimits {
  readonly bytes?: bigint;
  readonly inodes?: bigint;
}

/** Returns the project id of the directory `path` below `root`; 0 for none. */
export function readProject(root: number, path: string): number {
  using directory = openBeneath(root, path);
  return readAttributes(directory.fd)?.readUInt32LE(PROJECT_OFFSET) ?? 0;
}

/**
 * Sets the project id of the directory `path` below `root`, inherited by new entries. Returns false
 * if the file system does not support project ids.
 */
export function setProject(root: number, path: string, project: number): boolean {
  using directory = openBeneath(root, path);
  const attributes = readAttributes(directory.fd);
  if (attributes === undefined) return false;
  const flags = (attributes.readUInt32LE(0) | FS_XFLAG_PROJINHERIT) >>> 0;
  if (attributes.readUInt32LE(0) === flags && attributes.readUInt32LE(PROJECT_OFFSET) === project)
    return true;
  attributes.writeUInt32LE(flags, 0);
  attributes.writeUInt32LE(project, PROJECT_OFFSET);
  return supported(NO_PROJECTS, () => {
    checked(libc.ioctl(directory.fd, FS_IOC_FSSETXATTR, attributes) as number, 'FS_IOC_FSSETXATTR', path);
  });
}

function readAttributes(fd: number): Buffer | undefined {
  const attributes = Buffer.alloc(FSXATTR_BYTES);
  const known = supported(NO_PROJECTS, () => {
    checked(libc.ioctl(fd, FS_IOC_FSGETXATTR, attributes) as number, 'FS_IOC_FSGETXATTR');
  });
  return known ? attributes : undefined;
}

/** Returns the current support for project quotas on the file system of `fd`. */
export function readProjectQuotaState(fd: number): ProjectQuotaState {
  const answer = Buffer.alloc(STATV_BYTES);
  answer.writeInt8(STATV_VERSION, 0);
  if (!supported(NO_QUOTA, () => quotactl(fd, Q_XGETQSTATV, 0, answer, 'Q_XGETQSTATV'))) return 'none';
  const flags = answer.readUInt16LE(2);
  if ((flags & FS_QUOTA_PDQ_ENFD) !== 0) return 'enforced';
  return (flags & FS_QUOTA_PDQ_ACCT) === 0 ? 'none' : 'counted';
}

/** Returns the quotas of the given projects; a project without any usage has zeros. */
export function readProjectQuotas(fd: number, projects: readonly number[]): ProjectQuota[] {
  return projects.map((project) => {
    const answer = Buffer.alloc(DQBLK_BYTES);
    const found = supported(['ENOENT'], () => quotactl(fd, Q_GETQUOTA, project, answer, 'Q_GETQUOTA'));
    if (!found) answer.fill(0);
    const word = (index: number): bigint => answer.readBigUInt64LE(index * 8);
    const limit = (value: bigint): bigint | undefined => (value === 0n ? undefined : value);
    return {
      project,
      usedBytes: word(2),
      usedInodes: word(5),
      limitBytes: limit(word(0) * LIMIT_BLOCK_BYTES),
      limitInodes: limit(word(3)),
    };
  });
}

/** Sets limits of a project; limits below its usage only block further writes. */
export function setProjectLimits(fd: number, project: number, { bytes, inodes }: ProjectLimits): void {
  const argument = Buffer.alloc(DQBLK_BYTES);
  if (bytes !== undefined) argument.writeBigUInt64LE((bytes + LIMIT_BLOCK_BYTES - 1n) / LIMIT_BLOCK_BYTES, 0);
  if (inodes !== undefined) argument.writeBigUInt64LE(inodes, 24);
  const valid = (bytes === undefined ? 0 : QIF_BLIMITS) | (inodes === undefined ? 0 : QIF_ILIMITS);
  argument.writeUInt32LE(valid, 64);
  quotactl(fd, Q_SETQUOTA, project, argument, 'Q_SETQUOTA');
}

/** quotactl_fd(2), Linux 5.14, by an open file: no device path is needed. */
function quotactl(fd: number, command: number, project: number, argument: Buffer, name: string): void {
  const number = ((command << 8) | PRJQUOTA) >>> 0;
  const result: unknown = libc.quotactlFd(SYS_QUOTACTL_FD, fd, number, project, argument);
  checked(Number(result), name, `project ${project}`);
}

/** Returns false if `work` fails with one of these errors. */
function supported(missing: readonly string[], work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (error instanceof SysError && missing.includes(error.code)) return false;
    throw error;
  }
}
