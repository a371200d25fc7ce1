import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { expect, it } from 'vitest';
import { runCommand } from '../../../src/runtime/child-process.ts';

const ROOT = join(import.meta.dirname, '../../..');
const REQUIRE_BANNER =
  "import { createRequire } from 'node:module';const require = createRequire(import.meta.url);";

// protobufjs looks for its 64-bit integers at run time: a bundle that loses them would round sizes
// silently.
it('a bundle needs neither proto files nor packages, and keeps 64-bit integers', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-bundle-'));
  await using _cleanup = {
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
  const entry = join(directory, 'entry.ts');
  await writeFile(
    entry,
    `import { loadProto } from ${JSON.stringify(join(ROOT, 'src/rpc/proto.ts'))};
     const { requestSerialize, requestDeserialize } = loadProto('csi').csi.v1.Controller.service.CreateVolume;
     const request = { capacity_range: { required_bytes: '9007199254740993', limit_bytes: '-9223372036854775808' } };
     console.log(JSON.stringify(requestDeserialize(requestSerialize(request)).capacity_range));`,
  );
  const outfile = join(directory, 'out.mjs');
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    banner: { js: REQUIRE_BANNER },
    logLevel: 'warning',
  });
  const { stdout } = await runCommand(process.execPath, [outfile], { cwd: directory });
  expect(JSON.parse(stdout)).toEqual({
    required_bytes: '9007199254740993',
    limit_bytes: '-9223372036854775808',
  });
});
