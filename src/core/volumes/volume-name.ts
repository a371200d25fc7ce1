import { Fault } from '../fault.ts';

/** Limit of strings in the CSI specification. */
const MAX_NAME_BYTES = 128;
/** Control characters that CSI forbids in names: all but tab, line feed and carriage return. */
const BANNED = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/;

/**
 * Checks a name that an orchestrator suggests: any Unicode text, case-sensitive. Throws `invalid`,
 * which names `field`.
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

/** Form of the ids of volumes and snapshots. Only such an id becomes a path. */
const ID = /^(vol|snap)-[0-9a-f]{24}$/;

/** Returns the id for 12 random bytes in hexadecimal. */
export function formatId(kind: 'vol' | 'snap', random: string): string {
  const id = `${kind}-${random}`;
  if (!ID.test(id)) throw new Fault('bug', `${id} is not a valid id`);
  return id;
}

const GROUP_ID = /^group-[0-9a-f]{24}$/;

/**
 * Returns the id of a group snapshot for 12 random bytes in hexadecimal; it is not an `isId`,
 * because it names no data.
 */
export function formatGroupId(random: string): string {
  const id = `group-${random}`;
  if (!isGroupId(id)) throw new Fault('bug', `${id} is not a valid id`);
  return id;
}

/** Whether `text` has the form of a group snapshot's id. */
export function isGroupId(text: string): boolean {
  return GROUP_ID.test(text);
}

/** Whether `text` has the form of a volume's or snapshot's id. */
export function isId(text: string): boolean {
  return ID.test(text);
}

/** Returns the id for use in a path. Throws `bug` if it is not an `isId`. */
export function checkedId(id: string): string {
  if (!isId(id))
    throw new Fault(
      'bug',
      `${JSON.stringify(id)} is not the id of a volume or snapshot, but was used as a path`,
    );
  return id;
}
