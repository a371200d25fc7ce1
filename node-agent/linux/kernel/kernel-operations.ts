import { fsOperations } from './fs-operations.ts';
import * as netOperations from '../net/net-operations.ts';
import * as peerRouteOperations from '../net/peer-route-operations.ts';

/**
 * All operations of a kernel worker: synchronous functions of structured-cloneable arguments that
 * block only their worker.
 */
export const kernelOperations = { ...fsOperations, ...netOperations, ...peerRouteOperations } as const;

export type KernelOperations = typeof kernelOperations;
export type KernelOperation = keyof KernelOperations;
