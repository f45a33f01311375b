"""`pubsub sub --exec`: each message to a run of a command, alone and in a group of workers."""
import json
import os
import signal
import tempfile
import time
import unittest

import brokers
from programs import CliTest, PATIENCE_S, Subscriber, eventually, fresh_topic, run_without_broker, scaled

# Works on the message on its standard input: notes it in DIR/done-ID. A message "hold..." it holds until DIR/go exists,
# and says so with DIR/held-ID. It ends with DIR, also if nobody is left to end it.
WORK = """
job=$(cat)
case $job in
hold*) : > "$1/held-$2"
    while [ -d "$1" ] && [ ! -e "$1/go" ]; do sleep 0.01; done;;
esac
echo "$job" >> "$1/done-$2"
"""


class Commands(CliTest):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        try:
            with open(self.path(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def exists(self, name):
        return os.path.exists(self.path(name))

    def touch(self, name):
        with open(self.path(name), "w"):
            pass

    def worker(self, topic, command, *arguments, **options):
        """A subscriber that runs a command; it is given no message before the test's own. In the end it is asked to end,
        for then it ends what it runs, too."""
        worker = self.subscriber(*arguments, "--exec", command, topic, probe=False, **options)
        self.addCleanup(self.end, worker.process)
        return worker

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE_S)

    def publish(self, topic, *arguments, stdin=b""):
        """Publishes as soon as somebody is subscribed."""
        def published():
            return self.run_cli("pub", "--require", "1", topic, *arguments, stdin=stdin).code == 0
        self.assertTrue(eventually(published))

    # (options of sub, arguments of pub, its input, what the command gets)
    INPUTS = [
        ([], ["text"], b"", b"text"),
        ([], [], b"two\nlines\0\n", b"two\nlines\0\n"),
        ([], [""], b"", b""),
        ([], ["-j", "{\"a\":[1,null]}"], b"", b'{"a":[1,null]}'),
        ([], ["-j", "5"], b"", b"5"),
        ([], ["--bin"], b"\x00\xff", b"\x00\xff"),
        ([], ["--hex", "00ff"], b"", b"\x00\xff"),
        (["-o", "raw"], ["-j", "{\"t\":21}"], b"", b"\x81\xa1t\x15"),
        (["-o", "payload"], [], b"two\nlines", b"two\\nlines\n"),
        (["-F", "%{a}-%h{k}"], ["-H", "k=v", "-j", "{\"a\":7}"], b"", b"7-v\n"),
    ]

    def test_what_it_gets(self):
        for sub, pub, stdin, expected in self.INPUTS:
            with self.subTest(sub=sub, pub=pub):
                topic = fresh_topic()
                worker = self.worker(topic, f"cat > {self.dir}/got", *sub, "-n", "1")
                self.publish(topic, *pub, stdin=stdin)
                self.assertEqual((worker.wait(), worker.stdout(), worker.stderr()), (0, b"", ""))
                self.assertEqual(self.read("got"), expected)

    def test_json_has_everything(self):
        topic = fresh_topic()
        worker = self.worker(topic, "cat", "-o", "json", "-n", "1")
        self.publish(topic, "-H", "k=v", "--ttl", "1h", "x")
        self.assertEqual((worker.wait(), worker.stderr()), (0, ""))
        message = json.loads(worker.stdout())
        self.assertEqual((message["topic"], message["payload"], message["headers"], message["ttl_ms"]),
                         (topic, "x", {"k": "v"}, 3_600_000))

    def test_environment(self):
        topic = fresh_topic()
        command = 'printf "%s|%s|%s|%s" "$PUBSUB_TOPIC" "$PUBSUB_HEADER_who" "$PUBSUB_HEADER_a_b" "$PUBSUB_HEADER_none"'
        os.environ["PUBSUB_HEADER_none"] = "of another message"
        self.addCleanup(os.environ.pop, "PUBSUB_HEADER_none")
        worker = self.worker(f"{topic}/+", command, "-n", "1")
        self.publish(f"{topic}/x y", "-H", "who=$(me) \"you\"", "-H", "a-b==", "text")
        self.assertEqual((worker.wait(), worker.stderr()), (0, ""))
        self.assertEqual(worker.stdout(), f"{topic}/x y|$(me) \"you\"|=|".encode())

    def test_large(self):
        topic, large = fresh_topic(), os.urandom(900_000)
        worker = self.worker(topic, "cat", "-n", "1")
        self.publish(topic, "--bin", stdin=large)
        self.assertEqual((worker.wait(), worker.stderr()), (0, ""))
        self.assertTrue(worker.stdout() == large)

    def test_input_that_nobody_reads(self):
        topic = fresh_topic()
        worker = self.worker(topic, "true", "-n", "2")
        for _ in range(2):
            self.publish(topic, stdin=b"x" * 900_000)
        self.assertEqual((worker.wait(), worker.stderr()), (0, ""))

    def test_pipelines_die_as_they_should(self):
        """A command inherits no ignored SIGPIPE from us."""
        topic = fresh_topic()
        worker = self.worker(topic, "yes | head -n 1", "-n", "1")
        self.publish(topic, "x")
        self.assertEqual((worker.wait(), worker.stdout(), worker.stderr()), (0, b"y\n", ""))

    def test_in_order_and_one_at_a_time(self):
        topic, count = fresh_topic(), scaled(100, 20)
        command = f"mkdir {self.dir}/alone && cat && echo && rmdir {self.dir}/alone"
        worker = self.worker(topic, command, "-n", str(count))
        data = b"".join(b"%d\n" % i for i in range(count))
        self.publish(topic, "0")
        self.ok("pub", "-l", topic, stdin=data[2:])
        self.assertEqual((worker.wait(), worker.stderr()), (0, ""))
        self.assertEqual(worker.stdout(), data)

    def test_several_at_a_time(self):
        topic = fresh_topic()
        # None ends before all three are there.
        command = f"cd {self.dir}; : > $(cat); while [ $(ls | wc -l) -lt 3 ]; do sleep 0.01; done"
        worker = self.worker(topic, command, "--jobs", "3", "-n", "3")
        for name in "abc":
            self.publish(topic, name)
        self.assertEqual((worker.wait(), worker.stderr()), (0, ""))

    def test_failures_are_told_and_counted(self):
        topic = fresh_topic()
        worker = self.worker(topic, "case $(cat) in bad) exit 7;; killed) kill -9 $$;; esac", "-n", "4")
        for message in ("good", "bad", "killed", "good"):
            self.publish(topic, message)
        self.assertEqual(worker.wait(), 1)
        self.assertEqual(worker.stderr(),
                         f"pubsub: the command failed on a message of '{topic}': it ended with status 7\n"
                         f"pubsub: the command failed on a message of '{topic}': it was ended by signal 9 (Killed)\n"
                         "pubsub: 2 of 4 commands failed\n")

    def test_retained_values(self):
        topic = fresh_topic()
        for name in "ab":
            self.ok("pub", "-r", f"{topic}/{name}", name)
        done = self.run_cli("sub", "--retained", "only", "--exec", "cat; echo", f"{topic}/+")
        self.assertEqual((sorted(done.stdout.split()), done.stderr, done.code), ([b"a", b"b"], "", 0))

    def test_idle_does_not_count_while_it_works(self):
        topic = fresh_topic()
        self.ok("pub", "-r", topic, "first")
        command = (f"job=$(cat); [ $job = second ] || {{ : > {self.dir}/begun; while [ ! -e {self.dir}/go ]; do sleep 0.01; done; }}; "
                   "echo $job")
        worker = self.worker(topic, command, "--idle", "1s")
        self.assertTrue(eventually(lambda: self.exists("begun")))
        self.ok("pub", "--require", "1", topic, "second")
        time.sleep(1.5)  # in which it is not idle
        self.touch("go")
        self.assertEqual((worker.wait(), worker.stdout(), worker.stderr()), (0, b"first\nsecond\n", ""))

    def test_time_over_lets_commands_end(self):
        topic = fresh_topic()
        self.ok("pub", "-r", topic, "x")
        for seconds in 1, 3, 9, 27:  # a busy machine may need much of it to begin
            worker = self.worker(topic, f": > {self.dir}/begun; sleep {seconds}.5; echo ended", "--for", f"{seconds}s")
            ended = worker.wait(), worker.stdout(), worker.stderr()
            if self.exists("begun"):
                break
        self.assertEqual(ended, (0, b"ended\n", ""))

    def test_signal_ends_all_that_runs(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            topic, name = fresh_topic(), f"pids-{number}"
            command = f"cd {self.dir}; sleep 1000 & echo $$ > tmp; echo $! >> tmp; mv tmp {name}; wait"
            worker = self.worker(topic, command)
            self.publish(topic, "x")
            self.assertTrue(eventually(lambda: self.exists(name)))
            worker.process.send_signal(number)
            self.assertEqual((worker.wait(), worker.stderr()), (128 + number, ""))
            pids = self.read(name).split()
            self.assertEqual(len(pids), 2)
            self.assertTrue(eventually(lambda: not any(self.is_running(pid.decode()) for pid in pids)))

    @staticmethod
    def is_running(pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def test_command_that_ignores_signals_is_killed(self):
        topic = fresh_topic()
        worker = self.worker(topic, f"trap '' TERM; : > {self.dir}/held; while :; do sleep 0.1; done")
        self.publish(topic, "x")
        self.assertTrue(eventually(lambda: self.exists("held")))
        worker.process.terminate()
        self.assertEqual((worker.wait(), worker.stderr()), (128 + signal.SIGTERM, ""))

    def test_goes_on_after_a_broker_that_died(self):
        """Also if the message that it was working on came over the connection that is lost."""
        with brokers.Broker() as broker:
            worker = Subscriber(broker.unix, "--group", "g", "-n", "3", "--exec",
                                f"cat; echo; cd {self.dir}; : > begun; while [ ! -e go ]; do sleep 0.01; done",
                                "t", probe=False)
            self.addCleanup(worker.stop)
            self.addCleanup(self.end, worker.process)

            def publish(message):
                return eventually(lambda: run_without_broker("pub", "--require", "1", "t", message,
                                                             PUBSUB_URL=broker.unix).code == 0)
            self.assertTrue(publish("1"))
            self.assertTrue(eventually(lambda: self.exists("begun")))
            broker.kill()
            self.assertTrue(eventually(lambda: "lost connection" in worker.stderr()))
            broker.start()
            self.assertTrue(publish("2"))
            self.touch("go")
            self.assertTrue(publish("3"))
            self.assertEqual((worker.wait(), worker.stdout()), (0, b"1\n2\n3\n"))

    # ---- groups ----

    def pool(self, topic, names):
        """Workers of one group, each of which is known to be there: it holds a message of its own."""
        script = self.path("work")
        with open(script, "w") as file:
            file.write(WORK)
        workers = {name: self.worker(topic, f"sh {script} {self.dir} {name}", "--group", "w") for name in names}
        self.hold(topic, names)
        return workers

    def hold(self, topic, names):
        """Gives each of them a message that it holds."""
        for _ in names:
            self.publish(topic, "hold")
        for name in names:
            self.assertTrue(eventually(lambda name=name: self.exists(f"held-{name}")))

    def done_by(self, name):
        return [int(line) for line in self.read(f"done-{name}").split() if line != b"hold"]

    def all_done(self, names):
        return sorted(job for name in names for job in self.done_by(name))

    def test_pool_of_workers(self):
        topic, count = fresh_topic(), scaled(150, 30)
        workers = self.pool(topic, "abc")
        self.ok("pub", "-l", topic, stdin=b"".join(b"%d\n" % i for i in range(count)))
        self.touch("go")
        self.assertTrue(eventually(lambda: len(self.all_done("abc")) >= count))
        for name in "go", *(f"held-{name}" for name in "abc"):
            os.remove(self.path(name))
        self.hold(topic, "abc")  # each is given something still
        self.touch("go")
        self.assertTrue(eventually(lambda: all(self.read(f"done-{name}").count(b"hold") == 2 for name in "abc")))
        for worker in workers.values():
            worker.process.terminate()
            self.assertEqual((worker.wait(), worker.stderr()), (128 + signal.SIGTERM, ""))
        self.assertEqual(self.all_done("abc"), list(range(count)))

    def test_worker_that_dies(self):
        topic, count = fresh_topic(), scaled(100, 20)
        workers = self.pool(topic, "abc")
        self.ok("pub", "-l", topic, stdin=b"".join(b"%d\n" % i for i in range(count)))
        workers["b"].process.kill()  # with its message: nobody else gets that one
        workers["b"].wait()
        self.touch("go")
        self.assertTrue(eventually(lambda: len(self.all_done("ac")) >= count))
        self.assertEqual((self.all_done("ac"), self.done_by("b")), (list(range(count)), []))
        self.assertTrue(eventually(lambda: self.read("done-b")))  # its command goes on without it, and writes there

    def test_worker_that_is_slow(self):
        """It gets no message while it works on one, so the others do all the rest."""
        topic, count = fresh_topic(), scaled(100, 20)
        self.pool(topic, "a")
        quick = self.worker(topic, "cat; echo", "--group", "w", "-n", str(count))
        data = b"".join(b"%d\n" % i for i in range(count))
        self.ok("pub", "-l", topic, stdin=data)
        self.assertEqual((quick.wait(), quick.stdout(), quick.stderr()), (0, data, ""))
        self.assertEqual(self.read("done-a"), b"")
        self.touch("go")

    def test_count_takes_no_more_than_that(self):
        """Who wants N messages of a group takes no others away, printing or working."""
        for extra in ([], ["--exec", "cat; echo"]):
            with self.subTest(extra=extra):
                topic = fresh_topic()
                self.pool(topic, "a")  # keeps what the others have not taken yet
                few = self.subscriber("--group", "w", "-n", "2", *extra, topic, probe=False)
                rest = self.subscriber("--group", "w", "-n", "8", topic, probe=False)
                self.ok("pub", "-l", topic, stdin=b"".join(b"%d\n" % i for i in range(10)))
                self.assertEqual((few.wait(), rest.wait()), (0, 0))
                got = [int(line) for one in (few, rest) for line in one.stdout().split()]
                self.assertEqual((len(few.stdout().split()), sorted(got)), (2, list(range(10))))
                self.touch("go")
                self.assertTrue(eventually(lambda: self.read("done-a")))
                for name in ("go", "held-a", "done-a"):
                    os.remove(self.path(name))

    def test_wrong_usage(self):
        for arguments, part in ((["--jobs", "2"], "--jobs goes with --exec"),
                                (["--jobs", "0", "--exec", "x"], "--jobs 0"),
                                (["--jobs", "65", "--exec", "x"], "at most 64"),
                                (["--exec", "x", "-F", "%y"], "-F '%y'"),
                                (["--group", "g", "--retained", "only"], "--retained only"),
                                (["--group", "g", "-n", "1", "t2"], "only one pattern")):
            with self.subTest(arguments=arguments):
                done = self.run_cli("sub", *arguments, "t")
                self.assertEqual((done.stdout, done.code), (b"", 2))
                self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
                self.assertIn(part, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
