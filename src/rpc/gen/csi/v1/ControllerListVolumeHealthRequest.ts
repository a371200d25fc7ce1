// Original file: proto/csi/v1/csi.proto


export interface ControllerListVolumeHealthRequest {
  'max_entries'?: (number);
  'starting_token'?: (string);
  'secrets'?: ({[key: string]: string});
}

export interface ControllerListVolumeHealthRequest__Output {
  'max_entries': (number);
  'starting_token': (string);
  'secrets': ({[key: string]: string});
}
