import type { z } from 'zod';
import type { KubeObject, Resource } from '../kube/resource.ts';
import type { Rule } from '../core/kube-text/document-schema.ts';
import type { Frozen } from './schema.ts';

/** API group of Keelson's kinds. */
export const API_GROUP = 'keelson.dev';
/** Version of Keelson's kinds. */
export const API_VERSION = 'v1alpha1';

/** A column of `kubectl get`. */
export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date' | 'boolean';
  readonly jsonPath: string;
  readonly description?: string;
  /** 1 shows it with `-o wide` only. */
  readonly priority?: 1;
}

/**
 * The definition of a kind, from which its types and its CustomResourceDefinition are derived. All
 * kinds are cluster-scoped.
 */
export interface KindDefinition {
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly description: string;
  readonly spec?: z.ZodObject;
  readonly status: z.ZodObject;
  /** Rules over the whole object. */
  readonly rules?: readonly Rule[];
  readonly columns: readonly Column[];
  /** Fields for field selectors. */
  readonly selectableFields?: readonly string[];
}

/** An object of a kind as in the API, with the server's defaults. */
export interface KindObject<Spec extends z.ZodType, Status extends z.ZodType> extends KubeObject {
  readonly spec: Frozen<z.output<Spec>>;
  readonly status?: Frozen<z.output<Status>>;
}

/** Returns the resource of a kind for `src/kube`. */
export function resourceOf<T extends KubeObject>({
  kind,
  plural,
}: {
  kind: string;
  plural: string;
}): Resource<T> {
  return { group: API_GROUP, version: API_VERSION, plural, kind, namespaced: false };
}

/** The age column that every kind has. */
export const AGE: Column = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };

/** Returns a column with the status of condition `type`. */
export function conditionColumn(type: string): Column {
  return { name: type, type: 'string', jsonPath: `.status.conditions[?(@.type=="${type}")].status` };
}
