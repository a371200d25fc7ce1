import { expect, test } from 'vitest';
import { updateDocument } from './document.ts';

const section = (title: string, result: string) => ({ title, intro: 'How.', result });

test('a part that was measured again replaces its section, and leaves the others', () => {
  const first = updateDocument('', [section('One', '1'), section('Two', '2')], 'a machine');
  const second = updateDocument(first, [section('One', '11'), section('Three', '3')], 'another machine');
  expect(second.match(/^## .*/gm)).toEqual(['## One', '## Two', '## Three']);
  expect(second).toContain('```\n11\n```\n\nanother machine.');
  expect(second).toContain('```\n2\n```\n\na machine.');
  expect(second).not.toContain('\n1\n');
});
