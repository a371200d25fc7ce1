/** Packs the image that clusters run: `node scripts/image/main.ts [FILE]`, default `dist/keelson-image.tar`. */
import { createHash } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isFault } from '../../src/core/fault.ts';
import { IMAGE, packImage } from './pack.ts';

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

try {
  const file = process.argv[2] ?? join(import.meta.dirname, '../../dist/keelson-image.tar');
  const archive = await packImage();
  await writeFile(`${file}.new`, archive);
  await rename(`${file}.new`, file);
  const digest = createHash('sha256').update(archive).digest('hex').slice(0, 12);
  console.log(`${file}: ${IMAGE}, ${mebibytes(archive.length)}, sha256 ${digest}`);
} catch (error) {
  console.error(isFault(error) ? error.message : error);
  process.exitCode = 1;
}
