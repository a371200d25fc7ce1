import type { VolumeAttributes } from './volume-attributes.ts';

/** One write to a file of a cgroup. */
export interface CgroupWrite {
  readonly file: string;
  readonly text: string;
}

/**
 * Bounds the I/O of a device (`MAJOR:MINOR`) in a cgroup of version 2 and all below it; without
 * attributes it lifts them.
 */
export function planIoMax(device: string, attributes: VolumeAttributes): CgroupWrite[] {
  const { readBandwidth, writeBandwidth, readIOPS, writeIOPS } = attributes;
  const values = { rbps: readBandwidth, wbps: writeBandwidth, riops: readIOPS, wiops: writeIOPS };
  const words = Object.entries(values).map(([key, value]) => `${key}=${value ?? 'max'}`);
  return [{ file: 'io.max', text: `${device} ${words.join(' ')}` }];
}

/** The same in a cgroup of version 1, where it does not reach those below. 0 is no limit. */
export function planBlkioThrottle(device: string, attributes: VolumeAttributes): CgroupWrite[] {
  const { readBandwidth, writeBandwidth, readIOPS, writeIOPS } = attributes;
  const values = {
    read_bps_device: readBandwidth,
    write_bps_device: writeBandwidth,
    read_iops_device: readIOPS,
    write_iops_device: writeIOPS,
  };
  return Object.entries(values).map(([name, value]) => ({
    file: `blkio.throttle.${name}`,
    text: `${device} ${value ?? 0n}`,
  }));
}
