import { expect, test } from 'vitest';
import { takeTurns } from './output-turns.ts';

function setup(count: number) {
  const shown: string[] = [];
  const turns = takeTurns(count, (data) => shown.push(Buffer.from(data).toString()));
  const say = (index: number, text: string): void => turns[index]?.write(Buffer.from(text));
  const end = (index: number): void => turns[index]?.end();
  return { shown, say, end };
}

test('the first is shown as it speaks, the next from its beginning when that has ended', () => {
  const { shown, say, end } = setup(2);
  say(1, 'b1');
  say(0, 'a1');
  say(1, 'b2');
  expect(shown).toEqual(['a1']);
  end(0);
  expect(shown).toEqual(['a1', 'b1', 'b2']);
  say(1, 'b3');
  end(1);
  expect(shown).toEqual(['a1', 'b1', 'b2', 'b3']);
});

test('nothing is lost of one that ends before its turn', () => {
  const { shown, say, end } = setup(3);
  say(1, 'b');
  end(1);
  say(2, 'c1');
  say(0, 'a');
  end(0);
  say(2, 'c2');
  expect(shown).toEqual(['a', 'b', 'c1', 'c2']);
});
