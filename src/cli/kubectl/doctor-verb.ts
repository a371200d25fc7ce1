import { CSI_DRIVERS, LEASES, SERVICE_ACCOUNTS } from '../../kube/built-in.ts';
import type { Resource } from '../../kube/resource.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import { renderFindings } from '../output/findings-text.ts';
import { findAccessGaps } from './access-gaps.ts';
import { checkCluster, type InstalledKind } from './checks.ts';
import { readOverview } from './overview.ts';
import { type ClusterVerb, renderHidden, writeOutput } from './verb.ts';

const CRDS: Resource<InstalledKind> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};

export const doctorVerb: ClusterVerb = {
  summary: 'Check the CRDs, the access, the agents, the clocks and the volumes of the cluster',
  description:
    'Checks the CRDs, the access of the service accounts, the controller, the agents, the clocks of nodes and ' +
    'the volumes. Exit code 1 if a check fails or cannot run.',
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
    writeOutput(
      context,
      { ok, findings, hidden },
      (wide) => renderFindings(findings, wide) + renderHidden(hidden),
    );
    // A check without its objects proves nothing.
    return ok && hidden.length === 0;
  },
};
