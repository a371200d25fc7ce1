import { connect, createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Fault } from '../../src/core/fault.ts';
import {
  type ManagedProcess,
  runCommand,
  sendSignal,
  startProcess,
} from '../../src/runtime/child-process.ts';
import { deadlineSignal } from '../../src/runtime/signals.ts';
import { ensureModulesDisk, makeCodeDisk } from './disks.ts';
import { ensureMachineImage, type ImageDeps, type MachineImage } from './image.ts';

export interface MachineOptions {
  /** Holds everything of this machine; made if absent. Disposing removes it. */
  readonly directory: string;
  /** Empty disks besides the root disk, as /dev/disk/by-id/virtio-NAME. */
  readonly disks?: Readonly<Record<string, bigint>>;
  readonly memoryMib?: number;
  /** Programs of this machine that are in that one as /keelson/.tools/NAME. */
  readonly tools?: Readonly<Record<string, string>>;
}

export interface PowerOnOptions {
  /** Disks that are not in it; `plug` puts one in. */
  readonly without?: readonly string[];
  /** Further kernel parameters, also for reboots. */
  readonly kernelOptions?: readonly string[];
}

export interface CommandResult {
  readonly code: number;
  readonly output: string;
}

export interface RunOptions {
  readonly timeoutMs?: number;
  /** Called with each line. */
  readonly onLine?: (line: string) => void;
}

/** An emulated processor is about ten times slower than this one. */
const BOOT_MS = 1_500_000;
const RUN_MS = 600_000;

/** Mitigations that take time are disabled: an emulated processor has no leaks. */
const KERNEL_OPTIONS = [
  ...['root=/dev/vda', 'rw', 'console=ttyS0', 'panic=-1', 'mitigations=off', 'cryptomgr.notests=1'],
  ...['quiet', 'systemd.show_status=false', 'random.trust_cpu=on', 'fsck.mode=skip'],
  // Where the emulator gets little of a processor, everything takes minutes and nothing is wrong.
  ...['systemd.default_device_timeout_sec=1800', 'systemd.default_timeout_start_sec=1800'],
].join(' ');

interface Running {
  readonly lines: string[];
  readonly onLine: ((line: string) => void) | undefined;
  readonly done: PromiseWithResolvers<CommandResult>;
}

/**
 * A machine of its own with a kernel of its own, in an emulator: it can be rebooted, and its power
 * can be cut. The repository is in it, read-only, at /keelson. What is on its disks stays until it
 * is disposed.
 */
export class EmulatedMachine implements AsyncDisposable {
  readonly #options: MachineOptions;
  readonly #image: MachineImage;
  readonly #modules: string;
  readonly #running = new Map<string, Running>();
  #process: ManagedProcess | undefined;
  #server: Server | undefined;
  #socket: Socket | undefined;
  #booted = Promise.withResolvers<string>();
  #nextId = 1;

  private constructor(options: MachineOptions, image: MachineImage, modules: string) {
    this.#options = options;
    this.#image = image;
    this.#modules = modules;
  }

  /** A machine that is off, with new disks. */
  static async make(options: MachineOptions, deps: ImageDeps): Promise<EmulatedMachine> {
    const image = await ensureMachineImage(deps);
    const modules = await ensureModulesDisk(deps);
    await mkdir(options.directory, { recursive: true });
    const machine = new EmulatedMachine(options, image, modules);
    await makeCodeDisk(machine.#file('code.img'), options.tools);
    const root = ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', image.root, machine.#file('root.qcow2')];
    await runCommand('qemu-img', root);
    for (const [name, bytes] of Object.entries(options.disks ?? {})) {
      const file = machine.#file(`disk-${name}.qcow2`);
      await runCommand('qemu-img', ['create', '-q', '-f', 'qcow2', file, String(bytes)]);
    }
    return machine;
  }

  /** What its kernel and its services say. */
  get consoleFile(): string {
    return this.#file('console.log');
  }

  /** Resolves when it answers; to the id of this boot. */
  async powerOn(options: PowerOnOptions = {}): Promise<string> {
    if (this.#process !== undefined) throw new Fault('bug', 'the machine is on already');
    this.#booted = Promise.withResolvers();
    const socketPath = this.#file('answer.sock');
    await rm(socketPath, { force: true });
    this.#server = createServer((socket) => this.#listen(socket)).listen(socketPath);
    await once(this.#server, 'listening');
    this.#process = await startProcess({
      name: 'the emulator',
      // It ends with its parent process, also where that one is killed; others have the processor
      // first.
      file: 'setpriv',
      args: [
        ...['--pdeathsig', 'KILL', 'nice', '-n', '10', 'qemu-system-x86_64'],
        ...this.#arguments(socketPath, options),
      ],
      logFile: this.#file('emulator.log'),
    });
    return await this.#untilBooted();
  }

  /**
   * Ends the emulator at once: what the machine held in memory, and its disks had not confirmed, is
   * lost.
   */
  async cutPower(): Promise<void> {
    const emulator = this.#process;
    this.#process = undefined;
    if (emulator !== undefined) {
      sendSignal(emulator.pid, 'SIGKILL');
      await emulator.exited;
    }
    this.#socket?.destroy();
    this.#server?.close();
    const deleted = new Fault('unavailable', 'the power of the machine was cut');
    for (const { done } of this.#running.values()) done.reject(deleted);
    this.#running.clear();
  }

  /** Shuts down cleanly, and stays off. */
  async shutDown(): Promise<void> {
    const emulator = this.#process;
    this.start('systemctl poweroff').catch(() => undefined);
    await emulator?.exited;
    await this.cutPower();
  }

  /** Puts a disk in while the machine is on; its kernel finds it by itself. */
  async plug(disk: string): Promise<void> {
    const monitor = connect(this.#file('monitor.sock'));
    await once(monitor, 'connect');
    monitor.end(`device_add ${blockDevice(disk)},bus=slot-${disk}\n`);
    // The emulator closes the connection after the command.
    const said = (await monitor.toArray()).join('');
    if (/error/i.test(said)) throw new Fault('bug', `the emulator refused disk ${disk}: ${said}`);
  }

  /** Shuts down cleanly, and boots again. Resolves to the id of the new boot. */
  async reboot(): Promise<string> {
    this.#booted = Promise.withResolvers();
    this.start('systemctl reboot').catch(() => undefined);
    return await this.#untilBooted();
  }

  /** Runs a script of bash to its end, whatever its exit code. */
  async run(script: string, { timeoutMs = RUN_MS, onLine }: RunOptions = {}): Promise<CommandResult> {
    using deadline = deadlineSignal(timeoutMs);
    const late = Promise.withResolvers<never>();
    deadline.signal.addEventListener('abort', () =>
      late.reject(
        new Fault('timeout', `in the machine, ${JSON.stringify(script)}: no end after ${timeoutMs} ms`),
      ),
    );
    return await Promise.race([
      this.start(script, { ...(onLine === undefined ? {} : { onLine }) }),
      late.promise,
    ]);
  }

  /** The output of a script that must succeed. */
  async must(script: string, options: RunOptions = {}): Promise<string> {
    const { code, output } = await this.run(script, options);
    if (code === 0) return output;
    throw new Fault(
      'precondition',
      `in the machine, ${JSON.stringify(script)} ended with ${code}:\n${output}`,
    );
  }

  /** Starts a script; the result comes when it ends, and is refused when the power goes. */
  start(script: string, { onLine }: Pick<RunOptions, 'onLine'> = {}): Promise<CommandResult> {
    const id = String(this.#nextId++);
    const done = Promise.withResolvers<CommandResult>();
    this.#running.set(id, { lines: [], onLine, done });
    this.#socket?.write(`${id} ${Buffer.from(script).toString('base64')}\n`);
    return done.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cutPower();
    await rm(this.#options.directory, { recursive: true, force: true });
  }

  async #untilBooted(): Promise<string> {
    using deadline = deadlineSignal(BOOT_MS);
    const failed = this.#process?.failed(deadline.signal);
    const late = failed?.catch((error: unknown) => {
      if (!deadline.signal.aborted) throw error;
      throw new Fault('timeout', `the machine does not answer after ${BOOT_MS} ms; see ${this.consoleFile}`);
    });
    return await Promise.race([this.#booted.promise, ...(late === undefined ? [] : [late])]);
  }

  #listen(socket: Socket): void {
    this.#socket = socket;
    socket.on('error', () => undefined);
    createInterface({ input: socket }).on('line', (line) => this.#hear(line));
  }

  #hear(line: string): void {
    const [, kind, id = '', rest = ''] = /^(\w) (\S+) ?(.*)$/.exec(line) ?? [];
    if (kind === 'b') this.#booted.resolve(id);
    const running = this.#running.get(id);
    if (kind === 'o') {
      running?.lines.push(rest);
      running?.onLine?.(rest);
    } else if (kind === 'e' && running !== undefined) {
      this.#running.delete(id);
      running.done.resolve({ code: Number(rest), output: running.lines.join('\n') });
    }
  }

  #arguments(socketPath: string, { without = [], kernelOptions = [] }: PowerOnOptions): string[] {
    const { disks = {}, memoryMib = 1536 } = this.#options;
    const drive = (id: string, file: string, format: string): string[] => [
      ...['-drive', `id=${id},file=${file},if=none,${format}`],
      ...(without.includes(id) ? [] : ['-device', blockDevice(id)]),
    ];
    return [
      // A plain processor: with all features of the emulator (`max`), Node has failed in its own
      // checks.
      ...[
        '-M',
        'q35',
        '-accel',
        'tcg,thread=multi',
        '-cpu',
        'Nehalem,+rdrand',
        '-smp',
        '2',
        '-m',
        String(memoryMib),
      ],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', `file:${this.consoleFile}`],
      ...['-kernel', this.#image.kernel, '-initrd', this.#image.initrd],
      ...['-append', [KERNEL_OPTIONS, ...kernelOptions].join(' ')],
      // The tables of qcow2 are in the emulator's memory until the machine flushes its disk: with
      // its power goes what was not flushed. What is flushed is with this kernel then, which
      // outlives the emulator: that it is also on a real disk (all that `unsafe` leaves out) would
      // only take time.
      ...drive('root', this.#file('root.qcow2'), 'format=qcow2,cache=unsafe'),
      ...drive('code', this.#file('code.img'), 'format=raw,readonly=on'),
      ...drive('npm', this.#modules, 'format=raw,readonly=on'),
      ...Object.keys(disks).flatMap((name) =>
        drive(name, this.#file(`disk-${name}.qcow2`), 'format=qcow2,cache=unsafe'),
      ),
      ...without.flatMap((name, index) => ['-device', `pcie-root-port,id=slot-${name},chassis=${index + 1}`]),
      ...['-monitor', `unix:${this.#file('monitor.sock')},server=on,wait=off`],
      ...['-device', 'virtio-rng-pci', '-device', 'virtio-serial-pci'],
      ...['-chardev', `socket,id=answer,path=${socketPath}`],
      ...['-device', 'virtserialport,chardev=answer,name=keelson'],
    ];
  }

  #file(name: string): string {
    return join(this.#options.directory, name);
  }
}

const blockDevice = (id: string): string => `virtio-blk-pci,drive=${id},serial=${id}`;

/** Whether this machine can emulate another one; else why not. */
export async function findObstacle(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'needs root: the image is made with its owners';
  for (const program of ['qemu-system-x86_64', 'qemu-img', 'mmdebstrap', 'mke2fs']) {
    const found = await Promise.all(
      ['/usr/bin', '/usr/sbin'].map((directory) => stat(join(directory, program)).catch(() => undefined)),
    );
    if (found.every((entry) => entry === undefined)) {
      return `needs ${program}: apt-get install qemu-system-x86 qemu-utils mmdebstrap e2fsprogs`;
    }
  }
  return undefined;
}
