import protobuf from 'protobufjs';

/** What a protocol consists of, in the shape that `test/tools/descriptors describe` prints. */
export interface Api {
  readonly package: string;
  readonly messages: Readonly<Record<string, Message>>;
  readonly enums: Readonly<Record<string, Enum>>;
  readonly services: Readonly<Record<string, Service>>;
}

interface Message {
  readonly alpha: boolean;
  readonly fields: Readonly<Record<string, Field>>;
  readonly oneofs: readonly string[];
  readonly reserved: readonly (readonly number[])[];
}

interface Field {
  readonly number: number;
  readonly label: 'optional' | 'repeated' | 'map';
  readonly type: string;
  readonly keyType?: string;
  readonly jsonName: string;
  readonly oneof?: string;
  readonly packed: boolean;
  readonly secret: boolean;
  readonly alpha: boolean;
  readonly deprecated: boolean;
}

interface Enum {
  readonly alpha: boolean;
  readonly values: Readonly<Record<string, number>>;
  readonly alphas: readonly string[];
  readonly reserved: readonly (readonly number[])[];
}

interface Service {
  readonly alpha: boolean;
  readonly methods: Readonly<Record<string, Method>>;
}

interface Method {
  readonly input: string;
  readonly output: string;
  readonly clientStreaming: boolean;
  readonly serverStreaming: boolean;
  readonly alpha: boolean;
}

/** Describes one of our committed descriptors, as the codecs are built from it. */
export function describeProto(descriptor: protobuf.INamespace): Api {
  const root = protobuf.Root.fromJSON(descriptor).resolveAll();
  const messages: Record<string, Message> = {};
  const enums: Record<string, Enum> = {};
  const services: Record<string, Service> = {};
  let packageName = '';
  const visit = (namespace: protobuf.NamespaceBase): void => {
    for (const object of namespace.nestedArray) {
      const name = nameOf(object);
      if (name === 'google') continue;
      if (object instanceof protobuf.Type) messages[name] = describeMessage(object);
      else if (object instanceof protobuf.Enum) enums[name] = describeEnum(object, descriptor);
      else if (object instanceof protobuf.Service) services[name] = describeService(object);
      else packageName = name;
      if (object instanceof protobuf.Namespace) visit(object);
    }
  };
  visit(root);
  return { package: packageName, messages, enums, services };
}

function describeMessage(type: protobuf.Type): Message {
  return {
    alpha: marked(type, '(alpha_message)'),
    fields: Object.fromEntries(type.fieldsArray.map((field) => [field.name, describeField(field)])),
    oneofs: type.oneofsArray.map((oneof) => oneof.name),
    reserved: reservedNumbers(type.reserved),
  };
}

function describeField(field: protobuf.Field): Field {
  const isMap = field instanceof protobuf.MapField;
  return {
    number: field.id,
    label: isMap ? 'map' : field.repeated ? 'repeated' : 'optional',
    type: field.resolvedType === null ? field.type : nameOf(field.resolvedType),
    ...(isMap ? { keyType: field.keyType } : {}),
    jsonName: jsonNameOf(field),
    ...(field.partOf === null ? {} : { oneof: field.partOf.name }),
    packed: field.repeated && field.packed && isPackable(field),
    secret: marked(field, '(csi_secret)') || marked(field, 'debug_redact'),
    alpha: marked(field, '(alpha_field)'),
    deprecated: marked(field, 'deprecated'),
  };
}

function describeEnum(type: protobuf.Enum, descriptor: protobuf.INamespace): Enum {
  const options = valuesOptionsOf(type, descriptor);
  return {
    alpha: marked(type, '(alpha_enum)'),
    values: { ...type.values },
    alphas: Object.keys(type.values).filter((name) => options[name]?.['(alpha_enum_value)'] === true),
    reserved: reservedNumbers(type.reserved),
  };
}

/**
 * Read from the descriptor itself: protobufjs writes the options of enum values, but does not read
 * them back.
 */
function valuesOptionsOf(
  type: protobuf.Enum,
  descriptor: protobuf.INamespace,
): Readonly<Record<string, Readonly<Record<string, unknown>>>> {
  let found: { readonly nested?: Record<string, unknown>; readonly valuesOptions?: object } = descriptor;
  for (const name of nameOf(type).split('.')) found = found.nested?.[name] ?? {};
  return (found.valuesOptions ?? {}) as Record<string, Record<string, unknown>>;
}

function describeService(service: protobuf.Service): Service {
  const methods = service.methodsArray.map((method): [string, Method] => [
    method.name,
    {
      input: nameOf(method.resolvedRequestType),
      output: nameOf(method.resolvedResponseType),
      clientStreaming: method.requestStream === true,
      serverStreaming: method.responseStream === true,
      alpha: marked(method, '(alpha_method)'),
    },
  ]);
  return { alpha: marked(service, '(alpha_service)'), methods: Object.fromEntries(methods) };
}

function nameOf(object: protobuf.ReflectionObject | null): string {
  return object === null ? '' : object.fullName.slice(1);
}

function marked(object: protobuf.ReflectionObject, option: string): boolean {
  return object.getOption(option) === true;
}

function isPackable(field: protobuf.Field): boolean {
  return field.resolvedType instanceof protobuf.Enum || field.type in protobuf.types.packed;
}

function reservedNumbers(reserved: readonly (number[] | string)[] | undefined): number[][] {
  return (reserved ?? []).filter((one) => typeof one !== 'string');
}

/** As protoc derives it where a proto names no other. */
function jsonNameOf(field: protobuf.Field): string {
  const named: unknown = field.getOption('json_name');
  if (typeof named === 'string') return named;
  return field.name.replace(/_+(.?)/g, (_match, next: string) => next.toUpperCase());
}
