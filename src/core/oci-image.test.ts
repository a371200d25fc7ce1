import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { encodeImageArchive, ociArchitecture } from './oci-image.ts';

function members(tar: Buffer): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (let offset = 0; tar[offset] !== 0; ) {
    const name = tar.toString('latin1', offset, offset + 100).replace(/\0.*$/s, '');
    const size = Number.parseInt(tar.toString('latin1', offset + 124, offset + 135), 8);
    found.set(name, tar.subarray(offset + 512, offset + 512 + size));
    offset += 512 + Math.ceil(size / 512) * 512;
  }
  return found;
}

interface Index {
  manifests: { digest: string; size: number; annotations: Record<string, string> }[];
}
interface Manifest {
  config: { digest: string };
  layers: { digest: string }[];
}

describe('encodeImageArchive', () => {
  test('a zipped layer is named by its bytes, and still known by those before', () => {
    const content = Buffer.alloc(4_096);
    const found = members(
      encodeImageArchive([{ reference: 'example.dev/z:1', run: {}, layers: [content] }], 'arm64', {
        zipped: true,
      }),
    );
    const zipped = [...found].find(([, data]) => data.readUInt16BE() === 0x1f8b);
    expect(zipped?.[0]).toMatch(/^blobs\/sha256\//);
    expect(gunzipSync(zipped?.[1] ?? '')).toEqual(content);
    const texts = [...found.values()].map((data) => data.toString());
    const digest = createHash('sha256').update(content).digest('hex');
    expect(texts.filter((text) => text.includes(`"diff_ids":["sha256:${digest}"]`))).toHaveLength(1);
    expect(texts.filter((text) => text.includes('layer.v1.tar+gzip'))).toHaveLength(1);
  });

  const layer = Buffer.from('a layer');
  const image = (reference: string, entrypoint: string) => ({
    reference,
    run: { entrypoint: [entrypoint] },
    layers: [layer],
  });
  const files = members(
    encodeImageArchive([image('example.dev/a:1', '/a'), image('example.dev/b:1', '/b')], 'amd64'),
  );
  const json = (name: string): unknown => JSON.parse(files.get(name)?.toString() ?? 'null');
  const blob = (digest: string): string => `blobs/${digest.replace(':', '/')}`;
  const index = json('index.json') as Index;

  test('every blob is named by the sha256 of its content', () => {
    const blobs = [...files].filter(([name]) => name.startsWith('blobs/'));
    for (const [name, data] of blobs) {
      expect(name).toBe(`blobs/sha256/${createHash('sha256').update(data).digest('hex')}`);
    }
  });

  test('images on the same layer share its blob', () => {
    expect([...files].filter(([name]) => name.startsWith('blobs/'))).toHaveLength(1 + 2 * 2);
  });

  test('the index leads to each image by reference, manifest, configuration and layer', () => {
    expect(index.manifests.map(({ annotations }) => annotations['io.containerd.image.name'])).toEqual([
      'example.dev/a:1',
      'example.dev/b:1',
    ]);
    const manifest = json(blob(index.manifests[1]?.digest ?? '')) as Manifest;
    expect(files.get(blob(manifest.layers[0]?.digest ?? ''))).toEqual(layer);
    expect(json(blob(manifest.config.digest))).toMatchObject({
      architecture: 'amd64',
      os: 'linux',
      config: { Entrypoint: ['/b'] },
      rootfs: { type: 'layers', diff_ids: [manifest.layers[0]?.digest] },
    });
  });

  test('the same input gives the same bytes', () => {
    const encode = (): Buffer => encodeImageArchive([image('example.dev/a:1', '/a')], 'amd64');
    expect(encode().equals(encode())).toBe(true);
  });
});

test.each([
  ['x64', 'amd64'],
  ['arm64', 'arm64'],
])('Node architecture %s is %s in an image', (nodeArch, expected) => {
  expect(ociArchitecture(nodeArch)).toBe(expected);
});
