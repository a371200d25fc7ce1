import { spawn } from 'node:child_process';

// What every commit passes; the steps run at the same time.
const STEPS = {
  types: ['tsc', '--noEmit'],
  lint: ['eslint', '.', '--cache', '--cache-location', 'build/eslint-cache', '--max-warnings', '0'],
  format: ['biome', 'format', '.'],
  unused: ['knip', '--no-progress'],
  language: ['node', 'scripts/check-language.ts'],
  rooms: ['depcruise', '--config', '.dependency-cruiser.mjs', 'src', 'node-agent', 'scripts'],
  unit: [
    'vitest',
    'run',
    '--project',
    'unit',
    '--reporter=default',
    '--reporter=./scripts/summary-reporter.ts',
  ],
} as const;

const root = new URL('..', import.meta.url).pathname;

function run(
  name: string,
  [command, ...args]: readonly string[],
): Promise<{ name: string; code: number; output: string; seconds: number }> {
  const startedMs = performance.now();
  return new Promise((resolve) => {
    const child = spawn(`${root}node_modules/.bin/${command ?? ''}`, args, {
      cwd: root,
      env: {
        ...process.env,
        PATH: `${root}node_modules/.bin:${process.env['PATH'] ?? ''}`,
        SUMMARY_FILE: `${root}build/summary/${name}.json`,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data.toString()));
    child.stderr.on('data', (data: Buffer) => (output += data.toString()));
    child.on('error', (error) => resolve({ name, code: 127, output: error.message, seconds: 0 }));
    child.on('close', (code) =>
      resolve({ name, code: code ?? 1, output, seconds: (performance.now() - startedMs) / 1000 }),
    );
  });
}

const results = await Promise.all(Object.entries(STEPS).map(([name, command]) => run(name, command)));
for (const { name, code, output, seconds } of results) {
  console.log(`${code === 0 ? 'ok  ' : 'FAIL'} ${name} (${seconds.toFixed(1)} s)`);
  if (code !== 0) console.log(output);
}
process.exitCode = results.some(({ code }) => code !== 0) ? 1 : 0;
