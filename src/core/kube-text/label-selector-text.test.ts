import { expect, test } from 'vitest';
import { selectsLabels } from './label-selector.ts';
import { parseLabelSelector } from './label-selector-text.ts';

const LABELS = { media: 'ssd', tier: 'gold', 'example.com/rack': 'r.1', empty: '' };

test.each([
  ['', true],
  ['  ', true],
  ['media=ssd', true],
  ['media==ssd', true],
  [' media = ssd , tier = gold ', true],
  ['media=hdd', false],
  ['media!=hdd', true],
  ['media!=ssd', false],
  ['media', true],
  ['!media', false],
  ['speed', false],
  ['!speed', true],
  ['! speed', true],
  ['tier in (gold,silver)', true],
  ['tier in ( silver )', false],
  ['tier in (gold, silver),media=ssd', true],
  ['tier notin (gold)', false],
  ['tier notin (bronze)', true],
  ['example.com/rack=r.1', true],
  ['media=ssd,media=hdd', false],
  // A missing label is not one of the values, and not one with the empty value.
  ['speed!=fast', true],
  ['speed notin (fast)', true],
  ['speed=', false],
  ['empty=', true],
  ['empty=,media=ssd', true],
  ['media=', false],
  // Words of the grammar are keys and values as well.
  ['in in (in)', false],
  ['tier in (in,gold)', true],
])('%j selects: %s', (text, expected) => {
  expect(selectsLabels(parseLabelSelector(text, 'selector'), LABELS)).toBe(expected);
});

test.each([
  ['media=ssd,', /selector: invalid label selector "media=ssd,": found the end, expected a label key/],
  [',media', /found "," at character 1, expected a label key/],
  ['media ssd', /found "ssd" at character 7, expected =, !=, in, notin or a comma after media/],
  ['media=ssd tier=gold', /found "tier" at character 11, expected a comma or the end/],
  ['media=-ssd', /found "-ssd" at character 7, expected a label value/],
  ['media=!ssd', /found "!" at character 7, expected a label value/],
  [`media=${'x'.repeat(64)}`, /expected a label value: .* at most 63/],
  ['-media=ssd', /found "-media" at character 1, expected a label key/],
  ['!', /found the end, expected a label key/],
  ['!media=ssd', /found "=" at character 7, expected a comma or the end/],
  ['tier in gold', /found "gold" at character 9, expected values in parentheses/],
  ['tier in ()', /found "\)" at character 10, expected a label value/],
  ['tier in (gold', /found the end, expected a comma or the closing parenthesis/],
  ['tier in (gold,)', /found "\)" at character 15, expected a label value/],
  ['tier IN (gold)', /found "IN" at character 6, expected =, !=, in, notin/],
  [
    'size>5',
    /found ">" at character 5, expected a key, a value or one of = ! \( \) ,; the form is KEY, !KEY, KEY=VALUE/,
  ],
  ['size > 5', /found ">" at character 6/],
])('%j is refused, with where and what', (text, words) => {
  expect(() => parseLabelSelector(text, 'selector')).toThrow(words);
});
