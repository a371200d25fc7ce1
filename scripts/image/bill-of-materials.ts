import type { ThirdPartyPackage } from '../third-party.ts';

/** A Debian package as dpkg's status file records it. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** The source package, to which Debian's security tracker refers. */
  readonly source: string;
  /** SPDX identifiers, or Debian's short names where there is none. */
  readonly licences: readonly string[];
  /** Set if the image has the package's code in a file of Keelson only, linked statically. */
  readonly linkedInto?: string;
}

export interface BillOptions {
  readonly version: string;
  /** RFC 3339; part of the image, hence not the time of the build. */
  readonly date: string;
  readonly debian: readonly DebianPackage[];
  readonly npm: readonly ThirdPartyPackage[];
}

/** Returns a software bill of materials of the image, in CycloneDX 1.5 (JSON). */
export function billOfMaterials({ version, date, debian, npm }: BillOptions): object {
  const image = { type: 'container', 'bom-ref': 'keelson', name: 'keelson.dev/keelson', version };
  const components = [...debian.map(debianComponent), ...npm.map(npmComponent)];
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.5.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: {
      timestamp: date,
      component: { ...image, licenses: [{ license: { id: 'Apache-2.0' } }] },
    },
    components,
    dependencies: [{ ref: 'keelson', dependsOn: components.map((component) => component['bom-ref']) }],
  };
}

function debianComponent({ name, version, architecture, source, licences, linkedInto }: DebianPackage) {
  const qualifiers = `arch=${architecture}&distro=debian-12&upstream=${encodeURIComponent(source)}`;
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?${qualifiers}`;
  return {
    type: 'library',
    'bom-ref': purl,
    name,
    version,
    licenses: licences.map(licenceChoice),
    purl,
    ...(linkedInto === undefined ? {} : { properties: [{ name: 'keelson:linked-into', value: linkedInto }] }),
  };
}

function npmComponent({ name, version, license }: ThirdPartyPackage) {
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
  return {
    type: 'library',
    'bom-ref': purl,
    name,
    version,
    licenses: [licenceChoice(license)],
    purl,
    // The package has nothing but Node itself, which vulnerabilities are recorded under.
    ...(name.startsWith('node-linux-') ? { cpe: `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*` } : {}),
  };
}

/** CycloneDX tells identifiers of the SPDX list from names that their authors chose. */
function licenceChoice(licence: string): object {
  if (licence.includes(' WITH ')) return { license: { name: licence } };
  return IS_SPDX.test(licence) ? { license: { id: licence } } : { license: { name: licence } };
}

const IS_SPDX =
  /^(0BSD|Apache-2\.0|BSD-[234]-Clause(-UC)?|BlueOak-1\.0\.0|CC-BY-SA-4\.0|CC0-1\.0|ISC|L?GPL-\d\.\d-(only|or-later)|MIT|Python-2\.0|Unlicense|X11|Zlib)$/;
