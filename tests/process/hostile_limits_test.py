"""Limits against hostile peers, each with its number of the list of what hostile peers do: the limit holds, the refusal
names it and its value, it is counted under $SYS/limits, and nobody else notices."""
import unittest

import msgpack

import brokers
import raw
from hostile import (HANDSHAKE_S, HANDSHAKE_TIMEOUT, LIMIT, MALFORMED, PROMPT_S, SANITIZED, TOO_MANY, HostileTest,
                     setUpModule)
from raw import BYE, ERR, MARK, MSG, PUB, PUBACK, RETAIN, ROUTED, SUB, SUBACK, UNSUB, frame, hello, welcomed

QUOTA, TOO_MANY_SUBSCRIPTIONS = 214, 221
SOON = "[broker]\nsys_interval = 100ms\n"


def refused(url):
    """What each limit has refused, as the broker tells it."""
    with welcomed(url) as peer:
        peer.tell(SUB, 1, "$SYS/limits", {"retained": 2})
        return msgpack.unpackb(peer.answer(MSG)[3])


def address_space_bytes(broker, field="VmSize"):
    with open(f"/proc/{broker.process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field + ":")) << 10


class BeforeWelcome(HostileTest):
    """None of them is ended because the machine is slow: they have a minute to say HELLO."""
    SILENT = 10_000 if not SANITIZED else 4000
    CAP = 1024

    @classmethod
    def start_broker(cls):
        return brokers.Broker(config=SOON + "[limits]\nhandshake_timeout = 1m\n")

    def check_legitimate(self, name):
        peer = welcomed(self.broker.tcp, id=name)
        peer.tell(PUB, 1, ROUTED)
        peer.tell(MSG, "legitimate", None, b"x")
        self.assertEqual(peer.answer(PUBACK)[:3], [PUBACK, 1, 1])
        peer.goodbye()

    # Hostile 3.
    def test_silent_connections_of_one_address(self):
        """The newcomer is let in, and the oldest silent one goes. So silence keeps nobody out, from there either."""
        before = refused(self.broker.tcp)["unwelcomed_per_address"]
        silent = []
        with self.others_served():
            for number in range(self.SILENT):
                silent.append(self.connect())
                if number % 500 == 499:
                    self.check_legitimate(f"legitimate-{number}")
            self.assertLessEqual(self.broker.descriptors(), self.descriptors + self.CAP + 50)
        self.assert_bye(silent[0], TOO_MANY, f"more than {self.CAP} connections")
        self.assertGreaterEqual(refused(self.broker.tcp)["unwelcomed_per_address"] - before, self.SILENT - 2 * self.CAP)
        for peer in silent:
            peer.close()

    # Hostile 5.
    def test_claims_of_huge_bodies_cost_no_address_space(self):
        """A hundred at once, each with a few bytes of another claim."""
        claims = ["ddffffffff", "dfffffffff", "dd10000000", "dbffffffff", "c6ffffffff", "c9ffffffffff"]
        claims += ["9401a36d707301" + claim for claim in claims] + ["9401a36d70730181a4646174" + "61c6ffffffff"]
        for peer in [self.connect() for _ in range(100)]:  # what a hundred connections cost is had by now
            peer.send(hello())
            peer.goodbye()
        self.assertTrue(raw.eventually(lambda: self.broker.descriptors() <= self.descriptors))
        before = address_space_bytes(self.broker, "VmPeak")
        peers = [self.connect() for _ in range(100)]
        before_s = self.broker.cpu_s()
        for number, peer in enumerate(peers):
            peer.send(bytes.fromhex(claims[number % len(claims)]))
        for peer in peers:
            came = peer.rest()
            self.assertEqual([got[0] for got in came], [BYE])
            self.assertIn(came[0][1], (MALFORMED, LIMIT))
        took_s = self.broker.cpu_s() - before_s
        print(f"100 huge claims: all closed after {took_s * 1000:.0f} ms of processor time, "
              f"{(address_space_bytes(self.broker, 'VmPeak') - before) >> 10} KiB of address space")
        self.assertLess(took_s, min(PROMPT_S, HANDSHAKE_S - 1), "not for what they say but for what they claim")
        if not SANITIZED:
            self.assertLess(address_space_bytes(self.broker, "VmPeak"), before + (1 << 20))


class Silence(HostileTest):
    @classmethod
    def start_broker(cls):
        return brokers.Broker(config=SOON)

    # Hostile 1.
    def test_silence_is_counted(self):
        before = refused(self.broker.tcp)["handshake_timeout"]
        self.assert_bye(self.connect(), HANDSHAKE_TIMEOUT, "5000 ms")
        self.assertEqual(refused(self.broker.tcp)["handshake_timeout"], before + 1)


class Connections(HostileTest):
    """Limits that are lower than anybody would want them."""
    @classmethod
    def start_broker(cls):
        return brokers.Broker(config=SOON + "[limits]\nconnections_from_loopback = 10\nmax_connections = 20\n")

    # Hostile 3.
    def test_connections_of_one_address(self):
        peers = [self.welcomed() for _ in range(10)]
        for _ in range(3):
            self.assert_bye(self.connect(), TOO_MANY, "127.0.0.1 has 10 connections, the limit is 10 (connections_from_loopback)")
        with welcomed(self.broker.unix) as other:  # has no address
            self.assertEqual(other.ping(), [])
        self.assertGreaterEqual(refused(self.broker.unix)["connections_from_loopback"], 3)
        peers.pop().goodbye()
        self.assertTrue(raw.eventually(self.lets_in), "one left, and nobody can come instead")

    def lets_in(self):
        with self.connect() as peer:
            peer.send(hello())
            return peer.next()[0] == raw.WELCOME

    # Hostile 4.
    def test_connections_in_all(self):
        peers = [welcomed(self.broker.unix) for _ in range(18)]  # and two bystanders
        with raw.Peer(self.broker.unix) as late:
            self.assertEqual(late.rest(), [[BYE, TOO_MANY, "the limit of 20 connections (max_connections) is reached"]])
        for peer in peers:
            peer.goodbye()
        self.assertTrue(raw.eventually(lambda: self.broker.descriptors() <= self.descriptors))
        self.assertGreaterEqual(refused(self.broker.unix)["max_connections"], 1)


class Amounts(HostileTest):
    ALONE = False
    PATTERN_BYTES = 4 << 20

    @classmethod
    def start_broker(cls):
        return brokers.Broker(config=SOON + f"[limits]\npattern_bytes = {cls.PATTERN_BYTES >> 20}m\nmax_filters = 3\n"
                              "max_retained = 5\npublish_window = 10\nmax_payload = 1k\n")

    # Hostile 37.
    def test_patterns_that_share_little_are_bounded_by_what_they_take(self):
        """Pairs of patterns of many levels that differ at the end only: each of them takes a node for each level."""
        peer = self.welcomed()
        patterns = [f"{n}/" + "x/" * 28 + end for n in range(2000) for end in ("a/+", "b/+")]
        before = self.broker.resident_bytes()
        peer.send(b"".join(frame(SUB, sid, pattern, {"retained": 2}) for sid, pattern in enumerate(patterns, 1)))
        answers = [got for got in peer.ping() if got[0] == SUBACK]
        granted = [got[1] for got in answers if got[2] == 0]
        self.assertEqual({got[2] for got in answers}, {0, TOO_MANY_SUBSCRIPTIONS})
        self.assertIn(f"the limit is {self.PATTERN_BYTES} (pattern_bytes)", answers[-1][3])
        if not SANITIZED:
            self.assertLess(self.broker.resident_bytes(), before + 2 * self.PATTERN_BYTES)
        self.assertEqual(refused(self.broker.tcp)["pattern_bytes"], len(patterns) - len(granted))
        peer.send(b"".join(frame(UNSUB, sid) for sid in granted[:100]))
        peer.ping()
        peer.tell(SUB, 5000, "room/again/+", {"retained": 2})
        self.assertEqual(peer.answer(SUBACK)[2], 0)

    # Hostile 37.
    def test_filters(self):
        peer = self.welcomed()
        for sid in range(1, 5):
            peer.tell(SUB, sid, "f", {"filter": "a > 1", "retained": 2})
        answers = [got for got in peer.ping() if got[0] == SUBACK]
        self.assertEqual([got[2] for got in answers], [0, 0, 0, QUOTA])
        self.assertIn("limit of 3 ", answers[-1][3])
        self.assertEqual(refused(self.broker.tcp)["max_filters"], 1)

    # Hostile 39.
    def test_retained_values(self):
        peer = self.welcomed()
        peer.tell(PUB, 1, ROUTED | RETAIN)
        for number in range(7):
            peer.tell(MSG, f"kept/{number}", None, b"x")
        peer.tell(MSG, "kept/0", None, b"y")  # in the old one's place
        refusals = [got for got in peer.ping() if got[2] == QUOTA]
        self.assertEqual([got[1] for got in refusals], [6, 7])
        self.assertIn("there are 5 retained values, the limit is 5 (max_retained)", refusals[0][-1])
        self.assertEqual(refused(self.broker.tcp)["max_retained"], 2)
        for number in range(7):
            peer.tell(MSG, f"kept/{number}", None, b"")
        self.assertEqual({got[2] for got in peer.ping()} - {0, 1}, set())

    # Hostile 24.
    def test_payloads(self):
        peer = self.welcomed()
        peer.tell(MSG, "large", None, bytes(1025))
        told = [got for got in peer.ping() if got[0] == ERR]
        self.assertIn("1025 bytes for 'large' is over the limit of 1024", told[0][2])
        self.assertEqual(refused(self.broker.tcp)["max_payload"], 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
