import { selects } from './policy-decide.ts';

/** A metav1.LabelSelector as it is in an object of the API. */
export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>> | undefined;
  readonly matchExpressions?:
    | readonly {
        readonly key: string;
        readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
        readonly values?: readonly string[] | undefined;
      }[]
    | undefined;
}

/** Whether the labels are selected; without selector all are. */
export function selectsLabels(
  selector: LabelSelector | undefined,
  labels: Readonly<Record<string, string>>,
): boolean {
  if (selector === undefined) return true;
  const { matchLabels = {}, matchExpressions = [] } = selector;
  const requirements = matchExpressions.map((requirement) => ({
    ...requirement,
    values: requirement.values ?? [],
  }));
  return selects({ matchLabels, matchExpressions: requirements }, new Map(Object.entries(labels)));
}
