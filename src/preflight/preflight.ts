/** Result of a trial. */
export type Trial = { readonly works: true } | { readonly works: false; readonly reason: string };

/** Facts about a machine, from `preflight-probe.ts`. */
export interface MachineFacts {
  readonly isRoot: boolean;
  readonly nodeVersion: string;
  /** File system types of the kernel, after loading modules. */
  readonly filesystems: readonly string[];
  readonly loopDevices: Trial;
  readonly veth: Trial;
  readonly nftables: Trial;
  readonly cgroups: Trial;
  /** Absolute paths of the found programs. */
  readonly programs: Readonly<Record<string, string>>;
  /** Directory of the data. */
  readonly dataDir: string;
  readonly freeBytes: bigint;
}

/** Requirements of a command. */
export interface Requirements {
  readonly freeBytes: bigint;
  readonly programs: readonly ProgramRequirement[];
  /** File system types, as /proc/filesystems names them. */
  readonly filesystems: readonly string[];
}

interface ProgramRequirement {
  /** Name or absolute path. */
  readonly program: string;
  readonly why: string;
  /** Instruction to install it. */
  readonly remedy: string;
}

/** One checked condition. `why` and `remedy` apply if it failed. */
export interface Finding {
  readonly check: string;
  readonly ok: boolean;
  readonly found: string;
  readonly why: string;
  readonly remedy: string;
}

/** First release with `using` and type stripping without a flag. */
const MIN_NODE_MAJOR = 24;

const FILESYSTEM_REASONS: Readonly<Record<string, string>> = {
  btrfs: 'volumes are btrfs subvolumes, with enforced sizes and snapshots and clones in constant time',
  overlay: "containerd's overlayfs snapshotter unpacks images with it",
};

const KERNEL_REMEDY =
  'use a kernel with it (Debian: linux-image-amd64); in a container, load it on the host and permit it';

/** Programs that pools and pods of a node need. */
export const NODE_PROGRAMS: readonly ProgramRequirement[] = [
  program('mkfs.btrfs', 'creates the file system of a pool', 'btrfs-progs'),
  program('btrfs', 'manages the volumes of a pool', 'btrfs-progs'),
  program('losetup', 'attaches a pool file to a block device', 'util-linux mount'),
  program('mount', 'mounts pools and volumes', 'mount'),
  program('nft', 'loads the rules of the pod network', 'nftables'),
  program('ip', 'shows routes and interfaces', 'iproute2'),
];

/** Returns a requirement for a program of a Debian package. */
export function program(name: string, why: string, debianPackage: string): ProgramRequirement {
  return { program: name, why, remedy: `apt-get install ${debianPackage}` };
}

/** Checks facts against requirements. Returns all findings in the order to fix them. */
export function evaluatePreflight(facts: MachineFacts, requirements: Requirements): Finding[] {
  return [
    {
      check: 'user',
      ok: facts.isRoot,
      found: facts.isRoot ? 'root' : 'not root',
      why: 'mounts, network namespaces, loop devices and containers require root',
      remedy: 'run as root, e.g. with sudo',
    },
    {
      check: 'Node',
      ok: Number(/^v(\d+)/.exec(facts.nodeVersion)?.[1]) >= MIN_NODE_MAJOR,
      found: facts.nodeVersion,
      why: `Node ${MIN_NODE_MAJOR} is required`,
      remedy: "start bin/keelson, which uses the project's own Node, after npm ci",
    },
    ...requirements.filesystems.map((type): Finding => {
      const ok = facts.filesystems.includes(type);
      return {
        check: `${type} in the kernel`,
        ok,
        found: ok ? 'present' : 'absent; modprobe cannot load it',
        why: FILESYSTEM_REASONS[type] ?? `${type} is mounted`,
        remedy: KERNEL_REMEDY,
      };
    }),
    // These fail without root on every machine.
    ...(facts.isRoot ? trialFindings(facts) : []),
    ...requirements.programs.map(({ program: name, why, remedy }): Finding => {
      const path = facts.programs[name];
      return { check: `program ${name}`, ok: path !== undefined, found: path ?? 'not found', why, remedy };
    }),
    {
      check: 'free disk space',
      ok: facts.freeBytes >= requirements.freeBytes,
      found: `${gib(facts.freeBytes)} under ${facts.dataDir}`,
      why: `up to ${gib(requirements.freeBytes)} are used temporarily`,
      remedy: 'free space, or choose another directory with --state-dir',
    },
  ];
}

/** Returns a block for each failed finding: result, reason, remedy. Empty if none failed. */
export function describeMissing(findings: readonly Finding[]): string {
  return findings
    .filter(({ ok }) => !ok)
    .map(({ check, found, why, remedy }) => `  ${check}: ${found}\n    why: ${why}\n    do:  ${remedy}\n`)
    .join('');
}

function trialFindings(facts: MachineFacts): Finding[] {
  return [
    trialFinding('loop devices', facts.loopDevices, 'a pool in a file needs one', KERNEL_REMEDY),
    trialFinding('veth pairs', facts.veth, "a pod's interface is one end of a veth pair", KERNEL_REMEDY),
    trialFinding(
      'nftables',
      facts.nftables,
      'masquerading and host ports of the pod network are nftables rules',
      KERNEL_REMEDY,
    ),
    trialFinding(
      'cgroups',
      facts.cgroups,
      'every container needs a cgroup',
      'mount cgroups writable; in a container, start it privileged with --cgroupns=host',
    ),
  ];
}

function trialFinding(check: string, trial: Trial, why: string, remedy: string): Finding {
  return { check, ok: trial.works, found: trial.works ? 'works' : trial.reason, why, remedy };
}

function gib(bytes: bigint): string {
  return `${(Number(bytes) / 2 ** 30).toFixed(1)} GiB`;
}
