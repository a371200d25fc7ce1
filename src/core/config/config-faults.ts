import type { z } from 'zod';
import { Fault } from '../fault.ts';

/** Returns `pools[0].source.size` for ['pools', 0, 'source', 'size']. */
function pathOf(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) =>
      typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');
}

/**
 * Returns one `invalid` fault that lists every problem of a document, each with the path of its
 * field.
 */
export function configFault(document: string, issues: readonly z.core.$ZodIssue[]): Fault {
  const lines = issues.flatMap((issue) => describe(issue));
  const count = lines.length === 1 ? '1 error' : `${lines.length} errors`;
  return new Fault('invalid', `${document} has ${count}:\n${lines.map((line) => `  ${line}`).join('\n')}`, {
    fields: { document, faults: lines.length },
  });
}

function describe(issue: z.core.$ZodIssue): string[] {
  const at = pathOf(issue.path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${at === '' ? key : `${at}.${key}`}: unknown field`);
  }
  return [`${at === '' ? 'the document' : at}: ${issue.message}`];
}
