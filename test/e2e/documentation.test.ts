import { execFile } from 'node:child_process';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blocksOf } from '../../scripts/pages/markdown.ts';
import { CLUSTER_STEPS, type ClusterStep } from '../../scripts/pages/shell-plan.ts';
import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { Cluster } from '../cluster/cluster.ts';
import type { Kubectl } from '../cluster/kubectl.ts';

const ROOT = join(import.meta.dirname, '../..');
const MINUTES = 60_000;
/** Image of the pod in getting-started.md, which the nodes cannot pull. */
const PAGE_IMAGE = 'docker.io/library/busybox:1.36';
const NODES = ['node-1', 'node-2'] as const;

const execute = promisify(execFile);

/** The shell blocks of the documentation, in a shell of an administrator. */
describe('the documentation', { timeout: 5 * MINUTES }, () => {
  const cluster = new Cluster({ name: `documentation-${process.pid}` });
  let kubectl: Kubectl;
  let directory: string;

  beforeAll(async () => {
    await cluster.up({ nodes: NODES.length, settings: { keelson: 'shipped' } });
    kubectl = await cluster.kubectl();
    directory = `${kubectl.kubeconfig}.shell`;
    await mkdir(directory);
    await symlink(join(ROOT, 'deploy'), join(directory, 'deploy'));
    await symlink(kubectl.file, join(directory, 'kubectl'));
    for (const node of NODES) {
      await cluster
        .machine(node)
        .run('ctr', ['--namespace', 'k8s.io', 'images', 'tag', BUSYBOX_IMAGE, PAGE_IMAGE]);
    }
    const [manifest] = await blocks('docs/operate/getting-started.md', 'yaml');
    await writeFile(join(directory, 'data.yaml'), manifest ?? '');
  }, 15 * MINUTES);

  afterAll(async () => {
    await cluster.down();
  }, 2 * MINUTES);

  const blocks = async (page: string, language: string): Promise<readonly string[]> =>
    blocksOf({ text: await readFile(join(ROOT, page), 'utf8') })
      .filter((block) => block.language === language)
      .map(({ text }) => text);

  const shell = async (script: string): Promise<string> => {
    const path = [directory, join(ROOT, 'bin'), dirname(process.execPath), '/usr/bin', '/bin'].join(':');
    const { stdout } = await execute('bash', ['--norc', '-euo', 'pipefail', '-c', script], {
      cwd: directory,
      env: { PATH: path, HOME: directory, KUBECONFIG: kubectl.kubeconfig },
      timeout: 4 * MINUTES,
    });
    return stdout;
  };

  /** Values of placeholders that are known on the cluster alone. */
  const values = async (step: ClusterStep): Promise<readonly (readonly [string, string])[]> => {
    const { spec } = await kubectl.get<{ spec: { nodeName: string } }>(['pod/writer']);
    const emptyNode = NODES.find((node) => node !== spec.nodeName) ?? '';
    return Object.entries(step.values ?? {}).map(
      ([name, value]) => [name, value === 'EMPTY_NODE' ? emptyNode : value] as const,
    );
  };

  test.each(CLUSTER_STEPS.map((step) => [step.page, step.block.trim().split('\n')[0], step] as const))(
    '%s: %s',
    async (page, _line, step) => {
      if (step.applyYaml) {
        const manifests = await blocks(page, 'yaml');
        await kubectl.run(['apply', '--filename=-'], { input: manifests.join('\n---\n') });
      }
      let script = (await blocks(page, 'sh')).find((text) => text.startsWith(step.block)) ?? '';
      expect(script).not.toBe('');
      for (const [name, value] of step.values === undefined ? [] : await values(step)) {
        script = script.replaceAll(name, value);
      }
      if (step.block === 'kubectl get localvolumes\n') await shell('kubectl delete pod,pvc --all');
      await expect(shell(script)).resolves.toBeTypeOf('string');
    },
  );
});
