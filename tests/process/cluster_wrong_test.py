"""NATS servers that can't keep what brokers share, and brokers of the same name: each is told in a sentence, and a broker serves its own
clients whatever the cluster is like."""
import pathlib
import tempfile
import unittest

import brokers
import cluster
import raw
from programs import fresh_topic, run_without_broker

STREAM = "[stream orders]\ntopics = orders/#\nstore = jetstream\nmax_bytes = 10m\n"
BUCKET = "something does not work in the cluster: the bucket of shared records KV_pubsub-records: "
SHARED = "stream 'orders' is away: the shared stream pubsub-stream-orders: "


@unittest.skipIf(cluster.missing(), cluster.missing())
class Wrong(unittest.TestCase):
    def serve(self, has_jetstream=True):
        """A NATS server's URL."""
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        server = cluster.Server(0, pathlib.Path(directory.name, "server"))
        server.configure([])
        if not has_jetstream:
            file = server.dir / "nats-server.conf"
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if not line.startswith("jetstream")))
        server.start()
        self.addCleanup(server.kill)
        cluster.wait_for(lambda: server.check() or server.ask("/varz"), "the server answers")
        return server.url

    def start(self, url, name="here", more=""):
        broker = brokers.Broker(config=f"[cluster]\nname = {name}\nurl = {url}\n{more}")
        self.addCleanup(broker.stop)
        return broker

    def says(self, broker, *texts):
        cluster.wait_for(lambda: all(text in broker.said() for text in texts), lambda: f"{texts}; it said: {broker.said()}")

    def assert_serves(self, broker):
        """Its own clients, with what is retained."""
        topic = fresh_topic()
        with raw.welcomed(broker.unix) as publisher, raw.welcomed(broker.tcp) as subscriber:
            subscriber.tell(raw.SUB, 1, topic, {"retained": 2})
            subscriber.answer(raw.SUBACK)
            publisher.tell(raw.PUB, 1, raw.ROUTED | raw.RETAIN)
            publisher.tell(raw.MSG, topic, None, b"\x01")
            self.assertLess(publisher.answer(raw.PUBACK)[2], 200)
            self.assertEqual(subscriber.answer(raw.MSG)[1], topic)
            subscriber.tell(raw.SUB, 2, topic, {})
            subscriber.answer(raw.SUBACK)
            self.assertEqual(subscriber.answer(raw.MSG)[3], b"\x01")

    def assert_prints(self, broker, text, *command):
        done = run_without_broker(*command, "-s", broker.unix)
        self.assertEqual(done.code, 0, done.stderr)
        self.assertIn(text, done.stdout.decode())

    def assert_status(self, broker, text):
        self.assert_prints(broker, text, "status")

    def test_without_jetstream(self):
        broker = self.start(self.serve(has_jetstream=False), more=STREAM)
        why = "JetStream does not answer for it: it may have no leader, or not be enabled"
        self.says(broker, f"{BUCKET}{why}\n", f"{SHARED}{why}\n")
        self.assert_serves(broker)
        self.assert_status(broker, why)

    def test_without_jetstream_nor_streams(self):
        """What is retained is not shared then: it is said all the same, once."""
        broker = self.start(self.serve(has_jetstream=False))
        self.says(broker, BUCKET)
        self.assert_serves(broker)
        self.assertEqual(broker.said().count("something does not work"), 1, broker.said())

    def test_more_copies_than_servers(self):
        broker = self.start(self.serve(), more=f"replicas = 3\ndefer_time = 1s\n{STREAM}replicas = 3\n")
        why = "replicas > 1 not supported in non-clustered mode"
        self.says(broker, f"{BUCKET}{why}\n", f"{SHARED}{why}\n")
        self.assert_serves(broker)
        self.assert_status(broker, " orders (AWAY)\n")
        self.assert_prints(broker, " orders (AWAY)\n", "stream", "ls")
        self.assert_prints(broker, "away        the cluster does not answer for it", "stream", "info", "orders")
        with raw.welcomed(broker.unix) as publisher:
            publisher.tell(raw.PUB, 1, raw.REPLICATED)
            publisher.tell(raw.MSG, "orders/1", None, b"\x01")
            self.assertIn(f"could not be reached within 1000 ms ({why})", str(publisher.answer(raw.PUBACK)))

    def test_two_of_the_same_name(self):
        url = self.serve()
        twins = [self.start(url, "twin") for _ in range(2)]
        for twin in twins:
            self.says(twin, "another broker has this one's name 'twin': what it sends is not taken, each needs a name of its own")
            self.assert_serves(twin)


if __name__ == "__main__":
    unittest.main()
