/** The driver's name: of StorageClasses, CSINode entries and the registration socket. */
export const DRIVER_NAME = 'keelson.dev';
/** Topology segment of a node: volumes are usable where it matches. */
export const TOPOLOGY_KEY = 'topology.keelson.dev/node';
