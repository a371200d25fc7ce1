import type { MethodDefinition } from '@grpc/proto-loader';
import type { ControllerDefinition } from './gen/csi/v1/Controller.ts';
import type { GroupControllerDefinition } from './gen/csi/v1/GroupController.ts';
import type { IdentityDefinition } from './gen/csi/v1/Identity.ts';
import type { NodeDefinition } from './gen/csi/v1/Node.ts';
import type { SnapshotMetadataDefinition } from './gen/csi/v1/SnapshotMetadata.ts';
import type { RegistrationDefinition } from './gen/pluginregistration/Registration.ts';
import type { ImageServiceDefinition } from './gen/runtime/v1/ImageService.ts';
import type { RuntimeServiceDefinition } from './gen/runtime/v1/RuntimeService.ts';

/** All services of the bundled protos, by full name. */
interface Services {
  'csi.v1.Identity': IdentityDefinition;
  'csi.v1.Controller': ControllerDefinition;
  'csi.v1.GroupController': GroupControllerDefinition;
  'csi.v1.SnapshotMetadata': SnapshotMetadataDefinition;
  'csi.v1.Node': NodeDefinition;
  'pluginregistration.Registration': RegistrationDefinition;
  'runtime.v1.RuntimeService': RuntimeServiceDefinition;
  'runtime.v1.ImageService': ImageServiceDefinition;
}

export type ServiceName = keyof Services;

/**
 * The method names of a service; a generated definition also has an index signature, which is
 * excluded.
 */
export type MethodOf<S extends ServiceName> = Extract<
  keyof { [M in keyof Services[S] as string extends M ? never : M]: unknown },
  string
>;

type Method<S extends ServiceName, M extends MethodOf<S>> = Services[S][M];

/** A request with optional fields. */
export type RequestOf<S extends ServiceName, M extends MethodOf<S>> =
  Method<S, M> extends MethodDefinition<infer Request, infer _1, infer _2, infer _3> ? Request : never;

/** A response with optional fields. */
export type ResponseOf<S extends ServiceName, M extends MethodOf<S>> =
  Method<S, M> extends MethodDefinition<infer _1, infer Response, infer _2, infer _3> ? Response : never;

/** A decoded request: every field present, with its default where the peer sent none. */
export type RequestIn<S extends ServiceName, M extends MethodOf<S>> =
  Method<S, M> extends MethodDefinition<infer _1, infer _2, infer Request, infer _3> ? Request : never;

/** A decoded response: every field present, with its default where the peer sent none. */
export type ResponseIn<S extends ServiceName, M extends MethodOf<S>> =
  Method<S, M> extends MethodDefinition<infer _1, infer _2, infer _3, infer Response> ? Response : never;
