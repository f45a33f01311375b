"""What hostile and unlucky peers do to TLS listeners before they are known."""
import contextlib
import os
import select
import ssl
import time
import unittest

import brokers
import raw
import tls
from hostile import HANDSHAKE_TIMEOUT, MALFORMED, TOO_MANY
from raw import BYE, WELCOME, hello
from tls_broker import TlsTest, listener, setUpModule


class Hostile(TlsTest):
    HANDSHAKE_S = 10  # so long that those who mean it well have theirs in time on a machine that stands still for seconds
    LIMITS = f"[limits]\nhandshake_timeout = {HANDSHAKE_S}s\n"

    # hostile.md 1, 2
    def test_a_handshake_that_stalls(self):
        before = self.said_so_far()
        terms, began, stalled = tls.context(self.ca), time.monotonic(), []
        for sent in 0, 1, 5, 100, 10000:
            sock = self.plain_socket()
            half = tls.Socket(sock, terms)
            with contextlib.suppress(ssl.SSLWantReadError):
                half.tls.do_handshake()
            sock.sendall(half.outgoing.read()[:sent])
            stalled.append(sock)
        for sock in stalled:
            while sock.recv(4096):
                pass
            self.assertGreater(time.monotonic() - began, self.HANDSHAKE_S - 0.1)
        self.said_since(before, "from 127.0.0.1 before it is one: the TLS handshake was not complete within "
                        f"{self.HANDSHAKE_S * 1000} ms")

    def test_a_byte_at_a_time_gains_no_time(self):
        began, sock = time.monotonic(), self.plain_socket()  # in this order: the broker's clock begins with the connection
        with contextlib.suppress(ConnectionError):
            for byte in b"\x16\x03\x01\x10\x00" + bytes(1000):
                sock.sendall(bytes([byte]))
                if select.select([sock], [], [], 0.1)[0]:
                    break
            else:
                self.fail("it was not closed")
        self.assertGreater(time.monotonic() - began, self.HANDSHAKE_S - 0.1)

    def test_the_time_is_from_the_accept_to_the_hello(self):
        """Of two the one that came first is ended first, although its handshake was complete only after the other came."""
        config = "[limits]\nhandshake_timeout = 12s\n[listener plain]\nurl = tcp://127.0.0.1:0\n" + listener("a", self.server)
        with brokers.Broker(config=config, listens=False) as broker:
            sock = self.plain_socket(broker.tls[0])
            time.sleep(0.1)
            other = raw.Peer(broker.tcp)
            self.addCleanup(other.close)
            time.sleep(5)
            peer = self.peer(sock=sock, version="TLSv1_2")  # 1.3 sends tickets afterwards
            self.assertEqual(other.rest()[-1][:2], [BYE, HANDSHAKE_TIMEOUT])
            self.assertTrue(select.select([sock], [], [], 3)[0], "the handshake gained time")  # five seconds, then
            self.assertEqual(peer.rest()[-1][:2], [BYE, HANDSHAKE_TIMEOUT])
            peer.close()
            other.close()

    def test_stalled_ones_keep_nobody_out(self):
        stalled = [self.plain_socket() for _ in range(200)]
        for sock in stalled:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        self.assert_echo(self.welcomed(), "between")
        self.assert_echo(self.plain_peer(), "plain")
        for sock in stalled:
            self.assertEqual(sock.recv(1), b"")

    # hostile.md 3
    def test_silent_ones_of_one_address_make_room_for_who_comes(self):
        """The oldest goes, in whatever state its handshake is: before it, at work in a thread, or half done."""
        config = "[limits]\nunwelcomed_per_address = 20\nhandshake_timeout = 1m\n" + listener("a", self.server)
        with brokers.Broker(config=config, listens=False) as broker:
            at_rest, silent = broker.descriptors(), []
            for number in range(200):
                sock = self.plain_socket(broker.tls[0])
                if number % 3 > 0:
                    half = tls.Socket(sock, tls.context(self.ca))
                    with contextlib.suppress(ssl.SSLWantReadError):
                        half.tls.do_handshake()
                    sock.sendall(half.outgoing.read()[:None if number % 3 == 1 else 100])
                silent.append(sock)
            self.assert_echo(self.welcomed(broker.tls[0]), "between")
            for sock in silent[:150]:
                with contextlib.suppress(ConnectionResetError):  # what it said was not read yet
                    while sock.recv(4096):
                        pass
            self.assertTrue(raw.eventually(lambda: broker.descriptors() <= at_rest + 25))

    def test_more_than_there_may_be(self):
        config = "[limits]\nmax_connections = 20\nhandshake_timeout = 1m\n" + listener("a", self.server)
        with brokers.Broker(config=config, listens=False) as broker:
            stalled = [self.plain_socket(broker.tls[0]) for _ in range(20)]
            late = self.plain_socket(broker.tls[0])
            self.assertEqual(late.recv(1), b"")
            self.assertIn("refusing a TLS connection: there are too many connections", broker.said())
            at_rest = broker.descriptors() - 20
            for sock in stalled:
                sock.close()
            self.assertTrue(raw.eventually(lambda: broker.descriptors() <= at_rest))
            self.assert_echo(self.welcomed(broker.tls[0]), "again")

    # hostile.md 11
    def test_plain_peers_are_told(self):
        self.said_so_far()
        for data, looks in ((hello(), "look like mps/1 without TLS"), (b"GET / HTTP/1.1\r\n\r\n", "look like HTTP"),
                            (b"SSH-2.0-x\r\n", "look like SSH"), (bytes(10), "byte is 00")):
            before = len(self.broker.said())
            peer = raw.Peer(sock=self.plain_socket())
            peer.send(data)
            text = "this listener serves mps/1 over TLS (tls://), the first bytes " + looks
            text = text.replace("bytes byte", "byte")
            self.assertEqual(peer.rest(), [[BYE, MALFORMED, text]])
            self.said_since(before, text)

    def test_tls_on_a_plain_listener(self):
        before = self.said_so_far()
        with self.assertRaises(ssl.SSLError):
            self.peer(self.plain)
        self.said_since(before, "the first bytes look like TLS")

    def test_garbage(self):
        self.said_so_far()
        for data in b"\x16\x03\x01\xff\xff" + os.urandom(3000), b"\x16" * 3000, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00":
            before, sock = len(self.broker.said()), self.plain_socket()
            sock.sendall(data)
            with contextlib.suppress(ConnectionError):
                while sock.recv(4096):
                    pass
            self.said_since(before, "before it is one: the TLS handshake failed: ")
        self.assert_echo(self.welcomed(), "after")

    def test_a_handshake_without_end(self):
        """A ClientHello that is long, but not too long for OpenSSL."""
        before, sock = self.said_so_far(), self.plain_socket()
        data = b"\x01\x01\xf0\x00\x03\x03" + bytes(120000)
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(data), 16384):
                part = data[at:at + 16384]
                sock.sendall(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part)
            while sock.recv(4096):
                pass
        self.said_since(before, "before it is one: the TLS handshake failed: it has more than 98304 bytes")

    def test_leaving_in_the_middle(self):
        """Whatever a thread works on when the peer goes, nothing is left of it."""
        at_rest = self.broker.descriptors()
        for number in range(60):
            sock = self.plain_socket(self.rsa)
            half = tls.Socket(sock, tls.context(self.ca))
            with contextlib.suppress(ssl.SSLWantReadError):
                half.tls.do_handshake()
            sock.sendall(half.outgoing.read())
            if number % 2:
                raw.Peer(sock=sock).reset()
            sock.close()
        self.assertTrue(raw.eventually(lambda: self.broker.descriptors() <= at_rest))

    def test_too_many_connections_are_told(self):
        config = "[limits]\nmax_connections = 2\n[listener plain]\nurl = tcp://127.0.0.1:0\n" + listener("a", self.server)
        with brokers.Broker(config=config, listens=False) as broker:
            peer = self.peer(broker.tls[0])  # the handshake is complete, or was begun, before there are two
            plain = [raw.welcomed(broker.tcp)]
            peer.send(hello())
            self.assertEqual(peer.next()[0], WELCOME)
            third = raw.Peer(broker.tcp)
            self.assertEqual(third.next()[:2], [BYE, TOO_MANY])
            for one in (peer, third, *plain):
                one.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
