"""Subscribers that are slow in one way or another, and keep exact books of what they get.

Messages carry their number, 1, 2, ..., at the beginning of their payload. Every message that a reader does not get must
be told by a GAP in its place, so a reader always knows which number is next."""
import socket

import raw
from raw import BYE, FOR, GAP, MARK, MSG, PONG, STAT, SUB, SUBACK, WELCOME, frame, hello

KERNEL_BYTES = 4096  # of the reader's socket buffer: the broker's own queue is full sooner


def numbered(topic, number, size=8, props=None):
    return frame(MSG, topic, props, number.to_bytes(8, "big") + bytes(max(0, size - 8)))


def number_of(message):
    return int.from_bytes(message[3][:8], "big")


def small_socket(url):
    """A connected TCP socket that takes few bytes before it is full."""
    host, port = url[len("tcp://"):].rsplit(":", 1)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
    sock.connect((host, int(port)))
    return sock


class Reader(raw.Peer):
    """One subscription, sid 1, and the books of it."""

    def __init__(self, url, pattern, options, small=True, sock=None, **terms):
        super().__init__(url, sock or (small_socket(url) if small else None))
        self.at = 0        # the last number that is accounted for, received or told as lost
        self.received = 0
        self.told = {}     # reason -> messages that GAPs told as lost
        self.first_told = {}  # reason -> the number of the first of them
        self.stat = self.bye = self.drained = None
        self.on_message = None
        self.send(hello(**terms) + frame(SUB, 1, pattern, {"retained": 2, **options}))
        welcome, suback = self.next(), self.next()
        if welcome[0] != WELCOME or suback != [SUBACK, 1, 0, suback[3]]:
            raise AssertionError(f"SUB {pattern} {options} was answered with {welcome} and {suback}")
        self.welcome = welcome[2]

    @property
    def lost(self):
        return sum(self.told.values())

    def take(self, got):
        """Enters one frame into the books."""
        op = got[0]
        if op == MSG:
            number = number_of(got)
            if number != self.at + 1:
                raise AssertionError(f"number {self.at + 1} is next, but {number} came; told so far: {self.told}")
            self.at = number
            self.received += 1
            if self.on_message:
                self.on_message(got)
        elif op == GAP:
            if got[1] != 1 or got[2] < 1:
                raise AssertionError(f"an impossible GAP: {got}")
            self.first_told.setdefault(got[3], self.at + 1)
            self.told[got[3]] = self.told.get(got[3], 0) + got[2]
            self.at += got[2]
        elif op == STAT:
            self.stat = got[2:]
        elif op == MARK:
            self.drained = got
        elif op == BYE:
            self.bye = got
        elif op not in (FOR, PONG):
            raise AssertionError(f"came unasked: {got}")

    def take_frames(self):
        """Enters what has come whole."""
        for got in self.unpacker:
            self.take(got)

    def sip(self, size=1024):
        """Reads that many bytes at most. Returns whether there were any."""
        try:
            data = self.sock.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        self.ended = self.ended or not data
        self.unpacker.feed(data)
        self.take_frames()
        return bool(data)

    def read_until(self, condition):
        """Reads until the condition holds, or the stream ends."""
        while not condition():
            got = self.next()
            if got is None:
                return
            self.take(got)

    def read_to(self, number):
        self.read_until(lambda: self.at >= number)

    def ask_stat(self):
        """Asks, and reads up to the answer."""
        self.stat = None
        self.tell(STAT, 1)
        self.read_until(lambda: self.stat is not None)
        return self.stat

    def check_stat(self, matched):
        """What STAT says, which was just answered, agrees with the books and with itself."""
        said, sent, lost, queued, _ = self.stat
        if (said, sent + lost + queued) != (matched, matched):
            raise AssertionError(f"{matched} messages matched, STAT says {self.stat}")
        if sent != self.received or lost < self.lost:
            raise AssertionError(f"received {self.received}, told of {self.told}; STAT says {self.stat}")


class Publisher(raw.Peer):
    """Publishes numbered messages, acknowledged, and adds up what the answers say."""

    def __init__(self, url, **terms):
        super().__init__(url)
        self.send(hello(**terms) + frame(raw.PUB, 1, raw.ROUTED))
        self.answer(WELCOME)
        self.sent = self.acked = self.dropped = 0
        self.matched_least = None

    def publish(self, frames):
        """frames: a list of MSG frames."""
        self.send(b"".join(frames))
        self.sent += len(frames)

    def wait(self):
        """Until all is answered."""
        while self.acked < self.sent:
            got = self.answer(raw.PUBACK)
            if got[2] not in (0, 1):
                raise AssertionError(f"refused: {got}")
            self.acked = got[1]
            self.dropped += got[4]
            if self.matched_least is None or got[3] < self.matched_least:
                self.matched_least = got[3]

