/** Hostile in the mirror: what a hostile or broken broker does to the client. It ends with one sentence and tells the broker the
 * code; no claim and no flood makes it take memory. */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeMulti, encode } from "@msgpack/msgpack";
import { AuthError, Closed, ConnectFailed, Gap, Message, ProtocolError, connect as connectOnce } from "../pubsub.js";
import { PATIENCE_MS } from "./broker.js";

const MEMORY_BYTES = 512 << 20; // a claim that was believed takes 2 GiB and more; how much garbage node keeps before it collects is not ours
const MALFORMED = 101, UNKNOWN_OP = 103, LIMIT = 104, STATE = 105;
const [HELLO, MSG, PUB, FOR, ACK, CREDIT, GAP, PUBACK, SUB, SUBACK, UNSUB, MARK, PING, PONG, STAT] = Array.from({ length: 15 }, (_, i) => i + 1);
const [AUTH, WELCOME, ERR, BYE, INFO] = [18, 19, 20, 21, 22];

const hex = text => Buffer.from(text.replaceAll(" ", ""), "hex");
const frame = (...fields) => Buffer.from(encode(fields));
const times = (data, count) => Buffer.concat(Array(count).fill(data));
const GREETING = frame(WELCOME, 1, { id: "given", ka: 60, max_payload: 1 << 20, pub_window: 100, inbox: "$inbox/x" });
const TERMS = frame(FOR, 1);
const MESSAGE = Buffer.concat([TERMS, frame(MSG, "t", null, encode("hello"))]);

/** This process may stand still for some seconds: it is broker and client. */
const connect = (url, options = {}) => connectOnce(url, { connectTimeout: PATIENCE_MS, ...options });

/** Listens, greets one client, grants what it subscribes to, and then says what it is told to. */
async function fake(greeting = GREETING) {
  const broker = { said: [], wasReset: false };
  broker.server = net.createServer(socket => {
    broker.socket = socket;
    broker.ended = new Promise(resolve => socket.once("close", resolve)); // once() of events takes a reset for a failure
    socket.on("error", () => { broker.wasReset = true; });
    socket.on("data", data => {
      for (const got of decodeMulti(data)) {
        broker.said.push(got);
        if (got[0] === HELLO) socket.write(greeting);
        if (got[0] === PING) socket.write(frame(PONG, got[1]));
        if (got[0] === SUB) socket.write(frame(SUBACK, got[1], 0, {}));
      }
    });
  }).listen(0, "127.0.0.1");
  await once(broker.server, "listening");
  broker.url = `tcp://127.0.0.1:${broker.server.address().port}`;
  broker.close = () => {
    broker.server.close();
    broker.socket?.destroy();
  };
  return broker;
}

async function breaks(data, code, unread = false) {
  const broker = await fake();
  const client = await connect(broker.url), subscription = await client.subscribe("t");
  broker.socket.write(data);
  if (unread) await broker.ended;
  await assert.rejects(async () => { while (await subscription.take({ timeout: PATIENCE_MS }) !== null); }, error => {
    assert.ok(error instanceof ProtocolError, `${data.toString("hex", 0, 40)}: ${error}`);
    assert.match(error.message, /^[^\n]{10,200}$/);
    assert.equal(error.code, code, `${data.toString("hex", 0, 40)}: ${error.message}`);
    return true;
  });
  await broker.ended;
  if (!broker.wasReset) assert.deepEqual(broker.said.at(-1).slice(0, 2), [BYE, code]);
  await assert.rejects(client.publish("t", 1), ProtocolError);
  broker.close();
}

/** The client takes it, and the message that comes then. Returns what came before that. */
async function takes(data) {
  const broker = await fake();
  const client = await connect(broker.url), subscription = await client.subscribe("t"), items = [];
  broker.socket.write(Buffer.concat([data, MESSAGE]));
  const isLast = item => item instanceof Message && item.payload.equals(Buffer.from(encode("hello")));
  while (items.length === 0 || !isLast(items.at(-1))) items.push(await subscription.take({ timeout: PATIENCE_MS }));
  await client.close({ timeout: 0 });
  broker.close();
  return items.slice(0, -1);
}

test("a client that was closed while it came back takes no late WELCOME", async () => {
  const sockets = [];
  const server = net.createServer(socket => {
    socket.on("error", () => {});
    socket.once("data", () => { if (sockets.push(socket) === 1) socket.write(GREETING); });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = await connect(`tcp://127.0.0.1:${server.address().port}`, { reconnectMin: 1, reconnectMax: 1 });
  sockets[0].destroy();
  while (sockets.length < 2) await sleep(1); // it waits for WELCOME once more
  const ended = once(sockets[1], "close");
  await client.close({ timeout: 0 });
  sockets[1].write(GREETING);
  assert.equal(await Promise.race([ended.then(() => "ended"), sleep(PATIENCE_MS, "open", { ref: false })]), "ended");
  assert.equal(client.connected, false);
  server.close();
});

let atBeginning;
before(() => { atBeginning = process.memoryUsage().rss; });
after(() => {
  const grown = process.resourceUsage().maxRSS * 1024 - atBeginning;
  assert.ok(grown < MEMORY_BYTES, `${grown} bytes more than at the beginning`);
});

test("claims of huge lengths", async () => {
  for (const claim of ["ddffffffff", "dd10000000"]) await breaks(hex(claim), LIMIT);
  for (const claim of ["dbffffffff", "db00110000"]) await breaks(Buffer.concat([TERMS, hex(`9402${claim}`)]), LIMIT);
  for (const claim of ["ddffffffff", "dfffffffff", "c9ffffffff00"]) await breaks(Buffer.concat([TERMS, hex(`9402a161${claim}`)]), LIMIT);
  await breaks(Buffer.concat([TERMS, hex("9402a161c0c6ffffffff")]), LIMIT);
});

test("what is no frame", async () => {
  for (const data of ["485454502f312e3120343030", "c1", "9402c1", "90", "07", "810102", "92ff00", "92cc8000", "92c300", "9104"])
    await breaks(hex(data), MALFORMED);
  await breaks(Buffer.concat([hex("930d"), times(hex("91"), 100)]), LIMIT);
  await breaks(Buffer.concat([hex("dc01010d"), Buffer.alloc(255)]), LIMIT);
});

test("fields of the wrong kind", async () => {
  const after = (...fields) => Buffer.concat([TERMS, frame(...fields)]);
  for (const wrong of [frame(FOR, -1), frame(FOR, 1.5), frame(FOR, true), frame(FOR, 1, 0, 64), frame(GAP, 1, "x", 1), frame(GAP, 1),
    after(MSG, Buffer.from("t"), null, Buffer.alloc(0)), after(MSG, "t", 7, Buffer.alloc(0)), after(MSG, "t", null, "text"),
    after(MSG, "a\0b", null, Buffer.alloc(0)), Buffer.concat([TERMS, hex("9402a1ffc0c400")]),
    Buffer.concat([TERMS, hex("9402a17482a16101d9016102c400")]), Buffer.concat([TERMS, hex("9402a174820701cc0702c400")]),
    frame(PUBACK, 1), frame(PING, "x"), frame(ERR, 211), frame(SUBACK, 1, 0, "x"), frame(STAT, 1, 2), frame(INFO, 1), frame(BYE)])
    await breaks(wrong, MALFORMED);
});

test("frames that are not due", async () => {
  await breaks(frame(MSG, "t", null, Buffer.alloc(0)), STATE); // before any FOR
  for (const early of [frame(PUBACK, 1, 0, 0, 0), frame(PONG, Buffer.from("x")), GREETING, frame(HELLO, "mps", 1, {}), frame(SUB, 1, "t", {}),
    frame(UNSUB, 1), frame(PUB, 1, 2), frame(ACK, 1, 64, 1), frame(CREDIT, 1, 5)]) await breaks(early, STATE);
  for (const unknown of [0, 16, 17, 32, 63]) await breaks(frame(unknown), UNKNOWN_OP);
});

test("what a later broker may say", async () => {
  for (const later of [frame(64, { a: [1] }), frame(127), frame(INFO, { new: 1 }, "more"), frame(GAP, 77, 1, 1), frame(MARK, 1, 99),
    frame(AUTH, Buffer.from("x")), frame(FOR, 1, 0, null, null, null, null, "more"), hex("931680a1ff"), hex("93168081c301"),
    hex("931680c703ff000000"), frame(ERR, 211, "may not", PUB, "$SYS/x"), frame(ERR, 299, "new")]) assert.deepEqual(await takes(later), []);
  const wide = hex("dc0002cd0004d30000000000000001 dc0006cc02da000174 81a168c3 c500026869 c0c0");
  const [item] = await takes(wide);
  assert.deepEqual([item.topic, item.payload.toString(), item.headers], ["t", "hi", new Map([["h", true]])]);
  const proto = await takes(Buffer.concat([TERMS, hex("9402a17481a95f5f70726f746f5f5f01c400")])); // a header called __proto__
  assert.deepEqual(proto[0].headers, new Map([["__proto__", 1]]));
});

test("a message that comes while waiting is aborted is not lost", async () => {
  const broker = await fake();
  const client = await connect(broker.url), subscription = await client.subscribe("t"), controller = new AbortController();
  client.on("refused", () => controller.abort());
  const taking = subscription.take({ signal: controller.signal });
  broker.socket.write(Buffer.concat([frame(ERR, 211, "may not"), MESSAGE]));
  await assert.rejects(taking, { name: "AbortError" });
  assert.equal((await subscription.take({ timeout: PATIENCE_MS })).value, "hello");
  await client.close({ timeout: 0 });
  broker.close();
});

test("every way to cut what comes", async () => {
  const data = Buffer.concat([MESSAGE, frame(GAP, 1, 3, 1), TERMS, frame(MSG, "t", { h: [1] }, Buffer.alloc(300)), MESSAGE]);
  for (const size of [1, 2, 3, 7]) {
    const broker = await fake();
    broker.server.on("connection", socket => socket.setNoDelay());
    const client = await connect(broker.url), subscription = await client.subscribe("t");
    for (let at = 0; at < data.length; at += size) {
      broker.socket.write(data.subarray(at, at + size));
      await new Promise(setImmediate);
    }
    const items = [];
    for (let i = 0; i < 4; i++) items.push(await subscription.take({ timeout: PATIENCE_MS }));
    assert.deepEqual(items.map(item => item.payload ?? item), [Buffer.from(encode("hello")), new Gap(3, 1), Buffer.alloc(300), Buffer.from(encode("hello"))]);
    await client.close({ timeout: 0 });
    broker.close();
  }
});

test("broken frames, at random", async () => {
  let state = 7;
  const random = below => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
  const valid = [MESSAGE, frame(GAP, 1, 318, 1, 64, 10, 14), frame(STAT, 1, 10, 5, 2, 3, 300), frame(ERR, 211, "no", PUB, "t"),
    frame(PUBACK, 1, 0, 1, 0, 64, 7), frame(FOR, 1, 2, 64, 100, 1700000000000, 3)];
  for (let i = 0; i < 150; i++) {
    const data = Buffer.concat([valid[random(6)], valid[random(6)], valid[random(6)]]);
    for (let n = random(4) + 1; n > 0; n--) data[random(data.length)] = random(256);
    const broker = await fake();
    const client = await connect(broker.url, { reconnect: false }), subscription = await client.subscribe("t");
    broker.socket.end(data);
    await assert.rejects(async () => { while (await subscription.take({ timeout: PATIENCE_MS }) !== null); }, error => {
      assert.ok(error instanceof Closed && !/mistake/.test(error.message), `${data.toString("hex")}: ${error.stack}`);
      return true;
    });
    broker.close();
  }
});

test("more than was asked for", async () => {
  await breaks(Buffer.concat([TERMS, times(frame(MSG, "t", null, Buffer.from("x")), 257)]), STATE); // over its credit
  await breaks(times(Buffer.concat([frame(GAP, 1, 1, 1), frame(GAP, 1, 1, 2)]), 40000), LIMIT, true);
  const gaps = await takes(times(frame(GAP, 1, 2, 1), 100000));
  assert.ok(gaps.length < 1000); // neighbours are one
  assert.equal(gaps.reduce((sum, gap) => sum + gap.count, 0), 200000);
  const replies = Buffer.concat([frame(FOR, 0), times(frame(MSG, "$inbox/x/1", null, Buffer.alloc(1000)), 5000), frame(GAP, 0, 3, 1)]);
  assert.deepEqual(await takes(replies), []);
});

test("a flood of pings of which nobody reads the answers", async () => {
  const broker = await fake();
  const client = await connect(broker.url);
  broker.socket.pause();
  const flood = times(frame(PING, Buffer.alloc(64)), 1000);
  let count = 0;
  while (count++ < 1000 && broker.socket.writableLength < 1 << 20) { // 68 MB
    broker.socket.write(flood);
    await new Promise(setImmediate);
  }
  assert.ok(count < 1000, "the client reads on although nobody takes its answers");
  assert.ok(client._connectionNow().socket.writableLength < 8 << 20);
  await client.close({ timeout: 0 });
  broker.close();
});

test("an idle client says that it is there", async () => {
  const broker = await fake(frame(WELCOME, 1, { id: "given", ka: 1 }));
  const client = await connect(broker.url);
  while (broker.said.filter(got => got[0] === PING).length < 3) await sleep(10);
  await client.close({ timeout: 0 });
  broker.close();
});

test("greetings", async () => {
  const good = { id: "given" };
  for (const greeting of [frame(WELCOME, 1), frame(WELCOME, 1, {}), frame(WELCOME, 2, good), frame(WELCOME, "1", good), frame(PING, Buffer.alloc(0)),
    frame(WELCOME, 1, { ...good, last_pid: 7 }), frame(WELCOME, 1, { ...good, max_payload: "x" }), frame(WELCOME, 1, { ...good, inbox: 1 }),
    Buffer.from("HTTP/1.1 400\r\n\r\n"), hex("ddffffffff")]) {
    const broker = await fake(greeting);
    await assert.rejects(connect(broker.url), ProtocolError, greeting.toString("hex"));
    broker.close();
  }
  for (const [greeting, kind] of [[frame(BYE, 108, "who?"), AuthError], [frame(BYE, 115, "full"), ConnectFailed], [frame(BYE, 117, "bad"), Closed]]) {
    const broker = await fake(greeting);
    await assert.rejects(connect(broker.url), error => error instanceof kind && error.code > 100);
    broker.close();
  }
  const silent = await fake(Buffer.alloc(0));
  await assert.rejects(connect(silent.url, { connectTimeout: 50 }), /no answer in 50 ms/);
  silent.close();
});
