import { expect, test } from 'vitest';
import { FakeFiles } from '../../test/fakes/fake-files.ts';
import {
  readCpu,
  readDisks,
  readFilesystems,
  readInterfaces,
  readKernel,
  readMemory,
  readPciDevices,
} from './machine.ts';

const files = new FakeFiles({
  '/proc/sys/kernel/osrelease': '6.12.0-amd64\n',
  '/proc/self/cgroup': '0::/kubepods\n',
  '/sys/fs/btrfs/features/simple_quota': '0',
  '/proc/filesystems': 'nodev\tsysfs\nnodev\toverlay\n\text4\n\tbtrfs\n',
  '/proc/cpuinfo': [0, 1, 2, 3]
    .map(
      (n) =>
        `processor\t: ${n}\nvendor_id\t: GenuineIntel\nmodel name\t: Some  CPU\nphysical id\t: ${n >> 1}\ncore id\t: 0\nflags\t\t: sse avx2 avx2 fpu`,
    )
    .join('\n\n'),
  '/proc/meminfo': 'MemTotal:       16777216 kB\nMemFree: 1 kB\nSwapTotal:     0 kB\n',
  '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '16\n',
  '/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages': '0\n',
  '/sys/devices/system/node/node0/x': '',
  '/sys/devices/system/node/node1/x': '',
  '/sys/devices/system/node/possible': '0-1',
  '/proc/1/mountinfo': '36 1 8:0 / / rw - ext4 /dev/sda rw\n',
  '/sys/block/nvme0n1/size': '2048\n',
  '/sys/block/nvme0n1/dev': '259:0\n',
  '/sys/block/nvme0n1/queue/rotational': '0\n',
  '/sys/block/nvme0n1/device/model': 'Fast  One   \n',
  '/sys/block/sda/size': '4096\n',
  '/sys/block/sda/dev': '8:0\n',
  '/sys/block/sda/queue/rotational': '1\n',
  '/sys/block/sda/device/model': 'Slow\n',
  '/sys/block/sdb/size': '4096\n',
  '/sys/block/sdb/queue/rotational': '0\n',
  '/sys/block/sdb/sdb1/size': '100\n',
  '/sys/block/sdb/device/model': 'Solid\n',
  '/sys/block/vda/size': '4096\n',
  '/sys/block/vda/queue/rotational': '1\n',
  '/sys/block/vda/device/x': '',
  '/sys/block/sdc/size': '0\n',
  '/sys/block/sdc/device/x': '',
  '/sys/block/loop0/size': '4096\n',
  '/sys/block/dm-0/size': '4096\n',
  '/sys/class/net/eth0/device/driver': '-> ../../bus/pci/drivers/igb',
  '/sys/class/net/eth0/speed': '1000\n',
  '/sys/class/net/eth0/mtu': '1500\n',
  '/sys/class/net/eth1/device/x': '',
  '/sys/class/net/eth1/speed': '-1\n',
  '/sys/class/net/bond0/bonding/mode': '802.3ad 4\n',
  '/sys/class/net/veth1/mtu': '1500\n',
  '/sys/bus/pci/devices/0000:00:01.0/class': '0x030000\n',
  '/sys/bus/pci/devices/0000:00:01.0/vendor': '0x10de\n',
  '/sys/bus/pci/devices/0000:00:01.0/device': '0x2204\n',
  '/sys/bus/pci/devices/0000:00:02.0/class': '0x030000\n',
  '/sys/bus/pci/devices/0000:00:02.0/vendor': '0x10de\n',
  '/sys/bus/pci/devices/0000:00:02.0/device': '0x2204\n',
});

test('the kernel says what it can, and what is proven by use is added', async () => {
  expect(await readKernel(files, ['nftables'])).toEqual({
    release: '6.12.0-amd64',
    features: ['btrfs', 'btrfs-simple-quota', 'nftables'],
    cgroup: 'v2',
  });
  expect(await readFilesystems(files)).toEqual(['btrfs', 'ext4', 'overlay']);
});

test('processors are counted by socket, core and thread', async () => {
  expect(await readCpu(files, 'x64')).toEqual({
    architecture: 'amd64',
    vendor: 'GenuineIntel',
    model: 'Some CPU',
    sockets: 2,
    cores: 2,
    threads: 4,
    features: ['avx2', 'fpu', 'sse'],
  });
});

test('memory is what does not move: no free pages, no sizes of which there are none', async () => {
  expect(await readMemory(files)).toEqual({ total: '16Gi', hugePages: { '2Mi': 16 }, numaNodes: 2 });
});

test('disks are whole disks with a medium; their use is reported where it is visible', async () => {
  expect(await readDisks(files)).toEqual([
    { name: 'nvme0n1', type: 'nvme', rotational: false, size: '1Mi', model: 'Fast One' },
    { name: 'sda', type: 'hdd', rotational: true, size: '2Mi', model: 'Slow', inUse: true },
    { name: 'sdb', type: 'ssd', rotational: false, size: '2Mi', model: 'Solid', inUse: true },
    { name: 'vda', type: 'virtual', rotational: true, size: '2Mi' },
  ]);
});

test('interfaces are those of the machine, with a speed where the link has one', async () => {
  expect(await readInterfaces(files)).toEqual([
    { name: 'bond0' },
    { name: 'eth0', driver: 'igb', speedMbps: 1000, mtu: 1500 },
    { name: 'eth1' },
  ]);
});

test('PCI devices are counted by kind', async () => {
  expect(await readPciDevices(files)).toEqual([
    { class: '030000', vendor: '10de', device: '2204', count: 2 },
  ]);
});

test('a machine without /proc is an error, not an empty machine', async () => {
  await expect(readCpu(new FakeFiles({}), 'x64')).rejects.toThrow('/proc/cpuinfo');
  await expect(readMemory(new FakeFiles({}))).rejects.toThrow('/proc/meminfo');
});
