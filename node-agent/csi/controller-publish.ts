import { Fault } from '../../src/core/fault.ts';
import type { ControllerPublication, Volume } from '../../src/core/volumes/volume.ts';
import type { RpcHandlers } from '../../src/rpc/server.ts';
import { checkForm, parseAccess } from './capabilities.ts';
import { requireField } from './translate.ts';

/** What ControllerPublishVolume needs of the storage service. */
export interface ControllerPublisher {
  /** Throws `not-found`. */
  getVolume(id: string): Volume;
  controllerPublish(id: string, wanted: ControllerPublication, most: number): Promise<void>;
  controllerUnpublish(id: string): Promise<void>;
}

export const PUBLISH_CAPABILITIES = [
  'PUBLISH_UNPUBLISH_VOLUME',
  'PUBLISH_READONLY',
  'LIST_VOLUMES_PUBLISHED_NODES',
] as const;

/** Throws `precondition` for a volume that an orchestrator has published to this node. */
export function requireUnpublished(
  id: string,
  { listVolumes }: { readonly listVolumes: () => readonly Volume[] },
): void {
  const volume = listVolumes().find((known) => known.id === id);
  if (volume?.controllerPublication === undefined) return;
  throw new Fault('precondition', `volume ${id} is published to its node; unpublish it first`, {
    fields: { volumeId: id },
  });
}

/** The two calls of an orchestrator that attaches volumes to nodes before it uses them there. A volume is on one node, so only that one can have it. */
export function createPublishing(
  { nodeName, maxVolumesPerNode }: { readonly nodeName: string; readonly maxVolumesPerNode: number },
  { storage }: { readonly storage: ControllerPublisher },
): Pick<RpcHandlers<'csi.v1.Controller'>, 'ControllerPublishVolume' | 'ControllerUnpublishVolume'> {
  return {
    async ControllerPublishVolume({ volume_id: id, node_id: node, volume_capability: capability, readonly }) {
      requireField(id, 'volume_id');
      requireField(node, 'node_id');
      const access = parseAccess(capability);
      const volume = storage.getVolume(id);
      if (node !== nodeName) {
        throw new Fault(
          'not-found',
          `node ${node.slice(0, 128)} cannot have volume ${id}: it is on ${nodeName}`,
        );
      }
      checkForm(volume, access);
      await storage.controllerPublish(id, { accessMode: access.mode, readonly }, maxVolumesPerNode);
      return { publish_context: {} };
    },

    async ControllerUnpublishVolume({ volume_id: id, node_id: node }) {
      requireField(id, 'volume_id');
      // From no other node can it be unpublished, and to none is it published.
      if (node === '' || node === nodeName) await storage.controllerUnpublish(id);
      return {};
    },
  };
}
