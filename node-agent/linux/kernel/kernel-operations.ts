import * as fsOperations from './fs-operations.ts';
import * as netOperations from '../net/net-operations.ts';
import * as peerRouteOperations from '../net/peer-route-operations.ts';

/**
 * Everything a kernel worker can be asked to do. Each is a synchronous function of
 * structured-cloneable arguments that blocks only its own worker.
 */
export const kernelOperations = { ...fsOperations, ...netOperations, ...peerRouteOperations } as const;

export type KernelOperations = typeof kernelOperations;
export type KernelOperation = keyof KernelOperations;
