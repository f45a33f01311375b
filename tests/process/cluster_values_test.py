"""Three brokers on three NATS servers: a retained value that is set at one of them at the very moment of a SUB at another one."""
import random
import unittest

import raw
from cluster_case import ClusterTest, document
from programs import fresh_topic, scaled

ROUNDS = 300


class Values(ClusterTest):
    def subscribe(self, topic):
        peer = raw.Peer(self.urls[0])
        self.addCleanup(peer.close)
        peer.send(raw.hello())
        peer.answer(raw.WELCOME)
        peer.tell(raw.SUB, 1, topic, {"scope": "cluster"})
        return peer

    def messages_until(self, peer, last):
        """What comes up to this."""
        found = []
        while not found or found[-1] != last:
            frame = peer.next()
            self.assertIsNotNone(frame, f"the connection ended behind {found}")
            self.assertNotIn(frame[0], (raw.GAP, raw.BYE, raw.ERR), frame)
            if frame[0] == raw.MSG:
                found.append(raw.msgpack.unpackb(frame[3]) if frame[3] else None)
        return found

    def race(self, publisher, topic, *values):
        """All values are set, and the SUB goes on its way among them. Returns what it brings."""
        payloads = [document(value) if value is not None else b"" for value in values]
        frames = [raw.frame(raw.PUB, 0, raw.RETAIN) + raw.frame(raw.MSG, topic, None, payload) for payload in payloads]
        before = random.randint(1, len(frames))
        publisher.send(b"".join(frames[:before]))
        if random.random() < 0.5:
            publisher.ping()
        peer = self.subscribe(topic)
        publisher.send(b"".join(frames[before:]) + raw.frame(raw.PUB, 0, 0))
        publisher.ping()  # it has set them all; what follows is for whoever it knows
        suback = peer.answer(raw.SUBACK)
        self.assertEqual(suback[2:4], [0, {}], suback)
        publisher.tell(raw.MSG, topic, None, document("end"))
        found = self.messages_until(peer, "end")
        peer.close()
        return found[:-1]

    @staticmethod
    def once(found):
        """Where many subscriptions have just ended, a value may stand among the retained ones once more."""
        return [value for n, value in enumerate(found) if n == 0 or found[n - 1] != value]

    def check(self, base, *values):
        count = scaled(ROUNDS, 40)
        with raw.welcomed(self.urls[1]) as publisher:
            for n in range(count):
                yield n, self.race(publisher, f"{base}/{n}", *(value if value is None else f"{n} {value}" for value in values))

    def test_a_value(self):
        for n, found in self.check(fresh_topic(), "x"):
            self.assertEqual(found, [f"{n} x"])

    def test_a_value_that_others_here_get(self):
        base = fresh_topic()
        other = self.subscriber(0, f"{base}/#")
        for n, found in self.check(base, "x"):
            self.assertEqual(self.once(found), [f"{n} x"])
            self.assertEqual([other.next_message()[2] for _ in range(2)], [f"{n} x", "end"])

    def test_values_that_follow_each_other(self):
        """Those that come are the last ones of them, in their order."""
        base = fresh_topic()
        for n, found in self.check(base, *range(8)):
            found = self.once(found)
            self.assertTrue(found)
            self.assertEqual(found, [f"{n} {value}" for value in range(8 - len(found), 8)])

    def test_a_value_that_goes(self):
        """Nobody is left with it."""
        for n, found in self.check(fresh_topic(), "x", None):
            self.assertIn(found, ([], [None], [f"{n} x", None]))


if __name__ == "__main__":
    unittest.main()
