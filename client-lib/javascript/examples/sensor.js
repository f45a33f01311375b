/**
 * Publishes a reading every second and loses none while this program lives: what the broker has not stored is sent again.
 *
 *     node sensor.js TOPIC [COUNT]     needs a broker that keeps TOPIC: pubsubd --durable 'site/#'
 */
import os from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { Ack, connect } from "../pubsub.js";

const [topic, count = "60"] = process.argv.slice(2);
if (topic === undefined) {
  console.error("usage: node sensor.js TOPIC [COUNT]");
  process.exit(2);
}
const client = await connect(undefined, { clientId: `sensor-${os.hostname()}-${process.pid}`, session: 3600, retryFirst: true });
const answers = [];
for (let number = 0; number < Number(count); number++) {
  // Waits only while 8 MiB are not answered: meanwhile the connection may break and come back.
  const { answer } = await client.submit(topic, { number, load: os.loadavg()[0], atMs: Date.now() }, { ack: Ack.STORED });
  answers.push(answer);
  await sleep(Number(process.env.INTERVAL_S ?? "1") * 1000);
}
console.log(`${(await Promise.all(answers)).length} readings are stored`);
await client.close();
