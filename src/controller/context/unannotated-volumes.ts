/**
 * Volumes whose PersistentVolume was seen, and that lack `PERSISTENT_VOLUME_ANNOTATION` while its
 * write yields to urgent work. They must not be taken for volumes without an owner, whatever
 * happens to the PersistentVolume.
 */
export class UnannotatedVolumes {
  readonly #owners = new Map<string, string>();
  readonly #volumes = new Map<string, string>();

  /** Records that PersistentVolume `owner` has the volume `volume`. */
  add(volume: string, owner: string): void {
    this.delete(volume);
    this.#owners.set(volume, owner);
    this.#volumes.set(owner, volume);
  }

  has(volume: string): boolean {
    return this.#owners.has(volume);
  }

  /** The volume that a PersistentVolume had when it was last seen. */
  volumeOf(owner: string): string | undefined {
    return this.#volumes.get(owner);
  }

  /** Forgets a volume that was annotated or deleted. */
  delete(volume: string): void {
    const owner = this.#owners.get(volume);
    this.#owners.delete(volume);
    if (owner !== undefined && this.#volumes.get(owner) === volume) this.#volumes.delete(owner);
  }
}
