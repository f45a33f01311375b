"""An implementation that shares no code with ours speaks to the broker, and sees exactly what the C client sees."""
import json
import os
import subprocess
import sys
import unittest

import msgpack

from brokers import Broker
from mps_client import EACH, MARK, PING, PONG, RETAIN, ROUTED, STAT, UNSUB, Client, Refused

PUBSUB = os.environ.get("PUBSUB", "pubsub")
TIMEOUT_S = 120

DOCUMENTS = [
    "text", "", "é 水 🚰", "two\nlines and a \0 and \x1b[31m", 0, -1, 127, 128, 65536, 2**32, 2**53 - 1, -(2**63), 2**64 - 1, 1.5,
    True, False, None, [], {}, [1, "two", [3.25, None]], {"temp": 21.5, "site": "a", "tags": ["x", "y"]}, "x" * 70000,
    list(range(1000)),
]


class PythonClientTest(unittest.TestCase):
    def setUp(self):
        self.broker = Broker()
        self.addCleanup(self.broker.stop)

    def client(self, **options):
        client = Client(self.broker.unix, **options)
        self.addCleanup(client.socket.close)
        return client

    def c_subscriber(self, count, *arguments):
        process = subprocess.Popen([PUBSUB, "sub", "-s", self.broker.tcp, "-n", str(count), *arguments],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        return process

    def output(self, process):
        out, err = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 0, err.decode(errors="replace"))
        return out

    def publish_until_matched(self, client, topic, matched):
        """The C client is subscribed when this many matched; so it has seen the last of these messages, and no other."""
        count = 1
        while client.publish(topic, "ready") < matched:
            count += 1
        client.wait_messages(count)
        client.messages.clear()

    def test_both_see_the_same_documents(self):
        ours = self.client()
        ours.subscribe(1, "py/#")
        theirs = self.c_subscriber(1 + len(DOCUMENTS), "-o", "json", "py/#")
        self.publish_until_matched(ours, "py/ready", 2)
        for number, document in enumerate(DOCUMENTS):
            self.assertEqual(ours.publish(f"py/{number}", document), 2)
        messages = ours.wait_messages(len(DOCUMENTS))
        self.assertEqual([msgpack.unpackb(payload, strict_map_key=False) for *_, payload in messages], DOCUMENTS)
        seen = [json.loads(line) for line in self.output(theirs).splitlines()][1:]
        self.assertEqual([line["topic"] for line in seen], [topic for _, _, topic, _, _ in messages])
        self.assertEqual([line["payload"] for line in seen], DOCUMENTS)

    def test_both_see_the_same_bytes(self):
        ours = self.client()
        ours.subscribe(1, "py/bytes")
        theirs = self.c_subscriber(1 + len(DOCUMENTS), "-o", "msgpack", "py/bytes")
        self.publish_until_matched(ours, "py/bytes", 2)
        for document in DOCUMENTS:
            ours.publish("py/bytes", document)
        payloads = [payload for *_, payload in ours.wait_messages(len(DOCUMENTS))]
        self.assertEqual(self.output(theirs), msgpack.packb("ready") + b"".join(payloads))

    def test_what_the_c_client_publishes(self):
        ours = self.client()
        ours.subscribe(7, "c/+")
        lines = [f"line {i} é" for i in range(1000)]
        published = subprocess.run([PUBSUB, "pub", "-s", self.broker.unix, "-l", "--ack", "routed", "c/lines"],
                                   input="\n".join(lines).encode(), timeout=TIMEOUT_S, capture_output=True)
        self.assertEqual(published.returncode, 0, published.stderr)
        messages = ours.wait_messages(len(lines))
        self.assertEqual(messages, [(7, 0, "c/lines", None, msgpack.packb(line)) for line in lines])

    def test_retained_values(self):
        publisher, late = self.client(), self.client()
        publisher.publish("kept", {"v": 1}, flags=ROUTED | EACH | RETAIN)
        late.subscribe(1, "kept")
        self.assertEqual(late.messages, [(1, 1, "kept", None, msgpack.packb({"v": 1}))])
        got = subprocess.run([PUBSUB, "get", "-s", self.broker.unix, "-o", "msgpack", "kept"], stdin=subprocess.DEVNULL,
                             timeout=TIMEOUT_S, capture_output=True)
        self.assertEqual((got.returncode, got.stdout), (0, late.messages[0][-1]), got.stderr)

    def test_counts_are_consistent(self):
        ours = self.client()
        ours.subscribe(1, "n", max_msgs=10)
        for number in range(100):
            ours.publish("n", number)
        ours.send(PING, b"barrier")
        ours.until(PONG, b"barrier")
        ours.send(STAT, 1)
        _, _, matched, sent, lost, queued, _ = ours.until(STAT, 1)
        self.assertEqual((matched, matched), (100, sent + lost + queued))
        self.assertEqual((sent, lost), (len(ours.messages), sum(count for _, count, _ in ours.gaps)))
        ours.send(UNSUB, 1)
        counts = ours.until(MARK, 1, 4)[3]
        self.assertEqual(counts["sent"] + counts["lost"], 100)

    def test_refusals_do_not_close(self):
        ours = self.client()
        for topic, code in (("a/+", 210), ("", 210), ("$SYS/x", 211)):
            with self.assertRaises(Refused) as refused:
                ours.publish(topic, 1)
            self.assertEqual(refused.exception.args[0][2], code)
        self.assertEqual(ours.publish("fine", 1), 0)

    def test_a_taken_over_client_is_told(self):
        first = self.client(id="twin")
        self.client(id="twin")
        with self.assertRaises(Refused) as refused:
            first.frame()
        self.assertEqual(refused.exception.args[0][:2], [21, 109])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
