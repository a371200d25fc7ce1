import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** An npm package whose code is distributed with Keelson. */
export interface ThirdPartyPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX expression of its package.json. */
  readonly license: string;
  /** Relative to the repository's root. */
  readonly directory: string;
}

/**
 * Returns the npm packages that own the given source files, by directory; paths are relative to
 * `root`.
 */
export async function readPackagesOf(root: string, files: readonly string[]): Promise<ThirdPartyPackage[]> {
  const directories = new Set(files.flatMap((file) => packageDirectory(file) ?? []));
  return await Promise.all(
    [...directories].sort().map((directory) => readThirdPartyPackage(root, directory)),
  );
}

/** Reads the package.json of `directory`. Throws if it has no name, version or licence. */
export async function readThirdPartyPackage(root: string, directory: string): Promise<ThirdPartyPackage> {
  const file = join(root, directory, 'package.json');
  const { name, version, license } = JSON.parse(await readFile(file, 'utf8')) as Partial<ThirdPartyPackage>;
  if (name === undefined || version === undefined || license === undefined) {
    throw new Error(`${file} lacks name, version or license`);
  }
  return { name, version, license, directory };
}

/** Returns the directory of the npm package that owns `file`; undefined if none does. */
export function packageDirectory(file: string): string | undefined {
  return /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0];
}

/** Reads the licence and notice texts of a package. Throws if it has none. */
export async function readNotices(root: string, { name, directory }: ThirdPartyPackage): Promise<string> {
  const names = (await readdir(join(root, directory)))
    .filter((file) => /^(licen[cs]e|copying|notice)/i.test(file))
    .sort();
  if (names.length === 0) throw new Error(`npm package ${name} has no licence file in ${directory}`);
  const texts = await Promise.all(names.map((file) => readFile(join(root, directory, file), 'utf8')));
  return texts.map((text) => text.trim()).join('\n\n');
}
