/**
 * Answers questions: what the sum of the numbers is. Several of it share the work.
 *
 *     node service.js TOPIC            ask it: pubsub req TOPIC '[1, 2, 3]' -i json
 */
import { DocumentError, Gap, connect } from "../pubsub.js";

const [topic] = process.argv.slice(2);
if (topic === undefined) {
  console.error("usage: node service.js TOPIC");
  process.exit(2);
}
const client = await connect(undefined, { retryFirst: true });
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => client.close());
const requests = await client.subscribe(topic, { group: "sum" });
console.log("ready");
for await (const item of requests) {
  if (item instanceof Gap) {
    console.error(`lost: ${item}`);
    continue;
  }
  if (item.replyTo === null) continue; // nobody wants to know
  try {
    const numbers = item.value;
    if (!Array.isArray(numbers) || numbers.some(number => typeof number !== "number")) throw new DocumentError("an array of numbers is due");
    await client.reply(item, { sum: numbers.reduce((sum, number) => sum + number, 0) });
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    await client.reply(item, { error: error.message });
  }
}
