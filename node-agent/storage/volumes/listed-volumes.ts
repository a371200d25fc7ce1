import type { Volume } from '../../../src/core/volumes/volume.ts';

/** How a volume is asked for: names are those of the callers, ids are ours. */
export type WantedVolume = { readonly id: string } | { readonly name: string };

/** Whether a volume is told of: it is whole, and does not go with a pod, as one that nobody asked for by itself. */
export function isListed({ phase, ephemeral }: Volume): boolean {
  return phase === 'ready' && ephemeral !== true;
}

/** The volume of that id or name, if it is told of; without a list of all, which callers of this would make for each of many. */
export function findListed(volumes: ReadonlyMap<string, Volume>, wanted: WantedVolume): Volume | undefined {
  if ('id' in wanted) {
    const volume = volumes.get(wanted.id);
    return volume !== undefined && isListed(volume) ? volume : undefined;
  }
  for (const volume of volumes.values()) {
    if (volume.name === wanted.name && isListed(volume)) return volume;
  }
  return undefined;
}
