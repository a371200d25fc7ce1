import type { CallFacts, Mutation, PolicyOperation, ResourceChange } from '../core/policies/policy.ts';
import {
  editEntries,
  editMessage,
  encodeLen,
  readMessage,
  readText,
  readTextMap,
  setBytes,
  setVarint,
} from './wire.ts';

/** Field numbers of runtime.v1 that policies read (proto/runtime/v1/api.proto). */
const RunPodSandboxRequest = { config: 1 } as const;
const CreateContainerRequest = { config: 2, sandboxConfig: 3 } as const;
const PodSandboxConfig = { metadata: 1, labels: 6, annotations: 7 } as const;
const PodSandboxMetadata = { name: 1, uid: 2, namespace: 3 } as const;
const ContainerConfig = { metadata: 1, image: 2, envs: 6, labels: 9, annotations: 10, linux: 15 } as const;
const ContainerMetadata = { name: 1 } as const;
const ImageSpec = { image: 1, userSpecifiedImage: 18 } as const;
const LinuxContainerConfig = { resources: 1 } as const;
const RESOURCE_NUMBERS = {
  cpuPeriod: 1,
  cpuQuota: 2,
  cpuShares: 3,
  memoryLimitBytes: 4,
  oomScoreAdj: 5,
  memorySwapLimitBytes: 10,
} as const;
const RESOURCE_TEXTS = { cpusetCpus: 6, cpusetMems: 7 } as const;
const RESOURCE_UNIFIED = 9;

const EMPTY = new Uint8Array();

/** Returns what policies match on. Throws `invalid` when the request is not a protobuf message. */
export function readCallFacts(operation: PolicyOperation, request: Uint8Array): CallFacts {
  const sandbox = sandboxOf(operation, request);
  const metadata = readMessage(sandbox, PodSandboxConfig.metadata) ?? EMPTY;
  const pod = {
    name: readText(metadata, PodSandboxMetadata.name),
    uid: readText(metadata, PodSandboxMetadata.uid),
    namespace: readText(metadata, PodSandboxMetadata.namespace),
    labels: readTextMap(sandbox, PodSandboxConfig.labels),
    annotations: readTextMap(sandbox, PodSandboxConfig.annotations),
  };
  if (operation === 'RunPodSandbox') return { operation, pod, container: undefined };
  const config = readMessage(request, CreateContainerRequest.config) ?? EMPTY;
  const image = readMessage(config, ContainerConfig.image) ?? EMPTY;
  const names = [readText(image, ImageSpec.userSpecifiedImage), readText(image, ImageSpec.image)];
  return {
    operation,
    pod,
    container: {
      name: readText(readMessage(config, ContainerConfig.metadata) ?? EMPTY, ContainerMetadata.name),
      images: [...new Set(names.filter((name) => name !== ''))],
    },
  };
}

/**
 * Returns the request with `mutation` applied, and every other byte unchanged; `request` itself
 * when nothing changes.
 */
export function patchRequest(
  operation: PolicyOperation,
  request: Uint8Array,
  mutation: Mutation,
): Uint8Array {
  if (operation === 'RunPodSandbox') {
    return editMessage(request, RunPodSandboxRequest.config, (sandbox) =>
      editEntries(
        editEntries(sandbox, PodSandboxConfig.labels, mutation.labels),
        PodSandboxConfig.annotations,
        mutation.annotations,
      ),
    );
  }
  return editMessage(request, CreateContainerRequest.config, (config) => {
    let edited = editEntries(config, ContainerConfig.envs, mutation.env);
    edited = editEntries(edited, ContainerConfig.labels, mutation.labels);
    edited = editEntries(edited, ContainerConfig.annotations, mutation.annotations);
    if (Object.keys(mutation.resources).length === 0) return edited;
    return editMessage(edited, ContainerConfig.linux, (linux) =>
      editMessage(linux, LinuxContainerConfig.resources, (resources) =>
        patchResources(resources, mutation.resources),
      ),
    );
  });
}

/** Encodes a VersionRequest for runtime.v1. */
export function encodeVersionRequest(): Uint8Array {
  return encodeLen(1, Buffer.from('v1'));
}

/** Returns name and version of the runtime in a VersionResponse. */
export function readVersionResponse(response: Uint8Array): {
  readonly name: string;
  readonly version: string;
} {
  return { name: readText(response, 2), version: readText(response, 3) };
}

function sandboxOf(operation: PolicyOperation, request: Uint8Array): Uint8Array {
  const number =
    operation === 'RunPodSandbox' ? RunPodSandboxRequest.config : CreateContainerRequest.sandboxConfig;
  return readMessage(request, number) ?? EMPTY;
}

function patchResources(resources: Uint8Array, change: ResourceChange): Uint8Array {
  let edited = resources;
  for (const key of Object.keys(RESOURCE_NUMBERS) as (keyof typeof RESOURCE_NUMBERS)[]) {
    const value = change[key];
    if (value !== undefined) edited = setVarint(edited, RESOURCE_NUMBERS[key], value);
  }
  for (const key of Object.keys(RESOURCE_TEXTS) as (keyof typeof RESOURCE_TEXTS)[]) {
    const value = change[key];
    if (value !== undefined) edited = setBytes(edited, RESOURCE_TEXTS[key], Buffer.from(value));
  }
  if (change.unified === undefined) return edited;
  return editEntries(edited, RESOURCE_UNIFIED, {
    set: new Map(Object.entries(change.unified)),
    remove: new Set(),
  });
}
