// Original file: proto/csi/v1/csi.proto


export interface ControllerGetVolumeHealthRequest {
  'volume_id'?: (string);
  'secrets'?: ({[key: string]: string});
}

export interface ControllerGetVolumeHealthRequest__Output {
  'volume_id': (string);
  'secrets': ({[key: string]: string});
}
