import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MACHINE_CACHE } from './image.ts';
import { EmulatedMachine, findObstacle } from './machine.ts';

let machine: EmulatedMachine;

beforeAll(async () => {
  const obstacle = await findObstacle();
  if (obstacle !== undefined) throw new Error(obstacle);
  machine = await EmulatedMachine.make(
    { directory: join(MACHINE_CACHE, `test-${process.pid}`), disks: { data: 8n << 30n } },
    { report: (text) => console.log(text) },
  );
  await machine.powerOn();
});

afterAll(async () => {
  await machine?.[Symbol.asyncDispose]();
});

const print = (line: string): void => console.log(line);

it('holds directories to their size and their inodes by project quota, on xfs and on ext4', async () => {
  const { code, output } = await machine.run('cd /keelson && node test/machine/inside/directory-quota.ts', {
    timeoutMs: 3_000_000,
    onLine: print,
  });
  expect(code, output).toBe(0);
  expect(output).toMatch(/pass 5\b/);
});

describe.each(['btrfs', 'image', 'directory'])('when the power is cut under backend %s', (backend) => {
  it('the machine comes back with all that it promised', async () => {
    await machine.must(
      'umount /disk 2>/dev/null; mkfs.ext4 -q -F /dev/disk/by-id/virtio-data && mkdir -p /disk /places && mount /dev/disk/by-id/virtio-data /disk',
    );
    const said: string[] = [];
    const enough = Promise.withResolvers<undefined>();
    const victim = machine.start(
      `cd /keelson && node test/integration/power-cut-victim.ts /disk /places ${backend}`,
      {
        onLine: (line) => {
          said.push(line);
          if (said.length === 25) enough.resolve(undefined);
        },
      },
    );
    await Promise.race([
      enough.promise,
      victim.then(({ output }) => {
        throw new Error(`the victim ended by itself: ${output}`);
      }),
    ]);
    await machine.cutPower();
    await expect(victim).rejects.toMatchObject({ kind: 'unavailable' });
    await machine.powerOn();
    const promises = Buffer.from(said.map((line) => `${line}\n`).join('')).toString('base64');
    const check = [
      `base64 -d <<<'${promises}' >/root/said`,
      'mount /dev/disk/by-id/virtio-data /disk',
      `cd /keelson && node test/machine/inside/check-promises.ts /disk /places ${backend} /root/said`,
    ].join('\n');
    const { code, output } = await machine.run(check, { timeoutMs: 3_000_000, onLine: print });
    expect(code, output).toBe(0);
    expect(output).toMatch(new RegExp(`${backend}: whole: [1-9]`));
  });
});

it('is another boot after a reboot, with the same disks', async () => {
  const before = await machine.must('cat /proc/sys/kernel/random/boot_id; echo kept >/root/kept; sync');
  const boot = await machine.reboot();
  expect(before).not.toContain(boot);
  expect(await machine.must('cat /root/kept')).toBe('kept');
});
