import { type Command, OUTPUT_FLAG, outputFormat, parseFlags } from '../command.ts';
import { INTERFACES, VERSION } from '../../version.ts';

const usage = 'keelson version [-o text|json]';

export const versionCommand: Command = {
  summary: 'release, Node and the interfaces it speaks',
  usage,
  async run({ args, stdout }) {
    const format = outputFormat(parseFlags(args, OUTPUT_FLAG, usage).output);
    const facts = { version: VERSION, node: process.version, ...INTERFACES };
    stdout.write(
      format === 'json'
        ? `${JSON.stringify(facts)}\n`
        : `keelson ${VERSION} (node ${process.version}, CSI ${INTERFACES.csi}, CNI ${INTERFACES.cni}, CRI ${INTERFACES.cri})\n`,
    );
    return 0;
  },
};
