"""Three brokers on three NATS servers, of which some die: what is lost is told, what was acknowledged is there. The campaign
(tests/cluster) does the same at length."""
import unittest

import raw
from cluster_case import SHARED_STREAM, StreamsTest, document
from programs import eventually, fresh_topic

BETWEEN_BROKERS = 14   # a reason of GAPs
NOT_AVAILABLE = 216    # a code of PUBACKs


class Failures(StreamsTest):
    """Each leaves the cluster as it found it."""
    CLUSTER = {"config": SHARED_STREAM, "cluster": "defer_time = 2s"}

    def heard(self, subscriber, host, topic):
        """Publishes until it comes. Returns what came before."""
        mark = fresh_topic()
        came = []

        def is_there():
            self.publish(host, topic, mark)
            came.extend(subscriber.ping())
            return any(frame[0] == raw.MSG and raw.msgpack.unpackb(frame[3]) == mark for frame in came)
        self.assertTrue(eventually(is_there))
        return came

    def test_a_server_dies(self):
        topic, live = self.topic(), fresh_topic()
        subscriber = self.subscriber(2, live)
        self.publish_replicated(0, topic, 1)
        self.cluster.servers[0].kill()
        self.assertTrue(eventually(lambda: self.try_replicated(0, topic, 2)))
        self.heard(subscriber, 0, live)
        self.cluster.servers[0].start()
        self.cluster.await_servers()
        self.assertTrue(eventually(lambda: self.try_replicated(0, topic, 3)))
        self.assertTrue(eventually(lambda: self.values(2, topic)[-1] == 3))
        self.assertEqual(list(dict.fromkeys(self.values(2, topic))), [1, 2, 3])

    def values(self, host, topic):
        return [value for _, value in self.read(host, topic)]

    def try_replicated(self, host, topic, value):
        """Whether it was acknowledged, not refused."""
        with raw.welcomed(self.urls[host]) as peer:
            peer.tell(raw.PUB, 1, raw.REPLICATED)
            peer.tell(raw.MSG, topic, None, document(value))
            got = peer.answer(raw.PUBACK)
            self.assertIn(got[2], (0, 1, NOT_AVAILABLE), got)
            return got[2] in (0, 1)

    def test_a_broker_dies(self):
        """The others are told of what it may have sent, and go on; when it is back so is what comes from it."""
        topic, live = self.topic(), fresh_topic()
        subscriber = self.subscriber(2, live)
        self.publish_replicated(1, topic, "before")
        self.heard(subscriber, 1, live)
        self.cluster.brokers[1].kill()
        self.assertTrue(eventually(lambda: any(frame[0] == raw.GAP and frame[2:4] == [None, BETWEEN_BROKERS]
                                               for frame in subscriber.ping())), "a GAP for what it may have sent")
        self.heard(subscriber, 0, live)
        self.publish_replicated(0, topic, "meanwhile")
        self.cluster.brokers[1].start()
        self.cluster.await_meeting()
        self.heard(subscriber, 1, live)
        self.publish_replicated(1, topic, "after")
        self.read_values(1, topic, ["before", "meanwhile", "after"])

    def test_all_servers_are_away(self):
        """Each broker goes on for its own; level 3 is refused in the end, never acknowledged; later all is as before."""
        topic, live = self.topic(), fresh_topic()
        subscribers = [self.subscriber(host, live) for host in range(3)]
        self.publish_replicated(0, topic, "before")
        for server in self.cluster.servers:
            server.kill()
        came = [self.heard(subscriber, host, live) for host, subscriber in enumerate(subscribers)]
        self.assertFalse(self.try_replicated(0, topic, "meanwhile"))
        for server in self.cluster.servers:
            server.start()
        self.cluster.await_servers()
        self.cluster.await_meeting()
        for host, subscriber in enumerate(subscribers):
            came[host] += self.heard(subscriber, (host + 1) % 3, live)
            self.assertTrue(any(frame[0] == raw.GAP for frame in came[host]), "what others sent meanwhile is told")
        self.assertTrue(eventually(lambda: self.try_replicated(1, topic, "after")))
        self.assertTrue(eventually(lambda: self.values(2, topic)[-1] == "after"))
        self.assertEqual(self.values(2, topic)[0], "before")


if __name__ == "__main__":
    unittest.main()
