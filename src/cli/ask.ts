import { createInterface } from 'node:readline';

export interface Terminal {
  readonly stdin: NodeJS.ReadableStream;
  readonly stderr: NodeJS.WritableStream;
}

/** Asks on stderr, so that the answer's output stays clean, and gives the line that is typed; empty when there is none. */
export async function askLine(
  question: string,
  { stdin, stderr }: Terminal,
  signal: AbortSignal,
): Promise<string> {
  stderr.write(question);
  const lines = createInterface({ input: stdin, signal });
  try {
    for await (const line of lines) return line.trim();
    // The cursor still stands behind the question.
    stderr.write('\n');
    signal.throwIfAborted();
    return '';
  } finally {
    lines.close();
  }
}
