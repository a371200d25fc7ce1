/**
 * Copies Keelson's files into the image's /opt/keelson, with notices of the npm packages in them
 * and a bill of materials: `node release-files.ts --root DIR --processor x64 --system DIR
 * --output DIR --date RFC3339 --libc NAME=VERSION`.
 */
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { nativeModuleFiles } from '../../node-agent/host/release.ts';
import {
  readNotices,
  readPackagesOf,
  readThirdPartyPackage,
  type ThirdPartyPackage,
} from '../third-party.ts';
import { billOfMaterials, type DebianPackage } from './bill-of-materials.ts';
import { debianLicences } from './debian-licences.ts';

const RULE = `\n${'='.repeat(80)}\n`;

const option = { type: 'string', default: '' } as const;
const { values } = parseArgs({
  options: { root: option, processor: option, system: option, output: option, date: option, libc: option },
});
const { root, processor, system, output, date, libc } = values;
const node = `node-linux-${processor}`;

const natives = nativeModuleFiles(processor).map((file) => `node_modules/${file}`);
const npm = [
  ...(JSON.parse(await readFile(join(root, 'dist/third-party.json'), 'utf8')) as ThirdPartyPackage[]),
  ...(await readPackagesOf(root, natives)),
  await readThirdPartyPackage(root, `node_modules/${node}`),
].sort((left, right) => (left.directory < right.directory ? -1 : 1));

const dist = (await readdir(join(root, 'dist'))).filter((name) => /\.mjs(\.map)?$/.test(name));
const files = [
  ...dist.map((name) => `dist/${name}`),
  'dist/cni/keelson-cni',
  ...natives,
  'deploy/systemd',
  'LICENSE',
];
for (const file of files) {
  await mkdir(dirname(join(output, file)), { recursive: true });
  await cp(join(root, file), join(output, file), { recursive: true });
}
await cp(join(root, `node_modules/${node}/LICENSE`), join(output, 'LICENSE.node'));
await writeFile(join(output, 'THIRD-PARTY-NOTICES.txt'), await notices());

const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
const bill = billOfMaterials({ version, date, npm, debian: [...(await installed()), linkedLibc()] });
await writeFile(join(output, 'keelson-image.cdx.json'), `${JSON.stringify(bill, undefined, 1)}\n`);

async function notices(): Promise<string> {
  const sections = [
    'Keelson contains the npm packages below. Debian packages have their licences in',
    '/usr/share/doc/NAME/copyright, Node.js in /opt/keelson/LICENSE.node.',
  ];
  for (const item of npm) {
    if (item.name === node) continue;
    const text = await readNotices(root, licenced(item));
    sections.push(`${RULE}${item.name} ${item.version} (${item.license})\n\n${text}\n`);
  }
  return sections.join('\n');
}

/** The native half of koffi has its licence text in koffi. */
function licenced(item: ThirdPartyPackage): ThirdPartyPackage {
  return item.name.startsWith('@koromix/koffi-') ? { ...item, directory: 'node_modules/koffi' } : item;
}

async function installed(): Promise<DebianPackage[]> {
  const status = await readFile(join(system, 'var/lib/dpkg/status'), 'utf8');
  return await Promise.all(
    status
      .trim()
      .split(/\n\n+/)
      .map(async (record) => {
        const field = (name: string): string => new RegExp(`^${name}: *(\\S+)`, 'm').exec(record)?.[1] ?? '';
        const name = field('Package');
        const copyright = await readFile(join(system, 'usr/share/doc', name, 'copyright'), 'utf8');
        return {
          name,
          version: field('Version'),
          architecture: field('Architecture'),
          source: field('Source') || name,
          licences: debianLicences(name, copyright),
        };
      }),
  );
}

/** The exec binary of CNI is linked statically: its C library is that of the build. */
function linkedLibc(): DebianPackage {
  const [name = '', version = ''] = libc.split('=');
  return {
    name,
    version,
    architecture: processor === 'x64' ? 'amd64' : processor,
    source: 'glibc',
    licences: ['LGPL-2.1-or-later'],
    linkedInto: 'opt/keelson/dist/cni/keelson-cni',
  };
}
