"""Readers that are slow in every way, with every policy, one, a hundred and a thousand of them: nobody else notices,
each slow one is told exactly what it lost, and the broker's memory is bounded."""
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
import unittest

import brokers
import raw
from bystanders import Bystanders
from hostile import SANITIZED, setUpModule
from raw import BYE, PING, frame
from readers import Publisher, Reader, numbered

POLICIES = "drop_old", "drop_new", "latest", "close", "block"
COUNTS = 1, 100, 1000
SLOW_CONSUMER, KEEPALIVE = 112, 110
DROP_OLD, DROP_NEW, SUPERSEDED, BLOCKED = 1, 2, 3, 10
REASON = {"drop_old": DROP_OLD, "drop_new": DROP_NEW, "latest": SUPERSEDED, "block": BLOCKED}

MESSAGES, SIZE, BATCH = 300, 1024, 25
KEYS = 10        # topics: what `latest` keeps one message of
QUEUE_MSGS = 40
BLOCK_MS = 50
PEAK_MORE_BYTES = 16 << 20
WAIT_S = 120


class Matrix(unittest.TestCase):
    """One broker for a row of the matrix: the readers of one behaviour, in all numbers, with all policies."""
    CLOSING_S = 300  # so long a reader that is sent away may read why; a thousand of them do, one after the other
    BUDGET = 4 << 20

    def setUp(self):
        self.broker = brokers.Broker(config=f"[limits]\nqueue_total_bytes = {self.BUDGET >> 20}m\n"
                                            f"closing_timeout = {self.CLOSING_S}s\n")
        self.addCleanup(self.broker.stop)
        self.bystanders = Bystanders(self.broker.unix)
        self.addCleanup(self.bystanders.stop)
        self.names = (f"row{number}" for number in itertools.count())

    def cells(self):
        for count, policy in itertools.product(COUNTS, POLICIES):
            with self.subTest(readers=count, policy=policy):
                yield count, policy
                self.bystanders.check(1)
                self.check_peak()

    def check_peak(self):
        if not SANITIZED:
            self.assertLessEqual(self.broker.peak_bytes(), self.BUDGET + PEAK_MORE_BYTES)

    @staticmethod
    def options(policy):
        return {"policy": policy, "max_msgs": QUEUE_MSGS, "block_ms": BLOCK_MS}

    def slow_readers(self, base, count, policy, **terms):
        readers = []
        for _ in range(count):
            readers.append(Reader(self.broker.tcp, base + "/#", self.options(policy), **terms))
            self.addCleanup(readers[-1].close)
            self.pulse(readers)
        return readers

    def pulse(self, readers):
        """What readers of this kind do from time to time, without reading."""

    def publish(self, base, first=1, last=MESSAGES, meanwhile=lambda: None):
        """Publishes numbers first to last; two readers that are not slow must get all. Returns the publisher."""
        fast = [Reader(self.broker.tcp, base + "/#", {}, small=False) for _ in range(2)]
        publisher = Publisher(self.broker.tcp)
        for reader in fast:
            reader.at = first - 1
        for begin in range(first, last + 1, BATCH):
            end = min(begin + BATCH, last + 1)
            publisher.publish([numbered(f"{base}/{n % KEYS}", n, SIZE) for n in range(begin, end)])
            for reader in fast:
                reader.read_to(end - 1)
            meanwhile()
        publisher.wait()
        for reader in fast:
            self.assertEqual((reader.at, reader.received, reader.told), (last, last + 1 - first, {}), "another reader")
            reader.close()
        publisher.close()
        return publisher

    def check_told(self, policy, readers, dropped):
        """What was told has the policy's reason, and the publisher was told of as many that were refused."""
        told = {reason for reader in readers for reason in reader.told}
        self.assertLessEqual(told, {REASON[policy]})
        self.assertEqual(dropped, sum(reader.lost for reader in readers) if policy in ("drop_new", "block") else 0)

    def check_sent_away(self, reader, base):
        self.assertEqual(reader.told, {})
        self.assertLess(reader.received, MESSAGES, "nothing was too slow here: the test is wrong")
        self.assertEqual(reader.bye[:2], [BYE, SLOW_CONSUMER])
        for part in "subscription 1 ", f"'{base}/#'", f" {QUEUE_MSGS} messages (max_msgs)":
            self.assertIn(part, reader.bye[2])


class NeverReads(Matrix):
    # Hostile 33.
    def test_never_reads(self):
        for count, policy in self.cells():
            base = next(self.names)
            readers = self.slow_readers(base, count, policy)
            publisher = self.publish(base)
            self.assertEqual(publisher.matched_least, 2 if policy == "close" else count + 2)
            for reader in readers:  # what they had been sent, and what became of the rest
                if policy == "close":
                    reader.read_until(lambda: False)
                    self.check_sent_away(reader, base)
                    continue
                reader.ask_stat()
                reader.check_stat(MESSAGES)
                self.assertGreater(reader.stat[2], 0, "nothing was lost here: the test is wrong")
                self.assertLessEqual(reader.stat[3], KEYS if policy == "latest" else QUEUE_MSGS)
            if policy != "close":
                lost = sum(reader.stat[2] for reader in readers)
                self.assertEqual(publisher.dropped, lost if policy in ("drop_new", "block") else 0)
            for reader in readers:
                reader.close()


class ReadsLittle(Matrix):
    # Hostile 33.
    def test_reads_1_kib_a_second(self):
        for count, policy in self.cells():
            base = next(self.names)
            readers = self.slow_readers(base, count, policy)
            half = MESSAGES // 2
            first = self.publish(base, last=half)
            deadline = time.monotonic() + 1
            for at, reader in enumerate(readers):
                time.sleep(max(0, deadline - time.monotonic()) / (count - at))
                reader.sip(1024)
            # The rest while they read on by the same sips, faster: what is queued goes out and comes in at once.
            second = self.publish(base, half + 1, meanwhile=lambda: [reader.sip(1024) for reader in readers])
            for reader in readers:
                reader.read_to(MESSAGES)
                if policy == "close":
                    self.check_sent_away(reader, base)
                else:
                    self.assertEqual(reader.received + reader.lost, MESSAGES)
            if policy != "close":
                self.check_told(policy, readers, first.dropped + second.dropped)
                for reader in readers:
                    self.assertEqual(reader.ask_stat()[:4], [MESSAGES, reader.received, reader.lost, 0])
            for reader in readers:
                reader.close()


class Stopped(Matrix):
    def stopped_process(self, base, count, policy):
        task = {"url": self.broker.tcp, "pattern": base + "/#", "options": self.options(policy), "count": count,
                "total": MESSAGES}
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sleeper.py")
        process = subprocess.Popen([sys.executable, program, json.dumps(task)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertTrue(select.select([process.stdout], [], [], WAIT_S)[0], "the readers' process is not ready")
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGSTOP)
        return process

    # Hostile 33.
    def test_stopped_and_continued(self):
        for count, policy in self.cells():
            base = next(self.names)
            process = self.stopped_process(base, count, policy)
            publisher = self.publish(base)
            process.send_signal(signal.SIGCONT)
            readers = json.loads(process.communicate(timeout=WAIT_S)[0])
            self.assertEqual(len(readers), count)
            for books in readers:
                reader = Books(books)
                if policy == "close":
                    self.check_sent_away(reader, base)
                    continue
                self.assertEqual((reader.at, reader.received + reader.lost), (MESSAGES, MESSAGES))
                self.assertGreater(reader.lost, 0, "nothing was lost here: the test is wrong")
            if policy != "close":
                self.check_told(policy, [Books(books) for books in readers], publisher.dropped)


class Books:
    """A reader of another process, as it said."""

    def __init__(self, books):
        self.at, self.received, self.bye = books["at"], books["received"], books["bye"]
        self.told = {int(reason): count for reason, count in books["told"].items()}
        self.lost = sum(self.told.values())


class HalfOpen(Matrix):
    """Peers that have gone without a word. Without a packet filter a loopback connection can't lose its other end, so
    these are connections that neither read nor write any more, which is what the broker sees of such a peer."""
    CLOSING_S = 1
    KEEPALIVE_S = 10  # so long that a pause of this process is not taken for silence
    BUDGET = 16 << 20  # five thousand queues, even if they share what is in them, are more than 4 MiB

    def pulse(self, readers):
        now = time.monotonic()
        if now < self.next_pulse:
            return
        self.next_pulse = now + self.KEEPALIVE_S / 4
        for reader in readers:
            try:
                reader.sock.send(frame(PING, b""))
            except ConnectionError:
                pass  # sent away by `close`, and not heard of since

    # Hostile 45.
    def test_half_open(self):
        """All policies of a number of readers go at the same time: the wait for the keepalive is theirs together."""
        at_rest = self.broker.descriptors()
        for count in COUNTS:
            self.next_pulse = 0
            rows, everybody = [], []
            for policy in POLICIES:
                base = next(self.names)
                readers = self.slow_readers(base, count, policy, ka=self.KEEPALIVE_S)
                everybody += readers
                publisher = self.publish(base, meanwhile=lambda: self.pulse(everybody))
                rows.append((policy, base, readers, publisher))
            for policy, _, readers, publisher in rows:
                with self.subTest(readers=count, policy=policy):
                    self.check_before_the_end(policy, readers, publisher, lambda: self.pulse(everybody))
            last_pulse = self.next_pulse - self.KEEPALIVE_S / 4  # or later is the last sign of life of each
            closed = raw.eventually(lambda: self.broker.descriptors() <= at_rest, WAIT_S)
            self.assertTrue(closed, "they were not closed")
            self.assertGreater(time.monotonic() - last_pulse, self.KEEPALIVE_S, "closed too early")
            self.bystanders.check(1)
            self.check_peak()
            for reader in everybody:
                reader.read_until(lambda: False)
                self.assertLessEqual(reader.at, MESSAGES)
                if reader.bye and reader.bye[1] != SLOW_CONSUMER:  # there was room for it
                    self.assertEqual(reader.bye[1], KEEPALIVE)
                reader.close()

    def check_before_the_end(self, policy, readers, publisher, meanwhile):
        """Their last sign of life is a question: matched = sent + lost + queued. They get the answer only if what lies
        before it is read."""
        if policy == "close":
            return
        for reader in readers:
            reader.ask_stat()
            reader.check_stat(MESSAGES)
            meanwhile()
        lost = sum(reader.stat[2] for reader in readers)
        self.assertEqual(publisher.dropped, lost if policy in ("drop_new", "block") else 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
