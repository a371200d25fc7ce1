import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { type AgentConfig, parseAgentConfig } from '../core/config/agent-config.ts';
import { Fault } from '../core/fault.ts';

/** Options of several commands that describe an agent. */
export const AGENT_OPTION = {
  config: ['--config <file>', 'configuration file of the agent'],
  stateDir: ['--state-dir <dir>', 'directory of pools and volume records; overrides the configuration'],
  runDir: ['--run-dir <dir>', 'directory of sockets, on tmpfs; overrides the configuration'],
  logLevel: ['--log-level <level>', 'trace, debug, info, warn, error or silent'],
} as const;

export interface AgentOptions {
  readonly config?: string | undefined;
  readonly stateDir?: string | undefined;
  readonly runDir?: string | undefined;
  readonly nodeName?: string | undefined;
  readonly kubeletDir?: string | undefined;
  readonly logLevel?: string | undefined;
  readonly metricsAddress?: string | undefined;
  readonly podRange?: string[] | undefined;
}

/**
 * Returns the configuration of the file `config` with the options over it. Rejects with `invalid`.
 */
export async function readAgentConfig({
  config: file,
  podRange,
  ...options
}: AgentOptions): Promise<AgentConfig> {
  return parseAgentConfig({
    text: file === undefined ? undefined : await readConfigFile(file),
    document: file ?? 'the command line',
    hostname: hostname().toLowerCase(),
    overrides: {
      stateDir: options.stateDir,
      runDir: options.runDir,
      nodeName: options.nodeName,
      kubeletDir: options.kubeletDir,
      logLevel: options.logLevel,
      metricsAddress: options.metricsAddress,
      podRanges: podRange,
    },
  });
}

async function readConfigFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const reason = Fault.from(error).fields['errno'] ?? 'unknown error';
    throw new Fault('invalid', `cannot read --config ${file}: ${String(reason)}`, { cause: error });
  }
}
