/** While connections break and the broker dies: nothing that was acknowledged is lost, nothing comes twice that must not, and
 * every loss is told with its count. */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Ack, Closed, ConnectionLost, Gap, Message, connect } from "../pubsub.js";
import { Broker, Cut, PATIENCE_MS } from "./broker.js";

let broker;
let opened = [];
beforeEach(async () => { broker = await Broker.start("--durable", "kept/#"); });
afterEach(async () => {
  await Promise.all(opened.map(each => each.close()));
  opened = [];
  await broker.stop();
});

async function client(options = {}, url = broker.unix) {
  const made = await connect(url, { reconnectMin: 1, reconnectMax: 50, connectTimeout: PATIENCE_MS, ...options });
  opened.push(made);
  return made;
}

async function cutter() {
  const cut = await Cut.to(broker.unix);
  opened.push(cut);
  return cut;
}

/** Items up to the message with the value `last`. */
async function all(subscription, last) {
  const items = [];
  while (!(items.at(-1) instanceof Message) || items.at(-1).value !== last) items.push(await subscription.take({ timeout: PATIENCE_MS }));
  return items;
}

const range = (begin, end) => Array.from({ length: end - begin }, (_, i) => begin + i);
const valuesOf = items => items.filter(item => item instanceof Message).map(item => item.value);

test("a broker that is killed again and again", async () => {
  const publisher = await client({ clientId: "publisher", session: 600 }), reader = await client({ clientId: "reader", session: 600 });
  const received = all(await reader.subscribe("kept/#", { from: "all", window: 50 }), 2999);
  const publishing = (async () => {
    const answers = [];
    for (let i = 0; i < 3000; i++) {
      answers.push((await publisher.submit("kept/a", i, { ack: Ack.STORED })).answer);
      if (i % 100 === 0) await sleep(2);
    }
    return Promise.all(answers);
  })();
  for (let i = 0; i < 3; i++) {
    await sleep(20);
    await broker.kill();
    await broker.begin();
  }
  for (const ack of await publishing) assert.ok(ack.code <= 2);
  const items = await received;
  assert.deepEqual(items.filter(item => item instanceof Gap), []);
  assert.deepEqual(valuesOf(items), range(0, 3000));
});

test("what a cut took along is counted exactly", async () => {
  const publisher = await client(), cut = await cutter();
  const listener = await client({ clientId: "listener", session: 600 }, cut.url);
  const subscription = await listener.subscribe("plain", { window: 1000 });
  await publisher.publish("plain", -1);
  assert.equal((await subscription.take()).value, -1);
  cut.budget = 150;
  for (let i = 0; i < 100; i++) await publisher.publish("plain", i);
  const some = await subscription.take();
  cut.cut();
  for (let i = 100; i < 120; i++) await publisher.publish("plain", i);
  const items = [some, ...await all(subscription, 119)];
  const gaps = items.filter(item => item instanceof Gap), place = items.indexOf(gaps[0]);
  assert.equal(gaps.length, 1);
  assert.equal(gaps[0].reason, 0);
  assert.deepEqual(valuesOf(items), [...range(0, place), ...range(place + gaps[0].count, 120)]);
});

test("without a session the loss is told without a count", async () => {
  const publisher = await client(), cut = await cutter();
  const listener = await client({}, cut.url), subscription = await listener.subscribe("plain");
  cut.cut();
  assert.deepEqual(await subscription.take({ timeout: PATIENCE_MS }), new Gap(null, 0));
  await listener.ping();
  await publisher.publish("plain", "after");
  assert.equal((await subscription.take({ timeout: PATIENCE_MS })).value, "after");
});

test("a session that is cut publishes everything once", async () => {
  const cut = await cutter(), one = await client({ clientId: "once", session: 600 }, cut.url);
  const answers = [];
  for (let i = 0; i < 1000; i++) {
    answers.push((await one.submit("kept/once", i)).answer);
    if (i % 200 === 100) {
      cut.budget = 5; // the answers get lost
      await sleep(10);
      cut.cut();
    }
  }
  for (const ack of await Promise.all(answers)) assert.ok(ack.code <= 2);
  assert.deepEqual(valuesOf(await all(await one.subscribe("kept/once", { from: "all" }), 999)), range(0, 1000));
});

test("an acknowledged reader over cuts", async () => {
  const publisher = await client(), cut = await cutter();
  const worker = await client({ clientId: "worker", session: 600 }, cut.url);
  const subscription = await worker.subscribe("kept/work", { ack: "each", durable: true, from: "acked", window: 20 });
  for (let i = 0; i < 500; i++) await publisher.submit("kept/work", i);
  const done = new Set();
  for await (const item of subscription) {
    assert.ok(item instanceof Message);
    done.add(item.value);
    item.ack();
    if (item.value % 100 === 50 && !item.redelivered) cut.cut();
    if (done.size === 500) break;
  }
  assert.deepEqual([...done].sort((a, b) => a - b), range(0, 500));
});

test("requests between publishes do not disturb what is resent", async () => {
  const server = await client(), cut = await cutter(), one = await client({ clientId: "asker", session: 600 }, cut.url);
  await server.subscribe("silent");
  cut.budget = 0;
  const answers = [(await one.submit("kept/between", 0)).answer];
  const asking = assert.rejects(one.request("silent", 1, { timeout: PATIENCE_MS }), ConnectionLost);
  answers.push((await one.submit("kept/between", 1)).answer);
  await sleep(30);
  cut.cut();
  await asking;
  answers.push((await one.submit("kept/between", 2)).answer);
  await Promise.all(answers);
  assert.deepEqual(valuesOf(await all(await one.subscribe("kept/between", { from: "all" }), 2)), [0, 1, 2]);
});

test("publishing between connections waits for the next", async () => {
  const one = await client();
  const lost = once(one, "lost");
  await broker.kill();
  await lost;
  await assert.rejects(one.ping(), ConnectionLost);
  let done = 0;
  const waiting = [one.publish("later", 1), one.subscribe("later")].map(each => each.then(() => { done++; }));
  await sleep(30);
  assert.equal(done, 0);
  await broker.begin();
  await Promise.all(waiting);
});

test("it comes back at a random time", async () => {
  const times = [];
  const server = net.createServer(socket => {
    times.push(performance.now());
    socket.destroy();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const one = await connect(`tcp://127.0.0.1:${server.address().port}`, { retryFirst: true, reconnectMin: 10, reconnectMax: 100 });
  while (times.length < 20) await sleep(10);
  await one.close();
  server.close();
  const waits = times.slice(6).map((time, i) => time - times[i + 5]);
  assert.ok(Math.max(...waits) - Math.min(...waits) > 10, String(waits));
});

test("without reconnecting it ends", async () => {
  const one = await client({ reconnect: false }), subscription = await one.subscribe("t");
  await broker.kill();
  await assert.rejects(subscription.take({ timeout: PATIENCE_MS }), Closed);
  await assert.rejects(one.publish("t", 1), Closed);
});

test("a broker that says nothing more is given up", async () => {
  const one = await client({ keepalive: 1 });
  const lost = once(one, "lost");
  broker.process.kill("SIGSTOP");
  await lost;
  broker.process.kill("SIGCONT");
  await one.publish("t", 1);
});
