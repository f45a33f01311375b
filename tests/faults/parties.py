"""Publishers and readers that outlive their broker, with books of what it owes them.

A message is known by its publisher and its number, which is its publish id, too: from them all of it can be computed
again. Parties run in threads of their own, and come back whenever the broker does.
"""
import os
import pathlib
import random
import struct
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "process"))
os.environ.setdefault("PUBSUBD", str(ROOT / "build/release/bin/pubsubd"))  # when it is not ctest that runs this

import brokers  # noqa: E402
from raw import (ACK, BYE, EACH, FOR, GAP, INFO, MARK, MSG, PING, PONG, PUB, PUBACK,  # noqa: E402
                 STORED, SUB, SUBACK, WELCOME, Peer, frame, hello)

PATIENCE_S = 120  # whatever has not happened by then won't
IN_FLIGHT = 64
SESSION_S = 100_000
CAUGHT_UP = 2
SHUTTING_DOWN = 113
ACCEPTED = 0, 1, 2  # codes of a PUBACK
ONE, AGAIN, UPTO = 1, 2, 0  # kinds of ACK

LARGE_BYTES = 9000
CYCLE = bytes((j * 13) & 255 for j in range(256 + LARGE_BYTES))


class Wrong(Exception):
    """The broker broke a promise."""


def payload_of(publisher, number):
    """Mostly small; one in 97 is larger than two pages of the store."""
    size = LARGE_BYTES if number % 97 == 0 else number * 37 % 300
    at = (publisher * 31 + number * 7) & 255
    return struct.pack(">BI", publisher, number) + CYCLE[at:at + size]


def topic_of(publisher, number):
    return f"orders/{publisher}/{number % 5}"


def who_of(message, topic_of=topic_of):
    """(publisher, number) of a MSG frame, of which every byte is as it was published."""
    _, topic, props, payload = message[:4]
    publisher, number = struct.unpack_from(">BI", payload)
    if (topic, props, payload) != (topic_of(publisher, number), None, payload_of(publisher, number)):
        raise Wrong(f"not as it was published: {topic} {payload[:40]!r}, {len(payload)} bytes")
    return publisher, number


class Service:
    """The broker, as those see it that use it. All fields belong to the condition."""

    def __init__(self, broker):
        self.broker = broker
        self.changed = threading.Condition()
        self.is_up = True
        self.is_over = False       # nobody comes back any more
        self.wants_more = True     # publishers publish
        self.failure = None

    def wait_up(self):
        """False: it is over."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_up or self.is_over)
            return not self.is_over

    def wait_for(self, condition, what):
        with self.changed:
            if not self.changed.wait_for(lambda: self.failure or condition(), PATIENCE_S):
                raise Wrong(f"waited {PATIENCE_S} s for this: {what}; the broker said: {self.broker.said()[-2000:]}")
            if self.failure:
                raise self.failure

    def set(self, **fields):
        with self.changed:
            for name, value in fields.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def fail(self, failure):
        self.set(failure=failure, is_over=True)

    def kill(self):
        self.broker.kill()
        self.set(is_up=False)

    def start(self):
        self.broker.start()
        self.set(is_up=True)


class Party(threading.Thread):
    def __init__(self, service, name, rng, cut_chance=0.0):
        super().__init__(name=name, daemon=True)
        self.service = service
        self.rng = random.Random(rng.random())
        self.cut_chance = cut_chance  # of ending a connection by itself, at each frame that comes
        self.lives = 0
        self.peer = None

    def run(self):
        try:
            while self.service.wait_up() and not self.is_done():
                try:
                    self.peer = Peer(self.service.broker.unix)
                    self.lives += 1
                    self.live(self.peer)
                except (ConnectionError, FileNotFoundError, EOFError):
                    pass  # the broker is gone, and comes back
                finally:
                    if self.peer:
                        self.peer.close()
        except Exception as failure:
            self.service.fail(failure)

    def next(self):
        """The next frame, but for those by which a broker says that it stops."""
        got = self.peer.next()
        while got and got[0] == INFO:
            got = self.peer.next()
        if got is None or got[:2] == [BYE, SHUTTING_DOWN] or self.rng.random() < self.cut_chance:
            raise EOFError
        return got

    def welcome(self, **options):
        self.peer.send(hello(id=self.name, sess=SESSION_S, **options))
        got = self.next()
        if got[0] != WELCOME:
            raise Wrong(f"{self.name}: HELLO was answered with {got}")
        return got[2]


class Publisher(Party):
    """Publishes at level 2, with so many in flight, and sends what isn't settled again under its old ids."""

    def __init__(self, service, index, rng, cut_chance=0.0, topic_of=topic_of, in_flight=IN_FLIGHT,
                 note=None):
        super().__init__(service, f"publisher-{index}", rng, cut_chance)
        self.index = index
        self.boot = rng.randrange(1, 1 << 53)
        self.flags = STORED | (EACH if index % 2 else 0)
        self.topic_of = topic_of
        self.in_flight = in_flight
        self.note = note  # called with (publisher, first, last, stream, position) of what is stored, as far as it was told
        self.sent = self.settled = 0  # the highest number
        self.resent = 0

    def is_done(self):
        return not self.service.wants_more and self.settled == self.sent

    def frames(self, first, last):
        return b"".join(frame(MSG, self.topic_of(self.index, n), None, payload_of(self.index, n))
                        for n in range(first, last + 1))

    def settle(self, last, stream=None, position=None):
        if not self.settled <= last <= self.sent:
            raise Wrong(f"{self.name}: up to {self.settled} are settled, {self.sent} were sent, "
                        f"now {last} are said to be")
        if self.note and last > self.settled:
            self.note(self.index, self.settled + 1, last, stream, position)
        with self.service.changed:
            self.settled = last
            self.service.changed.notify_all()

    def live(self, peer):
        self.settle(self.welcome(boot=self.boot).get("last_pid", 0))
        self.resent += self.sent - self.settled
        peer.tell(PUB, self.settled + 1, self.flags)
        peer.send(self.frames(self.settled + 1, self.sent))
        while not self.is_done():
            if self.service.wants_more:
                first, self.sent = self.sent + 1, max(self.sent, self.settled + self.in_flight)
                peer.send(self.frames(first, self.sent))
            got = self.next()
            if got[0] != PUBACK or got[2] not in ACCEPTED:
                raise Wrong(f"{self.name}: {got}")
            self.settle(got[1], *got[5:7])
        peer.goodbye()


    def publish_one(self):
        """Without a thread: one message, and its acknowledgement."""
        self.peer = Peer(self.service.broker.unix)
        self.welcome(boot=self.boot)
        self.sent = 1
        self.peer.tell(PUB, 1, self.flags)
        self.peer.send(self.frames(1, 1))
        got = self.peer.answer(PUBACK)
        if got[2] not in ACCEPTED:
            raise Wrong(f"{self.name}: {got}")
        self.peer.goodbye()


class Book:
    """What one reader, or a group, has received and acknowledged."""

    def __init__(self):
        self.acknowledged = set()  # (publisher, number)
        self.received = self.repeated = 0


class Reader(Party):
    """A durable subscription that acknowledges most of what it gets at once, and the rest later or not at all."""

    def __init__(self, service, name, book, rng, cut_chance=0.0, group=None):
        super().__init__(service, name, rng, cut_chance)
        self.book = book
        self.options = {"from": "all", "ack": "each", "durable": True, "ack_ms": 500, "inflight": 200, "retained": 2,
                        **({"group": group} if group else {})}
        self.unacknowledged = {}        # position -> (publisher, number), of what was received
        self.here = set()     # positions that came on this connection
        self.told = set()     # acknowledged on this connection since the last PING;
        self.asked = []       # before a PING that is not answered; for each
        self.certain = set()  # before one that is answered: the broker knows of these

    def is_done(self):
        return False

    def subscribe(self):
        self.welcome()
        self.peer.tell(SUB, 1, "orders/#", self.options)

    def messages(self):
        """What comes, as (stream, position, who)."""
        stream = position = None
        while True:
            got = self.next()
            if got[0] == FOR:
                stream, position = got[3:5]
            elif got[0] == MSG:
                yield stream, position, who_of(got)
                position += 1
            elif got[0] == PONG:
                self.certain.update(self.asked.pop(0))
            elif got[0] not in (MARK, SUBACK) or got[0] == SUBACK and got[2] != 0:
                raise Wrong(f"{self.name}: {got}")

    def acknowledge(self, kind, stream, position):
        """upto speaks of all that was received, here and on earlier connections."""
        whose = [p for p in self.unacknowledged if p <= position] if kind == UPTO else [position]
        self.peer.tell(ACK, 1, stream, position, kind)
        self.told.update(whose)
        with self.service.changed:
            self.book.acknowledged.update(self.unacknowledged.pop(p) for p in whose)
            self.service.changed.notify_all()

    def take(self, stream, position, who):
        if position in self.certain:
            raise Wrong(f"{self.name}: {position} came again, though the broker knew that it was acknowledged")
        self.here.add(position)
        self.book.received += 1
        self.book.repeated += who in self.book.acknowledged
        self.unacknowledged[position] = who
        chance = self.rng.random()
        if chance < 0.03:
            self.peer.tell(ACK, 1, stream, position, AGAIN, self.rng.randrange(30))
        elif chance < 0.05 and "group" not in self.options:
            self.acknowledge(UPTO, stream, position)
        elif chance > 0.10:  # else it is left for later, or for never
            self.acknowledge(ONE, stream, position)
            late = [p for p in self.unacknowledged if p in self.here]
            if chance > 0.80 and late:
                self.acknowledge(ONE, stream, self.rng.choice(late))
        if chance > 0.95:
            self.peer.tell(PING, b"")
            self.asked.append(self.told)
            self.told = set()

    def live(self, peer):
        self.subscribe()
        for positions in self.here, self.told, self.asked, self.certain:
            positions.clear()
        for message in self.messages():
            self.take(*message)

    def successor(self):
        """Without a thread: it comes back once more, when this one is over."""
        other = Reader(self.service, self.name, self.book, self.rng, 0.0, self.options.get("group"))
        other.peer = Peer(self.service.broker.unix)
        other.subscribe()
        return other

    def expect_first(self, who):
        got = next(self.messages())
        if got[2] != who:
            raise Wrong(f"{self.name}: everything was acknowledged, but after a restart {got} came before {who}")
        self.peer.close()


def read_all(url, pattern, topic_of=topic_of):
    """What the streams hold for a pattern, as {stream: [(publisher, number)]}, in the order of their positions; without
    a hole, or it is Wrong."""
    found, stream, position = {}, None, None
    with Peer(url) as peer:
        peer.send(hello() + frame(SUB, 1, pattern, {"from": "all", "retained": 2}))
        while (got := peer.next()) != [MARK, 1, CAUGHT_UP]:
            if got is None:
                raise Wrong("the broker ended while it was read")
            if got[0] == FOR:
                stream, position = got[3:5]
            elif got[0] == MSG:
                list_ = found.setdefault(stream, [])
                if list_ and position != list_[-1][0] + 1:
                    raise Wrong(f"of stream {stream}, position {list_[-1][0]} is followed by {position}")
                list_.append((position, who_of(got, topic_of)))
                position += 1
            elif got[0] == GAP:
                raise Wrong(f"a GAP where nothing may be missing: {got}")
    return found


def judge(publishers, found, is_kept=lambda number: True):
    """(acknowledged and lost, duplicates, out of order) of what was found in streams that keep everything.
    is_kept: whether such a stream is this number's."""
    everything = [who for stream in found.values() for _, who in stream]
    there = set(everything)
    lost = sum((p.index, n) not in there for p in publishers for n in range(1, p.settled + 1) if is_kept(n))
    out_of_order = 0
    for stream in found.values():
        last = {}
        for _, (publisher, number) in stream:
            out_of_order += number < last.get(publisher, 0)
            last[publisher] = number
    return lost, len(everything) - len(there), out_of_order
