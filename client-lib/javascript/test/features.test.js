/** Everything that the client offers, with a real broker, as a program that uses it would see it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Ack, AuthError, Closed, ConnectFailed, DocumentError, Gap, Mark, Message, Nobody, PubSubError, Refused, TakenOver, TimedOut,
  connect } from "../pubsub.js";
import { Broker, PATIENCE_MS } from "./broker.js";

let broker;
const clients = [];
before(async () => { broker = await Broker.start("--durable", "kept/#"); });
after(async () => {
  await Promise.all(clients.map(client => client.close()));
  await broker.stop();
});

async function client(options = {}, url = broker.unix) {
  const made = await connect(url, { connectTimeout: PATIENCE_MS, ...options });
  clients.push(made);
  return made;
}

const take = subscription => subscription.take({ timeout: PATIENCE_MS });

/** The values of the next messages; nothing may be lost between them. */
async function values(subscription, count) {
  const found = [];
  while (found.length < count) found.push((await take(subscription)).value);
  return found;
}

const range = (begin, end) => Array.from({ length: end - begin }, (_, i) => begin + i);
const code = expected => error => { assert.equal(error.code, expected); return error instanceof PubSubError && error.message.length > 5; };

test("documents and bytes over TCP and a Unix socket", async () => {
  for (const url of [broker.tcp, broker.unix]) {
    const one = await client({}, url);
    const subscription = await one.subscribe("docs");
    const documents = [null, true, -1, 2 ** 53 - 1, 2n ** 64n - 1n, -(2n ** 63n), 1.5, "é水", [1, [2]], { a: { b: [3] } }, "x".repeat(70000)];
    for (const document of documents) assert.equal((await one.publish("docs", document)).matched, 1);
    assert.deepEqual(await values(subscription, documents.length), documents);
    await one.publish("docs", null, { raw: Buffer.from([0xc1]), contentType: "image/png" });
    const message = await take(subscription);
    assert.deepEqual([message.payload, message.contentType, message.isDocument], [Buffer.from([0xc1]), "image/png", false]);
    assert.throws(() => message.value, DocumentError);
    assert.equal((await subscription.unsubscribe()).sent, documents.length + 1);
  }
});

test("what an answer says", async () => {
  const one = await client();
  assert.deepEqual(await one.publish("answer", 1), { code: 1, matched: 0, dropped: 0, stream: null, seq: null });
  const full = await one.subscribe("answer", { policy: "drop_new", maxMsgs: 1, window: 1 });
  const acks = [];
  for (let i = 0; i < 4; i++) acks.push(await one.publish("answer", i));
  assert.equal(acks.reduce((sum, ack) => sum + ack.dropped, 0), 2); // one was sent, one waits
  assert.deepEqual(await values(full, 2), [0, 1]);
  assert.deepEqual(await take(full), new Gap(2, 2));
});

test("many at once are answered each, and a full outbox waits", async () => {
  const one = await client({ outboxBytes: 20000 });
  const subscription = await one.subscribe("many", { window: 16 });
  const taken = values(subscription, 3000);
  const answers = [];
  for (let i = 0; i < 3000; i++) answers.push((await one.submit("many", i)).answer);
  assert.deepEqual(new Set((await Promise.all(answers)).map(ack => ack.matched)), new Set([1]));
  assert.deepEqual(await taken, range(0, 3000));
});

test("levels of acknowledgement", async () => {
  const one = await client();
  const first = await one.publish("kept/levels", 0, { ack: Ack.STORED }), second = await one.publish("kept/levels", 1, { ack: Ack.STORED });
  assert.ok(first.stream >= 64);
  assert.equal(second.seq, first.seq + 1);
  await assert.rejects(one.publish("transient", 1, { ack: Ack.STORED }), code(216));
  const subscription = await one.subscribe("none");
  await one.publish("none", 1, { ack: Ack.NONE });
  await one.publish("none", 2);
  await one.publish("none", 3, { ack: Ack.NONE });
  await one.flush();
  assert.deepEqual(await values(subscription, 3), [1, 2, 3]);
});

test("refusals", async () => {
  const one = await client();
  await assert.rejects(one.publish("nobody/here", 1, { mustRoute: true }), Nobody);
  await assert.rejects(one.publish("$SYS/mine", 1), code(211));
  for (const topic of ["", "a/+", "#", "a\0", "x".repeat(256), "/".repeat(32), "\ud800", 7])
    await assert.rejects(one.publish(topic, 1), RangeError);
  await assert.rejects(one.publish("large", null, { raw: Buffer.alloc(1048577) }), /1048577 bytes/);
  await assert.rejects(one.publish("large", 1, { headers: { h: "x".repeat(9000) } }), /8192/);
  const refused = new Promise(resolve => one.once("refused", resolve));
  await one.publish("$SYS/mine", 1, { ack: Ack.NONE });
  assert.ok(await refused instanceof Refused);
  assert.equal((await one.publish("fine", 1)).code, 1);
});

test("retained values and marks", async () => {
  const one = await client();
  await one.publish("state/a", "old", { retain: true });
  await one.publish("state/a", "new", { retain: true });
  await one.publish("state/b", "event");
  const subscription = await one.subscribe("state/#", { marks: true });
  const message = await take(subscription);
  assert.deepEqual([message.value, message.retained], ["new", true]);
  assert.deepEqual(await take(subscription), new Mark("retained_done"));
  await one.clear("state/a");
  assert.equal((await take(subscription)).payload.length, 0);
});

test("properties and filters", async () => {
  const one = await client();
  const subscription = await one.subscribe("props", { filter: '@props.unit == "C" and t > 20' });
  await one.publish("props", { t: 30 }, { headers: { unit: "F" } });
  const headers = { unit: "C", tags: [1, "two"], 1: "no reply-to", __proto__x: 1 };
  await one.publish("props", { t: 30 }, { headers, key: "k", ttlMs: 60000 });
  const message = await take(subscription);
  assert.deepEqual(message.headers, new Map(Object.entries(headers)));
  assert.deepEqual([message.key, message.props.get(4), message.replyTo], ["k", 60000, null]);
});

test("a will", async () => {
  const listener = await client();
  const subscription = await listener.subscribe("will/#");
  const victim = await client({ will: { topic: "will/x", value: { state: "gone" } } });
  victim._connectionNow().socket.destroy();
  assert.deepEqual((await take(subscription)).value, { state: "gone" });
  const polite = await client({ will: { topic: "will/y", raw: Buffer.from("never"), retain: true } });
  await polite.close();
  await listener.publish("will/z", "end");
  assert.equal((await take(subscription)).topic, "will/z");
});

test("losses stand where they happened", async () => {
  const one = await client();
  const subscription = await one.subscribe("burst", { policy: "drop_old", maxMsgs: 10, window: 5 });
  for (let i = 0; i < 100; i++) await one.publish("burst", i);
  const seen = [];
  let lost = 0;
  for await (const item of subscription) {
    if (item instanceof Gap) {
      assert.deepEqual([item.reason, seen], [1, range(0, 5)]);
      assert.match(String(item), /^\d+ messages \(drop_old\)$/);
      lost += item.count;
      const stat = await subscription.stat();
      assert.deepEqual([stat.matched, stat.lost, stat.sent + stat.queued], [100, 85, 15]);
    } else {
      seen.push(item.value);
    }
    if (seen.at(-1) === 99) break;
  }
  assert.deepEqual([seen, lost], [[...range(0, 5), ...range(90, 100)], 85]);
  assert.equal((await one.publish("burst", 1)).matched, 0); // leaving the loop has unsubscribed
});

test("a slow reader is sent no more than its window", async () => {
  const one = await client();
  const slow = await one.subscribe("slow", { window: 8 });
  for (let i = 0; i < 500; i++) await one.publish("slow", i); // its answers come although nobody reads `slow`
  const stat = await slow.stat();
  assert.deepEqual([stat.sent, stat.queued], [8, 492]);
  assert.deepEqual(await values(slow, 500), range(0, 500));
});

test("the policy latest keeps the newest of each key", async () => {
  const one = await client();
  const subscription = await one.subscribe("latest", { policy: "latest", window: 1 });
  for (let i = 0; i < 10; i++) await one.publish("latest", i, { key: i % 2 });
  assert.equal((await take(subscription)).value, 0);
  assert.deepEqual(await take(subscription), new Gap(7, 3));
  assert.deepEqual(await values(subscription, 2), [8, 9]);
});

test("too large for this client", async () => {
  const one = await client({ maxFrame: 1000 });
  const subscription = await one.subscribe("large");
  await one.publish("large", "x".repeat(2000));
  await one.publish("large", "small");
  assert.deepEqual(await take(subscription), new Gap(1, 7));
  assert.equal((await take(subscription)).value, "small");
});

test("groups", async () => {
  const one = await client();
  const members = [await one.subscribe("jobs", { group: "workers", window: 1 }), await one.subscribe("jobs", { group: "workers", window: 1 })];
  for (let i = 0; i < 10; i++) assert.equal((await one.publish("jobs", i)).matched, 1);
  const done = [];
  await Promise.all(members.map(async member => {
    for await (const item of member) {
      done.push(item.value);
      if (done.length === 10) await Promise.all(members.map(each => each.unsubscribe()));
    }
  }));
  assert.deepEqual(done.sort((a, b) => a - b), range(0, 10));
});

test("refused subscriptions", async () => {
  const one = await client();
  for (const [pattern, options, expected] of [["a/#/b", {}, 210], ["a", { filter: "temp >" }, 220], ["a", { from: "all" }, 215],
    ["kept/a", { durable: true }, 219]]) await assert.rejects(one.subscribe(pattern, options), code(expected));
});

test("documents that are none", async () => {
  const one = await client();
  const subscription = await one.subscribe("bad");
  for (const payload of ["", "0102", "c1", "ddffffffff", "9201", "91".repeat(40) + "01"]) {
    await (await one._submit("bad", null, Buffer.from(payload, "hex"))).answer;
    const message = await take(subscription);
    assert.throws(() => message.value, DocumentError);
    assert.equal(message.payload.toString("hex"), payload);
  }
});

test("where a reader begins", async () => {
  const one = await client();
  const acks = [];
  for (let i = 0; i < 10; i++) acks.push(await one.publish("kept/from", i, { ack: Ack.STORED }));
  for (const [from, first] of [["all", 0], [["last", 3], 7], [["seq", acks[5].stream, acks[5].seq], 5], [["ago", 60000], 0], [["time", 0], 0]]) {
    const subscription = await one.subscribe("kept/from", { from, window: 3 });
    assert.deepEqual(await values(subscription, 10 - first), range(first, 10));
    await subscription.caughtUp({ timeout: PATIENCE_MS });
    await subscription.unsubscribe();
  }
  const newest = await one.subscribe("kept/from", { from: "last_per_topic" });
  const message = await take(newest);
  assert.deepEqual([message.value, message.seq, message.stream, message.replayed], [9, acks[9].seq, acks[9].stream, true]);
  assert.ok(message.timeMs > 1.6e12);
});

test("acknowledging, again and never again", async () => {
  const one = await client();
  const dead = await one.subscribe("$dead/#");
  const subscription = await one.subscribe("kept/acks", { ack: "each", inflight: 2 });
  for (let i = 0; i < 3; i++) await one.publish("kept/acks", i, { ack: Ack.STORED });
  const [first, second] = [await take(subscription), await take(subscription)];
  await assert.rejects(subscription.take({ timeout: 50 }), TimedOut); // two are unacknowledged
  second.nack();
  const again = await take(subscription);
  assert.deepEqual([again.value, again.redelivered, again.tries], [1, true, 2]);
  again.reject();
  const buried = await take(dead);
  assert.deepEqual([buried.topic, buried.headers.get("reason")], ["$dead/kept/acks", "rejected"]);
  first.ackUpto();
  assert.equal((await take(subscription)).value, 2);
  assert.throws(() => buried.ack(), TypeError);
});

test("a durable subscription outlives the program", async () => {
  const options = { ack: "upto", durable: true, from: "acked", sid: 7 };
  const publisher = await client(), worker = await client({ clientId: "worker", session: 600 });
  const subscription = await worker.subscribe("kept/durable", options);
  for (let i = 0; i < 5; i++) await publisher.publish("kept/durable", i, { ack: Ack.STORED });
  await values(subscription, 2);
  (await take(subscription)).ackUpto();
  await worker.ping();
  worker._connectionNow().socket.destroy();
  await worker.close({ timeout: 0 });
  const again = await client({ clientId: "worker", session: 600 });
  await again.ping();
  const resumed = await again.subscribe("kept/durable", options);
  assert.deepEqual(await values(resumed, 2), [3, 4]);
  await resumed.unsubscribe();
});

test("requests and replies", async () => {
  const server = await client(), one = await client();
  const service = await server.subscribe("square");
  const served = (async () => {
    for await (const request of service) await server.reply(request, request.value ** 2);
  })();
  const answers = await Promise.all(range(0, 50).map(number => one.request("square", number, { timeout: PATIENCE_MS })));
  assert.deepEqual(answers.map(answer => answer.value), range(0, 50).map(number => number ** 2));
  await server.subscribe("silent");
  await assert.rejects(one.request("nobody/serves/this", null, { timeout: PATIENCE_MS }), Nobody);
  await assert.rejects(one.request("silent", 1, { timeout: 30 }), TimedOut);
  await assert.rejects(one.reply(new Message({ props: new Map() }), 1), TypeError);
  const polled = await client(), poll = await polled.subscribe("poll");
  const twice = (async () => {
    const request = await take(poll);
    await polled.reply(request, "one");
    await polled.reply(request, "two");
  })();
  const found = [];
  for await (const reply of one.requestMany("poll", null, { timeout: PATIENCE_MS, maxReplies: 2 })) found.push(reply.value);
  assert.deepEqual(found, ["one", "two"]);
  await twice;
  const asking = one.request("silent", 1, { timeout: PATIENCE_MS });
  setImmediate(() => one._connectionNow().socket.destroy());
  await assert.rejects(asking, error => error.name === "ConnectionLost");
  await service.unsubscribe();
  await served;
});

test("signals end waiting", async () => {
  const one = await client(), subscription = await one.subscribe("quiet");
  const reason = new Error("enough");
  const soon = () => {
    const controller = new AbortController();
    setImmediate(() => controller.abort(reason));
    return controller.signal;
  };
  await assert.rejects(subscription.take({ signal: soon() }), reason);
  await one.subscribe("aborted");
  await assert.rejects(one.request("aborted", 1, { signal: soon() }), reason);
  await assert.rejects(one.publish("quiet", 1, { signal: AbortSignal.abort(reason) }), reason);
  await assert.rejects(one.subscribe("quiet/2", { signal: AbortSignal.abort(reason) }), reason);
  await assert.rejects(connect(broker.tcp, { signal: AbortSignal.abort(reason) }), reason);
  await one.publish("quiet", 2);
  assert.equal((await take(subscription)).value, 2);
});

test("TLS, with a token and with a password", async () => {
  const directory = await mkdtemp(join(tmpdir(), "pubsub-test-"));
  const [certificate, key, tokens, passwords, config] = ["pem", "key", "tokens", "passwords", "conf"].map(name => join(directory, name));
  const run = (program, args, input) => execFileSync(program, args, { input, stdio: ["pipe", "pipe", "ignore"] }).toString().trim();
  run("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", certificate,
    "-subj", "/CN=test", "-days", "2", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
  await chmod(key, 0o600);
  const token = run(process.env.PUBSUBD, ["token", "new", "bob", "--file", tokens]);
  run(process.env.PUBSUBD, ["passwd", passwords, "ann"], "correct horse\n");
  await writeFile(config, `[limits]\nhandshake_timeout = 1m\n[access]\ntokens = ${tokens}\npasswords = ${passwords}\n[listener plain]\nurl = tcp://127.0.0.1:0\n` +
    `[listener tls]\nurl = tls://127.0.0.1:0\ncertificate = ${certificate}\nkey = ${key}\n`);
  const secure = await Broker.start("--config", config);
  try {
    const ca = await readFile(certificate);
    for (const proof of [{ token }, { user: "ann", password: "correct horse" }]) {
      const one = await connect(secure.tls, { tls: { ca }, connectTimeout: PATIENCE_MS, ...proof }), subscription = await one.subscribe("over/tls");
      await one.publish("over/tls", "x".repeat(300000));
      assert.equal((await take(subscription)).value.length, 300000);
      await one.close();
    }
    await assert.rejects(connect(secure.tls, { tls: { ca }, connectTimeout: PATIENCE_MS, user: "ann", password: "wrong" }), AuthError);
    await assert.rejects(connect(secure.tls), /self.signed certificate/);
    await assert.rejects(connect(secure.tcp.replace("tcp:", "tls:"), { tls: { ca } }), ConnectFailed); // no TLS there
  } finally {
    await secure.stop();
    await rm(directory, { recursive: true });
  }
});

test("the types name what is there", async () => {
  const types = await readFile(new URL("../pubsub.d.ts", import.meta.url), "utf8");
  const named = [...types.matchAll(/^export (?:class|const|function) (\w+)/gm)].map(match => match[1]).sort();
  assert.deepEqual(named, Object.keys(await import("../pubsub.js")).sort());
});

test("connecting", async () => {
  for (const url of ["", "tcp://host", "tcp://:1", "tcp://h:99999", "http://h:1", "unix:", "tls://h:1/path"])
    await assert.rejects(connect([url]), TypeError);
  await assert.rejects(connect([]), TypeError);
  await assert.rejects(connect(broker.tcp, { user: "ann" }), TypeError);
  await assert.rejects(connect("unix:/nowhere/s"), ConnectFailed);
  assert.ok((await client({}, ["unix:/nowhere/s", broker.tcp])).connected);
  await assert.rejects(client({ clientId: "a/b" }), code(117));
  await assert.rejects(client({ token: "mps_wrong" }, broker.tcp), AuthError);
});

test("taken over", async () => {
  const states = [];
  const one = await client({ clientId: "one", on: { connected: () => states.push("connected"), lost: () => states.push("lost"),
    ended: () => states.push("ended") } });
  const subscription = await one.subscribe("t");
  await client({ clientId: "one" });
  await assert.rejects(take(subscription), TakenOver);
  await assert.rejects(one.publish("t", 1), TakenOver);
  assert.deepEqual(states, ["connected", "lost", "ended"]);
});

test("after close", async () => {
  const one = await client(), subscription = await one.subscribe("closed");
  const { answer } = await one.submit("closed", 1);
  await one.close({ timeout: PATIENCE_MS });
  assert.equal((await answer).matched, 1);
  const items = [];
  for await (const item of subscription) items.push(item.value);
  assert.deepEqual(items, [1]);
  await assert.rejects(one.publish("closed", 2), Closed);
  await assert.rejects(one.subscribe("closed"), Closed);
});
