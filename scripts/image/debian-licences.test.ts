import { describe, expect, test } from 'vitest';
import { debianLicences, spdxIdentifier } from './debian-licences.ts';

test.each([
  ['GPL-2', 'GPL-2.0-only'],
  ['LGPL-2.1+', 'LGPL-2.1-or-later'],
  ['Expat', 'MIT'],
  ['ISC', 'ISC'],
  ['GPL-2+ or LGPL-3+', undefined],
])('Debian calls %s what SPDX calls %s', (short, identifier) => {
  expect(spdxIdentifier(short)).toBe(identifier);
});

describe('debianLicences', () => {
  test('lists each licence of a machine-readable copyright file once', () => {
    const copyright = [
      'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/',
      'Files: *',
      'License: GPL-2+',
      'Files: lib/*',
      'License: custom',
      'License: GPL-2+',
      ' The text.',
    ].join('\n');
    expect(debianLicences('some-package', copyright)).toEqual(['GPL-2.0-or-later', 'custom']);
  });

  test('refuses free text of a package without an entry', () => {
    expect(() => debianLicences('some-package', 'This is free software.')).toThrow(/free text/);
    expect(debianLicences('libc6', 'This is the GNU C library.')).toEqual(['LGPL-2.1-or-later']);
  });
});
