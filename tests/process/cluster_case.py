"""What tests of several brokers have in common: subscribers that all of them know, and streams that they share."""
import unittest

import cluster
import raw
from programs import fresh_topic

SHARED_STREAM = """
[stream orders]
topics = orders/#
store = jetstream
replicas = 3
max_bytes = 100m
"""


def document(value):
    return raw.msgpack.packb(value)


class Subscriber(raw.Peer):
    """Subscribed at all brokers when it is returned."""

    def __init__(self, url, *patterns, **options):
        super().__init__(url)
        self.send(raw.hello())
        self.answer(raw.WELCOME)
        self.granted = []
        for sid, pattern in enumerate(patterns, 1):
            self.tell(raw.SUB, sid, pattern, {"scope": "cluster", "retained": 2, **options})
            suback = self.answer(raw.SUBACK)
            if suback[2] != 0:
                raise AssertionError(f"{pattern}: {suback}")
            self.granted.append(suback[3])
        self.sid = 0

    def next_message(self):
        """(sid, topic, document). A GAP fails."""
        while True:
            frame = self.next()
            if frame is None or frame[0] in (raw.GAP, raw.BYE, raw.ERR):
                raise AssertionError(f"instead of a message came {frame}")
            if frame[0] == raw.FOR:
                self.sid = frame[1]
            elif frame[0] == raw.MSG:
                return self.sid, frame[1], raw.msgpack.unpackb(frame[3])

    def documents(self, count):
        return [self.next_message()[2] for _ in range(count)]


class ClusterTest(unittest.TestCase):
    """One cluster for all tests of a class; each has topics of its own."""
    CLUSTER = {}

    @classmethod
    def setUpClass(cls):
        cluster.require()
        cls.cluster = cluster.Cluster(**cls.CLUSTER)
        cls.addClassCleanup(cls.cluster.stop)
        cls.urls = [broker.unix for broker in cls.cluster.brokers]

    def subscriber(self, host, *patterns, **options):
        subscriber = Subscriber(self.urls[host], *patterns, **options)
        self.addCleanup(subscriber.close)
        return subscriber

    def peer(self, host, **options):
        peer = raw.welcomed(self.urls[host], **options)
        self.addCleanup(peer.close)
        return peer

    def publish(self, host, topic, *values, flags=0):
        """As acknowledged as it goes without a stream."""
        with raw.welcomed(self.urls[host]) as peer:
            peer.tell(raw.PUB, 1, raw.ROUTED | flags)
            peer.send(b"".join(raw.frame(raw.MSG, topic, None, document(value)) for value in values))
            while (got := peer.answer(raw.PUBACK))[1] < len(values):
                self.assertLess(got[2], 200, got)

    def assert_silent(self, host, subscriber, topic):
        """Nothing more comes: what is published after it is the next thing that does."""
        self.publish(host, topic, "the end")
        self.assertEqual(subscriber.next_message()[2], "the end")


class StreamsTest(ClusterTest):
    """With a stream that they share, whose topics are topic()."""
    CLUSTER = {"config": SHARED_STREAM}

    def topic(self):
        return f"orders/{fresh_topic()}"

    def publish_replicated(self, host, topic, *values, first=1, **options):
        """Returns the position of the last one."""
        with raw.welcomed(self.urls[host], **options) as peer:
            peer.tell(raw.PUB, first, raw.REPLICATED)
            peer.send(b"".join(raw.frame(raw.MSG, topic, None, document(value)) for value in values))
            while (got := peer.answer(raw.PUBACK))[1] < first + len(values) - 1:
                self.assertIn(got[2], (0, 1, 2), got)
            self.assertIn(got[2], (0, 1, 2), got)
            return got[6] if len(got) > 6 else None

    def read(self, host, topic, begin="all"):
        """[(position, document)] up to the end of what is there."""
        with raw.welcomed(self.urls[host]) as peer:
            peer.tell(raw.SUB, 1, topic, {"from": begin, "retained": 2})
            found, position = [], None
            for frame in peer.until(raw.MARK):
                self.assertNotEqual(frame[0], raw.GAP, frame)
                if frame[0] == raw.FOR:
                    position = frame[4]
                elif frame[0] == raw.MSG:
                    found.append((position, raw.msgpack.unpackb(frame[3])))
                    position += 1
            return found

    def read_values(self, host, topic, values):
        """What was acknowledged at any broker is there at once."""
        found = self.read(host, topic)
        self.assertEqual([value for _, value in found], values)
        return found
