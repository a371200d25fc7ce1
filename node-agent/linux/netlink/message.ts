import { Fault } from '../../../src/core/fault.ts';
import {
  align,
  type Attribute,
  concatenate,
  decodeAttributes,
  encodeAttributes,
  LITTLE_ENDIAN,
  readText,
  readU32,
  viewOf,
} from './attributes.ts';
import {
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_ERROR,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
} from './constants.ts';

const HEADER_BYTES = 16;

/** A request without its sequence number. */
export interface Request {
  /** Describes the request in errors: `adding route 10.88.0.2/32`. */
  readonly what: string;
  readonly type: number;
  readonly flags: number;
  /** The fixed structure of the message type (ifinfomsg, ifaddrmsg, rtmsg, ndmsg). */
  readonly body: Uint8Array;
  readonly attributes: readonly Attribute[];
}

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** The kernel's acknowledgement of one request; errno 0 is success. */
interface Acknowledgement {
  readonly errno: number;
  /** The kernel's message and offending offset, if it sent them (extended ACK). */
  readonly message: string | undefined;
  readonly offset: number | undefined;
}

export function encodeRequest(request: Request, sequence: number): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  const bytes = concatenate([header, request.body, encodeAttributes(request.attributes)]);
  const view = viewOf(bytes);
  view.setUint32(0, bytes.length, LITTLE_ENDIAN);
  view.setUint16(4, request.type, LITTLE_ENDIAN);
  view.setUint16(6, request.flags, LITTLE_ENDIAN);
  view.setUint32(8, sequence, LITTLE_ENDIAN);
  return bytes;
}

/** Splits a datagram into messages. Throws `bug` for a malformed length. */
export function decodeMessages(bytes: Uint8Array): readonly Message[] {
  const messages: Message[] = [];
  const view = viewOf(bytes);
  for (let offset = 0; offset + HEADER_BYTES <= bytes.length; ) {
    const length = view.getUint32(offset, LITTLE_ENDIAN);
    if (length < HEADER_BYTES || offset + length > bytes.length) {
      throw new Fault('bug', `netlink message at ${offset} claims ${length} of ${bytes.length} bytes`);
    }
    messages.push({
      type: view.getUint16(offset + 4, LITTLE_ENDIAN),
      flags: view.getUint16(offset + 6, LITTLE_ENDIAN),
      sequence: view.getUint32(offset + 8, LITTLE_ENDIAN),
      payload: bytes.subarray(offset + HEADER_BYTES, offset + length),
    });
    offset += align(length);
  }
  return messages;
}

/**
 * Parses NLMSG_ERROR: errno, the request's header (the whole request unless capped), and extended
 * ACK attributes.
 */
export function decodeAcknowledgement({ type, flags, payload }: Message): Acknowledgement {
  if (type !== NLMSG_ERROR) throw new Fault('bug', `netlink message type ${type} is not an acknowledgement`);
  const view = viewOf(payload);
  const errno = Math.abs(view.getInt32(0, LITTLE_ENDIAN));
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, message: undefined, offset: undefined };
  const capped = (flags & NLM_F_CAPPED) !== 0;
  const echoed = capped ? HEADER_BYTES : align(view.getUint32(4, LITTLE_ENDIAN));
  const attributes = decodeAttributes(payload.subarray(4 + echoed));
  return {
    errno,
    message: readText(attributes.get(NLMSGERR_ATTR_MSG)),
    offset: readU32(attributes.get(NLMSGERR_ATTR_OFFS)),
  };
}
