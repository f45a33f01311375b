"""The load generator through TLS: the same figures, every message judged, and no broker that it can't verify."""
import contextlib
import os
import socket
import ssl
import sys
import tempfile
import threading
import unittest

from load_test import KEYS, SMALL_WINDOW, load, run

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))
import raw  # noqa: E402
from brokers import Broker  # noqa: E402
from issuer import Authority  # noqa: E402


class Made:
    """Certificates that all tests use."""


def setUpModule():
    directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
    unittest.addModuleCleanup(directory.cleanup)
    Made.ca, Made.other = Authority(directory.name, "ca"), Authority(directory.name, "other")
    Made.pair = Made.ca.issue("broker")


def listener(pair, *more):
    lines = ["[listener tls]", "url = tls://127.0.0.1:0", f"certificate = {pair.path}", f"key = {pair.key}", *more, ""]
    return "\n".join(lines)


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(config=listener(Made.pair), listens=False)
        cls.addClassCleanup(cls.broker.stop)

    def load(self, mode, *arguments, broker=None):
        broker = broker or self.broker
        report, _ = load("mps", broker.tls[0], mode, "--ca", Made.ca.path, "--pid", str(broker.process.pid), *arguments)
        self.assertEqual(KEYS - report.keys(), set())
        self.assertEqual((report["mode"], report["lost"], report["wrong"]), (mode, 0, 0))
        return report

    def stream(self, mode, *arguments):
        report = self.load(mode, *arguments)
        self.assertGreater(report["delivered"], 0)
        self.assertGreater(report["cpu_us_per_delivered"], 0)
        return report

    def test_flow(self):
        self.stream("flow", "--payload", "16")
        self.stream("flow", "--payload", "1000", "--subscribers", "10", *SMALL_WINDOW)
        self.stream("flow", "--publishers", "3", "--subscribers", "2", "--topics", "7")

    def test_records_that_are_larger_than_a_read(self):
        """A message of more than one read: what OpenSSL holds is asked for, no event tells of it."""
        self.stream("flow", "--payload", str(1 << 20), "--window", str(4 << 20))
        self.stream("pingpong", "--payload", str(1 << 20))

    def test_other_modes(self):
        self.stream("pingpong")
        self.stream("acked", "--publishers", "2")
        self.stream("scale-conns", "--subscribers", "50", *SMALL_WINDOW)
        report = self.stream("stall", "--payload", "4096")
        self.assertGreater(report["slow_received"], 0)
        self.assertEqual(report["slow_told"], report["slow_missed"])
        report = self.stream("mixed", "--publishers", "2")
        self.assertEqual(report["slow_told"], report["slow_lost"])

    def test_connects(self):
        report = self.load("connects", "--subscribers", "4")
        self.assertGreater(report["connects"], 0)
        self.assertGreater(report["cpu_us_per_connect"], 0)
        self.assertAlmostEqual(report["connects_per_s"], report["connects"] / report["seconds"], delta=1)
        self.assertEqual(report["resumed_share"], 0)
        self.assertLessEqual(0, report["p50_us"], report["p99_us"])

    def test_connects_that_resume(self):
        report = self.load("connects", "--subscribers", "2", "--resume")
        self.assertGreater(report["connects"], 2)
        # All but the first of each subscriber, however few these were in the time.
        self.assertGreaterEqual(round(report["resumed_share"] * report["connects"]), report["connects"] - 2)

    def test_nothing_is_left_of_the_connections(self):
        before = self.broker.descriptors()
        self.load("connects", "--subscribers", "4")
        self.assertTrue(raw.eventually(lambda: self.broker.descriptors() <= before))

    def test_a_broker_that_resumes_nothing(self):
        """One that asks for certificates gives no tickets."""
        asks = listener(Made.pair, f"client_ca = {Made.ca.path}", "client_certificate = optional")
        with Broker(config=asks, listens=False) as broker:
            report, stderr = load("mps", broker.tls[0], "connects", "--ca", Made.ca.path, "--resume", code=2)
            self.assertIsNone(report)
            self.assertIn("does not support resuming sessions", stderr)

    def refused(self, url, ca, reason, code=1):
        report, stderr = load("mps", url, "flow", "--ca", ca, code=code)
        self.assertIsNone(report)
        self.assertIn(reason, stderr)
        self.assertEqual(len(stderr.splitlines()), 1)

    def test_who_is_not_verified(self):
        self.refused(self.broker.tls[0], Made.other.path, "certificate verify failed")
        wrong = Made.ca.issue("wrong", alternative="DNS:localhost,IP:127.0.0.2")
        with Broker(config=listener(wrong), listens=False) as broker:
            self.refused(broker.tls[0], Made.ca.path, "certificate verify failed")

    def test_who_speaks_no_tls(self):
        with Broker() as broker:
            self.refused(broker.tcp.replace("tcp:", "tls:"), Made.ca.path, "TLS: the handshake failed")

    def test_wrong_options(self):
        good = ("--protocol", "mps", "--url", self.broker.tls[0], "--mode", "flow")
        for sentence, *words in (("--ca is missing, which a tls:// url needs",),
                                 ("--ca is '/nonexistent', which is no file with a certificate that can be read", "--ca",
                                  "/nonexistent"),
                                 ("neither relay nor sink serves tls://", "--relay"),
                                 ("--resume needs a url that begins with tls://", "--resume", "--mode", "connects", "--url",
                                  "tcp://127.0.0.1:1")):
            done = run(*good, *words)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", f"bench_load: {sentence}\n"))


class PlainTest(unittest.TestCase):
    def test_connects(self):
        with Broker() as broker:
            report, _ = load("mps", broker.tcp, "connects", "--subscribers", "4")
            self.assertGreater(report["connects"], 0)
            self.assertEqual(report["resumed_share"], 0)


class LineFirst:
    """A server that speaks as NATS with TLS: a line in plain text, in two pieces, then TLS and its PING and PONG."""

    def __init__(self):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(Made.pair.path, Made.pair.key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "tls://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                with contextlib.suppress(OSError):
                    self.greet(sock)

    def greet(self, sock):
        sock.sendall(b'INFO {"tls_requ')
        sock.sendall(b'ired":true}\r\n')
        with self.context.wrap_socket(sock, server_side=True) as tls:
            data = b""
            while not data.endswith(b"PING\r\n"):
                got = tls.recv(4096)
                if not got:
                    return
                data += got
            assert data.startswith(b"CONNECT {"), data
            tls.sendall(b"PONG\r\n")
            tls.recv(4096)


class LineFirstTest(unittest.TestCase):
    def test_connects(self):
        server = LineFirst()
        self.addCleanup(server.stop)
        report, _ = load("nats", server.url, "connects", "--ca", Made.ca.path)
        self.assertGreater(report["connects"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
