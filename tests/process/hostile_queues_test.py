"""What hostile peers do with subscriptions that filter, hold publishers, share, or count: with many of each."""
import os
import random
import shutil
import subprocess
import tempfile
import time
import unittest

import msgpack

import brokers
import raw
from hostile import NOBODY, SANITIZED, SLOWNESS, HostileTest, setUpModule
from raw import BYE, CREDIT, MARK, MSG, PUB, PUBACK, ROUTED, SUB, SUBACK, UNSUB, MUST_ROUTE, frame, hello, welcomed
from readers import Publisher, Reader, numbered

LONG_MS = 600_000
EXPIRED = 4
QUOTA = 214
MANY = 1 if not SANITIZED else 5  # volumes are divided by this


class Held(HostileTest):
    PUBLISHERS = 10_000 // MANY

    def hold(self):
        """A reader without credit, whose queue of one message is full, and the publishers that wait for it."""
        options = {"policy": "block", "block_ms": LONG_MS, "max_msgs": 1, "credit": 0}
        reader = Reader(self.broker.tcp, "held", options)
        self.addCleanup(reader.close)
        first = self.welcomed()
        first.send(numbered("held", 1))
        first.ping()
        data = hello() + frame(PUB, 1, ROUTED) + numbered("held", 2)
        publishers = []
        for _ in range(self.PUBLISHERS):
            peer = raw.Peer(self.broker.unix)
            self.addCleanup(peer.close)
            peer.send(data)
            publishers.append(peer)
        for peer in publishers:
            peer.answer(raw.WELCOME)
            peer.ping()
        return reader, publishers

    def test_many_held_by_one_queue(self):
        with self.others_served():
            reader, publishers = self.hold()
            self.assertEqual(reader.ask_stat()[0], 1)
            before_s = self.broker.cpu_s()
            came = 0
            reader.tell(CREDIT, 1, self.PUBLISHERS + 1)
            while came <= self.PUBLISHERS:
                came += reader.next()[0] == MSG
            for peer in publishers:
                self.assertEqual(peer.answer(PUBACK), [PUBACK, 1, 0, 1, 0])
                peer.close()
        took_s = self.broker.cpu_s() - before_s
        print(f"letting {self.PUBLISHERS} held publishers go cost {took_s:.2f} s of processor time")
        self.assertLess(took_s, 5 * SLOWNESS)

    def test_the_queue_goes_away(self):
        """All that waited for it go on."""
        for way in "unsubscribes", "is cut", "has another policy":
            with self.subTest(way=way), self.others_served():
                reader, publishers = self.hold()
                if way == "unsubscribes":
                    reader.tell(UNSUB, 1)
                elif way == "is cut":
                    reader.reset()
                else:
                    reader.tell(SUB, 1, "held", {"policy": "latest", "credit": 0, "retained": 2})
                for peer in publishers:
                    self.assertEqual(peer.answer(PUBACK)[:3], [PUBACK, 1, int(way != "has another policy")])
                    peer.close()

    def test_held_ones_go(self):
        """What they have said counts, and their end comes after it."""
        with self.others_served():
            reader, publishers = self.hold()
            for peer in publishers:
                peer.finish()
            reader.tell(CREDIT, 1, self.PUBLISHERS + 1)
            came = 0
            while came <= self.PUBLISHERS:
                came += reader.next()[0] == MSG
            for peer in publishers:
                self.assertEqual(peer.rest(), [[PUBACK, 1, 0, 1, 0]])
                peer.close()
            reader.close()


class Filters(HostileTest):
    A_CONNECTION = 200
    COUNT = 1000 // MANY

    def payloads(self):
        """Whatever makes looking at a document dear: many values, deep ones, long keys that differ at the end."""
        deep = b"\x91" * 31 + b"\x01"
        yield msgpack.packb({f"{'k' * 200}{n}": n for n in range(2400)})
        yield b"\xdc\x01\x2c" + deep * 300
        yield msgpack.packb({"a": list(range(9000))})
        yield msgpack.packb([[[n] * 10] * 3 for n in range(250)])
        yield b"\x81\xa1a" * 31 + b"\x01"
        yield b"\xdd\xff\xff\xff\xff" + b"\x91" * 100
        yield b"\x91" * 5000
        yield bytes(1 << 20)

    def subscribe(self):
        """COUNT distinct filters that look at the whole document often; one connection may have so many only."""
        terms = " and ".join(["not a[8999] == 1"] * 11)
        for begin in range(1, self.COUNT + 1, self.A_CONNECTION):
            peer = self.welcomed()
            peer.send(b"".join(frame(SUB, n, "nasty", {"filter": f"{terms} and not x{n} == {n}", "max_msgs": 10,
                                                      "retained": 2}) for n in range(begin, begin + self.A_CONNECTION)))
            self.assertEqual([got[2] for got in peer.ping() if got[0] == SUBACK], [0] * self.A_CONNECTION)

    def test_more_filters_than_are_allowed(self):
        peer = self.welcomed()
        peer.send(b"".join(frame(SUB, n, "nasty", {"filter": f"x == {n}"}) for n in range(1, 1001)))
        codes = [got[2] for got in peer.ping() if got[0] == SUBACK]
        self.assertEqual(codes, [0] * codes.count(0) + [QUOTA] * codes.count(QUOTA))
        self.assertGreater(codes.count(QUOTA), 0)

    def test_many_filters_and_nasty_payloads(self):
        self.subscribe()
        writer = self.welcomed()
        with self.others_served():
            for payload in self.payloads():
                before_s, messages = self.broker.cpu_s(), 3
                writer.send(frame(MSG, "nasty", None, payload) * messages)
                self.assertEqual(writer.ping(), [])
                each_us = (self.broker.cpu_s() - before_s) / messages / self.COUNT * 1e6
                print(f"a payload of {len(payload)} bytes: {each_us:.1f} us a filter")
                self.assertLess(each_us, 5000 * SLOWNESS)

    def test_many_publishers_of_nasty_payloads(self):
        """At the same time: others are served between their messages, whatever each of these costs."""
        self.subscribe()
        data = frame(MSG, "nasty", None, b"\xdc\x01\x2c" + (b"\x91" * 31 + b"\x01") * 300) * 6
        writers = [welcomed(self.broker.unix) for _ in range(5)]
        for writer in writers:
            self.addCleanup(writer.close)
        with self.others_served():
            with self.broker.stopped():
                for writer in writers:
                    writer.send(data)
            for writer in writers:
                writer.sock.settimeout(300)
                self.assertEqual(writer.ping(), [])

    def test_a_filter_that_matches_still_matches(self):
        reader = Reader(self.broker.tcp, "f", {"filter": "a[1] == 2 and @topic == \"f\""})
        self.addCleanup(reader.close)
        good, bad = msgpack.packb({"a": [1, 2]}), msgpack.packb({"a": [2]})
        reader.send(frame(MSG, "f", None, bad) + frame(MSG, "f", None, good))
        self.assertEqual(reader.answer(MSG)[3], good)


class Expiry(HostileTest):
    # Spare slabs and runs, and what the allocator keeps of 300,000 small pieces.
    MEMORY_SLACK_BYTES = HostileTest.MEMORY_SLACK_BYTES + (10 << 20)

    def test_a_flood_of_times_to_live(self):
        """A full queue in which something expires at every moment, and a flood of what has to be judged against it."""
        choose = random.Random(5)
        total = 300_000 // MANY
        reader = Reader(self.broker.tcp, "ttl", {"policy": "drop_new", "max_msgs": 50_000, "credit": 0})
        self.addCleanup(reader.close)
        writer = Publisher(self.broker.tcp)
        self.addCleanup(writer.close)
        before_s = self.broker.cpu_s()
        with self.others_served():
            number = 0
            while number < total:
                writer.publish([numbered("ttl", number + n, props={4: choose.randrange(1, 3000)})
                                for n in range(1, 501)])
                number += 500
                if number % 10_000 == 0:
                    writer.wait()
            writer.wait()
            self.assertTrue(raw.eventually(lambda: reader.ask_stat()[3] == 0), f"STAT says {reader.stat}")
        print(f"{total} messages with a ttl cost {self.broker.cpu_s() - before_s:.1f} s of processor time")
        reader.check_stat(total)
        reader.tell(CREDIT, 1, 1, True)
        reader.read_until(lambda: reader.drained)
        self.assertLessEqual(set(reader.told), {EXPIRED, 2})
        reader.close()
        writer.close()


class Groups(HostileTest):
    COUNT = 100_000 // MANY
    # A sanitizer keeps 256 MiB of what was freed, and what it remembers of that.
    MEMORY_SLACK_BYTES = HostileTest.MEMORY_SLACK_BYTES + ((512 << 20) if SANITIZED else 0)

    def join(self, peer, option):
        for begin in range(1, self.COUNT + 1, 1000):
            peer.send(b"".join(frame(SUB, n, "groups/x", {"retained": 2, **option(n)})
                               for n in range(begin, begin + 1000)))
        self.assertEqual({got[2] for got in peer.ping() if got[0] == SUBACK}, {0})

    def test_many_groups(self):
        peer, writer = self.welcomed(), Publisher(self.broker.tcp)
        self.addCleanup(writer.close)
        with self.others_served():
            self.join(peer, lambda n: {"group": f"g{n}"})
            writer.publish([numbered("groups/x", 1)])
            writer.wait()
            self.assertEqual(writer.matched_least, self.COUNT)
            self.assertEqual(sum(peer.next()[0] == MSG for _ in range(2 * self.COUNT)), self.COUNT)
            peer.close()
            self.assertTrue(raw.eventually(lambda: self.broker.descriptors() <= self.descriptors + 2))
            writer.publish([numbered("groups/x", 2)])
            writer.wait()
            self.assertEqual(writer.matched_least, 0)
        writer.close()

    def test_many_groups_that_go_while_they_have_something(self):
        peer = self.welcomed()
        with self.others_served():
            self.join(peer, lambda n: {"group": f"g{n}", "credit": 0})
            order = list(range(1, self.COUNT + 1))
            random.Random(2).shuffle(order)
            peer.send(numbered("groups/x", 1) + b"".join(frame(UNSUB, n) for n in order))
            ends = [got for got in peer.ping() if got[0] == MARK]
            self.assertEqual(len(ends), self.COUNT)
            self.join(peer, lambda n: {"group": f"g{n}", "credit": 0})
            peer.send(numbered("groups/x", 2))
            peer.reset()
            self.assertTrue(raw.eventually(lambda: self.broker.descriptors() <= self.descriptors + 1))

    def test_many_groups_of_one_who_goes_at_the_moment_of_a_message(self):
        for end in frame(BYE, 0), frame(BYE, 1), b"\xc1":
            peer = self.welcomed()
            with self.others_served():
                self.join(peer, lambda n: {"group": f"g{n}", "credit": 0})
                peer.send(numbered("groups/x", 1) + end)
                self.assertEqual(peer.rest()[-1][0], BYE)
                peer.close()

    def test_many_stalled_members_beside_one(self):
        peer, fast = self.welcomed(), self.welcomed()
        with self.others_served():
            self.join(peer, lambda n: {"group": "all", "credit": 0})
            fast.tell(SUB, 1, "groups/x", {"retained": 2, "group": "all"})
            fast.ping()
            writer, total = Publisher(self.broker.tcp), 2000
            self.addCleanup(writer.close)
            before_s = self.broker.cpu_s()
            writer.publish([numbered("groups/x", n) for n in range(1, total + 1)])
            for _ in range(total):
                fast.answer(MSG)
            print(f"{total} messages past {self.COUNT} stalled members cost {self.broker.cpu_s() - before_s:.1f} s")
            peer.close()
            self.assertTrue(raw.eventually(lambda: self.broker.descriptors() <= self.descriptors + 3))
            writer.close()
            fast.close()


class Floods(HostileTest):
    MEMORY_SLACK_BYTES = HostileTest.MEMORY_SLACK_BYTES + (36 << 20)  # what the broker remembers of topics

    def test_credit(self):
        peer = self.welcomed()
        peer.tell(SUB, 1, "credit", {"credit": 0})
        with self.others_served():
            for begin in range(0, 1_000_000 // MANY, 1000):
                peer.send(b"".join(frame(CREDIT, 1, n, n % 7 == 0) for n in range(begin, begin + 1000)))
            peer.ping()

    def test_credit_of_a_member_that_drains(self):
        peer = self.welcomed()
        peer.tell(SUB, 1, "credit", {"credit": 0, "group": "drains"})
        with self.others_served():
            for begin in range(0, 500_000 // MANY, 1000):
                peer.send(frame(CREDIT, 1, 0, True) * 1000)
            peer.ping()

    def test_inbox_topics(self):
        count = 100_000 // MANY
        peer, other = self.welcomed(), self.welcomed()
        inbox = other.welcome["inbox"]
        with self.others_served():
            for begin in range(0, count, 1000):
                data = b""
                for n in range(begin, begin + 1000):
                    data += frame(MSG, f"$inbox/{n:024x}/{n}", None, b"x") + frame(MSG, f"{inbox}/{n}", None, b"x")
                peer.send(data)
            peer.ping()
            got = 0
            while got < count:
                answer = other.next()
                got += answer[0] == MSG
                self.assertNotEqual(answer[0], raw.GAP)
            peer.tell(PUB, 1, ROUTED | MUST_ROUTE)
            peer.send(b"".join(frame(MSG, f"$inbox/{n:024x}", None, b"x") for n in range(1000)))
            self.assertEqual({answer[2] for answer in peer.ping()}, {NOBODY})


# Time of day that jumps an hour on or back at each call. What counts time must not look at it.
JUMPING_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
static long jump(void)
{
    static unsigned calls;
    return calls++ % 2 ? 3600 : -3600;
}
int clock_gettime(clockid_t clock, struct timespec *at)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, at);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) at->tv_sec += jump();
    return result;
}
int gettimeofday(struct timeval *at, void *zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


@unittest.skipIf(SANITIZED, "a sanitizer's library has to be the first that is loaded")
@unittest.skipUnless(shutil.which("cc"), "there is no C compiler to make a jumping clock with")
class ClockJumps(HostileTest):
    @classmethod
    def start_broker(cls):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        cls.addClassCleanup(directory.cleanup)
        library = os.path.join(directory.name, "clock.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"], input=JUMPING_CLOCK,
                       text=True, check=True, timeout=60)
        os.environ["LD_PRELOAD"] = library
        try:
            return brokers.Broker()
        finally:
            del os.environ["LD_PRELOAD"]

    # Hostile 46.
    def test_nothing_expires_in_bulk(self):
        with open(f"/proc/{self.broker.process.pid}/maps") as maps:
            self.assertIn("clock.so", maps.read(), "the broker has the right time: the test is wrong")
        reader = Reader(self.broker.tcp, "clock", {"credit": 0}, ka=600)
        self.addCleanup(reader.close)
        writer = Publisher(self.broker.tcp)
        self.addCleanup(writer.close)
        idle = self.welcomed(ka=100, will=["clock/will", b"x", 0, 0])
        writer.publish([numbered("clock", n, props={4: 600_000}) for n in range(1, 101)])
        writer.wait()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:  # the broker's clock goes on and is asked meanwhile
            self.bystanders.check(1)
        self.assertEqual(reader.ask_stat()[:4], [100, 0, 0, 100])
        reader.tell(CREDIT, 1, 100)
        reader.read_to(100)
        self.assertEqual((reader.received, reader.told), (100, {}))
        self.assertEqual(idle.ping(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
