/** A shell block of a page that runs on a cluster where Keelson is installed. */
export interface ClusterStep {
  /** Relative to the repository. */
  readonly page: string;
  /** Start of the block. */
  readonly block: string;
  /** Replacements of placeholders. */
  readonly values?: Readonly<Record<string, string>>;
  /** Apply the YAML blocks of the page first. */
  readonly applyYaml?: true;
}

const GETTING_STARTED = 'docs/operate/getting-started.md';
const INSTALL = 'docs/operate/install.md';
const CLAIMS = 'docs/operate/claims.md';

/** Shell blocks that `test/e2e/documentation.test.ts` runs, in this order. */
export const CLUSTER_STEPS: readonly ClusterStep[] = [
  { page: GETTING_STARTED, block: 'kubectl apply -k deploy/' },
  { page: GETTING_STARTED, block: 'kubectl get nodeinventories' },
  { page: GETTING_STARTED, block: 'kubectl apply -f data.yaml' },
  { page: GETTING_STARTED, block: 'kubectl keelson why pvc/data' },
  { page: 'docs/operate/kubectl.md', block: 'kubectl keelson status' },
  {
    page: 'docs/operate/troubleshooting.md',
    block: 'kubectl keelson why',
    values: { NAME: 'data', POD: 'writer' },
  },
  { page: 'docs/operate/day-2.md', block: 'kubectl keelson status' },
  { page: 'docs/operate/storage.md', block: 'kubectl get storagepools' },
  { page: 'docs/operate/network.md', block: 'kubectl get networkpools' },
  { page: 'docs/operate/orphans.md', block: 'kubectl keelson nodes' },
  { page: 'docs/operate/orphans.md', block: 'kubectl apply -f deploy/orphan-collection.yaml' },
  { page: 'docs/operate/runtime-policies.md', block: 'kubectl get runtimepolicies', applyYaml: true },
  { page: 'docs/operate/snapshots.md', block: 'kubectl apply -k deploy/snapshot-crds' },
  { page: 'docs/operate/snapshots.md', block: 'kubectl apply -k deploy/group-snapshot-crds' },
  { page: 'docs/operate/labels.md', block: 'kubectl delete nlr --all', applyYaml: true },
  { page: 'docs/operate/io-limits.md', block: 'kubectl patch pvc data', applyYaml: true },
  { page: CLAIMS, block: 'kubectl patch pvc data' },
  { page: 'docs/operate/configuration.md', block: 'kubectl -n keelson-system rollout restart' },
  { page: INSTALL, block: 'kubectl apply -k deploy/\nkubectl -n keelson-system rollout status daemonset' },
  { page: 'docs/operate/day-2.md', block: 'kubectl drain NODE', values: { NODE: 'EMPTY_NODE' } },
  { page: INSTALL, block: 'kubectl get localvolumes\n' },
];

/** Shell blocks whose commands other tests run, by page and start: the file of the test. */
export const RUN_ELSEWHERE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'README.md': {
    'make demo': 'test/integration/host/demo.test.ts',
    'make image': 'test/e2e/shipped.test.ts',
    'helm install': 'test/conformance/chart.test.ts',
  },
  'CONTRIBUTING.md': {
    'make check': '.ci/run',
    'make gen': 'scripts/generate-reference.test.ts',
  },
  'docs/develop/build.md': { 'make build': '.ci/run', 'make cluster': 'test/e2e/shipped.test.ts' },
  'docs/develop/image.md': { 'make image  ': 'test/integration/host/image.test.ts' },
  'docs/develop/releasing.md': { 'make test': '.ci/run' },
  'docs/develop/testing.md': { 'make test': '.ci/run', 'npx vitest': '.ci/run' },
  [CLAIMS]: {
    'kubectl patch pv NAME': 'test/e2e/claims.test.ts',
    'kubectl keelson release': 'test/e2e/kubectl-keelson.test.ts',
    'kubectl annotate lvol NAME': 'test/e2e/shipped.test.ts',
  },
  [GETTING_STARTED]: {
    'make image': 'test/e2e/shipped.test.ts',
    'ctr -n k8s.io images import': 'test/cluster/runtime.ts',
  },
  'docs/operate/cri-proxy.md': { 'ctr -n k8s.io run': 'test/integration/host/host-release.test.ts' },
  'docs/operate/host.md': { 'make build': 'test/machine/machine.test.ts' },
  [INSTALL]: {
    'make image': 'test/e2e/shipped.test.ts',
    'ctr -n k8s.io images import': 'test/cluster/runtime.ts',
    'helm install': 'test/conformance/chart.test.ts',
  },
  'docs/operate/moving-volumes.md': {
    'keelson volume export': 'test/integration/storage/volume-command.test.ts',
  },
  'docs/operate/orphans.md': { 'keelson volume delete': 'test/integration/storage/volume-command.test.ts' },
  'docs/operate/requirements.md': { 'keelson doctor': 'test/integration/host/doctor.test.ts' },
};

/** Shell blocks that no test runs, by page and start: why. Their names and flags are checked. */
export const NOT_RUN: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'docs/develop/image.md': { 'make image-lock': 'changes the lock to the versions of the day' },
  [CLAIMS]: { 'kubectl delete lvol NAME': 'deletes data that an administrator chose' },
  'docs/operate/cri-proxy.md': {
    'systemctl restart kubelet': 'needs systemd',
    'systemctl restart keelson-cri-proxy': 'needs systemd',
    'systemctl disable': 'needs systemd',
  },
  [INSTALL]: {
    'kubectl -n keelson-system create configmap': 'has an address of the reader',
    'kubectl -n keelson-system logs': 'is for a node that the block before cannot clean',
  },
};

/** True when the block is in one of the lists. */
export function hasPlan(page: string, text: string): boolean {
  const elsewhere = Object.keys({ ...RUN_ELSEWHERE[page], ...NOT_RUN[page] });
  const onCluster = CLUSTER_STEPS.filter((step) => step.page === page).map(({ block }) => block);
  return [...elsewhere, ...onCluster].some((start) => text.startsWith(start));
}
