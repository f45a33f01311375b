"""Slow subscribers, and a broker that goes away: what the command line says and does."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import unittest

import brokers
from programs import (CliTest, NOT_IN_TIME, PATIENCE_S, TRIES, PUBSUB, SANITIZED, Program, Subscriber, eventually, fresh_topic,
                      run_without_broker, scaled)

AGAIN = r"(?:pubsub: cannot connect again: [^\n]+; trying on\n)"
LOST = rf"pubsub: lost connection[^\n]*\n{AGAIN}*"


class Losses(CliTest):
    """A subscriber that is too slow is told what it lost."""

    @staticmethod
    def numbers(data):
        return [int(line) for line in data.splitlines()]

    def lose(self, *options, count):
        """Stops a subscriber while `count` numbered lines are published; a second one gets all of them."""
        topic = fresh_topic()
        slow = self.subscriber("-o", "payload", *options, topic, f"{topic}/end", f"{topic}/slow", ready=f"{topic}/slow")
        # It holds up the publisher, should the machine give it no time: it loses nothing, and takes no memory of the broker's.
        holds = "--policy", "block", "--block", "1h", "--max-msgs", "10000"
        fast = self.subscriber("-o", "payload", "-n", str(count + 1), *holds, topic, f"{topic}/fast", ready=f"{topic}/fast")
        data = b"".join(b"%d\n" % i for i in range(count))
        slow.process.send_signal(signal.SIGSTOP)
        self.ok("pub", "-l", "--require", "2", topic, stdin=data)
        self.assertEqual(fast.wait(), 0)
        self.assertTrue(fast.lines() == data, "the fast one lost something")
        self.assertEqual(fast.stderr(), "")
        return topic, slow

    def check_loss(self, slow, topic, count, received):
        """The one gap line and what was received add up, and what was received is the first and the newest."""
        match = re.fullmatch(rf"pubsub: lost (\d+) messages of '{topic}' \(drop_old\)\n", slow.stderr())
        self.assertTrue(match, slow.stderr())
        self.assertEqual(int(match[1]) + len(received), count)
        missing = count - len(received)
        before = next(i for i, number in enumerate(received) if number != i)
        self.assertEqual(received, list(range(before)) + list(range(before + missing, count)))

    def test_stopped_subscriber(self):
        count = scaled(2_000_000, 200_000)
        before_bytes = self.broker.resident_bytes()
        topic, slow = self.lose("--max-bytes", "1m", count=count)
        grown = self.broker.resident_bytes() - before_bytes
        # The queue's 1 MiB, twice for small messages, and the 16 MiB that a busy turn may take besides.
        self.assertLess(grown, (96 if SANITIZED else 18) << 20)
        slow.process.send_signal(signal.SIGCONT)
        self.ok("pub", f"{topic}/end", "end")
        # In any order: they are of two subscriptions.
        self.assertTrue(eventually(lambda: all(text in slow.stdout() for text in (b"\nend\n", b"\n%d\n" % (count - 1)))))
        slow.process.send_signal(signal.SIGINT)
        self.assertEqual(slow.wait(), 128 + signal.SIGINT)
        self.check_loss(slow, topic, count, [int(line) for line in slow.lines().splitlines() if line != b"end"])

    def test_loss_in_json(self):
        count = scaled(500_000, 200_000)
        topic, slow = self.lose("-o", "json", "--max-msgs", "1000", count=count)
        slow.process.send_signal(signal.SIGCONT)
        last = b'"payload":"%d"' % (count - 1)
        self.assertTrue(eventually(lambda: slow.stdout().endswith(b"\n") and slow.stdout().count(last)))
        due, gaps = 0, 0
        for line in map(json.loads, slow.stdout().splitlines()[1:]):
            if "gap" in line:  # in its place: the next message is the one behind the loss
                self.assertEqual(line["gap"], {"count": line["gap"]["count"], "reason": "drop_old"})
                due += line["gap"]["count"]
                gaps += 1
            else:
                self.assertEqual(line["payload"], str(due))
                due += 1
        self.assertEqual(due, count)
        self.assertGreater(gaps, 0)
        self.assertEqual(slow.stderr(), "")

    def test_fail_on_gap(self):
        count = scaled(500_000, 200_000)
        topic, slow = self.lose("--fail-on-gap", "--max-msgs", "1000", count=count)
        slow.process.send_signal(signal.SIGCONT)
        self.assertEqual(slow.wait(), 8)
        self.assertRegex(slow.stderr(), rf"\Apubsub: lost \d+ messages of '{topic}' \(drop_old\)\n\Z")
        received = self.numbers(slow.lines())
        self.assertEqual(received, list(range(len(received))), "it went on after the loss")


class Reconnects(unittest.TestCase):
    """The broker goes away and comes back."""

    def setUp(self):
        self.broker = brokers.Broker()
        self.addCleanup(self.broker.stop)

    def subscriber(self, *arguments):
        subscriber = Subscriber(self.broker.unix, *arguments)
        self.addCleanup(subscriber.stop)
        return subscriber

    def test_subscriber_goes_on(self):
        subscriber = self.subscriber("-n", "2", "t")
        self.broker.kill()
        self.assertTrue(eventually(lambda: "pubsub: lost connection" in subscriber.stderr()))
        self.broker.start()
        self.assertTrue(eventually(lambda: "pubsub: connected again\n" in subscriber.stderr()))
        deadline = time.monotonic() + PATIENCE_S
        while run_without_broker("pub", "--require", "1", "t", "again", PUBSUB_URL=self.broker.unix).code != 0:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.lines(), b"again\n")
        self.assertRegex(subscriber.stderr(), rf"\A{LOST}pubsub: connected again\n\Z")

    def cause(self, text):
        return f"pubsub: cannot connect again: {text}; trying on\n"

    def test_why_it_does_not_come_again_is_said_once(self):
        """Each cause, however often it is tried; and anew after the next loss."""
        def said():
            return subscriber.stderr()[before:]
        subscriber, path = self.subscriber("-n", "2", "t"), self.broker.unix[len("unix:"):]
        before = len(subscriber.stderr())
        self.broker.kill()
        self.assertTrue(eventually(lambda: said().endswith(self.cause("Connection refused"))), said())
        os.unlink(path)
        self.assertTrue(eventually(lambda: said().endswith(self.cause("No such file or directory"))), said())
        with socket.socket(socket.AF_UNIX) as mute:  # tried several times more, by the clock of whoever tries
            mute.bind(path)
            mute.listen()
            mute.settimeout(PATIENCE_S)
            for _ in range(3):
                mute.accept()[0].close()
        os.unlink(path)
        self.broker.start()
        self.assertTrue(eventually(lambda: said().endswith("pubsub: connected again\n")), said())
        lines = said().splitlines(keepends=True)
        self.assertEqual(lines.count(self.cause("Connection refused")), 1, lines)
        self.assertEqual(lines.count(self.cause("No such file or directory")), 1, lines)
        self.assertEqual(len(lines), len(set(lines)), lines)
        before = len(subscriber.stderr())
        self.broker.kill()
        self.assertTrue(eventually(lambda: said().endswith(self.cause("Connection refused"))), said())

    def test_a_refusal_for_good_is_said(self):
        """The password is another one by the time of the reconnect."""
        passwords = os.path.join(self.broker.dir, "passwords")

        def set_password(text):
            subprocess.run([brokers.PUBSUBD, "passwd", passwords, "ann"], input=text, check=True)
        set_password(b"old\n")
        with brokers.Broker(config=f"[access]\npasswords = {passwords}\n") as broker:
            for _ in range(TRIES):  # to check a password takes a busy machine its time
                subscriber = Program([PUBSUB, "sub", "-s", broker.unix, "--user", "ann", "t"],
                                     env={**os.environ, "PUBSUB_PASSWORD": "old"})
                self.addCleanup(subscriber.stop)
                self.assertTrue(eventually(lambda: subscriber.process.poll() is not None or Subscriber.reached(broker.unix, "t")))
                if NOT_IN_TIME.decode() not in subscriber.stderr():
                    break
            self.assertIsNone(subscriber.process.poll(), subscriber.stderr())
            broker.kill()
            self.assertTrue(eventually(lambda: "lost connection" in subscriber.stderr()))
            set_password(b"new\n")
            broker.start()
            self.assertEqual(subscriber.wait(), 4)
            self.assertTrue(subscriber.stderr().endswith(
                "\npubsub: the broker closed the connection: the user or the password is wrong\n"), subscriber.stderr())

    def test_subscriber_that_shall_not_reconnect(self):
        subscriber = self.subscriber("--no-reconnect", "t")
        self.broker.kill()
        self.assertEqual(subscriber.wait(), 7)
        self.assertRegex(subscriber.stderr(), r"\Apubsub: [^\n]+\n\Z")

    def test_publisher_resends(self):
        """Lines that the broker took in and did not acknowledge before it was killed, and lines that came meanwhile."""
        count = 300
        with contextlib.ExitStack() as stack:
            publisher = stack.enter_context(subprocess.Popen(
                [PUBSUB, "pub", "-s", self.broker.unix, "-r", "-l", "-k", "--ack", "routed"], stdin=subprocess.PIPE,
                stderr=subprocess.PIPE))
            stack.callback(publisher.kill)

            def write(first, last):
                publisher.stdin.write(b"".join(b"kept/%d\tvalue %d\n" % (i, i) for i in range(first, last)))
                publisher.stdin.flush()

            write(0, 100)
            probe = ["get", "-s", self.broker.unix, "kept/99"]
            self.assertTrue(eventually(lambda: run_without_broker(*probe).stdout == b"value 99\n"))
            self.broker.process.send_signal(signal.SIGSTOP)
            write(100, 200)
            self.broker.kill()
            self.assertRegex(publisher.stderr.readline(), rb"^pubsub: lost connection")
            write(200, count)
            publisher.stdin.close()
            self.broker.start()
            self.assertEqual(publisher.wait(PATIENCE_S), 0)
            self.assertRegex(publisher.stderr.read().decode(), rf"\A{AGAIN}*pubsub: connected again\n\Z")
        got = run_without_broker("get", "kept/+", PUBSUB_URL=self.broker.unix).stdout.splitlines()
        self.assertLessEqual({b"kept/%d\tvalue %d" % (i, i) for i in range(100, count)}, set(got))

    def test_publisher_that_shall_not_reconnect(self):
        with subprocess.Popen([PUBSUB, "pub", "-s", self.broker.unix, "--no-reconnect", "-l", "t"],
                              stdin=subprocess.PIPE, stderr=subprocess.PIPE) as publisher:
            subscriber = self.subscriber("t")
            publisher.stdin.write(b"one\n")
            publisher.stdin.flush()
            self.assertTrue(eventually(lambda: subscriber.lines() == b"one\n"))
            self.broker.kill()
            self.assertEqual(publisher.wait(PATIENCE_S), 7)
            self.assertRegex(publisher.stderr.read(), rb"\Apubsub: [^\n]+\n\Z")

    def test_broker_that_shuts_down(self):
        subscriber = self.subscriber("-n", "2", "t")
        self.broker.process.terminate()
        self.assertEqual(self.broker.process.wait(PATIENCE_S), 0)
        self.assertTrue(eventually(lambda: "pubsub: lost connection" in subscriber.stderr()))
        self.broker.start()
        self.assertTrue(eventually(lambda: "pubsub: connected again\n" in subscriber.stderr()))


if __name__ == "__main__":
    unittest.main(verbosity=2)
