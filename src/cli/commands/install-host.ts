import { join } from 'node:path';
import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { installRelease, removeReleases } from '../../../node-agent/host/release.ts';
import { VERSION } from '../../version.ts';
import type { CliContext } from '../context.ts';

/** Creates `keelson install-host`. */
export function installHostCommand({ stdout }: CliContext): CommandUnknownOpts {
  return new Command()
    .requiredOption('--root <dir>', 'root directory of the host, e.g. /host')
    .option('--remove', 'remove all releases and the units instead', false)
    .action(async ({ root, remove }) => {
      // As in the image and in a checkout.
      const units = join(import.meta.dirname, '../deploy/systemd');
      const target = join(root, 'opt/keelson');
      if (remove) {
        await removeReleases({ root, units });
        stdout.write(`removed ${target} and the systemd units\n`);
        return;
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
        `installed keelson ${VERSION} in ${target}; to start the CRI proxy, run on the host:\n` +
          '  systemctl daemon-reload\n' +
          '  systemctl enable --now keelson-cri-proxy.socket keelson-cri-proxy.service\n' +
          'docs/operate/host.md describes an agent without a pod\n',
      );
    });
}
