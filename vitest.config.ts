import { defineConfig } from 'vitest/config';

// How long is allowed is no proof of speed: a test that passes takes as long as it takes, also on a machine that is busy with others.
/** For what other processes do, `expect.poll` waits as long; its own default of 1 s is a second of an idle machine. */
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
          testTimeout: 20_000,
          expect: { poll: { timeout: 15_000 } },
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
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
          fileParallelism: false,
        },
      },
    ],
  },
});
