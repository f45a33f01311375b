"""What the load generator says about stored messages: it counts acknowledgements, reads everything back, and notices
what is missing, changed, doubled or refused. JetStream and Redis are fakes here (fakes.py)."""
import os
import signal
import subprocess
import tempfile
import unittest

from fakes import FakeJetStream, FakeRedis
from load_test import BENCH_LOAD, SMALL_WINDOW, Broker, load, run

FAKES = {"redis": FakeRedis, "nats": FakeJetStream}
KEYS = {"in_flight", "acked", "acked_per_s", "cpu_us_per_acked", "stored", "read_back", "p50_us", "p99_us", "lost",
        "wrong"}


class FakeTest(unittest.TestCase):
    """The same with both fakes."""

    def with_fakes(self, check, **options):
        for protocol, kind in FAKES.items():
            with self.subTest(protocol):
                fake = kind(**options)
                try:
                    check(protocol, fake)
                finally:
                    fake.stop()

    def stored(self, protocol, fake, *arguments, code=0):
        report, stderr = load(protocol, fake.url, "stored", "--in-flight", "20", *arguments, code=code)
        return report if code == 0 else (report, stderr)

    def test_all_is_acknowledged_and_read_back(self):
        def check(protocol, fake):
            report = self.stored(protocol, fake, "--publishers", "3")
            self.assertEqual(KEYS - report.keys(), set())
            self.assertEqual((report["publishers"], report["in_flight"]), (3, 20))
            self.assertEqual((report["lost"], report["wrong"]), (0, 0))
            self.assertEqual(report["stored"], len(fake.messages))
            self.assertEqual(report["read_back"], len(fake.messages))
            self.assertTrue(0 < report["acked"] <= report["stored"])
            self.assertLessEqual(report["p50_us"], report["p99_us"])
            separator = b"." if protocol == "nats" else b"/"
            self.assertEqual({topic for topic, _ in fake.messages}, {b"kept" + separator + b"%d" % n for n in range(3)})
        self.with_fakes(check)

    def test_no_more_than_asked_for_are_under_way(self):
        def check(protocol, fake):
            self.stored(protocol, fake)
            self.assertEqual(fake.most_unacknowledged, 20)
        self.with_fakes(check, hold=20)

    def test_batches_are_written_whole(self):
        def check(protocol, fake):
            self.stored(protocol, fake, "--batch", "20")
            self.assertEqual((fake.most_unacknowledged, fake.least_batch), (20, 20))
        self.with_fakes(check, hold=20)

    def test_what_was_acknowledged_and_is_missing_is_lost(self):
        def check(protocol, fake):
            report = self.stored(protocol, fake)
            self.assertEqual((report["lost"], report["wrong"]), (3, 0))
            self.assertEqual(report["read_back"], report["stored"] - 3)
        self.with_fakes(check, back=lambda messages: messages[:5] + messages[8:])

    def test_doubled(self):
        def check(protocol, fake):
            report, stderr = self.stored(protocol, fake, code=1)
            self.assertEqual((report["lost"], report["wrong"]), (0, 1))
            self.assertIn("1 messages were wrong", stderr)
        self.with_fakes(check, back=lambda messages: messages[:6] + messages[5:])

    def test_changed_anywhere(self):
        def change(at, byte):
            def back(messages):
                topic, payload = messages[at]
                return [*messages[:at], (topic, payload[:byte] + bytes([payload[byte] ^ 1]) + payload[byte + 1:]),
                        *messages[at + 1:]]
            return back

        def check(protocol, fake):
            report, _ = self.stored(protocol, fake, code=1)
            self.assertEqual(report["wrong"], 1)
        for at, byte in ((0, 63), (7, 16), (19, 40)):
            self.with_fakes(check, back=change(at, byte))

    def test_other_topic(self):
        def check(protocol, fake):
            report, _ = self.stored(protocol, fake, code=1)
            self.assertEqual((report["lost"], report["wrong"]), (1, 1))
        def rename(messages):
            topic, payload = messages[5]
            return [*messages[:5], (topic + b"0", payload), *messages[6:]]
        self.with_fakes(check, back=rename)

    def test_refused(self):
        def check(protocol, fake):
            report, stderr = self.stored(protocol, fake, code=1)
            self.assertIsNone(report)
            self.assertIn("refused" if protocol == "nats" else "the broker answered with an error", stderr)
        self.with_fakes(check, refuse=30)

    def test_no_stream(self):
        fake = FakeJetStream(refuse="stream")
        self.addCleanup(fake.stop)
        _, stderr = self.stored("nats", fake, code=1)
        self.assertIn("JetStream refused", stderr)
        self.assertEqual(fake.created["storage"], "file")

    def test_readers(self):
        def check(protocol, fake):
            report, _ = load(protocol, fake.url, "readers", "--subscribers", "5", "--messages", "700",
                             "--payload", "1024")
            self.assertEqual((report["stored"], report["lost"], report["wrong"]), (700, 0, 0))
            self.assertEqual(len(fake.messages), 700)
            self.assertEqual((report["subscribers"], report["bytes_per_reader"]), (5, None))
        self.with_fakes(check)

    def test_replay_that_loses(self):
        fake = FakeRedis(back=lambda messages: messages[:5] + messages[6:])
        self.addCleanup(fake.stop)
        report, _ = load("redis", fake.url, "replay", "--messages", "3000", *SMALL_WINDOW)
        self.assertEqual((report["stored"], report["delivered"], report["lost"]), (3000, 2999, 1))
        self.assertGreater(report["live_per_s"], 0)
        self.assertAlmostEqual(report["replay_share"], report["delivered_per_s"] / report["live_per_s"], places=3)


class BrokerTest(unittest.TestCase):
    """The same with our broker."""

    def load(self, mode, *arguments):
        with tempfile.TemporaryDirectory(prefix="pubsub-test-") as data:
            with Broker(arguments=["--data", data, "--durable", "kept/#"]) as broker:
                pid = str(broker.process.pid)
                report, _ = load("mps", broker.tcp, mode, "--pid", pid, *SMALL_WINDOW, *arguments)
        self.assertEqual((report["lost"], report["wrong"]), (0, 0))
        self.assertGreater(report["peak_kib"], 0)
        return report

    def test_stored(self):
        for arguments in (("--in-flight", "1"), ("--publishers", "4", "--in-flight", "64"),
                          ("--in-flight", "100", "--batch", "100")):
            report = self.load("stored", *arguments)
            self.assertEqual(KEYS - report.keys(), set())
            self.assertGreater(report["acked"], 0)
            self.assertGreater(report["cpu_us_per_acked"], 0)
            self.assertEqual(report["read_back"], report["stored"])

    def test_replay(self):
        report = self.load("replay", "--subscribers", "3", "--messages", "5000")
        self.assertEqual((report["stored"], report["delivered"]), (5000, 15000))
        self.assertGreater(report["live_per_s"], 0)
        self.assertGreater(report["replay_share"], 0)

    def test_readers(self):
        report = self.load("readers", "--subscribers", "20", "--messages", "500", "--payload", "4096")
        self.assertEqual(report["stored"], 500)
        self.assertIsNotNone(report["bytes_per_reader"])

    def test_topics_that_are_not_kept(self):
        with Broker() as broker:
            report, stderr = load("mps", broker.tcp, "stored", code=1)
        self.assertIsNone(report)
        self.assertIn("a message was refused", stderr)


class FloorTest(unittest.TestCase):
    """What is compared with: the sink and the bare file."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.file = os.path.join(directory.name, "file")

    def test_sink(self):
        process = subprocess.Popen([BENCH_LOAD, "--sink", self.file, "--url", "tcp://127.0.0.1:0"],
                                   stdout=subprocess.PIPE, text=True)
        try:
            url = process.stdout.readline().split()[1]
            self.assertTrue(os.path.exists(self.file))
            for arguments in (("--in-flight", "1"), ("--publishers", "4", "--in-flight", "64"), ("--payload", "5000")):
                report, _ = load("raw", url, "stored", "--pid", str(process.pid), *arguments)
                self.assertGreater(report["acked"], 0)
                self.assertGreaterEqual(report["stored"], report["acked"])
                self.assertIsNone(report["read_back"])
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
            process.stdout.close()
        self.assertEqual(code, 0)
        self.assertFalse(os.path.exists(self.file))

    def test_bare_file(self):
        report, _ = load("raw", "file:" + self.file, "disk")
        self.assertGreater(report["acked"], 0)
        self.assertGreaterEqual(report["p99_us"], report["p50_us"])
        self.assertFalse(os.path.exists(self.file))

    def test_no_file(self):
        done = run("--protocol", "raw", "--mode", "disk", "--url", f"file:{self.file}/none")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"bench_load: {self.file}/none can't be opened: No such file or directory\n")

    def test_who_cannot(self):
        for protocol, mode in (("mqtt", "stored"), ("mqtt", "replay"), ("raw", "replay"), ("raw", "readers")):
            done = run("--protocol", protocol, "--url", "tcp://127.0.0.1:1", "--mode", mode)
            self.assertEqual((done.returncode, done.stderr), (2, f"bench_load: {protocol} does not support {mode}\n"))


if __name__ == "__main__":
    unittest.main()
