import type { KubeObject } from './resource.ts';

/**
 * Whether `left` is newer than `right`. Versions of one kind are ordered integers (KEP-5504:
 * guaranteed since Kubernetes 1.35, true in all earlier releases); other values are not comparable:
 * false.
 */
export function isNewerVersion(left: string | undefined, right: string | undefined): boolean {
  const [a, b] = [parse(left), parse(right)];
  return a !== undefined && b !== undefined && a > b;
}

/** Returns `metadata.resourceVersion`. */
export function versionOf(object: KubeObject): string | undefined {
  return object.metadata?.resourceVersion;
}

function parse(version: string | undefined): bigint | undefined {
  return version !== undefined && /^\d{1,39}$/.test(version) ? BigInt(version) : undefined;
}
