import { expect, it } from 'vitest';
import { planBlkioThrottle, planIoMax } from './io-limits.ts';

it('writes all four limits to a version 2 cgroup, so that former ones do not stay', () => {
  expect(planIoMax('7:3', { readIOPS: 500n, writeBandwidth: 4n << 20n, quotaInodes: 9n })).toEqual([
    { file: 'io.max', text: '7:3 rbps=max wbps=4194304 riops=500 wiops=max' },
  ]);
  expect(planIoMax('7:3', {})).toEqual([
    { file: 'io.max', text: '7:3 rbps=max wbps=max riops=max wiops=max' },
  ]);
});

it('writes each limit to its own file in version 1', () => {
  expect(planBlkioThrottle('7:3', { readBandwidth: 65_536n, writeIOPS: 10n })).toEqual([
    { file: 'blkio.throttle.read_bps_device', text: '7:3 65536' },
    { file: 'blkio.throttle.write_bps_device', text: '7:3 0' },
    { file: 'blkio.throttle.read_iops_device', text: '7:3 0' },
    { file: 'blkio.throttle.write_iops_device', text: '7:3 10' },
  ]);
});
