"""What the policies of queues do, in volumes that matter: latest, block, and the time that messages live."""
import random
import select
import threading
import time
import unittest

import brokers
import raw
from hostile import MEMORY_SLACK_BYTES, SANITIZED, setUpModule
from raw import BYE, CREDIT, MSG, PUB, PUBACK, ROUTED, SUB, SUBACK, frame
from readers import Publisher, Reader, number_of, numbered

DROP_OLD, SUPERSEDED, EXPIRED, BLOCKED = 1, 3, 4, 10
SLOW_CONSUMER = 112
LONG_MS = 600_000  # longer than any test
SIZE = 1024
KERNEL_MSGS = 1000  # no more of SIZE bytes than these lie between the broker and a reader with a small buffer


class PoliciesTest(unittest.TestCase):
    def setUp(self):
        self.broker = brokers.Broker()
        self.addCleanup(self.broker.stop)

    def reader(self, pattern, small=True, **options):
        reader = Reader(self.broker.tcp, pattern, options, small)
        self.addCleanup(reader.close)
        return reader

    def publisher(self, **terms):
        publisher = Publisher(self.broker.tcp, **terms)
        self.addCleanup(publisher.close)
        return publisher


class Latest(PoliciesTest):
    UPDATES = 100_000 if SANITIZED else 1_000_000
    KEYS = 100

    def check(self, topic_of, props_of):
        """A reader that is stopped by its credit wakes after all the updates."""
        reader = self.reader("game/#", policy="latest", credit=0)
        publisher = self.publisher()
        last, batch = {}, []
        for number, key in enumerate(random.Random(1).choices(range(self.KEYS), k=self.UPDATES), 1):
            last[key] = number
            batch.append(numbered(topic_of(key, number), number, props=props_of(key)))
            if len(batch) == 10_000:
                publisher.publish(batch)
                publisher.wait()
                batch = []
        self.assertEqual((publisher.sent, publisher.dropped), (self.UPDATES, 0))
        reader.ask_stat()
        reader.check_stat(self.UPDATES)
        self.assertEqual(reader.stat[1:4], [0, self.UPDATES - self.KEYS, self.KEYS])

        came = []
        reader.on_message = came.append
        reader.tell(CREDIT, 1, 2 * self.KEYS, True)
        reader.read_until(lambda: reader.drained)
        self.assertEqual(reader.at, self.UPDATES)
        self.assertEqual(reader.told, {SUPERSEDED: self.UPDATES - self.KEYS})
        self.assertEqual(reader.received, self.KEYS)
        self.assertEqual(sorted(number_of(message) for message in came), sorted(last.values()))
        reader.close()

    def test_by_topic(self):
        self.check(lambda key, number: f"game/player/{key}", lambda key: None)

    def test_by_key(self):
        """The same key in two topics is one key."""
        self.check(lambda key, number: f"game/{number % 2}", lambda key: {6: f"player {key}"})


class Block(PoliciesTest):
    QUEUE_MSGS = 40

    def test_the_publisher_is_as_slow_as_the_reader(self):
        total = 2 * KERNEL_MSGS
        reader = self.reader("work", policy="block", block_ms=LONG_MS, max_msgs=self.QUEUE_MSGS)
        publisher = self.publisher()
        furthest_ahead = 0
        done = threading.Event()

        def publish():
            publisher.publish([numbered("work", number, SIZE) for number in range(1, total + 1)])
            publisher.wait()
            done.set()

        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        while reader.at < total:
            if not reader.sip(16 * SIZE):
                select.select([reader.sock], [], [], raw.ANSWER_S)
            furthest_ahead = max(furthest_ahead, publisher.acked - reader.at)
            time.sleep(0.005)  # the reader's speed
        thread.join(raw.ANSWER_S)
        self.assertTrue(done.is_set())
        self.assertEqual((reader.received, reader.told), (total, {}))
        self.assertEqual(publisher.dropped, 0)
        self.assertLessEqual(furthest_ahead, KERNEL_MSGS + self.QUEUE_MSGS)

    def stop_for_good(self, then, **publisher_terms):
        """A reader without credit, and twice as many messages as its queue takes. Returns it, the publisher and how
        long all took."""
        # The broker counts whole milliseconds, by a clock that may be a tick behind: 300 are over for sure.
        block_ms = publisher_terms.pop("block_ms", 303)
        reader = self.reader("work", policy="block", then=then, block_ms=block_ms, max_msgs=self.QUEUE_MSGS, credit=0)
        publisher = self.publisher(**publisher_terms)
        began = time.monotonic()
        publisher.publish([numbered("work", number) for number in range(1, 2 * self.QUEUE_MSGS + 1)])
        publisher.wait()
        return reader, publisher, time.monotonic() - began

    def wake(self, reader):
        reader.tell(CREDIT, 1, 1000, True)
        reader.read_until(lambda: reader.drained)
        self.assertEqual((reader.at, reader.received), (2 * self.QUEUE_MSGS, self.QUEUE_MSGS))
        self.assertEqual(reader.told, {BLOCKED: self.QUEUE_MSGS})

    def test_a_reader_that_stops_for_good(self):
        for then in "drop_new", "drop_old":
            with self.subTest(then=then):
                reader, publisher, took_s = self.stop_for_good(then)
                self.assertGreaterEqual(took_s, 0.3)
                self.assertLess(took_s, 20, "each message was waited for")
                self.assertEqual(publisher.dropped, self.QUEUE_MSGS if then == "drop_new" else 0)
                reader.ask_stat()
                reader.check_stat(2 * self.QUEUE_MSGS)
                self.wake(reader)
                self.assertEqual(reader.first_told[BLOCKED], self.QUEUE_MSGS + 1 if then == "drop_new" else 1)
                # It has read again: publishers wait for it again.
                before = publisher.dropped
                publisher.publish([numbered("work", number) for number in range(81, 101)])
                publisher.wait()
                reader.read_to(100)
                self.assertEqual((publisher.dropped, reader.lost), (before, self.QUEUE_MSGS))
                reader.close()

    def test_then_close(self):
        reader, publisher, _ = self.stop_for_good("close")
        self.assertGreater(publisher.dropped, 0)
        reader.read_until(lambda: False)
        self.assertEqual(reader.bye[:2], [BYE, SLOW_CONSUMER])
        self.assertIn("max_msgs", reader.bye[2])

    def test_half_the_keepalive(self):
        """A publisher is not held so long that it seems dead."""
        reader, _, took_s = self.stop_for_good("drop_new", block_ms=LONG_MS, ka=2)
        self.assertGreater(took_s, 0.99)  # a second, in whole milliseconds
        self.assertLess(took_s, 60)
        self.wake(reader)

    def test_control_frames_of_a_held_publisher(self):
        reader = self.reader("work", policy="block", block_ms=LONG_MS, max_msgs=1, credit=0)
        other = self.reader("idle", small=False)
        peer = raw.welcomed(self.broker.tcp)
        self.addCleanup(peer.close)
        peer.tell(SUB, 1, "mine", {"credit": 0, "retained": 2})
        peer.answer(SUBACK)
        other.send(numbered("mine", 1))
        other.ask_stat()
        peer.tell(PUB, 1, ROUTED)
        peer.send(b"".join(numbered("work", number) for number in (1, 2)))
        self.assertEqual(peer.ping(), [[PUBACK, 1, 0, 1, 0]])  # the second is held
        for _ in range(5):
            self.assertEqual(peer.ping(), [])
        peer.tell(CREDIT, 1, 1)
        self.assertEqual(number_of(peer.answer(MSG)), 1)
        self.assertEqual(peer.ping(), [])
        reader.tell(CREDIT, 1, 2)
        self.assertEqual(peer.answer(PUBACK), [PUBACK, 2, 0, 1, 0])
        reader.read_to(2)
        self.assertEqual(reader.told, {})

    def test_others_go_on_while_one_is_held(self):
        self.reader("work", policy="block", block_ms=LONG_MS, max_msgs=1, credit=0)
        held = self.publisher()
        held.publish([numbered("work", number) for number in range(1, 100)])
        free, reader = self.publisher(), self.reader("free", small=False)
        free.publish([numbered("free", number) for number in range(1, 1001)])
        reader.read_to(1000)
        free.wait()
        self.assertEqual((reader.received, held.acked), (1000, 0))

    def test_publisher_and_subscriber_on_one_connection(self):
        # What is sent without reading is more than the kernel's buffers ever take: a few MiB at each end.
        for block_ms, reads, total in (LONG_MS, True, 5000), (100, False, 40_000):
            with self.subTest(reads=reads):
                peer = self.reader("self", policy="block", block_ms=block_ms, max_msgs=self.QUEUE_MSGS)
                answers = []
                data = frame(PUB, 1, ROUTED) + b"".join(numbered("self", n, SIZE) for n in range(1, total + 1))
                if reads:
                    peer.send(data)  # reads meanwhile
                else:
                    self.send_blindly(peer.sock, data)
                while peer.at < total or not answers or answers[-1][1] < total:
                    got = peer.next()
                    self.assertIsNotNone(got)
                    answers.append(got) if got[0] == PUBACK else peer.take(got)
                dropped = sum(answer[4] for answer in answers)
                self.assertEqual(peer.told, {BLOCKED: dropped} if dropped else {})
                self.assertEqual(dropped == 0, reads)
                peer.close()

    @staticmethod
    def send_blindly(sock, data):
        sock.settimeout(raw.ANSWER_S)
        sock.sendall(data)


class TimeToLive(PoliciesTest):
    def test_what_expires_in_a_stalled_queue(self):
        """Memory goes down by itself, and the reader is told when it wakes."""
        total, size, ttl_ms = 5000, 4096, 400
        reader = self.reader("news", credit=0)
        keeps = self.reader("news", small=False)
        before = self.broker.resident_bytes()
        publisher = self.publisher()
        for begin in range(1, total + 1, 100):
            publisher.publish([numbered("news", n, size, {4: ttl_ms}) for n in range(begin, begin + 100)])
            keeps.read_to(begin + 99)
        publisher.wait()
        publisher.publish([numbered("news", total + 1, size)])
        publisher.wait()
        keeps.read_to(total + 1)
        self.assertEqual(keeps.received + keeps.told.pop(EXPIRED, 0), total + 1)  # if this process was held up, some have expired
        self.assertEqual(keeps.told, {})
        self.assertTrue(raw.eventually(lambda: reader.ask_stat()[3] == 1), f"STAT says {reader.stat}")
        reader.check_stat(total + 1)
        if not SANITIZED:
            limit = before + MEMORY_SLACK_BYTES
            self.assertTrue(raw.eventually(lambda: self.broker.resident_bytes() <= limit),
                            f"was {before >> 10} KiB, is {self.broker.resident_bytes() >> 10} KiB")
        reader.tell(CREDIT, 1, total, True)
        reader.read_until(lambda: reader.drained)
        self.assertEqual((reader.at, reader.received), (total + 1, 1))
        self.assertLessEqual(set(reader.told), {EXPIRED, DROP_OLD})  # the queue takes 16 MiB
        self.assertGreater(reader.told[EXPIRED], 0)

    def test_each_time_another(self):
        """A full queue of messages that expire in any order: what has not expired comes, in its place."""
        random_ttl = random.Random(7)
        total = 2000
        reader = self.reader("news", credit=0)
        publisher = self.publisher()
        keeps = {n for n in range(1, total + 1) if n % 10 == 0}
        publisher.publish([numbered("news", n, props={4: LONG_MS if n in keeps else random_ttl.randrange(300)})
                           for n in range(1, total + 1)])
        publisher.wait()
        self.assertTrue(raw.eventually(lambda: reader.ask_stat()[3] == len(keeps)), f"STAT says {reader.stat}")
        reader.check_stat(total)
        reader.tell(CREDIT, 1, total, True)
        reader.read_until(lambda: reader.drained)
        self.assertEqual((reader.at, reader.received, reader.told), (total, len(keeps), {EXPIRED: total - len(keeps)}))


if __name__ == "__main__":
    unittest.main(verbosity=2)
