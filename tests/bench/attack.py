"""Attacks a broker of ours from this machine in several ways at once, each at its own pace, until SIGTERM.

Prints "ready" when all of them are under way; at the end, one JSON object: how often each was done. It is run with the lowest
priority and at fixed rates, so that what it costs itself stays small: what suffers is to be the broker."""
import argparse
import collections
import errno
import heapq
import json
import os
import pathlib
import random
import resource
import signal
import socket
import ssl
import struct
import sys
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "process"))
from raw import MSG, SUB, UNSUB, frame, hello  # noqa: E402

NICE = 19
ADDRESSES = 200  # 127.0.0.2 and on: what the broker counts by address does not help it
SMALL_BYTES = 4096  # of the buffer of those who don't read
RST = struct.pack("ii", 1, 0)
IP_BIND_ADDRESS_NO_PORT = 24
CLAIMS = [bytes.fromhex(text) for text in ("ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff", "c9ffffffffff",
                                           "9401a36d707301dfffffffff", "9401a36d707301dbffffffff")]
MALFORMED = [b"\xc1", b"\x91" * 1000, frame(MSG, "a/+/#", None, b""), frame(SUB, "no number", 5, {}), frame(99), os.urandom(64),
             frame(MSG, "x" * 70000, None, b""), frame(SUB, 1, "#", {"filter": "a > "}), b"\xdd\x00\x10\x00\x00" + b"\xc0" * 4096]


def client_hello():
    """The first bytes of a TLS handshake, which will have no second ones. Each may be sent any number of times."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    half = context.wrap_bio(incoming, outgoing)
    try:
        half.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def place_of(url):
    host, port = url.split("://")[1].rsplit(":", 1)
    return host, int(port)


class Crowd:
    """Connections that are kept for a while: the oldest goes when there are too many."""

    def __init__(self, most):
        self.most, self.socks = most, collections.deque()

    def add(self, sock):
        self.socks.append(sock)
        if len(self.socks) > self.most:
            self.socks.popleft().close()


class Attack:
    """All kinds of attack. Those in RATES are done so many times a second; each method is one of them."""
    RATES = {"connects": 300, "silent": 100, "claims": 100, "handshakes": 100, "passwords": 10, "malformed": 100,
             "subscribing": 50, "not-reading": 50}
    PAIRS = 10  # of SUB and UNSUB at once
    FLOOD = frame(MSG, "flood/attack", None, bytes(1024)) * 20
    READERS = 5

    def __init__(self, tcp, tls):
        self.tcp, self.tls = place_of(tcp), place_of(tls)
        self.choose = random.Random(1)
        self.hello = client_hello()
        self.silent, self.half, self.closing = Crowd(400), Crowd(400), Crowd(50)
        self.subscriber = self.flooder = None
        self.readers = []

    def open(self, place=None, buffer=None):
        """A connected socket, which from now on blocks nobody."""
        sock = socket.socket()
        try:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.bind((f"127.0.0.{2 + self.choose.randrange(ADDRESSES)}", 0))
            sock.settimeout(5)
            sock.connect(place or self.tcp)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        return sock

    def say(self, data, place=None):
        sock = self.open(place)
        try:
            sock.send(data)
        except OSError:
            sock.close()
            raise
        return sock

    def connects(self):
        way = self.choose.randrange(4)
        sock = self.open()
        if way == 1:
            sock.send(hello()[:5])
        elif way > 1:
            sock.send(hello())
        if way % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        sock.close()

    def silent_one(self):
        self.silent.add(self.open())

    def claims(self):
        self.closing.add(self.say(self.choose.choice(CLAIMS)))

    def handshakes(self):
        self.half.add(self.say(self.hello, self.tls))

    def passwords(self):
        self.closing.add(self.say(hello(auth="password", data=["somebody", "wrong"])))

    def malformed(self):
        self.closing.add(self.say(hello() + self.choose.choice(MALFORMED)))

    def subscribing(self):
        if self.subscriber is None:
            self.subscriber = self.say(hello())
        self.subscriber.send((frame(SUB, 1, "#", {}) + frame(UNSUB, 1)) * self.PAIRS)
        while self.subscriber.recv(1 << 18):  # until there is nothing more, which raises
            pass
        raise ConnectionError("the broker has ended the connection")

    def not_reading(self):
        while len(self.readers) < self.READERS:
            reader = self.open(buffer=SMALL_BYTES)
            reader.send(hello() + frame(SUB, 1, "#", {}))
            self.readers.append(reader)
        if self.flooder is None:
            self.flooder = self.say(hello())
        self.flooder.send(self.FLOOD)

    def forget(self, kind):
        """Its connection has ended: next time it makes another."""
        if kind == "subscribing" and self.subscriber:
            self.subscriber.close()
            self.subscriber = None
        if kind == "not-reading" and self.flooder:
            self.flooder.close()
            self.flooder = None

    def does(self, kind):
        return {"silent": self.silent_one, "not-reading": self.not_reading}.get(kind) or getattr(self, kind)


def attack(kinds, target, stop):
    """Until stop() is true. Returns how often each kind was done, and how often it failed."""
    begin = time.monotonic()
    done, failed = collections.Counter(), collections.Counter()
    due = [(begin + at / 1000, kind) for at, kind in enumerate(kinds)]
    heapq.heapify(due)
    is_ready = False
    while not stop():
        when, kind = due[0]
        now = time.monotonic()
        if when > now:
            time.sleep(min(when - now, 0.05))
            continue
        try:
            target.does(kind)()
            done[kind] += 1
        except BlockingIOError:
            done[kind] += 1  # the broker takes its time to read or to answer
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise
            failed[kind] += 1
            target.forget(kind)
        # What the machine did not allow is not made up for in a burst.
        heapq.heapreplace(due, (max(when + 1 / target.RATES[kind], now - 0.1), kind))
        if not is_ready and now > begin + 1:
            is_ready = True
            print("ready", flush=True)
    seconds = time.monotonic() - begin
    return {"seconds": seconds, "per_s": {kind: round(done[kind] / seconds, 1) for kind in kinds},
            "failed": {kind: failed[kind] for kind in kinds}}


def main(words):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False)
    parser.add_argument("--tcp", required=True, metavar="URL", help="where the broker serves plain connections")
    parser.add_argument("--tls", required=True, metavar="URL", help="where it serves TLS")
    parser.add_argument("--kind", action="append", required=True, choices=tuple(Attack.RATES), help="may be repeated")
    options = parser.parse_args(words)
    os.nice(NICE)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    print(json.dumps(attack(options.kind, Attack(options.tcp, options.tls), lambda: ended)))


if __name__ == "__main__":
    main(sys.argv[1:])
