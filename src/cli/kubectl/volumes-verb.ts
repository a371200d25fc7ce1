import { formatAge, MARK_MEANINGS } from '../../core/volumes/cluster-volumes.ts';
import { formatBytes } from '../../core/kube-text/quantity.ts';
import { renderTable } from '../../runtime/text-table.ts';
import { readOverview, type VolumeRow } from './overview.ts';
import { type ClusterVerb, renderHidden, writeOutput } from './verb.ts';

export const volumesVerb: ClusterVerb = {
  summary: 'List volumes and snapshots, with a mark on those that need attention',
  description:
    'Lists volumes and snapshots with their claims, nodes, pools and sizes, and marks those that need ' +
    'attention. All namespaces without -n.',
  async run(context) {
    const { reader, client, systemNamespace, nowMs, givenNamespace } = context;
    const { volumes } = await readOverview({ systemNamespace, nowMs }, { client, reader });
    const shown = volumes.filter(
      ({ namespace }) => givenNamespace === undefined || namespace === givenNamespace,
    );
    const { hidden } = reader;
    writeOutput(
      context,
      { volumes: shown, hidden },
      (wide) => renderVolumes(shown, wide) + renderHidden(hidden),
    );
    return true;
  },
};

/** Returns volumes as a table; `wide` adds their objects and handles. */
function renderVolumes(volumes: readonly VolumeRow[], wide: boolean): string {
  if (volumes.length === 0) return 'no volumes found\n';
  const header = ['NAMESPACE', 'CLAIM', 'NODE', 'POOL', 'SIZE', 'PHASE', 'MARK', 'SNAPSHOTS', 'AGE'];
  const rows = volumes.map((volume) => [
    volume.namespace ?? '-',
    volume.type === 'Snapshot' ? `${volume.claim ?? '-'} (snapshot)` : (volume.claim ?? '-'),
    volume.node,
    volume.pool,
    formatBytes(volume.sizeBytes),
    volume.phase,
    volume.mark ?? '-',
    volume.type === 'Snapshot' ? '-' : String(volume.snapshots),
    formatAge(volume.ageSeconds),
    ...(wide
      ? [
          volume.name,
          volume.persistentVolume ?? '-',
          volume.reclaimPolicy ?? '-',
          volume.handle ?? '-',
          volume.source ?? '-',
        ]
      : []),
  ]);
  const more = wide ? ['LOCALVOLUME', 'PERSISTENTVOLUME', 'RECLAIM', 'HANDLE', 'SOURCE'] : [];
  const marked = volumes.flatMap(({ name, mark, message }) =>
    mark === undefined
      ? []
      : [`${name} is ${mark}: ${MARK_MEANINGS[mark]}${message === '' ? '' : ` (${message})`}\n`],
  );
  const legend = marked.length === 0 ? '' : `\n${marked.join('')}`;
  return `${renderTable([...header, ...more], rows)}${legend}`;
}
