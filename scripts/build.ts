import { existsSync } from 'node:fs';
import { chmod, rm, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';
import { readPackagesOf } from './third-party.ts';

const root = new URL('..', import.meta.url).pathname;

// CommonJS dependencies expect a require; koffi is native and stays where npm put it.
const REQUIRE_BANNER =
  "import { createRequire as keelsonRequire } from 'node:module';const require = keelsonRequire(import.meta.url);";

await rm(`${root}dist`, { recursive: true, force: true });
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: {
    keelson: 'src/cli/main.ts',
    'kernel-worker': 'node-agent/linux/kernel/kernel-worker.ts',
    'rule-worker': 'src/controller/labels/rule-worker.ts',
  },
  outdir: 'dist',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  // Beside the entry points: code in a chunk finds the worker's file next to itself.
  chunkNames: '[name]-[hash]',
  format: 'esm',
  platform: 'node',
  target: 'node24',
  external: ['koffi'],
  sourcemap: true,
  sourcesContent: false,
  legalComments: 'none',
  banner: { js: REQUIRE_BANNER },
  logLevel: 'warning',
  metafile: true,
});
if (existsSync(`${root}bin/keelson`)) await chmod(`${root}bin/keelson`, 0o755);

// Only files of which a part is in the output: the licences of these packages come with it.
const bundled = Object.values(metafile.outputs).flatMap(({ inputs }) =>
  Object.entries(inputs).flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? [file] : [])),
);
const packages = await readPackagesOf(root, bundled);
await writeFile(`${root}dist/third-party.json`, `${JSON.stringify(packages, undefined, 1)}\n`);

// What only a kubeconfig needs is a chunk of its own, so that a pod does not parse it.
const LAZY = 'node_modules/@kubernetes/client-node/';
const isLazy = (file: string): boolean =>
  Object.keys(metafile.outputs[file]?.inputs ?? {}).some((input) => input.startsWith(LAZY));
const eager = new Set(Object.keys(metafile.outputs).filter((file) => metafile.outputs[file]?.entryPoint));
for (const file of eager) {
  if (/\/kubeconfig-[^/]+$/.test(file)) {
    eager.delete(file);
    continue;
  }
  if (isLazy(file)) throw new Error(`${file} loads ${LAZY} at start; import it dynamically`);
  for (const { kind, path } of metafile.outputs[file]?.imports ?? []) {
    if (kind === 'import-statement') eager.add(path);
  }
}

const bytes = Object.entries(metafile.outputs)
  .filter(([file]) => file.endsWith('.mjs'))
  .reduce((sum, [, output]) => sum + output.bytes, 0);
console.log(
  `dist: ${Object.keys(metafile.outputs).filter((f) => f.endsWith('.mjs')).length} files, ${Math.round(bytes / 1024)} KiB`,
);

const shim = new URL('build-shim.ts', import.meta.url);
if (existsSync(shim)) await import(shim.href);
