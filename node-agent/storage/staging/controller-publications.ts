import { Fault } from '../../../src/core/fault.ts';
import type { ControllerPublication, Volume } from '../../../src/core/volumes/volume.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';

/** Which volumes this node may show to workloads, as an orchestrator says that asks first (CSI ControllerPublishVolume). */
export class ControllerPublications {
  readonly #deps: OperationDeps;

  constructor(deps: OperationDeps) {
    this.#deps = deps;
  }

  /**
   * Ensures that the volume is promised to this node in the wanted way. Throws `conflict` when it is in another way, `exhausted` when
   * `most` others are.
   */
  async publish(id: string, wanted: ControllerPublication, most: number): Promise<void> {
    const { inventory, locks } = this.#deps;
    this.#get(id);
    using _lock = locks.take(id);
    const volume = this.#get(id);
    const { controllerPublication: known } = volume;
    if (known !== undefined) {
      if (known.readonly === wanted.readonly && known.accessMode === wanted.accessMode) return;
      throw new Fault(
        'conflict',
        `volume ${id} is published to this node as ${describe(known)}, and ${describe(wanted)} is asked for; unpublish it first`,
        { fields: { volumeId: id } },
      );
    }
    const others = [...inventory.volumes.values()].filter(
      ({ controllerPublication }) => controllerPublication !== undefined,
    );
    if (others.length >= most) {
      throw new Fault(
        'exhausted',
        `${most} volumes are published to this node already, and it takes no more`,
      );
    }
    await inventory.saveVolume({ ...volume, controllerPublication: wanted });
  }

  /** Ensures that it is not; an unknown volume is fine. Throws `precondition` while a workload has it mounted. */
  async unpublish(id: string): Promise<void> {
    const { inventory, ledger, locks } = this.#deps;
    if (!inventory.volumes.has(id)) return;
    using _lock = locks.take(id);
    const volume = inventory.volumes.get(id);
    if (volume?.controllerPublication === undefined) return;
    const { mounts } = ledger.pool(volume.pool);
    for (const { target } of volume.published) {
      if (!(await mounts.isMounted(volume, target))) continue;
      throw new Fault('precondition', `volume ${id} is in use at ${target}; unpublish it there first`, {
        fields: { volumeId: id, target },
      });
    }
    const { controllerPublication: _, ...rest } = volume;
    await inventory.saveVolume(rest);
  }

  #get(id: string): Volume {
    const volume = this.#deps.inventory.volumes.get(id);
    if (volume?.phase === 'ready') return volume;
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`);
  }
}

function describe({ readonly, accessMode }: ControllerPublication): string {
  return `${accessMode}${readonly ? ', read-only' : ''}`;
}
