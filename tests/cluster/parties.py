"""Publishers and readers at the brokers of a cluster, which note what they are told and what they get; judge.py judges it.

Each runs in a thread of its own, and comes back whenever its broker does."""
import itertools
import os
import select
import struct
import threading
import time

import raw
from judge import Account, Life, Notes

AGAIN_S = 0.05        # so long after it was refused a broker is tried again
LISTEN_S = 0.02
SESSION_S = 3600
ACCEPTED = 0, 1, 2    # codes of a PUBACK
LIVE, KEPT = "live", "orders"  # the first levels of topics; those of the second are in a shared stream
RUN = struct.Struct(">HBIQ")  # trial, publisher, life, number
CAUGHT_UP = 2
RESTARTED = 9         # a reason of GAPs
TRIES = 10


class Wrong(Exception):
    """A broker broke a promise."""


def payload(name, number):
    """A document: a bin of this length."""
    return b"\xc4" + bytes([RUN.size]) + RUN.pack(*name, number)


def who_of(message):
    """(name, number) of a MSG."""
    *name, number = RUN.unpack_from(message[3], 2)
    return tuple(name), number


class Connection(raw.Peer):
    def arrived(self, seconds):
        """What has come, and comes within this time if nothing has. EOFError: it is over, and nothing is left."""
        frames = list(self.unpacker)
        if not frames and not self.ended and select.select([self.sock], [], [], seconds)[0]:
            self._receive()
            frames = list(self.unpacker)
        if not frames and self.ended:
            raise EOFError
        return frames


class Party(threading.Thread):
    """broker(): which one it goes to now."""

    def __init__(self, trial, name, broker):
        super().__init__(name=name, daemon=True)
        self.trial, self.broker = trial, broker
        self.is_over = threading.Event()
        self.failure = None
        self.lives = 0

    def run(self):
        try:
            while not self.is_over.is_set():
                try:
                    with Connection(self.broker().unix) as connection:
                        self.lives += 1
                        self.live(connection)
                except (OSError, EOFError):
                    self.away()
                    self.is_over.wait(AGAIN_S)
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure

    def away(self):
        """Its connection has ended, or there was none."""

    def welcomed(self, connection, **options):
        connection.send(raw.hello(**options))
        while True:
            for frame in connection.arrived(raw.ANSWER_S):
                if frame[0] == raw.WELCOME:
                    return frame[2]
                if frame[0] == raw.BYE:
                    raise EOFError

    def end(self):
        self.is_over.set()
        self.join(raw.ANSWER_S * 4)
        if self.is_alive():
            raise Wrong(f"{self.name} does not end")
        if self.failure:
            raise self.failure


class LivePublisher(Party):
    """Bursts of messages of a topic that no stream keeps, so many under way, a burst each so many seconds. Each connection is a life
    of its own."""
    BURST, IN_FLIGHT, PACE_S = 20, 400, 0.02

    def __init__(self, trial, index, broker):
        super().__init__(trial, f"live-{index}", broker)
        self.index = index
        self.topic = f"{LIVE}/{index}"
        self.count = itertools.count(1)
        self.past = []
        self.now = None

    def live(self, connection):
        self.welcomed(connection)
        life = Life((self.trial.number, self.index, next(self.count)))
        self.past.append(life)
        self.now = life
        connection.tell(raw.PUB, 1, raw.ROUTED)
        due = 0
        while not self.is_over.is_set():
            now = time.monotonic()
            if self.trial.wants_more and life.sent - life.settled < self.IN_FLIGHT and now >= due:
                due = now + self.PACE_S
                first = life.sent + 1
                life.sent += self.BURST  # before they go: what comes is never more than what was sent
                connection.send(b"".join(raw.frame(raw.MSG, self.topic, None, payload(life.name, n))
                                         for n in range(first, life.sent + 1)))
            for frame in connection.arrived(LISTEN_S):
                if frame[0] == raw.PUBACK:
                    if frame[2] not in ACCEPTED:
                        raise Wrong(f"{self.name}: {frame}")
                    life.settled = frame[1]

    def away(self):
        self.now = None

    def is_settled(self):
        return self.now is not None and self.now.settled == self.now.sent


class StoredPublisher(Party):
    """Publishes to a shared stream at level 3, with so many in flight, and sends again what was not answered, under its old
    ids, if need be at another broker."""
    IN_FLIGHT, PACE_S = 64, 0.02

    def __init__(self, trial, index, broker):
        super().__init__(trial, f"stored-{trial.number}-{index}-{os.urandom(4).hex()}", broker)
        self.account = Account((trial.number, index, 0), in_flight=self.IN_FLIGHT)
        self.topic = f"{KEPT}/{index}"
        self.boot = int.from_bytes(os.urandom(6), "big") | 1
        self.answered = self.resent = 0
        self.texts = {}               # of refusals: how often
        self.longest_s = 0.0          # that an acknowledgement took
        self.sent_at = {}

    def frames(self, first, last):
        now = time.monotonic()
        for number in range(first, last + 1):
            self.sent_at.setdefault(number, now)
        return b"".join(raw.frame(raw.MSG, self.topic, None, payload(self.account.name, n)) for n in range(first, last + 1))

    def take(self, number):
        """All up to this one were accepted."""
        if not self.answered <= number <= self.account.sent:
            raise Wrong(f"{self.name}: {self.answered} of {self.account.sent} were answered, now {number} is said to be")
        for n in range(self.answered + 1, number + 1):
            self.account.acknowledged.add(n)
            self.longest_s = max(self.longest_s, time.monotonic() - self.sent_at.pop(n))
        self.answered = number

    def note(self, puback):
        _, pid, code = puback[:3]
        if code in ACCEPTED:
            self.take(pid)
            return
        self.take(pid - 1)
        self.account.refused.add(pid)
        self.sent_at.pop(pid)
        self.answered = pid
        text = puback[7] if len(puback) > 7 else ""
        self.texts[code, text] = self.texts.get((code, text), 0) + 1

    def live(self, connection):
        account = self.account
        self.take(max(self.answered, self.welcomed(connection, id=self.name, sess=SESSION_S, boot=self.boot).get("last_pid", 0)))
        self.resent += account.sent - self.answered
        connection.tell(raw.PUB, self.answered + 1, raw.REPLICATED)
        connection.send(self.frames(self.answered + 1, account.sent))
        due = 0
        while not self.is_over.is_set():
            now = time.monotonic()
            if self.trial.wants_more and account.sent - self.answered < self.IN_FLIGHT and now >= due:
                due = now + self.PACE_S
                first = account.sent + 1
                account.sent = self.answered + self.IN_FLIGHT
                connection.send(self.frames(first, account.sent))
            for frame in connection.arrived(LISTEN_S):
                if frame[0] == raw.PUBACK:
                    self.note(frame)
                elif frame[0] == raw.BYE:
                    raise EOFError

    def is_settled(self):
        return self.answered == self.account.sent


class Reader(Party):
    """Notes what comes of a pattern; each connection has notes of its own."""

    def __init__(self, trial, name, broker, pattern, **options):
        super().__init__(trial, name, broker)
        self.pattern, self.options = pattern, options
        self.notes = []
        self.is_on = threading.Event()   # its subscription holds
        self.granted = None
        self.gaps = {}                   # of a reason: how many
        self.heard = {}                  # of a publisher: how many messages

    def live(self, connection):
        self.welcomed(connection)
        connection.tell(raw.SUB, 1, self.pattern, {"retained": 2, "max_msgs": 10_000_000, "max_bytes": 64 << 20, **self.options})
        notes = None
        while not self.is_over.is_set():
            for frame in connection.arrived(LISTEN_S):
                if frame[0] == raw.SUBACK:
                    if frame[2] != 0:
                        raise Wrong(f"{self.name}: {frame}")
                    self.granted = frame[3]
                    self.begin()
                    notes = self.notes[-1]
                    self.is_on.set()
                elif frame[0] == raw.GAP:
                    self.gaps[frame[3]] = self.gaps.get(frame[3], 0) + 1
                self.note(frame, notes)

    def begin(self):
        # A broker that has just begun may not know the others yet, and says so: then what comes first is the beginning.
        is_everywhere = self.granted.get("scope") != "local"
        self.notes.append(Notes(self.trial.sent_by_now() if is_everywhere else None))

    def note(self, frame, notes):
        if notes is None:
            return  # before its subscription holds, nothing is owed
        if frame[0] == raw.MSG:
            who = who_of(frame)
            self.heard[who[0][1]] = self.heard.get(who[0][1], 0) + 1
            notes.events.append(who)
        elif frame[0] == raw.GAP:
            notes.events.append(None)

    def away(self):
        if self.is_on.is_set():
            self.notes[-1].is_whole = False
        self.is_on.clear()


class StreamReader(Reader):
    """Of a shared stream, from a place on: notes positions, and None for a GAP, and what came."""

    def __init__(self, trial, name, broker, begin):
        super().__init__(trial, name, broker, f"{KEPT}/#", **{"from": begin})
        self.position = None

    def begin(self):
        self.notes.append(Positions())

    def note(self, frame, notes):
        if frame[0] == raw.FOR:
            self.position = frame[4]
        elif frame[0] == raw.MSG:
            notes.positions.append(self.position)
            notes.found.append(who_of(frame))
            self.position += 1
        elif frame[0] == raw.GAP:
            notes.positions.append(None)
            notes.gaps.append(frame)


class Positions:
    def __init__(self):
        self.positions, self.found, self.gaps = [], [], []
        self.is_whole = True


class Restarted(Exception):
    """The stream has become another one while it was read."""


def read_stream(broker, begin):
    """(its number, [(position, who)]) of what the stream holds, up to what was accepted when it was asked. With a hole or a GAP it is
    Wrong, but for one that says that the stream has become another one: then it is read again."""
    for _ in range(TRIES):
        try:
            return read_once(broker, begin)
        except Restarted:
            pass
    raise Wrong(f"the stream has become another one {TRIES} times while it was read")


def read_once(broker, begin):
    found, stream, position = [], None, None
    with raw.welcomed(broker.unix) as peer:
        peer.tell(raw.SUB, 1, f"{KEPT}/#", {"from": begin, "retained": 2})
        while (got := peer.next()) != [raw.MARK, 1, CAUGHT_UP]:
            if got and got[0] == raw.GAP and got[3] == RESTARTED:
                raise Restarted
            if got is None or got[0] == raw.GAP or got[0] == raw.SUBACK and got[2] != 0:
                raise Wrong(f"the stream could not be read: {got}")
            if got[0] == raw.FOR:
                stream, position = got[3:5]
            elif got[0] == raw.MSG:
                if found and position != found[-1][0] + 1:
                    raise Wrong(f"position {found[-1][0]} of the stream is followed by {position}")
                found.append((position, who_of(got)))
                position += 1
    return stream, found
