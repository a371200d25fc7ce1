import { describe, expect, it } from 'vitest';
import type { AttributesClassView } from './attributes-class.ts';
import { type ModifyClaim, type ModifyInput, type ModifyVolume, planModify } from './modify-plan.ts';

const CLASSES: readonly AttributesClassView[] = [
  { name: 'silver', driverName: 'keelson.dev', parameters: { writeIOPS: '100' } },
  { name: 'gold', driverName: 'keelson.dev', parameters: { writeIOPS: '1k', readIOPS: '1k' } },
  { name: 'wrong', driverName: 'keelson.dev', parameters: { speed: 'high' } },
  { name: 'foreign', driverName: 'csi.example.org', parameters: { iops: '1' } },
];
const parametersOf = (name: string) => CLASSES.find((each) => each.name === name)?.parameters ?? {};

const settled: ModifyClaim = {
  wanted: '',
  current: '',
  state: undefined,
  target: '',
  hasCondition: false,
  error: undefined,
};
const plain: ModifyVolume = { className: '', parameters: {}, answer: 'awaited' };
const plan = (
  claim: Partial<ModifyClaim>,
  volume: Partial<ModifyVolume> = {},
  more: Partial<ModifyInput> = {},
) =>
  planModify({
    claim: { ...settled, ...claim },
    ownerClass: '',
    volume: { ...plain, ...volume },
    findClass: (name) => CLASSES.find((each) => each.name === name),
    ...more,
  });
const asked = (className: string, answer: ModifyVolume['answer']): ModifyVolume => ({
  className,
  parameters: parametersOf(className),
  answer,
});
const under = (target: string): Partial<ModifyClaim> => ({ state: 'InProgress', target, hasCondition: true });
const refused = { reason: 'Invalid', message: 'pool default (btrfs) does not support writeIOPS' };

describe('a claim that names another class', () => {
  it('is said to be under way, then asked of the node, published and finished', () => {
    const wanted = { wanted: 'gold', current: 'silver' };
    const before = asked('silver', 'done');
    expect(plan(wanted, before)).toEqual({
      do: 'say',
      state: 'InProgress',
      target: 'gold',
      problem: undefined,
    });
    const said = { ...wanted, ...under('gold') };
    expect(plan(said, before)).toEqual({ do: 'ask', className: 'gold', parameters: parametersOf('gold') });
    expect(plan(said, asked('gold', 'awaited'))).toEqual({ do: 'nothing' });
    expect(plan(said, asked('gold', 'done'), { ownerClass: 'silver' })).toEqual({
      do: 'publish',
      className: 'gold',
    });
    expect(plan(said, asked('gold', 'done'), { ownerClass: 'gold' })).toEqual({
      do: 'finish',
      className: 'gold',
    });
    expect(plan({ wanted: 'gold', current: 'gold' }, asked('gold', 'done'))).toEqual({ do: 'nothing' });
  });

  it('waits for a class that is not there, and says so once', () => {
    const first = plan({ wanted: 'later' });
    expect(first).toMatchObject({
      do: 'say',
      state: 'Pending',
      target: 'later',
      problem: { kind: 'not-found' },
    });
    expect(plan({ wanted: 'later', state: 'Pending', target: 'later' })).toEqual({ do: 'nothing' });
  });

  it.each([
    ['wrong', 'VolumeAttributesClass wrong: "speed" is unknown; expected readIOPS'],
    ['foreign', 'VolumeAttributesClass foreign has driverName csi.example.org'],
  ])('is infeasible when it is %s, which is said once, without asking the node', (wanted, message) => {
    const first = plan({ wanted });
    expect(first).toMatchObject({ do: 'say', state: 'Infeasible', target: wanted });
    const problem = first.do === 'say' ? first.problem : undefined;
    expect(problem?.message).toContain(message);
    const error = problem?.message;
    expect(plan({ wanted, state: 'Infeasible', target: wanted, hasCondition: true, error })).toEqual({
      do: 'nothing',
    });
  });

  it('is infeasible when the node says that it always will be', () => {
    const first = plan({ wanted: 'gold', ...under('gold') }, asked('gold', refused));
    expect(first).toMatchObject({ do: 'say', state: 'Infeasible', problem: { kind: 'invalid' } });
    expect(first.do === 'say' ? first.problem?.message : '').toBe(
      'cannot apply VolumeAttributesClass gold: pool default (btrfs) does not support writeIOPS; set another class',
    );
  });

  it('stays in progress when the node may yet succeed', () => {
    const answer = { reason: 'Unavailable', message: 'cgroups are read-only' };
    const first = plan({ wanted: 'gold', ...under('gold') }, asked('gold', answer));
    expect(first).toMatchObject({ do: 'say', state: 'InProgress', problem: { kind: 'unavailable' } });
    const error = first.do === 'say' ? first.problem?.message : undefined;
    expect(plan({ wanted: 'gold', ...under('gold'), error }, asked('gold', answer))).toEqual({
      do: 'nothing',
    });
  });

  it('recovers from an infeasible one by naming a third', () => {
    const stuck = { wanted: 'silver', state: 'Infeasible', target: 'gold', hasCondition: true, error: 'no' };
    expect(plan(stuck, asked('gold', refused))).toMatchObject({
      do: 'say',
      state: 'InProgress',
      target: 'silver',
      problem: undefined,
    });
    expect(plan({ wanted: 'silver', ...under('silver') }, asked('gold', refused))).toMatchObject({
      do: 'ask',
      className: 'silver',
    });
  });

  it('applies a class that was re-created with other parameters', () => {
    const volume = { className: 'gold', parameters: { writeIOPS: '5k' }, answer: 'done' } as const;
    expect(plan({ wanted: 'gold', ...under('gold') }, volume)).toMatchObject({ do: 'ask' });
  });
});

describe('a claim that wants no class any more', () => {
  it('ends what is under way', () => {
    expect(plan({ ...under('gold') }, asked('gold', 'awaited'))).toEqual({ do: 'nothing' });
    expect(plan({ ...under('gold') }, asked('gold', 'done'), { ownerClass: 'gold' })).toEqual({
      do: 'finish',
      className: 'gold',
    });
  });

  it('takes back what is infeasible: of the node first, then of the claim', () => {
    const stuck = { state: 'Infeasible', target: 'gold', hasCondition: true, error: 'no' };
    expect(plan(stuck, asked('gold', refused))).toEqual({ do: 'ask', className: '', parameters: {} });
    expect(plan(stuck, plain)).toEqual({ do: 'cancel' });
    expect(plan({ ...stuck, hasCondition: false }, plain)).toEqual({ do: 'nothing' });
  });
});

it('leaves a claim without a class alone, and one that has what it names', () => {
  expect(plan({})).toEqual({ do: 'nothing' });
  expect(plan({ wanted: 'absent', current: 'absent' })).toEqual({ do: 'nothing' });
});
