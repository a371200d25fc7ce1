/**
 * Builds the reference tools that tests run against from their Go modules, once, outside of the
 * repository. `node test/tools/build-tool.ts NAME...` prints where each is.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Fault, isFault } from '../../src/core/fault.ts';

interface Tool {
  /** The folder beside this file that pins it. */
  readonly module: string;
  readonly package: string;
  /** A test package, which becomes a program by `go test -c`. */
  readonly test?: true;
  /** Needs a C compiler: runc enters namespaces in C before Go starts its threads. */
  readonly cgo?: true;
  /** Variables that the linker sets: what the program says about itself. */
  readonly variables?: Readonly<Record<string, string>>;
}

const CONTAINERD = 'github.com/containerd/containerd/v2/cmd';

/**
 * Kubernetes compares versions of its parts, and refuses or turns off much when they say nothing
 * (v0.0.0-master).
 */
const KUBERNETES_VERSION = {
  'k8s.io/component-base/version.gitVersion': 'v1.36.3',
  'k8s.io/component-base/version.gitMajor': '1',
  'k8s.io/component-base/version.gitMinor': '36',
  'k8s.io/component-base/version.gitTreeState': 'clean',
  'k8s.io/component-base/version.gitCommit': '0'.repeat(40),
  'k8s.io/component-base/version.buildDate': '1970-01-01T00:00:00Z',
  'k8s.io/client-go/pkg/version.gitVersion': 'v1.36.3',
} as const;

const kubernetes = (command: string): Tool => ({
  module: 'kubernetes',
  package: `k8s.io/kubernetes/cmd/${command}`,
  variables: KUBERNETES_VERSION,
});

const TOOLS = {
  'csi-sanity': { module: 'csi-sanity', package: 'github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity' },
  cnitool: { module: 'cnitool', package: 'github.com/containernetworking/cni/cnitool' },
  containerd: { module: 'containerd', package: `${CONTAINERD}/containerd` },
  ctr: { module: 'containerd', package: `${CONTAINERD}/ctr` },
  'containerd-shim-runc-v2': { module: 'containerd', package: `${CONTAINERD}/containerd-shim-runc-v2` },
  runc: { module: 'runc', package: 'github.com/opencontainers/runc', cgo: true },
  crictl: { module: 'cri-tools', package: 'sigs.k8s.io/cri-tools/cmd/crictl' },
  critest: { module: 'cri-tools', package: 'sigs.k8s.io/cri-tools/cmd/critest', test: true },
  descriptors: { module: 'descriptors', package: '.' },
  'csi-snapshot-metadata': {
    module: 'snapshot-metadata',
    package: 'github.com/kubernetes-csi/external-snapshot-metadata/cmd/csi-snapshot-metadata',
  },
  'changed-blocks': { module: 'snapshot-metadata', package: '.' },
  helm: { module: 'helm', package: 'helm.sh/helm/v3/cmd/helm' },
  'kube-apiserver': kubernetes('kube-apiserver'),
  'kube-controller-manager': kubernetes('kube-controller-manager'),
  'kube-scheduler': kubernetes('kube-scheduler'),
  kubelet: kubernetes('kubelet'),
  kubectl: kubernetes('kubectl'),
  'e2e.test': {
    module: 'kubernetes-e2e',
    package: 'k8s.io/kubernetes/test/e2e',
    test: true,
    variables: KUBERNETES_VERSION,
  },
  ginkgo: {
    module: 'kubernetes-e2e',
    package: 'github.com/onsi/ginkgo/v2/ginkgo',
    variables: KUBERNETES_VERSION,
  },
  agnhost: {
    module: 'kubernetes-e2e',
    package: 'k8s.io/kubernetes/test/images/agnhost',
    variables: KUBERNETES_VERSION,
  },
} as const satisfies Record<string, Tool>;

export type ToolName = keyof typeof TOOLS;

const run = promisify(execFile);

/**
 * The path of a built tool; tools of one module share a folder, so that containerd finds its shim.
 * Concurrent callers, in this process or others, build it once. What is in the folder KEELSON_TOOLS
 * is taken from there: a machine without Go is given it so. Rejects with a `precondition` Fault
 * when this machine cannot build it.
 */
export async function ensureTool(name: ToolName): Promise<string> {
  const given = join(process.env['KEELSON_TOOLS'] ?? '/nowhere', name);
  if (await exists(given)) return given;
  const tool: Tool = TOOLS[name];
  const source = join(import.meta.dirname, tool.module);
  const goVersion = await requireGo(name, source);
  const folder = join(cacheDirectory(), `${tool.module}-${await hashOf(tool, source, goVersion)}`);
  const binary = join(folder, name);
  if (await exists(binary)) return binary;
  if (tool.cgo === true) await requireCompiler(name);
  await mkdir(folder, { recursive: true });
  await build(name, tool, source, binary);
  return binary;
}

function cacheDirectory(): string {
  return process.env['KEELSON_TOOL_CACHE'] ?? join(homedir(), '.cache', 'keelson', 'tools');
}

/**
 * Everything that decides what comes out: the module's files, which pin all versions and hashes,
 * the compiler and the linker's flags.
 */
async function hashOf(tool: Tool, source: string, goVersion: string): Promise<string> {
  const hash = createHash('sha256').update(goVersion).update(linkerFlags(tool).join(' '));
  for (const file of (await readdir(source)).sort()) {
    hash.update(`\0${file}\0`).update(await readFile(join(source, file)));
  }
  return hash.digest('hex').slice(0, 16);
}

/**
 * The lock is the kernel's, so that it ends with its holder; who had to wait for it finds the tool
 * built.
 */
async function build(name: ToolName, tool: Tool, source: string, binary: string): Promise<void> {
  const temporary = `${binary}.${process.pid}.tmp`;
  const command = tool.test === true ? ['test', '-c', '-vet=off'] : ['build'];
  const script =
    'test -x "$1" || { shift; "$@"; } && if test -e "$TEMPORARY"; then mv "$TEMPORARY" "$BINARY"; fi';
  const flags = ['-trimpath', '-buildvcs=false', ...linkerFlags(tool)];
  const go = ['go', ...command, ...flags, '-o', temporary, tool.package];
  try {
    await run('flock', [`${binary}.lock`, 'sh', '-c', script, 'sh', binary, ...go], {
      cwd: source,
      maxBuffer: 64 * 1024 * 1024,
      env: {
        ...process.env,
        CGO_ENABLED: tool.cgo === true ? '1' : '0',
        GOFLAGS: '',
        TEMPORARY: temporary,
        BINARY: binary,
      },
    });
  } catch (error) {
    const output = error instanceof Error && 'stderr' in error ? String(error.stderr) : '';
    throw new Fault('unavailable', `building ${name} failed:\n${output.slice(-4_000)}`, { cause: error });
  } finally {
    await rm(temporary, { force: true });
  }
}

/** None for a tool that sets no variable: a program with its symbols is easier to debug. */
function linkerFlags({ variables }: Tool): string[] {
  if (variables === undefined) return [];
  const settings = Object.entries(variables).map(([name, value]) => `-X ${name}=${value}`);
  return ['-ldflags', `-s -w ${settings.join(' ')}`];
}

async function requireGo(name: ToolName, source: string): Promise<string> {
  const wanted = /^go (\S+)$/m.exec(await readFile(join(source, 'go.mod'), 'utf8'))?.[1] ?? '1.25';
  const hint = `install Go ${wanted} or newer (https://go.dev/dl)`;
  let found: string;
  try {
    // In the module's folder, where a go command that may fetch toolchains answers with the one
    // that it would use.
    found = (await run('go', ['env', 'GOVERSION'], { cwd: source })).stdout.trim();
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw new Fault(
      'precondition',
      `${name} needs Go, ${missing ? 'and there is none' : 'and it fails'}; ${hint}`,
      {
        cause: error,
      },
    );
  }
  if (compareVersions(found.replace(/^go/, ''), wanted) < 0) {
    throw new Fault('precondition', `${name} needs Go ${wanted}, found ${found}; ${hint}`);
  }
  return found;
}

async function requireCompiler(name: ToolName): Promise<void> {
  try {
    await run('cc', ['--version']);
  } catch (error) {
    throw new Fault(
      'precondition',
      `${name} needs a C compiler, and there is no cc; install gcc and libc6-dev`,
      {
        cause: error,
      },
    );
  }
}

function compareVersions(left: string, right: string): number {
  const parts = (version: string): number[] =>
    version.split('.').map((part) => Number.parseInt(part, 10) || 0);
  const [a, b] = [parts(left), parts(right)];
  for (let i = 0; i < 3; i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

function isToolName(name: string): name is ToolName {
  return Object.hasOwn(TOOLS, name);
}

if (import.meta.main) {
  const names = process.argv.slice(2);
  try {
    if (names.length === 0)
      throw new Fault('invalid', `which tool? There are: ${Object.keys(TOOLS).join(', ')}`);
    for (const name of names) {
      if (!isToolName(name)) {
        throw new Fault('invalid', `no tool is called ${name}; there are: ${Object.keys(TOOLS).join(', ')}`);
      }
      console.log(await ensureTool(name));
    }
  } catch (error) {
    console.error(isFault(error) ? error.message : error);
    process.exitCode = 1;
  }
}
