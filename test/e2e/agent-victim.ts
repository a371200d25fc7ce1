import { startKernel } from '../../node-agent/linux/kernel/kernel.ts';
import { openStorage } from '../../node-agent/storage/open-storage.ts';
import { findCluster } from '../../src/kube/cluster-access.ts';
import { HttpKubeClient } from '../../src/kube/http-client.ts';
import { filePool } from '../integration/storage/storage-lab.ts';
import { createLogger } from '../../src/runtime/logger.ts';
import { agentMember } from './agent-member.ts';

/**
 * A node's storage in its cluster, until it is killed. Arguments: state directory, pool file,
 * kubeconfig, node name.
 */
const [stateDir = '', file = '', kubeconfig = '', nodeName = ''] = process.argv.slice(2);

const logger = createLogger({ level: 'error', name: 'victim' });
const access = await findCluster({ env: {}, homeDirectory: '/nonexistent', kubeconfig });
const client = new HttpKubeClient({ access, userAgent: 'keelson-agent/test', qps: 500, burst: 500 });
const member = agentMember(nodeName, { client, logger });
const storage = await openStorage(
  {
    stateDir,
    pools: [filePool('default', file, 1n << 30n)],
  },
  {
    kernel: startKernel({ name: 'victim' }),
    logger,
    onUsageChange: () => member.storageChanged(),
  },
);
member.storageOpened(storage);
member.readinessChanged();
const { signal } = new AbortController();
await Promise.all([member.run(signal), storage.run(signal)]);
