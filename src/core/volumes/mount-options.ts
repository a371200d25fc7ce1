import { Fault } from '../fault.ts';

/** Mount options, by what they apply to. */
export interface MountOptions {
  /** Options of one mount, in order; they may be unknown. */
  readonly own: readonly string[];
  /** The SELinux context of the whole file system, without quotes; undefined for none. */
  readonly context: string | undefined;
}

/**
 * user:role:type and optional MLS or MCS levels; no character that could end a quote or an option.
 */
const CONTEXT = /^[\w.-]+:[\w.-]+:[\w.-]+(?::[\w.,:-]+)?$/;
/**
 * The start of an unquoted context that was split at a comma, and categories that may follow it; no
 * other mount option looks like them.
 */
const CUT_OFF = /^context=[^"]*[:,.]c\d+$/;
const CATEGORIES = /^c\d+(?:\.c\d+)?(?:-s\d+(?::c\d+(?:\.c\d+)?)?)?$/;
const EXAMPLE = 'context="system_u:object_r:container_file_t:s0:c1,c2"';
/** Further SELinux options of mount(8), for file systems whose files have labels. */
const OTHER_LABELS = ['fscontext', 'defcontext', 'rootcontext', 'seclabel'];

/**
 * Parses mount options as mount(8) does: separated by commas outside of double quotes, which a
 * context may omit. Throws `invalid` for a malformed context, two contexts, and other SELinux
 * options.
 */
export function parseMountOptions(flags: readonly string[]): MountOptions {
  const own: string[] = [];
  let context: string | undefined;
  for (const option of flags.flatMap(splitOptions)) {
    const end = option.indexOf('=');
    const name = end < 0 ? option : option.slice(0, end);
    if (OTHER_LABELS.includes(name)) {
      throw new Fault('invalid', `mount option ${name} is not supported; use context, as in ${EXAMPLE}`);
    }
    if (CATEGORIES.test(option)) {
      throw new Fault(
        'invalid',
        `mount option ${option} is part of an SELinux context; quote the whole context: ${EXAMPLE}`,
      );
    }
    if (name !== 'context') {
      own.push(option);
      continue;
    }
    const found = parseContext(option.slice('context='.length));
    if (context !== undefined && context !== found) {
      throw new Fault(
        'invalid',
        `mount option context is given twice, as ${context} and ${found}; expected one`,
      );
    }
    context = found;
  }
  return { own, context };
}

function parseContext(text: string): string {
  const unquoted = text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
  if (CONTEXT.test(unquoted)) return unquoted;
  throw new Fault(
    'invalid',
    `mount option context is ${JSON.stringify(text.slice(0, 256))}, which is not an SELinux context user:role:type:level; expected one like ${EXAMPLE}`,
  );
}

function splitOptions(flag: string): string[] {
  const options: string[] = [];
  let [option, isQuoted] = ['', false];
  const end = (): void => {
    const before = options.at(-1);
    if (before !== undefined && CUT_OFF.test(before) && CATEGORIES.test(option)) {
      options[options.length - 1] = `${before},${option}`;
    } else {
      options.push(option);
    }
    option = '';
  };
  for (const letter of flag) {
    if (letter === '"') isQuoted = !isQuoted;
    if (letter === ',' && !isQuoted) end();
    else option += letter;
  }
  if (isQuoted) {
    throw new Fault(
      'invalid',
      `mount option ${JSON.stringify(flag.slice(0, 256))} has an unclosed double quote`,
    );
  }
  end();
  return options;
}

/** Whether `text` is a valid SELinux context. */
export function isContext(text: string): boolean {
  return CONTEXT.test(text);
}
