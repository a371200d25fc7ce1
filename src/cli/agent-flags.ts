import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { type AgentConfig, parseAgentConfig } from '../core/config/agent-config.ts';
import { Fault } from '../core/fault.ts';

/** Flags that say how an agent is configured; `readAgentConfig` makes a configuration of their values. */
export const AGENT_FLAGS = {
  config: { type: 'string' },
  'state-dir': { type: 'string' },
  'run-dir': { type: 'string' },
  'node-name': { type: 'string' },
  'kubelet-dir': { type: 'string' },
  'log-level': { type: 'string' },
  'metrics-address': { type: 'string' },
  'pod-range': { type: 'string', multiple: true },
} as const;

export type AgentFlagValues = {
  readonly [F in keyof typeof AGENT_FLAGS]?: F extends 'pod-range'
    ? string[] | undefined
    : string | undefined;
};

/** The configuration that the flags and the file they name describe. Throws `invalid`, also when the file cannot be read. */
export async function readAgentConfig(flags: AgentFlagValues): Promise<AgentConfig> {
  const { config: file } = flags;
  return parseAgentConfig({
    text: file === undefined ? undefined : await readConfigFile(file),
    document: file ?? 'the command line',
    hostname: hostname().toLowerCase(),
    overrides: {
      stateDir: flags['state-dir'],
      runDir: flags['run-dir'],
      nodeName: flags['node-name'],
      kubeletDir: flags['kubelet-dir'],
      logLevel: flags['log-level'],
      metricsAddress: flags['metrics-address'],
      podRanges: flags['pod-range'],
    },
  });
}

async function readConfigFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const reason = Fault.from(error).fields['errno'] ?? 'unknown error';
    throw new Fault('invalid', `--config ${file} cannot be read: ${String(reason)}`, { cause: error });
  }
}
