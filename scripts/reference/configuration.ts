import { z } from 'zod';
import { agentConfigSchema } from '../../src/core/config/agent-config.ts';
import { formatQuantity } from '../../src/core/kube-text/quantity.ts';
import { describeType, type JsonSchema, listFields, type SchemaField } from './json-schema.ts';
import { code, NOTICE, table } from './table.ts';

/** What a field means; types, limits and defaults come from the schema. */
const MEANINGS: Readonly<Record<string, string>> = {
  nodeName: 'Name of the node. Flag `--node-name`. Absent: the host name.',
  stateDir: 'Directory of pools and records; must survive a reboot. Flag `--state-dir`.',
  runDir: 'Directory of sockets and of the addresses of running pods; on tmpfs. Flag `--run-dir`.',
  kubeletDir: 'Root directory of kubelet; enables the plugin registration. Flag `--kubelet-dir`.',
  maxVolumesPerNode: 'Number of volumes that kube-scheduler places on the node at most.',
  csi: 'Optional parts of the CSI services.',
  'csi.controllerPublish':
    'Whether orchestrators must call ControllerPublishVolume before they use a volume.',
  'csi.volumeMountGroup': 'Whether the agent, not kubelet, applies fsGroup (VOLUME_MOUNT_GROUP).',
  trash: 'Deletion in the background.',
  'trash.bytesPerSecond': 'Bytes of deleted volumes that a pool frees per second, at most; at least 1Mi.',
  orphans: 'Removal of orphaned data.',
  'orphans.graceSeconds': 'How long orphaned data is kept before the agent removes it. Absent: permanently.',
  log: 'JSON lines on standard error.',
  'log.level': 'Level of the log. Flag `--log-level`.',
  metrics: 'Metrics and health.',
  'metrics.address':
    '`HOST:PORT` of `/metrics`, `/healthz` and `/readyz`; `off` disables them. Flag `--metrics-address`.',
  pools: 'Pools of this node. Absent: one btrfs pool of 20 GiB in a sparse file.',
  'pools[].name': 'Name of the pool; must be unique.',
  'pools[].backend': 'How volumes are created.',
  'pools[].labels': 'Labels that the `poolSelector` of a StorageClass selects.',
  'pools[].source': 'One of `{path}`, `{file, size}` and `{devices}`.',
  'pools[].quota': 'Kind of btrfs quotas; `auto` uses simple quotas where the kernel supports them.',
  'pools[].reserve': 'Space that is never allocated: a size (`10Gi`) or a share (`5%`). Absent: 0.',
  'pools[].overcommitPercent': 'How much may be allocated, in percent of the capacity.',
  'pools[].enforce': 'Backend directory: `false` allows volumes whose size the kernel cannot enforce.',
  network: 'The pod network.',
  'network.name': 'Name of the network in the CNI configuration.',
  'network.ranges': 'Pod address ranges. Absent: `spec.podCIDRs` of the Node. Flag `--pod-range`.',
  'network.masqueradeExclusions': 'Destinations that see the address of the pod, besides the pod ranges.',
  'network.mtu': 'MTU of pod interfaces; `auto` follows the uplink.',
  'network.cooldownSeconds': 'How long a released address stays unused.',
  kubernetes: 'Makes the node a member of a cluster. Absent: the agent runs without Kubernetes.',
  'kubernetes.kubeconfig': 'Path of a kubeconfig. Absent: found as kubectl does, then the service account.',
};

/** Returns the page of all fields of the agent's configuration file. */
export function configurationPage(): string {
  const fields = listFields(schemaOf());
  const unknown = Object.keys(MEANINGS).filter((path) => fields.every((field) => field.path !== path));
  if (unknown.length > 0) throw new Error(`described, but not in the schema: ${unknown.join(', ')}`);
  return [
    NOTICE,
    '# Configuration reference',
    'All fields of the file of `keelson agent --config FILE`. [Configuration](configuration.md) has an example.',
    table(['Field', 'Type', 'Default', 'Meaning'], fields.map(row)),
    '',
  ].join('\n\n');
}

function schemaOf(): JsonSchema {
  const schema = z.toJSONSchema(agentConfigSchema, {
    io: 'input',
    unrepresentable: 'any',
    override({ zodSchema, jsonSchema }) {
      // JSON has no bigint.
      if (zodSchema instanceof z.ZodDefault && typeof zodSchema.def.defaultValue === 'bigint') {
        jsonSchema.default = formatQuantity(zodSchema.def.defaultValue);
      }
    },
  });
  return schema as JsonSchema;
}

function row({ path, schema, required }: SchemaField): string[] {
  const meaning = MEANINGS[path];
  if (meaning === undefined) throw new Error(`scripts/reference/configuration.ts does not describe ${path}`);
  return [code(path), describeType(schema), required ? 'required' : defaultText(schema.default), meaning];
}

function defaultText(value: unknown): string {
  if (value === undefined || (typeof value === 'object' && !Array.isArray(value))) return '';
  return code(typeof value === 'string' ? value : JSON.stringify(value));
}
