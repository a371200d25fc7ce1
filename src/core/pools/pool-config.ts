import { z } from 'zod';
import { BACKENDS } from '../volumes/backend-features.ts';
import { isLabelKey } from '../kube-text/document-schema.ts';
import { isLabelValue } from '../kube-text/label-keys.ts';
import { POOL_DEFAULTS, type PoolSpec } from './pool.ts';
import { parseReserve } from './pool-capacity.ts';
import { parseQuantity } from '../kube-text/quantity.ts';

/** Parses a DNS label, as names of nodes, pools and networks are. */
export const configName = z
  .string()
  .regex(
    /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/,
    'must be lower-case letters, digits, dots and dashes, at most 63',
  );

/** Parses an absolute path without `..`. */
export const absolutePath = z
  .string()
  .regex(/^\/[^\0]*$/, 'must be an absolute path')
  .refine((path) => !path.split('/').includes('..'), 'must not contain ".."');

const text = z.union([z.string(), z.number().int().nonnegative()]);

/** Parses a size like `20Gi` to bytes. */
export const size = text.transform((value, context) => {
  try {
    return parseQuantity(String(value), 'size');
  } catch {
    context.addIssue({
      code: 'custom',
      message: `found ${JSON.stringify(value)}, expected a size like 20Gi or 500M`,
    });
    return z.NEVER;
  }
});

const reserve = text.transform((value, context) => {
  try {
    return parseReserve(String(value), 'reserve');
  } catch {
    context.addIssue({
      code: 'custom',
      message: `found ${JSON.stringify(value)}, expected a size like 20Gi or a share like 5%`,
    });
    return z.NEVER;
  }
});

const device = absolutePath.refine((path) => path.startsWith('/dev/'), 'must be a path below /dev');

const poolSource = z.union(
  [
    z.strictObject({ path: absolutePath }).transform(({ path }) => ({ kind: 'path' as const, path })),
    z
      .strictObject({ file: absolutePath, size })
      .transform(({ file, size: sizeBytes }) => ({ kind: 'file' as const, file, sizeBytes })),
    z
      .strictObject({ devices: z.array(device).min(1, 'must name at least one device') })
      .transform(({ devices }) => ({ kind: 'devices' as const, devices })),
  ],
  'must be {path: DIR} for a directory of a mounted file system, {file: FILE, size: SIZE} for a sparse file that Keelson makes, or {devices: [DEVICE]} for empty devices that it formats',
);

const labels = z
  .record(z.string(), z.string('must be a text; put numbers and booleans in quotes'))
  .superRefine((given, context) => {
    for (const [key, value] of Object.entries(given)) {
      const say = (message: string): void => context.addIssue({ code: 'custom', message, path: [key] });
      if (!isLabelKey(key)) say('must be named like media or example.com/media');
      if (!isLabelValue(value)) {
        say(`found ${JSON.stringify(value)}, expected letters, digits, ".", "_" and "-", at most 63`);
      }
    }
  });

/** Parses one pool of the configuration file. */
export const poolConfig = z.strictObject({
  name: configName,
  backend: z.enum(BACKENDS, 'must be btrfs, image or directory'),
  labels: labels.default(POOL_DEFAULTS.labels),
  source: poolSource,
  /** `auto` uses simple quotas if the kernel supports them. */
  quota: z
    .enum(['auto', 'simple', 'classic'], 'must be auto, simple or classic')
    .default(POOL_DEFAULTS.quota),
  reserve: reserve.default(POOL_DEFAULTS.reserve),
  overcommitPercent: z
    .int()
    .min(100, 'must be 100 or more')
    .max(1000, 'must be 1000 or less')
    .default(POOL_DEFAULTS.overcommitPercent),
  enforce: z.boolean().default(POOL_DEFAULTS.enforce),
}) satisfies z.ZodType<PoolSpec>;
