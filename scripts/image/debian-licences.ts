/** Licences of packages whose copyright file is free text, as their upstreams state them. */
const FREE_TEXT: Readonly<Record<string, readonly string[]>> = {
  'base-files': ['GPL-2.0-or-later'],
  'gcc-12-base': ['GPL-3.0-or-later WITH GCC-exception-3.1'],
  libc6: ['LGPL-2.1-or-later'],
  'libgcc-s1': ['GPL-3.0-or-later WITH GCC-exception-3.1'],
  'libstdc++6': ['GPL-3.0-or-later WITH GCC-exception-3.1'],
};

/** SPDX identifiers of Debian's short names, where these differ by more than a version suffix. */
const IDENTIFIERS: Readonly<Record<string, string>> = {
  'Apache-2': 'Apache-2.0',
  'BSD-2-clause': 'BSD-2-Clause',
  'BSD-3-clause': 'BSD-3-Clause',
  'BSD-4-clause': 'BSD-4-Clause',
  'BSD-4-clause-UC': 'BSD-4-Clause-UC',
  Expat: 'MIT',
  zlib: 'Zlib',
};
const SAME = new Set(['BSD-3-Clause', 'CC-BY-SA-4.0', 'CC0-1.0', 'ISC', 'MIT', 'X11', 'Zlib']);
const FREE_SOFTWARE_FOUNDATION = /^(L?GPL)-(\d)(\.\d)?(\+?)$/;

/**
 * Returns the licences of a Debian package from its copyright file (DEP-5 where machine-readable),
 * as SPDX identifiers where one is known. Throws for free text of a package that is not listed
 * here.
 */
export function debianLicences(name: string, copyright: string): string[] {
  const free = FREE_TEXT[name];
  if (free !== undefined) return [...free];
  if (!/^Format:/m.test(copyright.slice(0, 500))) {
    throw new Error(`the copyright file of ${name} is free text: add its licences to debian-licences.ts`);
  }
  const names = [...copyright.matchAll(/^License:[ \t]*(\S.*)$/gm)].map(([, short = '']) => short.trim());
  return [...new Set(names.map((short) => spdxIdentifier(short) ?? short))].sort();
}

/**
 * Returns the SPDX identifier of one of Debian's short names; undefined if it is not a single known
 * licence.
 */
export function spdxIdentifier(short: string): string | undefined {
  const match = FREE_SOFTWARE_FOUNDATION.exec(short);
  if (match !== null) {
    const [, family, major, minor = '.0', later] = match;
    return `${family}-${major}${minor}-${later === '+' ? 'or-later' : 'only'}`;
  }
  return SAME.has(short) ? short : IDENTIFIERS[short];
}
