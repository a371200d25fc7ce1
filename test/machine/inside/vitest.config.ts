import { defineConfig } from 'vitest/config';

/**
 * For tests that run in an emulated machine, where the repository is read-only and every second is
 * ten.
 */
export default defineConfig({
  cacheDir: '/var/tmp/vite',
  test: {
    include: ['test/machine/inside/**/*.test.ts', 'test/conformance/csi-sanity.test.ts'],
    reporters: ['verbose'],
    cache: false,
    // Node reads TypeScript by itself; to have every module transformed would take minutes.
    experimental: { viteModuleRunner: false, nodeLoader: false },
    fileParallelism: false,
    testTimeout: 1_200_000,
    hookTimeout: 1_200_000,
  },
});
