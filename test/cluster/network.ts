import { runCommand } from '../../src/runtime/child-process.ts';
import { API_SERVICE_ADDRESS, type ClusterAddresses } from './addresses.ts';
import type { Machine } from './machine.ts';

/** In the control plane's namespace; every machine and the host have a port on it. */
const BRIDGE = 'br0';
export const API_PORT = 6443;
/** Marks the routes that are made here (ip-route(8)), so that stale ones are known. */
const ROUTE_PROTOCOL = '201';

/** A route to another node's pods. */
export interface PodRoute {
  readonly podRange: string;
  readonly via: string;
}

/** Gives the control plane its bridge and the host its link to it. Idempotent. */
export async function ensureBridge(
  controlPlane: Machine,
  addresses: ClusterAddresses,
  hostLink: string,
): Promise<void> {
  if (!(await hasLink(controlPlane, BRIDGE))) {
    // Without one of its own it has the least of its ports', which changes as machines go off.
    const mac = hardwareAddress(addresses.controlPlane);
    await controlPlane.runInNetwork(['ip', 'link', 'add', BRIDGE, 'address', mac, 'type', 'bridge']);
    await controlPlane.runInNetwork(['ip', 'addr', 'add', `${addresses.controlPlane}/24`, 'dev', BRIDGE]);
  }
  await controlPlane.runInNetwork(['ip', 'link', 'set', BRIDGE, 'up']);
  await plug(controlPlane, addresses.host, process.pid, hostLink);
  await runCommand('ip', ['addr', 'replace', `${addresses.host}/24`, 'dev', hostLink]);
  await runCommand('ip', ['link', 'set', hostLink, 'up']);
}

/**
 * Plugs a machine into the bridge as `eth0`, and makes the Service `kubernetes` reachable from it
 * and its pods. Idempotent.
 */
export async function ensureLink(
  controlPlane: Machine,
  machine: Machine,
  address: string,
  addresses: ClusterAddresses,
): Promise<void> {
  if (!(await hasLink(machine, 'eth0'))) {
    // Of an earlier boot, whose namespace the kernel has not ended yet.
    await controlPlane.runInNetwork(['ip', 'link', 'delete', portName(address)], { accept: [1] });
    await plug(controlPlane, address, await machine.initPid(), 'eth0');
  }
  await machine.runInNetwork(['ip', 'addr', 'replace', `${address}/24`, 'dev', 'eth0']);
  await machine.runInNetwork(['ip', 'link', 'set', 'eth0', 'up']);
  await machine.runInNetwork(['ip', 'route', 'replace', 'default', 'via', addresses.controlPlane]);
  await machine.runInNetwork(['nft', '-f', '-'], { input: apiServiceRules(addresses.controlPlane) });
}

/**
 * Removes the host's link. A namespace outlives its last process while the kernel still sends data
 * of ended connections (minutes, when the peer is absent), and so does its link. Idempotent.
 */
export async function removeHostLink(hostLink: string): Promise<void> {
  await runCommand('ip', ['link', 'delete', hostLink], { accept: [1] });
}

/** Pulls the machine's plug out of the bridge, or puts it back. */
export async function setLink(controlPlane: Machine, address: string, state: 'up' | 'down'): Promise<void> {
  await controlPlane.runInNetwork(['ip', 'link', 'set', portName(address), state]);
}

/** Makes `routes` the machine's only routes to pods of other nodes. */
export async function ensurePodRoutes(machine: Machine, routes: readonly PodRoute[]): Promise<void> {
  const { stdout } = await machine.runInNetwork(['ip', '-j', 'route', 'show', 'proto', ROUTE_PROTOCOL]);
  const present = (stdout.trim() === '' ? [] : JSON.parse(stdout)) as readonly { readonly dst: string }[];
  const stale = present.filter(({ dst }) => routes.every(({ podRange }) => podRange !== dst));
  const commands = [
    ...stale.map(({ dst }) => `route del ${dst} proto ${ROUTE_PROTOCOL}`),
    ...routes.map(({ podRange, via }) => `route replace ${podRange} via ${via} proto ${ROUTE_PROTOCOL}`),
  ];
  if (commands.length === 0) return;
  await machine.runInNetwork(['ip', '-batch', '-'], { input: `${commands.join('\n')}\n` });
}

/**
 * What a service proxy would do for the one Service that no pod can do without. Pods' addresses are
 * hidden behind their node's, so that the answer comes back whatever the control plane knows of
 * pods.
 */
function apiServiceRules(controlPlane: string): string {
  const toApi = `ip daddr ${API_SERVICE_ADDRESS} tcp dport 443 dnat to ${controlPlane}:${API_PORT}`;
  return `add table ip kubernetes-service
delete table ip kubernetes-service
table ip kubernetes-service {
  chain prerouting { type nat hook prerouting priority dstnat; ${toApi}; }
  chain output { type nat hook output priority -100; ${toApi}; }
  chain postrouting { type nat hook postrouting priority srcnat - 1; ct status dnat ip daddr ${controlPlane} masquerade; }
}
`;
}

/**
 * A pair of interfaces: a port of the bridge, and `name` in the network of process `pid` (as this
 * process numbers it).
 */
async function plug(controlPlane: Machine, address: string, pid: number, name: string): Promise<void> {
  const port = portName(address);
  if (!(await hasLink(controlPlane, port))) {
    const peer = ['peer', 'name', name, 'address', hardwareAddress(address), 'netns', String(pid)];
    await controlPlane.runInNetwork(['ip', 'link', 'add', port, 'type', 'veth', ...peer]);
  }
  await controlPlane.runInNetwork(['ip', 'link', 'set', port, 'master', BRIDGE, 'up']);
}

/**
 * A machine that returns has the hardware address that its neighbours remember: 02 (locally
 * administered), 00, and its IP address.
 */
function hardwareAddress(address: string): string {
  const bytes = address.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0'));
  return ['02', '00', ...bytes].join(':');
}

function portName(address: string): string {
  return `port${address.split('.').at(-1) ?? ''}`;
}

async function hasLink(machine: Machine, name: string): Promise<boolean> {
  const { code } = await machine.runInNetwork(['ip', 'link', 'show', 'dev', name], { accept: [1] });
  return code === 0;
}
