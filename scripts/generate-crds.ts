/**
 * Writes `deploy/crds/` and `deploy/snapshot-crds/` from `src/api/`: one CustomResourceDefinition a
 * file.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crdFiles } from '../src/api/crd-files.ts';
import { groupSnapshotCrdFiles, snapshotCrdFiles } from '../src/api/snapshot-crds.ts';

for (const [folder, files] of [
  ['crds', crdFiles()],
  ['snapshot-crds', snapshotCrdFiles()],
  ['group-snapshot-crds', groupSnapshotCrdFiles()],
] as const) {
  const directory = join(import.meta.dirname, '../deploy', folder);
  await mkdir(directory, { recursive: true });
  for (const file of await readdir(directory)) {
    if (!files.has(file)) await rm(join(directory, file));
  }
  for (const [file, text] of files) await writeFile(join(directory, file), text);
}
