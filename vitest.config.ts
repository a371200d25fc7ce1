import { defineConfig } from 'vitest/config';

// Time limits prove nothing about speed: a passing test takes as long as it takes, also on a busy
// machine.
/**
 * How long `expect.poll` waits for other processes; its default of 1 s suits idle machines only.
 */
const patient = { poll: { timeout: 60_000, interval: 50 } };

export default defineConfig({
  test: {
    reporters: ['default'],
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'src/**/*.test.ts',
            'node-agent/**/*.test.ts',
            'scripts/**/*.test.ts',
            'test/bench/**/*.test.ts',
            'test/kubernetes-storage/**/*.test.ts',
          ],
          testTimeout: 60_000,
          expect: { poll: { timeout: 15_000 } },
        },
      },
      // Two lanes that share no kernel state run at the same time: loop devices and pools in the
      // one, network namespaces, containers and API servers in the other.
      {
        test: {
          name: 'storage',
          include: ['test/integration/storage/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          expect: patient,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/!(storage|apiserver)/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          expect: patient,
          fileParallelism: false,
        },
      },
      // Needs kube-apiserver, which takes minutes to build.
      {
        test: {
          name: 'apiserver',
          include: ['test/integration/apiserver/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          expect: patient,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'conformance',
          include: ['test/conformance/**/*.test.ts'],
          expect: patient,
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'machine',
          include: ['test/machine/*.test.ts'],
          testTimeout: 3_600_000,
          hookTimeout: 1_800_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          expect: patient,
          testTimeout: 300_000,
          hookTimeout: 900_000,
          // A file has a cluster, which mostly waits; suites of one kind share a file.
          maxWorkers: 2,
        },
      },
    ],
  },
});
