import type { ServiceDefinition } from '@grpc/grpc-js';
import { loadProto } from './proto.ts';
import type { ServiceName } from './services.ts';

const DEFINITIONS: Readonly<Record<ServiceName, () => ServiceDefinition>> = {
  'csi.v1.Identity': () => loadProto('csi').csi.v1.Identity.service,
  'csi.v1.Controller': () => loadProto('csi').csi.v1.Controller.service,
  'csi.v1.GroupController': () => loadProto('csi').csi.v1.GroupController.service,
  'csi.v1.SnapshotMetadata': () => loadProto('csi').csi.v1.SnapshotMetadata.service,
  'csi.v1.Node': () => loadProto('csi').csi.v1.Node.service,
  'pluginregistration.Registration': () =>
    loadProto('pluginregistration').pluginregistration.Registration.service,
  'runtime.v1.RuntimeService': () => loadProto('cri').runtime.v1.RuntimeService.service,
  'runtime.v1.ImageService': () => loadProto('cri').runtime.v1.ImageService.service,
};

/** Returns the paths and codecs of a service's methods. */
export function serviceDefinition(service: ServiceName): ServiceDefinition {
  return DEFINITIONS[service]();
}
