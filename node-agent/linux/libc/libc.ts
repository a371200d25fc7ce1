import { constants } from 'node:os';
import koffi from 'koffi';

/**
 * A failed system call. `code` is the name of its errno, by which `Fault.from` and callers classify
 * it.
 */
export class SysError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;
  readonly subject: string | undefined;

  constructor(syscall: string, errno: number, subject?: string) {
    const code = NAME_BY_ERRNO.get(errno) ?? `errno ${errno}`;
    super(subject === undefined ? `${syscall}: ${code}` : `${syscall} ${subject}: ${code}`);
    this.name = 'SysError';
    this.errno = errno;
    this.code = code;
    this.syscall = syscall;
    this.subject = subject;
  }
}

const NAME_BY_ERRNO = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

const library = koffi.load(null);

/**
 * C library calls that Node does not offer. All block the calling thread: use them only in a kernel
 * worker (`kernel-worker.ts`).
 */
export const libc = {
  open: library.func('int open(const char *path, int flags, int mode)'),
  close: library.func('int close(int fd)'),
  ioctl: library.func('int ioctl(int fd, unsigned long request, void *argument)'),
  ioctlNumber: library.func('ioctl', 'int', ['int', 'unsigned long', 'unsigned long']),
  mount: library.func(
    'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
  ),
  umount2: library.func('int umount2(const char *target, int flags)'),
  syncfs: library.func('int syncfs(int fd)'),
  fallocate: library.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)'),
  fchownat: library.func(
    'int fchownat(int directory, const char *path, unsigned int owner, unsigned int group, int flags)',
  ),
  chmod: library.func('int chmod(const char *path, unsigned int mode)'),
  getdents64: library.func('int64_t getdents64(int fd, void *buffer, size_t length)'),
  lseek: library.func('int64_t lseek(int fd, int64_t offset, int whence)'),
  /** System calls without a C library wrapper on some hosts; the first argument is the number. */
  openat2: library.func('syscall', 'long', ['long', 'int', 'str', 'void *', 'size_t']),
  openTree: library.func('syscall', 'long', ['long', 'int', 'str', 'unsigned int']),
  mountSetattr: library.func('syscall', 'long', ['long', 'int', 'str', 'unsigned int', 'void *', 'size_t']),
  moveMount: library.func('syscall', 'long', ['long', 'int', 'str', 'int', 'str', 'unsigned int']),
  quotactlFd: library.func('syscall', 'long', [
    'long',
    'unsigned int',
    'unsigned int',
    'unsigned int',
    'void *',
  ]),
  fsopen: library.func('syscall', 'long', ['long', 'str', 'unsigned int']),
  setns: library.func('int setns(int fd, int type)'),
  socket: library.func('int socket(int domain, int type, int protocol)'),
  bind: library.func('int bind(int fd, const void *address, unsigned int length)'),
  send: library.func('int64_t send(int fd, const void *buffer, size_t length, int flags)'),
  recv: library.func('int64_t recv(int fd, _Out_ void *buffer, size_t length, int flags)'),
  setsockopt: library.func(
    'int setsockopt(int fd, int level, int name, const void *value, unsigned int length)',
  ),
  /** Aborts the whole process; `process.abort` does not exist in a worker. */
  abort: library.func('void abort()'),
} as const;

/** Returns `result`; throws SysError with the current errno for -1. */
export function checked(result: number, syscall: string, subject?: string): number {
  if (result >= 0) return result;
  throw new SysError(syscall, koffi.errno(), subject);
}
