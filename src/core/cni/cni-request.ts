import type { AttachmentKey, PodIdentity, PortMapping } from '../network/attachment.ts';
import { parseHostPorts, parseMac, parseRequestedAddresses } from './cni-capabilities.ts';
import { anyCase, isJsonObject, items, type JsonObject } from './cni-json.ts';
import { CNI_CODES, type CniVersion, cniFault, isAtLeast, parseCniVersion } from './cni-version.ts';

type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC';

/** What a runtime passes to a plugin. */
export interface CniCall {
  readonly environment: ReadonlyMap<string, string>;
  readonly stdin: string;
}

interface Common {
  readonly version: CniVersion;
  readonly network: string;
}

interface AddRequest extends Common, AttachmentKey {
  readonly command: 'ADD';
  readonly netns: string;
  readonly pod: PodIdentity | undefined;
  readonly addresses: readonly string[];
  readonly mac: string | undefined;
  readonly portMappings: readonly PortMapping[];
  readonly dns: JsonObject | undefined;
  readonly prevResult: JsonObject | undefined;
  /** The runtime requested traffic shaping. */
  readonly bandwidth: boolean;
}

interface DelRequest extends Common, AttachmentKey {
  readonly command: 'DEL';
}

interface CheckRequest extends Common, AttachmentKey {
  readonly command: 'CHECK';
  readonly netns: string;
  readonly prevResult: JsonObject;
}

interface StatusRequest extends Common {
  readonly command: 'STATUS';
}

interface GcRequest extends Common {
  readonly command: 'GC';
  readonly valid: readonly AttachmentKey[];
}

/** A parsed CNI call. */
export type CniRequest = AddRequest | DelRequest | CheckRequest | StatusRequest | GcRequest;

/**
 * Environment variables that each command requires (SPEC.md, "Parameters"). A DEL may come without
 * a namespace.
 */
const REQUIRED: Readonly<Record<CniCommand, readonly string[]>> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  STATUS: ['CNI_PATH'],
  GC: ['CNI_PATH'],
};

const SINCE: Readonly<Record<CniCommand, CniVersion>> = {
  ADD: '0.1.0',
  DEL: '0.1.0',
  CHECK: '0.4.0',
  STATUS: '1.1.0',
  GC: '1.1.0',
};

const CONTAINER_ID = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const NETWORK_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** Parses a call; throws the CNI error that the specification prescribes. */
export function parseCniRequest({ environment, stdin }: CniCall): CniRequest {
  const config = parseConfig(stdin);
  const version = parseCniVersion(config['cniVersion']);
  const command = parseCommand(environment.get('CNI_COMMAND'));
  if (!isAtLeast(version, SINCE[command])) {
    throw cniFault(
      CNI_CODES.incompatibleVersion,
      `${command} requires cniVersion ${SINCE[command]} or newer; the configuration has ${version}`,
    );
  }
  const missing = REQUIRED[command].filter((name) => (environment.get(name) ?? '') === '');
  if (missing.length > 0) {
    throw cniFault(
      CNI_CODES.invalidEnvironment,
      `required environment variables missing: ${missing.join(', ')}`,
    );
  }
  const common = { version, network: parseNetworkName(config['name']) };
  switch (command) {
    case 'ADD':
      return parseAdd(common, environment, config);
    case 'DEL':
      return { command, ...common, ...parseKey(environment) };
    case 'CHECK':
      return {
        command,
        ...common,
        ...parseKey(environment),
        netns: parseNetns(environment),
        prevResult: requirePrevResult(config),
      };
    case 'STATUS':
      return { command, ...common };
    case 'GC':
      return { command, ...common, valid: parseValidAttachments(config) };
  }
}

/** Returns the version for the answer to an invalid call: the one it states, if any. */
export function statedVersion(stdin: string): string {
  try {
    return parseCniVersion(parseConfig(stdin)['cniVersion']);
  } catch {
    return '1.0.0';
  }
}

function parseAdd(common: Common, environment: ReadonlyMap<string, string>, config: JsonObject): AddRequest {
  const args = parseArgs(environment.get('CNI_ARGS') ?? '');
  const runtime = anyCase(config, 'runtimeConfig');
  const sources = { runtime, labels: anyCase(anyCase(config, 'args'), 'cni'), args };
  const { dns, prevResult } = config;
  return {
    command: 'ADD',
    ...common,
    ...parseKey(environment),
    netns: parseNetns(environment),
    pod: parsePod(args),
    addresses: parseRequestedAddresses(sources),
    mac: parseMac(sources),
    portMappings: parseHostPorts(anyCase(runtime, 'portMappings')),
    dns: isJsonObject(dns) ? dns : undefined,
    prevResult: isJsonObject(prevResult) ? prevResult : undefined,
    bandwidth: anyCase(runtime, 'bandwidth') !== undefined,
  };
}

function parseConfig(stdin: string): JsonObject {
  let config: unknown;
  try {
    config = JSON.parse(stdin);
  } catch (error) {
    throw cniFault(
      CNI_CODES.undecodable,
      `the network configuration is not valid JSON: ${(error as Error).message}`,
    );
  }
  if (isJsonObject(config)) return config;
  throw cniFault(CNI_CODES.undecodable, 'the network configuration is not a JSON object');
}

function parseCommand(command: string | undefined): CniCommand {
  const known = (Object.keys(REQUIRED) as CniCommand[]).find((name) => name === command);
  if (known !== undefined) return known;
  throw cniFault(
    CNI_CODES.invalidEnvironment,
    `CNI_COMMAND is ${JSON.stringify(command ?? '')}; expected one of ${Object.keys(REQUIRED).join(', ')}, VERSION`,
  );
}

function parseNetworkName(name: unknown): string {
  if (typeof name === 'string' && NETWORK_NAME.test(name)) return name;
  throw cniFault(
    CNI_CODES.invalidConfig,
    `network name ${JSON.stringify(name ?? '')} has characters other than letters, digits, dots, dashes and underscores`,
  );
}

function parseKey(environment: ReadonlyMap<string, string>): AttachmentKey {
  const containerId = environment.get('CNI_CONTAINERID') ?? '';
  const ifname = environment.get('CNI_IFNAME') ?? '';
  if (!CONTAINER_ID.test(containerId)) {
    throw cniFault(
      CNI_CODES.invalidEnvironment,
      `CNI_CONTAINERID ${JSON.stringify(containerId)} is not a valid container ID`,
    );
  }
  // dev_valid_name of the kernel.
  const valid =
    Buffer.byteLength(ifname) <= 15 && !/[/:\s]/.test(ifname) && ifname !== '.' && ifname !== '..';
  if (!valid) {
    throw cniFault(
      CNI_CODES.invalidEnvironment,
      `CNI_IFNAME ${JSON.stringify(ifname)} is not a valid interface name`,
    );
  }
  return { containerId, ifname };
}

function parseNetns(environment: ReadonlyMap<string, string>): string {
  const netns = environment.get('CNI_NETNS') ?? '';
  if (netns.startsWith('/')) return netns;
  throw cniFault(CNI_CODES.invalidEnvironment, `CNI_NETNS ${JSON.stringify(netns)} is not an absolute path`);
}

function parseArgs(text: string): ReadonlyMap<string, string> {
  const args = new Map<string, string>();
  for (const pair of text.split(';')) {
    if (pair === '') continue;
    const at = pair.indexOf('=');
    if (at <= 0) {
      throw cniFault(
        CNI_CODES.invalidEnvironment,
        `CNI_ARGS has ${JSON.stringify(pair)}, which is not a key=value pair`,
      );
    }
    args.set(pair.slice(0, at), pair.slice(at + 1));
  }
  return args;
}

function parsePod(args: ReadonlyMap<string, string>): PodIdentity | undefined {
  const namespace = args.get('K8S_POD_NAMESPACE');
  const name = args.get('K8S_POD_NAME');
  const uid = args.get('K8S_POD_UID');
  if (namespace === undefined || name === undefined) return undefined;
  return { namespace, name, ...(uid === undefined ? {} : { uid }) };
}

function requirePrevResult({ prevResult }: JsonObject): JsonObject {
  if (isJsonObject(prevResult)) return prevResult;
  throw cniFault(CNI_CODES.invalidConfig, 'CHECK requires prevResult, the result of ADD');
}

function parseValidAttachments(config: JsonObject): readonly AttachmentKey[] {
  const key = ['cni.dev/valid-attachments', 'cni.dev/attachments'].find((name) =>
    Object.hasOwn(config, name),
  );
  const list = key === undefined ? undefined : items(config[key]);
  // An absent list is an error of the caller and must not mean that no attachment is valid.
  if (list === undefined) {
    throw cniFault(CNI_CODES.invalidConfig, 'GC requires cni.dev/valid-attachments, a list of attachments');
  }
  return list.map((entry) => {
    const containerId = anyCase(entry, 'containerID');
    const ifname = anyCase(entry, 'ifname');
    if (typeof containerId === 'string' && typeof ifname === 'string') return { containerId, ifname };
    throw cniFault(
      CNI_CODES.invalidConfig,
      'an entry of cni.dev/valid-attachments lacks containerID or ifname',
    );
  });
}
