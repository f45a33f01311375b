"""What happens to the broker when there are many clients and little memory. What happens when an allocation fails is seen
to by tests/faults/allocations."""
import resource
import unittest

import brokers
import raw
from bystanders import Bystanders
from hostile import SANITIZED, TOO_MANY, setUpModule
from raw import BYE, CREDIT, GAP, MARK, MSG, PUB, PUBACK, SUB, WELCOME, EACH, ROUTED, frame, hello, welcomed

MANY = 10 if SANITIZED else 1  # volumes are divided by this
MEMORY_GAP = 11


class LittleMemory(unittest.TestCase):
    BYTES = 32 << 20            # of data that the broker may have
    CLIENTS = 10_000 // MANY
    SERVED = 9_000 // MANY
    MESSAGES = 500
    CONFIG = f"""[limits]
max_connections = {SERVED}
queue_total_bytes = 4m
retained_bytes = 1m
max_payload = 256k
"""

    def start(self):
        broker = brokers.Broker(config=self.CONFIG)
        self.addCleanup(broker.stop)
        if not SANITIZED:
            resource.prlimit(broker.process.pid, resource.RLIMIT_DATA, (self.BYTES, self.BYTES))
        return broker

    def come(self, broker, count):
        """Clients that subscribe to everything under `flood`, and read nothing. Returns how many were refused, too."""
        clients, refused = [], 0
        for number in range(count):
            peer = raw.Peer(broker.tcp)
            self.addCleanup(peer.close)
            peer.send(hello() + frame(SUB, 1, f"flood/{number % 100}", {"credit": 0, "retained": 2}))
            first = peer.next()
            if first[0] == BYE:
                self.assertEqual(first[1], TOO_MANY)
                refused += 1
                peer.close()
                continue
            self.assertEqual(first[0], WELCOME)
            clients.append(peer)
        return clients, refused

    # Hostile 55.
    def test_little_memory_and_many_clients(self):
        broker = self.start()
        bystanders = Bystanders(broker.unix)
        self.addCleanup(bystanders.stop)
        publisher = welcomed(broker.tcp)
        self.addCleanup(publisher.close)
        publisher.tell(PUB, 1, ROUTED | EACH)
        clients, refused = self.come(broker, self.CLIENTS)
        self.assertEqual((len(clients), refused), (self.SERVED - 3, self.CLIENTS - self.SERVED + 3))
        payload, matched, lost = bytes(100_000), 0, 0
        for number in range(self.MESSAGES):
            publisher.tell(MSG, f"flood/{number % 100}", None, payload)
            ack = publisher.answer(PUBACK)
            self.assertIn(ack[2], (0, 1))
            matched, lost = matched + ack[3], lost + ack[4]
        bystanders.check()
        self.assertGreater(matched, 0)
        for client in clients[:100]:  # one of each topic
            client.tell(CREDIT, 1, 100, True)
            frames = client.until(MARK)
            gaps = [got for got in frames if got[0] == GAP]
            count = len([got for got in frames if got[0] == MSG])
            self.assertEqual(count + sum(gap[2] for gap in gaps), self.MESSAGES // 100)
            self.assertLessEqual({gap[3] for gap in gaps}, {MEMORY_GAP})
            lost += len(gaps)
        self.assertGreater(lost, 0, "all of it had room")
        print(f"{len(clients)} clients in {broker.peak_bytes() >> 20} MiB")


if __name__ == "__main__":
    unittest.main(verbosity=2)
