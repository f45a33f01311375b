"""`pubsub status`: what a person is told of the broker, and the same as JSON."""
import json
import pty
import re
import signal
import subprocess
import unittest

import brokers
import mps_client
from programs import PUBSUB, CliTest, Program, eventually, fresh_topic, read_terminal, run_without_broker

CONFIG = """
[limits]
max_payload = 2k
[stream kept]
topics = kept/#
max_bytes = 1m
"""


def line(page, title):
    """What stands behind a title."""
    found = re.search(rf"^{title} +(.*)$", page, re.MULTILINE)
    return found and found[1]


def table(page, column):
    """The lines of the table whose last column has this title."""
    block = next((block for block in page.split("\n\n") if re.match(rf"[A-Z ]*\b{column}\n", block)), "")
    return block.rstrip("\n").split("\n")[1:]


class StatusTest(CliTest):
    BROKER = {"config": CONFIG}

    def page(self, *arguments):
        return self.ok("status", "--over", "0", *arguments).decode()

    def report(self):
        return json.loads(self.ok("status", "--json"))


class Page(StatusTest):
    def test_counts_and_tables(self):
        before = self.report()["broker"]
        self.ok("pub", "--ack", "stored", "kept/1", "x")
        self.ok("pub", "-r", fresh_topic(), "a value")
        page = self.page()
        self.assertRegex(line(page, "broker"), r"\Apubsubd [0-9.]+, up for [0-9]+[smhd]\Z")
        self.assertRegex(line(page, "messages"), rf"\A{before['messages_in'] + 2} in \([0-9.k]+\), \d+ out, \d+ lost\Z")
        self.assertRegex(line(page, "memory"), r"\A[0-9.]+[mg] resident; queues [0-9.k]+ of [0-9.]+[mg] \(0 %\), "
                                               r"input \d+ of [0-9.]+[mg] \(0 %\), \d+ retained values? of \d+\Z")
        self.assertRegex(line(page, "disk"), r"\A[0-9.]+[mgtp] of [0-9.]+[mgtp] \(\d+ %\) free\Z")
        self.assertIsNone(line(page, "a second"))
        listeners = "\n".join(table(page, "LISTENER"))
        self.assertIn(self.broker.unix, listeners)
        self.assertRegex(listeners, rf" 0 +0 +0  {re.escape(self.broker.tcp)}")
        self.assertRegex("\n".join(table(page, "STREAM")), r"\A +1 +\d+ +1m +0  kept\Z")

    def test_what_goes_in_and_out_in_a_second(self):
        publisher = Program([PUBSUB, "pub", "-s", self.url, "-n", "100000000", "--rate", "500", fresh_topic(), "x"])
        self.addCleanup(publisher.stop)
        topic_seen = lambda: line(self.page("--over", "300ms"), "a second") not in (None, "0 in (0), 0 out, 0 lost")
        self.assertTrue(eventually(topic_seen))
        rates = re.compile(r"[1-9]\d* in \([0-9.k]+\), \d+ out, 0 lost")
        self.assertTrue(eventually(lambda: rates.fullmatch(line(self.ok("status").decode(), "a second"))))

    def test_who_is_slow(self):
        topic = fresh_topic()
        self.assertEqual(table(self.page(), "SLOWEST SUBSCRIPTIONS"), [])
        reader = mps_client.Client(self.url, id="sleepy")
        self.addCleanup(reader.socket.close)
        reader.subscribe(3, topic, credit=0, max_msgs=2)
        for _ in range(5):
            self.ok("pub", topic, "x")
        lag = re.compile(rf" *\d+\.\ds +2 +\d+ +3  {topic}  client sleepy")
        self.assertTrue(eventually(lambda: any(map(lag.fullmatch, table(self.page(), "SLOWEST SUBSCRIPTIONS")))))

    def test_what_limits_refused(self):
        self.assertIsNone(line(self.page(), "refused by"))
        self.assertEqual(self.run_cli("pub", "--ack", "routed", fresh_topic(), "x" * 3000).code, 5)
        raw = mps_client.Client(self.url)
        self.addCleanup(raw.socket.close)
        self.assertRaises(mps_client.Refused, raw.publish, fresh_topic(), "x" * 3000)
        self.assertEqual(line(self.page(), "refused by"), "max_payload 1")

    def test_names_of_others_do_not_drive_the_terminal(self):
        topic = fresh_topic() + "/\x1b[2J\u202e"
        reader = mps_client.Client(self.url)
        self.addCleanup(reader.socket.close)
        reader.subscribe(1, topic, credit=0)
        self.ok("pub", topic, "x")
        master, terminal = pty.openpty()
        with open(master, "rb", buffering=0) as shown:
            with open(terminal, "wb", buffering=0) as other:
                self.assertTrue(eventually(lambda: table(self.page(), "SLOWEST SUBSCRIPTIONS")))
                done = subprocess.run([PUBSUB, "status", "-s", self.url, "--over", "0"], stdout=other, timeout=120)
            seen = read_terminal(shown)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"[2J", seen)
        self.assertNotIn(b"\x1b", seen)
        self.assertNotIn("\u202e", seen.decode())
        # Nor through a pipe: `watch` and ssh show what comes out of it.
        self.assertIn(r"\x1b[2J\u202e", self.page())


class Json(StatusTest):
    def test_everything(self):
        reader = mps_client.Client(self.url, id="somebody")
        self.addCleanup(reader.socket.close)
        reader.subscribe(5, "status/json/#")
        report = self.report()
        self.assertEqual(set(report), {"now_ms", "broker", "limits", "listeners", "subscriptions", "groups", "connections",
                                       "streams", "cluster"})
        mine = [entry for entry in report["connections"]["list"] if entry["client"] == "somebody"]
        self.assertEqual(len(mine), 1)
        self.assertEqual((mine[0]["listener"], mine[0]["subscriptions"], mine[0]["user"]), (self.url, 1, None))
        self.assertRegex(mine[0]["peer"], r"\Aunix,uid:\d+\Z")
        patterns = [entry["pattern"] for entry in report["subscriptions"]["list"]]
        self.assertIn("status/json/#", patterns)
        self.assertEqual([stream["name"] for stream in report["streams"]["list"]], ["kept"])
        self.assertEqual(self.ok("status", "--json").count(b"\n"), 1)


class Failing(StatusTest):
    def refused(self, code, *arguments):
        done = self.run_cli("status", *arguments)
        self.assertEqual((done.stdout, done.code), (b"", code), done.stderr)
        self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
        return done.stderr

    def test_usage(self):
        self.assertIn("'surplus'", self.refused(2, "surplus"))
        self.assertIn("--over", self.refused(2, "--over", "soon"))
        self.assertIn("--over", self.refused(2, "--over", "2h"))

    def test_nobody_there(self):
        self.refused(3, "-s", f"unix:{self.broker.dir}/nobody")

    def test_the_broker_goes_meanwhile(self):
        with brokers.Broker() as broker:
            asking = Program([PUBSUB, "status", "-s", broker.unix, "--over", "1h"])
            self.addCleanup(asking.stop)
            self.assertTrue(eventually(lambda: asking.handles(signal.SIGTERM)))  # as soon as it is connected
            broker.process.send_signal(signal.SIGTERM)
            self.assertEqual(asking.wait(), 7)
            self.assertRegex(asking.stderr(), r"\Apubsub: [^\n]+\n\Z")

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PUBSUB, "status", "--json", "-s", self.url], stdout=full, stderr=subprocess.PIPE,
                                  timeout=120)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write to standard output", done.stderr)

    def test_it_needs_the_right_sys(self):
        config = "[access]\n[user watcher]\ngroups = watchers\n[group everybody]\nsubscribe = #\n" \
                 "[group watchers]\nrights = sys\n"
        with brokers.Broker(config=config) as broker:
            done = run_without_broker("status", "--json", "-s", broker.tcp)
            self.assertEqual((done.stdout, done.code), (b"", 4), done.stderr)
            self.assertIn("sys", done.stderr)


if __name__ == "__main__":
    unittest.main()
