import { z } from 'zod';

/** What came of one test. */
export interface TestResult {
  readonly suite: string;
  /** The kind of volume that it was run with, in its own words. */
  readonly pattern: string;
  readonly name: string;
  readonly state: 'passed' | 'failed' | 'skipped';
  /** Why it failed, or why it skipped itself; empty where it was not selected at all. */
  readonly message: string;
  readonly seconds: number;
  /** It is of a later run, of some tests alone. */
  readonly again?: true;
}

/** The parts of ginkgo's JSON report that matter here. */
const report = z.array(
  z.object({
    SpecReports: z
      .array(
        z.object({
          ContainerHierarchyTexts: z.array(z.string()).nullish(),
          LeafNodeType: z.string(),
          LeafNodeText: z.string(),
          State: z.string(),
          RunTime: z.number(),
          Failure: z.object({ Message: z.string().nullish() }).nullish(),
        }),
      )
      .nullish(),
  }),
);

/** The suite's name follows its tags, such as [Slow]. */
const PATTERN = /^\[Testpattern: (.*?)\] (?:\[[^\]]*\] )*(\S+)/;
const NANOSECONDS = 1_000_000_000;

/**
 * The storage tests of a JSON report of ginkgo, in its order. What has failed outside of any test
 * counts as one that failed.
 */
export function parseResults(text: string): TestResult[] {
  const specs = report.parse(JSON.parse(text)).flatMap(({ SpecReports }) => SpecReports ?? []);
  return specs.flatMap((spec): TestResult[] => {
    const { LeafNodeType, LeafNodeText, RunTime, Failure } = spec;
    const hierarchy = spec.ContainerHierarchyTexts ?? [];
    const state =
      spec.State === 'passed'
        ? 'passed'
        : spec.State === 'skipped' || spec.State === 'pending'
          ? 'skipped'
          : 'failed';
    const seconds = RunTime / NANOSECONDS;
    const message = (Failure?.Message ?? '').trim();
    if (LeafNodeType !== 'It') {
      if (state !== 'failed') return [];
      return [{ suite: LeafNodeType, pattern: '', name: LeafNodeText, state, message, seconds }];
    }
    if (!hierarchy.some((part) => part.includes('External Storage'))) return [];
    const [, pattern = '', suite = ''] =
      hierarchy.map((part) => PATTERN.exec(part)).find((match) => match !== null) ?? [];
    const at = hierarchy.findIndex((part) => PATTERN.test(part));
    const tags = [...(hierarchy[at] ?? '').matchAll(/\[(?!Testpattern)[^\]]*\]/g)].map(([tag]) => tag);
    const name = [...hierarchy.slice(at + 1), LeafNodeText, ...tags].join(' ');
    return [{ suite, pattern, name, state, message, seconds }];
  });
}

/** One result for each test of several runs of the same tests, each of which asked some of them. */
export function uniteResults(runs: readonly (readonly TestResult[])[]): TestResult[] {
  const all = new Map<string, TestResult>();
  for (const result of runs.flat()) {
    const known = all.get(keyOf(result));
    if (known === undefined || isNotSelected(known)) all.set(keyOf(result), result);
  }
  return [...all.values()];
}

/** Those of tests that the command line asked for. */
export function askedResults(results: readonly TestResult[]): TestResult[] {
  return results.filter((result) => !isNotSelected(result));
}

/** Skipped by the command line: a test that skips itself says why. */
function isNotSelected({ state, message }: TestResult): boolean {
  return state === 'skipped' && message === '';
}

function keyOf({ suite, pattern, name }: TestResult): string {
  return JSON.stringify([suite, pattern, name]);
}

/** A run of all tests, with what came of those that were run again later. */
export function mergeResults(all: readonly TestResult[], later: readonly TestResult[]): TestResult[] {
  const ran = new Map(
    later.filter(({ state }) => state !== 'skipped').map((result) => [keyOf(result), result]),
  );
  return all.map((result) => {
    const newer = ran.get(keyOf(result));
    return newer === undefined ? result : { ...newer, again: true };
  });
}

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** How many of each. */
export function countResults(results: readonly TestResult[]): Counts {
  const count = (state: TestResult['state']): number =>
    results.filter((result) => result.state === state).length;
  return { passed: count('passed'), failed: count('failed'), skipped: count('skipped') };
}
