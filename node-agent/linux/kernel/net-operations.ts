import {
  currentNetns,
  attachLink,
  hasLink,
  observeLink,
  listLinks,
  listPodRoutes,
  readUplinkMtu,
  ensureForwarding,
  removeRangeRoutes,
} from '../net/net-operations.ts';
import { readPeerRoutes, changePeerRoutes } from '../net/peer-route-operations.ts';

/** What the network calls in a kernel worker. */
export const netOperations = {
  currentNetns,
  attachLink,
  hasLink,
  observeLink,
  listLinks,
  listPodRoutes,
  readUplinkMtu,
  ensureForwarding,
  removeRangeRoutes,
  readPeerRoutes,
  changePeerRoutes,
} as const;
