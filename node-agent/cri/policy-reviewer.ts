import { createHmac, randomBytes } from 'node:crypto';
import { GrpcCode } from '../../src/core/policies/cri-call.ts';
import { Fault } from '../../src/core/fault.ts';
import type {
  CallFacts,
  EntryChange,
  Mutation,
  PolicyOperation,
  RuntimePolicy,
} from '../../src/core/policies/policy.ts';
import {
  decide,
  type PolicyDecision,
  type PolicyEffect,
  podName,
} from '../../src/core/policies/policy-decide.ts';
import { patchRequest, readCallFacts } from '../../src/rpc/wire-cri.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { Reviewer, Verdict } from './forwarder.ts';

interface PolicySource {
  readonly policies: readonly RuntimePolicy[];
}

export interface PolicyReviewerDeps {
  readonly source: PolicySource;
  readonly logger: Logger;
  readonly onEffect?: (operation: PolicyOperation, effect: PolicyEffect) => void;
  readonly onFailure?: (operation: PolicyOperation) => void;
}

/** Applies policies to requests and writes one audit line for every effect. */
export function createPolicyReviewer(deps: PolicyReviewerDeps): Reviewer {
  const { source, logger, onFailure } = deps;
  const hash = valueHasher();
  const policiesFor = (operation: PolicyOperation): readonly RuntimePolicy[] =>
    source.policies.filter(({ match }) => match.operations.includes(operation));

  /** The pod is unknown and may be a system or static pod: those never fail closed. */
  const unread = (operation: PolicyOperation, reason: string): Verdict => {
    onFailure?.(operation);
    logger.error({ operation, reason }, 'request passed without policies');
    return { kind: 'forward' };
  };

  const mutate = (facts: CallFacts, request: Uint8Array, decision: PolicyDecision): Verdict => {
    if (decision.mutation === undefined) return { kind: 'forward' };
    try {
      return { kind: 'replace', request: patchRequest(facts.operation, request, decision.mutation) };
    } catch (error) {
      onFailure?.(facts.operation);
      const [policy] = decision.mustApply;
      logger.error(
        { operation: facts.operation, pod: podName(facts.pod), err: error },
        'policies not applied',
      );
      if (policy === undefined) return { kind: 'forward' };
      return {
        kind: 'deny',
        code: GrpcCode.unavailable,
        message: `RuntimePolicy ${policy} has failurePolicy Fail and could not be applied to pod ${podName(facts.pod)}; see the log of the Keelson CRI proxy`,
      };
    }
  };

  return {
    wants: (operation) => policiesFor(operation).length > 0,
    review(operation, request, unreadable) {
      if (request === undefined) return unread(operation, unreadable ?? 'unknown');
      let facts: CallFacts;
      try {
        facts = readCallFacts(operation, request);
      } catch (error) {
        return unread(operation, Fault.from(error).message);
      }
      const decision = decide(policiesFor(operation), facts);
      audit(facts, decision, deps, hash);
      if (decision.denial !== undefined) {
        return { kind: 'deny', code: GrpcCode.permissionDenied, message: decision.denial.message };
      }
      return mutate(facts, request, decision);
    },
  };
}

/** Writes one audit line for every effect; values appear as hashes. */
function audit(
  facts: CallFacts,
  decision: PolicyDecision,
  { source, logger, onEffect }: PolicyReviewerDeps,
  hash: (value: string) => string,
): void {
  for (const effect of decision.effects) {
    onEffect?.(facts.operation, effect);
    const policy = source.policies.find(({ name }) => name === effect.policy);
    logger.info(
      {
        policy: effect.policy,
        effect: effect.effect,
        dryRun: effect.dryRun,
        operation: facts.operation,
        pod: podName(facts.pod),
        podUid: facts.pod.uid,
        ...(facts.container && { container: facts.container.name, images: facts.container.images }),
        ...(effect.effect === 'mutate' && policy?.mutation && { changes: describe(policy.mutation, hash) }),
      },
      'policy effect',
    );
  }
}

/**
 * Values are often secrets: the log only shows whether two are equal, within one run of the
 * process.
 */
function valueHasher(): (value: string) => string {
  const key = randomBytes(32);
  return (value) => `#${createHmac('sha256', key).update(value).digest('hex').slice(0, 12)}`;
}

function describe(mutation: Mutation, hash: (value: string) => string): string[] {
  const entries = (kind: string, { set, remove }: EntryChange): string[] => [
    ...[...set].map(([key, value]) => `set ${kind} ${key} to ${hash(value)}`),
    ...[...remove].map((key) => `remove ${kind} ${key}`),
  ];
  return [
    ...entries('env', mutation.env),
    ...entries('label', mutation.labels),
    ...entries('annotation', mutation.annotations),
    ...Object.keys(mutation.resources).map((key) => `set resource ${key}`),
  ];
}
