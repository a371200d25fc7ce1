import { describe, expect, test } from 'vitest';
import { containerdConfigToml, containerdMajorVersion } from './containerd-config.ts';

const config = {
  rootDir: '/d/root',
  stateDir: '/d/state',
  socketPath: '/d/c.sock',
  runc: 'runc',
  cniBinDir: '/opt/keelson/cni',
  cniConfDir: '/d/net.d',
  sandboxImage: 'example.dev/pause:1',
  logLevel: 'info',
} as const;

describe('containerdConfigToml', () => {
  test('a 1.x daemon gets version 2 with one CRI plugin', () => {
    const toml = containerdConfigToml(config, 1);
    expect(toml).toMatch(/^version = 2$/m);
    expect(toml).toContain('[plugins."io.containerd.grpc.v1.cri"]\nrestrict_oom_score_adj = true\n');
    expect(toml).toMatch(/^sandbox_image = "example.dev\/pause:1"$/m);
    expect(toml).toMatch(/^bin_dir = "\/opt\/keelson\/cni"$/m);
  });

  test('a 2.x daemon gets version 3 with images and runtime apart, and without NRI', () => {
    const toml = containerdConfigToml(config, 2);
    expect(toml).toMatch(/^version = 3$/m);
    expect(toml).toContain(
      '[plugins."io.containerd.cri.v1.images".pinned_images]\nsandbox = "example.dev/pause:1"\n',
    );
    expect(toml).toMatch(/^bin_dirs = \["\/opt\/keelson\/cni"\]$/m);
    expect(toml).toContain('[plugins."io.containerd.nri.v1.nri"]\ndisable = true\n');
    expect(toml).not.toContain('sandbox_image');
  });

  test.each([1, 2])('every path of a %i.x daemon is its own', (major) => {
    const paths = containerdConfigToml(config, major)
      .split('\n')
      .flatMap((line) => /^(?:root|state|address|path|Root|conf_dir) = "(.*)"$/.exec(line)?.[1] ?? []);
    expect(paths).toHaveLength(6);
    expect(paths.filter((path) => !path.startsWith('/d/'))).toEqual([]);
  });
});

test.each([
  ['containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3', 1],
  ['containerd github.com/containerd/containerd/v2 v2.4.2 1c4457e', 2],
  ['containerd github.com/containerd/containerd/v2 2.0.0+unknown', 2],
  ['something else', undefined],
])('the version line %j names release %s', (line, major) => {
  expect(containerdMajorVersion(line)).toBe(major);
});
