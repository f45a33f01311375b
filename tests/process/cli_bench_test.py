"""`pubsub bench`: that what it counts is right, and how it ends. How fast anything is, no test asks."""
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import unittest

import brokers
from programs import CliTest, PATIENCE_S, PUBSUB, Program, eventually, fresh_topic, read_terminal, run_without_broker

COUNT = 2000
KEYS = {"kind", "topic", "seconds", "messages", "bytes", "messages_per_s", "mb_per_s", "p50_us", "p99_us", "p999_us",
        "max_us", "samples", "lost", "wrong", "end"}
PUBLISHED_KEYS = KEYS | {"size", "topics"}


class Running(Program):
    """A `pubsub bench` that goes on meanwhile."""

    def __init__(self, test, url, *arguments):
        super().__init__([PUBSUB, "bench", "-s", url, *arguments])
        test.addCleanup(self.stop)


class BenchTest(CliTest):
    def receiving(self, topic, *arguments, url=None):
        """A `bench sub` that is subscribed."""
        waiting = Running(self, url or self.url, "sub", "--topic", topic, "--json", *arguments)
        self.assertTrue(eventually(lambda: waiting.stderr() or waiting.process.poll() is not None))
        self.assertEqual(waiting.stderr(), f"pubsub: waiting for 'pubsub bench pub --topic {topic}'\n")
        return waiting

    def figures(self, *arguments):
        return json.loads(self.ok("bench", "--json", *arguments))

    def check(self, figures, messages, size=64):
        """All were counted, none lost, and the figures are such as can be."""
        self.assertEqual((figures["messages"], figures["bytes"]), (messages, messages * size))
        self.assertEqual((figures["lost"], figures["wrong"]), (0, 0))
        self.assertGreater(figures["samples"], 0)
        self.assertGreater(figures["seconds"], 0)
        self.assertLessEqual(0, figures["p50_us"])
        self.assertLessEqual(figures["p50_us"], figures["p99_us"])
        self.assertLessEqual(figures["p99_us"], figures["p999_us"])
        self.assertLessEqual(figures["p999_us"], figures["max_us"])


class Counts(BenchTest):
    def test_pub(self):
        for options in ([], ["--ack", "none"], ["--rate", "20000"], ["--window", "1"], ["--topics", "7"]):
            with self.subTest(options=options):
                figures = self.figures("pub", "-n", str(COUNT), *options)
                self.assertEqual(set(figures), PUBLISHED_KEYS)
                self.assertEqual((figures["kind"], figures["end"]), ("pub", "count"))
                self.assertRegex(figures["topic"], r"\Abench/[0-9a-f]{8}\Z")
                self.check(figures, COUNT)

    def test_fan(self):
        for options in ([], ["--ack", "routed"], ["--topics", "7"], ["--window", "1"], ["--rate", "20000"]):
            with self.subTest(options=options):
                figures = self.figures("fan", "-n", str(COUNT), "--subscribers", "3", *options)
                self.assertEqual(set(figures), PUBLISHED_KEYS | {"subscribers", "lost_told"})
                self.assertEqual((figures["kind"], figures["subscribers"], figures["end"]), ("fan", 3, "count"))
                self.check(figures, 3 * COUNT)

    def test_latency(self):
        for options in ([], ["--ack", "routed"], ["--topics", "3"]):
            with self.subTest(options=options):
                figures = self.figures("latency", "-n", str(COUNT), *options)
                self.assertEqual(set(figures), PUBLISHED_KEYS | {"lost_told"})
                self.assertEqual((figures["kind"], figures["end"]), ("latency", "count"))
                self.check(figures, COUNT)
                self.assertEqual(figures["samples"], COUNT)

    def test_sub(self):
        for options in ([], ["--topics", "7"], ["--ack", "none"]):
            with self.subTest(options=options):
                topic = fresh_topic()
                waiting = self.receiving(topic)
                self.check(self.figures("pub", "--topic", topic, "-n", str(COUNT), *options), COUNT)
                self.assertEqual(waiting.wait(), 0)
                figures = json.loads(waiting.stdout())
                self.assertEqual(set(figures), KEYS | {"lost_told"})
                self.assertEqual((figures["kind"], figures["topic"], figures["end"]), ("sub", topic, "publishers"))
                self.check(figures, COUNT)

    def test_sub_of_a_part(self):
        topic = fresh_topic()
        waiting = self.receiving(topic, "-n", "100")
        self.ok("bench", "pub", "--topic", topic, "-n", str(COUNT))
        self.assertEqual(waiting.wait(), 0)
        figures = json.loads(waiting.stdout())
        self.assertEqual((figures["messages"], figures["lost"], figures["end"]), (100, 0, "count"))

    def test_sizes(self):
        for size, text in ((32, "32"), (33, "33"), (300, "300"), (65536, "64k"), (1 << 20, "1m")):
            with self.subTest(size=size):
                self.check(self.figures("fan", "--subscribers", "2", "-n", "40", "--size", text), 80, size)

    def test_one_message(self):
        for kind in ("pub", "latency"):
            self.check(self.figures(kind, "-n", "1"), 1)
        self.check(self.figures("fan", "-n", "1", "--subscribers", "1"), 1)

    def test_time(self):
        for kind in ("pub", "fan", "latency"):
            with self.subTest(kind=kind):
                figures = self.figures(kind, "--for", "100ms", "--size", "256")
                self.assertEqual(figures["end"], "time")
                self.check(figures, figures["messages"], 256)
                self.assertGreater(figures["messages"], 0)

    def test_ids(self):
        self.check(self.figures("fan", "-n", "10", "--subscribers", "3", "--id", "measuring"), 30)

    def test_table(self):
        for arguments, counted, messages in ((["pub"], "acknowledged", "2,000"), (["latency"], "received", "2,000"),
                                             (["fan", "--subscribers", "3"], "received", "6,000")):
            with self.subTest(arguments=arguments):
                text = self.ok("bench", *arguments, "-n", str(COUNT)).decode()
                self.check_table(text, arguments[0], counted, messages)
        topic = fresh_topic()
        waiting = Running(self, self.url, "sub", "--topic", topic)
        self.assertTrue(eventually(waiting.stderr))
        self.ok("bench", "pub", "--topic", topic, "-n", str(COUNT))
        self.assertEqual(waiting.wait(), 0)
        self.check_table(waiting.stdout().decode(), "sub", "received", "2,000")

    def check_table(self, text, kind, counted, messages):
        lines = text.splitlines()
        self.assertRegex(lines[0], rf"\A{kind}: messages .*{counted}.* in \d+\.\d\d s")
        self.assertEqual(lines[2].split(), ["messages", "messages/s", "MB/s", "p50", "p99", "p99.9", "max", "lost"])
        time = r"\d+(?:\.\d+)? (?:ns|us|ms|s)"
        self.assertRegex(lines[3], rf"\A +{messages} +[\d,]+ +\d+\.\d(?: +{time}){{4}} +0\Z")
        shares = [float(share) for share in re.findall(rf"(?m)^  < +{time} +(\d+\.\d\d) %", text)]
        self.assertAlmostEqual(sum(shares), 100, delta=0.2)


class Ends(BenchTest):
    # (arguments, part of the one line on stderr)
    WRONG_USAGE = [
        ([], "pub, sub, fan or latency"),
        (["pubb"], "bench pubb: not one of pub, sub, fan, latency"),
        (["pub", "extra"], "too many arguments: 'extra'"),
        (["sub"], "sub needs --topic"),
        (["pub", "--size", "31"], "--size 31: must be at least 32 bytes"),
        (["pub", "--size", "2g"], "--size 2g: must be at most 1g bytes"),
        (["pub", "--size", "big"], "--size big: not a size"),
        (["pub", "--window", "0"], "--window 0: not a size"),
        (["pub", "--for", "0"], "--for 0: must be at least 1ms"),
        (["pub", "--for", "soon"], "--for soon"),
        (["pub", "-n", "0"], "-n 0"),
        (["pub", "--topics", "0"], "--topics 0"),
        (["pub", "--topics", "1000001"], "--topics 1000001: must be at most 1000000"),
        (["fan", "--subscribers", "1001"], "--subscribers 1001: must be at most 1000"),
        (["pub", "--subscribers", "2"], "--subscribers goes with fan"),
        (["pub", "--rate", "x"], "--rate x"),
        (["pub", "--ack", "maybe"], "--ack maybe"),
        (["pub", "--idle", "1s"], "--idle goes with sub"),
        (["latency", "--window", "1m"], "--window goes with pub and fan"),
        (["sub", "--topic", "t", "--rate", "5"], "don't go with sub"),
        (["sub", "--topic", "t", "--size", "64"], "don't go with sub"),
        (["pub", "--topic", "a/+"], "--topic 'a/+'"),
        (["sub", "--topic", "a/#"], "--topic 'a/#'"),
        (["pub", "--topic", ""], "--topic ''"),
        (["pub", "--topic", "t" * 256], "longer than 255 bytes"),
        (["pub", "--topics", "11", "--topic", "t" * 253], "--topic 'ttt"),
        (["pub", "--topic", "t/" * 31 + "t", "--topics", "2"], "--topic 't/t"),
        (["pub", "--jsn"], "did you mean '--json'?"),
    ]

    def test_wrong_usage(self):
        for arguments, part in self.WRONG_USAGE:
            with self.subTest(arguments=arguments):
                done = self.run_cli("bench", *arguments)
                self.assertEqual((done.stdout, done.code), (b"", 2), done.stderr)
                self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
                self.assertIn(part, done.stderr)

    def test_cannot_connect(self):
        for kind in (["pub"], ["sub", "--topic", "t"], ["fan"], ["latency"]):
            done = run_without_broker("bench", *kind, PUBSUB_URL="unix:/nonexistent")
            self.assertEqual((done.stdout, done.code), (b"", 3))
            self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")

    def test_refused(self):
        for arguments, part in ((["pub", "--size", "2m"], "limit"), (["fan", "--size", "2m"], "limit"),
                                (["pub", "--ack", "stored"], "no durable stream"), (["fan", "--ack", "stored"], "no durable stream"),
                                (["latency", "--topic", "$SYS/x"], "$SYS")):
            with self.subTest(arguments=arguments):
                done = self.run_cli("bench", *arguments)
                self.assertEqual(done.stdout, b"")
                self.assertIn(done.code, (4, 5))
                self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
                self.assertIn(part, done.stderr)

    def test_time_runs_out(self):
        for kind in ("pub", "fan", "latency"):
            with self.subTest(kind=kind):
                done = self.run_cli("bench", kind, "--json", "-n", "1000000000000", "--for", "50ms")
                self.assertEqual((done.stderr, done.code), ("", 124))
                figures = json.loads(done.stdout)
                self.assertEqual((figures["end"], figures["lost"]), ("time", 0))

    def test_nobody_publishes(self):
        waiting = self.receiving(fresh_topic(), "--idle", "50ms")
        self.assertEqual(waiting.wait(), 124)
        figures = json.loads(waiting.stdout())
        self.assertEqual((figures["messages"], figures["p50_us"], figures["end"]), (0, None, "idle"))

    def test_other_messages(self):
        topic = fresh_topic()
        waiting = self.receiving(topic)
        self.ok("pub", "--require", "1", topic, "hello")
        self.ok("bench", "pub", "--topic", topic, "-n", "10")
        self.assertEqual(waiting.wait(), 1)
        figures = json.loads(waiting.stdout())
        self.assertEqual((figures["messages"], figures["wrong"]), (10, 1))
        self.assertIn("pubsub: 1 message came otherwise than sent, or not from 'pubsub bench'\n", waiting.stderr())

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            command = subprocess.run([PUBSUB, "bench", "pub", "-s", self.url, "-n", "1"], stdout=full,
                                     stderr=subprocess.PIPE, timeout=PATIENCE_S)
        self.assertEqual(command.returncode, 1)
        self.assertRegex(command.stderr, rb"\Apubsub: cannot write to standard output: [^\n]+\n\Z")

    def running(self, kind, url=None):
        """A measurement that has begun and would go on, and its topic."""
        topic = fresh_topic()
        url = url or self.url
        if kind == "sub":
            running = self.receiving(topic, url=url)
            Running(self, url, "pub", "--topic", topic, "--for", "1000s", "--rate", "1000")
        else:  # with at most 64 messages on the way the measurement has counted some of those that the witness got
            window = [] if kind == "latency" else ["--window", "4k"]
            running = Running(self, url, kind, "--topic", topic, "--json", "--for", "1000s", *window)
        witness = run_without_broker("sub", "-n", "100", "-o", "none", topic, PUBSUB_URL=url)
        self.assertEqual(witness.code, 0)
        return running

    def test_signal(self):
        for kind in ("pub", "sub", "fan", "latency"):
            with self.subTest(kind=kind):
                running = self.running(kind)
                running.process.send_signal(signal.SIGINT)
                self.assertEqual(running.wait(), 128 + signal.SIGINT)
                figures = json.loads(running.stdout())
                self.assertEqual((figures["end"], figures["lost"], figures["wrong"]), ("signal", 0, 0))
                self.assertGreater(figures["messages"], 0)

    def progress(self, *arguments, columns=0):
        """What a measurement shows on a terminal meanwhile."""
        master, slave = pty.openpty()
        if columns:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with open(master, "rb", buffering=0) as shown:
            command = subprocess.run([PUBSUB, "bench", *arguments, "-s", self.url], stderr=slave, stdout=subprocess.PIPE,
                                     timeout=PATIENCE_S)
            os.close(slave)
            seen = read_terminal(shown)
        self.assertEqual(command.returncode, 0)
        if seen:
            self.assertTrue(seen.endswith(b"\r\x1b[K"))
        return seen

    def shown(self, *arguments, **how):
        """The same of one that showed something: it does once a second, unless the machine stands still just then."""
        seen = []

        def look():
            seen.append(self.progress(*arguments, **how))
            return seen[-1]
        self.assertTrue(eventually(look))
        return seen[-1]

    def test_progress(self):
        bar = rb"\A\r\x1b\[K\[#+-*\]  ?(\d+) %  \d+ messages, \d+ a second"
        share = re.search(bar, self.shown("latency", "--for", "1500ms"))
        self.assertTrue(share and 60 <= int(share[1]) <= 100, share)
        bar = rb"\A\r\x1b\[K\[#+-*\]  ?\d+ %  \d+ of 150 messages, \d+ a second"
        self.assertRegex(self.shown("pub", "-n", "150", "--rate", "100"), bar)

    def test_progress_fits_the_terminal(self):
        for line in self.shown("pub", "-n", "150", "--rate", "100", columns=30).split(b"\r\x1b[K"):
            self.assertLess(len(line), 30, line)

    def test_broker_that_goes_away(self):
        for kind in ("pub", "sub", "fan", "latency"):
            with self.subTest(kind=kind), brokers.Broker() as broker:
                running = self.running(kind, broker.unix)
                broker.kill()
                self.assertEqual(running.wait(), 7)
                said = running.stderr().splitlines()
                self.assertEqual(len(said), 2 if kind == "sub" else 1, said)
                self.assertRegex(said[-1], r"\Apubsub: .*(connection|broker)")
                figures = json.loads(running.stdout())
                self.assertEqual((figures["end"], figures["wrong"]), ("failure", 0))
                self.assertGreater(figures["messages"], 0)


class Losses(BenchTest):
    """The broker keeps so few messages that whoever does not read loses some, and is told."""

    @classmethod
    def setUpClass(cls):
        cls.broker = brokers.Broker(config="[limits]\nqueue_messages_cap = 100\nqueue_messages = 100\n")
        cls.addClassCleanup(cls.broker.stop)
        cls.url = cls.broker.unix

    def lose(self, *options):
        """Publishes far more than sockets can hold while a subscriber is stopped."""
        count, topic = 20_000, fresh_topic()
        waiting = Running(self, self.url, "sub", "--topic", topic, *options)
        self.assertTrue(eventually(waiting.stderr))
        waiting.process.send_signal(signal.SIGSTOP)
        figures = self.figures("pub", "--topic", topic, "-n", str(count), "--size", "1k")
        self.check(figures, count, 1024)
        waiting.process.send_signal(signal.SIGCONT)
        self.assertEqual(waiting.wait(), 0, waiting.stderr())
        return waiting.stdout(), count

    def test_told(self):
        out, count = self.lose("--json")
        figures = json.loads(out)
        self.assertGreater(figures["lost"], 0)
        self.assertEqual(figures["lost"], figures["lost_told"])
        self.assertEqual(figures["messages"] + figures["lost"], count)
        self.assertEqual((figures["wrong"], figures["end"]), (0, "publishers"))

    def test_table(self):
        out, _ = self.lose()
        match = re.search(r"(?m)^lost ([\d,]+) \(told by the broker: ([\d,]+)\)$", out.decode())
        self.assertTrue(match, out)
        self.assertEqual(match[1], match[2])

    def test_window_keeps_subscribers_whole(self):
        figures = self.figures("fan", "-n", str(COUNT), "--subscribers", "3", "--window", "2k")
        self.check(figures, 3 * COUNT)


if __name__ == "__main__":
    unittest.main(verbosity=2)
