import { describe, expect, it } from 'vitest';
import { findLinkDrift, hostLinkName, type LinkObservation, podMac } from './link-plan.ts';

describe('the name of a link', () => {
  it('is the same for the same attachment, another for any other, and fits the kernel', () => {
    const name = hostLinkName('c1', 'eth0', () => false);
    expect(name).toMatch(/^keel[0-9a-v]{11}$/);
    expect(hostLinkName('c1', 'eth0', () => false)).toBe(name);
    expect(hostLinkName('c1', 'net1', () => false)).not.toBe(name);
    expect(hostLinkName('c1e', 'th0', () => false)).not.toBe(name);
  });

  it('gives way to another attachment that has it', () => {
    const name = hostLinkName('c1', 'eth0', () => false);
    const next = hostLinkName('c1', 'eth0', (taken) => taken === name);
    expect(next).toMatch(/^keel/);
    expect(next).not.toBe(name);
  });
});

it('the MAC of a pod is unicast and locally administered', () => {
  for (let i = 0; i < 64; i += 1) {
    const first = Number.parseInt(podMac(`c${i}`, 'eth0').slice(0, 2), 16);
    expect(first & 3).toBe(2);
  }
});

describe('drift', () => {
  const link = {
    pod: { name: 'eth0', mac: '02:00:00:00:00:01', index: 0 },
    addresses: ['10.88.0.2', 'fd00::2'],
  };
  const whole = {
    host: { up: true, routes: ['10.88.0.2', 'fd00::2', 'fe80::'] },
    pod: {
      up: true,
      mac: '02:00:00:00:00:01',
      addresses: ['10.88.0.2', 'fd00::2', 'fe80::1'],
      gateways: ['169.254.1.1', 'fe80::ecee:eeff:feee:eeee'],
      neighbours: ['169.254.1.1', 'fe80::ecee:eeff:feee:eeee'],
    },
  } satisfies LinkObservation;

  it('is none while everything is there', () => {
    expect(findLinkDrift(link, whole)).toEqual([]);
  });

  it.each<[string, LinkObservation]>([
    ['the node end of the link does not exist', { ...whole, host: undefined }],
    ['the pod has no interface eth0', { ...whole, pod: undefined }],
    ['the node end of the link is down', { ...whole, host: { ...whole.host, up: false } }],
    ['the node lacks the route to fd00::2', { ...whole, host: { up: true, routes: ['10.88.0.2'] } }],
    ['eth0 is down', { ...whole, pod: { ...whole.pod, up: false } }],
    ['eth0 has MAC 02:00:00:00:00:09', { ...whole, pod: { ...whole.pod, mac: '02:00:00:00:00:09' } }],
    ['eth0 lacks address 10.88.0.2', { ...whole, pod: { ...whole.pod, addresses: ['fd00::2'] } }],
    [
      'default route via 169.254.1.1',
      { ...whole, pod: { ...whole.pod, gateways: ['fe80::ecee:eeff:feee:eeee'] } },
    ],
    ['neighbour fe80::ecee:eeff:feee:eeee', { ...whole, pod: { ...whole.pod, neighbours: ['169.254.1.1'] } }],
  ])('"%s" is said', (words, observed) => {
    const drift = findLinkDrift(link, observed);
    expect(drift).toHaveLength(1);
    expect(drift[0]).toContain(words);
  });
});
