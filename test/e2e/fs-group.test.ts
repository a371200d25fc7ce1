import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';
import { NAMESPACE } from '../cluster/shipped.ts';
import { type ClaimsLab, claimOf, podOf, startClaimsLab } from './claims-lab.ts';

const AGENTS = ['--namespace', NAMESPACE, 'daemonset/keelson-agent'];

/** What becomes of the files of a volume on a real Kubernetes when its pods have an fsGroup. */
describe('the fsGroup of a pod', { timeout: 300_000 }, () => {
  let lab: ClaimsLab;

  beforeAll(async () => {
    lab = await startClaimsLab({ poolSize: '2Gi' });
    await lab.apply(claimOf('files'));
  }, 900_000);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  }, 120_000);

  /** Runs the script in a pod of that group, which ends then. */
  const inPodOf = async (group: number, script: string, fields: object = {}): Promise<string> => {
    const name = `of-${group}`;
    await lab.apply(podOf(name, ['files'], { securityContext: { fsGroup: group }, ...fields }));
    await lab.untilReady(name);
    const output = await lab.inPod(name, script);
    await lab.kubectl.run(['delete', 'pod', name, '--grace-period=1']);
    return output;
  };
  const LOOK = 'cd /data; stat -c "%n %g %a" . sub sub/file';

  test('is applied by kubelet, which restores at each start what differs', async () => {
    await inPodOf(2000, 'mkdir /data/sub; echo data >/data/sub/file; chgrp 3000 /data/sub/file; sync');
    expect(await inPodOf(2000, LOOK)).toBe('. 2000 2775\nsub 2000 2775\nsub/file 2000 664\n');
  });

  test('is applied by the agent with csi.volumeMountGroup, and not if the root directory is correct', async () => {
    await offerGroups();
    await inPodOf(2000, 'chgrp 3000 /data/sub/file; sync');
    expect(await inPodOf(2000, LOOK)).toBe('. 2000 2775\nsub 2000 2775\nsub/file 3000 664\n');
    expect(await inPodOf(4000, LOOK)).toBe('. 4000 2775\nsub 4000 2775\nsub/file 4000 664\n');
    const claim = { persistentVolumeClaim: { claimName: 'files', readOnly: true } };
    const reader = { volumes: [{ name: 'v0', ...claim }] };
    expect(await inPodOf(5000, LOOK, reader)).toBe('. 4000 2775\nsub 4000 2775\nsub/file 4000 664\n');
    const csi = { driver: DRIVER_NAME, volumeAttributes: { size: '64Mi' } };
    const own = { volumes: [{ name: 'v0', csi }] };
    expect(await inPodOf(6000, 'stat -c "%g %a" /data', own)).toBe('6000 2775\n');
    await lab.remove('pvc/files');
    await lab.expectNothingLeft();
  });

  /** As an operator does it: in the ConfigMap, which agents read when they start. */
  async function offerGroups(): Promise<void> {
    const map = ['configmap', 'keelson-agent', '--namespace', NAMESPACE];
    const { data } = await lab.kubectl.get<{ data: Record<string, string> }>(map);
    const config = { ...(parse(data['agent.yaml'] ?? '') as object), csi: { volumeMountGroup: true } };
    const patch = JSON.stringify({ data: { 'agent.yaml': stringify(config) } });
    await lab.kubectl.run(['patch', ...map, '--patch', patch]);
    await lab.kubectl.run(['rollout', 'restart', ...AGENTS]);
    await lab.kubectl.run(['rollout', 'status', ...AGENTS, '--timeout=180s'], { timeoutMs: 190_000 });
  }
});
