import { z } from 'zod';
import { AGE, type KindDefinition, type KindObject, resourceOf } from './kind.ts';
import { field, quantity } from '../core/kube-text/document-schema.ts';
import { conditions, exactlyOne, immutable, objectName, observedGeneration } from './schema.ts';

const parameters = z.record(z.string(), z.string().max(1024));

const spec = z.object({
  nodeName: field(objectName, 'The node that has the volume, for good.'),
  poolName: field(objectName, 'The StoragePool on that node.'),
  type: field(
    z.enum(['Volume', 'Snapshot']).default('Volume'),
    'A Snapshot is the read-only state of another volume at one moment; others can be made from it.',
  ),
  size: field(quantity, 'What is asked for. It may grow, and may go back as far as to what the volume has.'),
  volumeMode: field(
    z.enum(['Filesystem', 'Block']).default('Filesystem'),
    'Whether pods get a directory or a block device.',
  ),
  fsType: field(
    z.enum(['btrfs', 'ext4', 'xfs']),
    'File system, where the backend gives a choice.',
  ).optional(),
  source: field(
    z.object({
      volumeName: field(objectName, 'LocalVolume to clone, or to take the snapshot of.').optional(),
      snapshotName: field(objectName, 'LocalVolume of type Snapshot to start from.').optional(),
    }),
    'What the content starts as; empty when absent. It is on the same node and pool.',
    { rules: [exactlyOne(['volumeName', 'snapshotName'])] },
  ).optional(),
  claim: field(
    z.object({
      namespace: field(z.string().max(63), 'Its namespace.'),
      name: field(z.string().max(253), 'Its name.'),
      uid: field(z.string().max(64), 'Its UID: another claim of that name has no right to the volume.'),
    }),
    'The claim (or VolumeSnapshot) that this was made for.',
  ).optional(),
  group: field(
    z.object({
      name: field(
        objectName,
        'Name of the group; the name of each member is this, a dot, and the id of its volume.',
      ),
      volumeNames: field(
        z.array(objectName).min(1).max(16),
        'LocalVolumes of which snapshots are taken at one instant: those of all members.',
      ),
    }),
    'A Snapshot of a group is taken and deleted with all other members, or not at all.',
  ).optional(),
  parameters: field(parameters, 'Parameters of the StorageClass.', { maxProperties: 64 }).optional(),
  attributesClassName: field(
    objectName,
    'The VolumeAttributesClass that mutableParameters are those of.',
  ).optional(),
  mutableParameters: field(parameters, 'Parameters of the VolumeAttributesClass; these may change.', {
    maxProperties: 64,
  }).optional(),
});

const status = z.object({
  observedGeneration,
  phase: field(
    z.enum(['Pending', 'Ready', 'Exhausted', 'Failed', 'Lost']),
    'Pending until the node has acted. Exhausted: the pool has no room, the claim goes elsewhere. Failed: it will not work on any try. Lost: it was there and is not.',
  ).optional(),
  capacity: field(quantity, 'What the volume has.').optional(),
  volumeHandle: field(z.string().max(128), 'Its CSI volume or snapshot id.').optional(),
  mutableParameters: field(parameters, 'Those of spec.mutableParameters that are in force, as numbers.', {
    maxProperties: 64,
  }).optional(),
  groupHandle: field(
    z.string().max(128),
    'The CSI id of the group snapshot that it is a member of.',
  ).optional(),
  creationTime: field(z.string(), 'The moment of a snapshot, the making of a volume.', {
    format: 'date-time',
  }).optional(),
  message: field(z.string().max(1024), 'Why it is in this phase, for people.').optional(),
  conditions,
});

/**
 * A finalizer: keeps a LocalVolume in the API for as long as its data may be on its node. It is there before any data is, so whoever creates
 * one puts it there; the agent of the node takes it off when the data is gone, and the controller for a node that never will.
 */
export const DATA_FINALIZER = 'keelson.dev/data';
/** A condition: True while the volume has grown and its file system has not; it will when kubelet asks (NodeExpandVolume). */
export const NODE_EXPANSION_REQUIRED = 'NodeExpansionRequired';
/** A condition: whether the volume has the size that is asked for, and why not. */
export const SIZED = 'Sized';
/** A condition: whether spec.mutableParameters are in force, and why not; there where there are any, or were. */
export const MODIFIED = 'Modified';
/** A condition of the controller, there only while it is False: the node of the volume is gone from the cluster. */
export const REACHABLE = 'Reachable';
/** A condition of the controller, there only while it is False: no PersistentVolume has the volume any more. */
export const OWNED = 'Owned';

export const LOCAL_VOLUME_KIND: KindDefinition = {
  kind: 'LocalVolume',
  plural: 'localvolumes',
  singular: 'localvolume',
  shortNames: ['lvol'],
  description:
    'One volume or snapshot on one node: written by the controller as intent, and by the agent of that node as truth. Not for editing by hand.',
  spec: field(spec, 'What is to be, and where.', {
    // The controller writes it, nobody else: books on the owner of each field would only cost.
    atomic: true,
    rules: [
      ...immutable({
        required: ['nodeName', 'poolName', 'type', 'volumeMode'],
        optional: ['fsType', 'source', 'claim', 'group', 'parameters'],
      }),
      {
        rule: "self.type != 'Snapshot' || (has(self.source) && has(self.source.volumeName))",
        message: 'a Snapshot names the volume that it is taken of, in source.volumeName',
        fieldPath: '.source',
      },
      {
        rule: "!has(self.group) || (self.type == 'Snapshot' && has(self.source) && has(self.source.volumeName) && self.source.volumeName in self.group.volumeNames)",
        message: 'a member of a group is a Snapshot, of one of the volumes of the group',
        fieldPath: '.group',
      },
      {
        rule: "self.volumeMode != 'Block' || !has(self.fsType)",
        message: 'a Block volume has no file system: leave fsType out',
        fieldPath: '.fsType',
      },
    ],
  }),
  status: field(status, 'What is, as the agent of the node found it.'),
  rules: [
    {
      rule: '!has(oldSelf.status) || !has(oldSelf.status.capacity) || self.spec.size == oldSelf.spec.size || quantity(self.spec.size).compareTo(quantity(oldSelf.status.capacity)) >= 0',
      message: 'spec.size must not be less than what the volume has (status.capacity): volumes do not shrink',
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

export type LocalVolume = KindObject<typeof spec, typeof status>;
export const LOCAL_VOLUMES = resourceOf<LocalVolume>(LOCAL_VOLUME_KIND);
