"""What the tests of hostile peers share. After each test the broker must be as it was before: its memory back, and two
bystanders' messages complete and in order all the while."""
import contextlib
import os
import resource
import threading
import time
import unittest

import brokers
import raw
from bystanders import Bystanders
from raw import (ACK, AUTH, BYE, CREDIT, HELLO, MSG, PING, PONG, PUB, STAT, SUB, UNSUB, ROUTED, RETAIN, frame,
                 welcomed)

SANITIZED = os.environ.get("PUBSUB_SANITIZED") == "1"
SLOWNESS = 5 if SANITIZED else 1          # how much more CPU time the broker may need
MEMORY_SLACK_BYTES = (96 if SANITIZED else 6) << 20
HANDSHAKE_S = 5
PROMPT_S = 5 * SLOWNESS                   # a broker that works longer than this before it answers somebody hangs

MALFORMED, VERSION, UNKNOWN_OP, LIMIT, STATE, PID_ORDER = 101, 102, 103, 104, 105, 106
AUTH_FAILED, HANDSHAKE_TIMEOUT, TOO_MANY, BAD_CLIENT_ID = 108, 111, 115, 117
BAD_TOPIC, NOT_AUTHORISED, AUTH_REFRESH, TOO_LARGE, NO_HISTORY = 210, 211, 212, 213, 215
ACK_LEVEL, NOBODY, BAD_PROPS, BAD_OPTION, BAD_FILTER = 216, 217, 218, 219, 220

# One valid frame of every operation that a client may send after HELLO.
VALID_FRAMES = {
    "MSG": frame(MSG, "cut/here", {1: "$inbox/x/1", 4: 1000, "app": [1, "two"]}, b"payload"),
    "PUB": frame(PUB, 1, ROUTED | RETAIN),
    "ACK": frame(ACK, 1, 64, 300, 2, 1000),
    "CREDIT": frame(CREDIT, 1, 70000, True),
    "SUB": frame(SUB, 7, "cut/+/#", {"policy": "drop_old", "max_msgs": 10, "max_bytes": 100000, "retained": 2}),
    "UNSUB": frame(UNSUB, 7),
    "PING": frame(PING, b"token"),
    "PONG": frame(PONG, b"token"),
    "STAT": frame(STAT, 7),
    "AUTH": frame(AUTH, b"token"),
    "BYE": frame(BYE, 0, "so long", {}),
}


def setUpModule():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class HostileTest(unittest.TestCase):
    """One broker for all tests of a class, so that what one leaves behind is seen by the next."""
    ALONE = True                              # no test subscribes to what the bystanders publish
    MEMORY_SLACK_BYTES = MEMORY_SLACK_BYTES   # so much may be left after a test

    @classmethod
    def setUpClass(cls):
        cls.broker = cls.start_broker()
        cls.addClassCleanup(cls.broker.stop)
        cls.bystanders = Bystanders(cls.broker.unix)
        cls.bystanders.alone = cls.ALONE
        cls.addClassCleanup(cls.bystanders.stop)
        cls.bystanders.check(2000)  # until the broker's memory is what work makes it
        cls.memory_bytes = cls.broker.resident_bytes()
        cls.descriptors = cls.broker.descriptors()

    @classmethod
    def start_broker(cls):
        return brokers.Broker()

    def setUp(self):
        self.addCleanup(self.check_broker)  # the last of the cleanups: all of the test's connections are closed

    def check_broker(self):
        self.bystanders.check()
        self.assertTrue(raw.eventually(lambda: self.broker.descriptors() <= self.descriptors),
                        f"the broker had {self.descriptors} descriptors open and has {self.broker.descriptors()}")
        limit = self.memory_bytes + self.MEMORY_SLACK_BYTES
        self.assertTrue(raw.eventually(lambda: self.broker.resident_bytes() <= limit),
                        f"the broker's memory was {self.memory_bytes >> 10} KiB, "
                        f"is {self.broker.resident_bytes() >> 10} KiB")

    @contextlib.contextmanager
    def others_served(self):
        """Meanwhile somebody asks again and again, and gets each answer soon. Prints what the longest took. What the broker
        does not spend working is the machine's: for that it has the time that any answer has."""
        done, took_s, worked_s, errors = threading.Event(), [], [], []
        peer = self.welcomed()

        def ask():
            try:
                while not took_s or not done.wait(0.001):
                    before_s, began = self.broker.cpu_s(), time.monotonic()
                    peer.ping()
                    took_s.append(time.monotonic() - began)
                    worked_s.append(min(took_s[-1], self.broker.cpu_s() - before_s))
            except Exception as error:  # whatever it was: the test fails with it
                errors.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        self.assertTrue(raw.eventually(lambda: took_s or errors))
        try:
            yield
        finally:
            done.set()
            thread.join(raw.ANSWER_S + 1)
            peer.close()
        self.assertEqual(errors, [])
        print(f"{self.id().rpartition('.')[2]}: the longest wait of somebody else was {max(took_s) * 1000:.0f} ms, "
              f"the longest work {max(worked_s) * 1000:.0f} ms")
        self.assertLess(max(worked_s), PROMPT_S, "somebody else was not answered meanwhile")

    def connect(self):
        peer = raw.Peer(self.broker.tcp)
        self.addCleanup(peer.close)
        return peer

    def welcomed(self, **options):
        peer = welcomed(self.broker.tcp, **options)
        self.addCleanup(peer.close)
        return peer

    def assert_bye(self, peer, code, text=""):
        """The last that comes is BYE with this code, one sentence, and the end. Returns what came before."""
        frames = peer.rest()
        self.assertTrue(frames, "the connection ended without a word")
        self.assertEqual((frames[-1][0], frames[-1][1]), (BYE, code), f"came: {frames}")
        self.assertIn(text, frames[-1][2])
        self.assertEqual(len(frames[-1][2].splitlines()), 1, "one sentence")
        peer.close()
        return frames[:-1]

    def assert_first_bytes_refused(self, data, code, text=""):
        with self.subTest(first=data[:16].hex(" "), length=len(data)):
            peer = self.connect()
            peer.send(data)
            self.assertEqual(self.assert_bye(peer, code, text), [])

    def assert_refused(self, data, code, text=""):
        """After a welcome, data is answered with BYE and the end."""
        with self.subTest(bytes=data[:40].hex(" "), length=len(data)):
            peer = self.welcomed()
            peer.send(data)
            self.assert_bye(peer, code, text)

    def assert_kept(self, data, *answers):
        """After a welcome, data is answered with frames that begin like these, and the connection stays."""
        with self.subTest(bytes=data[:40].hex(" "), length=len(data)):
            peer = self.welcomed()
            peer.send(data)
            came = peer.ping()
            self.assertEqual([got[:len(answer)] for got, answer in zip(came, answers)], [list(a) for a in answers])
            self.assertEqual(len(came), len(answers), f"came: {came}")
            self.assertEqual(peer.goodbye()[-1][:2], [BYE, 0])
