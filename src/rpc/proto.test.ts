import { describe, expect, it } from 'vitest';
import { loadProto } from './proto.ts';

const { Controller, Node } = loadProto('csi').csi.v1;
const { RuntimeService } = loadProto('cri').runtime.v1;

describe('decoded messages', () => {
  it('hold 64-bit integers as decimal strings, beyond what a double can hold', () => {
    const { requestSerialize, requestDeserialize } = Controller.service.CreateVolume;
    const bytes = requestSerialize({ capacity_range: { required_bytes: '9007199254740993' } });
    expect(requestDeserialize(bytes).capacity_range).toEqual({
      required_bytes: '9007199254740993',
      limit_bytes: '0',
    });
  });

  it('hold enums by name, and by number when this version does not know them', () => {
    const { requestDeserialize } = Controller.service.ValidateVolumeCapabilities;
    // volume_capabilities { access_mode { mode: 1 } } and { mode: 99 }
    const bytes = Buffer.from('1a041a0208011a041a020863', 'hex');
    expect(requestDeserialize(bytes).volume_capabilities.map((one) => one.access_mode?.mode)).toEqual([
      'SINGLE_NODE_WRITER',
      99,
    ]);
  });

  it('have every field, null for an absent message, and the chosen name of a oneof', () => {
    const { requestSerialize, requestDeserialize } = Node.service.NodeStageVolume;
    expect(requestDeserialize(requestSerialize({ volume_capability: { block: {} } }))).toEqual({
      volume_id: '',
      publish_context: {},
      staging_target_path: '',
      volume_capability: { block: {}, access_type: 'block', access_mode: null },
      secrets: {},
      volume_context: {},
    });
  });

  it('tell a condition where kubelets of CSI 1.9 read it', () => {
    const condition = { abnormal: true, message: 'x' };
    const hex = (bytes: Buffer): string => bytes.toString('hex');
    // Field 2: { 1: true, 2: "x" }.
    const field = '12050801120178';
    expect(hex(Node.service.NodeGetVolumeStats.responseSerialize({ volume_condition: condition }))).toBe(
      field,
    );
    const status = { volume_condition: condition };
    const { ControllerGetVolume, ListVolumes } = Controller.service;
    expect(hex(ControllerGetVolume.responseSerialize({ status }))).toBe(`1207${field}`);
    expect(hex(ListVolumes.responseSerialize({ entries: [{ status }] }))).toBe(`0a091207${field}`);
    const node = Node.service.NodeGetCapabilities.responseSerialize({
      capabilities: [{ rpc: { type: 'VOLUME_CONDITION' } }],
    });
    const controller = Controller.service.ControllerGetCapabilities.responseSerialize({
      capabilities: [{ rpc: { type: 'VOLUME_CONDITION' } }],
    });
    expect([hex(node), hex(controller)]).toEqual(['0a040a020804', '0a040a02080b']);
  });

  it('keep environment values that are not UTF-8', () => {
    const { requestSerialize, requestDeserialize } = RuntimeService.service.CreateContainer;
    const value = Buffer.from([0xff, 0x00, 0xfe]);
    const bytes = requestSerialize({ config: { envs: [{ key: 'RAW', value }] } });
    expect(requestDeserialize(bytes).config?.envs).toEqual([{ key: 'RAW', value }]);
  });
});

describe('services', () => {
  it('have the paths that peers call', () => {
    expect(Controller.service.CreateVolume.path).toBe('/csi.v1.Controller/CreateVolume');
    expect(RuntimeService.service.GetContainerEvents).toMatchObject({
      path: '/runtime.v1.RuntimeService/GetContainerEvents',
      requestStream: false,
      responseStream: true,
    });
    expect(loadProto('pluginregistration').pluginregistration.Registration.service.GetInfo.path).toBe(
      '/pluginregistration.Registration/GetInfo',
    );
  });
});
