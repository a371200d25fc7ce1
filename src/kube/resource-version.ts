import type { KubeObject } from './resource.ts';

/**
 * Whether `left` is newer than `right`. Versions of one kind are ordered as integers (KEP-5504, a promise of the API since 1.35 and the
 * behaviour of every release before); anything else is not comparable, and then false.
 */
export function isNewerVersion(left: string | undefined, right: string | undefined): boolean {
  const [a, b] = [parse(left), parse(right)];
  return a !== undefined && b !== undefined && a > b;
}

/** The version of an object. */
export function versionOf(object: KubeObject): string | undefined {
  return object.metadata?.resourceVersion;
}

function parse(version: string | undefined): bigint | undefined {
  return version !== undefined && /^\d{1,39}$/.test(version) ? BigInt(version) : undefined;
}
