import { afterAll } from 'vitest';
import { removeSharedCluster } from './two-nodes/cluster.ts';
// The order of the tests: the network comes last, because it replaces a node.
import './two-nodes/storage-pools.ts';
import './two-nodes/runtime-policies.ts';
import './two-nodes/labels.ts';
import './two-nodes/pod-network.ts';

afterAll(async () => {
  await removeSharedCluster();
}, 120_000);
