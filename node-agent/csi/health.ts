import type { StorageProblem, VolumeProblem } from '../../src/core/volumes/volume-health.ts';
import type { _csi_v1_NodeGetStorageHealthResponse_StorageBackendHealth as StorageBackendHealth } from '../../src/rpc/gen/csi/v1/NodeGetStorageHealthResponse.ts';
import type { VolumeCondition } from '../../src/rpc/gen/csi/v1/VolumeCondition.ts';
import type { VolumeHealth } from '../../src/rpc/gen/csi/v1/VolumeHealth.ts';

/** What the health calls need of the storage service. */
export interface HealthSource {
  /** What is wrong with a volume; with a path also whether it is there, if it should be. Throws `not-found`. */
  checkVolume(id: string, path?: string): Promise<readonly VolumeProblem[]>;
  /** All volumes that are not well. */
  listSickVolumes(): Promise<readonly { readonly id: string; readonly problems: readonly VolumeProblem[] }[]>;
  checkPools(): Promise<readonly StorageProblem[]>;
  /** What is worth knowing of a volume although it is as it was wished for; undefined for nothing. */
  remarkOn(id: string): string | undefined;
}

const VOLUME_STATUS = {
  degraded: 'DEGRADED',
  inaccessible: 'INACCESSIBLE',
  'data-loss': 'DATA_LOSS',
} as const satisfies Record<VolumeProblem['status'], string>;

const STORAGE_STATUS = {
  degraded: 'STORAGE_DEGRADED',
  unreachable: 'STORAGE_UNREACHABLE',
} as const satisfies Record<StorageProblem['status'], string>;

/** Health as CSI 1.13 tells it. */
export function toWireHealth(id: string, problems: readonly VolumeProblem[]): VolumeHealth {
  return {
    volume_id: id,
    health_statuses: problems.map((problem) => ({ ...problem, status: VOLUME_STATUS[problem.status] })),
  };
}

/** The same as CSI told it up to 1.12, in one word. */
export function toWireCondition(problems: readonly VolumeProblem[], remark?: string): VolumeCondition {
  if (problems.length === 0) return { abnormal: false, message: remark ?? 'the volume is as it should be' };
  return {
    abnormal: true,
    message: problems.map(({ reason, message }) => `${reason}: ${message}`).join('; '),
  };
}

/** Health of what is behind the volumes. */
export function toWireStorageHealth(problems: readonly StorageProblem[]): StorageBackendHealth[] {
  return problems.map((problem) => ({ ...problem, status: STORAGE_STATUS[problem.status] }));
}
