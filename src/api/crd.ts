import { z } from 'zod';
import { API_GROUP, API_VERSION, type KindDefinition } from './kind.ts';

/** Returns the CustomResourceDefinition of a kind, as a plain object. */
export function customResourceDefinition(definition: KindDefinition): object {
  const { kind, plural, singular, shortNames, columns, selectableFields } = definition;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${API_GROUP}` },
    spec: {
      group: API_GROUP,
      names: { kind, listKind: `${kind}List`, plural, singular, shortNames, categories: ['keelson'] },
      scope: 'Cluster',
      versions: [
        {
          name: API_VERSION,
          served: true,
          storage: true,
          schema: { openAPIV3Schema: rootSchema(definition) },
          subresources: { status: {} },
          additionalPrinterColumns: columns,
          ...(selectableFields === undefined
            ? {}
            : { selectableFields: selectableFields.map((jsonPath) => ({ jsonPath })) }),
        },
      ],
    },
  };
}

function rootSchema({ description, spec, status, rules }: KindDefinition): object {
  return {
    type: 'object',
    description,
    ...(spec === undefined ? {} : { required: ['spec'] }),
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object' },
      ...(spec === undefined ? {} : { spec: structural(spec) }),
      status: structural(status),
    },
    ...(rules === undefined ? {} : { 'x-kubernetes-validations': rules }),
  };
}

/**
 * Returns a structural schema: what the API server stores and validates, which is the input side of
 * zod's.
 */
export function structural(schema: z.ZodType): object {
  return z.toJSONSchema(schema, {
    target: 'openapi-3.0',
    io: 'input',
    unrepresentable: 'throw',
    reused: 'inline',
    override: ({ jsonSchema }) => {
      // zod bounds every integer by the range of a JavaScript number, which is not a limit of the
      // API.
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      // The API server drops unknown fields, and does not allow the keyword.
      if (jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
      if (jsonSchema.type === 'integer') jsonSchema.format ??= 'int64';
    },
  });
}
