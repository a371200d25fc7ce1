import { parseDocument } from 'yaml';
import { z } from 'zod';
import { configFault } from './config-faults.ts';
import { Fault } from '../fault.ts';
import { POOL_DEFAULTS, type PoolSpec } from '../pools/pool.ts';
import { absolutePath, configName, poolConfig, size } from '../pools/pool-config.ts';

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;

const cidr = z.string().regex(/^[0-9a-fA-F:.]+\/\d{1,3}$/, 'must be an address range like 10.88.0.0/24');

const LEAST_TRASH_BYTES = 1n << 20n;
const LONGEST_GRACE_SECONDS = 10 * 365 * 86_400;

const network = z
  .strictObject({
    name: configName.default('keelson'),
    /** Pod address ranges of this node. Absent: in a cluster, those of its Node. */
    ranges: z.array(cidr).min(1, 'must have at least one range').optional(),
    /** Destinations that see the pod's own address, besides the ranges. */
    masqueradeExclusions: z.array(cidr).default([]),
    mtu: z.union([z.literal('auto'), z.number().int().min(1280).max(65_535)]).default('auto'),
    /**
     * How long a released address stays unused: stale conntrack entries of its last pod live that
     * long.
     */
    cooldownSeconds: z.number().int().min(0).default(130),
  })
  .prefault({});

const kubernetes = z.strictObject({
  /** Absent: found as kubectl does, finally the service account of the agent's pod. */
  kubeconfig: absolutePath.optional(),
});

/** Validates the agent's configuration file; the configuration reference is generated from it. */
export const agentConfigSchema = z.strictObject({
  nodeName: configName.optional(),
  stateDir: absolutePath.default('/var/lib/keelson'),
  runDir: absolutePath.default('/run/keelson'),
  /** kubelet's directory; enables the plugin registration. */
  kubeletDir: absolutePath.optional(),
  /**
   * Limit that kube-scheduler applies to this node. Mounts are cheap; the kernel allows 100,000 in
   * one namespace.
   */
  maxVolumesPerNode: z.int().min(1).max(100_000).default(10_000),
  csi: z
    .strictObject({
      /** Whether orchestrators must call ControllerPublishVolume before they use a volume. */
      controllerPublish: z.boolean().default(false),
      /** Whether kubelet leaves fsGroup to the agent (VOLUME_MOUNT_GROUP). */
      volumeMountGroup: z.boolean().default(false),
    })
    .prefault({}),
  trash: z
    .strictObject({
      /** Limit of bytes of deleted volumes that a pool frees each second. */
      bytesPerSecond: size
        .refine((bytes) => bytes >= LEAST_TRASH_BYTES, 'must be 1Mi or more')
        .default(1n << 30n),
    })
    .prefault({}),
  orphans: z
    .strictObject({
      /** How long orphaned data is kept before it is removed. Absent: permanently. */
      graceSeconds: z.int().min(60, 'must be 60 or more').max(LONGEST_GRACE_SECONDS).optional(),
    })
    .prefault({}),
  log: z.strictObject({ level: z.enum(LOG_LEVELS).default('info') }).prefault({}),
  metrics: z
    .strictObject({
      /** HOST:PORT for /metrics, /healthz and /readyz; `off` disables them. */
      address: z.string().default('127.0.0.1:9810'),
    })
    .prefault({}),
  pools: z.array(poolConfig).optional(),
  network,
  kubernetes: kubernetes.optional(),
});

type NetworkConfig = Omit<z.output<typeof network>, 'ranges'> & {
  /** Undefined: the cluster assigns them. */
  readonly ranges: readonly string[] | undefined;
};

/** The agent's configuration, validated and with defaults. */
export interface AgentConfig {
  readonly nodeName: string;
  readonly stateDir: string;
  readonly runDir: string;
  readonly kubeletDir: string | undefined;
  readonly maxVolumesPerNode: number;
  /** Whether orchestrators must call ControllerPublishVolume before they use a volume. */
  readonly controllerPublish: boolean;
  /** Whether kubelet leaves fsGroup to the agent. */
  readonly volumeMountGroup: boolean;
  /** Limit of bytes of deleted volumes that a pool frees each second. */
  readonly trashBytesPerSecond: bigint;
  /** How long orphaned data is kept; undefined: permanently. */
  readonly orphanGraceMs: number | undefined;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  readonly metricsAddress: string | undefined;
  readonly pools: readonly PoolSpec[];
  readonly network: NetworkConfig;
  /** Makes the node a member of a cluster; absent: the agent runs without Kubernetes. */
  readonly kubernetes?: { readonly kubeconfig: string | undefined };
}

/** Flags; undefined leaves the file's value. */
interface AgentConfigOverrides {
  readonly nodeName?: string | undefined;
  readonly stateDir?: string | undefined;
  readonly runDir?: string | undefined;
  readonly kubeletDir?: string | undefined;
  readonly logLevel?: string | undefined;
  readonly metricsAddress?: string | undefined;
  readonly podRanges?: readonly string[] | undefined;
}

/** The inputs of an agent's configuration. */
export interface ConfigSource {
  /** YAML text; undefined without a file. */
  readonly text: string | undefined;
  /** Name in messages, for example the path of the file. */
  readonly document: string;
  readonly overrides: AgentConfigOverrides;
  /** Used where neither file nor flags name the node. */
  readonly hostname: string;
}

/** Pod ranges of a node outside a cluster. */
const ALONE_RANGES = ['10.88.0.0/24'];

/** Size of the embedded default pool; sparse, so it only takes what volumes write. */
const EMBEDDED_POOL_BYTES = 20n * 2n ** 30n;

/**
 * Returns the configuration of an agent from file and flags, which take precedence. Without pools
 * it has one btrfs pool in a sparse file under the state directory. Throws one `invalid` fault that
 * lists every problem with its path.
 */
export function parseAgentConfig({ text, document, overrides, hostname }: ConfigSource): AgentConfig {
  const parsed = agentConfigSchema.safeParse(merge(parseYaml(text ?? '', document), overrides));
  if (!parsed.success) throw configFault(document, parsed.error.issues.flatMap(unfoldUnion));
  const config = parsed.data;
  const pools = config.pools ?? [embeddedPool(config.stateDir)];
  checkUnique(pools, document);
  return {
    nodeName: config.nodeName ?? hostname,
    stateDir: config.stateDir,
    runDir: config.runDir,
    kubeletDir: config.kubeletDir,
    maxVolumesPerNode: config.maxVolumesPerNode,
    controllerPublish: config.csi.controllerPublish,
    volumeMountGroup: config.csi.volumeMountGroup,
    trashBytesPerSecond: config.trash.bytesPerSecond,
    orphanGraceMs:
      config.orphans.graceSeconds === undefined ? undefined : config.orphans.graceSeconds * 1_000,
    logLevel: config.log.level,
    metricsAddress: config.metrics.address === 'off' ? undefined : config.metrics.address,
    pools,
    network: {
      ...config.network,
      ranges: config.network.ranges ?? (config.kubernetes === undefined ? ALONE_RANGES : undefined),
    },
    ...(config.kubernetes === undefined ? {} : { kubernetes: { kubeconfig: config.kubernetes.kubeconfig } }),
  };
}

function embeddedPool(stateDir: string): PoolSpec {
  return {
    ...POOL_DEFAULTS,
    name: 'default',
    backend: 'btrfs',
    source: { kind: 'file', file: `${stateDir}/pools/default.img`, sizeBytes: EMBEDDED_POOL_BYTES },
  };
}

function parseYaml(text: string, document: string): Record<string, unknown> {
  const yaml = parseDocument(text, { prettyErrors: true });
  if (yaml.errors.length > 0) {
    const lines = yaml.errors.map((error) => `  ${error.message.split('\n')[0] ?? ''}`);
    throw new Fault('invalid', `${document} is not valid YAML:\n${lines.join('\n')}`, {
      fields: { document },
    });
  }
  const value: unknown = yaml.toJS();
  if (value === null || value === undefined) return {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new Fault(
      'invalid',
      `${document} must be a YAML mapping, found ${Array.isArray(value) ? 'a list' : typeof value}`,
    );
  }
  return value as Record<string, unknown>;
}

function merge(file: Record<string, unknown>, flags: AgentConfigOverrides): Record<string, unknown> {
  const section = (key: string, values: Record<string, unknown>): Record<string, unknown> => {
    const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
    if (Object.keys(given).length === 0) return {};
    const base = file[key];
    return { [key]: typeof base === 'object' && base !== null ? { ...base, ...given } : given };
  };
  const top = {
    nodeName: flags.nodeName,
    stateDir: flags.stateDir,
    runDir: flags.runDir,
    kubeletDir: flags.kubeletDir,
  };
  return {
    ...file,
    ...Object.fromEntries(Object.entries(top).filter(([, value]) => value !== undefined)),
    ...section('log', { level: flags.logLevel }),
    ...section('metrics', { address: flags.metricsAddress }),
    ...section('network', { ranges: flags.podRanges }),
  };
}

/**
 * A union's own message hides the problem inside the alternative that was meant: unfolds that one's
 * issues instead.
 */
function unfoldUnion(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue];
  const meant = issue.errors.find((issues) => issues.every((inner) => inner.path.length > 0));
  if (meant === undefined) return [issue];
  return meant.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }));
}

function checkUnique(pools: readonly PoolSpec[], document: string): void {
  const seen = new Set<string>();
  for (const { name: poolName } of pools) {
    if (seen.has(poolName))
      throw new Fault('invalid', `${document}: pools: the name ${poolName} appears twice`);
    seen.add(poolName);
  }
}
