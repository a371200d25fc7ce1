import { CSI_DRIVERS, LEASES, SERVICE_ACCOUNTS } from '../../kube/built-in.ts';
import type { Resource } from '../../kube/resource.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import { describeMissing } from '../../preflight/preflight.ts';
import { renderTable } from '../../runtime/text-table.ts';
import { findAccessGaps } from './access-gaps.ts';
import { checkCluster, type InstalledKind } from './checks.ts';
import { readOverview } from './overview.ts';
import { type ClusterVerb, notSeen, writeAnswer } from './verb.ts';

const CRDS: Resource<InstalledKind> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};

export const doctorVerb: ClusterVerb = {
  usage: 'doctor',
  summary:
    'checks all that Keelson needs of the cluster and has left in it; exit code 1 if anything is wrong',
  async run(context) {
    const { reader, client, systemNamespace, nowMs } = context;
    const [overview, kinds, driver, nodeLeases, accounts] = await Promise.all([
      readOverview({ systemNamespace, nowMs }, { client, reader }),
      reader.list(CRDS),
      reader.find(CSI_DRIVERS, { name: DRIVER_NAME }),
      reader.list(LEASES, { namespace: 'kube-node-lease' }),
      reader.list(SERVICE_ACCOUNTS, { namespace: systemNamespace }),
    ]);
    const access = await findAccessGaps(
      accounts.map(({ metadata }) => metadata?.name ?? ''),
      systemNamespace,
      client,
    );
    const findings = checkCluster({ overview, kinds, driver, nodeLeases, access, nowMs });
    const ok = findings.every((finding) => finding.ok);
    const { hidden } = reader;
    writeAnswer(context, { ok, findings, hidden }, () => {
      const rows = findings.map(({ check, ok: holds, found }) => [holds ? 'ok' : 'WRONG', check, found]);
      return `${renderTable(['', 'CHECK', 'FOUND'], rows)}${ok ? '' : `\n${describeMissing(findings)}`}${notSeen(hidden)}`;
    });
    // What could not be looked at is not known to be right.
    return ok && hidden.length === 0 ? 0 : 1;
  },
};
