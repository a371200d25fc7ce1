import { createInterface } from 'node:readline';

export interface Terminal {
  readonly stdin: NodeJS.ReadableStream;
  readonly stderr: NodeJS.WritableStream;
}

/**
 * Prompts on stderr, so that stdout holds only output. Returns the trimmed line, or '' at the end
 * of input.
 */
export async function promptLine(
  question: string,
  { stdin, stderr }: Terminal,
  signal: AbortSignal,
): Promise<string> {
  stderr.write(question);
  const lines = createInterface({ input: stdin, signal });
  try {
    for await (const line of lines) return line.trim();
    // Ends the line of the prompt.
    stderr.write('\n');
    signal.throwIfAborted();
    return '';
  } finally {
    lines.close();
  }
}
