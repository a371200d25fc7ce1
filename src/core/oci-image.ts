import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { encodeTar, type TarEntry } from './oci-tar.ts';

/** What a container runs as when its creator says nothing else (OCI image-spec, config.md). */
export interface OciProcess {
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly env?: readonly string[];
  readonly workingDir?: string;
  /** What the image says about itself, e.g. `org.opencontainers.image.version`. */
  readonly labels?: Readonly<Record<string, string>>;
}

export interface OciImage {
  /** Full reference, e.g. `keelson.dev/demo/busybox:1`. */
  readonly reference: string;
  readonly run: OciProcess;
  /** Uncompressed layer tars, lowest first. Images that share one share its blob. */
  readonly layers: readonly Uint8Array[];
}

/** GOARCH's name for a Node architecture. */
export function ociArchitecture(nodeArch: string): string {
  return nodeArch === 'x64' ? 'amd64' : nodeArch;
}

const MEDIA = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  zippedLayer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const;

export interface ArchiveOptions {
  /** A third of the size, for some seconds of work. */
  readonly zipped?: boolean;
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/**
 * An OCI image layout as one tar, ready for `ctr images import` (image-spec, image-layout.md). Each
 * image gets its full reference by containerd's own annotation, which importers that know only the
 * standard one read from `ref.name`.
 */
export function encodeImageArchive(
  images: readonly OciImage[],
  architecture: string,
  { zipped = false }: ArchiveOptions = {},
): Buffer {
  const blobs = new Map<string, Uint8Array>();
  const add = (mediaType: string, data: Uint8Array): Descriptor => {
    const hex = sha256(data);
    blobs.set(hex, data);
    return { mediaType, digest: `sha256:${hex}`, size: data.length };
  };
  const addJson = (mediaType: string, value: object): Descriptor => add(mediaType, json(value));
  // Without a date or a name in its head: the same layer gives the same bytes.
  const addLayer = (layer: Uint8Array): Descriptor =>
    zipped ? add(MEDIA.zippedLayer, gzipSync(layer)) : add(MEDIA.layer, layer);

  const manifests = images.map(({ reference, run, layers }) => {
    const layerDescriptors = layers.map(addLayer);
    const config = addJson(MEDIA.config, {
      architecture,
      os: 'linux',
      config: {
        Entrypoint: run.entrypoint,
        Cmd: run.command,
        Env: run.env ?? ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
        WorkingDir: run.workingDir ?? '/',
        Labels: run.labels,
      },
      rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${sha256(layer)}`) },
    });
    const manifest = addJson(MEDIA.manifest, {
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      config,
      layers: layerDescriptors,
    });
    return {
      ...manifest,
      platform: { architecture, os: 'linux' },
      annotations: { 'io.containerd.image.name': reference, 'org.opencontainers.image.ref.name': reference },
    };
  });

  const file = (path: string, data: Uint8Array): TarEntry => ({ type: 'file', path, mode: 0o644, data });
  return encodeTar([
    file('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
    file('index.json', json({ schemaVersion: 2, mediaType: MEDIA.index, manifests })),
    ...[...blobs].map(([hex, data]) => file(`blobs/sha256/${hex}`, data)),
  ]);
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}
