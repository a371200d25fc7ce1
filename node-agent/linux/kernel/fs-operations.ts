/** The operations of kernel workers on files, devices and file systems. */
export {
  assignQgroup,
  createQgroup,
  createSubvolume,
  destroySubvolume,
  enableQuota,
  limitQgroup,
  readBtrfsUuid,
  readNestedSubvolumes,
  readQgroups,
  readQuotaState,
  readSubvolumeId,
  removeQgroup,
  snapshotSubvolume,
  startQuotaRescan,
  syncFilesystem,
  waitForQuotaRescan,
} from '../btrfs/btrfs.ts';
export { protectSubvolume, readCreationTransaction, startCommit } from '../btrfs/btrfs-transaction.ts';
export { readFilesystemUuid } from '../block/filesystem-id.ts';
export { flushDevice, readDeviceBytes, setReadOnly } from '../block/block-device.ts';
export {
  addEncryptionKey,
  hasEncryptionKey,
  readEncryptionPolicy,
  removeEncryptionKey,
  setEncryptionPolicy,
} from '../files/encryption.ts';
export { ensureFileGroup } from '../files/file-groups.ts';
export { cloneFile, disableCopyOnWrite, findData, punchHole } from '../files/file-data.ts';
export { readExtents } from '../block/fiemap.ts';
export { freezeFilesystem, thawFilesystem } from '../files/freeze.ts';
export {
  attachLoop,
  closeLoop,
  detachLoop,
  findLoop,
  findLoopNumber,
  findLoopPath,
  readLoopBacking,
  refreshLoopCapacity,
} from '../block/loop.ts';
export { bindBeneath, bindDevice, knowsFilesystem, mountFilesystem, umount } from '../files/mount.ts';
export {
  readProject,
  readProjectQuotas,
  readProjectQuotaState,
  setProject,
  setProjectLimits,
} from '../files/project-quota.ts';
