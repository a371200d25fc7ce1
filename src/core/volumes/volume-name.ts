import { Fault } from '../fault.ts';

/** The CSI specification's limit for strings. */
const MAX_NAME_BYTES = 128;
/** Control characters that CSI bans from names, all but tab, line feed and carriage return. */
const BANNED = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/;

/**
 * Checks a name that an orchestrator suggests. Any Unicode is fine, and case matters. Throws
 * `invalid` that names `field`.
 */
export function checkName(name: string, field: string): void {
  if (name === '') throw new Fault('invalid', `${field} is empty; give it a unique name`);
  const bytes = new TextEncoder().encode(name).length;
  if (bytes > MAX_NAME_BYTES) {
    throw new Fault('invalid', `${field} has ${bytes} bytes; at most ${MAX_NAME_BYTES} are allowed`);
  }
  const banned = BANNED.exec(name);
  if (banned !== null) {
    const code = banned[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
    throw new Fault('invalid', `${field} holds the control character U+${code}, which CSI does not allow`);
  }
}

/**
 * Ids that this project makes. Anything else is somebody's guess: it is looked up, found nowhere,
 * and never becomes a path.
 */
const ID = /^(vol|snap)-[0-9a-f]{24}$/;

/** The id for 12 random bytes in hex. */
export function formatId(kind: 'vol' | 'snap', random: string): string {
  const id = `${kind}-${random}`;
  if (!ID.test(id)) throw new Fault('bug', `${id} is no id of ours`);
  return id;
}

const GROUP_ID = /^group-[0-9a-f]{24}$/;

/**
 * The id of a group snapshot for 12 random bytes in hex. It names nothing on a disk, so it is no
 * `isId`.
 */
export function formatGroupId(random: string): string {
  const id = `group-${random}`;
  if (!isGroupId(id)) throw new Fault('bug', `${id} is no id of ours`);
  return id;
}

/** Whether `text` has the form of our ids of group snapshots. */
export function isGroupId(text: string): boolean {
  return GROUP_ID.test(text);
}

/** Whether `text` has the form of our ids. */
export function isId(text: string): boolean {
  return ID.test(text);
}
