const UNITS = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'] as const;

/** Formats an exact size as Kubernetes does: `10Gi`, `1500Mi`, `1000000`. */
export function exactQuantity(bytes: bigint): string {
  let rest = bytes;
  let unit = 0;
  while (unit < UNITS.length - 1 && rest > 0n && rest % 1024n === 0n) {
    rest /= 1024n;
    unit += 1;
  }
  return `${rest}${UNITS[unit] ?? ''}`;
}
