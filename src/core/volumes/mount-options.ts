import { Fault } from '../fault.ts';

/** Mount options, sorted by what they concern. */
export interface MountOptions {
  /** One mount alone, in the order given; whether there are such options is not looked at. */
  readonly own: readonly string[];
  /** The SELinux context of all files of the file system, without quotes; undefined for none. */
  readonly context: string | undefined;
}

/**
 * user:role:type, and with MLS or MCS a range of levels: nothing in it could end a quote or an
 * option.
 */
const CONTEXT = /^[\w.-]+:[\w.-]+:[\w.-]+(?::[\w.,:-]+)?$/;
/**
 * The start of a context without quotes that was cut at a comma, and what may follow there:
 * categories. No mount option looks like them.
 */
const CUT_OFF = /^context=[^"]*[:,.]c\d+$/;
const CATEGORIES = /^c\d+(?:\.c\d+)?(?:-s\d+(?::c\d+(?:\.c\d+)?)?)?$/;
const EXAMPLE = 'context="system_u:object_r:container_file_t:s0:c1,c2"';
/**
 * mount(8) has them too: for files that have a label of their own besides, which volumes do not
 * need.
 */
const OTHER_LABELS = ['fscontext', 'defcontext', 'rootcontext', 'seclabel'];

/**
 * Reads mount options as mount(8) does: commas divide, but not within double quotes. A context is
 * also understood without them. Throws `invalid` for one that is malformed, for two of them, and
 * for the other options that label files.
 */
export function parseMountOptions(flags: readonly string[]): MountOptions {
  const own: string[] = [];
  let context: string | undefined;
  for (const option of flags.flatMap(splitOptions)) {
    const end = option.indexOf('=');
    const name = end < 0 ? option : option.slice(0, end);
    if (OTHER_LABELS.includes(name)) {
      throw new Fault(
        'invalid',
        `mount option ${name} is not possible; of those for SELinux there is context alone, as in ${EXAMPLE}`,
      );
    }
    if (CATEGORIES.test(option)) {
      throw new Fault(
        'invalid',
        `mount option ${option} is a part of an SELinux context; write all of it as one option, in quotes: ${EXAMPLE}`,
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
        `mount option context is given twice, as ${context} and as ${found}; name one of them`,
      );
    }
    context = found;
  }
  return { own, context };
}

function parseContext(text: string): string {
  const bare = text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
  if (CONTEXT.test(bare)) return bare;
  throw new Fault(
    'invalid',
    `mount option context is ${JSON.stringify(text.slice(0, 256))}, which is no SELinux context user:role:type:level; write for example ${EXAMPLE}`,
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
      `mount option ${JSON.stringify(flag.slice(0, 256))} has a double quote without an end`,
    );
  }
  end();
  return options;
}

/** Whether a record may hold it as a context. */
export function isContext(text: string): boolean {
  return CONTEXT.test(text);
}
