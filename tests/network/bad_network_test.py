"""Programs on libpubsub with a bad network between them and the broker: one that loses packets, a slow one, one that is cut
and healed again and again. Publishers whose messages are acknowledged as stored, and a durable subscriber: nothing is
lost, nothing is stored twice, each publisher's messages come in their order, and memory stays what it was.

    bad_network_test.py [--cuts N]     N: instead of 100, a longer campaign, with the environment that ctest gives"""
import collections
import os
import random
import signal
import sys
import tempfile
import time
import unittest

import namespaces

import brokers
from programs import SANITIZED, Program, eventually, run_without_broker, scaled

TRAFFIC = os.environ.get("PUBSUB_TRAFFIC", "network_traffic")
CONFIG = """[listener local]
url = unix:{directory}/s
[listener network]
url = tcp://{address}:0
allow_anonymous = yes
[stream net]
topics = net/#
"""
KEEPALIVE_S = 1          # so that a connection that is only half there is noticed within a second and a half
CUTS = 100
KINDS = "silent", "reset", "down", "deaf", "mute"
LONG_EVERY, LONG_S = 25, 2.5
BROKER_GROWTH_BYTES, CLIENT_GROWTH_BYTES = 8 << 20, 1 << 20  # from when they have seen some traffic, however much follows

Received = collections.namedtuple("Received", "topic seq number size again")


class BadNetwork(unittest.TestCase):
    def setUp(self):
        self.link = namespaces.Link()
        self.addCleanup(self.link.close)
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.broker = brokers.Broker(listens=False,
                                     config=CONFIG.format(directory=directory.name, address=namespaces.HERE))
        self.addCleanup(self.broker.stop)
        self.unix = f"unix:{directory.name}/s"  # no part of the network
        self.programs = {}

    def traffic(self, what, name, *arguments, keepalive_s=KEEPALIVE_S):
        program = Program([*self.link.there, TRAFFIC, what, self.broker.tcp, name, str(keepalive_s), *map(str, arguments)])
        self.addCleanup(program.stop)
        self.programs[name] = program
        return program

    @staticmethod
    def received(receiver):
        lines = receiver.stdout().decode().split("\n")[:-1]
        found = []
        for line in lines:
            topic, seq, number, size, again = line.split()
            found.append(Received(topic, int(seq), int(number), int(size), again == "again"))
        return found

    def stored(self, topic):
        done = run_without_broker("sub", "-s", self.unix, "--all", "--until-live", "-o", "raw", topic)
        self.assertEqual((done.stderr, done.code), ("", 0))
        return [int(word) for word in done.stdout.replace(b".", b" ").split()]

    def connected_again(self, publisher, count):
        """Waits for its end, and that it says that all is stored."""
        self.assertEqual(publisher.wait(), 0, publisher.stderr())
        stored, again = map(int, publisher.stdout().decode().replace(",", "").split()[::4])
        self.assertEqual(stored, count)
        self.assertNotIn("refused", publisher.stderr())
        return again

    def check(self, receiver, counts):
        """counts: of each publisher's messages, all of which are acknowledged."""
        total = sum(counts.values())

        def all_there():
            return len({message.seq for message in self.received(receiver)}) >= total
        self.assertTrue(eventually(all_there), f"{len(self.received(receiver))} of {total}: {receiver.stderr()}")
        receiver.process.send_signal(signal.SIGTERM)
        self.assertEqual(receiver.wait(), 0, receiver.stderr())
        self.assertNotIn("lost", receiver.stderr().replace("lost connection", ""))
        came = self.received(receiver)
        for name, count in counts.items():
            numbers = list(range(1, count + 1))
            self.assertEqual(self.stored(f"net/{name}"), numbers, f"of {name} in the stream")
            mine = [message for message in came if message.topic == f"net/{name}"]
            first = list(dict.fromkeys(message.number for message in mine))
            self.assertEqual(first, numbers, f"of {name}, as they came first")
        seen = set()
        for message in came:
            if message.seq in seen:
                self.assertTrue(message.again, f"{message} came twice without saying so")
            seen.add(message.seq)
        self.assertEqual(len(seen), total, "a message has two positions")

    def memory(self):
        """Resident bytes of the broker and of all programs that run."""
        pids = {"broker": self.broker.process.pid,
                **{name: program.process.pid for name, program in self.programs.items() if program.process.poll() is None}}
        found = {}
        for name, pid in pids.items():
            with open(f"/proc/{pid}/statm") as file:
                found[name] = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return found

    def test_packets_are_lost(self):
        self.link.lose(5)
        counts = {"one": scaled(2000, 200), "two": scaled(2000, 200), "big": 20}
        receiver = self.traffic("receive", "reader", keepalive_s=5)
        publishers = [self.traffic("publish", "one", counts["one"], 100, 500, keepalive_s=5),
                      self.traffic("publish", "two", counts["two"], 1000, 1000, keepalive_s=5),
                      self.traffic("publish", "big", counts["big"], 100_000, 1000, keepalive_s=5)]
        for publisher, count in zip(publishers, counts.values()):
            self.connected_again(publisher, count)
        self.check(receiver, counts)

    def test_a_slow_link(self):
        """256 kbit/s, that is 32 bytes a millisecond. A large message takes longer than the keepalive; that is no reason
        to believe that nobody is there. TCP itself may be silent for over a second on such a link."""
        self.link.slow_down("256kbit")
        counts, keepalive_s = {"small": 300, "large": 1}, 8
        receiver = self.traffic("receive", "reader", keepalive_s=keepalive_s)
        publishers = [self.traffic("publish", "small", counts["small"], 100, 100, keepalive_s=keepalive_s),
                      self.traffic("publish", "large", counts["large"], 500_000, 100, keepalive_s=keepalive_s)]
        for publisher, count in zip(publishers, counts.values()):
            self.assertEqual(self.connected_again(publisher, count), 0, publisher.stderr())
        self.check(receiver, counts)
        self.assertEqual(receiver.stderr(), "")

    def test_cut_and_healed(self):
        chance = random.Random(11)
        total_s = CUTS * 0.4 + CUTS // LONG_EVERY * LONG_S  # so that there is traffic all the time
        per_s = 200
        counts = {"one": int(per_s * total_s), "two": int(per_s * total_s)}
        receiver = self.traffic("receive", "reader")
        publishers = [self.traffic("publish", name, count, 200, per_s) for name, count in counts.items()]
        before = None
        for turn in range(CUTS):
            self.link.cut(KINDS[turn % len(KINDS)])
            time.sleep(LONG_S if turn % LONG_EVERY == LONG_EVERY - 1 else chance.uniform(0.05, 0.3))
            self.link.heal()
            if turn == CUTS // 4:
                self.assertTrue(eventually(lambda: self.received(receiver)), receiver.stderr())
                before = self.memory()
            time.sleep(chance.uniform(0.02, 0.25))
        after = self.memory()
        again = [self.connected_again(publisher, count) for publisher, count in zip(publishers, counts.values())]
        self.check(receiver, counts)
        self.assertGreater(min(again), CUTS // 10)  # else the network was not bad
        twice = sum(message.again for message in self.received(receiver))
        print(f"{CUTS} cuts: connected again {again} times; {sum(counts.values())} messages, {twice} came again; KiB of memory "
              f"{ {name: (bytes >> 10, after.get(name, 0) >> 10) for name, bytes in before.items()} }", file=sys.stderr)
        if not SANITIZED:
            for name, bytes in before.items():
                limit = BROKER_GROWTH_BYTES if name == "broker" else CLIENT_GROWTH_BYTES
                self.assertLess(after.get(name, 0) - bytes, limit, f"memory of {name}")


if __name__ == "__main__":
    if "--cuts" in sys.argv:
        at = sys.argv.index("--cuts")
        os.environ["PUBSUB_CUTS"] = sys.argv[at + 1]
        del sys.argv[at:at + 2]
    namespaces.enter_own()
    CUTS = int(os.environ.get("PUBSUB_CUTS", CUTS))
    unittest.main(verbosity=2)
