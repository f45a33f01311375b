"""What hostile and unlucky peers do to the broker before it knows them, and when descriptors run out."""
import socket
import time
import unittest

import brokers
from hostile import (HANDSHAKE_S, MALFORMED, VERSION, LIMIT, STATE, AUTH_FAILED, HANDSHAKE_TIMEOUT, TOO_MANY,
                     BAD_CLIENT_ID, BAD_TOPIC, VALID_FRAMES, HostileTest, setUpModule)
from raw import (ACK, AUTH, BYE, ERR, HELLO, MSG, PING, PUB, STAT, SUB, UNSUB, WELCOME, frame, hello)


class BeforeWelcome(HostileTest):
    # Hostile 1.
    def test_silence_is_ended_in_time(self):
        peer = self.connect()
        began = time.monotonic()
        self.assert_bye(peer, HANDSHAKE_TIMEOUT)
        self.assertGreater(time.monotonic() - began, HANDSHAKE_S - 1)
        self.assertLess(time.monotonic() - began, HANDSHAKE_S + 10)

    # Hostile 2.
    def test_a_byte_a_second_gains_no_time(self):
        peer = self.connect()
        began = time.monotonic()
        data = hello(id="slow-writer", sw="x" * 30)
        while len(data) > 0 and not peer.ended:
            peer.send(data[:1])
            data = data[1:]
            peer.sock.settimeout(1)
            try:
                peer._receive()
            except TimeoutError:
                pass
        self.assert_bye(peer, HANDSHAKE_TIMEOUT)
        self.assertLess(time.monotonic() - began, HANDSHAKE_S + 10)

    # Hostile 5.
    def test_claims_of_huge_lengths(self):
        for claim in "ddffffffff", "dfffffffff", "dd10000000", "dbffffffff", "c6ffffffff", "c9ffffffffff":
            self.assert_first_bytes_refused(bytes.fromhex(claim), MALFORMED)
            inside_hello = bytes.fromhex("9401a36d707301") + bytes.fromhex(claim)
            with self.subTest(inside=claim):
                peer = self.connect()
                peer.send(inside_hello)
                self.assert_bye(peer, LIMIT)

    # Hostile 6.
    def test_a_huge_ext_and_more_in_a_second_write(self):
        peer = self.connect()
        peer.send(bytes.fromhex("c9ffffffffff"))
        peer.send(b"\x00" * 100)
        self.assert_bye(peer, MALFORMED)

    # Hostile 7.
    def test_the_byte_that_is_not_msgpack(self):
        self.assert_first_bytes_refused(b"\xc1", MALFORMED)
        peer = self.connect()
        peer.send(bytes.fromhex("9401c1"))
        self.assert_bye(peer, MALFORMED)

    # Hostile 8.
    def test_nested_arrays(self):
        for depth in 33, 512, 100000:
            self.assert_first_bytes_refused(b"\x91" * depth, MALFORMED)
            peer = self.connect()
            peer.send(bytes.fromhex("9401a36d707301") + b"\x91" * depth)
            self.assert_bye(peer, LIMIT)

    # Hostile 9.
    def test_24000_nested_claims(self):
        self.assert_first_bytes_refused(bytes.fromhex("dcffff") * 24000, MALFORMED)

    # Hostile 10.
    def test_a_mebibyte_of_nils(self):
        self.assert_first_bytes_refused(bytes.fromhex("dd00100000") + b"\xc0" * (1 << 20), MALFORMED)

    # Hostile 11.
    def test_other_protocols_are_named(self):
        self.assert_first_bytes_refused(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", MALFORMED, "HTTP")
        self.assert_first_bytes_refused(b"POST /x HTTP/1.1\r\nHost: localhost\r\n\r\n", MALFORMED, "HTTP")
        self.assert_first_bytes_refused(bytes.fromhex("16030100c8010000c40303") + bytes(200), MALFORMED, "TLS")
        self.assert_first_bytes_refused(b"SSH-2.0-OpenSSH_9.2p1\r\n", MALFORMED, "SSH")
        self.assert_first_bytes_refused(bytes.fromhex("101000044d5154540402003c0004746573740a"), MALFORMED, "MQTT")

    # Hostile 12.
    def test_the_first_frame_must_be_hello(self):
        self.assert_first_bytes_refused(VALID_FRAMES["MSG"], STATE)
        self.assert_first_bytes_refused(VALID_FRAMES["SUB"], STATE)
        self.assert_first_bytes_refused(VALID_FRAMES["ACK"], STATE)
        for name in "PUB", "UNSUB", "PING", "STAT", "AUTH":  # too short to begin as HELLO does
            self.assert_first_bytes_refused(VALID_FRAMES[name], MALFORMED)

    # Hostile 13.
    def test_two_hellos(self):
        self.assert_refused(hello(), STATE)

    def test_more_bytes_than_the_handshake_may_have(self):
        self.assert_first_bytes_refused(hello(sw="x" * 5000), LIMIT)

    def test_hello_with_wrong_fields(self):
        for options in ({"id": 5}, {"auth": 1}, {"ka": -1}, {"ka": "60"}, {"ka": 1.5}, {"ka": 2**32}, {"sess": None},
                        {"clean": 1}, {"rx_max": -1}, {"boot": "x"}, {"half": "yes"}, {"vmin": []}, {"sw": b"x"}):
            self.assert_first_bytes_refused(hello(**options), MALFORMED)
        for fields in ((5, 1, {}), ("mps", "1", {}), ("mps", -1, {}), ("mps", 1.0, {}), ("mps", 1, None), ("mps", 1, [])):
            self.assert_first_bytes_refused(frame(HELLO, *fields), MALFORMED)
        self.assert_first_bytes_refused(frame(HELLO, "mqtt", 1, {}), MALFORMED)
        self.assert_first_bytes_refused(frame(HELLO, "mps", 1), MALFORMED)
        self.assert_first_bytes_refused(bytes.fromhex("9401a36d707301") + b"\x82\xa2ka\x01\xa2ka\x02", MALFORMED)

    def test_hello_with_more_than_is_known(self):
        peer = self.connect()
        peer.send(frame(HELLO, "mps", 1, {"new": {"deep": 1}, 99: None, "id": "modern"}, "and", ["more"]))
        self.assertEqual(peer.next()[2]["id"], "modern")

    def test_no_common_version(self):
        for data in frame(HELLO, "mps", 0, {}), frame(HELLO, "mps", 9, {"vmin": 2}):
            peer = self.connect()
            peer.send(data)
            bye = peer.next()
            self.assertEqual(bye[:2], [BYE, VERSION])
            self.assertEqual(bye[3], {"vmin": 1, "vmax": 1})

    def test_authentication_that_is_not_served(self):
        self.assert_first_bytes_refused(hello(auth="token", data=b"secret"), AUTH_FAILED, "token")
        self.assert_first_bytes_refused(hello(auth="password", data=["me", "secret"]), AUTH_FAILED)

    # Hostile 16.
    def test_bad_client_ids(self):
        for bad in ("", "a/b", "a+b", "#", "$SYS", "two words", "line\nbreak", "tab\t", "\x1b[31m", "x" * 65,
                    "right\u202eleft", "zero\u200bwidth"):
            self.assert_first_bytes_refused(hello(id=bad), BAD_CLIENT_ID)
        self.assert_first_bytes_refused(bytes.fromhex("9401a36d70730181a26964a3") + b"a\x00b", MALFORMED)
        self.assert_first_bytes_refused(bytes.fromhex("9401a36d70730181a26964a2c328"), MALFORMED)

    def test_what_is_not_granted_is_said(self):
        peer = self.welcomed(will=["last/+", b"x", 0, 0], sess=3600)
        self.assertEqual([f[:2] for f in peer.ping()], [[ERR, BAD_TOPIC]])
        self.assertEqual(peer.welcome.get("sess", 0), 0)



class Descriptors(HostileTest):
    """A broker that may open few descriptors."""
    LIMIT = 64

    @classmethod
    def start_broker(cls):
        return brokers.Broker(descriptors=cls.LIMIT)

    # Hostile 4.
    def test_more_connections_than_descriptors(self):
        served, refused = [], 0
        for _ in range(2 * self.LIMIT):
            peer = self.connect()
            peer.send(hello())
            first = peer.next()
            self.assertIsNotNone(first, "closed without a word")
            if first[0] == WELCOME:
                served.append(peer)
                self.assertEqual(refused, 0, "served after others were refused, with nobody gone")
                continue
            self.assertEqual(first[:2], [BYE, TOO_MANY])
            self.assertIsNone(peer.next())
            peer.close()
            refused += 1
        self.assertGreater(len(served), self.LIMIT // 2)
        self.assertGreater(refused, self.LIMIT // 2)

        waiting = [socket.create_connection(self.address()) for _ in range(5)]
        with self.bystanders.paused():
            before_s, began = self.broker.cpu_s(), time.monotonic()
            time.sleep(2)  # what is measured is that it does nothing meanwhile
            self.assertLess(self.broker.cpu_s() - before_s, 0.25 * (time.monotonic() - began), "a busy loop")
        for sock in waiting:
            sock.close()

        for peer in served[:5]:
            self.assertEqual(peer.goodbye()[-1][:2], [BYE, 0])
        again = [self.welcomed() for _ in range(5)]
        for peer in again + served[5:]:
            self.assertEqual(peer.ping(), [])
            peer.close()

    def address(self):
        host, port = self.broker.tcp[len("tcp://"):].rsplit(":", 1)
        return host, int(port)


if __name__ == "__main__":
    unittest.main(verbosity=2)
