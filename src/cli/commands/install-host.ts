import { join } from 'node:path';
import { installRelease, removeReleases } from '../../../node-agent/host/release.ts';
import { Fault } from '../../core/fault.ts';
import { type Command, parseFlags } from '../command.ts';
import { VERSION } from '../../version.ts';

const usage = 'keelson install-host --root DIR [--remove]';

export const installHostCommand: Command = {
  summary: 'put this release and its systemd units on a host: the CRI proxy, the agent without a pod',
  usage,
  async run({ args, stdout }) {
    const flags = parseFlags(
      args,
      { root: { type: 'string' }, remove: { type: 'boolean', default: false } },
      usage,
    );
    const { root } = flags;
    if (root === undefined) throw new Fault('invalid', `--root must be given\nusage: ${usage}`);
    // As the image and a checkout have them.
    const units = join(import.meta.dirname, '../deploy/systemd');
    if (flags.remove) {
      await removeReleases({ root, units });
      stdout.write(`removed ${join(root, 'opt/keelson')} and the units\n`);
      return 0;
    }
    await installRelease({
      root,
      version: VERSION,
      node: process.execPath,
      dist: import.meta.dirname,
      modules: join(import.meta.dirname, '../node_modules'),
      units,
    });
    stdout.write(
      `keelson ${VERSION} is in ${join(root, 'opt/keelson')}; on the host: systemctl daemon-reload, and then ` +
        'systemctl enable --now keelson-cri-proxy.socket keelson-cri-proxy.service for the proxy; docs/host.md for an agent\n',
    );
    return 0;
  },
};
