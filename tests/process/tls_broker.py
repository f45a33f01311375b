"""What the tests of TLS share: certificates, a broker that serves TLS in every way, and peers of it."""
import os
import resource
import tempfile
import time
import unittest
import warnings

import brokers
import raw
import tls
from issuer import Authority
from raw import MARK, MSG, SUB, SUBACK, WELCOME, hello


class Made:
    """Certificates that all tests use."""


def setUpModule():
    warnings.simplefilter("ignore", DeprecationWarning)  # of old versions of TLS, which are to be refused
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
    unittest.addModuleCleanup(directory.cleanup)
    Made.directory = directory.name
    Made.ca, Made.clients, Made.others = (Authority(Made.directory, name) for name in ("ca", "clients", "others"))
    Made.server = Made.ca.issue("server")
    Made.rsa = Made.ca.issue("rsa", algorithm="RSA")


def listener(name, pair, *more):
    return "\n".join((f"[listener {name}]", "url = tls://127.0.0.1:0", f"certificate = {pair.path}", f"key = {pair.key}",
                      *more, ""))


class TlsTest(unittest.TestCase):
    """A broker with a plain listener, and TLS ones for clients without a certificate, with one, or both."""
    LIMITS = "[limits]\nhandshake_timeout = 1m\nclosing_timeout = 1m\n"  # no test depends on this machine's speed

    @classmethod
    def setUpClass(cls):
        cls.directory, cls.ca, cls.clients, cls.others = Made.directory, Made.ca, Made.clients, Made.others
        cls.server = cls.server_pair()
        ask = f"client_ca = {cls.clients.path}", "client_certificate = "
        cls.config = (cls.LIMITS + "[listener plain]\nurl = tcp://127.0.0.1:0\n" + listener("off", cls.server) +
                      listener("optional", cls.server, ask[0], ask[1] + "optional") +
                      listener("required", cls.server, ask[0], ask[1] + "required") +
                      listener("rsa", Made.rsa))
        cls.broker = brokers.Broker(config=cls.config, listens=False)
        cls.addClassCleanup(cls.broker.stop)
        cls.plain = cls.broker.tcp
        cls.url, cls.optional, cls.required, cls.rsa = cls.broker.tls

    @classmethod
    def server_pair(cls):
        return Made.server

    def peer(self, url=None, piece=None, sock=None, **terms):
        """A peer after its handshake."""
        sock = tls.Socket(sock, tls.context(self.ca, **terms), piece).handshake() if sock else \
            tls.connect(url or self.url, tls.context(self.ca, **terms), piece=piece)
        peer = raw.Peer(sock=sock)
        self.addCleanup(peer.close)
        return peer

    def welcomed(self, url=None, options=None, **how):
        peer = self.peer(url, **how)
        peer.send(hello(**(options or {})))
        self.assertEqual(peer.next()[0], WELCOME)
        return peer

    def plain_peer(self, url=None, **options):
        peer = raw.welcomed((url or self.plain).replace("tls:", "tcp:"), **options)
        self.addCleanup(peer.close)
        return peer

    def plain_socket(self, url=None):
        sock = raw.open_socket((url or self.url).replace("tls:", "tcp:"))
        self.addCleanup(sock.close)
        return sock

    def subscribe(self, peer, pattern, **options):
        peer.tell(SUB, 1, pattern, options)
        self.assertEqual(peer.answer(SUBACK)[:3], [SUBACK, 1, 0])
        peer.answer(MARK)

    def assert_echo(self, peer, topic):
        """What it publishes comes back."""
        self.subscribe(peer, topic)
        peer.tell(MSG, topic, None, b"echo")
        self.assertEqual(peer.answer(MSG), [MSG, topic, None, b"echo"])

    def assert_orderly_end(self, peer):
        """Ends with a close_notify: without, reading raises."""
        frames = peer.rest()
        self.assertFalse(peer.was_reset)
        return frames

    def said_so_far(self):
        """For said_since(). Of lines about peers there are ten a second at most, so it waits until the next ones are."""
        self.assertTrue(raw.eventually(lambda: time.time() - os.stat(self.broker.stderr_path).st_mtime > 1.05))
        return len(self.broker.said())

    def said_since(self, before, *texts):
        self.assertTrue(raw.eventually(lambda: all(text in self.broker.said()[before:] for text in texts)),
                        (texts, self.broker.said()[before:]))
