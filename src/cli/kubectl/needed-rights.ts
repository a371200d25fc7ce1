/** One permission. */
export interface Right {
  readonly verb: string;
  readonly group: string;
  /** Plural, with a subresource: `nodes/status`. */
  readonly resource: string;
  /** `resourceNames`; undefined for all objects. */
  readonly name: string | undefined;
  /** In Keelson's namespace only, by a Role; otherwise by a ClusterRole. */
  readonly isOwnNamespace: boolean;
}

const READ = ['get', 'list', 'watch'] as const;
const FOLLOW = ['list', 'watch'] as const;

/** Permissions of each service account; equal to deploy/rbac.yaml, which a test compares. */
export const NEEDED_RIGHTS: Readonly<Record<string, readonly Right[]>> = {
  'keelson-controller': [
    ...rights('', 'persistentvolumeclaims', [...READ, 'patch']),
    ...rights('', 'persistentvolumeclaims/status', ['patch']),
    ...rights('', 'persistentvolumes', [...READ, 'create', 'patch', 'delete']),
    ...rights('storage.k8s.io', 'storageclasses', READ),
    ...rights('storage.k8s.io', 'volumeattributesclasses', READ),
    ...rights('keelson.dev', 'localvolumes', [...READ, 'create', 'patch', 'delete']),
    ...rights('keelson.dev', 'localvolumes/status', ['patch']),
    ...rights('snapshot.storage.k8s.io', 'volumesnapshotclasses', READ),
    ...rights('snapshot.storage.k8s.io', 'volumesnapshots', [...READ, 'create', 'patch', 'delete']),
    ...rights('snapshot.storage.k8s.io', 'volumesnapshots/status', ['patch']),
    ...rights('snapshot.storage.k8s.io', 'volumesnapshotcontents', [...READ, 'create', 'patch', 'delete']),
    ...rights('snapshot.storage.k8s.io', 'volumesnapshotcontents/status', ['patch']),
    ...rights('groupsnapshot.storage.k8s.io', 'volumegroupsnapshotclasses', READ),
    ...rights('groupsnapshot.storage.k8s.io', 'volumegroupsnapshots', [...READ, 'patch']),
    ...rights('groupsnapshot.storage.k8s.io', 'volumegroupsnapshots/status', ['patch']),
    ...rights('groupsnapshot.storage.k8s.io', 'volumegroupsnapshotcontents', [
      ...READ,
      'create',
      'patch',
      'delete',
    ]),
    ...rights('groupsnapshot.storage.k8s.io', 'volumegroupsnapshotcontents/status', ['patch']),
    ...rights('coordination.k8s.io', 'leases', FOLLOW, { name: 'snapshot-controller-leader' }),
    ...rights('keelson.dev', 'nodeinventories', [...READ, 'delete']),
    // The condition of an unresponsive agent.
    ...rights('keelson.dev', 'nodeinventories/status', ['patch']),
    // The agents' pods.
    ...rights('', 'pods', FOLLOW, { isOwnNamespace: true }),
    ...rights('', 'nodes', [...READ, 'patch']),
    ...rights('', 'nodes/status', ['patch']),
    ...['networkpools', 'nodelabelrules', 'runtimepolicies', 'storagepools'].flatMap((plural) => [
      ...rights('keelson.dev', plural, READ),
      ...rights('keelson.dev', `${plural}/status`, ['patch']),
    ]),
    // The finalizer.
    ...rights('keelson.dev', 'storagepools', ['patch']),
    ...rights('events.k8s.io', 'events', ['create', 'patch']),
    ...rights('coordination.k8s.io', 'leases', ['create'], { isOwnNamespace: true }),
    ...rights('coordination.k8s.io', 'leases', ['get', 'update'], {
      name: 'keelson-controller',
      isOwnNamespace: true,
    }),
    ...rights('storage.k8s.io', 'csistoragecapacities', [...FOLLOW, 'create', 'patch', 'delete'], {
      isOwnNamespace: true,
    }),
  ],
  'keelson-agent': [
    ...rights('keelson.dev', 'localvolumes', [...READ, 'patch']),
    ...rights('keelson.dev', 'localvolumes/status', ['patch']),
    ...rights('keelson.dev', 'nodeinventories', [...READ, 'create', 'patch']),
    ...rights('keelson.dev', 'nodeinventories/status', ['patch']),
    ...['networkpools', 'runtimepolicies', 'storagepools'].flatMap((plural) =>
      rights('keelson.dev', plural, READ),
    ),
    ...rights('', 'nodes', [...READ, 'patch']),
  ],
};

function rights(
  group: string,
  resource: string,
  verbs: readonly string[],
  { name, isOwnNamespace = false }: Partial<Pick<Right, 'name' | 'isOwnNamespace'>> = {},
): readonly Right[] {
  return verbs.map((verb) => ({ verb, group, resource, name, isOwnNamespace }));
}
