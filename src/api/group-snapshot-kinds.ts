import { z } from 'zod';
import { field } from '../core/kube-text/document-schema.ts';
import type { KubeObject } from '../kube/resource.ts';
import { AGE } from './kind.ts';
import type { Frozen } from './schema.ts';
import {
  classDefinition,
  deletionPolicy,
  fixed,
  kept,
  OPEN,
  READY,
  referenceTo,
  snapshotError,
  type SnapshotKindDefinition,
  snapshotResourceOf,
} from './snapshot-kinds.ts';

/** API group of the kinds for group snapshots. */
export const GROUP_SNAPSHOT_GROUP = 'groupsnapshot.storage.k8s.io';

const selector = z.object({
  matchLabels: field(z.record(z.string(), z.string()), 'Labels that a claim must have.').optional(),
  matchExpressions: field(
    z.array(
      z.object({
        key: field(z.string(), 'The label.'),
        operator: field(z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']), 'Operator.'),
        values: field(z.array(z.string()), 'Values for In and NotIn.').optional(),
      }),
    ),
    'Further requirements of labels.',
  ).optional(),
});

const spec = z
  .object({
    source: field(
      z.object({
        selector: field(selector, 'The claims, in the same namespace, to snapshot together.', {
          rules: [fixed('selector')],
        }).optional(),
        volumeGroupSnapshotContentName: field(
          z.string(),
          'The VolumeGroupSnapshotContent of an existing group snapshot.',
          { rules: [fixed('volumeGroupSnapshotContentName')] },
        ).optional(),
      }),
      'Source of the group snapshot.',
      {
        rules: [
          kept('selector'),
          kept('volumeGroupSnapshotContentName'),
          {
            rule: 'has(self.selector) != has(self.volumeGroupSnapshotContentName)',
            message: 'exactly one of selector and volumeGroupSnapshotContentName must be set',
          },
        ],
      },
    ),
    volumeGroupSnapshotClassName: field(
      z.string().min(1),
      'The VolumeGroupSnapshotClass; the default class of the driver when absent.',
    ).optional(),
  })
  .meta(OPEN);

const status = z
  .object({
    boundVolumeGroupSnapshotContentName: field(z.string(), 'The VolumeGroupSnapshotContent.').optional(),
    creationTime: field(z.string(), 'The point in time of all members.', { format: 'date-time' }).optional(),
    readyToUse: field(z.boolean(), 'Whether all members can be restored.').optional(),
    error: field(snapshotError, 'The last failure, until it is resolved.').optional(),
  })
  .meta(OPEN);

const contentSpec = z
  .object({
    volumeGroupSnapshotRef: referenceTo('VolumeGroupSnapshot'),
    deletionPolicy: field(
      deletionPolicy,
      'Delete: the group snapshot is deleted with its VolumeGroupSnapshot. Retain: it stays, and so does this object.',
    ),
    driver: field(z.string(), 'The CSI driver.'),
    volumeGroupSnapshotClassName: field(
      z.string(),
      'The VolumeGroupSnapshotClass it was created with; the class may have changed since.',
    ).optional(),
    source: field(
      z.object({
        volumeHandles: field(z.array(z.string()), 'CSI ids of the volumes to snapshot together.').optional(),
        groupSnapshotHandles: field(
          z.object({
            volumeGroupSnapshotHandle: field(z.string(), 'CSI id of the group snapshot.'),
            volumeSnapshotHandles: field(z.array(z.string()), 'CSI ids of its members.'),
          }),
          'An existing group snapshot.',
        ).optional(),
      }),
      'Source of the group snapshot, or the existing one.',
      {
        rules: [
          kept('volumeHandles'),
          kept('groupSnapshotHandles'),
          {
            rule: 'has(self.volumeHandles) != has(self.groupSnapshotHandles)',
            message: 'exactly one of volumeHandles and groupSnapshotHandles must be set',
          },
        ],
      },
    ),
  })
  .meta(OPEN);

const contentStatus = z
  .object({
    volumeGroupSnapshotHandle: field(z.string(), 'CSI id; absent until it exists.').optional(),
    creationTime: field(z.string(), 'The point in time of all members.', { format: 'date-time' }).optional(),
    readyToUse: field(z.boolean(), 'Whether all members can be restored.').optional(),
    error: field(snapshotError, 'The last failure, until it is resolved.').optional(),
    volumeSnapshotInfoList: field(
      z.array(
        z.object({
          volumeHandle: field(z.string(), 'CSI id of the volume.').optional(),
          snapshotHandle: field(z.string(), 'CSI id of its snapshot.').optional(),
          creationTime: field(z.int(), 'Its creation time, in nanoseconds since 1970-01-01 UTC.').optional(),
          readyToUse: field(z.boolean(), 'Whether it can be restored.').optional(),
          restoreSize: field(
            z.int().min(0),
            'The minimum size in bytes of a volume restored from it.',
          ).optional(),
        }),
      ),
      'The members.',
    ).optional(),
  })
  .meta(OPEN);

/** Used by manifests and tools from before v1. */
const EARLIER_VERSIONS = ['v1beta2'];
const APPROVAL = 'https://github.com/kubernetes-csi/external-snapshotter/pull/1337';

const VOLUME_GROUP_SNAPSHOT_KIND: SnapshotKindDefinition = {
  group: GROUP_SNAPSHOT_GROUP,
  kind: 'VolumeGroupSnapshot',
  plural: 'volumegroupsnapshots',
  singular: 'volumegroupsnapshot',
  shortNames: ['vgs'],
  namespaced: true,
  approval: APPROVAL,
  earlierVersions: EARLIER_VERSIONS,
  description: "A user's request for a snapshot of several volumes at one point in time.",
  fields: {
    spec: field(spec, 'The request.'),
    status: field(status, 'The observed state.').optional(),
  },
  required: ['spec'],
  columns: [
    READY,
    {
      name: 'VolumeGroupSnapshotClass',
      type: 'string',
      jsonPath: '.spec.volumeGroupSnapshotClassName',
    },
    {
      name: 'VolumeGroupSnapshotContent',
      type: 'string',
      jsonPath: '.status.boundVolumeGroupSnapshotContentName',
    },
    { name: 'CreationTime', type: 'date', jsonPath: '.status.creationTime' },
    AGE,
  ],
};

const VOLUME_GROUP_SNAPSHOT_CONTENT_KIND: SnapshotKindDefinition = {
  group: GROUP_SNAPSHOT_GROUP,
  kind: 'VolumeGroupSnapshotContent',
  plural: 'volumegroupsnapshotcontents',
  singular: 'volumegroupsnapshotcontent',
  shortNames: ['vgsc', 'vgscs'],
  namespaced: false,
  approval: APPROVAL,
  earlierVersions: EARLIER_VERSIONS,
  description: 'A group snapshot in the storage system.',
  fields: {
    spec: field(contentSpec, 'The group snapshot.'),
    status: field(contentStatus, 'The observed state.').optional(),
  },
  required: ['spec'],
  columns: [
    READY,
    { name: 'DeletionPolicy', type: 'string', jsonPath: '.spec.deletionPolicy' },
    { name: 'Driver', type: 'string', jsonPath: '.spec.driver' },
    {
      name: 'VolumeGroupSnapshotClass',
      type: 'string',
      jsonPath: '.spec.volumeGroupSnapshotClassName',
    },
    {
      name: 'VolumeGroupSnapshotNamespace',
      type: 'string',
      jsonPath: '.spec.volumeGroupSnapshotRef.namespace',
    },
    { name: 'VolumeGroupSnapshot', type: 'string', jsonPath: '.spec.volumeGroupSnapshotRef.name' },
    AGE,
  ],
};

const VOLUME_GROUP_SNAPSHOT_CLASS_KIND: SnapshotKindDefinition = {
  group: GROUP_SNAPSHOT_GROUP,
  kind: 'VolumeGroupSnapshotClass',
  plural: 'volumegroupsnapshotclasses',
  singular: 'volumegroupsnapshotclass',
  shortNames: ['vgsclass', 'vgsclasses'],
  approval: APPROVAL,
  earlierVersions: EARLIER_VERSIONS,
  description: 'How the group snapshots of a driver are created and deleted.',
  ...classDefinition('Whether a group snapshot is deleted with its VolumeGroupSnapshot, or stays.'),
};

/** The standard kinds for group snapshots. */
export const GROUP_SNAPSHOT_KINDS: readonly SnapshotKindDefinition[] = [
  VOLUME_GROUP_SNAPSHOT_CLASS_KIND,
  VOLUME_GROUP_SNAPSHOT_CONTENT_KIND,
  VOLUME_GROUP_SNAPSHOT_KIND,
];

/** A VolumeGroupSnapshot of groupsnapshot.storage.k8s.io/v1. */
export interface VolumeGroupSnapshot extends KubeObject {
  readonly spec: Frozen<z.output<typeof spec>>;
  readonly status?: Frozen<z.output<typeof status>>;
}

/** A VolumeGroupSnapshotContent of groupsnapshot.storage.k8s.io/v1. */
export interface VolumeGroupSnapshotContent extends KubeObject {
  readonly spec: Frozen<z.output<typeof contentSpec>>;
  readonly status?: Frozen<z.output<typeof contentStatus>>;
}

/** A VolumeGroupSnapshotClass of groupsnapshot.storage.k8s.io/v1. */
export interface VolumeGroupSnapshotClass extends KubeObject {
  readonly driver: string;
  readonly deletionPolicy: z.output<typeof deletionPolicy>;
  readonly parameters?: Readonly<Record<string, string>>;
}

/** The resource of VolumeGroupSnapshots. */
export const VOLUME_GROUP_SNAPSHOTS = snapshotResourceOf<VolumeGroupSnapshot>(VOLUME_GROUP_SNAPSHOT_KIND);
/** The resource of VolumeGroupSnapshotContents. */
export const VOLUME_GROUP_SNAPSHOT_CONTENTS = snapshotResourceOf<VolumeGroupSnapshotContent>(
  VOLUME_GROUP_SNAPSHOT_CONTENT_KIND,
);
/** The resource of VolumeGroupSnapshotClasses. */
export const VOLUME_GROUP_SNAPSHOT_CLASSES = snapshotResourceOf<VolumeGroupSnapshotClass>(
  VOLUME_GROUP_SNAPSHOT_CLASS_KIND,
);
