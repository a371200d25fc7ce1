import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { stringify } from 'yaml';
import { runCommand } from '../../src/runtime/child-process.ts';
import { startCriProxy } from '../fakes/running-proxy.ts';
import { type RealContainerd, startRealContainerd } from '../real/containerd.ts';
import { requireTool } from '../tools/require-tool.ts';

/** What critest writes about each spec (ginkgo's JSON report). */
interface SpecReport {
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly State: string;
}

/** critest takes these by their names, and needs of them only what busybox has. */
const BUSYBOX = 'registry.k8s.io/e2e-test-images/busybox:1.29-2';
const PAUSE = 'registry.k8s.io/pause:3.9';
/** Needs a registry, images that no project of ours can build, or a kernel with these modules. */
const SKIPPED = [
  ...['Image Manager', 'Image Consistency', 'Image Identifier', 'Image Volume', 'SupplementalGroupsPolicy'],
  ...['NoNewPrivs', 'AppArmor', 'SELinux', 'NRI', 'Networking', 'portforward', 'HostNetwork', 'HostIpc'],
  ...['RunAsUser', 'RunAsGroup', 'UserNamespaces', 'Seccomp', 'mount propagation', 'Idempotence'],
];
/** How many specs passed when this was written. It only goes up. */
const MUST_PASS_SPECS = 40;

it('every spec of critest that passes on the runtime itself passes through the proxy', {
  timeout: 900_000,
}, async (context) => {
  const critest = await requireTool(context, 'critest');
  await using runtime = await startRealContainerd({ busyboxAliases: [BUSYBOX], pauseAliases: [PAUSE] });
  const listen = join(runtime.directory, 'proxy.sock');
  await using _proxy = await startCriProxy({
    listen,
    runtime: runtime.socketPath,
    policiesDirs: [await neutralPolicies(runtime.directory)],
  });
  const direct = await passedSpecs(critest, runtime.socketPath, runtime);
  const through = await passedSpecs(critest, listen, runtime);
  expect(direct.filter((spec) => !through.includes(spec))).toEqual([]);
  expect(through.length).toBeGreaterThanOrEqual(MUST_PASS_SPECS);
});

/**
 * Policies that match every call, so that requests are read, and change nothing that a spec checks.
 */
async function neutralPolicies(directory: string): Promise<string> {
  const policy = {
    apiVersion: 'keelson.dev/v1alpha1',
    kind: 'RuntimePolicy',
    metadata: { name: 'neutral' },
    spec: { audit: true, mutate: { env: { set: { KEELSON_CRITEST: '1' } } } },
  };
  await writeFile(join(directory, 'neutral.yaml'), stringify(policy));
  return directory;
}

async function passedSpecs(
  critest: string,
  socket: string,
  { directory }: RealContainerd,
): Promise<string[]> {
  const report = join(directory, 'critest.json');
  const images = join(directory, 'images.json');
  await writeFile(
    images,
    JSON.stringify({ defaultTestContainerImage: BUSYBOX, webServerTestImage: BUSYBOX }),
  );
  await runCommand(
    critest,
    [
      ...['--runtime-endpoint', `unix://${socket}`, '--image-endpoint', `unix://${socket}`],
      ...['--test-images-file', images, '--ginkgo.no-color', `--ginkgo.json-report=${report}`],
      ...[`--ginkgo.skip=${SKIPPED.join('|')}`],
    ],
    // Specs that fail on the runtime itself make the run fail; the report tells which.
    { timeoutMs: 420_000, cwd: directory, accept: [0, 1] },
  );
  const suites = JSON.parse(await readFile(report, 'utf8')) as { SpecReports: SpecReport[] }[];
  return suites
    .flatMap((suite) => suite.SpecReports)
    .filter(({ LeafNodeType, State }) => LeafNodeType === 'It' && State === 'passed')
    .map((spec) => [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(' '))
    .sort();
}
