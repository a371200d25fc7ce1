/** Kubernetes' own storage tests on Keelson: `node test/kubernetes-storage/main.ts --help`. */
import { spawn } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Fault, isFault } from '../../src/core/fault.ts';
import { ensureTool } from '../tools/build-tool.ts';
import { ensureSuiteLab, type SuiteLab } from './lab.ts';
import { type ProfileResults, resultsPage } from './page.ts';
import { driverDefinition, type Placement, PLACEMENTS, type Profile, PROFILES } from './profiles.ts';
import {
  askedResults,
  countResults,
  mergeResults,
  parseResults,
  type TestResult,
  uniteResults,
} from './results.ts';
import { selectTests, type TestFilter } from './selection.ts';

const HELP = `node test/kubernetes-storage/main.ts [--profile NAME]... [--focus REGEX] [--skip REGEX] [--procs N] [--keep] [--record] [--dry]

  --profile   ${PROFILES.map(({ name }) => name).join(', ')}; all when none is given
  --focus     only tests whose name matches
  --skip      not those
  --procs     tests at once, default 3
  --keep      leaves the cluster; the next run goes on with it
  --record    writes docs/develop/storage-conformance.md of the last whole run of each profile, and of what was run again since; of a
              profile without a whole run it lists what there is, and says so
  --dry       runs nothing, for --record
`;

const ROOT = join(import.meta.dirname, '../..');
/** Results of the last run that had all tests, with those that were run again since. */
const RESULTS = 'results.json';
/** Results of the last run of some tests, where there was none with all. */
const PART = 'part.json';
const OUT = join(ROOT, 'build/kubernetes-storage');

async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      profile: { type: 'string', multiple: true, default: [] },
      focus: { type: 'string' },
      skip: { type: 'string' },
      procs: { type: 'string', default: '3' },
      keep: { type: 'boolean', default: false },
      record: { type: 'boolean', default: false },
      dry: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const isRun = ({ name }: Profile): boolean =>
    !values.dry && (values.profile.length === 0 || values.profile.includes(name));
  // Before the run, which takes an hour: the page has all profiles, or is not written.
  if (values.record) await readProfiles(PROFILES.filter((profile) => !isRun(profile)));
  const failed = values.dry ? 0 : await runProfiles(values);
  if (values.record) await record();
  return failed === 0 ? 0 : 1;
}

interface Selection extends TestFilter {
  readonly profile: readonly string[];
  readonly procs: string;
  readonly keep: boolean;
}

/** Resolves to how many tests failed. */
async function runProfiles({ profile: names, keep, ...selection }: Selection): Promise<number> {
  const profiles = names.length === 0 ? PROFILES : names.map(findProfile);
  // In turn: each build takes all processors.
  for (const tool of ['ginkgo', 'agnhost', 'e2e.test', 'kubectl'] as const) await ensureTool(tool);
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => stop.abort(new DOMException(`received ${signal}`, 'AbortError')));
  }
  await using undo = new AsyncDisposableStack();
  const lab = await ensureSuiteLab(PROFILES, (text) => process.stderr.write(`  ${text}\n`), stop.signal);
  if (!keep) undo.defer(() => lab.cluster.down());
  const all: ProfileResults[] = [];
  for (const profile of profiles) {
    console.log(`== ${profile.title}`);
    all.push(await runProfile(profile, lab, selection, stop.signal));
  }
  let failed = 0;
  for (const { title, results } of all) {
    const counts = countResults(results);
    failed += counts.failed;
    console.log(`${title}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
    for (const result of results) {
      if (result.state !== 'failed') continue;
      console.log(`  ${result.suite} [${result.pattern}] ${result.name}: ${result.message.slice(0, 300)}`);
    }
  }
  if (all.some(({ results }) => countResults(results).passed === 0)) {
    throw new Fault('precondition', `a profile has no test that passed; logs are in ${OUT}`);
  }
  return failed;
}

/** Writes the page; rejects with `precondition` when a profile has had no run. */
async function record(): Promise<void> {
  const all = await readProfiles(PROFILES);
  const file = join(ROOT, 'docs/develop/storage-conformance.md');
  await writeFile(file, resultsPage(all, describeMachine()));
  console.log(`recorded in ${file}`);
}

async function readProfiles(profiles: readonly Profile[]): Promise<ProfileResults[]> {
  return await Promise.all(
    profiles.map(async ({ name, title }) => {
      const whole = await readResults(name);
      if (whole !== undefined) return { title, results: whole };
      const part = await readResults(name, PART);
      if (part !== undefined) return { title, results: part, isPart: true };
      throw new Fault('precondition', `--record: there is no run of profile ${name} in ${OUT}; run it too`);
    }),
  );
}

type Selected = TestFilter & Pick<Selection, 'procs'>;

async function runProfile(
  profile: Profile,
  lab: SuiteLab,
  selected: Selected,
  signal: AbortSignal,
): Promise<ProfileResults> {
  const directory = join(OUT, profile.name);
  const runs: TestResult[][] = [];
  for (const placement of PLACEMENTS) {
    runs.push(await runTests(profile, placement, lab, selected, signal));
  }
  const results = uniteResults(runs);
  const save = (file: string, all: readonly TestResult[]): Promise<void> =>
    writeFile(join(directory, file), JSON.stringify(all, undefined, 2));
  const isWhole = selected.focus === undefined && selected.skip === undefined;
  const before = isWhole ? undefined : await readResults(profile.name);
  if (isWhole) await save(RESULTS, results);
  else if (before === undefined) await save(PART, askedResults(results));
  else await save(RESULTS, mergeResults(before, results));
  return { title: profile.title, results };
}

async function runTests(
  profile: Profile,
  placement: Placement,
  { cluster, kubectl, registryListFile }: SuiteLab,
  { procs, ...filter }: Selected,
  signal: AbortSignal,
): Promise<TestResult[]> {
  const { focus, skip } = selectTests(placement, filter);
  const directory = join(OUT, profile.name, placement);
  await mkdir(directory, { recursive: true });
  const driver = join(directory, 'driver.json');
  await writeFile(driver, JSON.stringify(driverDefinition(profile, placement), undefined, 2));
  const args = [
    ...['--no-color', '--silence-skips', `--procs=${procs}`, '--timeout=6h', '--keep-going'],
    ...[`--focus=${focus}`, `--skip=${skip}`],
    `--output-dir=${directory}`,
    '--json-report=report.json',
    await ensureTool('e2e.test'),
    '--',
    ...['--provider=local', `--storage.testdriver=${driver}`],
    ...[`--kubeconfig=${cluster.kubeconfig}`, `--kubectl-path=${kubectl.file}`],
    // What goes wrong is asked of the cluster itself; a dump of every namespace takes longer than
    // the test.
    '--dump-logs-on-failure=false',
  ];
  const env = { ...process.env, KUBE_TEST_REPO_LIST: registryListFile };
  // One of an earlier run must not be taken for this one's.
  await rm(join(directory, 'report.json'), { force: true });
  const child = spawn(await ensureTool('ginkgo'), args, { stdio: 'inherit', env, signal });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  const text = await readFile(join(directory, 'report.json'), 'utf8').catch(() => undefined);
  if (text === undefined) {
    throw new Fault('unavailable', `ginkgo ended with ${code} and has written no report for ${profile.name}`);
  }
  return parseResults(text);
}

async function readResults(profile: string, file = RESULTS): Promise<TestResult[] | undefined> {
  const text = await readFile(join(OUT, profile, file), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as TestResult[]);
}

function findProfile(name: string): Profile {
  const profile = PROFILES.find((candidate) => candidate.name === name);
  if (profile !== undefined) return profile;
  const names = PROFILES.map((candidate) => candidate.name).join(', ');
  throw new Fault('invalid', `there is no profile ${name}; there are: ${names}`);
}

function describeMachine(): string {
  return (
    `Run on ${cpus().length} processors, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release().split('.', 2).join('.')}, ` +
    new Date().toISOString().slice(0, 10)
  );
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${isFault(error) ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
