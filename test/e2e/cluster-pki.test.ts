import { X509Certificate, createPrivateKey } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Pki } from '../cluster/pki.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'keelson-pki-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

test('nodes that ask at the same time get one certificate, and the key that belongs to it', async () => {
  const pki = new Pki(directory);
  await pki.ensureAuthority();
  const request = { name: 'agent', user: 'agent' };
  const made = await Promise.all(Array.from({ length: 8 }, () => pki.ensureCertificate(request)));
  expect(new Set(made.map(({ certificate }) => certificate)).size).toBe(1);
  const certificate = new X509Certificate(await readFile(join(directory, 'agent.crt')));
  expect(certificate.checkPrivateKey(createPrivateKey(await readFile(join(directory, 'agent.key'))))).toBe(
    true,
  );
});
