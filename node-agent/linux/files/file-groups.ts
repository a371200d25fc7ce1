import { constants, fstatSync, type Stats } from 'node:fs';
import { Fault } from '../../../src/core/fault.ts';
import { O_PATH, openBeneath, openEntry, type OpenFile, openParent } from './beneath.ts';
import { checked, libc, SysError } from '../libc/libc.ts';

/**
 * What the group gets: files to read and to write, directories also to enter, and what is made in
 * them is the group's too.
 */
const FILE_BITS = 0o660;
const DIRECTORY_BITS = 0o2770;
const SETUID_SETGID = 0o6000;

const AT_EMPTY_PATH = 0x1000;
/** chown(2) leaves the owner as it is. */
const SAME_OWNER = 0xffff_ffff;
const DIRECTORY = O_PATH | constants.O_DIRECTORY;
const SELF = Buffer.from('.');
/** Gone meanwhile, something else than the directory that was there, or a mount. */
const PASSED_OVER = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV'];

/** How much of a path a message shows. */
const SHOWN_LENGTH = 512;

/** include/linux/dirent.h: `struct linux_dirent64`. */
const LISTING_BYTES = 32 * 1024;
const RECORD_LENGTH_OFFSET = 16;
const TYPE_OFFSET = 18;
const NAME_OFFSET = 19;
const DT_DIR = 4;

/**
 * Ensures that the directory `path` below `root`, and all that is in it, is the group's, as kubelet
 * does for an fsGroup: owners and other bits stay. A directory that is so already is left as it is
 * with all that is in it; it is changed last, so a walk that was cut off is taken up by the next
 * call. Only what differs is written. Links are not followed and other mounts not entered, whatever
 * a pod does meanwhile. False, with a part of it done, when there is more in it than `most`. Throws
 * SysError with the path within the directory, and `unavailable` when directories were moved
 * meanwhile.
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

/** A directory on the way from the top to where the walk is. */
interface Level {
  readonly name: string;
  readonly dev: bigint;
  readonly ino: bigint;
  /** Names of the directories in it that are still to be walked. */
  readonly left: string[];
}

/**
 * One walk, with few descriptors however deep the tree is: it goes up by `..`, to the directory
 * that it came from and to no other one. Names are strings of bytes (latin1): pods write them in
 * any encoding.
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

  /** Whether it came to the end: then all but the top is the group's. */
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
    this.#give(top, fstatSync(top.fd), '.');
  }

  [Symbol.dispose](): void {
    this.#here[Symbol.dispose]();
  }

  /** Gives what is in this directory to the group, but for the directories. */
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
        const isDirectory = this.#listing[offset + TYPE_OFFSET] === DT_DIR || !this.#giveFile(entry);
        if (isDirectory) left.push(entry);
      }
    }
  }

  /** 0 at the end, which is also that of a directory that was removed meanwhile. */
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

  /** False for what turns out to be a directory. */
  #giveFile(name: string): boolean {
    using entry = this.#open(Buffer.from(name, 'latin1'), O_PATH | constants.O_NOFOLLOW);
    if (entry === undefined) return true;
    const found = fstatSync(entry.fd);
    if (found.isDirectory()) return false;
    this.#give(entry, found, name);
    return true;
  }

  #descend(name: string): void {
    const entry = this.#open(Buffer.from(name, 'latin1'), DIRECTORY | constants.O_NOFOLLOW);
    if (entry === undefined) return;
    this.#here[Symbol.dispose]();
    this.#here = entry;
    // Before it is read: what is made in it from now on is the group's.
    this.#give(entry, fstatSync(entry.fd), name);
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

  #give(entry: OpenFile, found: Stats, name: string): void {
    try {
      give(entry, found, this.#group);
    } catch (error) {
      // A subvolume that a pod made in its volume, and made read-only, is so for everybody.
      const isSealed = error instanceof SysError && error.code === 'EROFS' && found.dev !== this.#device;
      if (!isSealed) throw this.#at(name, error);
    }
  }

  /** Undefined for what is passed over. */
  #open(name: Buffer, flags: number): OpenFile | undefined {
    try {
      return openEntry(this.#here.fd, name, flags);
    } catch (error) {
      if (error instanceof SysError && PASSED_OVER.includes(error.code)) return undefined;
      throw this.#at(name.toString('latin1'), error);
    }
  }

  /** The error with the path of what has this name here. */
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

function give({ fd }: OpenFile, found: Stats, group: number): void {
  const isNew = found.gid !== group;
  if (isNew) {
    const changed: unknown = libc.fchownat(fd, '', SAME_OWNER, group, AT_EMPTY_PATH);
    checked(Number(changed), 'fchownat');
  }
  if (found.isSymbolicLink()) return;
  const mode = found.mode & 0o7777;
  const wanted = mode | (found.isDirectory() ? DIRECTORY_BITS : FILE_BITS);
  // chown(2) takes these bits from files. Killed in between, they are gone: so they are with
  // kubelet.
  const isCleared = isNew && !found.isDirectory() && (mode & SETUID_SETGID) !== 0;
  if (wanted === mode && !isCleared) return;
  const set: unknown = libc.chmod(`/proc/self/fd/${fd}`, wanted);
  checked(Number(set), 'chmod');
}
