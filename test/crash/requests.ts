import type { ContentSource } from '../../src/core/volumes/volume.ts';
import { type Form, findSnapshot, findVolume, idOf, request, type Scene } from './scene.ts';

/** Whether volumes of that form can be copied. */
export const copies = ({ backend }: Form): boolean => backend !== 'directory';

export const create = (scene: Scene, name: string, source?: ContentSource): Promise<unknown> =>
  scene.storage.volumes.create({ ...request(scene, name), source });

export const remove = (scene: Scene, name: string): Promise<void> =>
  scene.storage.volumes.delete(idOf(findVolume(scene, name)));

export const removeSnapshot = (scene: Scene, name: string): Promise<void> =>
  scene.storage.snapshots.delete(idOf(findSnapshot(scene, name)));

export const removeNew = (scene: Scene): Promise<void> => remove(scene, 'new');
