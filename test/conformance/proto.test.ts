import { execFile, spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { fromJSON, type MessageTypeDefinition } from '@grpc/proto-loader';
import { describe, expect, it, type TestContext } from 'vitest';
import cri from '../../src/rpc/gen/cri.json' with { type: 'json' };
import csi from '../../src/rpc/gen/csi.json' with { type: 'json' };
import pluginregistration from '../../src/rpc/gen/pluginregistration.json' with { type: 'json' };
import { PROTO_LOADER_OPTIONS } from '../../src/rpc/proto.ts';
import { requireTool } from '../tools/require-tool.ts';
import { type Api, describeProto } from './describe-proto.ts';
import { withoutOlderCsi } from './older-csi.ts';

const NAMES = ['csi', 'cri', 'pluginregistration'] as const;
type ApiName = (typeof NAMES)[number];
const DESCRIPTORS: Readonly<Record<ApiName, object>> = { csi, cri, pluginregistration };

interface Sample {
  readonly api: ApiName;
  readonly message: string;
  /** Base64, as the reference encoded it. */
  readonly bytes: string;
  /** The proto3 JSON form, with the names of the proto. */
  readonly json: unknown;
}

const run = promisify(execFile);

describe('the protos of Keelson and the reference modules', () => {
  let reference: Readonly<Record<ApiName, Api>>;

  async function describeReference(context: TestContext): Promise<void> {
    const tool = await requireTool(context, 'descriptors');
    const { stdout } = await run(tool, ['describe'], { maxBuffer: 64 * 1024 * 1024 });
    reference ??= JSON.parse(stdout) as Record<ApiName, Api>;
  }

  /** Ours, without what we keep of older versions. */
  const describeOurs = (api: ApiName): Api => {
    const described = describeProto(DESCRIPTORS[api]);
    return api === 'csi' ? withoutOlderCsi(described) : described;
  };

  it.for(NAMES)('%s has the same package and services, method by method', async (api, context) => {
    await describeReference(context);
    const ours = describeOurs(api);
    expect(ours.package).toBe(reference[api].package);
    expect(ours.services).toEqual(reference[api].services);
  });

  it.for(NAMES)('%s has the same messages, field by field', async (api, context) => {
    await describeReference(context);
    const ours = describeOurs(api);
    expect(Object.keys(ours.messages).sort()).toEqual(Object.keys(reference[api].messages).sort());
    expect(ours.messages).toEqual(reference[api].messages);
  });

  it.for(NAMES)('%s has the same enums, value by value', async (api, context) => {
    await describeReference(context);
    expect(describeOurs(api).enums).toEqual(reference[api].enums);
  });

  it('have as many services and methods as the versions in proto/README.md', async (context) => {
    await describeReference(context);
    const { services } = describeProto(DESCRIPTORS.cri);
    expect(Object.keys(services['runtime.v1.RuntimeService']?.methods ?? {})).toHaveLength(35);
    expect(Object.keys(services['runtime.v1.ImageService']?.methods ?? {})).toHaveLength(6);
    expect(Object.keys(reference.csi.services)).toHaveLength(5);
  });
});

describe('messages with every field filled', () => {
  const codecs = Object.fromEntries(
    NAMES.map((api) => [api, fromJSON(DESCRIPTORS[api], PROTO_LOADER_OPTIONS)]),
  );

  function codecOf({ api, message }: Sample): MessageTypeDefinition<object, object> {
    return codecs[api]?.[message] as MessageTypeDefinition<object, object>;
  }

  /** One for each way to fill a message; types inside of others come with those. */
  async function readSamples(context: TestContext): Promise<{ tool: string; samples: readonly Sample[] }> {
    const tool = await requireTool(context, 'descriptors');
    const { stdout } = await run(tool, ['samples'], { maxBuffer: 64 * 1024 * 1024 });
    return { tool, samples: JSON.parse(stdout) as Sample[] };
  }

  it('from the reference are decoded with equal fields', async (context) => {
    const { samples } = await readSamples(context);
    expect(samples.length).toBeGreaterThan(250);
    for (const sample of samples) {
      const decoded = codecOf(sample).deserialize(Buffer.from(sample.bytes, 'base64'));
      expect(toProtoJson(decoded), sample.message).toEqual(sample.json);
    }
  });

  it('from Keelson are decoded by the reference with equal fields', async (context) => {
    const { tool, samples } = await readSamples(context);
    const answers = samples.map((sample) => {
      const codec = codecOf(sample);
      const decoded = codec.deserialize(Buffer.from(sample.bytes, 'base64'));
      return Buffer.from(codec.serialize(decoded)).toString('base64');
    });
    expect(await check(tool, answers)).toEqual([]);
    // It does tell when something is lost.
    const filled = samples.findIndex(({ bytes }) => bytes !== '');
    expect(await check(tool, answers.with(filled, ''))).toMatchObject([{ index: filled }]);
  });
});

async function check(tool: string, answers: readonly string[]): Promise<unknown[]> {
  const child = spawn(tool, ['check'], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify(answers));
  return JSON.parse(await text(child.stdout)) as unknown[];
}

/** Fields of Google's wrapper types, which proto3 JSON writes as bare values. */
const WRAPPED = new Set(['ready', 'maximum_volume_size', 'minimum_volume_size']);

/**
 * Brings a decoded message into the form of proto3 JSON: no absent messages, no names of chosen
 * fields, bytes in base64.
 */
function toProtoJson(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('base64');
  if (Array.isArray(value)) return value.map(toProtoJson);
  if (typeof value !== 'object' || value === null) return value;
  const message = value as Record<string, unknown>;
  // Google's own types have forms of their own.
  if (Object.keys(message).sort().join() === 'nanos,seconds') {
    const at = new Date(Number(message['seconds']) * 1000);
    return at.toISOString().replace('.000Z', `.${String(message['nanos']).padStart(9, '0')}Z`);
  }
  const entries = Object.entries(message).filter(
    ([name, one]) => one !== null && !isOneofName(name, message),
  );
  return Object.fromEntries(
    entries.map(([name, one]) => [
      name,
      toProtoJson(WRAPPED.has(name) ? (one as { value: unknown }).value : one),
    ]),
  );
}

/** proto-loader adds one string a oneof, whose value is the name of another field. */
function isOneofName(name: string, message: Record<string, unknown>): boolean {
  const value = message[name];
  return typeof value === 'string' && value !== name && Object.hasOwn(message, value);
}
