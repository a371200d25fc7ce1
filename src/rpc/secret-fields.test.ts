import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import { createLogger } from '../runtime/logger.ts';
import { SECRET_FIELDS } from '../runtime/redact.ts';
import cri from './gen/cri.json' with { type: 'json' };
import csi from './gen/csi.json' with { type: 'json' };
import pluginRegistration from './gen/pluginregistration.json' with { type: 'json' };
import { loadProto } from './proto.ts';

const SECRET = 'hunter2';
const { Controller, Node } = loadProto('csi').csi.v1;
const { ImageService, RuntimeService } = loadProto('cri').runtime.v1;

const capability = { mount: { fs_type: 'btrfs', mount_flags: [`password=${SECRET}`] } };
const envelopes: readonly (readonly [string, (request: unknown) => Record<string, unknown>])[] = [
  ['itself', (request) => request as Record<string, unknown>],
  ['a field of a line', (request) => ({ request })],
  ['a field far below', (request) => ({ a: { b: { c: [{ d: { request } }] } } })],
];

describe('fields that the protos mark as secret', () => {
  const marked = [...secretFieldsOf(csi), ...secretFieldsOf(cri), ...secretFieldsOf(pluginRegistration)];

  it('are found in both ways of marking them', () => {
    expect(marked).toContain('csi.v1.CreateVolumeRequest.secrets');
    expect(marked).toContain('csi.v1.NodeExpandVolumeRequest.secrets');
    expect(marked).toContain('runtime.v1.AuthConfig.registry_token');
    expect(marked.length).toBeGreaterThanOrEqual(20);
  });

  it.each(marked)('%s is on the list of what a log never shows', (field) => {
    expect(SECRET_FIELDS).toContain(field.slice(field.lastIndexOf('.') + 1));
  });
});

describe('a log line with a whole request', () => {
  const requests = {
    CreateVolume: passThrough(Controller.service.CreateVolume, {
      name: 'pvc-1',
      volume_capabilities: [capability],
      parameters: { pool: 'default' },
      secrets: { key: SECRET },
    }),
    NodeStageVolume: passThrough(Node.service.NodeStageVolume, {
      volume_id: 'pvc-1',
      volume_capability: capability,
      secrets: { key: SECRET },
    }),
    PullImage: passThrough(ImageService.service.PullImage, {
      image: { image: 'registry.example/team/app:1' },
      auth: {
        username: 'robot',
        password: SECRET,
        auth: SECRET,
        identity_token: SECRET,
        registry_token: SECRET,
      },
    }),
    CreateContainer: passThrough(RuntimeService.service.CreateContainer, {
      pod_sandbox_id: 'sandbox-1',
      config: { envs: [{ key: 'DB_PASSWORD', value: Buffer.from(SECRET) }] },
    }),
  };

  it.each(
    Object.entries(requests).flatMap(([method, request]) =>
      envelopes.map(([place, wrap]) => ({ method, place, fields: wrap(request) })),
    ),
  )('shows no secret of $method as $place', ({ fields }) => {
    const lines: string[] = [];
    const logger = createLogger({ level: 'trace', name: 'test' }, { write: (line) => lines.push(line) });
    logger.child(fields).info(fields, 'rpc received');
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain(SECRET);
    expect(lines[0]).not.toContain(JSON.stringify([...Buffer.from(SECRET)]).slice(1, -1));
    expect(lines[0]).toMatch(/\[redacted\]|\[7 bytes\]/);
  });

  it('still shows what is not secret', () => {
    const lines: string[] = [];
    const logger = createLogger({ level: 'trace', name: 'test' }, { write: (line) => lines.push(line) });
    logger.info({ request: requests.CreateVolume }, 'rpc received');
    expect(lines[0]).toContain('"parameters":{"pool":"default"}');
  });
});

interface Codec<Request> {
  readonly requestSerialize: (request: Request) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => unknown;
}

/** The request as a server sees it. */
function passThrough<Request>(codec: Codec<Request>, request: Request): unknown {
  return codec.requestDeserialize(codec.requestSerialize(request));
}

function secretFieldsOf(descriptor: object): string[] {
  const found: string[] = [];
  const visit = (namespace: protobuf.NamespaceBase): void => {
    if (namespace instanceof protobuf.Type) {
      for (const field of namespace.fieldsArray) {
        if (field.getOption('(csi_secret)') === true || field.getOption('debug_redact') === true) {
          found.push(field.fullName.slice(1));
        }
      }
    }
    for (const object of namespace.nestedArray) if (object instanceof protobuf.Namespace) visit(object);
  };
  visit(protobuf.Root.fromJSON(descriptor).resolveAll());
  return found;
}
