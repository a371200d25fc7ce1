import { constants, fstatSync, type Stats } from 'node:fs';
import { Fault } from '../../../src/core/fault.ts';
import { O_PATH, openBeneath, openEntry, type OpenFile, openParent } from './beneath.ts';
import { checked, libc, SysError } from '../libc/libc.ts';

/**
 * Mode bits for the group: read and write files, also enter directories, and inherit the group
 * (setgid).
 */
const FILE_BITS = 0o660;
const DIRECTORY_BITS = 0o2770;
const SETUID_SETGID = 0o6000;

const AT_EMPTY_PATH = 0x1000;
/** Owner argument of chown(2) that keeps the owner. */
const SAME_OWNER = 0xffff_ffff;
const DIRECTORY = O_PATH | constants.O_DIRECTORY;
const SELF = Buffer.from('.');
/** Errors of entries that were removed, replaced or mounted on during the walk. */
const SKIPPED = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV'];

/** Limits the length of a path in a message. */
const SHOWN_LENGTH = 512;

/** include/linux/dirent.h: `struct linux_dirent64`. */
const LISTING_BYTES = 32 * 1024;
const RECORD_LENGTH_OFFSET = 16;
const TYPE_OFFSET = 18;
const NAME_OFFSET = 19;
const DT_DIR = 4;

/**
 * Ensures that the directory `path` below `root` and all entries in it belong to `group`, as
 * kubelet does for an fsGroup: owners and other mode bits stay. The top directory is changed last,
 * and marks a complete tree: an interrupted walk is repeated by the next call. Writes only what
 * differs; does not follow links or enter other mounts. Returns false, partly done, for more than
 * `most` entries. Throws SysError with the path within the directory, and `unavailable` if
 * directories were moved during the walk.
 */
export function ensureFileGroup(root: number, path: string, group: number, most?: number): boolean {
  using top = openBeneath(root, path, DIRECTORY);
  const found = fstatSync(top.fd);
  if (found.gid === group && (found.mode & DIRECTORY_BITS) === DIRECTORY_BITS) return true;
  using walk = new Walk(top, { group, most: most ?? Number.POSITIVE_INFINITY });
  if (!walk.run()) return false;
  walk.finish(top);
  return true;
}

/** A directory between the top and the current position of the walk. */
interface Level {
  readonly name: string;
  readonly dev: bigint;
  readonly ino: bigint;
  /** Names of its directories that are not walked yet. */
  readonly left: string[];
}

/**
 * One walk, with a constant number of descriptors: it ascends by `..`, and checks that this is the
 * directory that it came from. Names are byte strings (latin1): pods use any encoding.
 */
class Walk implements Disposable {
  readonly #group: number;
  readonly #device: number;
  readonly #levels: Level[] = [];
  readonly #listing = Buffer.alloc(LISTING_BYTES);
  #here: OpenFile;
  #allowed: number;

  constructor(top: OpenFile, { group, most }: { readonly group: number; readonly most: number }) {
    this.#group = group;
    this.#allowed = most;
    this.#device = fstatSync(top.fd).dev;
    this.#here = openEntry(top.fd, SELF, DIRECTORY);
  }

  /** Returns whether the walk completed: then all but the top belongs to the group. */
  run(): boolean {
    this.#list('');
    while (this.#allowed >= 0) {
      const name = this.#levels.at(-1)?.left.pop();
      if (name !== undefined) this.#descend(name);
      else if (this.#levels.length > 1) this.#ascend();
      else return true;
    }
    return false;
  }

  finish(top: OpenFile): void {
    this.#change(top, fstatSync(top.fd), '.');
  }

  [Symbol.dispose](): void {
    this.#here[Symbol.dispose]();
  }

  /** Changes the group of all entries of this directory but its directories. */
  #list(name: string): void {
    const { dev, ino } = fstatSync(this.#here.fd, { bigint: true });
    const left: string[] = [];
    this.#levels.push({ name, dev, ino, left });
    using directory = this.#open(SELF, constants.O_RDONLY | constants.O_DIRECTORY);
    if (directory === undefined) return;
    while (this.#allowed >= 0) {
      const length = this.#readListing(directory);
      if (length === 0) return;
      for (
        let offset = 0;
        offset < length;
        offset += this.#listing.readUInt16LE(offset + RECORD_LENGTH_OFFSET)
      ) {
        const entry = this.#nameAt(offset);
        if (entry === '.' || entry === '..') continue;
        this.#allowed -= 1;
        const isDirectory = this.#listing[offset + TYPE_OFFSET] === DT_DIR || !this.#changeFile(entry);
        if (isDirectory) left.push(entry);
      }
    }
  }

  /** Returns 0 at the end, also for a directory that was removed during the walk. */
  #readListing({ fd }: OpenFile): number {
    try {
      const read: unknown = libc.getdents64(fd, this.#listing, this.#listing.length);
      return checked(Number(read), 'getdents64');
    } catch (error) {
      if (error instanceof SysError && error.code === 'ENOENT') return 0;
      throw this.#at('.', error);
    }
  }

  #nameAt(offset: number): string {
    const start = offset + NAME_OFFSET;
    return this.#listing.toString('latin1', start, this.#listing.indexOf(0, start));
  }

  /** Returns false for an entry that is a directory. */
  #changeFile(name: string): boolean {
    using entry = this.#open(Buffer.from(name, 'latin1'), O_PATH | constants.O_NOFOLLOW);
    if (entry === undefined) return true;
    const found = fstatSync(entry.fd);
    if (found.isDirectory()) return false;
    this.#change(entry, found, name);
    return true;
  }

  #descend(name: string): void {
    const entry = this.#open(Buffer.from(name, 'latin1'), DIRECTORY | constants.O_NOFOLLOW);
    if (entry === undefined) return;
    this.#here[Symbol.dispose]();
    this.#here = entry;
    // Before it is read: entries created from now on inherit the group.
    this.#change(entry, fstatSync(entry.fd), name);
    this.#list(name);
  }

  #ascend(): void {
    const left = this.#levels.pop();
    const level = this.#levels.at(-1);
    const parent = openParent(this.#here.fd);
    this.#here[Symbol.dispose]();
    this.#here = parent;
    const { dev, ino } = fstatSync(parent.fd, { bigint: true });
    if (dev === level?.dev && ino === level.ino) return;
    const path = this.#pathOf(left?.name ?? '.');
    throw new Fault('unavailable', `directory ${path} was moved while its group was changed; try again`);
  }

  #change(entry: OpenFile, found: Stats, name: string): void {
    try {
      changeGroup(entry, found, this.#group);
    } catch (error) {
      // A read-only subvolume that a pod created in its volume is read-only for everyone.
      const isSealed = error instanceof SysError && error.code === 'EROFS' && found.dev !== this.#device;
      if (!isSealed) throw this.#at(name, error);
    }
  }

  /** Returns undefined for an entry to skip. */
  #open(name: Buffer, flags: number): OpenFile | undefined {
    try {
      return openEntry(this.#here.fd, name, flags);
    } catch (error) {
      if (error instanceof SysError && SKIPPED.includes(error.code)) return undefined;
      throw this.#at(name.toString('latin1'), error);
    }
  }

  /** Returns the error with the path of the entry `name`. */
  #at(name: string, error: unknown): unknown {
    return error instanceof SysError ? new SysError(error.syscall, error.errno, this.#pathOf(name)) : error;
  }

  #pathOf(name: string): string {
    const names = this.#levels.slice(1).map((level) => level.name);
    if (name !== '.') names.push(name);
    const path = Buffer.from(names.join('/'), 'latin1').toString() || '.';
    const shown = path.length > SHOWN_LENGTH ? `…${path.slice(-SHOWN_LENGTH)}` : path;
    return JSON.stringify(shown).slice(1, -1);
  }
}

function changeGroup({ fd }: OpenFile, found: Stats, group: number): void {
  const isNew = found.gid !== group;
  if (isNew) {
    const changed: unknown = libc.fchownat(fd, '', SAME_OWNER, group, AT_EMPTY_PATH);
    checked(Number(changed), 'fchownat');
  }
  if (found.isSymbolicLink()) return;
  const mode = found.mode & 0o7777;
  const wanted = mode | (found.isDirectory() ? DIRECTORY_BITS : FILE_BITS);
  // chown(2) clears these bits of files. Killed in between, they stay cleared, as with kubelet.
  const isCleared = isNew && !found.isDirectory() && (mode & SETUID_SETGID) !== 0;
  if (wanted === mode && !isCleared) return;
  const set: unknown = libc.chmod(`/proc/self/fd/${fd}`, wanted);
  checked(Number(set), 'chmod');
}
