import { Option } from '@commander-js/extra-typings';
import { stringify } from 'yaml';

/** Values of `-o`. `wide` is `text` with more columns, where a command has them. */
const FORMATS = ['text', 'wide', 'json', 'yaml'] as const;
export type OutputFormat = (typeof FORMATS)[number];

/** Returns the option `-o` of every command that prints data. */
export function outputOption(): Option<
  '-o, --output <format>',
  undefined,
  'text',
  undefined,
  true,
  OutputFormat
> {
  return new Option('-o, --output <format>', 'output format').choices(FORMATS).default('text');
}

/** Returns `data` as JSON or YAML, or what `render` returns for a terminal. */
export function formatOutput(format: OutputFormat, data: unknown, render: (wide: boolean) => string): string {
  switch (format) {
    case 'json':
      return `${JSON.stringify(plain(data), undefined, 2)}\n`;
    case 'yaml':
      return stringify(plain(data));
    default:
      return render(format === 'wide');
  }
}

/** Byte counts are decimal strings: a JSON number loses digits above 2^53. */
function plain(data: unknown): unknown {
  return JSON.parse(
    JSON.stringify(data, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)),
  );
}
