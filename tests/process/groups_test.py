"""Groups, requests, wills and the broker's own topics, between real connections that come and go."""
import collections
import select
import signal
import subprocess
import sys
import time
import unittest

import msgpack

import brokers
import raw
from hostile import NOBODY, setUpModule
from raw import CREDIT, ERR, FOR, GAP, MSG, MUST_ROUTE, PUB, PUBACK, ROUTED, STAT, SUB, SUBACK, frame, hello
from readers import Publisher, Reader, number_of, numbered, small_socket

SIZE = 1024
KERNEL_MSGS = 1000  # no more of SIZE bytes than these lie between the broker and a reader with a small buffer
SYS_S = 0.2


class Member:
    """Of a group: gets some of the numbers."""

    def __init__(self, url, options=None, small=False):
        self.peer = raw.Peer(url, small_socket(url) if small else None)
        self.peer.send(hello() + frame(SUB, 1, "jobs/#", {"group": "workers", **(options or {})}))
        answer = self.peer.answer(SUBACK)
        if answer[2] != 0:
            raise AssertionError(answer)
        self.numbers = []
        self.lost = 0

    def take(self, frames):
        for got in frames:
            if got[0] == MSG:
                self.numbers.append(number_of(got))
            elif got[0] == GAP:
                self.lost += got[2]

    def read(self):
        """All that the broker has for it now."""
        self.take(self.peer.ping())

    def come(self):
        """What has come, without asking or waiting."""
        while select.select([self.peer.sock], [], [], 0)[0] and not self.peer.ended:
            self.peer._receive()
        self.take(self.peer.unpacker)


class SessionsTest(unittest.TestCase):
    def setUp(self):
        self.broker = brokers.Broker(config=f"[broker]\nsys_interval = {int(SYS_S * 1000)}ms\n")
        self.addCleanup(self.broker.stop)

    def welcomed(self, **options):
        peer = raw.welcomed(self.broker.tcp, **options)
        self.addCleanup(peer.close)
        return peer

    def members(self, count):
        members = [Member(self.broker.tcp) for _ in range(count)]
        for member in members:
            self.addCleanup(member.peer.close)
        return members

    def publisher(self):
        publisher = Publisher(self.broker.tcp)
        self.addCleanup(publisher.close)
        return publisher

    def publish(self, publisher, first, last, size=SIZE):
        publisher.publish([numbered(f"jobs/{n % 7}", n, size) for n in range(first, last + 1)])
        publisher.wait()


class Groups(SessionsTest):
    def gather(self, members, condition):
        def done():
            for member in members:
                member.come()
            return condition()
        return raw.eventually(done)

    def test_taking_turns(self):
        members = self.members(4)
        publisher = self.publisher()
        self.publish(publisher, 1, 400, 16)
        self.assertTrue(self.gather(members, lambda: sum(len(m.numbers) for m in members) >= 400))
        self.assertEqual([len(member.numbers) for member in members], [100] * 4)
        self.assertEqual(sorted(n for member in members for n in member.numbers), list(range(1, 401)))
        self.assertEqual(publisher.matched_least, 1)

    def test_one_is_killed_that_has_read_what_it_was_sent(self):
        """By its credit it is known what that is: nothing is lost and nothing comes twice."""
        members, credit, total = self.members(3), 50, 1000
        killed = Member(self.broker.tcp, {"credit": credit})
        publisher = self.publisher()
        self.publish(publisher, 1, total // 2)
        while len(killed.numbers) < credit:
            killed.take([killed.peer.next()])
        killed.peer.reset()
        self.publish(publisher, total // 2 + 1, total)
        self.assertTrue(self.gather(members, lambda: sum(len(m.numbers) for m in members) >= total - credit))
        self.assertEqual(sorted(n for member in members + [killed] for n in member.numbers), list(range(1, total + 1)))
        self.assertEqual([member.lost for member in members], [0] * 3)

    def test_one_is_killed_that_does_not_read(self):
        """Others get what waits for it. What the kernel had taken for it, and no more, dies with it."""
        members, total = self.members(3), 8000
        killed = Member(self.broker.tcp, small=True)
        publisher = self.publisher()
        for begin in range(1, total, 500):
            self.publish(publisher, begin, begin + 499)
            for member in members:
                member.read()
            if begin == total // 2 + 1:
                killed.peer.reset()
        self.assertTrue(self.gather(members, lambda: sum(len(m.numbers) for m in members) >= total - KERNEL_MSGS))
        for member in members:
            member.read()
        got = collections.Counter(n for member in members for n in member.numbers)
        self.assertEqual(max(got.values()), 1, "one came twice")
        self.assertGreaterEqual(len(got), total - KERNEL_MSGS)
        self.assertLess(len(got), total, "nothing died in the kernel: the test is wrong")
        self.assertEqual([member.lost for member in members], [0] * 3)

    def test_a_slow_one_gets_less(self):
        members, slow, total = self.members(3), Member(self.broker.tcp, small=True), 4000
        self.addCleanup(slow.peer.close)
        publisher = self.publisher()
        for begin in range(1, total, 100):
            self.publish(publisher, begin, begin + 99)
            for member in members:
                member.read()
        slow.read()
        got = sorted(n for member in members + [slow] for n in member.numbers)
        self.assertEqual(got, list(range(1, total + 1)))
        self.assertLess(len(slow.numbers), KERNEL_MSGS)
        for member in members:
            self.assertGreater(len(member.numbers), (total - KERNEL_MSGS) // 3 - 10)
            member.peer.tell(STAT, 1)
            matched, sent, lost, queued = member.peer.answer(STAT)[2:6]
            self.assertEqual((matched, lost, queued), (sent, 0, 0))
            self.assertEqual(sent, len(member.numbers))

    def test_a_thousand_stalled_beside_one(self):
        stalled = [Member(self.broker.tcp, {"credit": 0}) for _ in range(1000)]
        for member in stalled:
            self.addCleanup(member.peer.close)
        fast, = self.members(1)
        publisher, total = self.publisher(), 20000
        for begin in range(1, total, 1000):
            self.publish(publisher, begin, begin + 999, 16)
        self.assertTrue(self.gather([fast], lambda: len(fast.numbers) >= total))
        self.assertEqual((fast.numbers, fast.lost), (list(range(1, total + 1)), 0))


class Requests(SessionsTest):
    def test_nobody_there(self):
        """Said at once: with an acknowledgement and without one."""
        peer = self.welcomed()
        began = time.monotonic()
        for _ in range(100):
            peer.tell(PUB, 0, MUST_ROUTE)
            peer.tell(MSG, "service/time", {1: peer.welcome["inbox"] + "/1"}, b"now?")
        answers = peer.ping()
        self.assertLess(time.monotonic() - began, 20)
        self.assertEqual({(got[0], got[1]) for got in answers}, {(ERR, NOBODY)})
        peer = self.welcomed()
        peer.tell(PUB, 1, ROUTED | MUST_ROUTE)
        peer.send(b"".join(numbered("service/time", n) for n in range(100)))
        self.assertEqual([got[:3] for got in peer.ping()], [[PUBACK, pid, NOBODY] for pid in range(1, 101)])

    def test_several_replies_and_an_inbox_that_has_gone(self):
        asks, serves = self.welcomed(), self.welcomed()
        serves.tell(SUB, 3, "service/+", {})
        serves.answer(SUBACK)
        asks.tell(PUB, 1, ROUTED | MUST_ROUTE)
        asks.tell(MSG, "service/time", {1: asks.welcome["inbox"] + "/1", 2: 7}, b"now?")
        self.assertEqual(asks.answer(PUBACK), [PUBACK, 1, 0, 1, 0])
        request = serves.answer(MSG)
        reply_to = request[2][1]
        serves.tell(PUB, 1, ROUTED | MUST_ROUTE)
        serves.send(b"".join(numbered(reply_to, n, props={2: 7}) for n in (1, 2, 3)))
        got = [asks.next() for _ in range(4)]
        self.assertEqual(got[0][:2], [FOR, 0])
        self.assertEqual([message[:3] for message in got[1:]], [[MSG, reply_to, {2: 7}]] * 3)
        self.assertEqual([got[:3] for got in serves.ping()], [[PUBACK, 3, 0]])
        asks.goodbye()
        serves.send(numbered(reply_to, 4))
        self.assertEqual(serves.answer(PUBACK)[:3], [PUBACK, 4, NOBODY])


class Wills(SessionsTest):
    CLIENT = ("import sys, time, raw;"
              "peer = raw.welcomed(sys.argv[1], id='sensor', will=['sensor/state', b'gone', 1, 0]);"
              "print('ready', flush=True); time.sleep(600)")

    def test_kill(self):
        watcher = self.welcomed()
        watcher.tell(SUB, 1, "sensor/#", {})
        watcher.answer(SUBACK)
        process = subprocess.Popen([sys.executable, "-c", self.CLIENT, self.broker.tcp], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True, cwd=sys.path[0])
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "ready\n")
        self.assertEqual([got for got in watcher.ping() if got[0] == MSG], [])
        process.send_signal(signal.SIGKILL)
        self.assertEqual(watcher.answer(MSG), [MSG, "sensor/state", None, b"gone"])
        late = self.welcomed()
        late.tell(SUB, 1, "sensor/#", {})
        self.assertEqual(late.answer(MSG), [MSG, "sensor/state", None, b"gone"])  # it was to be retained


class State(SessionsTest):
    """What the broker says about itself under $SYS."""

    def watch(self):
        watcher = self.welcomed(id="watcher")
        watcher.tell(SUB, 9, "$SYS/#", {})
        watcher.answer(SUBACK)
        return watcher

    @staticmethod
    def told(watcher, topic, condition=lambda told: True):
        """The next map of this topic for which the condition holds."""
        deadline = time.monotonic() + raw.ANSWER_S
        while time.monotonic() < deadline:
            message = watcher.answer(MSG)
            told = msgpack.unpackb(message[3])
            if message[1] == topic and condition(told):
                return told
        raise AssertionError(f"{topic} never said so; at last {told}")

    def test_subscriptions(self):
        watcher = self.watch()
        reader = Reader(self.broker.tcp, "news/+", {"policy": "drop_new", "max_msgs": 10, "credit": 3}, id="stalled")
        self.addCleanup(reader.close)
        publisher = self.publisher()
        publisher.publish([numbered("news/1", n) for n in range(1, 21)])
        publisher.wait()
        topic = "$SYS/subscription/stalled/1"
        told = self.told(watcher, topic, lambda told: told["slow"])
        stat = reader.ask_stat()
        self.assertEqual([told[key] for key in ("matched", "sent", "lost", "queued", "queued_bytes")], stat)
        self.assertEqual([told[key] for key in ("client", "sid", "pattern", "policy")],
                         ["stalled", 1, "news/+", "drop_new"])
        self.assertGreaterEqual(told["lag_ms"], 1000)
        self.assertNotIn("group", told)
        reader.tell(CREDIT, 1, 1000)
        reader.read_to(20)
        told = self.told(watcher, topic, lambda told: not told["slow"])
        self.assertEqual([told[key] for key in ("matched", "sent", "queued", "lag_ms")], [20, reader.received, 0, 0])

    def test_the_broker(self):
        watcher = self.watch()
        peer = self.welcomed()
        for sid in (1, 2, 3):
            peer.tell(SUB, sid, f"jobs/{sid}", {"group": "workers"} if sid == 3 else {})
            peer.answer(SUBACK)
        peer.tell(PUB, 0, raw.RETAIN)
        peer.tell(MSG, "jobs/1", None, b"x")
        peer.ping()
        # It may have been told between the last subscription and the message.
        told = self.told(watcher, "$SYS/broker", lambda told: told["subscriptions"] == 4 and told["messages_in"] > 0)
        self.assertEqual([told[key] for key in ("connections", "groups", "retained", "protocol_errors", "lost")],
                         [2, 1, 1, 0, 0])
        self.assertEqual(told["version"].count("."), 2)
        self.assertEqual(told["epoch"], watcher.welcome["epoch"])
        self.assertEqual(told["messages_in"], 1)
        with raw.Peer(self.broker.tcp) as bad:
            bad.send(b"\xc1")
            bad.rest()
        later = self.told(watcher, "$SYS/broker", lambda told: told["protocol_errors"] == 1)
        self.assertGreater(later["messages_out"], told["messages_out"])
        self.assertGreaterEqual(later["uptime_ms"], told["uptime_ms"])

    def test_groups(self):
        watcher = self.watch()
        member = Member(self.broker.tcp, {"credit": 1})
        self.addCleanup(member.peer.close)
        publisher = self.publisher()
        self.publish(publisher, 1, 5)
        told = self.told(watcher, "$SYS/group/workers", lambda told: told["slow"])
        self.assertEqual([told[key] for key in ("group", "pattern", "members", "matched", "lost", "queued")],
                         ["workers", "jobs/#", 1, 5, 0, 4])


if __name__ == "__main__":
    unittest.main(verbosity=2)
