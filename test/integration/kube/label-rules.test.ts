import { afterEach, expect, test } from 'vitest';
import { RuleThread } from '../../../src/controller/labels/rule-thread.ts';
import type { LabelRule } from '../../../src/core/labels/label-rule.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';

const facts = {
  inventory: {
    cpu: { architecture: 'amd64', threads: 4, features: Array.from({ length: 400 }, (_, n) => `f${n}`) },
  },
  node: { name: 'node-1', labels: {} },
};

function rule(name: string, match: string, version = '1'): LabelRule {
  return {
    name,
    version: `${name}/${version}`,
    spec: { match, labels: [{ key: 'example.com/x', value: name }] },
  };
}

const LIST = 'inventory.cpu.features';
/** 400 to the power of 4: hours. */
const SLOW = `${LIST}.all(a, ${LIST}.all(b, ${LIST}.all(c, ${LIST}.all(d, a + b + c + d != ""))))`;
/** Doubles a list thirty times. */
const LARGE = `[[1]]${'.map(x, x + x)'.repeat(30)}.size() > 0`;
/** Tries 2 to the power of 40 ways. */
const REGEX = `"${'a'.repeat(40)}b".matches("(a+)+$")`;

let thread: RuleThread | undefined;
afterEach(async () => {
  await thread?.[Symbol.asyncDispose]();
  thread = undefined;
});

test.each([
  ['loops too long', SLOW],
  ['takes too much memory', LARGE],
  ['has a regular expression without end', REGEX],
])('a rule that %s is left out, and all others are evaluated', async (_what, match) => {
  thread = new RuleThread({ stallMs: 1_500, memoryMiB: 32 }, { logger: silentLogger });
  const rules = [rule('before', 'true'), rule('bad', match), rule('after', 'inventory.cpu.threads > 8')];
  for (let round = 0; round < 2; round += 1) {
    expect(await thread.evaluate(rules, facts)).toMatchObject([
      { state: 'matched' },
      {
        state: 'failed',
        message: expect.stringContaining('disabled until it is changed') as string,
      },
      { state: 'unmatched' },
    ]);
  }
  const mended = [...rules.slice(0, 1), rule('bad', 'true', '2')];
  expect(await thread.evaluate(mended, facts)).toMatchObject([{ state: 'matched' }, { state: 'matched' }]);
});

test('nodes that are evaluated concurrently get their own results', async () => {
  const rules = [rule('first', 'node.name == "node-7"')];
  const asked = new RuleThread({}, { logger: silentLogger });
  thread = asked;
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      asked.evaluate(rules, { ...facts, node: { name: `node-${n}`, labels: {} } }),
    ),
  );
  expect(answers.map((answer) => answer?.[0]?.state === 'matched').indexOf(true)).toBe(7);
  expect(answers.filter((answer) => answer?.[0]?.state === 'matched')).toHaveLength(1);
});
