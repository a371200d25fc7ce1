import { z } from 'zod';
import type { KubeObject, Resource } from '../kube/resource.ts';
import { AGE, type Column } from './kind.ts';
import { field, type Rule } from '../core/kube-text/document-schema.ts';
import { type Frozen } from './schema.ts';

/** The group of Kubernetes' own snapshot kinds. They are everybody's: what is here is as on the wire, with nothing added. */
export const SNAPSHOT_GROUP = 'snapshot.storage.k8s.io';

/** What a standard kind is, for its types and for the CustomResourceDefinition that we ship where nobody else did. */
export interface SnapshotKindDefinition {
  readonly group: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly description: string;
  /** The review that lets a kind be in a group of Kubernetes; the API server asks for it. */
  readonly approval: string;
  /** Served beside `v1`, with the same fields. */
  readonly earlierVersions?: readonly string[];
  /** Fields beside metadata, by name; `status` among them is a subresource. */
  readonly fields: Readonly<Record<string, z.ZodType>>;
  readonly required: readonly string[];
  readonly columns: readonly Column[];
}

/** Fields of releases to come survive where our definitions stand in for newer ones. */
export const OPEN = { 'x-kubernetes-preserve-unknown-fields': true } as const;

/** resource.Quantity, in every way that Kubernetes can write it. */
const anyQuantity = z
  .string()
  .max(64)
  .regex(/^[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$/);

export const snapshotError = z.object({
  message: field(z.string(), 'What went wrong, for people. It may be logged: no secrets.').optional(),
  time: field(z.string(), 'When it was met.', { format: 'date-time' }).optional(),
});

export const deletionPolicy = z.enum(['Delete', 'Retain']);

export function kept(name: string): Rule {
  return {
    rule: `!has(oldSelf.${name}) || has(self.${name})`,
    message: `${name} cannot be removed once it is set`,
  };
}

export function fixed(name: string): Rule {
  return { rule: 'self == oldSelf', message: `${name} cannot be changed; create another object instead` };
}

type ReferenceField = 'apiVersion' | 'fieldPath' | 'kind' | 'name' | 'namespace' | 'resourceVersion' | 'uid';

/** The object of `kind` that a content belongs to. */
export function referenceTo(kind: string): z.ZodObject<Record<ReferenceField, z.ZodOptional<z.ZodString>>> {
  return field(
    z
      .object({
        apiVersion: field(z.string(), 'API version of the referent.').optional(),
        fieldPath: field(z.string(), 'Not used here.').optional(),
        kind: field(z.string(), `${kind}.`).optional(),
        name: field(z.string(), 'Its name.').optional(),
        namespace: field(z.string(), 'Its namespace.').optional(),
        resourceVersion: field(z.string(), 'Not used here.').optional(),
        uid: field(z.string(), 'Its UID; empty until it is bound.').optional(),
      })
      .meta({ 'x-kubernetes-map-type': 'atomic' }),
    `The ${kind} that this belongs to.`,
    {
      rules: [
        {
          rule: 'has(self.name) && has(self.__namespace__)',
          message: `both name and namespace of the ${kind} must be given`,
        },
      ],
    },
  );
}

const snapshotSpec = z
  .object({
    source: field(
      z.object({
        persistentVolumeClaimName: field(
          z.string(),
          'The claim, in the same namespace, that a snapshot is to be taken of.',
          { rules: [fixed('persistentVolumeClaimName')] },
        ).optional(),
        volumeSnapshotContentName: field(
          z.string(),
          'The VolumeSnapshotContent of a snapshot that exists already.',
          { rules: [fixed('volumeSnapshotContentName')] },
        ).optional(),
      }),
      'Where the snapshot comes from.',
      {
        rules: [
          kept('persistentVolumeClaimName'),
          kept('volumeSnapshotContentName'),
          {
            rule: 'has(self.persistentVolumeClaimName) != has(self.volumeSnapshotContentName)',
            message: 'exactly one of persistentVolumeClaimName and volumeSnapshotContentName must be given',
          },
        ],
      },
    ),
    volumeSnapshotClassName: field(
      z.string(),
      'The VolumeSnapshotClass; the default one of the driver when it is left out.',
      {
        rules: [
          {
            rule: 'size(self) > 0',
            message: 'volumeSnapshotClassName must not be empty; leave it out for the default class',
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
      'The VolumeSnapshotContent. Bound only where that one names this VolumeSnapshot as well.',
    ).optional(),
    creationTime: field(z.string(), 'The moment that the snapshot shows.', {
      format: 'date-time',
    }).optional(),
    readyToUse: field(z.boolean(), 'Whether volumes can be made from it.').optional(),
    restoreSize: field(anyQuantity, 'The least size of a volume that is made from it.').optional(),
    error: field(snapshotError, 'The last failure, until it is overcome.').optional(),
    volumeGroupSnapshotName: field(
      z.string(),
      'The VolumeGroupSnapshot that it was taken with, in the same namespace.',
    ).optional(),
  })
  .meta(OPEN);

const contentSpec = z
  .object({
    volumeSnapshotRef: referenceTo('VolumeSnapshot'),
    deletionPolicy: field(
      deletionPolicy,
      'Delete: the snapshot goes with its VolumeSnapshot. Retain: it stays, and so does this object.',
    ),
    driver: field(z.string(), 'The CSI driver.'),
    volumeSnapshotClassName: field(
      z.string(),
      'The VolumeSnapshotClass that it was made by; that may have changed since.',
    ).optional(),
    source: field(
      z.object({
        volumeHandle: field(z.string(), 'CSI id of the volume to take a snapshot of.', {
          rules: [fixed('volumeHandle')],
        }).optional(),
        snapshotHandle: field(z.string(), 'CSI id of a snapshot that exists.', {
          rules: [fixed('snapshotHandle')],
        }).optional(),
      }),
      'What the snapshot is taken of, or which one it is.',
      { rules: [kept('volumeHandle'), kept('snapshotHandle')] },
    ),
    sourceVolumeMode: field(
      z.string(),
      'Filesystem or Block: what the volume was used as. Unknown when it is left out.',
      { rules: [fixed('sourceVolumeMode')] },
    ).optional(),
  })
  .meta(OPEN);

const contentStatus = z
  .object({
    snapshotHandle: field(z.string(), 'CSI id of the snapshot; absent as long as there is none.').optional(),
    creationTime: field(
      z.int(),
      'The moment that the snapshot shows, in nanoseconds since 1970-01-01 UTC.',
    ).optional(),
    restoreSize: field(
      z.int().min(0),
      'The least size in bytes of a volume that is made from it.',
    ).optional(),
    readyToUse: field(z.boolean(), 'Whether volumes can be made from it.').optional(),
    error: field(snapshotError, 'The last failure, until it is overcome.').optional(),
    volumeGroupSnapshotHandle: field(
      z.string(),
      'CSI id of the group snapshot that it was taken with.',
    ).optional(),
  })
  .meta(OPEN);

export const READY: Column = { name: 'ReadyToUse', type: 'boolean', jsonPath: '.status.readyToUse' };

export const VOLUME_SNAPSHOT_KIND: SnapshotKindDefinition = {
  group: SNAPSHOT_GROUP,
  kind: 'VolumeSnapshot',
  plural: 'volumesnapshots',
  singular: 'volumesnapshot',
  shortNames: ['vs'],
  namespaced: true,
  approval: 'https://github.com/kubernetes-csi/external-snapshotter/pull/814',
  description: "A user's wish for the state of a volume at one moment, or the claim on one that exists.",
  fields: {
    spec: field(snapshotSpec, 'What is asked for.'),
    status: field(snapshotStatus, 'What has become of it.').optional(),
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

export const VOLUME_SNAPSHOT_CONTENT_KIND: SnapshotKindDefinition = {
  group: SNAPSHOT_GROUP,
  kind: 'VolumeSnapshotContent',
  plural: 'volumesnapshotcontents',
  singular: 'volumesnapshotcontent',
  shortNames: ['vsc', 'vscs'],
  namespaced: false,
  approval: 'https://github.com/kubernetes-csi/external-snapshotter/pull/955',
  description:
    'A snapshot as it is in the storage system: to a VolumeSnapshot what a PersistentVolume is to a claim.',
  fields: {
    spec: field(contentSpec, 'Which snapshot it is.'),
    status: field(contentStatus, 'What has become of it.').optional(),
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

/** What classes of snapshots and of group snapshots have alike. */
export function classDefinition(
  policyDescription: string,
): Pick<SnapshotKindDefinition, 'namespaced' | 'fields' | 'required' | 'columns'> {
  return {
    namespaced: false,
    fields: {
      driver: field(z.string(), 'The CSI driver.'),
      deletionPolicy: field(deletionPolicy, policyDescription),
      parameters: field(parameters, 'What the driver is told.').optional(),
    },
    required: ['driver', 'deletionPolicy'],
    columns: [
      { name: 'Driver', type: 'string', jsonPath: '.driver' },
      { name: 'DeletionPolicy', type: 'string', jsonPath: '.deletionPolicy' },
      AGE,
    ],
  };
}

export const VOLUME_SNAPSHOT_CLASS_KIND: SnapshotKindDefinition = {
  group: SNAPSHOT_GROUP,
  kind: 'VolumeSnapshotClass',
  plural: 'volumesnapshotclasses',
  singular: 'volumesnapshotclass',
  shortNames: ['vsclass', 'vsclasses'],
  approval: 'https://github.com/kubernetes-csi/external-snapshotter/pull/814',
  description: 'How the snapshots of a driver are taken, and what becomes of them.',
  ...classDefinition('Whether a snapshot goes with its VolumeSnapshot, or stays when that is deleted.'),
};

export const SNAPSHOT_KINDS: readonly SnapshotKindDefinition[] = [
  VOLUME_SNAPSHOT_CLASS_KIND,
  VOLUME_SNAPSHOT_CONTENT_KIND,
  VOLUME_SNAPSHOT_KIND,
];

export interface VolumeSnapshot extends KubeObject {
  readonly spec: Frozen<z.output<typeof snapshotSpec>>;
  readonly status?: Frozen<z.output<typeof snapshotStatus>>;
}

export interface VolumeSnapshotContent extends KubeObject {
  readonly spec: Frozen<z.output<typeof contentSpec>>;
  readonly status?: Frozen<z.output<typeof contentStatus>>;
}

export interface VolumeSnapshotClass extends KubeObject {
  readonly driver: string;
  readonly deletionPolicy: z.output<typeof deletionPolicy>;
  readonly parameters?: Frozen<z.output<typeof parameters>>;
}

/** How the API server is asked for objects of a kind. */
export function snapshotResourceOf<T extends KubeObject>({
  group,
  kind,
  plural,
  namespaced,
}: SnapshotKindDefinition): Resource<T> {
  return { group, version: 'v1', plural, kind, namespaced };
}

export const VOLUME_SNAPSHOTS = snapshotResourceOf<VolumeSnapshot>(VOLUME_SNAPSHOT_KIND);
export const VOLUME_SNAPSHOT_CONTENTS = snapshotResourceOf<VolumeSnapshotContent>(
  VOLUME_SNAPSHOT_CONTENT_KIND,
);
export const VOLUME_SNAPSHOT_CLASSES = snapshotResourceOf<VolumeSnapshotClass>(VOLUME_SNAPSHOT_CLASS_KIND);
