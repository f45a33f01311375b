"""`pubsub req` and `pubsub reply`: questions and answers between processes."""
import json
import os
import signal
import subprocess
import tempfile
import unittest

import brokers
from programs import CliTest, PATIENCE_S, PUBSUB, Subscriber, eventually, fresh_topic, run_without_broker


WAITS = "--timeout", "100s"  # by default it waits for 5 s, which a busy machine may need to begin the responder's command


class Responder:
    """A running `pubsub reply`. When it is returned it serves the topic `ready` (its first argument), where one answer
    has been given to somebody who asked for nothing, unless nobody was to ask."""

    def __init__(self, url, topic, *arguments, probe=True):
        self.err = tempfile.TemporaryFile()
        self.process = subprocess.Popen([PUBSUB, "reply", "-s", url, topic, *arguments], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.err)
        if probe and not eventually(lambda: self.process.poll() is not None or self.serves(url, topic)):
            raise AssertionError(f"nobody serves {topic}: {self.stderr()}")

    @staticmethod
    def serves(url, topic):
        return run_without_broker("req", *WAITS, "-s", url, topic, "1").code != 6

    def stderr(self):
        self.err.seek(0)
        return self.err.read().decode()

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE_S)
        self.err.close()


class Requests(CliTest):
    def responder(self, topic, *arguments, **options):
        responder = Responder(self.url, topic, *arguments, **options)
        self.addCleanup(responder.stop)
        return responder

    def served(self, topic, count):
        """Waits until so many serve it, without asking any of them."""
        def reached():
            return self.run_cli("pub", "--require", str(count), topic, "no request").code == 0
        self.assertTrue(eventually(reached))

    def test_echo(self):
        topic = fresh_topic()
        self.responder(topic, "--echo")
        for arguments, stdin, form, expected in (
                (["hello world"], b"", [], b"hello world\n"),
                ([""], b"", [], b"\n"),
                (["1.10"], b"", [], b"1.10\n"),
                (["-j", "{\"a\": [1, null, \"x\"]}"], b"", [], b'{"a":[1,null,"x"]}\n'),
                (["-j"], b"[1,\n2]\n", [], b"[1,2]\n"),
                (["-"], b"two\nlines\n", ["-o", "raw"], b"two\nlines\n"),
                (["--bin"], b"\x00\xff", ["-o", "raw"], b"\x00\xff"),
                (["--bin"], b"\x00\xff", [], b'{"$bin":"AP8="}\n'),
                (["--msgpack", "--hex", "81a17415"], b"", ["-F", "%{t}"], b"21\n")):
            with self.subTest(arguments=arguments):
                self.assertEqual(self.ok("req", *WAITS, *form, topic, *arguments, stdin=stdin), expected)

    def test_message_from_a_file(self):
        topic = fresh_topic()
        self.responder(topic, "--echo")
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"\x00from a file\n")
            file.flush()
            self.assertEqual(self.ok("req", *WAITS, "-o", "raw", "--file", file.name, topic), b"\x00from a file\n")
        done = self.run_cli("req", "--file", "/nonexistent/file", topic)
        self.assertEqual((done.stdout, done.code), (b"", 1))
        self.assertRegex(done.stderr, r"\Apubsub: cannot open /nonexistent/file: [^\n]+\n\Z")

    def test_answer_of_a_command(self):
        for command, form, ask, expected in (
                ("tr a-z A-Z", [], ["shout"], b"SHOUT\n"),
                ("cat; echo", [], ["a newline at the end is the line's"], b"a newline at the end is the line's\n"),
                ("printf 'a\\nb\\n\\n'", [], ["1"], b"a\\nb\\n\n"),
                ("cat", [], ["-j", "{\"n\":1}"], b'{"n":1}\n'),
                ("cat", ["-j"], ["-j", "{\"n\":[1,2.5]}"], b'{"n":[1,2.5]}\n'),
                ("cat", ["--bin"], ["--bin", "x"], b'{"$bin":"eA=="}\n'),
                ("cat", ["--hex"], ["00ff"], b'{"$bin":"AP8="}\n'),
                ("true", [], ["ignored by the command"], b"\n"),
                ("echo $PUBSUB_TOPIC:$PUBSUB_HEADER_who", [], ["-H", "who=me", "1"], b"%s:me\n")):
            topic = fresh_topic()
            with self.subTest(command=command, form=form):
                self.responder(topic, *form, "--exec", command, probe=False)
                self.served(topic, 1)
                expected = expected.replace(b"%s", topic.encode())
                self.assertEqual(self.ok("req", *WAITS, topic, *ask), expected)

    def test_headers_of_an_answer(self):
        topic = fresh_topic()
        self.responder(topic, "--exec", "cat", "-H", "unit=C", "-H", "by=me")
        self.assertEqual(self.ok("req", *WAITS, "-F", "%p %h{unit} %h{by} %h{none}.", topic, "21"), b"21 C me .\n")
        answer = json.loads(self.ok("req", *WAITS, "-o", "json", topic, "21"))
        self.assertEqual((answer["payload"], answer["headers"]), ("21", {"unit": "C", "by": "me"}))

    def test_large_both_ways(self):
        topic, large = fresh_topic(), os.urandom(900_000)
        self.responder(topic, "--bin", "--exec", "cat")
        self.assertTrue(self.ok("req", *WAITS, "--bin", "-o", "raw", topic, stdin=large) == large)

    def test_answer_that_is_too_large(self):
        topic = fresh_topic()
        responder = self.responder(topic, "--exec", "if [ \"$(cat)\" = 1 ]; then cat /dev/zero; else echo fine; fi")
        done = self.run_cli("req", *WAITS, topic, "1")
        self.assertEqual((done.stdout, done.code), (b"", 1))
        self.assertRegex(done.stderr, r"\Apubsub: the answer is an error: the command failed: it said more [^\n]+\n\Z")
        self.assertEqual(self.ok("req", *WAITS, topic, "2"), b"fine\n")
        self.assertIn("it said more", responder.stderr())

    def test_command_that_fails(self):
        topic = fresh_topic()
        responder = self.responder(topic, "-n", "2", "--exec", "exit 3", probe=False)
        self.assertTrue(eventually(lambda: Responder.serves(self.url, topic)))
        done = self.run_cli("req", *WAITS, "-o", "json", topic, "1")
        self.assertEqual((json.loads(done.stdout)["headers"], done.code),
                         ({"error": "the command failed: it ended with status 3"}, 1))
        self.assertEqual(done.stderr,
                         "pubsub: the answer is an error: the command failed: it ended with status 3\n")
        self.assertEqual(responder.wait(), 1)
        failed = f"pubsub: the command failed on a message of '{topic}': it ended with status 3\n"
        self.assertEqual(responder.stderr(), 2 * failed + "pubsub: 2 of 2 commands failed\n")

    def test_answer_that_is_not_json(self):
        topic = fresh_topic()
        responder = self.responder(topic, "-j", "--exec", "cat")
        done = self.run_cli("req", *WAITS, topic, "not json")
        self.assertEqual((done.stdout, done.code), (b"", 1))
        self.assertRegex(done.stderr, r"\Apubsub: the answer is an error: not JSON: [^\n]+\n\Z")
        self.assertRegex(responder.stderr(), r"\Apubsub: what the command said is not JSON: [^\n]+\n\Z")

    def test_nobody_serves(self):
        topic = fresh_topic()
        done = self.run_cli("req", "--timeout", "1h", topic, "1")
        self.assertEqual(done, (b"", f"pubsub: nobody serves '{topic}'\n", 6))

    def test_no_answer_in_time(self):
        topic = fresh_topic()
        silent = self.subscriber(topic)
        done = self.run_cli("req", "--timeout", "100ms", topic, "1")
        self.assertEqual(done, (b"", "pubsub: no answer within 100ms\n", 124))
        done = self.run_cli("req", "--all", "--timeout", "100ms", topic, "1")
        self.assertEqual(done, (b"", "pubsub: no answer within 100ms\n", 124))
        self.assertTrue(eventually(lambda: silent.lines() == b"1\n1\n"))

    def test_several_answers(self):
        topic = fresh_topic()
        for name in "abc":
            self.responder(topic, "--exec", f"echo {name}", probe=False)
        self.served(topic, 3)
        answers = self.ok("req", "--replies", "3", "--timeout", "1h", topic, "1").splitlines()
        self.assertEqual(sorted(answers), [b"a", b"b", b"c"])
        self.assertIn(self.ok("req", *WAITS, topic, "1"), (b"a\n", b"b\n", b"c\n"))
        answers = self.in_time(3, "--all", topic, "1").stdout.splitlines()
        self.assertEqual(sorted(answers), [b"a", b"b", b"c"])
        done = self.in_time(3, "--replies", "4", topic, "1")
        self.assertEqual((sorted(done.stdout.splitlines()), done.code), ([b"a", b"b", b"c"], 124))
        self.assertRegex(done.stderr, r"\Apubsub: 3 of 4 answers within \d+s\n\Z")

    def in_time(self, count, *arguments):
        """Asks with a timeout that is long enough for so many answers: longer than that if the machine is busy."""
        for seconds in 2, 6, 18, 54:
            done = self.run_cli("req", "--timeout", f"{seconds}s", *arguments)
            if done.stdout.count(b"\n") >= count:
                break
        return done

    def test_a_group_shares_the_requests(self):
        topic = fresh_topic()
        for name in "ab":
            self.responder(topic, "--group", "g", "--exec", f"echo {name}", probe=False)
        # Both are there when two at a time are answered by both.
        script = f'for i in 1 2 3 4 5 6; do "$0" req {" ".join(WAITS)} -s "$1" "$2" x & done; wait'

        def answers():
            return subprocess.run(["sh", "-c", script, PUBSUB, self.url, topic], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, timeout=PATIENCE_S).stdout.splitlines()
        self.assertTrue(eventually(lambda: set(answers()) == {b"a", b"b"}))
        self.assertEqual(len(answers()), 6)  # each got one answer
        self.assertEqual(len(self.in_time(1, "--all", topic, "x").stdout.splitlines()), 1)

    def test_several_at_a_time(self):
        topic = fresh_topic()
        with tempfile.TemporaryDirectory() as directory:
            # Each answers only when the other one is there, too.
            command = (f"cd {directory}; me=$(cat); : > $me; "
                       "while ! [ -e 1 ] || ! [ -e 2 ]; do sleep 0.01; done; echo $me")
            self.responder(topic, "--jobs", "2", "--exec", command, probe=False)
            self.served(topic, 1)
            asks = [subprocess.Popen([PUBSUB, "req", "-s", self.url, "--timeout", "100s", topic, name],
                                     stdout=subprocess.PIPE) for name in "12"]
            for name, ask in zip("12", asks):
                out, _ = ask.communicate(timeout=PATIENCE_S)
                self.assertEqual((out, ask.returncode), (name.encode() + b"\n", 0))

    def test_count_and_signal(self):
        topic = fresh_topic()
        counted = self.responder(topic, "--echo", "-n", "3")  # one was for being there
        for _ in range(2):
            self.assertEqual(self.ok("req", *WAITS, topic, "x"), b"x\n")
        self.assertEqual((counted.wait(), counted.stderr()), (0, ""))
        self.assertEqual(self.run_cli("req", *WAITS, topic, "x").code, 6)
        for arguments in (["--echo"], ["--exec", "cat"]):
            going = self.responder(topic, *arguments)
            going.process.send_signal(signal.SIGINT)
            self.assertEqual((going.wait(), going.stderr()), (128 + signal.SIGINT, ""))

    def test_message_that_is_no_request(self):
        topic = fresh_topic()
        responder = self.responder(topic, "--echo")
        self.ok("pub", "--require", "1", topic, "x")
        self.assertEqual(self.ok("req", *WAITS, topic, "y"), b"y\n")
        self.assertEqual(responder.stderr(),
                         f"pubsub: a message of '{topic}' is no request: it names no topic for an answer\n")

    def test_many_requests_at_once(self):
        topic = fresh_topic()
        self.responder(topic, "--echo")
        script = f'for i in $(seq 20); do "$0" req {" ".join(WAITS)} -s "$1" "$2" $i & done; wait'
        done = subprocess.run(["sh", "-c", script, PUBSUB, self.url, topic], capture_output=True, timeout=PATIENCE_S)
        self.assertEqual((sorted(map(int, done.stdout.split())), done.stderr), (list(range(1, 21)), b""))

    def test_goes_on_after_a_broker_that_died(self):
        with brokers.Broker() as broker:
            for topic, arguments in (("echo", ["--echo"]), ("cat", ["--exec", "cat"])):
                responder = Responder(broker.unix, topic, *arguments)
                self.addCleanup(responder.stop)
            broker.kill()
            broker.start()
            for topic in ("echo", "cat"):
                self.assertTrue(eventually(lambda topic=topic: Responder.serves(broker.unix, topic)))
                done = run_without_broker("req", *WAITS, "-s", broker.unix, topic, "x")
                self.assertEqual(done, (b"x\n", "", 0))

    def test_broker_that_dies_while_an_answer_is_awaited(self):
        with brokers.Broker() as broker:
            silent = Subscriber(broker.unix, "t")
            self.addCleanup(silent.stop)
            with subprocess.Popen([PUBSUB, "req", "-s", broker.unix, "--timeout", "1h", "t", "x"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ask:
                self.assertTrue(eventually(lambda: silent.lines() == b"x\n"))
                broker.kill()
                out, err = ask.communicate(timeout=PATIENCE_S)
            self.assertEqual((out, ask.returncode), (b"", 7))
            self.assertRegex(err, rb"\Apubsub: [^\n]+\n\Z")

    def test_refused(self):
        for arguments in (["req", "a+b", "x"], ["req", "", "x"], ["req", "t" * 256, "x"], ["reply", "--echo", "a+b"]):
            with self.subTest(arguments=arguments):
                done = self.run_cli(*arguments)
                self.assertEqual((done.stdout, done.code), (b"", 5))
                self.assertRegex(done.stderr, r"\Apubsub: bad (topic|pattern) '[^\n]+\n\Z")


if __name__ == "__main__":
    unittest.main(verbosity=2)
