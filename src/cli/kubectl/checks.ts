import { canonicalJson } from '../../core/kube-text/api-status.ts';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../core/volumes/driver.ts';
import { Fault } from '../../core/fault.ts';
import { parseClassParameters } from '../../core/claims/provision-class.ts';
import { strangenessOf } from '../../core/claims/provision-placement.ts';
import { customResourceDefinition } from '../../api/crd.ts';
import { KINDS } from '../../api/kinds.ts';
import { FINALIZER } from '../../controller/context/persistent-volume.ts';
import { classView } from '../../controller/context/views.ts';
import type { CsiDriver, Lease } from '../../kube/built-in.ts';
import type { KubeObject } from '../../kube/resource.ts';
import type { Finding } from '../../preflight/preflight.ts';
import { ageOf } from './claim-facts.ts';
import { nodeProblems } from './nodes-verb.ts';
import type { Overview } from './overview.ts';

/** The compared part of a CustomResourceDefinition. */
export interface InstalledKind extends KubeObject {
  readonly spec?: {
    readonly versions?: readonly {
      readonly name: string;
      readonly schema?: { readonly openAPIV3Schema?: object };
    }[];
  };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

/** Rights that a service account lacks. */
export interface AccessGap {
  readonly account: string;
  readonly lacks: readonly string[];
}

/** Input of the checks. */
export interface ClusterCondition {
  readonly overview: Overview;
  readonly kinds: readonly InstalledKind[];
  readonly driver: CsiDriver | undefined;
  /** Leases of kubelets, renewed every few seconds. */
  readonly nodeLeases: readonly Lease[];
  /** `why` is the reason if the reviews failed. */
  readonly access: readonly AccessGap[] | { readonly why: string };
  readonly nowMs: number;
}

const STUCK_SECONDS = 300;
const MAX_SKEW_MS = 30_000;

/** Returns the results of all checks. */
export function checkCluster(condition: ClusterCondition): readonly Finding[] {
  return [
    checkKinds(condition),
    checkDriver(condition),
    checkAccess(condition),
    checkController(condition),
    checkAgents(condition),
    checkClasses(condition),
    checkClocks(condition),
    checkCapacities(condition),
    checkInventories(condition),
    checkVolumes(condition),
    checkOwners(condition),
    checkFinalizers(condition),
  ];
}

function finding(
  check: string,
  faults: readonly string[],
  good: string,
  why: string,
  remedy: string,
): Finding {
  return {
    check,
    ok: faults.length === 0,
    found: faults.length === 0 ? good : faults.join('; '),
    why,
    remedy,
  };
}

function checkKinds({ kinds }: ClusterCondition): Finding {
  const faults = KINDS.flatMap((kind) => {
    const name = `${kind.plural}.keelson.dev`;
    const installed = kinds.find(({ metadata }) => metadata?.name === name);
    if (installed === undefined) return [`${name} is missing`];
    const established = installed.status?.conditions?.find(({ type }) => type === 'Established');
    if (established?.status !== 'True') return [`${name} is not established`];
    const wanted = customResourceDefinition(kind) as InstalledKind;
    const schemaOf = ({ spec }: InstalledKind): string =>
      canonicalJson(spec?.versions?.[0]?.schema?.openAPIV3Schema);
    return schemaOf(installed) === schemaOf(wanted)
      ? []
      : [`${name} is from another release than this command`];
  });
  return finding(
    'CRDs',
    faults,
    `${KINDS.length} kinds of this release`,
    'the API server drops fields that a CRD does not define',
    'kubectl apply --server-side -f deploy/crds of the running release',
  );
}

function checkDriver({ driver }: ClusterCondition): Finding {
  const { attachRequired, storageCapacity, podInfoOnMount } = driver?.spec ?? {};
  const faults =
    driver === undefined
      ? [`CSIDriver ${DRIVER_NAME} not found`]
      : [
          ...(attachRequired === false ? [] : ['attachRequired is not false']),
          ...(storageCapacity === true ? [] : ['storageCapacity is not true']),
          ...(podInfoOnMount === true ? [] : ['podInfoOnMount is not true']),
        ];
  return finding(
    'CSIDriver',
    faults,
    DRIVER_NAME,
    'without it kubelet waits for a VolumeAttachment, and the scheduler ignores free space',
    'kubectl apply -k deploy/',
  );
}

function checkAccess({ access }: ClusterCondition): Finding {
  if ('why' in access) {
    return finding('access of service accounts', [], `not checked: ${access.why}`, '', '');
  }
  return finding(
    'access of service accounts',
    access
      .filter(({ lacks }) => lacks.length > 0)
      .map(({ account, lacks }) => `${account} cannot ${lacks.join(', ')}`),
    access.length === 0
      ? 'no service accounts: Keelson is not deployed in the cluster'
      : access.map(({ account }) => account).join(', '),
    'forbidden requests fail repeatedly, and appear only in logs',
    'apply deploy/rbac.yaml of the running release',
  );
}

function checkController({ overview: { lease }, nowMs }: ClusterCondition): Finding {
  const { holderIdentity = '', renewTime, leaseDurationSeconds = 0 } = lease?.spec ?? {};
  const unresponsive = ageOf(renewTime, nowMs);
  const faults =
    lease === undefined
      ? []
      : holderIdentity === ''
        ? ['the lease has no holder']
        : unresponsive > leaseDurationSeconds
          ? [
              `${holderIdentity} renewed its lease ${unresponsive} s ago; it expires after ${leaseDurationSeconds} s`,
            ]
          : [];
  return finding(
    'controller',
    faults,
    lease === undefined
      ? 'no lease: not running, or running without leader election'
      : `leader ${holderIdentity}`,
    'without the controller claims get no volumes; existing volumes keep working',
    'inspect the pods of the Deployment keelson-controller',
  );
}

function checkAgents({ overview: { nodes, nodeObjects } }: ClusterCondition): Finding {
  const faults = nodes.flatMap((node) =>
    nodeProblems(
      node,
      nodeObjects.inventories.find(({ metadata }) => metadata?.name === node.name),
    ).map((problem) => `${node.name}: ${problem}`),
  );
  return finding(
    'agents',
    faults,
    `serving on all ${nodes.length} nodes`,
    'a node without its agent gets no new volumes and no new pods',
    'see "kubectl keelson nodes"; on the node, run "keelson doctor"',
  );
}

function checkClasses({ overview: { cluster, nodes } }: ClusterCondition): Finding {
  const classes = [...cluster.classes.store.values()];
  const ours = classes.flatMap((storageClass) => classView(storageClass) ?? []);
  const pools = nodes.flatMap(({ view }) => view.pools);
  const defaults = classes.filter(
    ({ metadata }) => metadata?.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true',
  );
  const faults = ours.flatMap((storageClass) => {
    try {
      const { pool, poolSelector } = parseClassParameters(storageClass);
      if (pool !== undefined && !pools.some(({ name }) => name === pool)) {
        return [`class ${storageClass.name} requires pool ${pool}, which no node has`];
      }
      if (poolSelector === undefined) return [];
      return pools.some((candidate) => strangenessOf(candidate, { poolSelector }) === undefined)
        ? []
        : [`class ${storageClass.name} selects pools with ${poolSelector.text}, which matches no pool`];
    } catch (error) {
      return [Fault.from(error).message];
    }
  });
  return finding(
    'StorageClasses',
    [
      ...(ours.length === 0 ? ['no StorageClass of Keelson'] : faults),
      ...(defaults.length > 1
        ? [`${defaults.map(({ metadata }) => metadata?.name ?? '').join(' and ')} are all marked as default`]
        : []),
    ],
    ours.map(({ name }) => name).join(', '),
    'claims of an invalid class stay Pending',
    'delete and re-create the class: its parameters are immutable',
  );
}

function checkClocks({ nodeLeases }: ClusterCondition): Finding {
  const faults = nodeLeases.flatMap(({ metadata, spec }) => {
    const writes = (metadata?.managedFields ?? []) as readonly { readonly time?: string }[];
    const writtenMs = Math.max(...writes.map(({ time }) => Date.parse(time ?? '')).filter(Number.isFinite));
    const skewMs = Date.parse(spec?.renewTime ?? '') - writtenMs;
    return Number.isFinite(skewMs) && Math.abs(skewMs) > MAX_SKEW_MS
      ? [
          `${metadata?.name ?? ''} is ${Math.round(Math.abs(skewMs) / 1_000)} s ${skewMs > 0 ? 'ahead' : 'behind'}`,
        ]
      : [];
  });
  return finding(
    'clocks of nodes',
    faults,
    `${nodeLeases.length} within ${MAX_SKEW_MS / 1_000} s of the API server's`,
    'certificates and tokens are rejected, and times in status are wrong',
    'run a time service (chrony, systemd-timesyncd) on the node',
  );
}

function checkCapacities({ overview: { nodeObjects, nodes } }: ClusterCondition): Finding {
  const names = new Set(nodes.map(({ name }) => name));
  const stale = nodeObjects.capacities.filter(
    ({ nodeTopology }) => !names.has(nodeTopology?.matchLabels?.[TOPOLOGY_KEY] ?? ''),
  );
  return finding(
    'published capacities',
    stale.map(
      ({ metadata, nodeTopology }) =>
        `${metadata?.name ?? ''} is for ${nodeTopology?.matchLabels?.[TOPOLOGY_KEY] ?? 'no node'}, which does not exist`,
    ),
    `${nodeObjects.capacities.length}, each for an existing node`,
    'the scheduler counts capacity that does not exist',
    'the controller deletes them with their node; without it, delete them with kubectl',
  );
}

function checkInventories({ overview: { nodeObjects, nodes } }: ClusterCondition): Finding {
  const names = new Set(nodes.map(({ name }) => name));
  const stale = nodeObjects.inventories.filter(({ metadata }) => !names.has(metadata?.name ?? ''));
  return finding(
    'inventories',
    stale.map(({ metadata }) => `${metadata?.name ?? ''} has no Node`),
    `${nodeObjects.inventories.length}, each for an existing node`,
    'the NodeInventory describes a machine outside of the cluster',
    'restore the node, or: kubectl delete nodeinventory NAME',
  );
}

function checkVolumes({ overview: { volumes } }: ClusterCondition): Finding {
  const marked = volumes.filter(({ mark }) => mark !== undefined && mark !== 'retained');
  const kept = volumes.filter(({ mark }) => mark === 'retained').length;
  return finding(
    'volumes',
    marked.map(
      ({ name, mark, node, message }) =>
        `${name} on ${node} is ${mark ?? ''}${message === '' ? '' : `: ${message}`}`,
    ),
    `${volumes.length}${kept === 0 ? '' : `, of which ${kept} kept without a claim`}`,
    'their claims are unusable, or their space is wasted',
    '"kubectl keelson volumes" explains each mark',
  );
}

function checkOwners({ overview: { cluster } }: ClusterCondition): Finding {
  const ours = [...cluster.owners.store.values()].filter(({ spec }) => spec?.csi?.driver === DRIVER_NAME);
  const unmanaged = ours.filter(
    ({ spec }) => cluster.volumes.store.byIndex('handle', spec?.csi?.volumeHandle ?? '').length === 0,
  );
  return finding(
    'PersistentVolumes',
    unmanaged.map(
      ({ metadata, spec }) => `${metadata?.name ?? ''} (${spec?.csi?.volumeHandle ?? ''}) has no LocalVolume`,
    ),
    `${ours.length}, each with its LocalVolume`,
    'Keelson does not manage the volume: it cannot be mounted, expanded or deleted',
    'on its node, look for the volume with "keelson status"',
  );
}

function checkFinalizers({ overview: { cluster }, nowMs }: ClusterCondition): Finding {
  const isOld = (deletedAt: string | undefined): boolean =>
    deletedAt !== undefined && ageOf(deletedAt, nowMs) > STUCK_SECONDS;
  const volumes = [...cluster.volumes.store.values()].filter(({ metadata }) =>
    isOld(metadata?.deletionTimestamp),
  );
  const owners = [...cluster.owners.store.values()].filter(
    ({ metadata }) => isOld(metadata?.deletionTimestamp) && (metadata?.finalizers ?? []).includes(FINALIZER),
  );
  return finding(
    'finalizers',
    [
      ...volumes.map(
        ({ metadata, spec }) => `LocalVolume ${metadata?.name ?? ''} waits for the agent of ${spec.nodeName}`,
      ),
      ...owners.map(({ metadata }) => `PersistentVolume ${metadata?.name ?? ''} waits for the controller`),
    ],
    `none blocks a deletion for more than ${STUCK_SECONDS} s`,
    'a deleted object remains until its agent or the controller confirms that the data is deleted',
    'restart the agent of that node or the controller; removing the finalizer leaves the data on the disk',
  );
}
