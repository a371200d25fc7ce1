import { basename } from 'node:path';
import { z } from 'zod';
import { clip } from '../kube-text/api-status.ts';

/** Beside the socket that kubelet talks to: where a CRI proxy tells of itself. */
export const PROXY_ADMIN_SOCKET = 'cri-admin.sock';

/** What is said in NodeInventory.status of one policy. */
export interface PolicyFacts {
  readonly name: string;
  readonly uid: string;
  /** Of the object that is in force; absent while none is. */
  readonly generation?: number | undefined;
  /** Why the newest one is not. */
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

/** The name of the file of a policy that comes from the API. */
export function policyFileName(name: string): string {
  return `${name}.yaml`;
}

/**
 * What a proxy's `/status` says of the policies that come from the API, which are those in `directory`. Throws when that is no answer
 * of a proxy.
 */
export function readPolicyReport(
  status: unknown,
  {
    directory,
    expected,
  }: {
    readonly directory: string;
    /** The objects that there are in the API. */
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
