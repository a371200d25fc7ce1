import { describeKubeClient } from '../kube/kube-contract.ts';
import { CONFIG_MAPS, NAMESPACES, NODES } from '../../../src/kube/built-in.ts';
import { FakeApiClient } from '../../fakes/fake-api-client.ts';
import { FakeApiServer } from '../../fakes/fake-api-server.ts';
import { startApiServer } from './kube-api-server.ts';

describeKubeClient('the client on a real kube-apiserver', async (context) => {
  const server = await startApiServer(context);
  const client = server.client('admin');
  return {
    client,
    // Its watch cache is empty after a restart.
    async expire() {
      await server.kill();
      await server.start();
    },
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
});

describeKubeClient('the client on the fake API server', async () => {
  const server = new FakeApiServer([CONFIG_MAPS, NAMESPACES, NODES]);
  await server.start();
  const client = server.client();
  return {
    client,
    expire: async () => server.store.compact(),
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
});

describeKubeClient('the fake client', async () => {
  const client = new FakeApiClient();
  return {
    client,
    expire: async () => client.store.compact(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
});
