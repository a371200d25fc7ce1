import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runDoctor } from '../../../src/cli/node-doctor.ts';
import { createDemoDirectory } from '../../../src/demo/demo-directory.ts';
import type { Finding } from '../../../src/preflight/preflight.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';

const KEELSON = new URL('../../../bin/keelson', import.meta.url).pathname;

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp('/var/tmp/keelson-doc-');
});
afterEach(() => rm(directory, { recursive: true }));

const diagnose = async (): Promise<Map<string, Finding>> => {
  const findings = await runDoctor({
    stateDir: join(directory, 'state'),
    runDir: join(directory, 'run'),
    demoDir: directory,
    path: '',
    signal: new AbortController().signal,
  });
  return new Map(findings.map((finding) => [finding.check, finding]));
};

test('a machine that never had an agent is checked for its requirements only', async () => {
  const findings = await diagnose();
  expect(findings.get('btrfs in the kernel')).toMatchObject({ ok: true });
  expect(findings.get('program mkfs.btrfs')?.found).toMatch(/^\//);
  expect(findings.get('killed demos')).toMatchObject({ ok: true, found: 'none' });
  expect(findings.has('agent')).toBe(false);
});

test('an agent that was started once and does not serve now is reported', async () => {
  await mkdir(join(directory, 'state'));
  expect((await diagnose()).get('agent')).toMatchObject({
    ok: false,
    found: expect.stringContaining('csi.sock, cni.sock, admin.sock not serving') as string,
  });
});

test('a killed demo is reported with how to remove it', async () => {
  const demo = await createDemoDirectory(directory);
  const record = { owner: { pid: process.pid, startTicks: '1' }, kept: false, podRange: '10.88.0.0/24' };
  await writeFile(join(demo, 'demo.json'), JSON.stringify(record));
  expect((await diagnose()).get('killed demos')).toMatchObject({
    ok: false,
    found: demo,
    remedy: 'keelson demo --clean',
  });
});

test('the command prints the same as a table and as JSON', async () => {
  const flags = ['doctor', '--state-dir', join(directory, 'none'), '--run-dir', join(directory, 'none')];
  const [text, json] = await Promise.all([
    runCommand(KEELSON, flags, { accept: [1] }),
    runCommand(KEELSON, [...flags, '-o', 'json'], { accept: [1] }),
  ]);
  const { findings } = JSON.parse(json.stdout) as { findings: Finding[] };
  for (const { check } of findings) expect(text.stdout).toContain(check);
});
