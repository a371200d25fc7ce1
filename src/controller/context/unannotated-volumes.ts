/**
 * Volumes of which a PersistentVolume was seen and that do not say so yet (`PUBLISHED_AS`), for as long as that note gives way to more urgent
 * work: nobody may take one for an intent without an owner in the meantime, whatever becomes of its PersistentVolume.
 */
export class UnannotatedVolumes {
  readonly #owners = new Map<string, string>();
  readonly #volumes = new Map<string, string>();

  /** The volume `volume` has the PersistentVolume `owner`. */
  add(volume: string, owner: string): void {
    this.delete(volume);
    this.#owners.set(volume, owner);
    this.#volumes.set(owner, volume);
  }

  has(volume: string): boolean {
    return this.#owners.has(volume);
  }

  /** The volume that a PersistentVolume had when it was seen last. */
  volumeOf(owner: string): string | undefined {
    return this.#volumes.get(owner);
  }

  /** It says so now, or is gone. */
  delete(volume: string): void {
    const owner = this.#owners.get(volume);
    this.#owners.delete(volume);
    if (owner !== undefined && this.#volumes.get(owner) === volume) this.#volumes.delete(owner);
  }
}
