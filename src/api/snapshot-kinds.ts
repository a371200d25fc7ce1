import { z } from 'zod';
import type { KubeObject, Resource } from '../kube/resource.ts';
import { AGE, type Column } from './kind.ts';
import { field, type Rule } from '../core/kube-text/document-schema.ts';
import { type Frozen } from './schema.ts';

/**
 * API group of the standard snapshot kinds. They are shared by all drivers: the definitions follow
 * the wire format, with nothing added.
 */
const SNAPSHOT_GROUP = 'snapshot.storage.k8s.io';

/**
 * The definition of a standard kind, for its types and for the CustomResourceDefinition that
 * Keelson ships.
 */
export interface SnapshotKindDefinition {
  readonly group: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly description: string;
  /** The API review that Kubernetes' groups require as an annotation. */
  readonly approval: string;
  /** Served beside `v1`, with the same fields. */
  readonly earlierVersions?: readonly string[];
  /** Fields beside metadata, by name; `status` is a subresource. */
  readonly fields: Readonly<Record<string, z.ZodType>>;
  readonly required: readonly string[];
  readonly columns: readonly Column[];
}

/** Keeps fields of later releases where these definitions replace newer ones. */
export const OPEN = { 'x-kubernetes-preserve-unknown-fields': true } as const;

/** resource.Quantity, in every form that Kubernetes can write. */
const anyQuantity = z
  .string()
  .max(64)
  .regex(/^[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$/);

/** The last error of a snapshot object, with its time. */
export const snapshotError = z.object({
  message: field(z.string(), 'Human-readable error. It may be logged: no secrets.').optional(),
  time: field(z.string(), 'Time of the error.', { format: 'date-time' }).optional(),
});

/** What happens to a snapshot when its object is deleted. */
export const deletionPolicy = z.enum(['Delete', 'Retain']);

/** Returns a rule that an optional field cannot be removed. */
export function kept(name: string): Rule {
  return {
    rule: `!has(oldSelf.${name}) || has(self.${name})`,
    message: `${name} cannot be removed once it is set`,
  };
}

/** Returns a rule that a field is immutable. */
export function fixed(name: string): Rule {
  return { rule: 'self == oldSelf', message: `${name} is immutable; create another object instead` };
}

type ReferenceField = 'apiVersion' | 'fieldPath' | 'kind' | 'name' | 'namespace' | 'resourceVersion' | 'uid';

/** Returns the schema of a reference to the object of `kind` that a content belongs to. */
export function referenceTo(kind: string): z.ZodObject<Record<ReferenceField, z.ZodOptional<z.ZodString>>> {
  return field(
    z
      .object({
        apiVersion: field(z.string(), 'API version of the referent.').optional(),
        fieldPath: field(z.string(), 'Not used.').optional(),
        kind: field(z.string(), `${kind}.`).optional(),
        name: field(z.string(), 'Its name.').optional(),
        namespace: field(z.string(), 'Its namespace.').optional(),
        resourceVersion: field(z.string(), 'Not used.').optional(),
        uid: field(z.string(), 'Its UID; empty until it is bound.').optional(),
      })
      .meta({ 'x-kubernetes-map-type': 'atomic' }),
    `The ${kind} that this belongs to.`,
    {
      rules: [
        {
          rule: 'has(self.name) && has(self.__namespace__)',
          message: `both name and namespace of the ${kind} must be set`,
        },
      ],
    },
  );
}

const snapshotSpec = z
  .object({
    source: field(
      z.object({
        persistentVolumeClaimName: field(z.string(), 'The claim, in the same namespace, to snapshot.', {
          rules: [fixed('persistentVolumeClaimName')],
        }).optional(),
        volumeSnapshotContentName: field(z.string(), 'The VolumeSnapshotContent of an existing snapshot.', {
          rules: [fixed('volumeSnapshotContentName')],
        }).optional(),
      }),
      'Source of the snapshot.',
      {
        rules: [
          kept('persistentVolumeClaimName'),
          kept('volumeSnapshotContentName'),
          {
            rule: 'has(self.persistentVolumeClaimName) != has(self.volumeSnapshotContentName)',
            message: 'exactly one of persistentVolumeClaimName and volumeSnapshotContentName must be set',
          },
        ],
      },
    ),
    volumeSnapshotClassName: field(
      z.string(),
      'The VolumeSnapshotClass; the default class of the driver when absent.',
      {
        rules: [
          {
            rule: 'size(self) > 0',
            message: 'volumeSnapshotClassName must not be empty; omit it for the default class',
          },
        ],
      },
    ).optional(),
  })
  .meta(OPEN);

const snapshotStatus = z
  .object({
    boundVolumeSnapshotContentName: field(
      z.string(),
      'The VolumeSnapshotContent. Bound only when it refers to this VolumeSnapshot as well.',
    ).optional(),
    creationTime: field(z.string(), 'The point in time of the snapshot.', {
      format: 'date-time',
    }).optional(),
    readyToUse: field(z.boolean(), 'Whether it can be restored.').optional(),
    restoreSize: field(anyQuantity, 'The minimum size of a volume restored from it.').optional(),
    error: field(snapshotError, 'The last failure, until it is resolved.').optional(),
    volumeGroupSnapshotName: field(
      z.string(),
      'The VolumeGroupSnapshot that it belongs to, in the same namespace.',
    ).optional(),
  })
  .meta(OPEN);

const contentSpec = z
  .object({
    volumeSnapshotRef: referenceTo('VolumeSnapshot'),
    deletionPolicy: field(
      deletionPolicy,
      'Delete: the snapshot is deleted with its VolumeSnapshot. Retain: it stays, and so does this object.',
    ),
    driver: field(z.string(), 'The CSI driver.'),
    volumeSnapshotClassName: field(
      z.string(),
      'The VolumeSnapshotClass it was created with; the class may have changed since.',
    ).optional(),
    source: field(
      z.object({
        volumeHandle: field(z.string(), 'CSI id of the volume to snapshot.', {
          rules: [fixed('volumeHandle')],
        }).optional(),
        snapshotHandle: field(z.string(), 'CSI id of an existing snapshot.', {
          rules: [fixed('snapshotHandle')],
        }).optional(),
      }),
      'Source of the snapshot, or the existing one.',
      { rules: [kept('volumeHandle'), kept('snapshotHandle')] },
    ),
    sourceVolumeMode: field(
      z.string(),
      'Filesystem or Block: the mode of the source volume. Unknown when absent.',
      { rules: [fixed('sourceVolumeMode')] },
    ).optional(),
  })
  .meta(OPEN);

const contentStatus = z
  .object({
    snapshotHandle: field(z.string(), 'CSI id of the snapshot; absent until it exists.').optional(),
    creationTime: field(
      z.int(),
      'The point in time of the snapshot, in nanoseconds since 1970-01-01 UTC.',
    ).optional(),
    restoreSize: field(z.int().min(0), 'The minimum size in bytes of a volume restored from it.').optional(),
    readyToUse: field(z.boolean(), 'Whether it can be restored.').optional(),
    error: field(snapshotError, 'The last failure, until it is resolved.').optional(),
    volumeGroupSnapshotHandle: field(
      z.string(),
      'CSI id of the group snapshot that it belongs to.',
    ).optional(),
  })
  .meta(OPEN);

/** The column with the readiness of a snapshot. */
export const READY: Column = { name: 'ReadyToUse', type: 'boolean', jsonPath: '.status.readyToUse' };

const VOLUME_SNAPSHOT_KIND: SnapshotKindDefinition = {
  group: SNAPSHOT_GROUP,
  kind: 'VolumeSnapshot',
  plural: 'volumesnapshots',
  singular: 'volumesnapshot',
  shortNames: ['vs'],
  namespaced: true,
  approval: 'https://github.com/kubernetes-csi/external-snapshotter/pull/814',
  description: "A user's request for a snapshot of a volume, or for binding to an existing one.",
  fields: {
    spec: field(snapshotSpec, 'The request.'),
    status: field(snapshotStatus, 'The observed state.').optional(),
  },
  required: ['spec'],
  columns: [
    READY,
    { name: 'SourcePVC', type: 'string', jsonPath: '.spec.source.persistentVolumeClaimName' },
    { name: 'SourceSnapshotContent', type: 'string', jsonPath: '.spec.source.volumeSnapshotContentName' },
    { name: 'RestoreSize', type: 'string', jsonPath: '.status.restoreSize' },
    { name: 'SnapshotClass', type: 'string', jsonPath: '.spec.volumeSnapshotClassName' },
    { name: 'SnapshotContent', type: 'string', jsonPath: '.status.boundVolumeSnapshotContentName' },
    { name: 'CreationTime', type: 'date', jsonPath: '.status.creationTime' },
    AGE,
  ],
};

const VOLUME_SNAPSHOT_CONTENT_KIND: SnapshotKindDefinition = {
  group: SNAPSHOT_GROUP,
  kind: 'VolumeSnapshotContent',
  plural: 'volumesnapshotcontents',
  singular: 'volumesnapshotcontent',
  shortNames: ['vsc', 'vscs'],
  namespaced: false,
  approval: 'https://github.com/kubernetes-csi/external-snapshotter/pull/955',
  description: 'A snapshot in the storage system: what a PersistentVolume is to a claim.',
  fields: {
    spec: field(contentSpec, 'The snapshot.'),
    status: field(contentStatus, 'The observed state.').optional(),
  },
  required: ['spec'],
  columns: [
    READY,
    { name: 'RestoreSize', type: 'integer', jsonPath: '.status.restoreSize' },
    { name: 'DeletionPolicy', type: 'string', jsonPath: '.spec.deletionPolicy' },
    { name: 'Driver', type: 'string', jsonPath: '.spec.driver' },
    { name: 'VolumeSnapshotClass', type: 'string', jsonPath: '.spec.volumeSnapshotClassName' },
    { name: 'VolumeSnapshot', type: 'string', jsonPath: '.spec.volumeSnapshotRef.name' },
    { name: 'VolumeSnapshotNamespace', type: 'string', jsonPath: '.spec.volumeSnapshotRef.namespace' },
    AGE,
  ],
};

const parameters = z.record(z.string(), z.string());

/** What classes of snapshots and of group snapshots have in common. */
export function classDefinition(
  policyDescription: string,
): Pick<SnapshotKindDefinition, 'namespaced' | 'fields' | 'required' | 'columns'> {
  return {
    namespaced: false,
    fields: {
      driver: field(z.string(), 'The CSI driver.'),
      deletionPolicy: field(deletionPolicy, policyDescription),
      parameters: field(parameters, 'Parameters for the driver.').optional(),
    },
    required: ['driver', 'deletionPolicy'],
    columns: [
      { name: 'Driver', type: 'string', jsonPath: '.driver' },
      { name: 'DeletionPolicy', type: 'string', jsonPath: '.deletionPolicy' },
      AGE,
    ],
  };
}

const VOLUME_SNAPSHOT_CLASS_KIND: SnapshotKindDefinition = {
  group: SNAPSHOT_GROUP,
  kind: 'VolumeSnapshotClass',
  plural: 'volumesnapshotclasses',
  singular: 'volumesnapshotclass',
  shortNames: ['vsclass', 'vsclasses'],
  approval: 'https://github.com/kubernetes-csi/external-snapshotter/pull/814',
  description: 'How the snapshots of a driver are created and deleted.',
  ...classDefinition('Whether a snapshot is deleted with its VolumeSnapshot, or stays.'),
};

/** The standard kinds for snapshots. */
export const SNAPSHOT_KINDS: readonly SnapshotKindDefinition[] = [
  VOLUME_SNAPSHOT_CLASS_KIND,
  VOLUME_SNAPSHOT_CONTENT_KIND,
  VOLUME_SNAPSHOT_KIND,
];

/** A VolumeSnapshot of snapshot.storage.k8s.io/v1. */
export interface VolumeSnapshot extends KubeObject {
  readonly spec: Frozen<z.output<typeof snapshotSpec>>;
  readonly status?: Frozen<z.output<typeof snapshotStatus>>;
}

/** A VolumeSnapshotContent of snapshot.storage.k8s.io/v1. */
export interface VolumeSnapshotContent extends KubeObject {
  readonly spec: Frozen<z.output<typeof contentSpec>>;
  readonly status?: Frozen<z.output<typeof contentStatus>>;
}

/** A VolumeSnapshotClass of snapshot.storage.k8s.io/v1. */
export interface VolumeSnapshotClass extends KubeObject {
  readonly driver: string;
  readonly deletionPolicy: z.output<typeof deletionPolicy>;
  readonly parameters?: Frozen<z.output<typeof parameters>>;
}

/** Returns the resource of a kind for the client. */
export function snapshotResourceOf<T extends KubeObject>({
  group,
  kind,
  plural,
  namespaced,
}: SnapshotKindDefinition): Resource<T> {
  return { group, version: 'v1', plural, kind, namespaced };
}

/** The resource of VolumeSnapshots. */
export const VOLUME_SNAPSHOTS = snapshotResourceOf<VolumeSnapshot>(VOLUME_SNAPSHOT_KIND);
/** The resource of VolumeSnapshotContents. */
export const VOLUME_SNAPSHOT_CONTENTS = snapshotResourceOf<VolumeSnapshotContent>(
  VOLUME_SNAPSHOT_CONTENT_KIND,
);
/** The resource of VolumeSnapshotClasses. */
export const VOLUME_SNAPSHOT_CLASSES = snapshotResourceOf<VolumeSnapshotClass>(VOLUME_SNAPSHOT_CLASS_KIND);
