import type { Volume } from '../../../src/core/volumes/volume.ts';
import type { VolumeIdentifier } from '../../../src/core/volumes/volume-request.ts';

/** Lists finished volumes by id, without ephemeral ones. */
export function listVolumes(volumes: ReadonlyMap<string, Volume>): readonly Volume[] {
  return listReady(volumes).filter(isListed);
}

/** Lists the finished records of one kind by id. */
export function listReady<T extends Pick<Volume, 'id' | 'phase'>>(records: ReadonlyMap<string, T>): T[] {
  return [...records.values()]
    .filter(({ phase }) => phase === 'ready')
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Returns the listed volume of that id or name, without sorting all volumes. */
export function findListed(
  volumes: ReadonlyMap<string, Volume>,
  identifier: VolumeIdentifier,
): Volume | undefined {
  if ('id' in identifier) {
    const volume = volumes.get(identifier.id);
    return volume !== undefined && isListed(volume) ? volume : undefined;
  }
  for (const volume of volumes.values()) {
    if (volume.name === identifier.name && isListed(volume)) return volume;
  }
  return undefined;
}

/** An ephemeral volume was not requested on its own; it lives and dies with its pod. */
function isListed({ phase, ephemeral }: Volume): boolean {
  return phase === 'ready' && ephemeral !== true;
}
