import { Fault } from '../../src/core/fault.ts';
import type { Api } from './describe-proto.ts';

/**
 * What our proto keeps of CSI up to 1.12, where 1.13 reserves the number. Everything else must be
 * equal to the reference.
 */
const MESSAGE = 'csi.v1.VolumeCondition';
const FIELD = { name: 'volume_condition', number: 2 };
const FIELD_OF = [
  'csi.v1.ListVolumesResponse.VolumeStatus',
  'csi.v1.ControllerGetVolumeResponse.VolumeStatus',
  'csi.v1.NodeGetVolumeStatsResponse',
];
const VALUE = 'VOLUME_CONDITION';
const VALUE_OF: Readonly<Record<string, number>> = {
  'csi.v1.ControllerServiceCapability.RPC.Type': 11,
  'csi.v1.NodeServiceCapability.RPC.Type': 4,
};

/**
 * The same proto with the numbers of those reserved. Throws when one of them is not there, or is
 * another.
 */
export function withoutOlderCsi(api: Api): Api {
  const { [MESSAGE]: condition, ...messages }: Record<string, Api['messages'][string]> = api.messages;
  require(condition !== undefined, MESSAGE);
  const enums = { ...api.enums };
  for (const owner of FIELD_OF) {
    const message = messages[owner];
    require(message?.fields[FIELD.name]?.number === FIELD.number, `${owner}.${FIELD.name}`);
    const fields = Object.entries(message.fields).filter(([name]) => name !== FIELD.name);
    const reserved = [...message.reserved, [FIELD.number, FIELD.number]];
    messages[owner] = { ...message, fields: Object.fromEntries(fields), reserved };
  }
  for (const [owner, number] of Object.entries(VALUE_OF)) {
    const type = enums[owner];
    require(type?.values[VALUE] === number, `${owner}.${VALUE}`);
    const values = Object.entries(type.values).filter(([name]) => name !== VALUE);
    enums[owner] = {
      ...type,
      values: Object.fromEntries(values),
      reserved: [...type.reserved, [number, number]],
    };
  }
  return { ...api, messages, enums };
}

function require(isThere: boolean, what: string): asserts isThere {
  if (!isThere) throw new Fault('bug', `our csi.proto has no ${what} with the number of CSI 1.12`);
}
