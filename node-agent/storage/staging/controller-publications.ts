import { Fault } from '../../../src/core/fault.ts';
import type { ControllerPublication, Volume } from '../../../src/core/volumes/volume.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';

/**
 * Records which volumes an orchestrator has published to this node (CSI ControllerPublishVolume).
 */
export class ControllerPublications {
  readonly #deps: OperationDeps;

  constructor(deps: OperationDeps) {
    this.#deps = deps;
  }

  /** See `StagingService.controllerPublish`. */
  async publish(id: string, publication: ControllerPublication, maxVolumes: number): Promise<void> {
    const { records, locks } = this.#deps;
    this.#get(id);
    using _lock = locks.take(id);
    const volume = this.#get(id);
    const { controllerPublication: known } = volume;
    if (known !== undefined) {
      if (known.readonly === publication.readonly && known.accessMode === publication.accessMode) return;
      throw new Fault(
        'conflict',
        `volume ${id} is published to this node as ${describe(known)}, not ${describe(publication)}; unpublish it first`,
        { fields: { volumeId: id } },
      );
    }
    const others = [...records.volumes.values()].filter(
      ({ controllerPublication }) => controllerPublication !== undefined,
    );
    if (others.length >= maxVolumes) {
      throw new Fault(
        'exhausted',
        `${others.length} volumes are published to this node; its limit is ${maxVolumes}`,
      );
    }
    await records.saveVolume({ ...volume, controllerPublication: publication });
  }

  /** See `StagingService.controllerUnpublish`. */
  async unpublish(id: string): Promise<void> {
    const { records, ledger, locks } = this.#deps;
    if (!records.volumes.has(id)) return;
    using _lock = locks.take(id);
    const volume = records.volumes.get(id);
    if (volume?.controllerPublication === undefined) return;
    const { mounts } = ledger.pool(volume.pool);
    for (const { target } of volume.published) {
      if (!(await mounts.isMounted(volume, target))) continue;
      throw new Fault('precondition', `volume ${id} is in use at ${target}; unpublish it there first`, {
        fields: { volumeId: id, target },
      });
    }
    const { controllerPublication: _, ...rest } = volume;
    await records.saveVolume(rest);
  }

  #get(id: string): Volume {
    const volume = this.#deps.records.volumes.get(id);
    if (volume?.phase === 'ready') return volume;
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`);
  }
}

function describe({ readonly, accessMode }: ControllerPublication): string {
  return `${accessMode}${readonly ? ', read-only' : ''}`;
}
