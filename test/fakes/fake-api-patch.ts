import { ApiError, type Json } from './fake-api-error.ts';

/** RFC 7386. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged: Json = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(merged, key);
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly value?: unknown;
}

/** RFC 6902: add, remove, replace and test. */
export function jsonPatch(target: unknown, patch: unknown): unknown {
  const result: unknown = structuredClone(target);
  for (const { op, path, value } of patch as Operation[]) {
    const keys = path
      .split('/')
      .slice(1)
      .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = keys.pop() ?? '';
    const parent = keys.reduce<unknown>((inner, key) => (inner as Json | undefined)?.[key], result);
    if (typeof parent !== 'object' || parent === null) throw unprocessable(path);
    const holder = parent as Json;
    if (op !== 'add' && !(last in holder)) throw unprocessable(path);
    if (op === 'test') {
      if (JSON.stringify(holder[last]) !== JSON.stringify(value)) throw unprocessable(path);
    } else if (op === 'remove') {
      if (Array.isArray(parent)) parent.splice(Number(last), 1);
      else Reflect.deleteProperty(holder, last);
    } else if (Array.isArray(parent) && op === 'add') {
      parent.splice(last === '-' ? parent.length : Number(last), 0, value);
    } else {
      holder[last] = value;
    }
  }
  return result;
}

function unprocessable(path: string): ApiError {
  return new ApiError(
    422,
    'Invalid',
    `the server rejected our request due to an error in our request: ${path}`,
  );
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
