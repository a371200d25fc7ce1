/** Name of the CSI driver: in StorageClasses, CSINode and the registration socket. */
export const DRIVER_NAME = 'keelson.dev';
/** Topology key of a node: a volume is usable only on the node of its segment. */
export const TOPOLOGY_KEY = 'topology.keelson.dev/node';
