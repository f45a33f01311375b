"""Hostile in the mirror: what a hostile or unlucky *broker* does to the client, with frames and with what is none. The
client here is `pubsub sub`: it ends with one sentence that says what is wrong, and takes no memory for claims."""
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

import raw
from programs import PATIENCE_S, PUBSUB, SANITIZED
from raw import (ACK, AUTH, BYE, CREDIT, ERR, FOR, GAP, HELLO, INFO, MARK, MSG, PING, PONG, PUB, PUBACK, STAT, SUB, SUBACK, UNSUB,
                 WELCOME, frame)

MEMORY_BYTES = 64 << 20       # the most that a client has resident whatever it is sent; it begins with 3 MiB
PROTOCOL, GREETED = 1, 3      # exit codes: the broker broke the protocol; before the connection was up
LOST = 7                      # exit code: the connection was lost and not resumed
MALFORMED, UNKNOWN_OP, LIMIT, STATE = 101, 103, 104, 105
GREETING = frame(WELCOME, 1, {"id": "given", "ka": 60, "max_payload": 1 << 20, "pub_window": 100})
TERMS = frame(FOR, 1)
HELLO_MSG = TERMS + frame(MSG, "t", None, b"hello")

# One valid frame of every operation that a broker may send after WELCOME.
VALID_FRAMES = {
    "FOR": frame(FOR, 1, 2, 64, 100, 1700000000000, 3),
    "MSG": frame(MSG, "cut/here", {1: "$inbox/x/1", 4: 1000, "app": [1, "two"]}, b"payload"),
    "GAP": frame(GAP, 1, 318, 1, 64, 10, 14),
    "MARK": frame(MARK, 1, 1),
    "PING": frame(PING, b"token"),
    "PONG": frame(PONG, b"token"),
    "STAT": frame(STAT, 1, 10, 5, 2, 3, 300),
    "ERR": frame(ERR, 211, "may not", PUB, "$SYS/x"),
    "BYE": frame(BYE, 113, "the broker is shutting down", {"after": 1}),
    "INFO": frame(INFO, {"lame_duck": True, "other": ["tcp://h:1"]}),
}


class Client:
    """`pubsub sub`, on a connection of which the other end is `peer`."""

    def __init__(self, *arguments, family=socket.AF_UNIX):
        self.dir = tempfile.mkdtemp(prefix="pubsub-test-")
        self.err_path, self.out_path = os.path.join(self.dir, "err"), os.path.join(self.dir, "out")
        ours, its = socket.socketpair() if family == socket.AF_UNIX else self.tcp_pair()
        with its, open(self.err_path, "wb") as err, open(self.out_path, "wb") as out:
            self.process = subprocess.Popen([PUBSUB, "sub", "-s", f"fd:{its.fileno()}", *arguments, "t"], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=err, pass_fds=(its.fileno(),))
        self.peer = raw.Peer(sock=ours)

    @staticmethod
    def tcp_pair():
        with socket.create_server(("127.0.0.1", 0)) as server:
            its = socket.create_connection(server.getsockname())
            return server.accept()[0], its

    def greet(self):
        """It is welcomed, and its subscription granted."""
        assert self.peer.next()[0] == HELLO
        self.peer.send(GREETING)
        sid = self.peer.answer(SUB)[1]
        self.peer.tell(SUBACK, sid, 0, {})

    def end(self):
        """Its exit code, and what was on stdout and stderr; peak is its memory, in bytes."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid != 0:
                break
            if time.monotonic() > deadline:
                raise AssertionError("the client goes on")
            time.sleep(0.002)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.peak = usage.ru_maxrss << 10
        with open(self.err_path, errors="replace") as err, open(self.out_path, "rb") as out:
            return self.process.returncode, out.read(), err.read()

    def close(self):
        self.peer.close()
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        shutil.rmtree(self.dir, ignore_errors=True)


class HostileBroker(unittest.TestCase):
    def client(self, *arguments, **options):
        client = Client(*arguments, **options)
        self.addCleanup(client.close)
        return client

    def assert_ended(self, client, code, text, stdout=b""):
        got, out, err = client.end()
        self.assertEqual((got, out), (code, stdout), err)
        self.assertRegex(err, r"\Apubsub: [^\n]+\n\Z", "one sentence")
        self.assertIn(text, err)
        self.assertIsNone(re.search(r"[\x00-\x09\x0b-\x1f\x7f]", err), "a control character reaches the terminal")
        if not SANITIZED:
            self.assertLess(client.peak, MEMORY_BYTES)

    def assert_breaks(self, data, code=None, welcomed=True, text="the broker broke the protocol"):
        """The client ends with that sentence, and tells the broker the code."""
        with self.subTest(bytes=data[:40].hex(" "), length=len(data), welcomed=welcomed):
            client = self.client()
            if welcomed:
                client.greet()
            else:
                client.peer.next()
            client.peer.send(data)
            said = client.peer.rest()
            self.assert_ended(client, PROTOCOL if welcomed else GREETED, text)
            self.assertEqual(said[-1][0], BYE, said)
            if code is not None:
                self.assertEqual(said[-1][1], code, said)
            client.close()

    def assert_taken(self, data, stdout=b"hello"):
        """The client takes it, and the message that comes then."""
        with self.subTest(bytes=data[:40].hex(" "), length=len(data)):
            client = self.client("-n", "1", "-o", "raw")
            client.greet()
            client.peer.send(data + HELLO_MSG)
            code, out, err = client.end()
            self.assertEqual((code, out), (0, stdout), err)
            client.close()

    def test_claims_of_huge_lengths(self):
        for claim in "ddffffffff", "dd10000000", "dfffffffff", "dbffffffff", "c6ffffffff", "c9ffffffffff":
            self.assert_breaks(bytes.fromhex(claim), welcomed=False)
            self.assert_breaks(bytes.fromhex(claim))
        for claim in "dbffffffff", "db00010000":  # as a topic
            self.assert_breaks(TERMS + bytes.fromhex("9402" + claim), LIMIT)
        for claim in "ddffffffff", "dfffffffff", "c9ffffffff00":  # as props
            self.assert_breaks(TERMS + bytes.fromhex("9402a161" + claim), LIMIT)
        self.assert_breaks(TERMS + bytes.fromhex("9402a161c0c6ffffffff"), LIMIT)  # as a payload

    def test_a_huge_ext_and_more_in_a_second_write(self):
        client = self.client()
        client.greet()
        client.peer.send(bytes.fromhex("c9ffffffffff"))
        client.peer.send(bytes(100))
        self.assert_ended(client, PROTOCOL, "the broker broke the protocol")

    def test_the_byte_that_is_not_msgpack(self):
        self.assert_breaks(b"\xc1", MALFORMED, welcomed=False)
        self.assert_breaks(b"\xc1", MALFORMED)
        self.assert_breaks(bytes.fromhex("9402c1"), MALFORMED)

    def test_nested_arrays(self):
        for depth in 33, 512, 100000:
            self.assert_breaks(b"\x91" * depth, MALFORMED)
            self.assert_breaks(bytes.fromhex("920d") + b"\x91" * depth)
        self.assert_breaks(bytes.fromhex("dcffff") * 24000, LIMIT)

    def test_a_mebibyte_of_nils(self):
        self.assert_breaks(bytes.fromhex("dd00100000") + b"\xc0" * (1 << 20), LIMIT)

    def test_frames_cut_then_the_end(self):
        for name, data in VALID_FRAMES.items():
            for cut in sorted({1, len(data) // 2, len(data) - 1}):
                with self.subTest(name, cut=cut):
                    client = self.client()
                    client.greet()
                    client.peer.send(data[:cut])
                    client.peer.finish()
                    self.assert_ended(client, LOST, "")
                    client.close()

    def test_frames_cut_then_a_reset(self):
        for name, data in VALID_FRAMES.items():
            with self.subTest(name):
                client = self.client(family=socket.AF_INET)
                client.greet()
                client.peer.send(data[:len(data) // 2])
                client.peer.reset()
                self.assert_ended(client, LOST, "")

    def test_one_byte_per_write(self):
        data = b"".join(frame for name, frame in VALID_FRAMES.items() if name not in ("FOR", "MSG", "BYE", "GAP", "ERR"))
        client = self.client("-n", "1", "-o", "raw")
        client.greet()
        for at in range(len(data)):
            client.peer.send(data[at:at + 1])
        for byte in HELLO_MSG:
            client.peer.send(bytes([byte]))
        self.assertEqual(client.end()[:2], (0, b"hello"))

    def test_a_large_frame_in_small_pieces_costs_linear_time(self):
        client = self.client("-n", "1", "-o", "raw")
        client.greet()
        payload = random.Random(1).randbytes(1 << 20)
        data = TERMS + frame(MSG, "t", None, payload)
        for at in range(0, len(data), 64):
            client.peer.send(data[at:at + 64])
        code, out, err = client.end()
        self.assertEqual((code, out == payload), (0, True), err)

    def test_10000_frames_in_one_write(self):
        client = self.client("-n", "10000", "-o", "raw")
        client.greet()
        client.peer.send(TERMS + frame(MSG, "t", None, b"x") * 10000)
        self.assertEqual(client.end(), (0, b"x" * 10000, ""))

    def test_pings_whose_answers_are_not_read(self):
        """The client stops reading before the answers take its memory."""
        client = self.client()
        client.greet()
        data, sent = frame(PING, bytes(60)) * 1000, 0
        client.peer.sock.setblocking(False)
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 1:
            self.assertLess(sent, 200 << 20, "the client reads on for ever")
            try:
                sent += client.peer.sock.send(data[sent % len(data):])
                quiet_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        client.peer.sock.setblocking(True)
        client.peer.reset()
        self.assert_ended(client, LOST, "")

    def test_fields_that_are_missing_or_of_a_wrong_type(self):
        for fields in ([2], [2, "a"], [2, "a", None], [2, 5, None, b""], [2, "a", "props", b""], [2, "a", None, "text"], [2, "a", None, {}],
                       [4], [4, "1"], [4, None], [7], [7, 1], [7, 1, 1], [7, "1", 1, 1], [8], [8, 1], [8, 1, "x"], [10], [10, 1], [10, 1, 0], [10, "1", 0, {}],
                       [12], [12, 1], [12, "1", 1], [13], [13, "text"], [13, bytes(65)], [14], [15], [15, 1], [15, 1, 1, 1, 1, "1", 1], [20], [20, 211], [20, "x", "y"], [21], [21, "0"],
                       [22], [22, 5], ["MSG"], [None], [128], [-1], [1.0], [True], []):
            self.assert_breaks(frame(*fields), MALFORMED)

    def test_a_welcome_of_a_wrong_shape(self):
        for fields in ([19], [19, 1], [19, "1", {}], [19, 1, []], [19, 1, {"id": 5}], [19, 1, {"pub_window": "x"}], [19, 1, {"epoch": -1}]):
            self.assert_breaks(frame(*fields), welcomed=False)
        self.assert_breaks(frame(WELCOME, 9, {}), welcomed=False)          # a version that was not asked for
        self.assert_breaks(frame(PING, b"x"), welcomed=False)              # something else first
        self.assert_breaks(GREETING + GREETING, welcomed=False)            # twice

    def test_numbers_out_of_range(self):
        for number in -1, 1.5, 2**64 - 1:
            self.assert_breaks(frame(FOR, number), MALFORMED)
            self.assert_breaks(frame(PUBACK, number, 0), MALFORMED)
            self.assert_breaks(frame(MARK, number, 1), MALFORMED)
            self.assert_breaks(frame(GAP, 1, number, 1), MALFORMED)

    def test_topics_that_are_none(self):
        for topic in b"", b"a\0b", b"\xc3\x28", b"\xed\xa0\x80", b"x" * 256, b"/".join([b"a"] * 33), b"a/+", b"#":
            data = bytes([0x94, MSG, 0xda]) + len(topic).to_bytes(2, "big") + topic + b"\xc0\xc4\x00"
            self.assert_breaks(TERMS + data)

    def test_keys_given_twice(self):
        self.assert_breaks(TERMS + bytes.fromhex("9402a16182010101020c400"[:-1]))

    def test_overlong_encodings_mean_the_same(self):
        self.assert_taken(bytes.fromhex("dc0002" "cd000d" "c5000178"))
        data = bytes.fromhex("dd00000002" "cc04" "cf0000000000000001" "dd00000004" "cd0002" "db0000000174" "c0" "c600000002") + b"ok"
        self.assert_taken(data, b"ok")

    def test_what_is_not_known(self):
        self.assert_taken(frame(70, {1: 2}) + frame(127, b"x"))                      # operations that may be passed over
        self.assert_taken(frame(MARK, 1, 77) + frame(INFO, {"new": [1, 2]}) + frame(PING, b"x", "more"))
        self.assert_breaks(frame(30, 1), UNKNOWN_OP)

    def test_frames_that_only_a_client_may_send(self):
        for fields in ([HELLO, "mps", 1, {}], [PUB, 1, 2], [ACK, 1, 64, 1], [CREDIT, 1, 1], [SUB, 1, "a", {}], [UNSUB, 1], [AUTH, b"x"]):
            self.assert_breaks(frame(*fields), STATE)

    def test_answers_that_nobody_asked_for(self):
        self.assert_breaks(frame(PUBACK, 1, 0))
        self.assert_taken(frame(FOR, 77) + frame(MSG, "t", None, b"not ours") + frame(GAP, 77, 1, 1) + frame(MARK, 77, 4) + frame(STAT, 77, 1, 1, 0, 0, 0) + frame(SUBACK, 77, 0, {}))

    def test_a_message_before_its_terms(self):
        self.assert_breaks(frame(MSG, "t", None, b"x"))

    def test_what_is_shown_is_escaped(self):
        client = self.client("-n", "1")
        client.greet()
        client.peer.send(TERMS + frame(MSG, "t", None, b"\x1b[2J\x00\x07\xff"))
        code, out, err = client.end()
        self.assertEqual((code, err), (0, ""))
        self.assertIsNone(re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", out), out)
        client = self.client()
        client.greet()
        client.peer.send(frame(BYE, 113, "\x1b[2J bye\n" + "x" * 150))
        code, out, err = client.end()
        self.assertEqual((code, out), (LOST, b""), err)
        self.assertRegex(err, r"\Apubsub: [^\n\x00-\x1f]+\n\Z")

    def test_noise(self):
        dice = random.Random(7)
        for _ in range(30):
            client = self.client()
            client.greet()
            client.peer.send(dice.randbytes(dice.randrange(1, 400)))
            client.peer.finish()
            code, out, err = client.end()
            self.assertIn(code, (LOST, PROTOCOL), err)
            self.assertRegex(err, r"\Apubsub: [^\n]+\n\Z")
            client.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
