/** A real broker for the tests: $PUBSUBD on a free port and a Unix socket of its own, ready when start() resolves. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const PATIENCE_MS = 60000;

export class Broker {
  static async start(...args) {
    const broker = new Broker();
    broker.dir = await mkdtemp(join(tmpdir(), "pubsub-test-"));
    broker.unix = `unix:${join(broker.dir, "s")}`;
    broker.tcp = "tcp://127.0.0.1:0";
    broker.args = args;
    await broker.begin();
    return broker;
  }

  /** Starts it, again if it was killed, on the addresses that it had before. */
  async begin() {
    const env = { ...process.env, HOME: this.dir, XDG_RUNTIME_DIR: this.dir, XDG_STATE_HOME: this.dir };
    const listens = this.args.includes("--config") ? [] : ["--listen", this.unix, "--listen", this.tcp]; // else the configuration says
    const args = [...listens, "--ready-fd", "3", ...this.args];
    this.process = spawn(process.env.PUBSUBD ?? "pubsubd", args, { env, stdio: ["ignore", "ignore", "pipe", "pipe"] });
    this.said = "";
    this.process.stderr.on("data", data => { this.said += data; });
    let line = "";
    for await (const data of this.process.stdio[3]) line += data;
    if (!line.startsWith("ready")) throw new Error(`pubsubd did not become ready; it said: ${this.said}`);
    const urls = line.trim().split(" ");
    this.tcp = urls.find(url => url.startsWith("tcp:"));
    this.tls = urls.find(url => url.startsWith("tls:"));
  }

  async kill() {
    this.process.kill("SIGKILL");
    if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, "exit");
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill("SIGTERM");
      const [code] = await once(this.process, "exit");
      const isLate = this.said.includes("the disk does not take the last messages in time"); // then what was not acknowledged is given up
      if (code !== 0 && !(code === 1 && isLate)) throw new Error(`pubsubd ended with ${code}; it said: ${this.said}`);
    }
    await rm(this.dir, { recursive: true });
  }
}

/** Stands between client and broker. Lets `budget` bytes of the broker through and holds the rest; cut() throws away what it
 * holds, as a cable that breaks does. */
export class Cut {
  budget = Infinity;
  #pairs = new Set();

  static async to(unix) {
    const cut = new Cut();
    cut.server = net.createServer(client => cut.#serve(client, net.connect({ path: unix.slice("unix:".length) })));
    cut.server.listen(0, "127.0.0.1");
    await once(cut.server, "listening");
    cut.url = `tcp://127.0.0.1:${cut.server.address().port}`;
    return cut;
  }

  #serve(client, broker) {
    const pair = [client, broker];
    this.#pairs.add(pair);
    for (const socket of pair) socket.on("error", () => {});
    client.on("data", data => broker.write(data));
    broker.on("data", data => {
      const part = data.subarray(0, this.budget);
      this.budget -= part.length;
      client.write(part);
    });
    const end = () => {
      this.#pairs.delete(pair);
      for (const socket of pair) socket.destroy();
    };
    client.on("close", end);
    broker.on("close", end);
  }

  cut() {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    this.#pairs.clear();
    this.budget = Infinity;
  }

  close() {
    this.server.close();
    this.cut();
  }
}
