import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CUT_POOLS } from '../integration/storage/power-cut-pools.ts';
import { ensureTool } from '../tools/build-tool.ts';
import { MACHINE_CACHE } from './image.ts';
import { EmulatedMachine, findObstacle } from './machine.ts';

const GIB = 1n << 30n;
/** So many promises of each pool before the power goes. */
const PROMISES = 60;
/**
 * To read TypeScript takes an emulated processor 15 s a program; what Node made of it is kept on
 * the root disk, over reboots.
 */
const PROGRAM = 'cd /keelson && export NODE_COMPILE_CACHE=/var/tmp/node-cache && ';
const LONG = { timeoutMs: 3_000_000, onLine: (line: string) => console.log(line) };

let machine: EmulatedMachine;

beforeAll(async () => {
  const obstacle = await findObstacle();
  if (obstacle !== undefined) throw new Error(obstacle);
  const cut = Object.fromEntries(CUT_POOLS.map((pool) => [pool, 8n * GIB]));
  machine = await EmulatedMachine.make(
    {
      directory: join(MACHINE_CACHE, `test-${process.pid}`),
      disks: { ...cut, data: 4n * GIB, spare: 2n * GIB },
      memoryMib: 2048,
      tools: { 'csi-sanity': await ensureTool('csi-sanity') },
    },
    { report: (text) => console.log(text) },
  );
  await machine.powerOn();
  console.log(`kernel ${await machine.must('uname -r')}`);
});

afterAll(async () => {
  await machine?.[Symbol.asyncDispose]();
});

/** The output of a program of this repository in the machine, which must succeed. */
async function inside(command: string): Promise<string> {
  const { code, output } = await machine.run(PROGRAM + command, LONG);
  expect(code, output).toBe(0);
  return output;
}

/** Runs tests of vitest in the machine, none of which may fail or be skipped but by its name. */
async function runTests(file: string, name?: string): Promise<void> {
  const environment = 'CI=true NO_COLOR=1 KEELSON_TOOLS=/keelson/.tools KEELSON_READY_WITHIN_MS=1200000';
  const vitest =
    'node_modules/.bin/vitest run --config test/machine/inside/vitest.config.ts --configLoader runner';
  const output = await inside(`${environment} ${vitest} ${file}${name === undefined ? '' : ` -t '${name}'`}`);
  expect(output).toMatch(/Tests +\d+ passed/);
  if (name === undefined) expect(output).not.toMatch(/Tests .*skipped/);
}

describe('quotas of this kernel', () => {
  it('limit directories to their size and inodes, on xfs and on ext4', async () => {
    expect(await inside('node test/machine/inside/directory-quota.ts')).toMatch(/pass 5\b/);
  });

  it('satisfy the contract of backends', async () => {
    await runTests('contracts.test.ts');
  });

  it('pass csi-sanity on directories', async () => {
    await runTests('csi-sanity.test.ts', 'directory');
  });
});

describe('a power cut under load', () => {
  it('leaves every acknowledged volume with its size, and no incomplete one', async () => {
    const promises = await Promise.all(CUT_POOLS.map((pool) => promise(pool)));
    await machine.cutPower();
    for (const { ended } of promises) await expect(ended).rejects.toMatchObject({ kind: 'unavailable' });
    await machine.powerOn();
    for (const { pool, said } of promises) {
      const text = Buffer.from(said.map((line) => `${line}\n`).join('')).toString('base64');
      await machine.must(`base64 -d <<<'${text}' >/root/said-${pool}; mount ${diskOf(pool)}`);
      const check = `node test/machine/inside/check-promises.ts /cut/${pool} /places/${pool} ${pool} /root/said-${pool}`;
      expect(await inside(check)).toMatch(new RegExp(`${pool}: whole: [1-9]`));
      // No device and no mount of a volume is left.
      await machine.must(`umount /cut/${pool} && ! grep -r ${pool} /sys/block/loop*/loop/backing_file`);
    }
  });

  const diskOf = (pool: string): string => `--mkdir -o prjquota /dev/disk/by-id/virtio-${pool} /cut/${pool}`;

  /** Works on a disk until its power is cut; resolves when it has promised enough. */
  async function promise(pool: string) {
    await machine.must(
      `mkfs.ext4 -q -O quota,project /dev/disk/by-id/virtio-${pool} && mount ${diskOf(pool)}`,
    );
    const said: string[] = [];
    const enough = Promise.withResolvers<undefined>();
    const ended = machine.start(
      `${PROGRAM}node test/integration/storage/power-cut-victim.ts /cut/${pool} /places/${pool} ${pool}`,
      {
        onLine: (line) => {
          said.push(line);
          if (said.length === PROMISES) enough.resolve(undefined);
        },
      },
    );
    const early = ended.then(({ output }) => {
      throw new Error(`the victim of ${pool} ended by itself: ${output}`);
    });
    early.catch(() => undefined);
    await Promise.race([enough.promise, early]);
    return { pool, said, ended };
  }
});

describe('an agent that systemd runs', () => {
  beforeAll(async () => {
    const config = `
nodeName: machine
metrics: {address: off}
network: {ranges: [10.88.0.0/24]}
pools:
  - {name: subvolumes, backend: btrfs, source: {file: /var/lib/keelson/subvolumes.img, size: 1Gi}}
  - {name: files, backend: image, source: {file: /var/lib/keelson/files.img, size: 1Gi}}
  - {name: directories, backend: directory, source: {path: /srv/data}}
  - {name: devices, backend: image, source: {devices: [/dev/disk/by-id/virtio-spare]}}
`;
    await machine.must(`set -e
      mkfs.xfs -q /dev/disk/by-id/virtio-data
      echo '/dev/disk/by-id/virtio-data /srv/data xfs prjquota,nofail,x-systemd.device-timeout=300 0 0' >>/etc/fstab
      mount --mkdir /srv/data
      /keelson/bin/keelson install-host --root /
      mkdir -p /etc/keelson
      base64 -d <<<'${Buffer.from(config).toString('base64')}' >/etc/keelson/agent.yaml
      systemctl daemon-reload
      systemctl enable --now keelson-agent`);
    await inside('node test/machine/inside/node-volumes.ts make');
  });

  it('limits I/O by cgroup v2', async () => {
    expect(await inside('node test/machine/inside/io-limits.ts')).toMatch(/pass 1\b/);
  });

  it('has devices, mounts and quotas right after a reboot, before it reports that it is ready', async () => {
    await machine.reboot();
    expect(await inside('node test/machine/inside/node-volumes.ts check')).toContain('check: well, 4 pools');
  });

  it('reports pools without their disks, writes nothing in their place, and opens them when the disks return', async () => {
    await machine.shutDown();
    await machine.powerOn({ without: ['data', 'spare'] });
    const missing = 'node test/machine/inside/node-volumes.ts missing directories devices';
    expect(await inside(missing)).toContain('missing: well, 2 pools');
    await machine.plug('data');
    await machine.plug('spare');
    // systemd mounts it by itself when it sees the disk, now or a moment later; this waits for
    // that, or does it.
    await machine.must('udevadm settle && systemctl start srv-data.mount');
    expect(await inside('node test/machine/inside/node-volumes.ts back')).toContain('back: well, 4 pools');
  });

  it('keeps its volumes when it is killed and restarted', async () => {
    await machine.must('systemctl kill --signal=KILL keelson-agent');
    expect(await inside('node test/machine/inside/node-volumes.ts again')).toContain('again: well, 4 pools');
  });

  describe('on a host with SELinux', () => {
    const contexts = async (verb: string): Promise<void> => {
      const output = await inside(`node test/machine/inside/selinux-contexts.ts ${verb}`);
      expect(output).toContain(`${verb}: well, btrfs, ext4, xfs`);
    };

    beforeAll(async () => {
      await machine.shutDown();
      // Its own files have no labels, so nothing could run if the policy were enforced; what it
      // would refuse is not worth the time to log.
      const kernelOptions = ['apparmor=0', 'security=selinux', 'enforcing=0', 'audit=0'];
      await machine.powerOn({ kernelOptions });
      expect(await machine.must('cat /sys/fs/selinux/enforce /proc/self/attr/current; echo')).toMatch(
        /^0\w+:\w+:/,
      );
    });

    it('mounts volumes with their context, and refuses a different one and volumes that cannot have one', async () => {
      await contexts('make');
    });

    it('keeps the contexts when the agent is killed and restarted', async () => {
      await machine.must('systemctl kill --signal=KILL keelson-agent');
      await contexts('check');
    });

    it('restores the contexts after a reboot, before kubelet requests it', async () => {
      await machine.reboot();
      await contexts('check');
    });

    it('drops the contexts at unstaging, and reports one that the kernel keeps', async () => {
      await contexts('end');
    });
  });
});
