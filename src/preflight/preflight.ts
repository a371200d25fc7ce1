/** Whether something that was tried works, and why not. */
export type Trial = { readonly works: true } | { readonly works: false; readonly reason: string };

/** What was found on a machine; `preflight-probe.ts` finds it. */
export interface MachineFacts {
  readonly isRoot: boolean;
  readonly nodeVersion: string;
  /** File system types that the kernel has or could load. */
  readonly filesystems: readonly string[];
  readonly loopDevices: Trial;
  readonly veth: Trial;
  readonly nftables: Trial;
  readonly cgroups: Trial;
  /** Absolute path of each program that was found. */
  readonly programs: Readonly<Record<string, string>>;
  /** Where the data will be, and how much its file system has free. */
  readonly dataDir: string;
  readonly freeBytes: bigint;
}

/** What a command needs of a machine. */
export interface Requirements {
  readonly freeBytes: bigint;
  readonly programs: readonly ProgramRequirement[];
  /** File system types, as /proc/filesystems names them. */
  readonly filesystems: readonly string[];
}

export interface ProgramRequirement {
  /** Its name, or an absolute path. */
  readonly program: string;
  readonly why: string;
  /** What brings it, as an instruction. */
  readonly remedy: string;
}

/** One checked condition. `why` and `remedy` are for those that do not hold. */
export interface Finding {
  readonly check: string;
  readonly ok: boolean;
  readonly found: string;
  readonly why: string;
  readonly remedy: string;
}

/** The first release with `using` and running TypeScript as it is without a flag. */
const MIN_NODE_MAJOR = 24;

const FILESYSTEM_REASONS: Readonly<Record<string, string>> = {
  btrfs:
    'volumes are btrfs subvolumes: that gives them enforced sizes, snapshots and clones in constant time',
  overlay: "containerd's overlayfs snapshotter unpacks images with it",
};

const KERNEL_REMEDY =
  'run on a machine whose kernel has it: Debian has it in linux-image-amd64; in a container, the host must load it and grant it';

/** The programs that pools and pods of a node need, with the Debian package that brings each. */
export const NODE_PROGRAMS: readonly ProgramRequirement[] = [
  program('mkfs.btrfs', 'makes the file system of a pool', 'btrfs-progs'),
  program('btrfs', 'manages the volumes of a pool', 'btrfs-progs'),
  program('losetup', 'gives a pool file its block device', 'util-linux mount'),
  program('mount', 'mounts pools and volumes', 'mount'),
  program('nft', 'loads the rules of the pod network', 'nftables'),
  program('ip', 'shows routes and interfaces', 'iproute2'),
];

/** A requirement for a program that Debian packages. */
export function program(name: string, why: string, debianPackage: string): ProgramRequirement {
  return { program: name, why, remedy: `apt-get install ${debianPackage}` };
}

/** Judges facts against requirements: every finding, those that hold included, in the order to mend them. */
export function evaluatePreflight(facts: MachineFacts, requirements: Requirements): Finding[] {
  return [
    {
      check: 'user',
      ok: facts.isRoot,
      found: facts.isRoot ? 'root' : 'not root',
      why: 'mounts, network namespaces, loop devices and containers are made by root alone',
      remedy: 'run it as root, e.g. with sudo',
    },
    {
      check: 'Node',
      ok: Number(/^v(\d+)/.exec(facts.nodeVersion)?.[1]) >= MIN_NODE_MAJOR,
      found: facts.nodeVersion,
      why: `the code uses what Node has since ${MIN_NODE_MAJOR}`,
      remedy: "start it by bin/keelson, which uses the project's own Node, after npm ci",
    },
    ...requirements.filesystems.map((type): Finding => {
      const ok = facts.filesystems.includes(type);
      return {
        check: `${type} in the kernel`,
        ok,
        found: ok ? 'present' : 'absent, and modprobe could not load it',
        why: FILESYSTEM_REASONS[type] ?? `${type} is mounted`,
        remedy: KERNEL_REMEDY,
      };
    }),
    // Whoever is not root fails at each of these, which says nothing of the machine.
    ...(facts.isRoot ? trialFindings(facts) : []),
    ...requirements.programs.map(({ program: name, why, remedy }): Finding => {
      const path = facts.programs[name];
      return { check: `program ${name}`, ok: path !== undefined, found: path ?? 'not found', why, remedy };
    }),
    {
      check: 'free disk space',
      ok: facts.freeBytes >= requirements.freeBytes,
      found: `${gib(facts.freeBytes)} under ${facts.dataDir}`,
      why: `up to ${gib(requirements.freeBytes)} are written for a while`,
      remedy: 'free some space, or choose another directory with --state-dir',
    },
  ];
}

/** One block for each finding that does not hold: what, why it matters, what to do. Empty when all hold. */
export function describeMissing(findings: readonly Finding[]): string {
  return findings
    .filter(({ ok }) => !ok)
    .map(({ check, found, why, remedy }) => `  ${check}: ${found}\n    why: ${why}\n    do:  ${remedy}\n`)
    .join('');
}

function trialFindings(facts: MachineFacts): Finding[] {
  return [
    trialFinding(
      'loop devices',
      facts.loopDevices,
      'a pool in a file is a block device by one',
      KERNEL_REMEDY,
    ),
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
      'every container has a cgroup of its own',
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
