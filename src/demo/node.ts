import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { cniConfig } from '../core/cni/cni-config.ts';
import { connectRpc, type RpcClient } from '../rpc/client.ts';
import { type ManagedProcess, runCommand, startProcess } from '../runtime/child-process.ts';
import { BUSYBOX_IMAGE, PAUSE_IMAGE, writeBusyboxArchive } from './busybox-image.ts';
import { type Containerd, startContainerd } from './containerd.ts';
import { createNetns, inNetns } from './netns.ts';
import { untilReady } from './ready.ts';
import { CsiDriver } from './volumes.ts';

/** Paths of a demo node, below its directory. */
export interface NodeLayout {
  readonly directory: string;
  readonly netns: string;
  /** Script that runs a command in the node's mount and network namespaces. */
  readonly enter: string;
  readonly agentConfig: string;
  readonly stateDir: string;
  readonly runDir: string;
  readonly csiSocket: string;
  readonly cniSocket: string;
  readonly adminSocket: string;
  /** kubelet's --container-runtime-endpoint: the proxy's socket. */
  readonly criSocket: string;
  readonly policiesDir: string;
  readonly kubeletDir: string;
  readonly podLogDir: string;
  readonly cniConfDir: string;
  readonly containerdDir: string;
  readonly logs: Readonly<Record<'agent' | 'cri-proxy' | 'containerd', string>>;
}

export function nodeLayout(directory: string): NodeLayout {
  const runDir = join(directory, 'run');
  return {
    directory,
    netns: join(directory, 'netns'),
    enter: join(directory, 'enter'),
    agentConfig: join(directory, 'agent.yaml'),
    stateDir: join(directory, 'state'),
    runDir,
    csiSocket: join(runDir, 'csi.sock'),
    cniSocket: join(runDir, 'cni.sock'),
    adminSocket: join(runDir, 'admin.sock'),
    criSocket: join(directory, 'cri.sock'),
    policiesDir: join(directory, 'policies'),
    kubeletDir: join(directory, 'kubelet'),
    podLogDir: join(directory, 'pod-logs'),
    cniConfDir: join(directory, 'net.d'),
    containerdDir: join(directory, 'c'),
    logs: {
      agent: join(directory, 'agent.log'),
      'cri-proxy': join(directory, 'cri-proxy.log'),
      containerd: join(directory, 'c', 'containerd.log'),
    },
  };
}

export interface NodeOptions {
  readonly layout: NodeLayout;
  /** Name of the node and of the cgroup. */
  readonly name: string;
  readonly podRange: string;
  /** Path of the keelson command. */
  readonly keelson: string;
  readonly cniBinDir: string;
  readonly containerdDir?: string | undefined;
  readonly path: string;
  readonly signal: AbortSignal;
}

/** Creates the directories and the network namespace of a node. */
export async function prepareNode({ layout, podRange, name, signal }: NodeOptions): Promise<void> {
  const { policiesDir, kubeletDir, podLogDir, cniConfDir, containerdDir, stateDir, runDir } = layout;
  const directories = [policiesDir, kubeletDir, podLogDir, cniConfDir, containerdDir, stateDir, runDir];
  await Promise.all(directories.map((directory) => mkdir(directory, { mode: 0o700 })));
  // tmpfs, as /run: pod addresses are valid for one boot.
  await runCommand('mount', ['-t', 'tmpfs', '-o', 'mode=0700,size=64m', 'keelson-demo', runDir], { signal });
  await writeFile(
    layout.agentConfig,
    stringify({
      // mkdtemp uses upper case; a node's name is a DNS label.
      nodeName: name.toLowerCase(),
      stateDir,
      runDir,
      metrics: { address: 'off' },
      network: { ranges: [podRange] },
    }),
  );
  await createNetns(layout.netns, signal);
}

/** Starts `keelson agent` with its default pool and waits until it is ready. */
export async function startAgent({ layout, keelson, path, signal }: NodeOptions): Promise<ManagedProcess> {
  const agent = await startProcess({
    name: 'agent',
    ...inNetns(layout.netns, keelson, ['agent', '--config', layout.agentConfig]),
    logFile: layout.logs.agent,
    env: { PATH: path },
  });
  const enter = `exec nsenter --mount=/proc/${agent.pid}/ns/mnt --net=/proc/${agent.pid}/ns/net -- "$@"`;
  await writeFile(layout.enter, `#!/bin/sh\n${enter}\n`, { mode: 0o700 });
  using client = connectRpc(layout.csiSocket);
  const csi = new CsiDriver(client);
  await untilReady(
    agent,
    layout.csiSocket,
    (callSignal) => csi.probe({ signal: callSignal, timeoutMs: 2_000 }),
    {
      signal,
    },
  );
  return agent;
}

/** Starts a containerd with Keelson's CNI configuration and imports the images. */
export async function startRuntime(options: NodeOptions): Promise<Containerd> {
  const { layout, name, cniBinDir, containerdDir, path, signal } = options;
  const archive = join(layout.directory, 'images.tar');
  const configureCni = async (): Promise<void> => {
    const conflist = cniConfig({ agentSocket: layout.cniSocket });
    await writeFile(join(layout.cniConfDir, '10-keelson.conflist'), JSON.stringify(conflist));
  };
  // Without the CNI configuration at its start, the daemon first reports "network not ready".
  await Promise.all([writeBusyboxArchive(archive, { signal }), configureCni()]);
  const containerd = await startContainerd({
    directory: layout.containerdDir,
    binDir: containerdDir,
    cniBinDir,
    cniConfDir: layout.cniConfDir,
    sandboxImage: PAUSE_IMAGE,
    cgroup: name,
    netns: layout.netns,
    path,
    signal,
  });
  await containerd.importImages(archive, [BUSYBOX_IMAGE, PAUSE_IMAGE], signal);
  return containerd;
}

/** Starts `keelson cri-proxy` and waits until it forwards a call. */
export async function startCriProxy(
  { layout, keelson, path, signal }: NodeOptions,
  runtimeSocket: string,
): Promise<ManagedProcess> {
  const proxy = await startProcess({
    name: 'cri-proxy',
    file: keelson,
    args: [
      'cri-proxy',
      ...['--listen', layout.criSocket],
      ...['--runtime', runtimeSocket],
      ...['--policies', layout.policiesDir],
      ...['--metrics-address', 'off'],
    ],
    logFile: layout.logs['cri-proxy'],
    env: { PATH: path },
  });
  using client: RpcClient = connectRpc(layout.criSocket);
  await untilReady(
    proxy,
    layout.criSocket,
    (callSignal) =>
      client.call(
        'runtime.v1.RuntimeService',
        'Version',
        { version: 'v1' },
        { signal: callSignal, timeoutMs: 2_000 },
      ),
    { signal },
  );
  return proxy;
}
