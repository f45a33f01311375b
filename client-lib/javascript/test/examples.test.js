/** The example programs and the README's first program, as somebody who tries them out would see them. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect } from "../pubsub.js";
import { Broker, PATIENCE_MS } from "./broker.js";

const package_ = join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "..");
let broker, client;
before(async () => {
  broker = await Broker.start("--durable", "site/#");
  client = await connect(broker.unix, { connectTimeout: PATIENCE_MS });
});
after(async () => {
  await client.close();
  await broker.stop();
});

function start(script, ...args) {
  const program = spawn(process.execPath, [join(package_, script), ...args],
    { env: { ...process.env, PUBSUB_URL: broker.unix, INTERVAL_S: "0.01" }, stdio: ["ignore", "pipe", "pipe"], timeout: PATIENCE_MS });
  program.out = program.err = "";
  program.stdout.on("data", data => { program.out += data; });
  program.stderr.on("data", data => { program.err += data; });
  return program;
}

async function ended(program) {
  const [code] = await once(program, "close");
  assert.deepEqual([code, program.err], [0, ""]);
  return program.out;
}

test("sensor", async () => {
  assert.equal(await ended(start("examples/sensor.js", "site/a/load", "5")), "5 readings are stored\n");
  const stored = await client.subscribe("site/a/load", { from: "all" });
  for (let number = 0; number < 5; number++) assert.equal((await stored.take({ timeout: PATIENCE_MS })).value.number, number);
});

test("service", async () => {
  const service = start("examples/service.js", "sum");
  while (!service.out.includes("ready\n")) await once(service.stdout, "data");
  assert.deepEqual((await client.request("sum", [1, 2, 3], { timeout: PATIENCE_MS })).value, { sum: 6 });
  assert.deepEqual((await client.request("sum", "x", { timeout: PATIENCE_MS })).value, { error: "an array of numbers is due" });
  assert.match((await client.request("sum", null, { raw: Buffer.from("x"), timeout: PATIENCE_MS })).value.error, /content type 0/);
  const end = ended(service);
  service.kill("SIGTERM");
  await end;
});

test("the README's first program", async () => {
  const [, code] = /```js\n(.*?)```/s.exec(await readFile(join(package_, "README.md"), "utf8"));
  assert.ok(code.includes('"tcp://127.0.0.1:7717"'));
  const script = "readme-program.mjs";
  await writeFile(join(package_, script), code.replace("tcp://127.0.0.1:7717", broker.tcp).replace('"pubsub-mps"', '"./pubsub.js"'));
  assert.equal(await ended(start(script)), "site/a/temp { t: 21.5 }\n");
});
