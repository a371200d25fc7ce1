import { type GrpcObject, loadPackageDefinition } from '@grpc/grpc-js';
import { fromJSON, type Options } from '@grpc/proto-loader';
import type { ProtoGrpcType as CriProto } from './gen/cri.ts';
import criDescriptor from './gen/cri.json' with { type: 'json' };
import type { ProtoGrpcType as CsiProto } from './gen/csi.ts';
import csiDescriptor from './gen/csi.json' with { type: 'json' };
import type { ProtoGrpcType as PluginRegistrationProto } from './gen/pluginregistration.ts';
import pluginRegistrationDescriptor from './gen/pluginregistration.json' with { type: 'json' };

/**
 * How messages are represented in JavaScript. `scripts/generate-rpc-types.ts` derives the
 * generator's flags from this constant, so that the types in `gen/` match: names as in the protos,
 * 64-bit integers as decimal strings, enums by name, bytes as Buffer, every field present (`null`
 * for an absent message), and the chosen field's name under each oneof.
 */
export const PROTO_LOADER_OPTIONS = {
  keepCase: true,
  longs: String,
  enums: String,
  bytes: Buffer,
  defaults: true,
  oneofs: true,
} as const satisfies Options;

/**
 * The supported APIs, by the name of their files in `gen/`, with the types of what `loadProto`
 * returns.
 */
export interface Protos {
  readonly csi: CsiProto;
  readonly cri: CriProto;
  readonly pluginregistration: PluginRegistrationProto;
}

const DESCRIPTORS: Readonly<Record<keyof Protos, object>> = {
  csi: csiDescriptor,
  cri: criDescriptor,
  pluginregistration: pluginRegistrationDescriptor,
};

const loaded = new Map<keyof Protos, GrpcObject>();

/**
 * Returns the packages of one API: client constructors with their `service` definitions, and
 * message types with `serialize` and `deserialize`. Built from the committed descriptors, so
 * neither source nor bundle needs `proto/` at run time.
 */
export function loadProto<A extends keyof Protos>(api: A): Protos[A] {
  let packages = loaded.get(api);
  if (packages === undefined) {
    packages = loadPackageDefinition(fromJSON(DESCRIPTORS[api], PROTO_LOADER_OPTIONS));
    loaded.set(api, packages);
  }
  // The generator made this type from the same proto with the same options.
  return packages as unknown as Protos[A];
}
