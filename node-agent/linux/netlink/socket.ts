import { Fault, type FaultKind } from '../../../src/core/fault.ts';
import { checked, libc, SysError } from '../libc/libc.ts';
import { concatenate, LITTLE_ENDIAN, viewOf } from './attributes.ts';
import * as k from './constants.ts';
import {
  decodeAcknowledgement,
  decodeMessages,
  encodeRequest,
  type Message,
  type Request,
} from './message.ts';

const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const MSG_TRUNC = 0x20;
/** Limits a receive: the kernel queues its answer before send(2) returns. */
const RECEIVE_TIMEOUT_S = 10;
/** Dump datagrams have at most 32 KiB (NLMSG_GOODSIZE and netlink_dump). */
const BUFFER_BYTES = 64 * 1024;
const DUMP_ATTEMPTS = 8;

/** A refused request of a batch. */
export class NetlinkFault extends Fault {
  readonly errno: number;

  constructor(request: Request, errno: number, kernelSays: string | undefined) {
    const { code } = new SysError('netlink', errno);
    const detail = kernelSays === undefined ? '' : ` (${kernelSays})`;
    super(KIND_BY_CODE[code] ?? 'precondition', `${request.what}: the kernel answered ${code}${detail}`, {
      fields: { errno: code },
    });
    this.errno = errno;
  }
}

const KIND_BY_CODE: Readonly<Record<string, FaultKind>> = {
  ENODEV: 'not-found',
  ENOENT: 'not-found',
  ESRCH: 'not-found',
  EEXIST: 'conflict',
  EBUSY: 'busy',
  EPERM: 'denied',
  EACCES: 'denied',
  ENOBUFS: 'unavailable',
  ENOMEM: 'unavailable',
  EOPNOTSUPP: 'unsupported',
  EAFNOSUPPORT: 'unsupported',
};

/**
 * A routing netlink socket, bound to the network namespace in which its thread opened it, so it can
 * be used from any namespace later. All methods but `submit` block: for kernel workers.
 */
export class RouteSocket implements Disposable {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #sequence = 0;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  static open(): RouteSocket {
    const fd = checked(
      libc.socket(k.AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_ROUTE) as number,
      'socket',
      'netlink',
    );
    const on = new Uint8Array(4);
    viewOf(on).setUint32(0, 1, LITTLE_ENDIAN);
    const timeout = new Uint8Array(16);
    viewOf(timeout).setBigInt64(0, BigInt(RECEIVE_TIMEOUT_S), LITTLE_ENDIAN);
    try {
      for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK]) {
        checked(libc.setsockopt(fd, SOL_NETLINK, option, on, on.length) as number, 'setsockopt', 'netlink');
      }
      checked(
        libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, timeout.length) as number,
        'setsockopt',
        'SO_RCVTIMEO',
      );
    } catch (error) {
      libc.close(fd);
      throw error;
    }
    return new RouteSocket(fd);
  }

  [Symbol.dispose](): void {
    libc.close(this.#fd);
  }

  /**
   * Sends all requests in one datagram and reads all answers. The kernel continues after a refused
   * request, so the caller undoes the whole batch. Throws the first refusal. Returns messages other
   * than acknowledgements (of `getLink`).
   */
  execute(requests: readonly Request[]): readonly Message[] {
    if (requests.length === 0) return [];
    const { data, refusals } = this.#collect(this.#send(requests), requests);
    const [refusal] = refusals;
    if (refusal !== undefined) throw refusal;
    return data;
  }

  /**
   * Sends as `execute` does, but waits in Node's thread pool, so the main thread may use it.
   * Returns all refusals. One call at a time per socket.
   */
  async submit(requests: readonly Request[]): Promise<readonly NetlinkFault[]> {
    const first = this.#sequence + 1;
    const datagram = this.#encode(requests);
    const sent = await new Promise<number>((resolve, reject) => {
      libc.send.async(
        this.#fd,
        datagram,
        datagram.length,
        0,
        (error: Error | null, result: bigint | number) => {
          if (error === null) resolve(Number(result));
          else reject(error);
        },
      );
    });
    if (sent !== datagram.length)
      throw new Fault('unavailable', 'the kernel does not accept netlink requests');
    // The answers were queued before send(2) returned: reading does not block.
    return this.#collect(first, requests).refusals;
  }

  #collect(first: number, requests: readonly Request[]): { data: Message[]; refusals: NetlinkFault[] } {
    const data: Message[] = [];
    const refusals: NetlinkFault[] = [];
    for (let answered = 0; answered < requests.length; ) {
      for (const message of this.#receive()) {
        const request = requests[message.sequence - first];
        if (request === undefined) continue;
        if (message.type !== k.NLMSG_ERROR) {
          // Copied, because the receive buffer is reused.
          data.push({ ...message, payload: message.payload.slice() });
          continue;
        }
        answered += 1;
        const { errno, message: kernelSays } = decodeAcknowledgement(message);
        if (errno !== 0) refusals.push(new NetlinkFault(request, errno, kernelSays));
      }
    }
    return { data, refusals };
  }

  /** Reads a complete dump, and repeats one that changed meanwhile (NLM_F_DUMP_INTR). */
  dump(request: Request): readonly Message[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt += 1) {
      const { messages, interrupted } = this.#dumpOnce(request);
      if (!interrupted) return messages;
    }
    throw new Fault('busy', `${request.what}: the state changed during each of ${DUMP_ATTEMPTS} dumps`);
  }

  #dumpOnce(request: Request): { readonly messages: Message[]; readonly interrupted: boolean } {
    const sequence = this.#send([request]);
    const messages: Message[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of this.#receive()) {
        if (message.sequence !== sequence) continue;
        if ((message.flags & k.NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type === k.NLMSG_DONE) return { messages, interrupted };
        if (message.type === k.NLMSG_ERROR) {
          const { errno, message: kernelSays } = decodeAcknowledgement(message);
          throw new NetlinkFault(request, errno, kernelSays);
        }
        messages.push({ ...message, payload: message.payload.slice() });
      }
    }
  }

  #send(requests: readonly Request[]): number {
    const first = this.#sequence + 1;
    const datagram = this.#encode(requests);
    checked(Number(libc.send(this.#fd, datagram, datagram.length, 0)), 'send', 'netlink');
    return first;
  }

  /** Numbers and concatenates the requests. */
  #encode(requests: readonly Request[]): Uint8Array {
    return concatenate(requests.map((request) => encodeRequest(request, ++this.#sequence)));
  }

  #receive(): readonly Message[] {
    const length = this.#receiveBytes();
    if (length > this.#buffer.length) {
      throw new Fault('bug', `netlink datagram of ${length} bytes exceeds the buffer`);
    }
    return decodeMessages(this.#buffer.subarray(0, length));
  }

  #receiveBytes(): number {
    for (;;) {
      try {
        return checked(
          Number(libc.recv(this.#fd, this.#buffer, this.#buffer.length, MSG_TRUNC)),
          'recv',
          'netlink',
        );
      } catch (error) {
        if (!(error instanceof SysError && error.code === 'EINTR')) throw error;
      }
    }
  }
}
