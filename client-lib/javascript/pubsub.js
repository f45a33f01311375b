/**
 * A client of the pubsub broker for Node, in one file: TCP, TLS and Unix sockets, promises and async iterators.
 *
 *     import { connect, Gap } from "pubsub-mps";
 *
 *     const client = await connect("tcp://127.0.0.1:7717");
 *     const readings = await client.subscribe("site/+/temp");
 *     await client.publish("site/a/temp", { t: 21.5 });
 *     for await (const item of readings) {
 *       if (item instanceof Gap) console.log(`lost: ${item}`);   // losses stand where they happened
 *       else console.log(item.topic, item.value);
 *     }
 *
 * A broken connection is made again (full jitter, several addresses); subscriptions and what was not acknowledged are sent
 * again. Every loss is an item of its subscription, between the messages where it happened. A slow reader is sent no more
 * than it has room for. Memory is bounded: a frame by `maxFrame`, what waits to be published by `outboxBytes`, what waits to
 * be read by `window` messages for each subscription; nothing is allocated because of a length that a peer merely claims.
 *
 * pubsub.d.ts says what every option means. The wire protocol is mps/1 (PROTOCOL.md).
 */
import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import net from "node:net";
import tls from "node:tls";
import { decode, encode } from "@msgpack/msgpack";

export const DEFAULT_URL = "tcp://127.0.0.1:7717";
export const Ack = Object.freeze({ NONE: 0, ROUTED: 1, STORED: 2, REPLICATED: 3 });

const VERSION = "0.1.0";
const MAX_FRAME_BYTES = (1 << 20) + 8192; // the largest payload that a broker allows by default, and the head around it
const HEAD_MAX_BYTES = 8192;              // of a frame, all but a payload: also what any frame but a MSG may be long
const NUMBER_MAX = Number.MAX_SAFE_INTEGER;
const SID_MAX = 2 ** 31 - 1;
const ITEMS_MAX = 65536;                  // losses and marks that may wait to be read, beside the messages
const ORPHANS_MAX = 1024;                 // messages that wait for a subscription which the program has not made yet
const REPLIES_MAX = 1024;                 // answers to one request that wait to be read
const WRITE_MAX_BYTES = 1 << 20;          // a peer that takes no answers is not read any more
const TIMER_MAX_MS = 2 ** 31 - 1;

const Op = { HELLO: 1, MSG: 2, PUB: 3, FOR: 4, ACK: 5, CREDIT: 6, GAP: 7, PUBACK: 8, SUB: 9, SUBACK: 10, UNSUB: 11, MARK: 12,
  PING: 13, PONG: 14, STAT: 15, AUTH: 18, WELCOME: 19, ERR: 20, BYE: 21, INFO: 22 };
const CLIENTS_ONLY = new Set([Op.HELLO, Op.PUB, Op.ACK, Op.CREDIT, Op.SUB, Op.UNSUB, Op.WELCOME]);
const MALFORMED = 101, UNKNOWN_OP = 103, LIMIT = 104, STATE = 105, AUTH_FAILED = 108, TAKEN_OVER = 109;
const FOR_GOOD = new Set([101, 102, 103, 104, 105, 106, 107, 108, 109, 117]); // a broker would say it again
const REASONS = ["connection_lost", "drop_old", "drop_new", "superseded", "expired", "retention", "offline_limit", "too_large",
  "max_tries", "broker_restarted", "blocked_too_long", "memory_budget", "damaged", "not_allowed_any_more",
  "between_brokers"];

// ---- errors ------------------------------------------------------------------------------------------------------

export class PubSubError extends Error {
  constructor(text, code = 0, options = undefined) {
    super(text, options);
    this.name = this.constructor.name;
    this.code = code;
  }
}
export class ConnectFailed extends PubSubError {}
export class ConnectionLost extends PubSubError {}
export class TimedOut extends PubSubError {}
export class Refused extends PubSubError {}
export class Nobody extends Refused {}
export class Closed extends PubSubError {}
export class AuthError extends Closed {}
export class TakenOver extends Closed {}
export class ProtocolError extends Closed {}
export class DocumentError extends PubSubError {}

function refusal(code, text) {
  return new (code === 217 ? Nobody : Refused)(text || `refused with code ${code}`, code);
}

// ---- what a program gets -----------------------------------------------------------------------------------------

export class Gap {
  constructor(count, reason, stream = null, first = null, last = null) {
    Object.assign(this, { count, reason, stream, first, last });
  }

  toString() {
    const where = this.stream === null ? "" : `, positions ${this.first} to ${this.last} of stream ${this.stream}`;
    return `${this.count ?? "an unknown number of"} messages (${REASONS[this.reason] ?? `reason ${this.reason}`}${where})`;
  }
}

export class Mark {
  constructor(kind) {
    this.kind = kind;
  }
}

export class Message {
  #subscription;

  constructor(fields, subscription = null) {
    Object.assign(this, fields);
    this.#subscription = subscription;
  }

  get isDocument() { return !this.props.has(3); }
  get value() {
    if (!this.isDocument)
      throw new DocumentError(`the payload is of content type ${JSON.stringify(this.props.get(3))}, not a msgpack document`);
    return readDocument(this.payload);
  }
  get headers() { return new Map([...this.props].filter(([key]) => typeof key === "string")); }
  get replyTo() { return this.props.get(1) ?? null; }
  get contentType() { return this.props.get(3) ?? null; }
  get key() { return this.props.get(6) ?? null; }

  ack() { this.#settle(1); }
  ackUpto() { this.#settle(0); }
  nack(delayMs = 0) { this.#settle(2, delayMs); }
  reject() { this.#settle(3); }

  #settle(kind, delayMs) {
    if (!this.#subscription?.hasAck) throw new TypeError("only messages of a subscription with ack can be acknowledged");
    if (this.stream !== null) this.#subscription.settle(this.stream, this.seq, kind, delayMs);
  }

  /** @internal for a message that came before its subscription was made */
  adopt(subscription) { this.#subscription = subscription; }
}

// ---- bytes -------------------------------------------------------------------------------------------------------

const FIXED = 0, SIZED = 1, ARRAY = 2, MAP = 3, NOTHING = 4;

/** What a value's first byte says: its kind, the bytes of its head (of a fixed one: of all), and the bytes of its length or,
 * negative, one less than the negated count that stands in the byte. */
function shape(byte) {
  if (byte <= 0x7f || byte >= 0xe0 || byte === 0xc0 || byte === 0xc2 || byte === 0xc3) return [FIXED, 1, 0];
  if (byte <= 0x8f) return [MAP, 1, -1 - (byte & 15)];
  if (byte <= 0x9f) return [ARRAY, 1, -1 - (byte & 15)];
  if (byte <= 0xbf) return [FIXED, 1 + (byte & 31), 0];
  const fixed = { 0xca: 5, 0xcb: 9, 0xcc: 2, 0xcd: 3, 0xce: 5, 0xcf: 9, 0xd0: 2, 0xd1: 3, 0xd2: 5, 0xd3: 9, 0xd4: 3, 0xd5: 4,
    0xd6: 6, 0xd7: 10, 0xd8: 18 }[byte];
  if (fixed !== undefined) return [FIXED, fixed, 0];
  const sized = { 0xc4: 1, 0xc5: 2, 0xc6: 4, 0xd9: 1, 0xda: 2, 0xdb: 4 }[byte];
  if (sized !== undefined) return [SIZED, 1 + sized, sized];
  if (byte >= 0xc7 && byte <= 0xc9) return [SIZED, 2 + (1 << (byte - 0xc7)), 1 << (byte - 0xc7)];
  if (byte === 0xdc || byte === 0xdd) return [ARRAY, 1 + (2 << (byte - 0xdc)), 2 << (byte - 0xdc)];
  if (byte === 0xde || byte === 0xdf) return [MAP, 1 + (2 << (byte - 0xde)), 2 << (byte - 0xde)];
  return [NOTHING, 1, 0];
}

const SHAPES = Array.from({ length: 256 }, (_, byte) => shape(byte));

/** Finds where a frame ends, without recursion, judging every claim before its body is there. Goes on where it was
 * interrupted, so the cost is linear however the bytes arrive. */
class Scanner {
  #maxBytes; #maxDepth; #maxValues; #anyValue;
  #chunks = []; #have = 0;  // what has come and is not in #buffer yet
  #buffer = Buffer.alloc(0); #start = 0; #at = 0; #owed = []; #values = 0;
  elements = [];            // where the frame's elements begin, from its own beginning
  wide = false;             // an integer of 64 bits is in it

  constructor(maxBytes, maxDepth = 4, maxValues = 256, anyValue = false) {
    this.#maxBytes = maxBytes;
    this.#maxDepth = maxDepth;
    this.#maxValues = maxValues;
    this.#anyValue = anyValue;
  }

  feed(data) {
    this.#chunks.push(data);
    this.#have += data.length;
  }

  /** All that has come, in one piece: copied at most once for each frame, not for each chunk. */
  #join() {
    if (this.#chunks.length === 0) return;
    const rest = this.#buffer.subarray(this.#start);
    this.#buffer = rest.length === 0 && this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat([rest, ...this.#chunks]);
    this.#at -= this.#start;
    this.#start = 0;
    this.#chunks = [];
    this.#have = 0;
  }

  /** The next whole frame; null: more bytes are needed. */
  next() {
    if (this.#at > this.#buffer.length + this.#have) return null;
    this.#join();
    const buffer = this.#buffer, owed = this.#owed;
    while (this.#values === 0 || owed.length > 0) {
      if (this.#at >= buffer.length) return null;
      const byte = buffer[this.#at];
      const [kind, head, extra] = SHAPES[byte];
      if (this.#at + head > buffer.length && kind !== FIXED) return null;
      if ((this.#values === 0 && kind !== ARRAY && !this.#anyValue) || kind === NOTHING)
        throw new ProtocolError(`the byte ${byte.toString(16)} does not begin a ${this.#values ? "value" : "frame"}`, MALFORMED);
      this.#value(buffer, byte, kind, head, extra);
    }
    if (this.#at > buffer.length) return null;
    const frame = buffer.subarray(this.#start, this.#at);
    this.#start = this.#at;
    this.#values = 0;
    return frame;
  }

  #value(buffer, byte, kind, head, extra) {
    const owed = this.#owed;
    if (this.#values === 0) this.elements = [];
    if (owed.length === 1) this.elements.push(this.#at - this.#start);
    if (byte === 0xcf || byte === 0xd3) this.wide = true;
    this.#values++;
    const length = extra > 0 ? buffer.readUIntBE(this.#at + 1, extra) : -1 - extra;
    this.#at += kind === SIZED ? head + length : head;
    if (owed.length > 0) owed[owed.length - 1]--;
    let count = 0;
    if (kind === ARRAY || kind === MAP) {
      if (owed.length >= this.#maxDepth) throw new ProtocolError(`more than ${this.#maxDepth} containers in each other`, LIMIT);
      count = kind === MAP ? 2 * length : length;
      owed.push(count);
    }
    if (this.#values + count > this.#maxValues) throw new ProtocolError(`more than ${this.#maxValues} values`, LIMIT);
    if (this.#at - this.#start > this.#maxBytes) throw new ProtocolError(`longer than the limit of ${this.#maxBytes} bytes`, LIMIT);
    while (owed.length > 0 && owed[owed.length - 1] === 0) owed.pop();
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A value of 64 bits is a number where a number holds it. */
function narrow(value) {
  if (typeof value === "bigint") return value >= -BigInt(NUMBER_MAX) && value <= BigInt(NUMBER_MAX) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(narrow);
  if (value !== null && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype)
    for (const key of Object.keys(value)) value[key] = narrow(value[key]);
  return value;
}

function readDocument(payload) {
  try {
    const scanner = new Scanner(payload.length, 32, 10000, true);
    scanner.feed(payload);
    if (scanner.next()?.length !== payload.length) throw new Error("its end is not the payload's");
    return scanner.wide ? narrow(decode(payload, { useBigInt64: true })) : decode(payload);
  } catch (error) {
    throw new DocumentError(`the payload is not exactly one msgpack document: ${error.message}`, 0, { cause: error });
  }
}

/** The fields of a frame that was scanned, each judged when it is asked for. */
class Fields {
  constructor(frame, elements) {
    this.frame = frame;
    this.elements = elements;
    this.op = elements.length > 0 ? this.#integer(elements[0]) : undefined;
    if (this.op === undefined || this.op > 127)
      throw new ProtocolError("a frame does not begin with an operation from 0 to 127", MALFORMED);
  }

  wrong(at, due) {
    return new ProtocolError(`element ${at} of a frame of operation ${this.op} is not ${due}`, MALFORMED);
  }

  isThere(at) {
    return at < this.elements.length && this.frame[this.elements[at]] !== 0xc0;
  }

  /** A number that is not negative; undefined: it is none. */
  #integer(at) {
    const frame = this.frame, byte = frame[at];
    if (byte <= 0x7f) return byte;
    let value;
    switch (byte) {
      case 0xcc: case 0xcd: case 0xce: value = frame.readUIntBE(at + 1, 1 << (byte - 0xcc)); break;
      case 0xcf: value = frame.readUInt32BE(at + 1) * 2 ** 32 + frame.readUInt32BE(at + 5); break;
      case 0xd0: case 0xd1: case 0xd2: value = frame.readIntBE(at + 1, 1 << (byte - 0xd0)); break;
      case 0xd3: value = frame.readInt32BE(at + 1) * 2 ** 32 + frame.readUInt32BE(at + 5); break;
      default: return undefined;
    }
    return value >= 0 ? value : undefined;
  }

  uint(at, limit = NUMBER_MAX) {
    const value = at < this.elements.length ? this.#integer(this.elements[at]) : undefined;
    if (value === undefined || value > limit) throw this.wrong(at, `a number from 0 to ${limit}`);
    return value;
  }

  optionalUint(at, limit = NUMBER_MAX) {
    return this.isThere(at) ? this.uint(at, limit) : null;
  }

  /** Where the body of a str or bin is; null: it is something else. */
  #body(position, str) {
    const byte = this.frame[position];
    if (str && byte >= 0xa0 && byte <= 0xbf) return [position + 1, byte & 31];
    const size = str ? { 0xd9: 1, 0xda: 2, 0xdb: 4 }[byte] : { 0xc4: 1, 0xc5: 2, 0xc6: 4 }[byte];
    return size === undefined ? null : [position + 1 + size, this.frame.readUIntBE(position + 1, size)];
  }

  #text(position) {
    const body = this.#body(position, true);
    if (body === null) return undefined;
    const bytes = this.frame.subarray(body[0], body[0] + body[1]);
    if (bytes.includes(0)) return undefined;
    try {
      return utf8.decode(bytes);
    } catch {
      return undefined;
    }
  }

  text(at) {
    const text = at < this.elements.length ? this.#text(this.elements[at]) : undefined;
    if (text === undefined) throw this.wrong(at, "a text of UTF-8 without NUL");
    return text;
  }

  /** "" if it is left out or no text. */
  anyText(at) {
    return (at < this.elements.length && this.#text(this.elements[at])) || "";
  }

  bin(at) {
    const body = at < this.elements.length ? this.#body(this.elements[at], false) : null;
    if (body === null) throw this.wrong(at, "bytes");
    return this.frame.subarray(body[0], body[0] + body[1]);
  }

  /** A Map, of which the keys are texts and numbers. What has another key is left out. */
  map(at) {
    const begin = this.elements[at], [kind, head, extra] = at < this.elements.length ? SHAPES[this.frame[begin]] : [];
    if (kind !== MAP) throw this.wrong(at, "a map");
    const made = new Map(), count = extra > 0 ? this.frame.readUIntBE(begin + 1, extra) : -1 - extra;
    let position = begin + head;
    for (let i = 0; i < count; i++) {
      const value = this.#endOf(position), end = this.#endOf(value);
      const key = this.#text(position) ?? this.#integer(position);
      if (key !== undefined) {
        if (made.has(key)) throw new ProtocolError(`the key ${JSON.stringify(key)} stands twice in a map`, MALFORMED);
        made.set(key, this.#decode(this.frame.subarray(value, end)));
      }
      position = end;
    }
    return made;
  }

  #decode(bytes) {
    try {
      return narrow(decode(bytes, { useBigInt64: true }));
    } catch (error) {
      throw new ProtocolError(`a value in a map can't be read: ${error.message}`, MALFORMED);
    }
  }

  #endOf(position) {
    for (let owed = 1; owed > 0; owed--) {
      const [kind, head, extra] = SHAPES[this.frame[position]];
      const length = extra > 0 ? this.frame.readUIntBE(position + 1, extra) : -1 - extra;
      position += kind === SIZED ? head + length : head;
      if (kind === ARRAY || kind === MAP) owed += kind === MAP ? 2 * length : length;
    }
    return position;
  }
}

const pack = value => encode(value, { useBigInt64: true, ignoreUndefined: true });

/** A Map has keys that may be numbers, which an object can't have. */
function packMap(map) {
  if (map.size > 120) throw new RangeError(`${map.size} properties are more than 120`);
  const parts = [map.size < 16 ? Uint8Array.of(0x80 | map.size) : Uint8Array.of(0xde, 0, map.size)];
  for (const [key, value] of map) parts.push(pack(key), value instanceof Packed ? value.bytes : pack(value));
  return Buffer.concat(parts);
}

/** Bytes that are one value already. */
class Packed {
  constructor(bytes) {
    this.bytes = bytes;
  }
}

function packMessage(topic, props, payload) {
  const head = Buffer.concat([Uint8Array.of(0x94, Op.MSG), pack(topic), props === null ? Uint8Array.of(0xc0) : packMap(props)]);
  const length = payload.length < 256 ? Uint8Array.of(0xc4, payload.length)
    : payload.length < 65536 ? Uint8Array.of(0xc5, payload.length >> 8, payload.length)
      : Uint8Array.of(0xc6, payload.length >>> 24, payload.length >> 16, payload.length >> 8, payload.length);
  if (head.length + length.length > HEAD_MAX_BYTES) throw new RangeError(`topic and properties take more than ${HEAD_MAX_BYTES} bytes`);
  return Buffer.concat([head, length, payload]);
}

function checkTopic(topic) {
  const length = typeof topic === "string" ? Buffer.byteLength(topic) : 0;
  const isText = length > 0 && !/[\0+#]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(topic);
  if (length > 255 || !isText || topic.split("/").length > 32)
    throw new RangeError(`the topic ${JSON.stringify(topic)} is not 1 to 255 bytes of text in at most 32 levels without '+' and '#'`);
}

function makeProps({ replyTo, correlation, contentType, ttlMs, key, headers }) {
  const known = [[1, replyTo], [2, correlation], [3, contentType], [4, ttlMs], [6, key]];
  const props = new Map(known.filter(([, value]) => value !== undefined && value !== null));
  for (const [name, value] of headers instanceof Map ? headers : Object.entries(headers ?? {})) {
    if (typeof name !== "string") throw new TypeError("a header's name is not a text");
    props.set(name, value);
  }
  return props.size > 0 ? props : null;
}

// ---- addresses and waiting ---------------------------------------------------------------------------------------

function parseUrl(text) {
  if (typeof text === "string" && text.startsWith("unix:")) {
    const path = text.slice(5).replace(/^\/\//, "");
    if (path !== "") return { kind: "unix", path, text };
  }
  const match = /^(tcp|tls):\/\/(?:\[([0-9a-fA-F:.]+)\]|([^:/?#@[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[4]);
  if (!match || port < 1 || port > 65535)
    throw new TypeError(`the URL ${JSON.stringify(text)} is not unix:/path, tcp://host:port or tls://host:port`);
  return { kind: match[1], host: match[2] ?? match[3], port, text };
}

const isLoopback = address => address === undefined || address === "::1" || /^(::ffff:)?127\./.test(address);

function deferred() {
  const made = { done: false };
  made.promise = new Promise((resolve, reject) => {
    made.resolve = value => { made.done = true; resolve(value); };
    made.reject = error => { made.done = true; reject(error); };
  });
  return made;
}

/** The promise, or the rejection that the signal or the time brings first. */
async function waitFor(promise, { signal, timeout, text } = {}) {
  if (signal === undefined && timeout === undefined) return promise;
  signal?.throwIfAborted();
  let timer, abort;
  try {
    return await Promise.race([promise, new Promise((_, reject) => {
      if (timeout !== undefined) timer = setTimeout(() => reject(new TimedOut(text())), Math.min(timeout, TIMER_MAX_MS));
      abort = () => reject(signal.reason);
      signal?.addEventListener("abort", abort);
    })]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

// ---- subscriptions -----------------------------------------------------------------------------------------------

export class Subscription {
  #client; #options; #window; #marks; #isReader; #began = Date.now();
  #items = []; #head = 0;             // what waits to be read: #items from #head on
  #held = null;                       // what came before it is known what the last connection took along
  #waiters = [];
  #messages = 0;                      // of #items and #held
  #received = 0; #credit = 0;         // messages in all, as the broker counts, and how many it may have sent
  #counted = false;                   // whether #received is what the broker had sent
  #transient = false;                 // a message without position has come
  #moving = false;                    // what comes before SUBACK came from a place that was given up
  #reachedLive = false;
  #next = new Map();                  // of each stream: the position behind what was received
  #unsettled = new Map();             // of each stream: a Set of positions
  #acksDue = [];
  #stats = [];                        // null: one of our own
  #ended = null; #over = false; #error = null;
  #caughtUp = deferred();
  granted = new Map();

  /** @internal */
  constructor(client, sid, pattern, options, window, marks) {
    Object.assign(this, { sid, pattern });
    this.#client = client;
    this.#options = options;
    this.#window = window;
    this.#marks = marks;
    this.hasAck = (options.ack ?? "none") !== "none";
    this.#isReader = this.hasAck || options.durable === true || options.policy === "spill" || (options.from ?? "new") !== "new";
    this.ready = deferred();
    this.ready.promise.catch(() => {});
    this.#caughtUp.promise.catch(() => {});
  }

  // -- for the program

  async take({ signal, timeout } = {}) {
    signal?.throwIfAborted();
    const item = this.#shift();
    if (item !== undefined) return item;
    if (this.#error) throw this.#error;
    if (this.#over) return null;
    const waiter = deferred();
    this.#waiters.push(waiter);
    try {
      return await waitFor(waiter.promise, { signal, timeout, text: () => `nothing came on ${this.pattern} in ${timeout} ms` });
    } catch (error) {
      if (waiter.done) this.#putBack(await waiter.promise); // it came between the abortion and now
      else this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
      throw error;
    }
  }

  #putBack(item) {
    if (item === null) return;
    this.#items.splice(this.#head, 0, item);
    if (item instanceof Message) this.#messages++;
    this.#serve();
  }

  [Symbol.asyncIterator]() {
    return {
      next: async () => {
        const value = await this.take();
        return { value: value ?? undefined, done: value === null };
      },
      return: async () => {
        await this.unsubscribe();
        return { value: undefined, done: true };
      },
    };
  }

  async caughtUp(options = {}) {
    await waitFor(this.#caughtUp.promise, { ...options, text: () => `the history of ${this.pattern} did not come in ${options.timeout} ms` });
  }

  async stat() {
    const connection = this.#client._connectionNow();
    const waiting = deferred();
    this.#stats.push(waiting);
    connection.send(Op.STAT, this.sid);
    return waiting.promise;
  }

  async unsubscribe() {
    if (this.#ended === null) {
      if (this.#over) return { sent: 0, lost: 0 };
      this.#ended = deferred();
      this.#client._sendIfUp(Op.UNSUB, this.sid);
    }
    return this.#ended.promise;
  }

  /** @internal */
  settle(stream, seq, kind, delayMs) {
    const positions = this.#unsettled.get(stream);
    if (kind === 0) for (const position of positions ?? []) { if (position <= seq) positions.delete(position); }
    else positions?.delete(seq);
    const frame = [Op.ACK, this.sid, stream, seq, kind, ...(delayMs === undefined ? [] : [delayMs])];
    if (!this.#client._sendIfUp(...frame) && this.#acksDue.length < ITEMS_MAX) this.#acksDue.push(frame);
  }

  // -- from the connection; all that follows is internal

  #from(resumed) {
    let begin = this.#options.from ?? "new";
    if (Array.isArray(begin) && begin[0] === "ago") begin = ["ago", begin[1] + Date.now() - this.#began]; // the same moment
    const goesOn = this.#next.size > 0 && this.#options.group === undefined && (begin !== "last_per_topic" || this.#reachedLive);
    if (!this.#isReader || !goesOn || (resumed && this.hasAck)) return begin;
    const places = [...this.#next].slice(0, 64).map(([stream, seq]) => [stream, Math.min(seq, ...(this.#unsettled.get(stream) ?? []))]);
    this.#moving = resumed;
    if (!resumed) {
      this.#next = new Map(places);
      this.#unsettled.clear();
    }
    return ["seq", ...places.flat(), Array.isArray(begin) && begin[0] === "seq" ? "new" : begin];
  }

  _connected(connection, first, resumed, sameHistory) {
    this.#stats = [];
    if (!sameHistory) {
      this.#next.clear();
      this.#unsettled.clear();
      if (Array.isArray(this.#options.from) && this.#options.from[0] === "seq") this.#options.from = "all";
    }
    if (this.#ended !== null) {
      connection.send(Op.UNSUB, this.sid);
      return;
    }
    if (!resumed) {
      this.#received = 0;
      this.#counted = true;
      // In a session credit is said by CREDIT alone: that of a SUB would hold again when the broker has restarted.
      this.#credit = this.#client._hasSession ? 0 : this.#window - this.#messages;
    }
    const from = this.#from(resumed);
    connection.send(Op.SUB, this.sid, this.pattern,
      { ...this.#options, ...(from === "new" ? {} : { from }), credit: resumed ? 0 : this.#credit });
    if (!first && !resumed && (!this.#isReader || this.#transient)) this.#put(new Gap(null, 0));
    if (resumed) { // credit goes on from what the broker counted
      this.#held ??= [];
      this.#stats.push(null);
      connection.send(Op.STAT, this.sid);
      for (const frame of this.#acksDue) connection.send(...frame);
    }
    this.#acksDue = [];
  }

  /** What came for it before it was made. */
  _adopt(items) {
    this.#held = items;
    for (const item of items) {
      if (!(item instanceof Message)) continue;
      item.adopt(this);
      this.#messages++;
      if (item.stream !== null) this.#note(item);
    }
  }

  #note({ stream, seq }) {
    this.#next.set(stream, Math.max(this.#next.get(stream) ?? 0, seq + 1));
    if (!this.hasAck) return;
    if (!this.#unsettled.has(stream)) this.#unsettled.set(stream, new Set());
    this.#unsettled.get(stream).add(seq);
  }

  _lost(error) {
    this.#release();
    for (const waiting of this.#stats) waiting?.reject(error);
    this.#stats = [];
  }

  _take(message) {
    this.#received++;
    if (this.#counted && this.#received > this.#credit)
      throw new ProtocolError(`more messages came on subscription ${this.sid} than it had credit for`, STATE);
    if (message.stream !== null) {
      if (this.#moving || (!this.hasAck && message.seq < (this.#next.get(message.stream) ?? 0))) return; // it comes again, or has come
      this.#note(message);
    } else if (!message.retained) {
      this.#transient = true;
    }
    if (!this.#counted && this.#messages >= this.#window + ORPHANS_MAX) {
      this.#put(new Gap(1, 0)); // more than this program has room for, sent for another one's credit
      return;
    }
    this.#messages++;
    this.#put(message);
  }

  _gap(gap) {
    if (gap.stream !== null && gap.last === 0) { // it is another stream now, which is read from its beginning
      this.#next.set(gap.stream, 1);
      this.#unsettled.delete(gap.stream);
    } else if (gap.stream !== null && gap.last !== null) {
      if (this.#moving) return;
      this.#next.set(gap.stream, Math.max(this.#next.get(gap.stream) ?? 0, gap.last + 1));
      if (gap.reason === 8 && gap.first === gap.last) this.#unsettled.get(gap.stream)?.delete(gap.last);
    }
    this.#put(gap);
  }

  _suback(code, granted) {
    this.#moving = false;
    if (code === 0) {
      this.granted = granted;
      if (!this.ready.done) this.ready.resolve();
      this.#grant();
      return;
    }
    const error = refusal(code, granted);
    this.#client._forget(this.sid);
    this._end(error);
  }

  _mark(kind, counts) {
    if (kind === 1 && this.#marks) this.#put(new Mark("retained_done"));
    if (kind === 2) {
      this.#reachedLive = true;
      if (!this.#caughtUp.done) this.#caughtUp.resolve();
      if (this.#marks) this.#put(new Mark("caught_up"));
    }
    if (kind === 4) {
      this.#client._forget(this.sid);
      this.#ended?.resolve({ sent: counts.get("sent") ?? 0, lost: counts.get("lost") ?? 0 });
      this._end(null);
    }
  }

  _stat(stat) {
    const waiting = this.#stats.shift();
    if (waiting) waiting.resolve(stat);
    if (waiting || this.#held === null) return;
    const lost = this.#counted && !this.#isReader && this.#options.group === undefined ? stat.sent - this.#received : 0;
    if (lost > 0) this.#held.unshift(new Gap(lost, 0));
    this.#received = this.#credit = stat.sent;
    this.#counted = true;
    this.#release();
    this.#grant();
  }

  #release() {
    const held = this.#held ?? [];
    this.#held = null;
    for (const item of held) this.#put(item);
  }

  #put(item) {
    const items = this.#held ?? this.#items, count = items.length - (this.#held ? 0 : this.#head);
    if (count > ITEMS_MAX + this.#window)
      throw new ProtocolError(`more than ${ITEMS_MAX} losses and marks wait on subscription ${this.sid}`, LIMIT);
    const last = count > 0 ? items[items.length - 1] : null;
    if (item instanceof Gap && last instanceof Gap && last.stream === null && item.stream === null && item.reason === last.reason)
      items[items.length - 1] = new Gap(item.count === null || last.count === null ? null : item.count + last.count, item.reason);
    else items.push(item);
    if (this.#held === null) this.#serve();
  }

  #shift() {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length || this.#head > 1024) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    if (item instanceof Message) {
      this.#messages--;
      this.#grant();
    }
    return item;
  }

  #serve() {
    while (this.#waiters.length > 0 && this.#head < this.#items.length) this.#waiters.shift().resolve(this.#shift());
  }

  /** Lets the broker send as many as there is room for, when that is worth a frame. */
  #grant() {
    if (this.#over || this.#ended !== null || !this.ready.done || !this.#counted || this.#held !== null) return;
    const total = this.#received + this.#window - this.#messages;
    if (total - this.#credit >= Math.max(1, this.#window >> 1) && this.#client._sendIfUp(Op.CREDIT, this.sid, total))
      this.#credit = total;
  }

  _end(error) {
    this.#over = true;
    this.#error = error;
    this._lost(error ?? new Closed("the subscription has ended"));
    if (!this.ready.done) this.ready.reject(error ?? new Closed("the client was closed"));
    if (!this.#caughtUp.done) { if (error) this.#caughtUp.reject(error); else this.#caughtUp.resolve(); }
    this.#ended?.resolve({ sent: 0, lost: 0 });
    for (const waiter of this.#waiters.splice(0)) { if (error) waiter.reject(error); else waiter.resolve(null); }
  }
}

// ---- a connection ------------------------------------------------------------------------------------------------

/** One connection and what holds for it alone. */
class Connection {
  constructor(socket, maxFrame) {
    this.socket = socket;
    this.scanner = new Scanner(Math.max(maxFrame, HEAD_MAX_BYTES));
    this.flags = 0;          // of the last PUB
    this.firstPid = true;
    this.terms = null;       // of the last FOR
    this.sentAt = this.receivedAt = performance.now();
    this.pongs = [];
  }

  send(...frame) { this.write(pack(frame)); }

  write(data) {
    if (this.socket.destroyed || this.socket.writableEnded) return; // who reads will see it
    this.sentAt = performance.now();
    this.socket.write(data);
  }

  /** Gives all that comes to `take`, and tells `end` once why nothing more comes. */
  read(take, end) {
    const fail = error => {
      this.socket.removeAllListeners("data");
      end(error);
    };
    this.socket.on("data", data => {
      this.receivedAt = performance.now();
      try {
        this.scanner.feed(data);
        for (let frame; !this.socket.destroyed && (frame = this.scanner.next()) !== null;)
          take(new Fields(frame, this.scanner.elements));
      } catch (error) {
        fail(error instanceof PubSubError ? error : new Closed(`a mistake of this client: ${error.message}`, 0, { cause: error }));
        return;
      }
      if (this.socket.writableLength > WRITE_MAX_BYTES) {
        this.socket.pause();
        this.socket.once("drain", () => this.socket.resume());
      }
    });
    this.socket.on("error", error => fail(new ConnectionLost(error.message || error.code || "the connection broke")));
    this.socket.on("end", () => fail(new ConnectionLost("the broker ended the connection")));
    this.socket.on("close", () => fail(new ConnectionLost("the connection broke")));
  }

  close(bye) {
    if (bye !== undefined) this.send(...bye);
    this.socket.removeAllListeners("data");
    this.socket.on("error", () => {});
    if (bye === undefined) this.socket.destroy();
    else this.socket.destroySoon();
  }
}

// ---- the client --------------------------------------------------------------------------------------------------

export class Client extends EventEmitter {
  #addresses; #hello; #options;
  #connection = null; #error = null; #closing = false; #closed = deferred();
  #connectedBefore = false; #epoch = 0; #failures = 0; #timer = null; #pulse = null; #upAt = 0;
  #giveUp = null;                        // ends the attempt to connect that is under way
  #subs = new Map(); #lastSid = 0;
  #orphans = new Map(); #adopts = false; // of subscriptions of the session that are not asked for yet
  #nextPid = 1; #writtenPid = 0;
  #unanswered = [];                      // with pid, the lowest first
  #unwritten = [];
  #inflight = 0;                         // pids written on this connection and not answered: the first ones
  #waitingBytes = 0;
  #order = Promise.resolve();            // publishes take their places in the order of their calls
  #room = [];
  #requests = new Map(); #lastRequest = 0; #repliesLost = 0;
  clientId = "";
  welcome = new Map();

  /** @internal */
  constructor(addresses, hello, options) {
    super();
    this.#addresses = addresses;
    this.#hello = hello;
    this.#options = options;
    this.clientId = hello.id ?? "";
  }

  get connected() { return this.#connection !== null; }
  get _hasSession() { return this.#hello.sess !== undefined; }

  // -- publishing

  async publish(topic, value = null, options = {}) {
    const { answer } = await this.submit(topic, value, options);
    return waitFor(answer, { signal: options.signal });
  }

  async submit(topic, value = null, options = {}) {
    const { raw, contentType } = options;
    if (raw !== undefined && value !== null) throw new TypeError("a message has a value or raw bytes, not both");
    if (raw === undefined && contentType !== undefined) throw new TypeError("contentType is of raw bytes");
    const props = makeProps({ ...options, contentType: raw === undefined ? undefined : contentType ?? 0 });
    return this._submit(topic, props, raw ?? pack(value), options);
  }

  async clear(topic) {
    return (await this._submit(topic, null, Buffer.alloc(0), { retain: true })).answer;
  }

  /** @internal */
  async _submit(topic, props, payload, { ack = Ack.ROUTED, retain = false, mustRoute = false, signal } = {}, request = null) {
    checkTopic(topic);
    if (![0, 1, 2, 3].includes(ack)) throw new RangeError(`the acknowledgement level ${ack} is not within 0..3`);
    const limit = this.welcome.get("max_payload") ?? 1 << 20;
    if (payload.length > limit) throw new RangeError(`the payload's ${payload.length} bytes are over the broker's limit of ${limit}`);
    const frame = packMessage(topic, props, payload);
    // Each is answered by itself, so that every caller learns of his own.
    const flags = (retain ? 1 : 0) | ack << 1 | (mustRoute ? 8 : 0) | (ack ? 16 : 0);
    const turn = this.#order.then(() => this.#enqueue(frame, flags, request, signal));
    this.#order = turn.catch(() => {});
    const message = await turn;
    return { answer: message.answer.promise };
  }

  async #enqueue(frame, flags, request, signal) {
    while (!this.#error && this.#waitingBytes > 0 && this.#waitingBytes + frame.length > this.#options.outboxBytes) {
      const room = deferred();
      this.#room.push(room);
      await waitFor(room.promise, { signal });
    }
    signal?.throwIfAborted();
    if (this.#error || this.#closing) throw this.#error ?? new Closed("the client was closed");
    if (request !== null && request.failed) throw new ConnectionLost("the connection broke before the request was sent");
    const message = { frame, flags, pid: flags & 6 ? this.#nextPid : 0, answer: deferred(), over: deferred(), request };
    if (request !== null) message.answer.promise.catch(() => {}); // whoever asked hears it from there
    this.#waitingBytes += frame.length;
    if (message.pid) {
      this.#nextPid++;
      this.#unanswered.push(message);
    }
    this.#unwritten.push(message);
    this.#writeDue();
    return message;
  }

  /** Writes what the window allows. */
  #writeDue() {
    const connection = this.#connection, window = this.welcome.get("pub_window") ?? 1;
    if (connection === null) return;
    let count = 0;
    connection.socket.cork();
    for (const message of this.#unwritten) {
      if (message.pid && this.#inflight >= window) break;
      count++;
      if ((message.pid && connection.firstPid) || message.flags !== connection.flags) {
        connection.send(Op.PUB, message.pid, message.flags);
        connection.flags = message.flags;
        if (message.pid) connection.firstPid = false;
      }
      connection.write(message.frame);
      if (message.pid) {
        this.#inflight++;
        this.#writtenPid = Math.max(this.#writtenPid, message.pid);
      } else {
        this.#settled(message, { code: 0, matched: 0, dropped: 0, stream: null, seq: null });
      }
    }
    connection.socket.uncork();
    this.#unwritten.splice(0, count);
  }

  #settled(message, result) {
    this.#waitingBytes -= message.frame.length;
    for (const room of this.#room.splice(0)) room.resolve();
    message.over.resolve();
    if (!(result instanceof Error)) {
      message.answer.resolve(result);
      return;
    }
    message.answer.reject(result);
    if (message.request !== null) this.#answer(message.request.number, result);
  }

  #puback(fields) {
    const pid = fields.uint(1), code = fields.uint(2);
    const ack = { code, matched: fields.uint(3), dropped: fields.uint(4), stream: fields.optionalUint(5), seq: fields.optionalUint(6) };
    const first = this.#unanswered[0]?.pid ?? this.#nextPid;
    if (pid < first && code < 100) return; // settled before
    if (pid >= first + this.#inflight || (code >= 100 && pid !== first))
      throw new ProtocolError(`PUBACK of ${pid} with code ${code}, which is not due`, STATE);
    const settled = this.#unanswered.splice(0, pid - first + 1);
    this.#inflight -= settled.length;
    for (const message of settled) this.#settled(message, code < 100 ? ack : refusal(code, fields.anyText(7)));
    this.#writeDue();
  }

  async flush() {
    await this.#order;
    while (this.#unanswered.length > 0) await this.#unanswered[this.#unanswered.length - 1].over.promise;
    await this.ping();
  }

  async ping() {
    const connection = this._connectionNow();
    const pong = { token: randomBytes(8), waiting: deferred() };
    connection.pongs.push(pong);
    connection.send(Op.PING, pong.token);
    return pong.waiting.promise;
  }

  // -- subscribing

  async subscribe(pattern, given = {}) {
    const { window = 256, marks = false, signal } = given;
    let { sid } = given;
    if (this.#error || this.#closing) throw this.#error ?? new Closed("the client was closed");
    if (!(Number.isInteger(window) && window >= 1 && window <= 1 << 20)) throw new RangeError(`the window ${window} is not within 1..1048576`);
    const retained = { true: undefined, new: 1, false: 2 }[given.retained ?? true];
    const options = { policy: given.policy, max_msgs: given.maxMsgs, max_bytes: given.maxBytes, block_ms: given.blockMs,
      then: given.then, filter: given.filter, group: given.group, from: given.from, ack: given.ack, ack_ms: given.ackMs,
      max_tries: given.maxTries, inflight: given.inflight, durable: given.durable || undefined, retained,
      no_local: given.noLocal || undefined, scope: given.scope };
    for (const key of Object.keys(options)) { if (options[key] === undefined) delete options[key]; }
    if (sid === undefined) {
      while (this.#lastSid === 0 || this.#subs.has(this.#lastSid)) this.#lastSid++;
      sid = this.#lastSid;
    } else if (!(Number.isInteger(sid) && sid >= 1 && sid <= SID_MAX) || this.#subs.has(sid)) {
      throw new RangeError(`the sid ${sid} is taken, or not within 1..${SID_MAX}`);
    }
    signal?.throwIfAborted();
    const subscription = new Subscription(this, sid, pattern, options, window, marks);
    this.#subs.set(sid, subscription);
    if (this.#connection !== null) {
      if (this.#adopts) {
        subscription._adopt(this.#orphans.get(sid) ?? []);
        this.#orphans.delete(sid);
      }
      subscription._connected(this.#connection, true, this.#adopts, true);
    }
    try {
      await waitFor(subscription.ready.promise, { signal });
    } catch (error) {
      if (!subscription.ready.done) subscription.unsubscribe(); // nobody would ever read it
      throw error;
    }
    return subscription;
  }

  /** @internal */
  _forget(sid) { this.#subs.delete(sid); }

  // -- requests

  async request(topic, value = null, options = {}) {
    const timeout = options.timeout ?? 5000;
    for await (const reply of this.requestMany(topic, value, { ...options, timeout, maxReplies: 1 })) return reply;
    const lost = this.#repliesLost ? `; the broker said that ${this.#repliesLost} answers to this client were lost` : "";
    throw new TimedOut(`no answer on ${JSON.stringify(topic)} in ${timeout} ms${lost}`);
  }

  async *requestMany(topic, value = null, { timeout = 5000, maxReplies = Infinity, raw, headers, signal } = {}) {
    const deadline = performance.now() + timeout;
    this._connectionNow();
    const inbox = this.welcome.get("inbox");
    if (inbox === undefined) throw new Refused("the broker has no inboxes");
    const request = { number: ++this.#lastRequest, queue: [], wake: null, failed: false };
    this.#requests.set(request.number, request);
    try {
      const props = makeProps({ replyTo: `${inbox}/${request.number}`, contentType: raw === undefined ? undefined : 0, headers });
      const left = () => ({ signal, timeout: Math.max(0, deadline - performance.now()), text: () => "" });
      await waitFor(this._submit(topic, props, raw ?? pack(value), { mustRoute: true, signal }, request), left());
      for (let count = 0; count < maxReplies; count++) {
        if (request.queue.length === 0) {
          request.wake = deferred();
          await waitFor(request.wake.promise, left());
        }
        const answer = request.queue.shift();
        if (answer instanceof Error) throw answer;
        yield answer;
      }
    } catch (error) {
      if (!(error instanceof TimedOut)) throw error;
    } finally {
      this.#requests.delete(request.number);
    }
  }

  async reply(request, value = null, options = {}) {
    if (request.replyTo === null) throw new TypeError("the message names no topic for answers");
    return this.publish(request.replyTo, value, { ...options, correlation: request.props.get(2) });
  }

  #answer(number, answer) {
    const request = this.#requests.get(number);
    if (request === undefined) return;
    if (answer instanceof Error) request.failed = true;
    else if (request.queue.length >= REPLIES_MAX) { this.#repliesLost++; return; }
    request.queue.push(answer);
    request.wake?.resolve();
  }

  // -- ending

  async close({ timeout = 5000 } = {}) {
    if (!this.#closing) {
      this.#closing = true;
      this.#goodbye(timeout).finally(() => this.#end(new Closed("the client was closed")));
    }
    return this.#closed.promise;
  }

  async #goodbye(timeout) {
    const answered = async () => {
      await this.#order;
      while (this.#unanswered.length > 0 && !this.#error)
        await this.#unanswered[this.#unanswered.length - 1].over.promise;
      if (this.#connection === null) return;
      this.#connection.send(Op.BYE, 0);
      await this.#closed.promise; // when the broker has said BYE, too
    };
    await waitFor(answered(), { timeout, text: () => "" }).catch(() => {});
  }

  async [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() { await this.close(); }

  #end(error) {
    if (this.#error) return;
    this.#error = error;
    clearTimeout(this.#timer);
    this.#giveUp?.();
    this.#drop(error);
    const left = [...this.#unanswered, ...this.#unwritten.filter(message => !message.pid)];
    this.#unanswered = [];
    this.#unwritten = [];
    for (const message of left) this.#settled(message, error);
    for (const number of [...this.#requests.keys()]) this.#answer(number, error);
    for (const subscription of [...this.#subs.values()]) subscription._end(this.#closing ? null : error);
    this.#subs.clear();
    for (const room of this.#room.splice(0)) room.resolve();
    this.#closed.resolve();
    this.emit("ended", error);
  }

  // -- the connection

  /** @internal */
  _connectionNow() {
    if (this.#connection === null) throw this.#error ?? new ConnectionLost("there is no connection to the broker at this moment");
    return this.#connection;
  }

  /** @internal */
  _sendIfUp(...frame) {
    this.#connection?.send(...frame);
    return this.#connection !== null;
  }

  /** @internal Connects for the first time. */
  async _begin(retryFirst, signal) {
    const abort = () => this.#end(new Closed("connecting was aborted"));
    signal?.throwIfAborted();
    signal?.addEventListener("abort", abort);
    try {
      for (let i = 0; i < this.#addresses.length; i++) {
        try {
          await this.#attempt(this.#addresses[i], signal);
          break;
        } catch (error) {
          signal?.throwIfAborted();
          if ((i + 1 === this.#addresses.length && !retryFirst) || error instanceof Closed) {
            this.#end(error);
            throw error;
          }
        }
      }
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    if (this.#connection === null && !this.#error) this.#tryLater();
  }

  /** Connects and says HELLO; resolves when WELCOME was there. */
  #attempt(address, signal) {
    return new Promise((resolve, reject) => {
      const socket = this.#open(address);
      const connection = new Connection(socket, this.#options.maxFrame);
      let up = false;
      const over = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        if (this.#giveUp === aborted) this.#giveUp = null;
      };
      const fail = error => {
        if (!up) over();
        connection.close(error instanceof ProtocolError ? [Op.BYE, error.code, error.message] : undefined);
        if (!up) reject(error instanceof Closed ? error
          : new ConnectFailed(`cannot connect to ${address.text}: ${error.message}`, error.code ?? 0, { cause: error }));
        else if (this.#connection === connection) this.#lost(error);
      };
      const aborted = () => fail(new ConnectionLost("aborted"));
      signal?.addEventListener("abort", aborted);
      this.#giveUp = aborted;
      const timer = setTimeout(() => fail(new ConnectionLost(`no answer in ${this.#options.connectTimeout} ms`)), this.#options.connectTimeout);
      socket.once(address.kind === "tls" ? "secureConnect" : "connect", () => {
        if (this.#hello.data !== undefined && address.kind === "tcp" && !this.#options.inClear && !isLoopback(socket.remoteAddress)) {
          fail(new AuthError(`token and password are not sent to ${address.text} in clear; inClear: true allows it`));
          return;
        }
        connection.write(Buffer.concat([Uint8Array.of(0x94, Op.HELLO), pack("mps"), pack(1), packMap(new Map(Object.entries(this.#hello)))]));
      });
      connection.read(fields => {
        if (up) {
          this.#frame(connection, fields);
          return;
        }
        this.#first(connection, fields, address);
        over();
        up = true;
        resolve();
      }, fail);
    });
  }

  #open(address) {
    if (address.kind === "unix") return net.connect({ path: address.path });
    const place = { host: address.host, port: address.port, noDelay: true };
    if (address.kind === "tcp") return net.connect(place);
    return tls.connect({ ...(net.isIP(address.host) ? {} : { servername: address.host }), ...this.#options.tls, ...place, ALPNProtocols: ["mps/1"] });
  }

  #first(connection, fields, address) {
    if (fields.op === Op.BYE) throw this.#bye(fields);
    if (fields.op !== Op.WELCOME || fields.uint(1) !== 1) throw new ProtocolError(`${address.text} did not answer with WELCOME`, STATE);
    const options = fields.map(2);
    const number = (key, otherwise) => {
      const value = options.get(key) ?? otherwise;
      if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw new ProtocolError(`WELCOME's ${key} is no number`, MALFORMED);
      return value;
    };
    if (typeof options.get("id") !== "string" || typeof (options.get("inbox") ?? "") !== "string")
      throw new ProtocolError("WELCOME lacks the client's id, or its inbox is no text", MALFORMED);
    const epoch = options.get("epoch") || this.#epoch; // 0: the broker doesn't know yet
    const sameHistory = this.#epoch === 0 || this.#epoch === epoch;
    this.#epoch = epoch;
    const lastPid = number("last_pid", 0), resumed = options.get("resumed") === true;
    if (lastPid > this.#writtenPid) throw new ProtocolError(`WELCOME's last_pid is ${lastPid}, which was not published yet`, STATE);
    options.set("max_payload", number("max_payload", 1 << 20)).set("ka", number("ka", this.#hello.ka))
      .set("pub_window", Math.max(1, number("pub_window", 1000)));
    this.#welcomed(connection, options, lastPid, resumed, sameHistory);
  }

  #welcomed(connection, options, lastPid, resumed, sameHistory) {
    const first = !this.#connectedBefore;
    this.#connectedBefore = true;
    this.welcome = options;
    this.clientId = options.get("id");
    if (this._hasSession) this.#hello.id = this.clientId; // it is found again by the id that the broker made up
    delete this.#hello.clean;
    this.#adopts = first && resumed;
    this.#orphans.clear();
    const written = this.#unanswered.slice(0, this.#inflight);
    this.#unwritten = [...written, ...this.#unwritten].filter(message => !message.pid || message.pid > lastPid);
    while (this.#unanswered.length > 0 && this.#unanswered[0].pid <= lastPid)
      this.#settled(this.#unanswered.shift(), { code: 2, matched: 0, dropped: 0, stream: null, seq: null });
    this.#inflight = 0;
    this.#connection = connection;
    this.#upAt = performance.now();
    for (const subscription of [...this.#subs.values()]) subscription._connected(connection, false, resumed, sameHistory);
    this.#writeDue();
    this.#keepAlive(connection);
    this.emit("connected");
  }

  /** Sends a PING when it was silent for half the keepalive, and breaks a connection that is dead. */
  #keepAlive(connection) {
    const keepalive = this.welcome.get("ka") * 1000;
    if (keepalive === 0) return;
    this.#pulse = setInterval(() => {
      const now = performance.now();
      if (now - connection.receivedAt > 1.5 * keepalive) {
        connection.socket.destroy();
      } else if (now - Math.min(connection.sentAt, connection.receivedAt) >= keepalive / 2 && connection.pongs.length === 0) {
        connection.pongs.push({ token: Buffer.alloc(0), waiting: null });
        connection.send(Op.PING, Buffer.alloc(0));
      }
    }, Math.min(keepalive / 8, TIMER_MAX_MS));
  }

  #bye(fields) {
    const code = fields.uint(1);
    const why = `the broker closed the connection: ${fields.anyText(2) || `code ${code}`}`;
    if (code === AUTH_FAILED) return new AuthError(why, code);
    if (code === TAKEN_OVER) return new TakenOver(why, code);
    return new (FOR_GOOD.has(code) ? Closed : ConnectionLost)(why, code);
  }

  /** The connection is gone. */
  #drop(error) {
    const connection = this.#connection;
    this.#connection = null;
    clearInterval(this.#pulse);
    if (connection === null) return;
    connection.close(error instanceof ProtocolError ? [Op.BYE, error.code, error.message] : undefined);
    for (const { waiting } of connection.pongs) waiting?.reject(error);
    for (const subscription of this.#subs.values()) subscription._lost(error);
    for (const message of this.#unanswered) {
      if (message.request === null) continue;
      // Its pid has to be used up, and nobody hears what is published to an inbox that is gone.
      this.#waitingBytes -= message.frame.length;
      message.frame = packMessage(`${this.welcome.get("inbox")}/0`, null, Buffer.alloc(0));
      this.#waitingBytes += message.frame.length;
      message.flags = 2 | 16;
      message.request = null;
    }
    for (const number of [...this.#requests.keys()]) this.#answer(number, error);
  }

  #lost(error) {
    if (this.#closing && !(error instanceof ProtocolError)) error = new Closed("the client was closed");
    if (performance.now() - this.#upAt > this.#options.reconnectMax) this.#failures = 0;
    this.#drop(error);
    if (!this.#closing) this.emit("lost", error);
    const done = this.#closing && this.#unanswered.length === 0;
    if (error instanceof Closed || !this.#options.reconnect || done)
      this.#end(error instanceof Closed ? error : new Closed(error.message, error.code, { cause: error }));
    else this.#tryLater();
  }

  /** Full jitter: clients that lost the same broker do not come back together. */
  #tryLater() {
    const bound = Math.min(this.#options.reconnectMax, this.#options.reconnectMin * 2 ** Math.min(this.#failures, 30));
    const address = this.#addresses[this.#failures++ % this.#addresses.length];
    this.#timer = setTimeout(async () => {
      try {
        await this.#attempt(address);
      } catch (error) {
        if (this.#error) return;
        if (error instanceof Closed) this.#end(error);
        else this.#tryLater();
      }
    }, Math.random() * bound);
  }

  // -- what the broker says

  #frame(connection, fields) {
    switch (fields.op) {
      case Op.MSG: this.#message(connection, fields); return;
      case Op.FOR: this.#for(connection, fields); return;
      case Op.PUBACK: this.#puback(fields); return;
      case Op.GAP: this.#gap(fields); return;
      case Op.PING: connection.send(Op.PONG, fields.bin(1)); return;
      case Op.PONG: this.#pong(connection, fields.bin(1)); return;
      case Op.SUBACK: case Op.MARK: case Op.STAT: this.#aboutSubscription(fields); return;
      case Op.ERR: this.emit("refused", refusal(fields.uint(1), fields.text(2))); return;
      case Op.INFO: this.#info(fields.map(1)); return;
      case Op.AUTH: fields.bin(1); return; // this client has no more proof than it gave
      case Op.BYE: throw this.#bye(fields);
    }
    if (CLIENTS_ONLY.has(fields.op)) throw new ProtocolError(`the operation ${fields.op} is not the broker's, or not at this time`, STATE);
    if (fields.op < 64) throw new ProtocolError(`the operation ${fields.op} is unknown`, UNKNOWN_OP);
  }

  #pong(connection, token) {
    if (connection.pongs.length === 0 || !connection.pongs[0].token.equals(token))
      throw new ProtocolError("PONG of a PING that was not sent", STATE);
    connection.pongs.shift().waiting?.resolve();
  }

  #info(changed) {
    for (const key of ["max_payload", "pub_window"]) {
      const value = changed.get(key);
      if (Number.isSafeInteger(value) && value > 0) this.welcome.set(key, value);
    }
  }

  #aboutSubscription(fields) {
    const subscription = this.#subs.get(fields.uint(1, SID_MAX));
    if (fields.op === Op.STAT) {
      const [matched, sent, lost, queued, queuedBytes] = [2, 3, 4, 5, 6].map(at => fields.uint(at));
      subscription?._stat({ matched, sent, lost, queued, queuedBytes });
      return;
    }
    const code = fields.uint(2);
    if (fields.op === Op.MARK) subscription?._mark(code, fields.isThere(3) ? fields.map(3) : new Map());
    else subscription?._suback(code, code === 0 ? fields.map(3) : fields.text(3));
  }

  #for(connection, fields) {
    const sid = fields.uint(1, SID_MAX), stream = fields.optionalUint(3), seq = fields.optionalUint(4);
    if ((stream === null) !== (seq === null)) throw fields.wrong(4, "there exactly if element 3 is");
    connection.terms = { sid, flags: fields.optionalUint(2) ?? 0, stream, seq, timeMs: fields.optionalUint(5), tries: fields.optionalUint(6) ?? 1 };
  }

  #message(connection, fields) {
    const terms = connection.terms;
    if (terms === null) throw new ProtocolError("a MSG came before the first FOR", STATE);
    const topic = fields.text(1), props = fields.isThere(2) ? fields.map(2) : new Map();
    // Copied: else a small message would keep the whole chunk that it came in.
    const payload = Buffer.from(fields.bin(3));
    const subscription = this.#subs.get(terms.sid);
    const message = new Message({ topic, payload, props, retained: (terms.flags & 1) !== 0, replayed: (terms.flags & 2) !== 0,
      redelivered: (terms.flags & 4) !== 0, stream: terms.stream, seq: terms.seq, timeMs: terms.timeMs, tries: terms.tries }, subscription);
    if (terms.stream !== null) terms.seq++;
    if (subscription !== undefined) subscription._take(message);
    else if (terms.sid === 0) this.#reply(topic, message);
    else if (this.#adopts) this.#keep(terms.sid, message);
  }

  #reply(topic, message) {
    const inbox = `${this.welcome.get("inbox")}/`;
    if (topic.startsWith(inbox) && /^\d{1,15}$/.test(topic.slice(inbox.length))) this.#answer(Number(topic.slice(inbox.length)), message);
  }

  #gap(fields) {
    const sid = fields.uint(1, SID_MAX);
    const gap = new Gap(fields.optionalUint(2), fields.uint(3), fields.optionalUint(4), fields.optionalUint(5), fields.optionalUint(6));
    if (this.#subs.has(sid)) this.#subs.get(sid)._gap(gap);
    else if (sid === 0) this.#repliesLost += gap.count ?? 1;
    else if (this.#adopts) this.#keep(sid, gap);
  }

  /** For a subscription of a session that goes on, of which this program has not said yet that it wants it. */
  #keep(sid, item) {
    if (!this.#orphans.has(sid) && this.#orphans.size < 256) this.#orphans.set(sid, []);
    const kept = this.#orphans.get(sid) ?? [], last = kept[kept.length - 1];
    if (kept.length < ORPHANS_MAX) kept.push(item);
    else if (last instanceof Gap && last.reason === 0 && last.count !== null) kept[kept.length - 1] = new Gap(last.count + 1, 0);
    else kept.push(new Gap(1, 0));
  }
}

// ---- connecting --------------------------------------------------------------------------------------------------

function makeHello(given, maxFrame) {
  const proofs = [given.token, given.user, given.certificate || undefined].filter(proof => proof !== undefined);
  if (proofs.length > 1 || (given.user === undefined) !== (given.password === undefined))
    throw new TypeError("a client proves who it is by a token, by user and password, or by its certificate");
  const hello = { ka: given.keepalive ?? 60, sw: `pubsub.js ${VERSION}`, rx_max: maxFrame };
  if (given.clientId !== undefined) hello.id = given.clientId;
  if (given.session) Object.assign(hello, { sess: given.session, boot: randomBytes(8).readBigUInt64BE() | 1n });
  if (given.clean) hello.clean = true;
  if (given.token !== undefined) Object.assign(hello, { auth: "token", data: Buffer.from(given.token) });
  else if (given.user !== undefined) Object.assign(hello, { auth: "password", data: [given.user, given.password] });
  else if (given.certificate) hello.auth = "cert";
  if (given.will !== undefined) {
    const { topic, value = null, raw, retain = false, delayMs = 0 } = given.will;
    if (raw !== undefined && value !== null) throw new TypeError("a will has a value or raw bytes, not both");
    const parts = [pack(topic), pack(Buffer.from(raw ?? pack(value))), pack(retain ? 1 : 0), pack(delayMs)];
    if (raw !== undefined) parts.push(packMap(new Map([[3, 0]])));
    hello.will = new Packed(Buffer.concat([Uint8Array.of(0x90 | parts.length), ...parts]));
  }
  return hello;
}

export async function connect(url, given = {}) {
  const urls = Array.isArray(url) ? url : [url ?? (process.env.PUBSUB_URL || DEFAULT_URL)];
  if (urls.length === 0) throw new TypeError("no URL is given");
  const { maxFrame = MAX_FRAME_BYTES, outboxBytes = 8 << 20, connectTimeout = 5000, reconnect = true, reconnectMin = 100,
    reconnectMax = 10000, inClear = false, retryFirst = false, signal } = given;
  const client = new Client(urls.map(parseUrl), makeHello(given, maxFrame),
    { maxFrame, outboxBytes, connectTimeout, reconnect, reconnectMin, reconnectMax, inClear, tls: given.tls ?? {} });
  for (const [name, listener] of Object.entries(given.on ?? {})) client.on(name, listener);
  await client._begin(retryFirst, signal);
  return client;
}
