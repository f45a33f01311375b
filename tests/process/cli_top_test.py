"""`pubsub top`: its full screen on a terminal, and what it prints without one."""
import json
import os
import signal
import subprocess
import time
import unittest

import brokers
import mps_client
import raw
from programs import CliTest, PATIENCE_S, PUBSUB, Program, eventually, fresh_topic, run_without_broker, scaled
from terminal import Terminal

EVIL = "evil/\x1b[31m\x1b]0;title\x07\u009b2J\u202eb"  # colours, a title, a clear screen, and from right to left
EVIL_SHOWN = r"evil/\x1b[31m\x1b]0;title\x07\u009b2J\u202eb"


def retry(condition):
    """What another process does by and by."""
    if not eventually(condition):
        raise AssertionError("it did not happen")


class TopTest(CliTest):
    def top(self, *arguments, **options):
        """`pubsub top` on a terminal, as soon as it shows something."""
        terminal = Terminal("top", "-s", self.url, "--interval", "100ms", *arguments, **options)
        self.addCleanup(terminal.stop)
        terminal.until(lambda _: "[" in terminal.text())
        return terminal

    def client(self, **terms):
        client = mps_client.Client(self.url, timeout_s=PATIENCE_S, **terms)
        self.addCleanup(client.socket.close)
        return client

    def publisher(self, topic):
        """Goes on publishing there."""
        publisher = Program([PUBSUB, "pub", "-s", self.url, "-n", "1000000", "--rate", "200", topic, "x"])
        self.addCleanup(publisher.stop)
        return publisher

    def slow(self, name, topic):
        """A subscription that takes nothing and that the broker finds slow: of a client of that name, of five messages."""
        client = self.client(id=name)
        client.subscribe(1, topic, credit=0)
        for _ in range(5):
            self.ok("pub", "--require", "1", topic, "hello")
        return client

    def once(self, *arguments):
        return json.loads(self.ok("top", "--once", "--json", "--interval", "100ms", *arguments))


class Screen(TopTest):
    def test_topics(self):
        topic = fresh_topic()
        self.publisher(topic)
        top = self.top()

        def rate(_):
            line = next((line for line in top.lines() if line.endswith(topic)), "0")
            return float(line.split()[0].replace("-", "0").replace("k", "e3")) > 0
        top.until(rate)
        self.assertIn("↓MSG/S", top.text())
        self.assertIn("[1 topics", top.text())
        top.type("q")
        self.assertEqual(top.end(), 0)

    def test_slow_subscriptions_stand_out(self):
        topic = fresh_topic()
        self.slow("stuck", topic)
        quick = self.client(id="quick")
        quick.subscribe(1, topic + "/none")
        top = self.top("--view", "subscriptions", columns=120)
        line = top.until(lambda _: next((line for line in top.lines() if line.startswith("! ") and "stuck" in line), None))
        self.assertEqual(line.split()[2], "5")  # queued
        self.assertTrue(line.endswith(topic), line)
        self.assertTrue(top.line_with("quick").startswith("  "))
        style = top.style_of("! ")
        self.assertEqual((style.fg, style.bold), ("red", True))
        self.assertEqual(top.style_of("quick").fg, "default")
        self.assertRegex(top.text(), r"\[2 subscriptions \d+, \d+ slow\]")

    def test_connections(self):
        self.client(id="me-and-no-other")
        top = self.top("--view", "connections", columns=150)
        self.assertIn("unix,uid:", top.line_with("me-and-no-other"))

    def test_keys(self):
        topics = [fresh_topic() + name for name in ("/first", "/second")]
        top = self.top()
        for topic in topics:
            self.ok("pub", topic, "x")
            top.shows(topic)
        top.type("\t")
        top.shows("[2 subscriptions")
        top.type("\x1b\t")  # back
        top.shows("[1 topics")
        top.type("s")
        top.shows("↓BYTES/S")
        top.type("r")
        top.shows("↑BYTES/S")
        top.type("\x1b[D")  # left
        top.shows("↓MSG/S")
        top.type("/FIRST")
        top.until(lambda _: topics[1] not in top.text() and topics[0] in top.text() and top.lines()[-1] == "/FIRST")
        top.type("\r")
        top.shows("only with 'FIRST'")
        top.type("\x1b")
        top.shows(topics[1])
        top.type("?")
        top.shows("scroll by a page")
        top.type("?")
        top.shows("[1 topics")
        top.type("q")
        self.assertEqual(top.end(), 0)

    def test_pause(self):
        topic = fresh_topic()
        top = self.top()
        top.type(" ")
        top.shows("paused")
        self.ok("pub", topic, "x")
        top.type("\t")
        top.shows("[2 subscriptions")  # it still does what keys say, and that came after any report that was under way
        top.type("1")
        top.shows("[1 topics")
        self.assertNotIn(topic, top.text())
        top.type(" ")
        self.ok("pub", topic, "x")
        top.shows(topic)

    def test_resizing(self):
        topic = fresh_topic()
        top = self.top()
        self.ok("pub", topic, "x")
        top.shows(topic)
        for rows, columns in ((5, 20), (40, 160), (3, 10), (1, 1), (2, 300), (24, 80)):
            top.resize(rows, columns)
            if (rows, columns) == (5, 20):
                top.until(lambda _: "[1 topics" in top.lines()[0] and "↓MSG/S" in top.lines()[1])
            elif rows > 20:
                top.until(lambda _: top.lines()[-1].startswith("q quit") and topic in top.text())
                self.assertTrue(top.lines()[0].startswith("pubsub top"), top.text())
        top.type("q")
        self.assertEqual(top.end(), 0)

    def test_what_others_have_named(self):
        top = self.top("--filter", "evil/", columns=120)
        self.ok("pub", EVIL, "x")
        top.shows(EVIL_SHOWN)
        self.assertNotIn(EVIL.encode(), top.raw)
        for part in (b"\x1b[31m", b"\x1b]0;", b"\x07", "\u009b".encode(), "\u202e".encode()):
            self.assertNotIn(part, top.raw)
        self.ok("pub", "evil/größe/温度", "x")
        top.until(lambda _: "größe/温" in top.text().replace(" ", ""))

    def test_without_colour(self):
        topic = fresh_topic()
        self.slow("colourless", topic)
        top = self.top("--view", "subscriptions", columns=120, environment={"NO_COLOR": "1"})
        top.until(lambda _: any(line.startswith("! ") and "colourless" in line for line in top.lines()))
        self.assertNotRegex(top.raw, rb"\x1b\[[0-9;]*3[0-7][;m]")
        self.assertEqual(top.style_of("! ").fg, "default")
        self.assertTrue(top.style_of("! ").bold)

    def test_the_terminal_is_as_before(self):
        for keys, code in (("q", 0), ("\x03", 128 + signal.SIGINT)):
            top = self.top(environment={"TERM": "xterm"})
            self.assertNotEqual(top.modes(), top.before)
            top.type(keys)
            self.assertEqual(top.end(), code)
            self.assertEqual(top.modes(), top.before)
            self.assertIn(b"\x1b[?1049h", top.raw)  # a screen of its own
            self.assertLess(top.raw.rindex(b"\x1b[?1049h"), top.raw.rindex(b"\x1b[?1049l"))
            self.assertNotIn(b"pubsub: ", top.raw)

    def test_stopped_and_continued(self):
        top = self.top(shell='"$@"; echo "stopped: $?"; read -r; fg >/dev/null; echo "ended: $?"')
        top.type("\x1a")  # Ctrl-Z
        top.shows(f"stopped: {128 + signal.SIGTSTP}")
        top.screen.reset()
        top.type("\n")
        top.shows("[1 topics")
        top.type("q")
        top.shows("ended: 0")
        self.assertEqual(top.end(), 0)

    def test_a_terminal_that_goes_away(self):
        top = self.top()
        top.hang_up()
        self.assertIn(top.process.wait(PATIENCE_S), (-signal.SIGHUP, 128 + signal.SIGHUP))

    def test_a_broker_that_goes_away(self):
        with brokers.Broker() as broker:
            top = Terminal("top", "-s", broker.unix, "--interval", "100ms", columns=120)
            self.addCleanup(top.stop)
            top.shows("[1 topics")
            broker.kill()
            # What follows may have taken the place of the first when we look.
            told = top.until(lambda _: next((text for text in ("lost connection", "cannot connect again") if text in top.text()), None))
            self.assertTrue(top.style_of(told).reverse)
            top.type("\t")  # one can go on looking at what was there
            top.shows("[2 subscriptions")
            broker.start()
            top.until(lambda _: "connect" not in top.lines()[-1])
            publisher = Program([PUBSUB, "pub", "-s", broker.unix, "-n", "1000000", "--rate", "20", "back/again", "x"])
            self.addCleanup(publisher.stop)  # more than once: the broker counts topics only since top has asked it again
            top.type("1")
            top.shows("back/again")
            top.type("q")
            self.assertEqual(top.end(), 0)


class Printed(TopTest):
    def test_text(self):
        topic = fresh_topic()
        self.publisher(topic)
        self.slow("printed-slow", "printed/slow")

        def told():
            lines = self.ok("top", "--once", "--interval", "100ms").decode().splitlines()
            row = next((line for line in lines if line.endswith(topic)), "")
            slow = next((line for line in lines if "printed-slow" in line), "")
            self.assertTrue(lines[0].startswith("in "), lines)
            self.assertEqual([line.split()[0] for line in lines if line and not line.startswith((" ", "!"))][2:],
                             ["topics", "subscriptions", "connections", "groups", "streams"])
            return row and float(row.split()[0]) > 0 and slow.startswith("! ") and slow.endswith("printed/slow")
        retry(told)

    def test_what_is_printed_of_it(self):
        for name in ("printed/a", "printed/b", "printed/c", EVIL):
            client = self.client()
            client.subscribe(1, name)
        lines = self.ok("top", "--once", "--interval", "100ms", "--view", "subscriptions", "--sort", "pattern",
                        "--filter", "PRINTED/").decode().splitlines()
        self.assertTrue(lines[3].startswith("subscriptions "), lines)
        self.assertTrue(lines[4].endswith("PATTERN↓"), lines)
        patterns = [line.split()[-1] for line in lines[5:]]
        self.assertEqual(patterns, sorted(patterns))
        self.assertLessEqual({"printed/a", "printed/b", "printed/c"}, set(patterns))
        lines = self.ok("top", "--once", "--interval", "100ms", "--view", "subscriptions", "--rows", "1", "--filter",
                        "evil/").decode().splitlines()
        self.assertEqual(len(lines), 6)
        self.assertTrue(lines[5].endswith(EVIL_SHOWN), lines)

    def test_json(self):
        topic = fresh_topic()
        self.slow("json-slow", topic)

        def is_slow():
            told = self.once()
            self.assertEqual(set(told), {"now_ms", "elapsed_ms", "broker", "topics", "subscriptions", "connections", "groups",
                                         "streams"})
            self.assertGreater(told["elapsed_ms"], 0)
            row = next(row for row in told["subscriptions"]["list"] if row["client"] == "json-slow")
            self.assertEqual((row["queued"], row["sent"], row["matched"], row["pattern"], row["sent_per_s"]),
                             (5, 0, 5, topic, 0))
            return row["slow"] and row["lag_ms"] >= 1000
        retry(is_slow)
        self.assertEqual(set(self.once("--view", "streams")), {"now_ms", "elapsed_ms", "broker", "streams"})

    def test_rates_add_up(self):
        """An object a line: what is published meanwhile is in the rates, all of it and once."""
        topic, count = fresh_topic(), scaled(5000)
        printer = subprocess.Popen([PUBSUB, "top", "-s", self.url, "--json", "--interval", "100ms", "--view", "topics",
                                    "--filter", topic], stdout=subprocess.PIPE)
        self.addCleanup(printer.wait, PATIENCE_S)
        self.addCleanup(printer.stdout.close)
        self.addCleanup(printer.kill)
        json.loads(printer.stdout.readline())  # counting has begun
        self.ok("pub", "-l", "--ack", "routed", topic, stdin=b"hello\n" * count)
        messages = bytes_in = total = 0
        while total < count:
            told = json.loads(printer.stdout.readline())
            for row in told["topics"]["list"]:
                messages += row["messages_per_s"] * told["elapsed_ms"] / 1000
                bytes_in += row["bytes_per_s"] * told["elapsed_ms"] / 1000
                total = row["messages"]
        self.assertAlmostEqual(messages, count, delta=1)
        self.assertEqual(total, count)
        self.assertGreater(bytes_in, count * len(topic))

    def test_nobody_reads_it(self):
        read, write = os.pipe()
        printer = subprocess.Popen([PUBSUB, "top", "-s", self.url, "--json", "--interval", "100ms"], stdout=write,
                                   stderr=subprocess.PIPE)
        os.close(write)
        os.close(read)
        _, said = printer.communicate(timeout=PATIENCE_S)
        self.assertEqual((printer.returncode, said), (0, b""))

    def test_a_broker_that_goes_away(self):
        with brokers.Broker() as broker:
            printer = Program([PUBSUB, "top", "-s", broker.unix, "--json", "--interval", "100ms"])
            self.addCleanup(printer.stop)
            retry(printer.stdout)
            broker.kill()
            retry(lambda: "lost connection" in printer.stderr())
            seen = len(printer.stdout())
            broker.start()
            retry(lambda: len(printer.stdout()) > seen)
            self.assertIn("pubsub: connected again\n", printer.stderr())
            printer.process.send_signal(signal.SIGINT)
            self.assertEqual(printer.wait(), 128 + signal.SIGINT)
            for line in printer.stdout().splitlines():
                json.loads(line)


class Refused(TopTest):
    def refused(self, code, *arguments, **environment):
        done = run_without_broker("top", *arguments, PUBSUB_URL=self.url, **environment)
        self.assertEqual((done.stdout, done.code), (b"", code), done.stderr)
        self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
        return done.stderr

    def test_usage(self):
        self.assertIn("no terminal", self.refused(2))
        self.assertIn("too many arguments: 'x'", self.refused(2, "--once", "x"))
        self.assertIn("not one of topics, subscriptions, connections, groups, streams", self.refused(2, "--view", "x"))
        self.assertIn("no view has such a column", self.refused(2, "--once", "--sort", "x"))
        self.assertIn("topics have no such column", self.refused(2, "--once", "--view", "topics", "--sort", "lag_ms"))
        self.assertIn("must be at least 100ms", self.refused(2, "--once", "--interval", "50ms"))
        self.assertIn("must be at most 10000", self.refused(2, "--once", "--rows", "10001"))
        self.assertIn("at most 63 bytes", self.refused(2, "--once", "--filter", "x" * 64))

    def test_no_broker(self):
        self.assertIn("cannot connect", self.refused(3, "--once", "-s", "unix:/nowhere/s"))

    def test_who_may_not(self):
        config = "[broker]\nsys_interval = 10s\n[access]\ndefault_group = others\n[group others]\npublish = #\n"
        with brokers.Broker(config=config) as broker:
            done = run_without_broker("top", "--once", "-s", broker.tcp)
            self.assertEqual((done.stdout, done.code), (b"", 4), done.stderr)
            self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
            top = Terminal("top", "-s", broker.tcp)  # told before there is a screen
            self.addCleanup(top.stop)
            self.assertEqual(top.end(), 4)
            self.assertRegex(top.raw, rb"\Apubsub: [^\n]+\r\n\Z")

    def test_terminals_without_a_full_screen(self):
        for kind in ("dumb", "no-such-terminal", ""):
            top = Terminal("top", "-s", self.url, environment={"TERM": kind})
            self.addCleanup(top.stop)
            self.assertEqual(top.end(), 2, top.raw)
            self.assertRegex(top.raw, rb"pubsub: no full screen: [^\n]+; --once prints text, --json objects\r\n\Z")
            self.assertEqual(top.modes(), top.before)


if __name__ == "__main__":
    unittest.main()
