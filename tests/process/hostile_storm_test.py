"""A thousand connections a second, for a minute, that end in every way there is: nothing of them is left.

Of who is served meanwhile the bystanders tell; how soon, tests/bench (attack-connects)."""
import collections
import contextlib
import random
import socket
import ssl
import tempfile
import time
import unittest

import msgpack

import brokers
import raw
import tls
from hostile import SANITIZED, HostileTest
from hostile import setUpModule as raise_limits
from issuer import Authority
from raw import BYE, MSG, PING, SUB, WELCOME, frame, hello
from readers import numbered
from tls_broker import listener

PER_S = 1000
SECONDS, WARM_UP_S = (10, 2) if SANITIZED else (60, 5)
EVERY_S = 0.01
FULL_TLS_EVERY = 50  # of the connections one is a whole handshake in Python, which costs as much as ten others
ADDRESSES = 200      # from 127.0.0.2 on: the ports of one would be used up by those that have ended
IP_BIND_ADDRESS_NO_PORT = 24
# Of so many connections a byte each would be 60 KB, and no allocation is smaller than 24: with this allowance for the pages that
# a heap is cut into, one that is kept of every connection shows.
LEFT_BYTES = 1 << 20

OPENINGS = [b"", hello(), hello()[:10], hello(id="x", ka=60), hello(will=["storm", b"x", 0, 0]),
            hello(will=["storm", b"x", 0, 500], sess=1), hello() + frame(SUB, 1, "#", {"filter": "a > 1"}),
            hello() + frame(SUB, 1, "storm/#", {"policy": "latest", "group": "g"}) + numbered("storm/1", 1),
            hello() + frame(PING, b"x") + frame(BYE, 0)]


class Made:
    """Certificates."""


def setUpModule():
    raise_limits()
    directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
    unittest.addModuleCleanup(directory.cleanup)
    Made.ca = Authority(directory.name, "ca")
    Made.server = Made.ca.issue("server")


def client_hello(terms):
    """The first bytes of a TLS handshake. The broker does the costly part of one for each copy of them."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        terms.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1").do_handshake()
    return outgoing.read()


def address(url):
    host, port = url.split("://")[1].rsplit(":", 1)
    return host, int(port)


class Storm(HostileTest):
    # The sanitizer keeps 256 MiB of what was freed.
    MEMORY_SLACK_BYTES = HostileTest.MEMORY_SLACK_BYTES + (256 << 20 if SANITIZED else 0)

    @classmethod
    def start_broker(cls):
        # A handshake in Python may take longer than the 5 s of default where the machine is busy.
        config = ("[broker]\nsys_interval = 100ms\n[limits]\nhandshake_timeout = 1m\n[listener plain]\nurl = tcp://127.0.0.1:0\n" +
                  listener("tls", Made.server))
        broker = brokers.Broker(config=config, listens=False)
        broker.unix = broker.tcp  # for the bystanders
        return broker

    def setUp(self):
        super().setUp()
        self.choose = random.Random(44)
        self.terms = tls.context(Made.ca)
        first = client_hello(self.terms)
        self.openings = ([(address(self.broker.tcp), data) for data in OPENINGS] +
                         [(address(self.broker.tls[0]), data) for data in (b"", first, first, first[:100], hello())])
        self.watcher = self.welcomed()
        self.watcher.tell(SUB, 1, "$SYS/broker", {"policy": "latest"})

    def figures(self):
        """What the broker says of itself from now on."""
        self.watcher.ping()  # what it said before
        return msgpack.unpackb(self.watcher.answer(MSG)[3])

    def open(self, place):
        sock = socket.socket()
        try:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.0.0.{2 + self.choose.randrange(ADDRESSES)}", 0))
            sock.settimeout(raw.ANSWER_S)
            sock.connect(place)
        except BaseException:
            sock.close()
            raise
        return sock

    def one(self):
        place, data = self.choose.choice(self.openings)
        peer = raw.Peer(sock=self.open(place))
        with contextlib.suppress(ConnectionError):  # the broker may have been faster
            peer.sock.sendall(data)
        way = self.choose.randrange(3)
        if way == 0:
            peer.reset()
            return
        if way == 1:
            peer.finish()
        peer.close()

    def one_with_tls(self):
        peer = raw.Peer(sock=tls.connect(self.broker.tls[0], self.terms))
        peer.send(hello())
        self.assertEqual(peer.next()[0], WELCOME)
        if self.choose.randrange(2):
            peer.sock.shutdown(socket.SHUT_WR)
            peer.close()
        else:
            peer.reset()

    def storm(self, seconds):
        """As many connections a second as there are to be, or as this machine allows. Returns how many of each kind."""
        made = collections.Counter()
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < seconds:
            due = min(int(elapsed * PER_S) - made.total(), PER_S)
            for _ in range(due):
                if made.total() % FULL_TLS_EVERY == 0:
                    self.one_with_tls()
                    made["whole handshakes"] += 1
                else:
                    self.one()
                    made["others"] += 1
            time.sleep(EVERY_S)
        return made

    def left(self):
        with self.bystanders.paused():
            figures = self.figures()
            return self.broker.descriptors(), figures["timers"], figures["connections"]

    def await_rest(self, before):
        """Of a session that may be taken up again a timer is left for a second, of a will that waits for half of one."""
        last = []

        def is_at_rest():
            last[:] = [self.left()]
            return last[0] == before
        self.assertTrue(raw.eventually(is_at_rest),
                        f"descriptors, timers and connections were {before}, and are {last[0]}")

    # Hostile 44.
    def test_a_storm_of_connections(self):
        before = self.left()
        self.storm(WARM_UP_S)  # until the broker has the memory that such work takes
        self.await_rest(before)
        memory = self.broker.resident_bytes()
        began_s = time.process_time()
        made = self.storm(SECONDS)
        print(f"{made.total() / SECONDS:.0f} connections a second for {SECONDS} s, {made['whole handshakes']} of them with a whole "
              f"handshake; {time.process_time() - began_s:.1f} s of CPU here, {self.broker.cpu_s():.1f} s in the broker")
        self.await_rest(before)
        if not SANITIZED:  # which keeps what was freed, and looks for leaks itself at the end
            self.assertTrue(raw.eventually(lambda: self.broker.resident_bytes() <= memory + LEFT_BYTES),
                            f"the broker's memory was {memory >> 10} KiB and is {self.broker.resident_bytes() >> 10} KiB")
        print(f"memory: {memory >> 10} KiB before, {self.broker.resident_bytes() >> 10} KiB after; {before[1]} timers")


if __name__ == "__main__":
    unittest.main(verbosity=2)
