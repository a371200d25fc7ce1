import { Fault } from '../../src/core/fault.ts';
import type { RpcHandlers } from '../../src/rpc/server.ts';
import type { StagingService } from '../storage/staging/staging.ts';
import type { VolumeService } from '../storage/volumes/volumes.ts';
import { checkForm, parseAccess } from './capabilities.ts';
import { requireField } from './translate.ts';

/** The storage services that ControllerPublishVolume uses. */
export interface PublishingStorage {
  readonly volumes: Pick<VolumeService, 'get'>;
  readonly staging: Pick<StagingService, 'controllerPublish' | 'controllerUnpublish'>;
}

/** Capabilities to add to those of the Controller service. */
export const PUBLISH_CAPABILITIES = [
  'PUBLISH_UNPUBLISH_VOLUME',
  'PUBLISH_READONLY',
  'LIST_VOLUMES_PUBLISHED_NODES',
] as const;

/** Throws `precondition` for a volume that is published to this node. */
export function requireUnpublished(id: string, { list }: Pick<VolumeService, 'list'>): void {
  const volume = list().find((known) => known.id === id);
  if (volume?.controllerPublication === undefined) return;
  throw new Fault('precondition', `volume ${id} is published to its node; unpublish it first`, {
    fields: { volumeId: id },
  });
}

/**
 * Creates the calls of an orchestrator that publishes volumes to nodes before it stages them. A
 * volume can be published only to the node that it is on.
 */
export function createPublishing(
  { nodeName, maxVolumesPerNode }: { readonly nodeName: string; readonly maxVolumesPerNode: number },
  { storage }: { readonly storage: PublishingStorage },
): Pick<RpcHandlers<'csi.v1.Controller'>, 'ControllerPublishVolume' | 'ControllerUnpublishVolume'> {
  return {
    async ControllerPublishVolume({ volume_id: id, node_id: node, volume_capability: capability, readonly }) {
      requireField(id, 'volume_id');
      requireField(node, 'node_id');
      const access = parseAccess(capability);
      const volume = storage.volumes.get(id);
      if (node !== nodeName) {
        throw new Fault(
          'not-found',
          `volume ${id} cannot be published to node ${node.slice(0, 128)}: it is on node ${nodeName}`,
        );
      }
      checkForm(volume, access);
      await storage.staging.controllerPublish(id, { accessMode: access.mode, readonly }, maxVolumesPerNode);
      return { publish_context: {} };
    },

    async ControllerUnpublishVolume({ volume_id: id, node_id: node }) {
      requireField(id, 'volume_id');
      // CSI: an empty node_id means all nodes. The volume is published to no other node.
      if (node === '' || node === nodeName) await storage.staging.controllerUnpublish(id);
      return {};
    },
  };
}
