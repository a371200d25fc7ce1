import type { KindDefinition } from './kind.ts';
import { LOCAL_VOLUME_KIND } from './local-volume.ts';
import { NETWORK_POOL_KIND } from './network-pool.ts';
import { NODE_INVENTORY_KIND } from './node-inventory.ts';
import { NODE_LABEL_RULE_KIND } from './node-label-rule.ts';
import { RUNTIME_POLICY_KIND } from './runtime-policy.ts';
import { STORAGE_POOL_KIND } from './storage-pool.ts';

/** All kinds of keelson.dev. */
export const KINDS: readonly KindDefinition[] = [
  LOCAL_VOLUME_KIND,
  NETWORK_POOL_KIND,
  NODE_INVENTORY_KIND,
  NODE_LABEL_RULE_KIND,
  RUNTIME_POLICY_KIND,
  STORAGE_POOL_KIND,
];
