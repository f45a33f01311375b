"""What hostile and unlucky peers do to the broker with frames, once they are welcomed."""
import random
import select
import socket
import unittest

import raw
from hostile import (SLOWNESS, MEMORY_SLACK_BYTES, MALFORMED, UNKNOWN_OP, LIMIT, STATE, PID_ORDER, BAD_TOPIC,
                     NOT_AUTHORISED, AUTH_REFRESH, TOO_LARGE, NO_HISTORY, ACK_LEVEL, NOBODY, BAD_PROPS, BAD_OPTION,
                     BAD_FILTER, VALID_FRAMES, HostileTest, setUpModule)
from raw import (ACK, AUTH, BYE, CREDIT, ERR, FOR, GAP, INFO, MARK, MSG, PING, PONG, PUB, PUBACK, STAT, SUB, SUBACK,
                 UNSUB, WELCOME, ROUTED, STORED, REPLICATED, RETAIN, MUST_ROUTE, frame, hello, welcomed)


class Frames(HostileTest):
    # Hostile 19.
    def test_every_frame_cut_at_every_byte_then_the_end(self):
        for name, data in VALID_FRAMES.items():
            for cut in range(1, len(data)):
                with self.subTest(name, cut=cut), self.welcomed() as peer:
                    peer.send(data[:cut])
                    peer.finish()
                    frames = peer.rest()
                    self.assertFalse(peer.was_reset)
                    self.assertIn(frames, ([], [[BYE, 0]], [[BYE, MALFORMED, *frames[-1][2:]]] if frames else []))

    # Hostile 19.
    def test_hello_cut_at_every_byte_then_the_end(self):
        data = hello(id="cut", ka=60, sw="x")
        for cut in range(len(data)):
            with self.subTest(cut=cut), self.connect() as peer:
                peer.send(data[:cut])
                peer.finish()
                self.assertNotIn(WELCOME, [f[0] for f in peer.rest()])

    # Hostile 19.
    def test_every_frame_cut_at_every_byte_then_a_reset(self):
        for name, data in VALID_FRAMES.items():
            for cut in range(len(data) + 1):
                peer = self.welcomed()
                peer.send(data[:cut])
                peer.reset()

    # Hostile 20.
    def test_one_byte_per_write(self):
        for name, data in VALID_FRAMES.items():
            with self.subTest(name):
                answers = []
                for size in len(data), 1:
                    peer = self.welcomed()
                    for at in range(0, len(data), size):
                        peer.send(data[at:at + size])
                    frames = peer.rest() if name == "BYE" else peer.ping()
                    answers.append(frames)
                    peer.close()
                self.assertEqual(answers[0], answers[1])

    # Hostile 20.
    def test_a_large_frame_in_small_pieces_costs_linear_time(self):
        reader = self.welcomed(rx_max=1 << 22)
        reader.tell(SUB, 1, "pieces", {})
        reader.answer(SUBACK)
        payload = random.Random(1).randbytes(1 << 20)
        data = frame(MSG, "pieces", None, payload)
        writer = self.welcomed()
        before_s = self.broker.cpu_s()
        for at in range(0, len(data), 64):
            writer.send(data[at:at + 64])
        self.assertEqual(reader.answer(MSG), [MSG, "pieces", None, payload])
        self.assertLess(self.broker.cpu_s() - before_s, 1.5 * SLOWNESS)

    # Hostile 21.
    def test_10000_frames_in_one_write_do_not_keep_others_waiting(self):
        count = 10000
        other = self.welcomed()
        other.tell(SUB, 1, "f/+", {"max_msgs": 2 * count, "retained": 2})
        other.answer(SUBACK)
        flood = welcomed(self.broker.unix)  # its buffers hold all of it at once
        self.addCleanup(flood.close)
        with self.broker.stopped():
            flood.send((frame(MSG, "f/a", None, b"x") + frame(MSG, "f/b", None, b"x")) * (count // 2))
            other.tell(STAT, 1)
        seen = other.answer(STAT)
        self.assertLess(seen[2], count, "all of the flood was worked on before anybody else was served")
        flood.ping()
        other.tell(STAT, 1)
        self.assertEqual(other.answer(STAT)[2], count)

    # Hostile 5, 24.
    def test_claims_of_huge_lengths(self):
        for claim, code in (("ddffffffff", LIMIT), ("dd10000000", LIMIT), ("dfffffffff", MALFORMED),
                            ("dbffffffff", MALFORMED), ("c6ffffffff", MALFORMED), ("c9ffffffffff", MALFORMED),
                            ("dcffff" * 24000, LIMIT), ("91" * 33, MALFORMED), ("91" * 100000, MALFORMED),
                            ("dd00100000" + "c0" * (1 << 20), LIMIT), ("c1", MALFORMED)):
            self.assert_refused(bytes.fromhex(claim), code)
        for claim in "dbffffffff", "db00010000":  # as a topic
            self.assert_refused(bytes.fromhex("9402" + claim), LIMIT)
        for claim in "ddffffffff", "dfffffffff", "c9ffffffff00":  # as props, as a field's value
            self.assert_refused(bytes.fromhex("9402a161" + claim), LIMIT)
        self.assert_refused(bytes.fromhex("9402a161c0c6ffffffff"), LIMIT)
        self.assert_refused(bytes.fromhex("9402a16181a16b") + b"\x91" * 100, LIMIT)

    def test_a_message_over_the_limit_is_skipped_and_told(self):
        peer = self.welcomed()
        largest = peer.welcome["max_payload"]
        peer.tell(PUB, 1, ROUTED)
        peer.tell(MSG, "big", None, bytes(largest + 1))
        peer.tell(MSG, "big", None, b"small")
        frames = peer.ping()
        self.assertEqual([f[:3] for f in frames], [[PUBACK, 1, TOO_LARGE], [PUBACK, 2, 1]])
        self.assert_refused(bytes.fromhex("9402a3626967c0c6") + (4 * largest + 1).to_bytes(4, "big"), LIMIT)

    # Hostile 22, 26.
    def test_fields_that_are_missing_or_of_a_wrong_type(self):
        ext = raw.msgpack.ExtType(1, b"x")
        for fields in ([2], [2, "a"], [2, "a", None], [2, 5, None, b""], [2, b"a", None, b""], [2, ext, None, b""],
                       [2, "a", "props", b""], [2, "a", [], b""], [2, "a", None, "text"], [2, "a", None, None],
                       [2, "a", None, {}], [3], [3, 1], [3, "1", 2], [3, 1, "2"], [3, None, 2], [3, 1, [2]],
                       [5], [5, 1, 64], [5, "1", 64, 1], [5, 1, 64, 1, 4], [5, 1, 64, 1, 2, "x"], [6], [6, 1],
                       [6, 1, "x"], [6, 1, 1, 1], [9], [9, 1, "a"], [9, "1", "a", {}], [9, 1, 5, {}], [9, 1, ext, {}],
                       [9, 1, "a", None], [9, 1, "a", []], [11], [11, "1"], [11, None], [13], [13, "text"], [13, bytes(65)],
                       [14], [15], [15, "1"], [18], [18, "text"], [21], [21, "0"], [21, 0, 5], [21, 0, None, []],
                       ["MSG"], [None], [128], [-1], [1.0], [True], []):
            self.assert_refused(frame(*fields), MALFORMED)

    # Hostile 23.
    def test_numbers_out_of_range(self):
        for number in -1, 1.5, 2**63, 2**64 - 1, 2**53:
            self.assert_refused(frame(PUB, number, ROUTED), MALFORMED)
            self.assert_refused(frame(UNSUB, number), MALFORMED)
            self.assert_refused(frame(STAT, number), MALFORMED)
            self.assert_refused(frame(CREDIT, 1, number), MALFORMED)
            self.assert_refused(frame(ACK, 1, 64, number), MALFORMED)
            self.assert_refused(frame(SUB, number, "a", {}), MALFORMED)
        for sid in 0, 2**31, 2**32 - 1:
            self.assert_kept(frame(SUB, sid, "a", {}), (SUBACK, sid, BAD_OPTION))
        self.assert_kept(frame(SUB, 2**31 - 1, "a", {"retained": 2}), (SUBACK, 2**31 - 1, 0))

    def test_unknown_operations(self):
        for op in 0, 16, 17, 23, 31, 32, 63:
            self.assert_refused(frame(op, "x"), UNKNOWN_OP)
        for op in 64, 95, 96, 127:
            self.assert_kept(frame(op, {"x": [1, b"y"]}, -1))

    # Hostile 22.
    def test_more_fields_than_are_known(self):
        self.assert_kept(frame(SUB, 1, "more", {"retained": 2, "color": {"r": 1}, 7: "x"}, "extra", None), (SUBACK, 1, 0))
        self.assert_kept(frame(UNSUB, 1, [1, 2]), (MARK, 1, 4, {"sent": 0, "lost": 0}))
        self.assert_kept(frame(MSG, "more", None, b"x", "extra", {}))
        self.assert_kept(frame(PUB, 0, 0, "extra"))
        self.assert_kept(frame(PUB, 1, ROUTED | 1 << 31) + frame(MSG, "more", None, b"x"), (PUBACK, 1, 1))

    # Hostile 25.
    def test_keys_given_twice(self):
        twice = b"\x82\xa3key\x01\xa3key\x02"
        overlong_twice = b"\x82\xa3key\x01\xd9\x03key\x02"
        for pairs in twice, overlong_twice, b"\x82\x01\xa1a\xcc\x01\xa1b":
            self.assert_refused(b"\x94\x09\x01\xa1a" + pairs, MALFORMED)
            self.assert_kept(b"\x94\x02\xa1a" + pairs + b"\xc4\x00", (ERR, BAD_PROPS))

    # Hostile 24.
    def test_topics_that_are_none(self):
        bad = ["", "a\0b", "x" * 256, "/".join("a" * 33), "a/+", "#", "a/#/b"]
        for topic in bad:
            self.assert_kept(frame(MSG, topic, None, b""), (ERR, BAD_TOPIC))
            self.assert_kept(frame(PUB, 1, ROUTED) + frame(MSG, topic, None, b""), (PUBACK, 1, BAD_TOPIC))
        for pattern in "", "a\0b", "x" * 256, "/".join("a" * 33), "a+b", "a/b+", "#/a", "a#":
            self.assert_kept(frame(SUB, 1, pattern, {}), (SUBACK, 1, BAD_TOPIC))
        self.assert_kept(b"\x94\x02\xa2\xc3\x28\xc0\xc4\x00", (ERR, BAD_TOPIC))
        self.assert_kept(b"\x94\x09\x01\xa2\xc3\x28\x80", (SUBACK, 1, BAD_TOPIC))
        self.assert_refused(frame(MSG, "x" * 65536, None, b""), LIMIT)
        self.assert_refused(frame(SUB, 1, "x" * 65536, {}), LIMIT)
        self.assert_kept(frame(MSG, "x" * 255, None, b""))
        self.assert_kept(frame(MSG, "/".join("a" * 32), None, b""))

    def test_reserved_topics(self):
        for topic in "$SYS/broker", "$inbox", "$dead/a", "$other/x", "$":
            self.assert_kept(frame(MSG, topic, None, b""), (ERR, NOT_AUTHORISED))
            self.assert_kept(frame(PUB, 1, ROUTED) + frame(MSG, topic, None, b""), (PUBACK, 1, NOT_AUTHORISED))
        for pattern in "$inbox/stranger/#", "$inbox/#", "$inbox/+/1":
            self.assert_kept(frame(SUB, 1, pattern, {}), (SUBACK, 1, NOT_AUTHORISED))

    def test_props_of_the_wrong_shape(self):
        for props in ({1: 5}, {3: 1}, {4: -1}, {4: "x"}, {5: b"short"}, {"h": {"deep": 1}}, {"h": [[1]]}, {1.5: 1}, {None: 1}):
            self.assert_kept(frame(MSG, "a", props, b""), (ERR, BAD_PROPS))

    # Hostile 27.
    def test_overlong_encodings_mean_the_same(self):
        self.assert_kept(bytes.fromhex("dc0002 cd000d c50001 78"), (PONG, b"x"))
        self.assert_kept(bytes.fromhex("dd00000004 cf0000000000000009 ce00000007 db00000001 61"
                                       "df00000001 d908 72657461696e6564 d3 0000000000000002"), (SUBACK, 7, 0, {}))
        peer = self.welcomed()
        peer.tell(SUB, 1, "long", {})
        peer.send(bytes.fromhex("dc0004 cc02 da0004 6c6f6e67 c0 c600000001 78"))
        self.assertEqual(peer.answer(MSG), [MSG, "long", None, b"x"])

    # Hostile 28.
    def test_frames_that_only_the_broker_may_send(self):
        for fields in ([FOR, 1], [GAP, 1, 5, 1], [PUBACK, 1, 0, 1, 0], [SUBACK, 1, 0, {}], [MARK, 1, 1], [WELCOME, 1, {}],
                       [ERR, 210, "x"], [INFO, {}]):
            self.assert_refused(frame(*fields), STATE)

    # Hostile 32.
    def test_terms_of_delivery_at_any_moment(self):
        peer = self.welcomed()
        peer.tell(SUB, 1, "terms", {})
        peer.answer(SUBACK)
        peer.tell(FOR, 1)
        self.assert_bye(peer, STATE)
        peer = self.connect()
        peer.send(hello() + frame(PUB, 1, ROUTED) + frame(FOR, 1))
        self.assert_bye(peer, STATE)

    # Hostile 29.
    def test_acknowledging_what_was_never_sent(self):
        self.assert_kept(frame(ACK, 1, 64, 300), (ERR, BAD_OPTION))
        self.assert_kept(frame(ACK, 1, 64, 300) * 2, *[(ERR, BAD_OPTION)] * 2)
        self.assert_kept(frame(CREDIT, 1, 10), (ERR, BAD_OPTION))
        self.assert_kept(frame(AUTH, b"token"), (ERR, AUTH_REFRESH))
        self.assert_kept(frame(STAT, 5), (ERR, BAD_OPTION))

    def test_options_that_are_not_served(self):
        for options in ({"policy": "nonsense"}, {"policy": 5}, {"ack": "all"}, {"ack": 1}, {"ack_ms": 0}, {"ack_ms": -1},
                        {"max_tries": 0}, {"inflight": 0}, {"inflight": "1"}, {"durable": 1}, {"from": "old"},
                        {"from": ["last"]}, {"from": ["seq", 64]}, {"from": ["seq", 64, 2**53]}, {"then": "latest"}, {"then": "block"}, {"then": "spill"}, {"block_ms": 0},
                        {"block_ms": -1}, {"credit": -1}, {"credit": "1"}, {"max_msgs": 0}, {"max_msgs": -1},
                        {"max_msgs": "1"}, {"max_bytes": 0}, {"retained": 3}, {"group": 5}, {"group": ""},
                        {"group": "a/b"}, {"group": "x" * 65}, {"group": "g", "policy": "close"},
                        {"group": "g", "no_local": True}, {"no_local": 1}, {"filter": 5}):
            self.assert_kept(frame(SUB, 1, "a", options), (SUBACK, 1, BAD_OPTION))
        for text in "a >", "", "(" * 500, "a == 1 " * 200, "\"unended":
            self.assert_kept(frame(SUB, 1, "a", {"filter": text}), (SUBACK, 1, BAD_FILTER))
        for options in ({"from": "all"}, {"from": ["last", 5]}, {"from": ["ago", 1000]}, {"from": "last_per_topic"},
                        {"from": "acked"}, {"ack": "upto"}, {"ack": "each"}):
            self.assert_kept(frame(SUB, 1, "a", options), (SUBACK, 1, NO_HISTORY))
        self.assert_kept(frame(SUB, 1, "a", {"from": "new", "retained": 2}), (SUBACK, 1, 0))

    def test_levels_that_are_not_served(self):
        messages = frame(MSG, "a", None, b"") * 3
        for level in STORED, REPLICATED:
            self.assert_kept(frame(PUB, 1, level) + messages, *[(PUBACK, pid, ACK_LEVEL) for pid in (1, 2, 3)])

    def test_a_message_that_must_reach_somebody(self):
        self.assert_kept(frame(PUB, 1, ROUTED | MUST_ROUTE) + frame(MSG, "nobody/here", None, b""), (PUBACK, 1, NOBODY))
        self.assert_kept(frame(PUB, 0, MUST_ROUTE) + frame(MSG, "nobody/here", None, b""), (ERR, NOBODY))

    # Hostile 31.
    def test_publish_ids_in_disorder(self):
        message = frame(MSG, "a", None, b"")
        for terms in (frame(PUB, 0, ROUTED), frame(PUB, 1, 0), frame(PUB, 1, RETAIN),
                      frame(PUB, 5, ROUTED) + frame(PUB, 7, ROUTED),
                      frame(PUB, 5, ROUTED) + message + frame(PUB, 5, ROUTED),
                      frame(PUB, 5, ROUTED) + message + frame(PUB, 7, ROUTED),
                      frame(PUB, 5, ROUTED) + message + frame(PUB, 1, ROUTED)):
            self.assert_refused(terms, PID_ORDER)

    # Hostile 31.
    def test_publish_ids_that_run_out(self):
        """In the middle of a run, of which the publisher itself takes some messages: what it ends with is its own."""
        message = frame(MSG, "last/ids", None, b"\x01") + frame(MSG, "last/ids", None, b"\x02")
        for pattern in "last/ids", "last/+":
            for options in {}, {"filter": ". > 1"}, {"policy": "block", "max_msgs": 1}, {"no_local": True}:
                for flags in ROUTED, ROUTED | MUST_ROUTE, ROUTED | RETAIN:
                    terms = frame(SUB, 1, pattern, options) + frame(PUB, (1 << 53) - 2, flags)
                    self.assert_refused(terms + 4 * message, PID_ORDER)
        cleaner = self.welcomed()
        cleaner.tell(PUB, 0, RETAIN)
        cleaner.tell(MSG, "last/ids", None, b"")
        cleaner.ping()

    # Hostile 32.
    def test_terms_of_publishing_at_any_moment(self):
        rng = random.Random(7)
        peer = self.welcomed()
        pid, last, data = 1, 0, []
        for _ in range(2000):
            if rng.random() < 0.5:
                data.append(frame(PUB, pid, ROUTED | rng.choice((0, RETAIN, raw.EACH))))
                last = pid
            else:
                data.append(frame(PUB, 0, rng.choice((0, RETAIN))))
                last = 0
            for _ in range(rng.randrange(3)):
                data.append(frame(MSG, f"any/{rng.randrange(5)}", None, b"v"))
                pid += last > 0
        data += [frame(PUB, 0, RETAIN)] + [frame(MSG, f"any/{n}", None, b"") for n in range(5)]
        peer.send(b"".join(data))
        settled = [f for f in peer.ping() if f[0] == PUBACK]
        self.assertEqual([f[2] for f in settled if f[2] != 1], [], "nobody subscribed, all else is well")
        self.assertEqual(settled[-1][1], pid - 1)
        self.assertEqual([f[1] for f in settled], sorted({f[1] for f in settled}))

    # Hostile 30.
    def test_65535_publishes_whose_answers_are_not_read(self):
        count = 65535
        peer = self.welcomed()
        peer.tell(PUB, 1, ROUTED)
        peer.sock.settimeout(raw.ANSWER_S)
        peer.sock.sendall(frame(MSG, "unread", None, b"x" * 16) * count)
        frames = peer.ping()
        self.assertEqual({f[0] for f in frames}, {PUBACK})
        self.assertEqual(frames[-1][1], count)
        self.assertLess(self.broker.resident_bytes(), self.memory_bytes + MEMORY_SLACK_BYTES)

    def test_a_flood_whose_answers_are_not_read_then_a_reset(self):
        pings = {"many": frame(PING, b"") * 65536, "long": frame(PING, b"x" * 60) * 60}
        for name, url in (("unix", self.broker.unix), ("tcp", self.broker.tcp)):
            for size, flood in pings.items():
                with self.subTest(socket=name, pings=size):
                    peer = raw.Peer(url)
                    peer.send(hello(ka=1))
                    peer.sock.setblocking(False)
                    rest = flood
                    while select.select([], [peer.sock], [], 0.5)[1]:  # until the broker takes no more from it
                        rest = rest[peer.sock.send(rest):] or flood
                    peer.reset() if name == "tcp" else peer.close()
                    self.assertTrue(raw.eventually(lambda: self.broker.descriptors() == self.descriptors))

    def test_sids_and_patterns_that_are_many(self):
        """All of it at once: subscribing, a message for each, ending them oldest first while they wait."""
        count = 20000
        with self.welcomed() as peer:
            peer.send(b"".join(frame(SUB, sid, "many/+", {"retained": 2}) for sid in range(1, count + 1)))
            peer.ping()
            before = self.broker.cpu_s()
            peer.send(frame(MSG, "many/1", None, b"x") + b"".join(frame(UNSUB, sid) for sid in range(1, count + 1)))
            peer.ping()
            self.assertLess(self.broker.cpu_s() - before, 2 * SLOWNESS)

    # Hostile 38.
    def test_patterns_that_cost_the_most(self):
        """Every pattern of a and + over 12 levels, and topics that go through all of them: others are served in between."""
        levels = 12
        patterns = ["/".join("+" if bits >> i & 1 else "a" for i in range(levels)) + "/z" for bits in range(1 << levels)]
        with self.welcomed() as peer, self.welcomed() as other:
            peer.send(b"".join(frame(SUB, sid, pattern, {"retained": 2}) for sid, pattern in enumerate(patterns, 1)))
            peer.ping()
            other.tell(SUB, 1, "a/#", {"retained": 2, "max_msgs": 100000})
            other.answer(SUBACK)
            count = 500
            with self.broker.stopped():
                peer.send(b"".join(frame(MSG, "/".join(["a"] * levels + [str(i)]), None, b"") for i in range(count)))
                other.tell(STAT, 1)
            seen = other.answer(STAT)
            self.assertLess(seen[2], count, "all topics were looked up before anybody else was served")

    def test_noise(self):
        rng = random.Random(3)
        for _ in range(300):
            with self.connect() as peer:
                peer.send((hello() if rng.random() < 0.7 else b"") + rng.randbytes(rng.randrange(1, 2000)))
                peer.finish()
                peer.rest()


if __name__ == "__main__":
    unittest.main(verbosity=2)
