/** Variable that the demo's policy sets. */
export const POLICY_VARIABLE = 'KEELSON_DEMO';
/** The demo's policy denies pods with this label. */
export const DENIED_LABEL = 'demo.keelson.dev/unwanted';

/** Two RuntimePolicies. */
export const DEMO_POLICY = `apiVersion: keelson.dev/v1alpha1
kind: RuntimePolicy
metadata: {name: demo-variable}
spec:
  match:
    namespaces: [demo]
    operations: [CreateContainer]
  mutate:
    env:
      set: {${POLICY_VARIABLE}: hello-from-the-policy}
---
apiVersion: keelson.dev/v1alpha1
kind: RuntimePolicy
metadata: {name: demo-unwanted}
spec:
  match:
    namespaces: [demo]
    operations: [RunPodSandbox]
    podSelector:
      matchExpressions: [{key: ${DENIED_LABEL}, operator: Exists}]
  deny:
    message: the policy of the demo denies pods with this label
`;
