/** What the storage service asks of a kernel worker. */
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
} from './btrfs.ts';
export { protectSubvolume, readCreationTransaction, startCommit } from './btrfs-transaction.ts';
export { readFilesystemUuid } from './filesystem-id.ts';
export { flushDevice, readDeviceBytes, setReadOnly } from './block-device.ts';
export {
  addEncryptionKey,
  hasEncryptionKey,
  readEncryptionPolicy,
  removeEncryptionKey,
  setEncryptionPolicy,
} from './encryption.ts';
export { ensureFileGroup } from './file-groups.ts';
export { cloneFile, disableCopyOnWrite, findData, punchHole } from './file-data.ts';
export { readExtents } from './fiemap.ts';
export { freezeFilesystem, thawFilesystem } from './freeze.ts';
export {
  attachLoop,
  closeLoop,
  detachLoop,
  findLoop,
  findLoopNumber,
  findLoopPath,
  readLoopBacking,
  refreshLoopCapacity,
} from './loop.ts';
export { bindBeneath, bindDevice, knowsFilesystem, mountFilesystem, umount } from './mount.ts';
export {
  readProject,
  readProjectQuotas,
  readProjectQuotaState,
  setProject,
  setProjectLimits,
} from './project-quota.ts';
