import { Argument, Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { completionScript, SHELLS } from '../completion/scripts.ts';
import type { CliContext } from '../context.ts';

const LOADING = `
To load it in the current shell:
  bash  source <(keelson completion bash)
  zsh   source <(keelson completion zsh)
  fish  keelson completion fish | source

kubectl completes "kubectl keelson" through kubectl_complete-keelson, which must be on PATH beside kubectl-keelson.`;

/** Creates `keelson completion`. */
export function completionCommand({ stdout }: CliContext): CommandUnknownOpts {
  return new Command()
    .addArgument(new Argument('<shell>', 'shell').choices(SHELLS))
    .addHelpText('after', LOADING)
    .action((shell) => {
      stdout.write(completionScript(shell));
    });
}
