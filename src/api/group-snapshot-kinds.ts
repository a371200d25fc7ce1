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

/** The group of Kubernetes' own kinds for snapshots of several volumes. */
export const GROUP_SNAPSHOT_GROUP = 'groupsnapshot.storage.k8s.io';

const selector = z.object({
  matchLabels: field(z.record(z.string(), z.string()), 'Labels that a claim has to have.').optional(),
  matchExpressions: field(
    z.array(
      z.object({
        key: field(z.string(), 'The label.'),
        operator: field(z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']), 'How it is compared.'),
        values: field(z.array(z.string()), 'With what, for In and NotIn.').optional(),
      }),
    ),
    'Other requirements of labels.',
  ).optional(),
});

const spec = z
  .object({
    source: field(
      z.object({
        selector: field(selector, 'The claims, in the same namespace, that are to be taken together.', {
          rules: [fixed('selector')],
        }).optional(),
        volumeGroupSnapshotContentName: field(
          z.string(),
          'The VolumeGroupSnapshotContent of a group snapshot that exists already.',
          { rules: [fixed('volumeGroupSnapshotContentName')] },
        ).optional(),
      }),
      'Where the group snapshot comes from.',
      {
        rules: [
          kept('selector'),
          kept('volumeGroupSnapshotContentName'),
          {
            rule: 'has(self.selector) != has(self.volumeGroupSnapshotContentName)',
            message: 'exactly one of selector and volumeGroupSnapshotContentName must be given',
          },
        ],
      },
    ),
    volumeGroupSnapshotClassName: field(
      z.string().min(1),
      'The VolumeGroupSnapshotClass; the default one of the driver when it is left out.',
    ).optional(),
  })
  .meta(OPEN);

const status = z
  .object({
    boundVolumeGroupSnapshotContentName: field(z.string(), 'The VolumeGroupSnapshotContent.').optional(),
    creationTime: field(z.string(), 'The moment that all members show.', { format: 'date-time' }).optional(),
    readyToUse: field(z.boolean(), 'Whether volumes can be made from all members.').optional(),
    error: field(snapshotError, 'The last failure, until it is overcome.').optional(),
  })
  .meta(OPEN);

const contentSpec = z
  .object({
    volumeGroupSnapshotRef: referenceTo('VolumeGroupSnapshot'),
    deletionPolicy: field(
      deletionPolicy,
      'Delete: the group snapshot goes with its VolumeGroupSnapshot. Retain: it stays, and so does this object.',
    ),
    driver: field(z.string(), 'The CSI driver.'),
    volumeGroupSnapshotClassName: field(
      z.string(),
      'The VolumeGroupSnapshotClass that it was made by; that may have changed since.',
    ).optional(),
    source: field(
      z.object({
        volumeHandles: field(z.array(z.string()), 'CSI ids of the volumes to take together.').optional(),
        groupSnapshotHandles: field(
          z.object({
            volumeGroupSnapshotHandle: field(z.string(), 'CSI id of the group snapshot.'),
            volumeSnapshotHandles: field(z.array(z.string()), 'CSI ids of its members.'),
          }),
          'A group snapshot that exists.',
        ).optional(),
      }),
      'What the group snapshot is taken of, or which one it is.',
      {
        rules: [
          kept('volumeHandles'),
          kept('groupSnapshotHandles'),
          {
            rule: 'has(self.volumeHandles) != has(self.groupSnapshotHandles)',
            message: 'exactly one of volumeHandles and groupSnapshotHandles must be given',
          },
        ],
      },
    ),
  })
  .meta(OPEN);

const contentStatus = z
  .object({
    volumeGroupSnapshotHandle: field(z.string(), 'CSI id; absent as long as there is none.').optional(),
    creationTime: field(z.string(), 'The moment that all members show.', { format: 'date-time' }).optional(),
    readyToUse: field(z.boolean(), 'Whether volumes can be made from all members.').optional(),
    error: field(snapshotError, 'The last failure, until it is overcome.').optional(),
    volumeSnapshotInfoList: field(
      z.array(
        z.object({
          volumeHandle: field(z.string(), 'CSI id of the volume.').optional(),
          snapshotHandle: field(z.string(), 'CSI id of its snapshot.').optional(),
          creationTime: field(z.int(), 'Its moment, in nanoseconds since 1970-01-01 UTC.').optional(),
          readyToUse: field(z.boolean(), 'Whether volumes can be made from it.').optional(),
          restoreSize: field(z.int().min(0), 'The least size in bytes of such a volume.').optional(),
        }),
      ),
      'The members.',
    ).optional(),
  })
  .meta(OPEN);

/** Manifests and tools of before v1 name it. */
const EARLIER_VERSIONS = ['v1beta2'];
const APPROVAL = 'https://github.com/kubernetes-csi/external-snapshotter/pull/1337';

export const VOLUME_GROUP_SNAPSHOT_KIND: SnapshotKindDefinition = {
  group: GROUP_SNAPSHOT_GROUP,
  kind: 'VolumeGroupSnapshot',
  plural: 'volumegroupsnapshots',
  singular: 'volumegroupsnapshot',
  shortNames: ['vgs'],
  namespaced: true,
  approval: APPROVAL,
  earlierVersions: EARLIER_VERSIONS,
  description: "A user's wish for the state of several volumes at one moment.",
  fields: {
    spec: field(spec, 'What is asked for.'),
    status: field(status, 'What has become of it.').optional(),
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

export const VOLUME_GROUP_SNAPSHOT_CONTENT_KIND: SnapshotKindDefinition = {
  group: GROUP_SNAPSHOT_GROUP,
  kind: 'VolumeGroupSnapshotContent',
  plural: 'volumegroupsnapshotcontents',
  singular: 'volumegroupsnapshotcontent',
  shortNames: ['vgsc', 'vgscs'],
  namespaced: false,
  approval: APPROVAL,
  earlierVersions: EARLIER_VERSIONS,
  description: 'A group snapshot as it is in the storage system.',
  fields: {
    spec: field(contentSpec, 'Which group snapshot it is.'),
    status: field(contentStatus, 'What has become of it.').optional(),
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

export const VOLUME_GROUP_SNAPSHOT_CLASS_KIND: SnapshotKindDefinition = {
  group: GROUP_SNAPSHOT_GROUP,
  kind: 'VolumeGroupSnapshotClass',
  plural: 'volumegroupsnapshotclasses',
  singular: 'volumegroupsnapshotclass',
  shortNames: ['vgsclass', 'vgsclasses'],
  approval: APPROVAL,
  earlierVersions: EARLIER_VERSIONS,
  description: 'How the group snapshots of a driver are taken, and what becomes of them.',
  ...classDefinition(
    'Whether a group snapshot goes with its VolumeGroupSnapshot, or stays when that is deleted.',
  ),
};

export const GROUP_SNAPSHOT_KINDS: readonly SnapshotKindDefinition[] = [
  VOLUME_GROUP_SNAPSHOT_CLASS_KIND,
  VOLUME_GROUP_SNAPSHOT_CONTENT_KIND,
  VOLUME_GROUP_SNAPSHOT_KIND,
];

export interface VolumeGroupSnapshot extends KubeObject {
  readonly spec: Frozen<z.output<typeof spec>>;
  readonly status?: Frozen<z.output<typeof status>>;
}

export interface VolumeGroupSnapshotContent extends KubeObject {
  readonly spec: Frozen<z.output<typeof contentSpec>>;
  readonly status?: Frozen<z.output<typeof contentStatus>>;
}

export interface VolumeGroupSnapshotClass extends KubeObject {
  readonly driver: string;
  readonly deletionPolicy: z.output<typeof deletionPolicy>;
  readonly parameters?: Readonly<Record<string, string>>;
}

export const VOLUME_GROUP_SNAPSHOTS = snapshotResourceOf<VolumeGroupSnapshot>(VOLUME_GROUP_SNAPSHOT_KIND);
export const VOLUME_GROUP_SNAPSHOT_CONTENTS = snapshotResourceOf<VolumeGroupSnapshotContent>(
  VOLUME_GROUP_SNAPSHOT_CONTENT_KIND,
);
export const VOLUME_GROUP_SNAPSHOT_CLASSES = snapshotResourceOf<VolumeGroupSnapshotClass>(
  VOLUME_GROUP_SNAPSHOT_CLASS_KIND,
);
