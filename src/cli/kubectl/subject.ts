import { Fault } from '../../core/fault.ts';

/** What a verb is asked about. */
export interface Subject<Kind extends string> {
  readonly kind: Kind;
  readonly name: string;
}

/** Reads `KIND/NAME`, or `KIND NAME` as kubectl takes it too; `kinds` are its spellings. Throws `invalid` with `usage`. */
export function parseSubject<Kind extends string>(
  args: readonly string[],
  kinds: Readonly<Record<string, Kind>>,
  { forms, usage }: { readonly forms: readonly [string, string]; readonly usage: string },
): Subject<Kind> {
  const [kindText = '', name = '', ...more] = args.length === 1 ? (args[0]?.split('/') ?? []) : args;
  const kind = Object.hasOwn(kinds, kindText.toLowerCase()) ? kinds[kindText.toLowerCase()] : undefined;
  if (kind !== undefined && name !== '' && more.length === 0) return { kind, name };
  throw new Fault(
    'invalid',
    `${JSON.stringify(args.join(' '))} is neither ${forms[0]} nor ${forms[1]}\nusage: ${usage}`,
  );
}
