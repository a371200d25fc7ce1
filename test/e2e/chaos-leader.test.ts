import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LOCAL_VOLUMES } from '../../src/api/local-volume.ts';
import { LEASES, PERSISTENT_VOLUMES } from '../../src/kube/built-in.ts';
import { listAll } from '../../src/kube/client.ts';
import { sendSignal } from '../../src/runtime/child-process.ts';
import {
  addClaim,
  type ControllerLab,
  claimNamed,
  eventually,
  startControllerLab,
} from './controller-lab.ts';

const MINUTES = 60_000;

describe('two controllers', { timeout: 5 * MINUTES }, () => {
  let lab: ControllerLab;

  beforeAll(async () => {
    lab = await startControllerLab({
      skip: (first?: boolean | string, note?: string): never => {
        throw new Error(note ?? String(first));
      },
    });
  }, 10 * MINUTES);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  }, MINUTES);

  const holder = async (): Promise<string> => {
    const lease = await lab.client.get(LEASES, { namespace: 'default', name: 'keelson-controller' });
    const identity = lease.spec?.holderIdentity ?? '';
    expect(identity).not.toBe('');
    return identity;
  };
  const bound = async (names: readonly string[]): Promise<void> => {
    await eventually(async () => {
      for (const name of names) expect((await claimNamed(lab.client, name)).status?.phase).toBe('Bound');
    }, MINUTES);
  };

  test('a suspended leader finds its lease lost, exits, and has created nothing twice', async () => {
    await lab.startController({ elected: true });
    const first = await eventually(holder);
    await using rival = await lab.startRival();
    await addClaim(lab.client, 'early', 'at-once');
    await bound(['early']);

    // In the middle of its work: claims that it has seen, and has not served.
    const names = Array.from({ length: 10 }, (_, index) => `sleeper-${index}`);
    await Promise.all(names.map((name) => addClaim(lab.client, name, 'at-once', '100Mi')));
    const sleeper = lab.controllerPid();
    sendSignal(sleeper, 'SIGSTOP');
    try {
      const second = await eventually(async () => {
        const identity = await holder();
        expect(identity).not.toBe(first);
        return identity;
      }, MINUTES);
      await bound(names);
      sendSignal(sleeper, 'SIGCONT');
      const late = Array.from({ length: 5 }, (_, index) => `late-${index}`);
      await Promise.all(late.map((name) => addClaim(lab.client, name, 'at-once', '100Mi')));
      await bound(late);
      await eventually(async () => expect(() => process.kill(sleeper, 0)).toThrow(/ESRCH/), MINUTES);
      expect(await holder()).toBe(second);
      expect(rival.running).toBe(true);
    } finally {
      sendSignal(sleeper, 'SIGCONT');
    }
    const claims = 1 + names.length + 5;
    const owners = (await listAll(lab.client, PERSISTENT_VOLUMES)).map(({ metadata }) => metadata?.name);
    const volumes = (await listAll(lab.client, LOCAL_VOLUMES)).map(({ metadata }) => metadata?.name);
    expect(owners).toHaveLength(claims);
    expect(volumes.toSorted()).toEqual(owners.toSorted());
    expect([...lab.agents.disk.values()].map(({ name }) => name).sort()).toEqual(owners.toSorted());
  });
});
