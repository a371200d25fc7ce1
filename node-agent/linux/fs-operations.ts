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
  syncFilesystem,
  waitForQuotaRescan,
} from './btrfs.ts';
export { attachLoop, closeLoop, detachLoop, findLoop, readLoopBacking } from './loop.ts';
export { bindBeneath, mountFilesystem, umount } from './mount.ts';
