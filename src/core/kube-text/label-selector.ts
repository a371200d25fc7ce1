/** A metav1.LabelSelector, as in an object of the API. */
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

/** Whether the labels match; without a selector all do. */
export function selectsLabels(
  selector: LabelSelector | undefined,
  labels: Readonly<Record<string, string>>,
): boolean {
  return selector === undefined || selects(selector, new Map(Object.entries(labels)));
}

/** Whether all requirements of a selector hold. */
export function selects(
  { matchLabels = {}, matchExpressions = [] }: LabelSelector,
  labels: ReadonlyMap<string, string>,
): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels.get(key) === value) &&
    matchExpressions.every(({ key, operator, values = [] }) =>
      meetsRequirement(labels.get(key), operator, values),
    )
  );
}

/**
 * Whether the value of a label, undefined without the label, meets a requirement of a label or node
 * selector. As in Kubernetes, NotIn and DoesNotExist also hold without the label, Gt and Lt hold
 * for integers only, and an unknown operator never holds.
 */
export function meetsRequirement(
  value: string | undefined,
  operator: string,
  values: readonly string[],
): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'Gt':
      return compareIntegers(value, values[0]) === 1;
    case 'Lt':
      return compareIntegers(value, values[0]) === -1;
    default:
      return false;
  }
}

/** Returns the sign of `left` - `right`; undefined unless both are decimal integers. */
function compareIntegers(left = '', right = ''): number | undefined {
  if (!INTEGER.test(left) || !INTEGER.test(right)) return undefined;
  const difference = BigInt(left) - BigInt(right);
  return difference === 0n ? 0 : difference > 0n ? 1 : -1;
}

const INTEGER = /^-?\d+$/;
