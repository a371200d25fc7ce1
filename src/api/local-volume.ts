import { z } from 'zod';
import { AGE, type KindDefinition, type KindObject, resourceOf } from './kind.ts';
import { field, quantity } from '../core/kube-text/document-schema.ts';
import { conditions, exactlyOne, immutable, objectName, observedGeneration } from './schema.ts';

const parameters = z.record(z.string(), z.string().max(1024));

const spec = z.object({
  nodeName: field(objectName, 'The node of the volume; immutable.'),
  poolName: field(objectName, 'The StoragePool on that node.'),
  type: field(
    z.enum(['Volume', 'Snapshot']).default('Volume'),
    'A Snapshot is the read-only state of another volume at one point in time; volumes can be restored from it.',
  ),
  size: field(quantity, 'Requested size. It may grow, and may shrink down to the size that the volume has.'),
  volumeMode: field(
    z.enum(['Filesystem', 'Block']).default('Filesystem'),
    'Whether pods get a directory or a block device.',
  ),
  fsType: field(
    z.enum(['btrfs', 'ext4', 'xfs']),
    'File system, where the backend supports several.',
  ).optional(),
  source: field(
    z.object({
      volumeName: field(objectName, 'LocalVolume to clone, or to snapshot.').optional(),
      snapshotName: field(objectName, 'LocalVolume of type Snapshot to restore.').optional(),
    }),
    'Source of the content, on the same node and pool; the volume is empty when absent.',
    { rules: [exactlyOne(['volumeName', 'snapshotName'])] },
  ).optional(),
  claim: field(
    z.object({
      namespace: field(z.string().max(63), 'Its namespace.'),
      name: field(z.string().max(253), 'Its name.'),
      uid: field(z.string().max(64), 'Its UID: another claim of that name has no access to the volume.'),
    }),
    'The claim (or VolumeSnapshot) that it was created for.',
  ).optional(),
  group: field(
    z.object({
      name: field(
        objectName,
        'Name of the group; the name of each member is this, a dot, and the id of its volume.',
      ),
      volumeNames: field(
        z.array(objectName).min(1).max(16),
        'LocalVolumes of all members, which are snapshotted at the same instant.',
      ),
    }),
    'A Snapshot of a group is created and deleted with all other members, or not at all.',
  ).optional(),
  parameters: field(parameters, 'Parameters of the StorageClass.', { maxProperties: 64 }).optional(),
  attributesClassName: field(objectName, 'The VolumeAttributesClass of mutableParameters.').optional(),
  mutableParameters: field(parameters, 'Parameters of the VolumeAttributesClass; mutable.', {
    maxProperties: 64,
  }).optional(),
});

const status = z.object({
  observedGeneration,
  phase: field(
    z.enum(['Pending', 'Ready', 'Exhausted', 'Failed', 'Lost']),
    'Pending until the node has acted. Exhausted: the pool has not enough free space, and the claim is rescheduled. Failed: retries will not help. Lost: it existed and no longer does.',
  ).optional(),
  capacity: field(quantity, 'Size of the volume.').optional(),
  volumeHandle: field(z.string().max(128), 'Its CSI volume or snapshot id.').optional(),
  mutableParameters: field(parameters, 'Parameters of spec.mutableParameters that are applied, as numbers.', {
    maxProperties: 64,
  }).optional(),
  groupHandle: field(z.string().max(128), 'CSI id of the group snapshot that it is a member of.').optional(),
  creationTime: field(z.string(), 'Creation time; of a snapshot, its point in time.', {
    format: 'date-time',
  }).optional(),
  message: field(z.string().max(1024), 'Human-readable reason for the phase.').optional(),
  conditions,
});

/**
 * A finalizer: keeps a LocalVolume for as long as its data may be on its node. Its creator sets it
 * before any data exists; the agent of the node removes it when the data is deleted, and the
 * controller for a node that no longer exists.
 */
export const DATA_FINALIZER = 'keelson.dev/data';
/**
 * Condition: True while the volume is larger than its file system; kubelet expands it
 * (NodeExpandVolume).
 */
export const NODE_EXPANSION_REQUIRED = 'NodeExpansionRequired';
/** Condition: whether the volume has the requested size, and why not. */
export const SIZED = 'Sized';
/**
 * Condition: whether spec.mutableParameters are applied, and why not; present where there are or
 * were any.
 */
export const MODIFIED = 'Modified';
/**
 * Condition of the controller, present only while False: the node of the volume no longer exists.
 */
export const REACHABLE = 'Reachable';
/**
 * Condition of the controller, present only while False: the volume has no PersistentVolume any
 * more.
 */
export const OWNED = 'Owned';

/** Definition of the kind LocalVolume. */
export const LOCAL_VOLUME_KIND: KindDefinition = {
  kind: 'LocalVolume',
  plural: 'localvolumes',
  singular: 'localvolume',
  shortNames: ['lvol'],
  description:
    'One volume or snapshot on one node: its spec is written by the controller, its status by the agent of that node. Not meant to be edited by hand.',
  spec: field(spec, 'Desired state.', {
    // Only written by the controller: tracking the owner of each field would only cost.
    atomic: true,
    rules: [
      ...immutable({
        required: ['nodeName', 'poolName', 'type', 'volumeMode'],
        optional: ['fsType', 'source', 'claim', 'group', 'parameters'],
      }),
      {
        rule: "self.type != 'Snapshot' || (has(self.source) && has(self.source.volumeName))",
        message: 'a Snapshot requires source.volumeName',
        fieldPath: '.source',
      },
      {
        rule: "!has(self.group) || (self.type == 'Snapshot' && has(self.source) && has(self.source.volumeName) && self.source.volumeName in self.group.volumeNames)",
        message: 'a member of a group must be a Snapshot of one of the volumes of the group',
        fieldPath: '.group',
      },
      {
        rule: "self.volumeMode != 'Block' || !has(self.fsType)",
        message: 'fsType must not be set for a Block volume',
        fieldPath: '.fsType',
      },
    ],
  }),
  status: field(status, 'Observed state, written by the agent of the node.'),
  rules: [
    {
      rule: '!has(oldSelf.status) || !has(oldSelf.status.capacity) || self.spec.size == oldSelf.spec.size || quantity(self.spec.size).compareTo(quantity(oldSelf.status.capacity)) >= 0',
      message: 'spec.size must not be less than status.capacity: volumes do not shrink',
      fieldPath: '.spec.size',
    },
  ],
  columns: [
    { name: 'Node', type: 'string', jsonPath: '.spec.nodeName' },
    { name: 'Pool', type: 'string', jsonPath: '.spec.poolName' },
    { name: 'Size', type: 'string', jsonPath: '.spec.size' },
    { name: 'Phase', type: 'string', jsonPath: '.status.phase' },
    { name: 'Namespace', type: 'string', jsonPath: '.spec.claim.namespace' },
    { name: 'Claim', type: 'string', jsonPath: '.spec.claim.name' },
    { name: 'Type', type: 'string', jsonPath: '.spec.type', priority: 1 },
    { name: 'Message', type: 'string', jsonPath: '.status.message', priority: 1 },
    AGE,
  ],
  selectableFields: ['.spec.nodeName', '.spec.poolName', '.spec.type'],
};

/** One volume or snapshot on one node. */
export type LocalVolume = KindObject<typeof spec, typeof status>;
/** The resource of LocalVolumes. */
export const LOCAL_VOLUMES = resourceOf<LocalVolume>(LOCAL_VOLUME_KIND);
