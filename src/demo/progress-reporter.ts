export interface Terminal {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

/** One finished step of the report. */
export interface StepReport {
  /** Its heading; empty before the first heading. */
  readonly section: string;
  readonly title: string;
  readonly detail: string;
  readonly ok: boolean;
  /** Since the start of the run. */
  readonly startedMs: number;
  readonly durationMs: number;
}

interface ProgressReporterDeps {
  readonly terminal: Terminal;
  readonly monotonicMs: () => number;
}

const STYLE = { bold: '1', dim: '2', red: '31', green: '32', yellow: '33' } as const;
type Style = keyof typeof STYLE;

/** Prints steps with their durations as they end. Colours and running steps on terminals only. */
export class ProgressReporter {
  readonly #terminal: Terminal;
  readonly #monotonicMs: () => number;
  readonly #steps: StepReport[] = [];
  readonly #running: string[] = [];
  readonly #originMs: number;
  #section = '';

  constructor({ terminal, monotonicMs }: ProgressReporterDeps) {
    this.#terminal = terminal;
    this.#monotonicMs = monotonicMs;
    this.#originMs = monotonicMs();
  }

  /** Finished steps, in the order of their ends. */
  get steps(): readonly StepReport[] {
    return this.#steps;
  }

  /** Starts a section. */
  heading(text: string): void {
    this.#section = text;
    this.#print(`\n${this.style('bold', text)}\n`);
  }

  /** Prints text, e.g. a table. */
  text(text: string): void {
    this.#print(text);
  }

  /** Runs `work` and prints `describe` of its result. Prints a failure and rejects with it. */
  async step<T>(
    title: string,
    work: () => Promise<T>,
    describe: (result: T) => string = () => '',
  ): Promise<T> {
    const startedMs = this.#monotonicMs();
    const section = this.#section;
    this.#running.push(title);
    this.#showRunning();
    let ok = false;
    let detail = '';
    try {
      const result = await work();
      detail = describe(result);
      ok = true;
      return result;
    } finally {
      const durationMs = Math.round(this.#monotonicMs() - startedMs);
      this.#running.splice(this.#running.indexOf(title), 1);
      this.#steps.push({
        section,
        title,
        detail,
        ok,
        startedMs: Math.round(startedMs - this.#originMs),
        durationMs,
      });
      const mark = ok ? this.style('green', '✓') : this.style('red', '✗');
      const text = detail === '' ? title : `${title}: ${detail}`;
      this.#print(`  ${mark} ${text}  ${this.style('dim', formatDuration(durationMs))}\n`);
    }
  }

  style(style: Style, text: string): string {
    return this.#terminal.isTTY === true ? `\x1b[${STYLE[style]}m${text}\x1b[0m` : text;
  }

  #print(text: string): void {
    this.#terminal.write(`${this.#eraseLine()}${text}`);
    this.#showRunning();
  }

  #showRunning(): void {
    const title = this.#running.at(-1);
    if (this.#terminal.isTTY === true && title !== undefined) {
      this.#terminal.write(`${this.#eraseLine()}  ${this.style('yellow', '…')} ${title}`);
    }
  }

  #eraseLine(): string {
    return this.#terminal.isTTY === true ? '\r\x1b[K' : '';
  }
}

/** Returns e.g. `85 ms`, `1.24 s`, `2 min 5 s`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1_000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 60_000) return `${(durationMs / 1_000).toFixed(2)} s`;
  const seconds = Math.round(durationMs / 1_000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
