"""What the broker's memory is spent on: idle connections, and subscribers that do not read."""
import os
import resource
import sys
import unittest

import brokers
import raw
from raw import GAP, MSG, STAT, SUB, SUBACK, frame, hello, welcomed

CONNECTIONS = 5000
IDLE_BYTES_EACH = 1536
SKIPPED = 77  # ctest's way of saying that a test could not be run


class MemoryTest(unittest.TestCase):
    def setUp(self):
        self.broker = brokers.Broker()
        self.addCleanup(self.broker.stop)

    def welcomed(self):
        peer = welcomed(self.broker.unix)
        self.addCleanup(peer.close)
        return peer

    def test_idle_connections(self):
        # What the first connections cost is what anybody costs: buffers that are shared.
        warm = [welcomed(self.broker.unix) for _ in range(20)]
        for peer in warm:
            peer.goodbye()
        before = self.broker.resident_bytes()
        socks = []
        for number in range(CONNECTIONS):
            peer = raw.Peer(self.broker.unix)
            peer.send(hello(id=f"idle-{number}"))
            peer.answer(raw.WELCOME)
            socks.append(peer.sock)
        each = (self.broker.resident_bytes() - before) / CONNECTIONS
        for sock in socks:
            sock.close()
        print(f"an idle connection costs {each:.0f} bytes")
        self.assertGreater(each, 100, "less than any connection can cost: the measurement is wrong")
        self.assertLessEqual(each, IDLE_BYTES_EACH)

    def test_a_subscriber_that_does_not_read(self):
        queue_bytes = 8 << 20
        payload = bytes(4096)
        stalled = self.welcomed()
        stalled.tell(SUB, 1, "much", {"max_bytes": queue_bytes, "retained": 2})
        stalled.answer(SUBACK)
        reading = self.welcomed()
        reading.tell(SUB, 1, "much", {"retained": 2})
        reading.answer(SUBACK)
        publisher = self.welcomed()
        before = self.broker.resident_bytes()
        batch, batches = 500, 100  # 200 MB
        for number in range(batches):
            publisher.send(frame(MSG, "much", None, payload) * batch)
            for _ in range(batch):
                reading.answer(MSG)
        grown = self.broker.resident_bytes() - before
        print(f"200 MB past a stalled subscriber: the broker grew by {grown >> 10} KiB")
        self.assertLessEqual(grown, queue_bytes + (6 << 20))

        stalled.tell(STAT, 1)
        matched, sent, lost, queued, queued_size = stalled.answer(STAT)[2:]
        self.assertEqual((matched, sent + lost + queued), (batch * batches, batch * batches))
        self.assertLessEqual(queued_size, queue_bytes)
        self.assertGreater(lost, 0)

    def test_small_messages_of_many_topics_that_are_not_read(self):
        """What they cost besides their bytes is bounded as well, and told like everything that is lost."""
        queue_bytes = 4 << 20
        stalled = self.welcomed()
        stalled.tell(SUB, 1, "#", {"max_bytes": queue_bytes, "max_msgs": 10_000_000, "retained": 2})
        stalled.answer(SUBACK)
        other = self.welcomed()  # that one of the topics has another receiver keeps their messages apart
        other.tell(SUB, 1, "a", {"max_msgs": 1, "retained": 2})
        other.answer(SUBACK)
        publisher = self.welcomed()
        batch, batches = 20000, 25
        data = (frame(MSG, "a", None, b"") + frame(MSG, "b", None, b"")) * (batch // 2)
        publisher.ping()
        before = self.broker.resident_bytes()
        for _ in range(batches):
            publisher.send(data)
            publisher.ping()
        grown = self.broker.resident_bytes() - before
        print(f"{batch * batches} tiny messages past a stalled subscriber: the broker grew by {grown >> 10} KiB")
        self.assertLessEqual(grown, 2 * queue_bytes + (6 << 20))

        got = gaps = 0
        for fields in iter(stalled.next, None):
            got += fields[0] == MSG
            gaps += fields[2] if fields[0] == GAP else 0
            if fields[0] == GAP:
                self.assertEqual(fields[3], 11)
            if got + gaps == batch * batches:
                break
        self.assertGreater(gaps, 0)


if __name__ == "__main__":
    if os.environ.get("PUBSUB_SANITIZED") == "1":
        print("skipped: with sanitizers memory is not what it is without")
        sys.exit(SKIPPED)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + 100:
        print(f"skipped: {CONNECTIONS} connections need as many descriptors, this system allows {hard}")
        sys.exit(SKIPPED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    unittest.main(verbosity=2)
