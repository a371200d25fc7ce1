import { Fault } from '../../core/fault.ts';
import type { KubeObject, Resource } from '../../kube/resource.ts';

/** A kind that a verb accepts in KIND/NAME. */
export interface SubjectKind<Kind extends string = string> {
  readonly kind: Kind;
  /** Accepted spellings in lower case; help and completion show the first. */
  readonly names: readonly [string, ...string[]];
  /** Source of names for completion. */
  readonly resource: Resource<KubeObject>;
}

/** The object that a verb is asked about. */
export interface Subject<Kind extends string> {
  readonly kind: Kind;
  readonly name: string;
}

/** Parses `KIND/NAME` or `KIND NAME`, as kubectl does. Throws `invalid`. */
export function parseSubject<Kind extends string>(
  args: readonly string[],
  kinds: readonly SubjectKind<Kind>[],
): Subject<Kind> {
  const [spelling = '', name = '', ...more] = args.length === 1 ? (args[0]?.split('/') ?? []) : args;
  const found = kinds.find(({ names }) => names.includes(spelling.toLowerCase()));
  if (found !== undefined && name !== '' && more.length === 0) return { kind: found.kind, name };
  const forms = kinds.map(({ names: [shown] }) => `${shown}/NAME`).join(' or ');
  throw new Fault('invalid', `invalid argument ${JSON.stringify(args.join(' '))}; expected ${forms}`);
}
