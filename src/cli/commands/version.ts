import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { INTERFACES, VERSION } from '../../version.ts';
import type { CliContext } from '../context.ts';
import { formatOutput, outputOption } from '../output/output.ts';

/** Creates `keelson version`. */
export function versionCommand({ stdout }: CliContext): CommandUnknownOpts {
  return new Command().addOption(outputOption()).action(({ output }) => {
    const facts = { version: VERSION, node: process.version, ...INTERFACES };
    const { csi, cni, cri } = INTERFACES;
    stdout.write(
      formatOutput(
        output,
        facts,
        () => `keelson ${VERSION} (Node ${process.version}, CSI ${csi}, CNI ${cni}, CRI ${cri})\n`,
      ),
    );
  });
}
