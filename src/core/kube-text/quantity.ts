import { Fault } from '../fault.ts';

const FACTORS: Readonly<Record<string, bigint>> = {
  '': 1n,
  k: 10n ** 3n,
  M: 10n ** 6n,
  G: 10n ** 9n,
  T: 10n ** 12n,
  P: 10n ** 15n,
  Ki: 2n ** 10n,
  Mi: 2n ** 20n,
  Gi: 2n ** 30n,
  Ti: 2n ** 40n,
  Pi: 2n ** 50n,
};

/**
 * Parses a size in bytes: `10Gi`, `10GiB`, `1.5G`, `4096`. Throws `invalid` that names `field`. A
 * fraction of a byte is rounded up, as in Kubernetes.
 */
export function parseQuantity(text: string, field: string): bigint {
  const match = /^(\d+)(?:\.(\d{1,9}))?\s*(k|K|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?B?$/.exec(text.trim());
  const factor = FACTORS[match?.[3]?.replace(/^K$/, 'k') ?? ''];
  if (match?.[1] === undefined || factor === undefined) {
    throw new Fault(
      'invalid',
      `${field}: invalid size ${JSON.stringify(text)}; expected for example 10Gi, 500M or 4096`,
      {
        fields: { field },
      },
    );
  }
  const fraction = match[2] ?? '';
  const scale = 10n ** BigInt(fraction.length);
  return (BigInt(match[1] + fraction) * factor + scale - 1n) / scale;
}

const BINARY_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Formats a human-readable size: `1 GiB`, `11.2 GiB`, `512 B`. */
export function formatBytes(bytes: bigint): string {
  let unit = 0;
  let scale = 1n;
  while (unit < BINARY_UNITS.length - 1 && bytes >= scale * 1024n) {
    scale *= 1024n;
    unit += 1;
  }
  const tenths = (bytes * 10n) / scale;
  const whole = tenths / 10n;
  const rest = tenths % 10n;
  return `${whole}${rest === 0n ? '' : `.${rest}`} ${BINARY_UNITS[unit] ?? ''}`;
}

/** Formats a size as the API holds it, exact to the byte: `10Gi`, `1536Mi`, `4097`. */
export function formatQuantity(bytes: bigint): string {
  for (const unit of ['Pi', 'Ti', 'Gi', 'Mi', 'Ki']) {
    const factor = FACTORS[unit] ?? 1n;
    if (bytes >= factor && bytes % factor === 0n) return `${bytes / factor}${unit}`;
  }
  return String(bytes);
}
