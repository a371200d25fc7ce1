import { Fault } from '../fault.ts';
import type { ClaimView, ClassView } from './provision.ts';

/** Reference to a Secret. */
export interface SecretRef {
  readonly name: string;
  readonly namespace: string;
}

/** The CSI calls that a StorageClass may name a Secret for. */
const SECRET_USES = [
  'provisioner',
  'controller-publish',
  'node-stage',
  'node-publish',
  'controller-expand',
  'node-expand',
  'controller-modify',
] as const;
/** A CSI call that a StorageClass may name a Secret for. */
export type SecretUse = (typeof SECRET_USES)[number];

const KEY = /^csi\.storage\.k8s\.io\/([a-z-]+)-secret-(name|namespace)$/;
const TOKEN = /\$\{([^}]*)\}/g;
const ANNOTATION = /^pvc\.annotations\['([^']+)'\]$/;
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Whether a parameter of a class names a Secret. */
export function isSecretKey(key: string): boolean {
  return SECRET_USES.some((use) => use === KEY.exec(key)?.[1]);
}

/** Whether a class names a Secret for this call. */
export function isSecretNamed(parameters: ClassView['parameters'], use: SecretUse): boolean {
  return Object.hasOwn(parameters, keyOf(use, 'name'));
}

/**
 * Returns the Secrets that a class names for the volume of a claim, with its templates resolved.
 * Throws `invalid` for a name without a namespace, an unknown template, a missing annotation, and
 * an invalid name: a volume whose Secret cannot be found must not be created.
 */
export function resolveSecrets(
  { name: className, parameters }: Pick<ClassView, 'name' | 'parameters'>,
  claim: Pick<ClaimView, 'namespace' | 'name' | 'annotations'>,
  volumeName: string,
): Readonly<Partial<Record<SecretUse, SecretRef>>> {
  const fail = (what: string): Fault =>
    new Fault('invalid', `StorageClass ${className}: ${what}`, { fields: { storageClass: className } });
  const common = { 'pv.name': volumeName, 'pvc.namespace': claim.namespace };
  const fill = (key: string, template: string, values: Readonly<Record<string, string>>): string =>
    template.replaceAll(TOKEN, (token, variable: string) => {
      const value = Object.hasOwn(values, variable) ? values[variable] : undefined;
      if (value !== undefined) return value;
      const known = Object.keys(values).map((each) => `\${${each}}`);
      throw fail(
        `${key} has ${token}, which cannot be resolved for this claim; expected one of ${known.join(', ')}`,
      );
    });
  const refs: Partial<Record<SecretUse, SecretRef>> = {};
  for (const use of SECRET_USES) {
    const [nameKey, namespaceKey] = [keyOf(use, 'name'), keyOf(use, 'namespace')];
    const [named, spaced] = [parameters[nameKey], parameters[namespaceKey]];
    if (named === undefined && spaced === undefined) continue;
    if (named === undefined || spaced === undefined) {
      throw fail(`${nameKey} and ${namespaceKey} must be set together`);
    }
    const annotations = annotationValues(named, claim.annotations ?? {});
    const name = fill(nameKey, named, { ...common, 'pvc.name': claim.name, ...annotations });
    const namespace = fill(namespaceKey, spaced, common);
    if (name.length > 253 || !DNS_SUBDOMAIN.test(name)) {
      throw fail(`${nameKey} resolves to ${JSON.stringify(name)}, which is not a valid Secret name`);
    }
    if (!DNS_LABEL.test(namespace)) {
      throw fail(
        `${namespaceKey} resolves to ${JSON.stringify(namespace)}, which is not a valid namespace name`,
      );
    }
    refs[use] = { name, namespace };
  }
  return refs;
}

/** Values of the annotations that `template` refers to. */
function annotationValues(
  template: string,
  annotations: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const values: Record<string, string> = {};
  for (const [, variable = ''] of template.matchAll(TOKEN)) {
    const key = ANNOTATION.exec(variable)?.[1];
    if (key !== undefined && Object.hasOwn(annotations, key)) values[variable] = annotations[key] ?? '';
  }
  return values;
}

function keyOf(use: SecretUse, part: 'name' | 'namespace'): string {
  return `csi.storage.k8s.io/${use}-secret-${part}`;
}
