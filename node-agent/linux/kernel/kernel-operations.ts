import { fsOperations } from './fs-operations.ts';
import { netOperations } from './net-operations.ts';

/**
 * All operations of a kernel worker: synchronous functions of structured-cloneable arguments that
 * block only their worker.
 */
export const kernelOperations = { ...fsOperations, ...netOperations } as const;

export type KernelOperations = typeof kernelOperations;
export type KernelOperation = keyof KernelOperations;
