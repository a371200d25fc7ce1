import type { VolumeAttributes } from './volume-attributes.ts';

/** A write to a file of a cgroup. */
export interface CgroupWrite {
  readonly file: string;
  readonly text: string;
}

/**
 * Plans the I/O limits of a device (`MAJOR:MINOR`) in a version 2 cgroup and its descendants;
 * removes limits of absent attributes.
 */
export function planIoMax(device: string, attributes: VolumeAttributes): CgroupWrite[] {
  const { readBandwidth, writeBandwidth, readIOPS, writeIOPS } = attributes;
  const values = { rbps: readBandwidth, wbps: writeBandwidth, riops: readIOPS, wiops: writeIOPS };
  const words = Object.entries(values).map(([key, value]) => `${key}=${value ?? 'max'}`);
  return [{ file: 'io.max', text: `${device} ${words.join(' ')}` }];
}

/** Plans the same in a version 1 cgroup, without its descendants; 0 removes a limit. */
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
