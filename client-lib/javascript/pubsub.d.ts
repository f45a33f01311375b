import type { EventEmitter } from "node:events";
import type { ConnectionOptions } from "node:tls";

export const DEFAULT_URL: string;

/** How far a message must have come before publish() resolves. */
export const Ack: Readonly<{
  /** Written to the connection; lost if that breaks. A refusal is only an event, "refused". */
  NONE: 0;
  /** In the queue of every subscription that matched. */
  ROUTED: 1;
  /** In the topic's stream, on disk. */
  STORED: 2;
  /** On the disks of a majority. */
  REPLICATED: 3;
}>;
export type AckLevel = 0 | 1 | 2 | 3;

/** Something that the broker or this client could not do: one sentence, and the protocol's code (PROTOCOL.md, Codes) or 0. */
export class PubSubError extends Error { code: number; }
/** No connection came about. */
export class ConnectFailed extends PubSubError {}
/** The connection broke before the answer was there; whether it was done is not known. */
export class ConnectionLost extends PubSubError {}
/** The time that was asked for ran out. */
export class TimedOut extends PubSubError {}
/** The broker said no to this one thing; the connection goes on. */
export class Refused extends PubSubError {}
/** Nobody is subscribed, where somebody had to be (217). */
export class Nobody extends Refused {}
/** The client has ended, and does not come back by itself. */
export class Closed extends PubSubError {}
/** The broker does not believe who the client says it is. */
export class AuthError extends Closed {}
/** Another connection took over this client id. */
export class TakenOver extends Closed {}
/** The peer does not speak mps/1 as it must. */
export class ProtocolError extends Closed {}
/** The payload is not the one msgpack document that it should be. */
export class DocumentError extends PubSubError {}

/** The broker's answer to one published message. */
export interface PubAck {
  /** 0; 1: nobody matched; 2: it had been accepted on an earlier connection, and the rest says nothing. */
  code: number;
  /** Subscriptions that it matched. */
  matched: number;
  /** Its copies that full queues refused. */
  dropped: number;
  /** Where it is stored (Ack.STORED), else null. */
  stream: number | null;
  seq: number | null;
}

/** Messages that matched the subscription were lost here, between the item before and the item behind. */
export class Gap {
  /** Exactly so many; null: nobody can know. */
  readonly count: number | null;
  /** PROTOCOL.md, GAP; 0: they were on their way when the connection broke, or came meanwhile. */
  readonly reason: number;
  /** Of a stream: its positions first..last are gone. */
  readonly stream: number | null;
  readonly first: number | null;
  readonly last: number | null;
  toString(): string;
}

/** A place in what a subscription receives; only with `marks`. */
export class Mark { readonly kind: "retained_done" | "caught_up"; }

export class Message {
  readonly topic: string;
  /** As it was published. */
  readonly payload: Buffer;
  /** Numbers as keys are the protocol's, texts the application's. */
  readonly props: Map<string | number, unknown>;
  /** The topic's last value, sent because of the subscription. */
  readonly retained: boolean;
  /** From a stream's history. */
  readonly replayed: boolean;
  /** Sent before and not acknowledged. */
  readonly redelivered: boolean;
  /** Position in a stream, or null. */
  readonly stream: number | null;
  readonly seq: number | null;
  /** Unix time of its arrival at the broker, of the first of a row; null: not said. */
  readonly timeMs: number | null;
  /** How often it was sent. */
  readonly tries: number;

  get isDocument(): boolean;
  /** The payload's document: integers that a number does not hold are bigint. Throws DocumentError. */
  get value(): any;
  /** The application's properties. */
  get headers(): Map<string, unknown>;
  /** The topic for answers: Client.reply(). */
  get replyTo(): string | null;
  /** null: a msgpack document; 0: raw bytes; a text: a media type. */
  get contentType(): string | number | null;
  get key(): unknown;

  /** This one is done. With subscriptions that have `ack`. */
  ack(): void;
  /** This one and all earlier ones of its stream are done. */
  ackUpto(): void;
  /** Not done: send it again, after delayMs. */
  nack(delayMs?: number): void;
  /** It can't be done: never again. The broker publishes it below $dead/. */
  reject(): void;
}

export type Item = Message | Gap | Mark;
export type From = "new" | "all" | "acked" | "last_per_topic" | ["last", number] | ["time", number] | ["ago", number]
  | ["seq", ...(number | string)[]];

export interface Waiting {
  signal?: AbortSignal;
  /** Milliseconds; then TimedOut. Left out: as long as it takes. */
  timeout?: number;
}

export interface SubscribeOptions {
  /** What a full queue at the broker does. Left out: drop_old. */
  policy?: "drop_old" | "drop_new" | "latest" | "close" | "block" | "spill";
  /** When it is full. */
  maxMsgs?: number;
  maxBytes?: number;
  /** block: how long publishers wait at most, and what then; spill: what then. */
  blockMs?: number;
  then?: "drop_old" | "drop_new" | "close";
  /** Only messages of which this is true: `temp > 30 and site == "a"`. */
  filter?: string;
  /** Each message goes to one of those that are subscribed with this name. */
  group?: string;
  /** Where in the streams it begins. */
  from?: From;
  /** Messages of streams come again until Message.ack() or the like is called. */
  ack?: "none" | "upto" | "each";
  ackMs?: number;
  maxTries?: number;
  inflight?: number;
  /** The place in streams outlives this program (needs clientId and session). */
  durable?: boolean;
  /** Whether the topics' last values come first; "new": only if the session has no such subscription. Left out: true. */
  retained?: boolean | "new";
  noLocal?: boolean;
  /** cluster: it is there when all brokers of the cluster know of it; where that can't be had, `granted` has "local". */
  scope?: "local" | "cluster";
  /** The most messages that wait here to be read; the broker keeps the others. Left out: 256. */
  window?: number;
  /** Mark items, too. */
  marks?: boolean;
  /** Its number; give one where a session goes on after the program's restart. */
  sid?: number;
  signal?: AbortSignal;
}

export interface Stat { matched: number; sent: number; lost: number; queued: number; queuedBytes: number; }

/**
 * Iterate it for messages and gaps, in the order in which they came. Leaving the loop unsubscribes; take() does not. The loop
 * ends after unsubscribe() and Client.close(), and throws what ended the client or the subscription.
 */
export class Subscription implements AsyncIterable<Item> {
  readonly sid: number;
  readonly pattern: string;
  /** What the broker granted otherwise than asked for. */
  readonly granted: Map<string, unknown>;
  [Symbol.asyncIterator](): AsyncIterator<Item>;
  /** The next item; null: there will be none. */
  take(options?: Waiting): Promise<Item | null>;
  /** Resolves when all history has come to this client that was there when the subscription began (with `from`). */
  caughtUp(options?: Waiting): Promise<void>;
  /** The broker's counts: matched = sent + lost + queued. */
  stat(): Promise<Stat>;
  /** Ends it, its place in streams too. Resolves to how many messages it was sent, and how many it lost, in all. */
  unsubscribe(): Promise<{ sent: number; lost: number }>;
}

export interface PublishOptions {
  /** Bytes instead of a value, sent as they are; contentType may say of what media type. */
  raw?: Uint8Array;
  contentType?: string;
  /** Left out: Ack.ROUTED. */
  ack?: AckLevel;
  /** Keep it as the topic's last value; clear() ends that. */
  retain?: boolean;
  /** Nobody subscribed is an error: Nobody. */
  mustRoute?: boolean;
  headers?: Record<string, unknown> | Map<string, unknown>;
  /** It is not delivered any more after so long at the broker. */
  ttlMs?: number;
  /** What `latest` and groups keep together; left out: the topic. */
  key?: unknown;
  replyTo?: string;
  correlation?: unknown;
  /** Ends the waiting, not the message. */
  signal?: AbortSignal;
}

export interface RequestOptions {
  raw?: Uint8Array;
  headers?: Record<string, unknown> | Map<string, unknown>;
  /** Milliseconds for all answers together. Left out: 5000. */
  timeout?: number;
  signal?: AbortSignal;
}

export interface Will {
  topic: string;
  value?: unknown;
  raw?: Uint8Array;
  retain?: boolean;
  delayMs?: number;
}

export interface ClientEvents {
  connected: [];
  lost: [PubSubError];
  ended: [PubSubError];
  /** What answers nothing that somebody waits for: messages published with Ack.NONE. */
  refused: [Refused];
}

/** One logical connection to a broker. Events: "connected", "lost" (error), "ended" (error), "refused" (error). */
export class Client extends EventEmitter {
  readonly connected: boolean;
  /** What the broker calls this client. */
  readonly clientId: string;
  /** What the broker said in WELCOME. */
  readonly welcome: Map<string | number, unknown>;

  /**
   * Publishes one message, anything that msgpack can pack, and waits for the broker's answer, over reconnects too. Throws
   * RangeError or TypeError (bad topic or properties, before anything is sent), Refused, Closed. With a session it is published
   * exactly once, however often the connection breaks; without, perhaps twice, never lost in silence.
   */
  publish(topic: string, value?: unknown, options?: PublishOptions): Promise<PubAck>;
  /** As publish(), but resolves as soon as there is room in the outbox: so many can be under way, in the order of the calls. */
  submit(topic: string, value?: unknown, options?: PublishOptions): Promise<{ answer: Promise<PubAck> }>;
  /** Ends the retained value of a topic. */
  clear(topic: string): Promise<PubAck>;
  /** Resolves when all that was published before is answered, and the broker has processed what needs no answer. */
  flush(): Promise<void>;
  /** Resolves when the broker has processed all that was sent before. */
  ping(): Promise<void>;
  /**
   * Subscribes to a topic or a pattern ('+' is one level, '#' at the end all the rest); resolves when the broker has granted it,
   * throws Refused. After a reconnect it is made again. A reader of streams (from, ack, durable, "spill") goes on without a
   * loss; any other gets a Gap of reason 0 where the connection broke, with the exact count if the session was resumed.
   */
  subscribe(pattern: string, options?: SubscribeOptions): Promise<Subscription>;
  /**
   * Asks whoever serves the topic; resolves to the first answer. Nobody: nobody is there (at once); TimedOut; ConnectionLost: the
   * connection broke, and whether it was served is not known.
   */
  request(topic: string, value?: unknown, options?: RequestOptions): Promise<Message>;
  /** As request(), for all answers that come in time, or the first maxReplies. */
  requestMany(topic: string, value?: unknown, options?: RequestOptions & { maxReplies?: number }): AsyncGenerator<Message, void>;
  /** Answers a message that asks for it. */
  reply(request: Message, value?: unknown, options?: PublishOptions): Promise<PubAck>;
  /** Waits until what was published is answered, at most `timeout` ms (5000), says BYE, and ends. */
  close(options?: { timeout?: number }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;

  on<E extends keyof ClientEvents>(event: E, listener: (...args: ClientEvents[E]) => void): this;
  once<E extends keyof ClientEvents>(event: E, listener: (...args: ClientEvents[E]) => void): this;
}

export interface ConnectOptions {
  /** Who this is. Left out: the broker gives a name. */
  clientId?: string;
  /** Seconds that the broker keeps subscriptions, what is queued for them, and which publishes it took, without a connection. */
  session?: number;
  /** Forget an older session first. */
  clean?: boolean;
  /** How it proves who it is: one of token, user and password, certificate. */
  token?: string | Uint8Array;
  user?: string;
  password?: string;
  certificate?: boolean;
  /** Token and password may travel to another machine without TLS. */
  inClear?: boolean;
  /** For tls://: ca, cert, key and so on, as of tls.connect(). */
  tls?: ConnectionOptions;
  /** Seconds. Left out: 60. */
  keepalive?: number;
  /** What the broker publishes when this client is gone without close(). */
  will?: Will;
  /** The longest message that it takes, in bytes; a longer one is a Gap of reason 7. Left out: 1 MiB and 8 KiB. */
  maxFrame?: number;
  /** Publishing waits when so many bytes are not answered yet. Left out: 8 MiB. */
  outboxBytes?: number;
  /** Milliseconds for a connection and its WELCOME. Left out: 5000. */
  connectTimeout?: number;
  /** Whether a broken connection is made again, after a random time up to reconnectMin ms, doubled with each failure up to
   * reconnectMax. Left out: true, 100, 10000. */
  reconnect?: boolean;
  reconnectMin?: number;
  reconnectMax?: number;
  /** Goes on in the background if the first attempt fails, instead of throwing. */
  retryFirst?: boolean;
  /** Listeners that are there from the beginning. */
  on?: { [E in keyof ClientEvents]?: (...args: ClientEvents[E]) => void };
  /** Ends connecting. */
  signal?: AbortSignal;
}

/**
 * Connects to a broker: unix:/path, tcp://host:port or tls://host:port, or several that are tried in turn; left out: $PUBSUB_URL,
 * else tcp://127.0.0.1:7717. Throws TypeError (bad URL or option), ConnectFailed, AuthError, ProtocolError, Closed.
 */
export function connect(url?: string | string[], options?: ConnectOptions): Promise<Client>;
