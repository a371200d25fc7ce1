/**
 * Writes `src/rpc/gen/` from `proto/`: the TypeScript types of every message and service, and one
 * JSON descriptor an API from which `src/rpc/proto.ts` builds its codecs. `node
 * scripts/generate-rpc-types.ts [DIRECTORY]`
 */
import { execFile } from 'node:child_process';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import protobuf from 'protobufjs';
import { PROTO_LOADER_OPTIONS, type Protos } from '../src/rpc/proto.ts';

const ROOT = join(import.meta.dirname, '..');
const PROTO_DIR = join(ROOT, 'proto');

/** Where each API is defined, below `proto/`. */
export const PROTO_FILES: Readonly<Record<keyof Protos, string>> = {
  csi: 'csi/v1/csi.proto',
  cri: 'runtime/v1/api.proto',
  pluginregistration: 'pluginregistration/v1/api.proto',
};

/** Parses one API's proto with its imports; of Google's own, protobufjs brings the texts. */
export function parseProto(api: keyof Protos): protobuf.Root {
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => (target.startsWith('google/') ? target : join(PROTO_DIR, target));
  root.loadSync(PROTO_FILES[api], { keepCase: PROTO_LOADER_OPTIONS.keepCase });
  root.resolveAll();
  return root;
}

/** Replaces what `directory` holds by what the protos say now. */
export async function generateRpcTypes(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  for (const [api, file] of Object.entries(PROTO_FILES) as [keyof Protos, string][]) {
    await generateTypes(file, directory);
    // The generator names its root file after the proto, and two of ours are called api.proto.
    const rootFile = file.slice(file.lastIndexOf('/') + 1).replace(/\.proto$/, '.ts');
    await rename(join(directory, rootFile), join(directory, `.${api}.ts`));
    await writeFile(join(directory, `${api}.json`), `${JSON.stringify(descriptorOf(api))}\n`);
  }
  for (const api of Object.keys(PROTO_FILES)) {
    await rename(join(directory, `.${api}.ts`), join(directory, `${api}.ts`));
  }
}

async function generateTypes(file: string, directory: string): Promise<void> {
  const loaderPackage = createRequire(import.meta.url).resolve('@grpc/proto-loader/package.json');
  const generator = join(loaderPackage, '../build/bin/proto-loader-gen-types.js');
  const flags = [
    ...loaderFlags(),
    '--grpcLib=@grpc/grpc-js',
    '--importFileExtension=.ts',
    `--outDir=${directory}`,
    '--includeDirs=proto',
  ];
  // From the root, because the generator writes paths relative to where it runs into its files.
  await promisify(execFile)(process.execPath, [generator, ...flags, '--', file], { cwd: ROOT });
}

function loaderFlags(): string[] {
  return Object.entries(PROTO_LOADER_OPTIONS).map(([name, value]) =>
    typeof value === 'boolean' ? `--${name}=${String(value)}` : `--${name}=${value.name}`,
  );
}

/**
 * Without `descriptor.proto` and the extensions that need it: options are kept as plain values,
 * nothing decodes them.
 */
function descriptorOf(api: keyof Protos): protobuf.INamespace {
  const root = parseProto(api);
  for (const extension of [...extensionsIn(root)]) extension.parent?.remove(extension);
  const google = root.lookup('google.protobuf');
  if (google instanceof protobuf.Namespace) {
    const used = wellKnownTypesUsed(root);
    for (const object of [...google.nestedArray]) if (!used.has(object)) google.remove(object);
  }
  return root.toJSON();
}

function* extensionsIn(namespace: protobuf.NamespaceBase): Iterable<protobuf.Field> {
  for (const object of namespace.nestedArray) {
    if (object instanceof protobuf.Field) yield object;
    else if (object instanceof protobuf.Namespace) yield* extensionsIn(object);
  }
}

function wellKnownTypesUsed(root: protobuf.Root): ReadonlySet<protobuf.ReflectionObject> {
  const used = new Set<protobuf.ReflectionObject>();
  const visit = (namespace: protobuf.NamespaceBase): void => {
    if (namespace.fullName === '.google') return;
    if (namespace instanceof protobuf.Type) {
      for (const field of namespace.fieldsArray)
        if (field.resolvedType !== null) used.add(field.resolvedType);
    }
    for (const object of namespace.nestedArray) if (object instanceof protobuf.Namespace) visit(object);
  };
  visit(root);
  return used;
}

if (import.meta.main) await generateRpcTypes(process.argv[2] ?? join(ROOT, 'src/rpc/gen'));
