import { join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import { MACHINE_CACHE } from './image.ts';
import { EmulatedMachine, findObstacle } from './machine.ts';

const HELP = `node test/machine/main.ts SCRIPT
Boots an emulated machine with the repository at /keelson, runs the script of bash in it, prints what it says, and removes the machine.
Its empty disk of 8 GiB is /dev/disk/by-id/virtio-data. Emulated: about ten times slower than this machine.`;

const script = process.argv.slice(2).join(' ');
if (script === '' || script === '--help') {
  console.log(HELP);
} else {
  const obstacle = await findObstacle();
  if (obstacle !== undefined) throw new Fault('unsupported', obstacle);
  await using machine = await EmulatedMachine.make(
    { directory: join(MACHINE_CACHE, `run-${process.pid}`), disks: { data: 8n << 30n } },
    { report: (text) => console.error(text) },
  );
  await machine.powerOn();
  const { code } = await machine.run(script, { timeoutMs: 3_600_000, onLine: (line) => console.log(line) });
  process.exitCode = code;
}
