import { addAmounts, type Amounts, maxAmounts, parseAmount } from '../../core/why/amount.ts';
import type { PodFacts, SelectorRequirement } from '../../core/why/facts.ts';
import type { ContainerFacts } from '../../core/why/pod-situation.ts';
import type { Pod } from '../../kube/built-in.ts';

type PodSpec = NonNullable<Pod['spec']>;
type Container = PodSpec['containers'][number];
type ContainerStatus = NonNullable<NonNullable<Pod['status']>['containerStatuses']>[number];

/** Returns the facts about scheduling and starting a pod. */
export function podFacts({ metadata, spec, status }: Pod): PodFacts {
  const { namespace = '', name = '' } = metadata ?? {};
  const scheduled = status?.conditions?.find(({ type }) => type === 'PodScheduled');
  const { tolerations = [], nodeSelector = {}, schedulingGates = [], affinity } = spec ?? {};
  const terms = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  return {
    namespace,
    name,
    phase: status?.phase ?? 'Pending',
    isDeleting: metadata?.deletionTimestamp !== undefined,
    nodeName: spec?.nodeName,
    schedulerMessage: scheduled?.status === 'False' ? scheduled.message : undefined,
    gates: schedulingGates.map((gate) => gate.name),
    claimNames: claimNames(name, spec),
    tolerations: tolerations.map(({ key, operator, value, effect }) => ({ key, operator, value, effect })),
    nodeSelector,
    affinity: terms?.map(({ matchExpressions = [], matchFields = [] }) => [
      ...matchExpressions.map(requirement),
      ...matchFields.map(requirement),
    ]),
    requests: requests(spec),
    hostPorts: (spec?.containers ?? [])
      .flatMap(({ ports = [] }) => ports)
      .flatMap(({ hostPort, protocol = 'TCP' }) =>
        hostPort === undefined ? [] : [`${protocol}/${hostPort}`],
      ),
    unweighed: [
      ...(affinity?.podAffinity === undefined ? [] : ['pod affinity']),
      ...(affinity?.podAntiAffinity === undefined ? [] : ['pod anti-affinity']),
      ...((spec?.topologySpreadConstraints ?? []).length === 0 ? [] : ['topology spread constraints']),
    ],
  };
}

/** Returns the names of a pod's claims, also of its ephemeral volumes. */
function claimNames(podName: string, spec: PodSpec | undefined): readonly string[] {
  return (spec?.volumes ?? []).flatMap(({ name, persistentVolumeClaim, ephemeral }) => {
    if (persistentVolumeClaim !== undefined) return [persistentVolumeClaim.claimName];
    return ephemeral === undefined ? [] : [`${podName}-${name}`];
  });
}

/** Returns the states of containers, init containers first. */
export function containerFacts({ spec, status }: Pod): readonly ContainerFacts[] {
  const of = (
    containers: readonly Container[] = [],
    statuses: readonly ContainerStatus[] = [],
    isInit: boolean,
  ) =>
    containers.map(({ name, image = '' }): ContainerFacts => {
      const found = statuses.find((each) => each.name === name);
      const ended = found?.state?.terminated ?? found?.lastState?.terminated;
      const waiting = found?.state?.waiting;
      return {
        name,
        image,
        isInit,
        restarts: found?.restartCount ?? 0,
        isReady: found?.ready ?? false,
        waiting: waiting && { reason: waiting.reason ?? '', message: waiting.message ?? '' },
        ended: ended && {
          reason: ended.reason ?? '',
          exitCode: ended.exitCode,
          message: (ended.message ?? '').trim(),
        },
      };
    });
  return [
    ...of(spec?.initContainers, status?.initContainerStatuses, true),
    ...of(spec?.containers, status?.containerStatuses, false),
  ];
}

/** Returns the scheduler's sum: max(containers + sidecars, largest init container) + overhead. */
function requests(spec: PodSpec | undefined): Amounts {
  const isSidecar = ({ restartPolicy }: Container): boolean => restartPolicy === 'Always';
  const sidecars = (spec?.initContainers ?? []).filter(isSidecar);
  const running = [...(spec?.containers ?? []), ...sidecars].reduce<Amounts>(
    (sum, each) => addAmounts(sum, requestOf(each)),
    {},
  );
  const initial = (spec?.initContainers ?? [])
    .filter((each) => !isSidecar(each))
    .reduce<Amounts>((most, each) => maxAmounts(most, requestOf(each)), {});
  return addAmounts(maxAmounts(running, initial), parse(spec?.overhead));
}

function requestOf({ resources }: Container): Amounts {
  return parse({ ...resources?.limits, ...resources?.requests });
}

function parse(quantities: Readonly<Record<string, string>> = {}): Amounts {
  return Object.fromEntries(Object.entries(quantities).map(([name, text]) => [name, parseAmount(text)]));
}

function requirement({
  key,
  operator,
  values = [],
}: {
  key: string;
  operator: string;
  values?: readonly string[];
}): SelectorRequirement {
  return { key, operator, values };
}
