import type { Argument, CommandUnknownOpts as Command, Option } from '@commander-js/extra-typings';

/** cobra's completion directives, which kubectl passes on to the shell. Flags. */
export const Directive = { files: 0, noSpace: 2, noFiles: 4, directories: 16 } as const;

export interface Candidate {
  readonly value: string;
  readonly description?: string;
}

export interface Completion {
  readonly candidates: readonly Candidate[];
  /** A sum of `Directive`. */
  readonly directive: number;
}

export interface CompletionInput {
  /** Arguments of the command before `word`, without options. */
  readonly words: readonly string[];
  /** The word at the cursor, as far as it is typed. */
  readonly word: string;
  /** Options before the cursor, by long name without dashes. */
  readonly options: Readonly<Record<string, string>>;
}

/** An argument that completes its own values. */
export interface CompletingArgument {
  complete(input: CompletionInput): Promise<Completion>;
}

interface Position {
  readonly command: Command;
  readonly words: readonly string[];
  readonly options: Readonly<Record<string, string>>;
  /** The option whose value is at the cursor. */
  readonly pending: Option | undefined;
  readonly isAfterDashes: boolean;
}

/** Completes the last of `line`, the words after the program's name. */
export async function complete(program: Command, line: readonly string[]): Promise<Completion> {
  const word = line.at(-1) ?? '';
  const position = walk(program, line.slice(0, -1));
  const completion = await completeAt(position, word);
  return {
    ...completion,
    candidates: completion.candidates.filter(({ value }) => value.startsWith(word)),
  };
}

/** Returns a completion as cobra prints it: a candidate a line, then `:DIRECTIVE`. */
export function formatCompletion({ candidates, directive }: Completion): string {
  const lines = candidates.map(({ value, description }) =>
    description === undefined ? value : `${value}\t${description}`,
  );
  return [...lines, `:${directive}`, ''].join('\n');
}

function walk(program: Command, line: readonly string[]): Position {
  let command = program;
  let pending: Option | undefined;
  let isAfterDashes = false;
  const words: string[] = [];
  const options: Record<string, string> = {};
  for (const word of line) {
    if (pending !== undefined) {
      options[nameOf(pending)] = word;
      pending = undefined;
    } else if (isAfterDashes || !word.startsWith('-') || word === '-') {
      const next = words.length === 0 ? command.commands.find((each) => each.name() === word) : undefined;
      if (next === undefined) words.push(word);
      else command = next;
    } else if (word === '--') {
      isAfterDashes = true;
    } else {
      const [flag = '', value] = word.split('=', 2);
      const option = optionsOf(command).find(({ short, long }) => short === flag || long === flag);
      if (option === undefined || option.isBoolean()) continue;
      if (value === undefined) pending = option;
      else options[nameOf(option)] = value;
    }
  }
  return { command, words, options, pending, isAfterDashes };
}

async function completeAt(
  { command, words, options, pending, isAfterDashes }: Position,
  word: string,
): Promise<Completion> {
  if (pending !== undefined) return completeValue(pending, '');
  if (word.startsWith('-') && !isAfterDashes) {
    const [flag = '', value] = word.split('=', 2);
    const option = optionsOf(command).find(({ long }) => long === flag);
    if (value !== undefined && option !== undefined) return completeValue(option, `${flag}=`);
    return { candidates: flagCandidates(command), directive: Directive.noFiles };
  }
  if (words.length === 0 && command.commands.length > 0) {
    const candidates = command
      .createHelp()
      .visibleCommands(command)
      .map((each): Candidate => ({ value: each.name(), description: each.summary() || each.description() }));
    return { candidates, directive: Directive.noFiles };
  }
  const argument = argumentAt(command, words.length);
  if (argument === undefined) return { candidates: [], directive: Directive.noFiles };
  if (isCompleting(argument)) return await argument.complete({ words, word, options });
  const candidates = (argument.argChoices ?? []).map((value): Candidate => ({ value }));
  return { candidates, directive: Directive.noFiles };
}

/** Values by the placeholder in the option's flags: <file>, <socket> and <dir> are paths. */
function completeValue(option: Option, prefix: string): Completion {
  if (option.argChoices !== undefined) {
    const candidates = option.argChoices.map((value): Candidate => ({ value: `${prefix}${value}` }));
    return { candidates, directive: Directive.noFiles };
  }
  if (/<(file|socket)>/.test(option.flags)) return { candidates: [], directive: Directive.files };
  if (/<dir>/.test(option.flags)) return { candidates: [], directive: Directive.directories };
  return { candidates: [], directive: Directive.noFiles };
}

function flagCandidates(command: Command): readonly Candidate[] {
  return optionsOf(command).flatMap(({ long, hidden, description }) =>
    long == null || hidden ? [] : [{ value: long, description }],
  );
}

function optionsOf(command: Command): readonly Option[] {
  const help = command.createHelp();
  return [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)];
}

function argumentAt({ registeredArguments }: Command, index: number): Argument | undefined {
  const last = registeredArguments.at(-1);
  return registeredArguments[index] ?? (last?.variadic === true ? last : undefined);
}

function isCompleting(argument: object): argument is CompletingArgument {
  return 'complete' in argument;
}

function nameOf({ long }: Option): string {
  return long?.replace(/^--/, '') ?? '';
}
