import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

const MAIN = join(import.meta.dirname, 'main.ts');

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'keelson-main-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

it('reports a full disk of the standard output without a stack trace', () => {
  const full = openSync('/dev/full', 'w');
  const { status, stderr } = spawnSync(process.execPath, [MAIN, 'version'], {
    stdio: ['ignore', full, 'pipe'],
    encoding: 'utf8',
  });
  closeSync(full);
  expect({ status, stderr }).toEqual({ status: 1, stderr: 'keelson: cannot write the output: ENOSPC\n' });
}, 30_000);

it('ends a completion whose credential plugin does not end', () => {
  const kubeconfig = join(directory, 'config');
  writeFileSync(
    kubeconfig,
    `
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: a, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: sleep, args: ["45"]}}}]
`,
  );
  const line = ['kubectl-plugin', '__complete', 'why', '--kubeconfig', kubeconfig, 'pod/'];
  const { status, stdout } = spawnSync(process.execPath, [MAIN, ...line], {
    timeout: 25_000,
    encoding: 'utf8',
  });
  expect({ status, stdout }).toEqual({ status: 0, stdout: ':4\n' });
}, 30_000);
