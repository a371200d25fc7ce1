import { isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { Fault } from '../core/fault.ts';
import { type CommandOutput, type ProcessEnvironment, runCommand } from '../runtime/child-process.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import { type Credentials, cachedCredentials, type Identity } from './credentials.ts';

/** `users[].user.exec` of a kubeconfig: client-go credential plugins, client.authentication.k8s.io. */
export const execSchema = z.object({
  apiVersion: z.enum(['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1']),
  command: z.string().min(1),
  args: z.array(z.string()).nullish(),
  env: z.array(z.object({ name: z.string(), value: z.string() })).nullish(),
  installHint: z.string().nullish(),
  interactiveMode: z.enum(['Never', 'IfAvailable', 'Always']).nullish(),
  provideClusterInfo: z.boolean().nullish(),
});

export type ExecConfig = z.output<typeof execSchema>;

const answerSchema = z.object({
  status: z.object({
    token: z.string().optional(),
    clientCertificateData: z.string().optional(),
    clientKeyData: z.string().optional(),
    expirationTimestamp: z.string().optional(),
  }),
});

export interface ExecCredentialsOptions {
  readonly exec: ExecConfig;
  /** The kubeconfig's folder: a relative command with a slash starts there. */
  readonly directory: string;
  readonly env: ProcessEnvironment;
  /** Goes to a plugin that asks for it. */
  readonly cluster: { readonly server: string; readonly caPem?: string | undefined };
}

export interface ExecCredentialsDeps {
  readonly clock?: Clock;
  readonly run?: (
    file: string,
    args: readonly string[],
    options: { readonly env: ProcessEnvironment },
  ) => Promise<Pick<CommandOutput, 'stdout'>>;
}

/** Before its end a token is fetched anew, so that no request carries one that ends on the way. */
const EXPIRY_MARGIN_MS = 10_000;

/** What a credential plugin prints, kept until it expires. A plugin without an expiry runs again only after a refusal. */
export function execCredentials(
  { exec, directory, env, cluster }: ExecCredentialsOptions,
  { clock = systemClock, run = runCommand }: ExecCredentialsDeps = {},
): Credentials {
  if (exec.interactiveMode === 'Always') {
    throw new Fault(
      'unsupported',
      `the credential plugin ${exec.command} wants a terminal (interactiveMode: Always); log in with kubectl first, or use a token`,
    );
  }
  const file =
    exec.command.includes('/') && !isAbsolute(exec.command) ? join(directory, exec.command) : exec.command;
  return cachedCredentials(
    async () => {
      const { stdout } = await runPlugin();
      const { status } = parseAnswer(stdout, exec.command);
      const expiry = status.expirationTimestamp;
      const untilMs = expiry === undefined ? Number.POSITIVE_INFINITY : Date.parse(expiry) - EXPIRY_MARGIN_MS;
      return { identity: identityOf(status), untilMs };
    },
    { clock },
  );

  async function runPlugin(): Promise<Pick<CommandOutput, 'stdout'>> {
    const extra = Object.fromEntries((exec.env ?? []).map(({ name, value }) => [name, value]));
    const info = JSON.stringify(execInfo(exec, cluster));
    try {
      return await run(file, exec.args ?? [], {
        env: { ...env, ...extra, KUBERNETES_EXEC_INFO: info },
      });
    } catch (error) {
      const hint = exec.installHint ? `; ${exec.installHint}` : '';
      throw new Fault('unavailable', `the credential plugin ${exec.command} failed${hint}`, { cause: error });
    }
  }
}

function execInfo(exec: ExecConfig, cluster: ExecCredentialsOptions['cluster']): object {
  const data = cluster.caPem === undefined ? undefined : Buffer.from(cluster.caPem).toString('base64');
  return {
    apiVersion: exec.apiVersion,
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      ...(exec.provideClusterInfo === true
        ? { cluster: { server: cluster.server, 'certificate-authority-data': data } }
        : {}),
    },
  };
}

function parseAnswer(stdout: string, command: string): z.output<typeof answerSchema> {
  try {
    return answerSchema.parse(JSON.parse(stdout));
  } catch (error) {
    throw new Fault(
      'unavailable',
      `the credential plugin ${command} printed no ExecCredential with a status`,
      {
        cause: error,
      },
    );
  }
}

function identityOf(status: z.output<typeof answerSchema>['status']): Identity {
  const { token, clientCertificateData: cert, clientKeyData: key } = status;
  return {
    ...(token === undefined ? {} : { token }),
    ...(cert === undefined || key === undefined ? {} : { certificate: { cert, key } }),
  };
}
