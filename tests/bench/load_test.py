"""The load generator measures what it says, and notices when a message is missing, changed, doubled or out of place.

What it sends and receives goes through our broker, through its own relay, and through a proxy that tampers."""
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))
from brokers import Broker  # noqa: E402

BENCH_LOAD = os.environ.get("BENCH_LOAD", "bench_load")
TIMEOUT_S = 60
SECONDS = "0.2"
KEYS = {
    "protocol", "url", "mode", "publishers", "subscribers", "topics", "payload", "seconds", "published", "delivered",
    "lost", "wrong", "cpu_us_per_delivered", "cpu_us_per_published", "delivered_per_s", "mb_per_s", "p50_us", "p99_us",
    "p999_us", "max_us", "rss_kib", "peak_kib", "broker_cpu_share", "generator_cpu_share",
}
SMALL_WINDOW = ("--window", "65536")


def run(*arguments):
    return subprocess.run([BENCH_LOAD, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def load(protocol, url, mode, *arguments, code=0):
    """Runs one measurement, and returns its report and what it said on stderr."""
    done = run("--protocol", protocol, "--url", url, "--mode", mode, "--seconds", SECONDS, "--warmup", "0.05",
               *arguments)
    if done.returncode != code:
        raise AssertionError(f"{protocol} {mode} {arguments} ended with {done.returncode}: {done.stderr}{done.stdout}")
    return json.loads(done.stdout) if done.stdout else None, done.stderr


class Relay:
    """The generator's own relay on a free port."""

    def __init__(self, url="tcp://127.0.0.1:0"):
        self.process = subprocess.Popen([BENCH_LOAD, "--relay", "--url", url], stdout=subprocess.PIPE, text=True)
        word, self.url = self.process.stdout.readline().split()
        assert word == "ready"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(TIMEOUT_S)
        self.process.stdout.close()
        assert code == 0, f"the relay ended with {code}"


class Proxy:
    """Passes connections on to a broker, and once changes what comes back: to tamper(bytes), where these are the first
    from the first delivery on that hold `frames` whole ones."""

    def __init__(self, url, frame_head, frame_len, frames, tamper):
        self.address = url.removeprefix("tcp://").rsplit(":", 1)
        self.frame_head, self.needed, self.tamper = frame_head, frame_len * frames, tamper
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.held = b""
        self.done = False
        self.wake, self.wake_end = os.pipe()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def stop(self):
        os.close(self.wake_end)
        self.thread.join()
        self.listener.close()
        os.close(self.wake)

    def serve(self):
        peers = {}  # from a socket to where its bytes go, and whether they are the broker's
        while True:
            readable, _, _ = select.select([self.wake, self.listener, *peers], [], [])
            if self.wake in readable:
                break
            if self.listener in readable:
                client, _ = self.listener.accept()
                broker = socket.create_connection((self.address[0], int(self.address[1])))
                peers[client], peers[broker] = (broker, False), (client, True)
            for sock in readable:
                if sock in peers:
                    self.pass_on(peers, sock)
        for sock in peers:
            sock.close()

    def pass_on(self, peers, sock):
        other, from_broker = peers[sock]
        try:
            data = sock.recv(1 << 18)
            if data:
                other.sendall(self.changed(data) if from_broker else data)
        except OSError:
            data = b""
        if not data:
            for end in (sock, other):
                peers.pop(end, None)
                end.close()

    def changed(self, data):
        """What is passed on now of what came from the broker."""
        if self.done or (not self.held and self.frame_head not in data):
            return data
        self.held += data
        begin = self.held.index(self.frame_head)
        if len(self.held) < begin + self.needed:
            return b""
        self.done = True
        return self.held[:begin] + self.tamper(self.held[begin:])


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


class ModesTest(unittest.TestCase):
    """Each mode against our broker."""

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker()
        cls.addClassCleanup(cls.broker.stop)

    def load(self, mode, *arguments, url=None):
        report, _ = load("mps", url or self.broker.tcp, mode, "--pid", str(self.broker.process.pid), *arguments)
        self.assertEqual(KEYS - report.keys(), set())
        self.assertEqual((report["protocol"], report["mode"], report["lost"], report["wrong"]), ("mps", mode, 0, 0))
        self.assertGreater(report["peak_kib"], 0)
        return report

    def stream(self, mode, *arguments, **options):
        report = self.load(mode, *arguments, **options)
        self.assertGreater(report["delivered"], 0)
        self.assertGreater(report["cpu_us_per_delivered"], 0)
        self.assertGreaterEqual(report["seconds"], float(SECONDS))
        rate = report["delivered"] / report["seconds"]
        self.assertAlmostEqual(report["delivered_per_s"], rate, delta=rate / 100)
        return report

    def test_flow(self):
        report = self.stream("flow", "--payload", "16")
        self.assertEqual([report[key] for key in ("publishers", "subscribers", "topics", "payload")], [1, 1, 1, 16])
        self.assertLessEqual(report["p50_us"], report["p99_us"])
        self.assertLessEqual(report["p999_us"], report["max_us"])

    def test_flow_over_a_unix_socket(self):
        self.stream("flow", url=self.broker.unix)

    def test_flow_with_large_payloads(self):
        report = self.stream("flow", "--payload", "65536")
        mb_per_s = report["delivered_per_s"] * 65536 / 1e6
        self.assertAlmostEqual(report["mb_per_s"], mb_per_s, delta=mb_per_s / 100)

    def test_flow_of_many(self):
        self.stream("flow", "--publishers", "3", "--subscribers", "2", "--topics", "7")
        self.stream("flow", "--publishers", "2", "--subscribers", "2", "--topics", "6", "--interleave")

    def test_flow_with_a_subscriber_for_each_topic(self):
        ten = ("--publishers", "10", "--subscribers", "10", "--topics", "10")
        for report in (self.stream("flow", *ten), self.stream("flow", *ten, "--interleave")):
            # One copy of each message; what was underway at either end of the span makes a difference of two windows.
            self.assertAlmostEqual(report["delivered"], report["published"], delta=2 * (1 << 20) / 64)

    def test_flow_to_many_delivers_to_each(self):
        report = self.stream("flow", "--subscribers", "20", *SMALL_WINDOW)
        self.assertAlmostEqual(report["delivered"], report["published"] * 20, delta=2 * 20 * 65536 / 64)

    def test_flow_at_a_rate(self):
        report = self.stream("flow", "--rate", "5000")
        self.assertLessEqual(report["published"], 5000 * report["seconds"])

    def test_acked(self):
        report = self.stream("acked", "--publishers", "2")
        self.assertGreaterEqual(report["acked"], report["published"])
        self.assertEqual(report["unacked"], 0)

    def test_wildcards(self):
        self.stream("wildcards", "--wildcards", "500", "--subscribers", "3", *SMALL_WINDOW)

    def test_mixed(self):
        report = self.stream("mixed", "--publishers", "4")
        self.assertEqual((report["subscribers"], report["topics"]), (50, 1000))
        self.assertGreater(report["slow_received"], 0)
        self.assertEqual(report["slow_told"], report["slow_lost"])

    def test_pingpong(self):
        report = self.stream("pingpong")
        self.assertEqual(report["delivered"], report["published"])
        self.assertTrue(0 < report["p50_ns"] <= report["p90_ns"] <= report["p99_ns"] <= report["p999_ns"])

    def test_idle(self):
        report = self.load("idle", "--subscribers", "200")
        self.assertEqual(report["subscribers"], 200)
        self.assertIn("bytes_per_connection", report)

    def test_stall(self):
        report = self.stream("stall", "--payload", "4096")
        self.assertGreater(report["fast_alone_per_s"], 0)
        self.assertGreater(report["ratio"], 0)
        self.assertGreater(report["slow_received"], 0)
        self.assertEqual(report["slow_told"], report["slow_missed"])
        self.assertIs(report["slow_closed"], False)

    def test_scale(self):
        report = self.stream("scale-subs", "--subscriptions", "5000", "--subscribers", "3", *SMALL_WINDOW)
        self.assertGreater(report["subscribe_seconds"], 0)
        self.assertIn("bytes_per_subscription", report)
        report = self.stream("scale-topics", "--topics", "5000", *SMALL_WINDOW)
        # The kernel counts memory for each thread, and adds it up later: both are exact to a few hundred KiB.
        self.assertLessEqual(report["rss_before_kib"], report["peak_kib"] + 1024)
        report = self.stream("scale-conns", "--subscribers", "50", *SMALL_WINDOW)
        self.assertEqual(report["subscribers"], 50)


class RelayTest(unittest.TestCase):
    """Through the relay, of which there is nothing to be known but its address."""

    def relay(self, *arguments):
        relay = Relay(*arguments)
        self.addCleanup(relay.stop)
        return relay

    def check(self, url, mode, *arguments):
        report, _ = load("raw", url, mode, *arguments)
        self.assertEqual((report["lost"], report["wrong"]), (0, 0))
        self.assertEqual((report["cpu_us_per_delivered"], report["rss_kib"]), (None, None))
        self.assertGreater(report["delivered"], 0)

    def test_modes(self):
        url = self.relay().url
        self.check(url, "flow")
        self.check(url, "flow", "--subscribers", "5", "--topics", "3")
        self.check(url, "flow", "--subscribers", "4", "--publishers", "4", "--topics", "4")
        self.check(url, "pingpong")
        self.check(url, "scale-conns", "--subscribers", "50", *SMALL_WINDOW)

    def test_unix_socket(self):
        with Broker() as broker:  # for its directory
            relay = self.relay("unix:" + os.path.join(broker.dir, "relay"))
            self.check(relay.url, "flow")
            relay.stop()
            self.assertFalse(os.path.exists(os.path.join(broker.dir, "relay")))


class TamperingTest(unittest.TestCase):
    """Between broker and generator something goes wrong once."""
    HEAD = b"\x94\x02\xa7bench/0\xc0\xc4\x40"  # of each delivery: a MSG with 64 bytes of payload
    FRAME = len(HEAD) + 64
    CHECKED = 1024  # the first message after so many is checked to its last byte

    def load(self, tamper, code, frames=CHECKED + 2):
        with Broker() as broker:
            proxy = Proxy(broker.tcp, self.HEAD, self.FRAME, frames, tamper)
            try:
                report, stderr = load("mps", proxy.url, "flow", code=code)
            finally:
                proxy.stop()
        self.assertTrue(proxy.done)
        return report, stderr

    def at(self, frame, offset):
        return frame * self.FRAME + len(self.HEAD) + offset

    def test_nothing(self):
        report, _ = self.load(lambda data: data, 0)
        self.assertEqual((report["lost"], report["wrong"]), (0, 0))

    def test_missing_message(self):
        report, _ = self.load(lambda data: data[:5 * self.FRAME] + data[6 * self.FRAME:], 0)
        self.assertEqual((report["lost"], report["wrong"]), (1, 0))

    def test_missing_messages(self):
        report, _ = self.load(lambda data: data[:5 * self.FRAME] + data[905 * self.FRAME:], 0)
        self.assertEqual((report["lost"], report["wrong"]), (900, 0))

    def test_doubled_message(self):
        report, stderr = self.load(lambda data: data[:6 * self.FRAME] + data[5 * self.FRAME:], 1)
        self.assertEqual((report["lost"], report["wrong"]), (0, 1))
        self.assertIn("1 messages were wrong", stderr)

    def test_exchanged_messages(self):
        def exchange(data):
            a, b, c = 5 * self.FRAME, 6 * self.FRAME, 7 * self.FRAME
            return data[:a] + data[b:c] + data[a:b] + data[c:]
        report, _ = self.load(exchange, 1)
        self.assertEqual((report["lost"], report["wrong"]), (1, 1))

    def test_number_of_a_message(self):
        for offset in (0, 5, 6):  # 6: the publisher's
            report, _ = self.load(lambda data, at=offset: flip(data, self.at(7, at)), 1)
            self.assertEqual((report["lost"], report["wrong"]), (1, 1))

    def test_content(self):
        for frame in (0, self.CHECKED):
            for offset in (16, 63):
                report, _ = self.load(lambda data, f=frame, o=offset: flip(data, self.at(f, o)), 1)
                self.assertEqual((report["lost"], report["wrong"]), (0, 1))

    def test_topic(self):
        report, _ = self.load(lambda data: flip(data, 7 * self.FRAME + 9), 1)
        self.assertEqual((report["lost"], report["wrong"]), (1, 1))

    def test_length(self):
        def shorten(data):  # by a byte, of which its head tells
            begin, end = 7 * self.FRAME, 8 * self.FRAME
            return data[:begin] + self.HEAD[:-1] + b"\x3f" + data[begin + len(self.HEAD):end - 1] + data[end:]
        report, _ = self.load(shorten, 1)
        self.assertEqual((report["lost"], report["wrong"]), (1, 1))

    def test_frame(self):
        report, stderr = self.load(lambda data: data[:7 * self.FRAME] + b"\xc1" + data[7 * self.FRAME + 1:], 1)
        self.assertIsNone(report)
        self.assertIn("does not begin with an array", stderr)


class UsageTest(unittest.TestCase):
    def refused(self, sentence, *arguments):
        done = run(*arguments)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, f"bench_load: {sentence}\n")

    def test_bad_options(self):
        good = ("--protocol", "mps", "--url", "tcp://127.0.0.1:1", "--mode", "flow")
        self.refused("--url is missing")
        self.refused("--protocol is 'smtp', but has to be mps, mps-cluster, nats, redis, mqtt or raw", "--protocol", "smtp")
        self.refused("--mode is 'flaw', which is none of those that --help lists", "--mode", "flaw")
        self.refused("--payload is '15', but has to be a whole number from 16 to 1048576", *good, "--payload", "15")
        self.refused("--seconds is 'x', but has to be a number of seconds from 0.01 to 3600", *good, "--seconds", "x")
        self.refused("there is no option '--colour'; see --help", *good, "--colour")
        self.refused("--rate needs a value", *good, "--rate")
        self.refused("'more' is not an option; see --help", *good, "more")
        self.refused("nats does not support acked", *good, "--protocol", "nats", "--mode", "acked")
        self.refused("raw does not support wildcards", *good, "--protocol", "raw", "--mode", "wildcards")
        self.refused("the url 'here' begins with none of tcp://, tls:// and unix:", *good, "--url", "here")

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            url = "tcp://127.0.0.1:%d" % taken.getsockname()[1]
        done = run("--protocol", "mps", "--url", url, "--mode", "flow")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"bench_load: no connection to {url}: Connection refused\n")

    def test_help(self):
        done = run("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(done.stdout.startswith("usage: bench_load"))


if __name__ == "__main__":
    unittest.main()
