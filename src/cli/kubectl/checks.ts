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

/** A CustomResourceDefinition, as far as it is compared. */
export interface InstalledKind extends KubeObject {
  readonly spec?: {
    readonly versions?: readonly {
      readonly name: string;
      readonly schema?: { readonly openAPIV3Schema?: object };
    }[];
  };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

/** Who may not do what it must. */
export interface AccessGap {
  readonly account: string;
  readonly lacks: readonly string[];
}

/** All that the checks of a cluster look at. */
export interface ClusterCondition {
  readonly overview: Overview;
  readonly kinds: readonly InstalledKind[];
  readonly driver: CsiDriver | undefined;
  /** Of kubelets, which write theirs every few seconds. */
  readonly nodeLeases: readonly Lease[];
  /** Undefined where it could not be found out; `why` says why. */
  readonly access: readonly AccessGap[] | { readonly why: string };
  readonly nowMs: number;
}

const STUCK_SECONDS = 300;
const MAX_SKEW_MS = 30_000;

/** Every check of the cluster, those that hold too. */
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
      : [`${name} is of another release than this command`];
  });
  return finding(
    'CRDs',
    faults,
    `${KINDS.length} kinds, of this release`,
    'fields that a CRD does not know are dropped by the API server in silence',
    'kubectl apply --server-side -f deploy/crds, of the release that runs',
  );
}

function checkDriver({ driver }: ClusterCondition): Finding {
  const { attachRequired, storageCapacity, podInfoOnMount } = driver?.spec ?? {};
  const faults =
    driver === undefined
      ? [`there is no CSIDriver ${DRIVER_NAME}`]
      : [
          ...(attachRequired === false ? [] : ['attachRequired is not false']),
          ...(storageCapacity === true ? [] : ['storageCapacity is not true']),
          ...(podInfoOnMount === true ? [] : ['podInfoOnMount is not true']),
        ];
  return finding(
    'CSIDriver',
    faults,
    DRIVER_NAME,
    'without it kubelet waits for an attachment that nobody makes, and the scheduler does not look at free space',
    'kubectl apply -k deploy/',
  );
}

function checkAccess({ access }: ClusterCondition): Finding {
  if ('why' in access) {
    return finding('access of controller and agents', [], `not checked: ${access.why}`, '', '');
  }
  return finding(
    'access of controller and agents',
    access
      .filter(({ lacks }) => lacks.length > 0)
      .map(({ account, lacks }) => `${account} may not ${lacks.join(', ')}`),
    access.length === 0
      ? 'no service accounts of Keelson: nothing is deployed in the cluster'
      : access.map(({ account }) => account).join(', '),
    'what is forbidden fails again and again, and is to be seen in logs alone',
    'apply the RBAC of deploy/ again',
  );
}

function checkController({ overview: { lease }, nowMs }: ClusterCondition): Finding {
  const { holderIdentity = '', renewTime, leaseDurationSeconds = 0 } = lease?.spec ?? {};
  const unresponsive = ageOf(renewTime, nowMs);
  const faults =
    lease === undefined
      ? []
      : holderIdentity === ''
        ? ['nobody holds the lease']
        : unresponsive > leaseDurationSeconds
          ? [`${holderIdentity} renewed its lease ${unresponsive} s ago, and has ${leaseDurationSeconds} s`]
          : [];
  return finding(
    'controller',
    faults,
    lease === undefined
      ? 'no lease: it runs without leader election, or not at all'
      : `${holderIdentity} leads`,
    'without it claims get no volumes; what is there goes on',
    'look at the pods of the Deployment keelson-controller',
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
    `serve all ${nodes.length} nodes`,
    'a node without its agent gets no new volumes and no new pods',
    '"kubectl keelson nodes" lists them; on the node, "keelson doctor" says what it lacks',
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
        return [`class ${storageClass.name} names pool ${pool}, which no node has`];
      }
      if (poolSelector === undefined) return [];
      return pools.some((candidate) => strangenessOf(candidate, { poolSelector }) === undefined)
        ? []
        : [
            `class ${storageClass.name} selects pools with ${poolSelector.text}, and no pool of any node is one`,
          ];
    } catch (error) {
      return [Fault.from(error).message];
    }
  });
  return finding(
    'StorageClasses',
    [
      ...(ours.length === 0 ? ['there is none of Keelson'] : faults),
      ...(defaults.length > 1
        ? [`${defaults.map(({ metadata }) => metadata?.name ?? '').join(' and ')} are all the default`]
        : []),
    ],
    ours.map(({ name }) => name).join(', '),
    'claims of a class that cannot be understood stay Pending',
    'delete the class and create it again: its parameters cannot be changed',
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
    'certificates and tokens are refused, and times in status mean nothing',
    'let a time service (chrony, systemd-timesyncd) run on the node',
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
        `${metadata?.name ?? ''} is of ${nodeTopology?.matchLabels?.[TOPOLOGY_KEY] ?? 'no node'}, which is gone`,
    ),
    `${nodeObjects.capacities.length}, each of a node that is there`,
    'the scheduler counts on room that nobody has',
    'they go with their node while the controller runs; else delete them by kubectl',
  );
}

function checkInventories({ overview: { nodeObjects, nodes } }: ClusterCondition): Finding {
  const names = new Set(nodes.map(({ name }) => name));
  const stale = nodeObjects.inventories.filter(({ metadata }) => !names.has(metadata?.name ?? ''));
  return finding(
    'inventories',
    stale.map(({ metadata }) => `${metadata?.name ?? ''} has no Node`),
    `${nodeObjects.inventories.length}, each of a node that is there`,
    'it speaks of a machine that is not in the cluster',
    'bring the node back, or: kubectl delete nodeinventory NAME',
  );
}

function checkVolumes({ overview: { volumes } }: ClusterCondition): Finding {
  const marked = volumes.filter(({ mark }) => mark !== undefined && mark !== 'kept');
  const kept = volumes.filter(({ mark }) => mark === 'kept').length;
  return finding(
    'volumes',
    marked.map(
      ({ name, mark, node, message }) =>
        `${name} on ${node} is ${mark ?? ''}${message === '' ? '' : `: ${message}`}`,
    ),
    `${volumes.length}${kept === 0 ? '' : `, of which ${kept} kept without a claim`}`,
    'their claims cannot be used, or they hold space for nobody',
    '"kubectl keelson volumes" lists them and says what each mark means',
  );
}

function checkOwners({ overview: { cluster } }: ClusterCondition): Finding {
  const ours = [...cluster.owners.store.values()].filter(({ spec }) => spec?.csi?.driver === DRIVER_NAME);
  const bare = ours.filter(
    ({ spec }) => cluster.volumes.store.byIndex('handle', spec?.csi?.volumeHandle ?? '').length === 0,
  );
  return finding(
    'PersistentVolumes',
    bare.map(
      ({ metadata, spec }) => `${metadata?.name ?? ''} (${spec?.csi?.volumeHandle ?? ''}) has no LocalVolume`,
    ),
    `${ours.length}, each with its LocalVolume`,
    'nothing of Keelson knows the volume: it cannot be mounted, grown or deleted',
    'look on its node with "keelson status" whether the data is there',
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
    'none is held for long',
    'what is deleted stays until its data is gone, and somebody does not say that it is',
    'bring the agent of that node, or the controller, back; taking a finalizer off by hand leaves the data on the disk',
  );
}
