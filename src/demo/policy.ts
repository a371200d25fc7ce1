/** The variable that the demo's policy gives to containers. */
export const POLICY_VARIABLE = 'KEELSON_DEMO';
/** Pods with this label, whatever its value, are denied. */
export const DENIED_LABEL = 'demo.keelson.dev/unwanted';

/** Two policies as a user would write them. */
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
    message: the demo shows that pods with this label do not start
`;
