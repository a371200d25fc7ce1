import type { StorageProblem, VolumeProblem } from '../../src/core/volumes/volume-health.ts';
import type { _csi_v1_NodeGetStorageHealthResponse_StorageBackendHealth as StorageBackendHealth } from '../../src/rpc/gen/csi/v1/NodeGetStorageHealthResponse.ts';
import type { VolumeCondition } from '../../src/rpc/gen/csi/v1/VolumeCondition.ts';
import type { VolumeHealth } from '../../src/rpc/gen/csi/v1/VolumeHealth.ts';

const VOLUME_STATUS = {
  degraded: 'DEGRADED',
  inaccessible: 'INACCESSIBLE',
  'data-loss': 'DATA_LOSS',
} as const satisfies Record<VolumeProblem['status'], string>;

const STORAGE_STATUS = {
  degraded: 'STORAGE_DEGRADED',
  unreachable: 'STORAGE_UNREACHABLE',
} as const satisfies Record<StorageProblem['status'], string>;

/** Returns the volume's health as of CSI 1.13. */
export function toWireHealth(id: string, problems: readonly VolumeProblem[]): VolumeHealth {
  return {
    volume_id: id,
    health_statuses: problems.map((problem) => ({ ...problem, status: VOLUME_STATUS[problem.status] })),
  };
}

/**
 * Returns the volume's condition as of CSI 1.12 and earlier; `message` is for a normal condition.
 */
export function toWireCondition(problems: readonly VolumeProblem[], message?: string): VolumeCondition {
  if (problems.length === 0) return { abnormal: false, message: message ?? 'the volume is healthy' };
  return {
    abnormal: true,
    message: problems.map((problem) => `${problem.reason}: ${problem.message}`).join('; '),
  };
}

/** Returns the health of the pools. */
export function toWireStorageHealth(problems: readonly StorageProblem[]): StorageBackendHealth[] {
  return problems.map((problem) => ({ ...problem, status: STORAGE_STATUS[problem.status] }));
}
