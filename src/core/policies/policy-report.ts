import { basename } from 'node:path';
import { z } from 'zod';
import { clip } from '../kube-text/api-status.ts';

/** Socket on which a CRI proxy reports its status, beside the one that kubelet uses. */
export const PROXY_ADMIN_SOCKET = 'cri-admin.sock';

/** The part of NodeInventory.status about one policy. */
export interface PolicyFacts {
  readonly name: string;
  readonly uid: string;
  /** Generation of the enforced object; absent while none is enforced. */
  readonly generation?: number | undefined;
  /** Why the newest generation is not enforced. */
  readonly problem?: string | undefined;
}

const report = z.object({
  policies: z.object({
    inForce: z.array(
      z.object({ name: z.string(), uid: z.string().optional(), generation: z.number().optional() }),
    ),
    faults: z.array(z.object({ file: z.string(), message: z.string() })),
  }),
});

/** Returns the name of the file of a policy from the API. */
export function policyFileName(name: string): string {
  return `${name}.yaml`;
}

/**
 * Returns the state of the policies in `directory`, which come from the API, from a proxy's
 * `/status`. Throws when that is invalid.
 */
export function readPolicyReport(
  status: unknown,
  {
    directory,
    expected,
  }: {
    readonly directory: string;
    /** The objects in the API. */
    readonly expected: readonly { readonly name: string; readonly uid: string }[];
  },
): readonly PolicyFacts[] {
  const { inForce, faults } = report.parse(status).policies;
  return [...expected]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, uid }) => {
      const found = inForce.find((policy) => policy.name === name && policy.uid === uid);
      const fault = faults.find(
        ({ file }) => file.startsWith(`${directory}/`) && basename(file) === policyFileName(name),
      );
      return {
        name,
        uid,
        ...(found?.generation === undefined ? {} : { generation: found.generation }),
        ...(fault === undefined ? {} : { problem: clip(fault.message, 4_096) }),
      };
    });
}
