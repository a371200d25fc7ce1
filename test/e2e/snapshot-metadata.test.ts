import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';
import { Pki } from '../cluster/pki.ts';
import { ensureTool } from '../tools/build-tool.ts';
import {
  blockClaim,
  blockClass,
  clientObjects,
  SERVICE_KIND,
  serviceObject,
  SIDECARS,
  sidecarObjects,
  toolPod,
  TOOLS,
  VOLUME_BYTES,
} from './changed-blocks-objects.ts';
import { SnapshotLab } from './snapshot-lab.ts';

const MINUTES = 60_000;
const BLOCK = 4096;
const LAST_BLOCK = VOLUME_BYTES / BLOCK - 1;
const ZEROS = createHash('sha256').update(Buffer.alloc(VOLUME_BYTES)).digest('hex');
/** The name that clients use by default: the driver's. It stands for one address. */
const [DEFAULT_SERVICE, SECOND_SERVICE] = [DRIVER_NAME, `node-2.${DRIVER_NAME}`];

/** Names of what there is for one volume. */
const CASES = [
  caseOf('btrfs', 'node-1', ''),
  caseOf('image', 'node-1', ''),
  caseOf('image', 'node-2', `-service=${SECOND_SERVICE}`),
] as const;
type Case = ReturnType<typeof caseOf>;

function caseOf(backend: string, node: string, which: string) {
  const name = (what: string): string => `${backend}-${node}-${what}`;
  return {
    ...{ backend, node, which },
    ...{ data: name('data'), older: name('older'), newer: name('newer') },
    ...{ writer: name('writer'), reader: name('reader') },
    ...{ from: name('from'), to: name('to'), fresh: name('fresh') },
  } as const;
}

interface BlockCounts {
  readonly answers: number;
  readonly blocks: number;
  readonly bytes: number;
  readonly capacity: number;
}

interface NodeObject {
  readonly status: { readonly addresses: readonly { readonly type: string; readonly address: string }[] };
}

/**
 * Changed blocks as a backup application gets them on a real cluster: by the client library of
 * external-snapshot-metadata from its sidecar, which uses the CSI SnapshotMetadata service. The
 * library writes the listed blocks to a device that lacks them, and compares.
 */
describe('changed blocks in a cluster', { timeout: 5 * MINUTES }, () => {
  let lab: SnapshotLab;
  let tools: string;

  beforeAll(async () => {
    tools = dirname(await ensureTool('csi-snapshot-metadata'));
    await ensureTool('changed-blocks');
    lab = await SnapshotLab.start('blocks');
    const { kubectl } = lab;
    await lab.installSnapshotKinds();
    await lab.addClass('keelson', 'Delete', true);
    const source = { file: '/var/lib/keelson/images.img', fileSize: '1Gi' };
    await kubectl.apply([
      SERVICE_KIND,
      {
        apiVersion: 'keelson.dev/v1alpha1',
        kind: 'StoragePool',
        metadata: { name: 'images' },
        spec: { backend: 'image', source },
      },
      blockClass('btrfs', 'default'),
      blockClass('image', 'images'),
      ...clientObjects('backup', { readsSnapshots: true }),
      ...clientObjects('stranger', { readsSnapshots: false }),
    ]);
    await kubectl.wait('crd/snapshotmetadataservices.cbt.storage.k8s.io', 'condition=Established');
    await startSidecars();
    await kubectl.wait('storagepool/images', 'jsonpath={.status.nodes.ready}=2');
  }, 15 * MINUTES);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  }, 2 * MINUTES);

  async function startSidecars(): Promise<void> {
    const { kubectl, cluster } = lab;
    const [first, second] = [await addressOf('node-1'), await addressOf('node-2')];
    const directory = join(cluster.directory, 'changed-blocks');
    await mkdir(directory);
    const pki = new Pki(directory);
    await pki.ensureAuthority();
    const serves = [`IP:${first}`, `IP:${second}`];
    const { certificate, key } = await pki.ensureCertificate({ name: 'sidecar', user: 'sidecar', serves });
    const authority = await readFile(pki.authority);
    await kubectl.apply([
      ...sidecarObjects(tools, await readFile(certificate), await readFile(key)),
      serviceObject(DEFAULT_SERVICE, first, authority),
      serviceObject(SECOND_SERVICE, second, authority),
    ]);
    await kubectl.run(['rollout', 'status', ...SIDECARS, '--timeout=120s']);
  }

  const addressOf = async (node: string): Promise<string> => {
    const { status } = await lab.kubectl.get<NodeObject>(['node', node]);
    return status.addresses.find(({ type }) => type === 'InternalIP')?.address ?? '';
  };
  const hashOf = async (pod: string, device: string): Promise<string> =>
    (await lab.inPod(pod, `sha256sum </dev/${device}`)).slice(0, 64);
  /** Random data in `count` blocks from each of these on. */
  const scribble = (pod: string, device: string, starts: readonly number[], count: number): Promise<string> =>
    lab.inPod(
      pod,
      `for at in ${starts.join(' ')}; do dd if=/dev/urandom of=/dev/${device} bs=${BLOCK} seek=$at count=${count} conv=notrunc,fsync 2>/dev/null || exit 1; done`,
    );
  const expectEqual = async (pod: string, one: string, other: string): Promise<void> => {
    await lab.inPod(pod, `cmp /dev/${one} /dev/${other}`);
  };
  const ask = async (pod: string, options: string): Promise<BlockCounts> =>
    JSON.parse(await lab.inPod(pod, `${TOOLS}/changed-blocks ${options}`)) as BlockCounts;

  test('snapshots of volumes are taken and restored', async () => {
    await Promise.all(CASES.map(prepare));
  });

  /**
   * Two snapshots with known differences, and a pod of the backup application with what was
   * restored from each and a new volume.
   */
  async function prepare(one: Case): Promise<void> {
    const { backend, node, data, older, newer, writer, reader, from, to, fresh } = one;
    await lab.kubectl.apply([blockClaim(data, backend), toolPod(writer, { node, tools }, [data])]);
    await lab.nodeOf(writer);
    await scribble(writer, data, [0, 300, 6_000], 64);
    const before = await hashOf(writer, data);
    await lab.addSnapshot(older, data);
    await lab.ready(older);
    await scribble(writer, data, [3, 320, 5_000, 5_100, LAST_BLOCK], 1);
    // What held data and holds none any more is a change too.
    await lab.inPod(writer, `blkdiscard -o ${6_000 * BLOCK} -l ${32 * BLOCK} /dev/${data}`);
    const after = await hashOf(writer, data);
    await lab.addSnapshot(newer, data);
    await lab.ready(newer);
    await lab.kubectl.apply([
      blockClaim(from, backend, newer),
      blockClaim(to, backend, older),
      blockClaim(fresh, backend),
      toolPod(reader, { node, tools, account: 'backup' }, [from, to, fresh]),
    ]);
    expect(await lab.nodeOf(reader)).toBe(node);
    expect(after).not.toBe(before);
    expect(await hashOf(reader, from)).toBe(after);
    expect(await hashOf(reader, to)).toBe(before);
    expect(await hashOf(reader, fresh)).toBe(ZEROS);
  }

  describe.each(CASES)('of a volume of backend $backend on $node', (one) => {
    const { older, newer, reader, from, to, fresh, which } = one;

    test('the changed blocks alone make the older volume equal to the newer', async () => {
      const counts = await ask(
        reader,
        `${which} -snapshot=${newer} -previous=${older} -from=/dev/${from} -to=/dev/${to} -max-results=2`,
      );
      expect(counts.capacity).toBe(VOLUME_BYTES);
      expect(counts.bytes).toBeGreaterThanOrEqual(37 * BLOCK);
      expect(counts.bytes).toBeLessThan(160 * BLOCK);
      expect(counts.answers).toBe(Math.ceil(counts.blocks / 2));
      expect(counts.answers).toBeGreaterThan(1);
      await expectEqual(reader, to, from);
    });

    test('the allocated blocks alone make a new volume equal to it', async () => {
      const counts = await ask(reader, `${which} -snapshot=${newer} -from=/dev/${from} -to=/dev/${fresh}`);
      expect(counts.capacity).toBe(VOLUME_BYTES);
      expect(counts.bytes).toBeGreaterThanOrEqual(163 * BLOCK);
      expect(counts.bytes).toBeLessThan(320 * BLOCK);
      await expectEqual(reader, fresh, from);
    });
  });

  test('are served by the node that has the snapshot only', async () => {
    const asked = ask('btrfs-node-1-reader', '-snapshot=image-node-2-newer -from=/dev/zero -to=/dev/null');
    await expect(asked).rejects.toThrow(/NotFound.* does not exist on this node/);
  });

  test('are denied to a client that may not read the snapshot', async () => {
    await lab.kubectl.apply([toolPod('stranger', { node: 'node-1', tools, account: 'stranger' })]);
    await lab.nodeOf('stranger');
    const asked = ask(
      'stranger',
      `-service=${DEFAULT_SERVICE} -snapshot=btrfs-node-1-newer -from=/dev/zero -to=/dev/null`,
    );
    await expect(asked).rejects.toThrow(/PermissionDenied/);
  });

  test('are served again after the agent was killed: the sidecar ends with it, and restarts', async () => {
    const [, { reader, newer, from, fresh }] = CASES;
    await (await lab.cluster.node('node-1')).killAgent();
    await lab.eventually('it is served again', async () => {
      await ask(reader, `-snapshot=${newer} -from=/dev/${from} -to=/dev/${fresh}`);
    });
  });
});
