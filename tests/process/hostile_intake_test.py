"""Many who together want more of the broker's memory than it has for them: publishers that are held, halves of large
messages, readers under TLS that do not read. Its resident memory follows from the limits, and the others go on."""
import contextlib
import socket
import time
import unittest

import brokers
import raw
import tls
from hostile import LIMIT, SANITIZED, HostileTest
from raw import BYE, ERR, MSG, PUB, PUBACK, SUB, SUBACK, ROUTED, frame, hello
from tls_broker import Made, listener, setUpModule

MANY = 5 if SANITIZED else 1      # volumes are divided by this
KIB, MIB = 1 << 10, 1 << 20
QUOTA = 214
INPUT_BYTES, QUEUES_BYTES = 8 * MIB, 4 * MIB
OWN_BYTES = 16 * KIB              # of each connection's input
RECORD_BYTES = 17 * KIB           # OpenSSL's, of a record that came in part or is not read yet
TIMEOUT_S = 2
# What the allocator and the sanitizer's own book-keeping need besides: freed memory is kept by them for a while.
SLACK_BYTES = (96 if SANITIZED else 6) * MIB
LIMITS = f"""[broker]
sys_interval = 100ms
[limits]
input_total_bytes = {INPUT_BYTES >> 20}m
queue_total_bytes = {QUEUES_BYTES >> 20}m
input_timeout = {TIMEOUT_S}s
handshake_timeout = 1m
"""


def begun():
    """The most of a large message."""
    return frame(MSG, "half", None, bytes(MIB))[:900 * KIB]


class IntakeTest:
    """Over plain TCP, or TLS."""
    ALONE = False
    MEMORY_SLACK_BYTES = SLACK_BYTES

    @classmethod
    def start_broker(cls):
        config = LIMITS + "[listener plain]\nurl = tcp://127.0.0.1:0\n" + listener("tls", Made.server)
        broker = brokers.Broker(config=config, listens=False)
        broker.unix = broker.tcp  # where the bystanders go
        return broker

    def state(self, topic):
        """The broker's own, as it is now."""
        peer = self.welcomed()
        peer.tell(SUB, 1, topic, {"retained": 2})
        told = raw.msgpack.unpackb(peer.answer(MSG)[3])
        peer.close()
        return told

    def input_bytes(self):
        return self.state("$SYS/broker")["input_bytes"]

    def come(self, count):
        """So many who said HELLO."""
        peers = []
        for _ in range(count):
            peer = raw.Peer(sock=self.open())
            self.addCleanup(peer.close)
            peer.send(hello())
            peers.append(peer)
        for peer in peers:
            peer.answer(raw.WELCOME)
        return peers

    def push(self, peer, data):
        """Sends all of it that the two kernels take; what is left is never sent."""
        sock = peer.sock
        if isinstance(sock, tls.Socket):
            sock.tls.write(data)
            data, sock = sock.outgoing.read(), sock.sock
        view = memoryview(data)
        with contextlib.suppress(BlockingIOError):
            while view:
                view = view[sock.send(view, socket.MSG_DONTWAIT):]

    def assert_bound(self, before, connections):
        limit = before + INPUT_BYTES + connections * (OWN_BYTES + self.RECORD_BYTES) + SLACK_BYTES
        resident = self.broker.resident_bytes()
        print(f"{self.id().partition('.')[2]}: {connections} connections, {(resident - before) >> 10} KiB more, "
              f"{(limit - before) >> 10} allowed")
        self.assertLess(resident, limit)

    # Hostile 35, 55.
    def test_held_publishers(self):
        """Each sends 400 KiB behind a message that is held, and none of it is lost."""
        count, each, payload = 200 // MANY, 400, bytes(1000)
        holder = self.welcomed()
        holder.tell(SUB, 1, "held", {"policy": "block", "block_ms": 600000, "max_msgs": 1, "credit": 0, "retained": 2})
        self.assertEqual(holder.answer(SUBACK)[2], 0)
        holder.tell(MSG, "held", None, b"fills the queue")
        holder.ping()
        peers = self.come(count)
        before = self.broker.resident_bytes()
        for peer in peers:
            self.push(peer, b"".join(frame(MSG, "held", None, payload) for _ in range(each)))
        self.assertTrue(raw.eventually(lambda: self.input_bytes() >= INPUT_BYTES // 4), "nobody was held")
        for _ in range(5):
            self.bystanders.check(500)
            self.assertLessEqual(self.input_bytes(), INPUT_BYTES // 2)
            self.assert_bound(before, count)
        large = self.welcomed()  # for which there is room
        large.tell(PUB, 1, ROUTED)
        large.tell(MSG, "other", None, bytes(MIB))
        self.assertEqual(large.answer(PUBACK)[2], 1)
        holder.close()  # all of them may go on
        for peer in peers:
            peer.ping()
        self.assertTrue(raw.eventually(lambda: self.input_bytes() == 0))  # a bystander's message may have come in part
        for peer in peers:
            peer.close()

    # Hostile 55.
    def test_halves_of_large_messages(self):
        """Together they are a dozen times what there is for them. Nobody waits for ever, and small messages do not wait."""
        count = 100 // MANY
        peers = self.come(count)
        before = self.broker.resident_bytes()
        for peer in peers:
            self.push(peer, begun())
        self.assertTrue(raw.eventually(lambda: self.input_bytes() >= 6 * MIB))
        large = self.welcomed()
        large.tell(PUB, 1, ROUTED)
        began = time.monotonic()
        large.send(frame(MSG, "other", None, bytes(MIB)))
        self.bystanders.check(500)
        self.assertLessEqual(self.input_bytes(), INPUT_BYTES)
        self.assert_bound(before, count)
        answer = large.answer(PUBACK)
        self.assertIn(answer[2], (1, QUOTA))
        print(f"answered with {answer[2]} after {time.monotonic() - began:.1f} s")
        self.bystanders.check(500)
        self.assert_bound(before, count)
        large.ping()
        answers = self.first_answers(peers, count - INPUT_BYTES // MIB)
        self.assertLessEqual(set(answers), {(BYE, LIMIT), (ERR, QUOTA)})
        self.assertGreater(answers.count((BYE, LIMIT)), 0)
        refused = self.state("$SYS/limits")
        self.assertGreaterEqual(refused["input_timeout"], answers.count((BYE, LIMIT)))
        self.assertGreaterEqual(refused["input_total_bytes"], answers.count((ERR, QUOTA)) + (answer[2] == QUOTA))
        for peer in peers:
            peer.close()

    def first_answers(self, peers, wanted):
        """What they hear, of whom so many are told something soon: operation and code."""
        answers, silent = [], list(peers)

        def enough():
            for peer in list(silent):
                peer.sock.settimeout(0.001)
                with contextlib.suppress(TimeoutError, BlockingIOError):
                    answers.append(tuple(peer.next()[:2]))
                    silent.remove(peer)
            return len(answers) >= wanted

        self.assertTrue(raw.eventually(enough), f"only {len(answers)} of {len(peers)} were told")
        return answers

    # Hostile 55.
    def test_each_connection_has_its_own(self):
        """Messages that are shorter than that come in whatever the others do: also byte by byte."""
        peers = self.come(100 // MANY)
        for peer in peers:
            self.push(peer, begun())
        self.assertTrue(raw.eventually(lambda: self.input_bytes() >= 6 * MIB))
        peer = self.come(1)[0]
        peer.tell(PUB, 1, ROUTED)
        began = time.monotonic()
        data = frame(MSG, "other", None, bytes(15 * KIB))
        for at in range(0, len(data), 512):
            peer.send(data[at:at + 512])
        self.assertEqual(peer.answer(PUBACK)[2], 1)
        print(f"a message of 15 KiB in pieces took {time.monotonic() - began:.2f} s")
        for other in peers:
            other.close()


class Plain(IntakeTest, HostileTest):
    RECORD_BYTES = 0

    def open(self):
        return raw.open_socket(self.broker.tcp)


class Tls(IntakeTest, HostileTest):
    RECORD_BYTES = RECORD_BYTES

    def open(self):
        return tls.connect(self.broker.tls[0], tls.context(Made.ca))

    # Hostile 35.
    def test_readers_that_do_not_read(self):
        """What is encrypted for them is in the budget of the queues."""
        count = 200 // MANY
        peers = []
        for _ in range(count):
            sock = tls.Socket(tls.small_socket(self.broker.tls[0]), tls.context(Made.ca)).handshake()
            peer = raw.Peer(sock=sock)
            self.addCleanup(peer.close)
            peer.send(hello() + frame(SUB, 1, "flood", {"retained": 2}))
            peer.answer(SUBACK)
            peers.append(peer)
        before = self.broker.resident_bytes()
        publisher = self.welcomed()
        publisher.tell(PUB, 1, ROUTED)
        for _ in range(20 if SANITIZED else 100):
            publisher.send(frame(MSG, "flood", None, bytes(100 * KIB)))
            publisher.answer(PUBACK)
        self.bystanders.check(500)
        state = self.state("$SYS/broker")
        self.assertGreater(state["links_bytes"], 0)
        self.assertLess(state["links_bytes"], QUEUES_BYTES // 4 + 80 * KIB + count * 6 * KIB)
        self.assertLess(state["queued_bytes"], QUEUES_BYTES + MIB)
        more = self.broker.resident_bytes() - before
        print(f"{count} readers, {state['links_bytes'] >> 10} KiB encrypted, {more >> 10} KiB more")
        self.assertLess(more, QUEUES_BYTES + count * (6 * KIB + RECORD_BYTES) + SLACK_BYTES)
        for peer in peers:
            peer.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
