import { DRIVER_NAME, TOPOLOGY_KEY } from '../../src/core/volumes/driver.ts';

/** One kind of volume that Kubernetes' storage tests run on. */
export interface Profile {
  readonly name: string;
  /** For people. */
  readonly title: string;
  readonly storageClass: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** What `csi.storage.k8s.io/fstype` may say. */
  readonly fileSystems: readonly string[];
  /** Smallest volume. */
  readonly minSize: string;
  readonly inlineAttributes: Readonly<Record<string, string>>;
  /** Of the VolumeAttributesClass: what volumes of both modes can have. */
  readonly limits: Readonly<Record<string, string>>;
  /** Where it differs from what all can do. */
  readonly capabilities?: Readonly<Record<string, boolean>>;
}

export const IMAGE_POOL = 'images';
/** More than any other test needs at once, and few enough that the test of the limit ends. */
export const MAX_VOLUMES_PER_NODE = 40;

/** Big enough for the largest file that the tests write then, 100 MiB. */
const BIG_ENOUGH = '160Mi';
const MAX_FILE_BYTES = 100 * 2 ** 20;
const NANOSECONDS = 1_000_000_000;
const LIMITS = { writeIOPS: '5k', writeBandwidth: '200Mi' };

/**
 * What a StorageClass says of where and when volumes are made. `one-node`: a group snapshot is of
 * volumes of one node, and its tests let the scheduler spread the pods of a StatefulSet, so the
 * class allows one node alone. `at-once`: some tests wait for claims that no pod uses.
 */
export const PLACEMENTS = ['any-node', 'one-node', 'at-once'] as const;
export type Placement = (typeof PLACEMENTS)[number];
const ONE_NODE = 'node-1';

export const PROFILES: readonly Profile[] = [
  {
    name: 'btrfs',
    title: 'btrfs: subvolumes',
    storageClass: 'suites-btrfs',
    parameters: { pool: 'default' },
    fileSystems: ['btrfs'],
    minSize: BIG_ENOUGH,
    inlineAttributes: { pool: 'default', size: '64Mi' },
    // The I/O of volumes that have no block device of their own cannot be limited, only said to be
    // unlimited.
    limits: { writeIOPS: 'max' },
    // statfs(2) tells the size of the whole pool, so a larger restored volume looks no larger.
    capabilities: { FSResizeFromSourceNotSupported: true },
  },
  {
    name: 'ext4',
    title: 'image: ext4',
    storageClass: 'suites-ext4',
    parameters: { pool: IMAGE_POOL },
    fileSystems: ['ext4'],
    minSize: BIG_ENOUGH,
    inlineAttributes: { pool: IMAGE_POOL, size: '64Mi' },
    limits: LIMITS,
  },
  {
    name: 'xfs',
    title: 'image: xfs',
    storageClass: 'suites-xfs',
    parameters: { pool: IMAGE_POOL, 'csi.storage.k8s.io/fstype': 'xfs' },
    fileSystems: ['xfs'],
    minSize: '320Mi',
    inlineAttributes: { pool: IMAGE_POOL, size: '320Mi' },
    limits: LIMITS,
  },
];

/** What we declare of ourselves, by the names that the tests use; what is false says why. */
const CAPABILITIES: Readonly<Record<string, boolean>> = {
  persistence: true,
  block: true,
  fsGroup: true,
  exec: true,
  multipods: true,
  snapshotDataSource: true,
  groupSnapshot: true,
  pvcDataSource: true,
  controllerExpansion: true,
  nodeExpansion: true,
  offlineExpansion: true,
  onlineExpansion: true,
  volumeLimits: true,
  topology: true,
  capacity: true,
  readWriteOncePod: true,
  multiplePVsSameID: true,
  // A volume is on one node.
  singleNodeVolume: true,
  RWX: false,
  // ReadOnlyMany means pods on many nodes.
  capReadOnlyMany: false,
  // By default kubelet sets the group of files (decision 0012).
  volumeMountGroup: false,
  // Needs SELinux on the host.
  seLinuxMount: false,
  // The suite reads the namespace of a driver that it has installed itself (DriverNamespace, which
  // `external` leaves nil), and panics with any driver that was there before.
  // test/e2e/snapshot-metadata.test.ts does the same, with the same sidecar and its client library.
  snapshotMetadata: false,
};

/** The definition that `-storage.testdriver` reads (test/e2e/storage/external of Kubernetes). */
export function driverDefinition(profile: Profile, placement: Placement): object {
  const { fileSystems, minSize, inlineAttributes, capabilities } = profile;
  return {
    StorageClass: { FromExistingClassName: classNameOf(profile, placement) },
    VolumeAttributesClass: { FromExistingClassName: profile.storageClass },
    SnapshotClass: { FromName: true },
    GroupSnapshotClass: { FromName: true },
    InlineVolumes: [{ Attributes: inlineAttributes }],
    DriverInfo: {
      Name: DRIVER_NAME,
      MaxFileSize: MAX_FILE_BYTES,
      SupportedSizeRange: { Min: minSize, Max: '100Gi' },
      SupportedFsType: Object.fromEntries(['', ...fileSystems].map((name) => [name, {}])),
      SupportedMountOption: { noatime: {}, nodev: {} },
      TopologyKeys: [TOPOLOGY_KEY],
      Capabilities: { ...CAPABILITIES, ...capabilities },
      StressTestOptions: { NumPods: 5, NumRestarts: 3 },
      VolumeSnapshotStressTestOptions: { NumPods: 4, NumSnapshots: 4 },
      VolumeModifyStressTestOptions: { NumPods: 5 },
      VolumeGroupSnapshotStressTestOptions: { NumPods: 3, NumSnapshots: 4 },
      PerformanceTestOptions: {
        ProvisioningOptions: {
          VolumeSize: minSize,
          Count: 30,
          // A bound that says that something is wrong, not how fast it should be: that is measured
          // by `make bench`.
          ExpectedMetrics: { AvgLatency: 60 * NANOSECONDS, Throughput: 0.2 },
        },
      },
    },
  };
}

/** What the cluster needs so that profiles work: the second pool, and classes for each. */
export function profileObjects(profiles: readonly Profile[]): object[] {
  return [
    {
      apiVersion: 'keelson.dev/v1alpha1',
      kind: 'StoragePool',
      metadata: { name: IMAGE_POOL },
      spec: { backend: 'image', source: { file: '/var/lib/keelson/images.img', fileSize: '40Gi' } },
    },
    ...profiles.flatMap((profile) => [
      ...PLACEMENTS.map((placement) => storageClassObject(profile, placement)),
      {
        apiVersion: 'storage.k8s.io/v1',
        kind: 'VolumeAttributesClass',
        metadata: { name: profile.storageClass },
        driverName: DRIVER_NAME,
        parameters: profile.limits,
      },
    ]),
  ];
}

function storageClassObject(profile: Profile, placement: Placement): object {
  const onOneNode = { matchLabelExpressions: [{ key: TOPOLOGY_KEY, values: [ONE_NODE] }] };
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: classNameOf(profile, placement) },
    provisioner: DRIVER_NAME,
    volumeBindingMode: placement === 'at-once' ? 'Immediate' : 'WaitForFirstConsumer',
    allowVolumeExpansion: true,
    parameters: profile.parameters,
    ...(placement === 'one-node' ? { allowedTopologies: [onOneNode] } : {}),
  };
}

function classNameOf({ storageClass }: Profile, placement: Placement): string {
  return placement === 'any-node' ? storageClass : `${storageClass}-${placement}`;
}
