"""Acknowledged consumption on the command line: `--ack`, `--durable`, `--exec` that fails, groups of workers, and restarts of
either side."""
import json
import os
import signal
import subprocess
import tempfile
import unittest

import brokers
from programs import (CliTest, PATIENCE_S, PUBSUB, Program, Subscriber, eventually, fresh_topic, run_without_broker,
                      scaled)

CONFIG = """
[stream kept]
topics = test/#
[stream dead]
topics = $dead/#
"""

# Works on the message on its standard input: a message "hold" it holds until DIR/go exists, and says so with
# DIR/held. It ends with DIR, also if nobody is left to end it.
WORK = """
job=$(cat)
if [ "$job" = hold ]; then
    : > DIR/held
    while [ -d DIR ] && [ ! -e DIR/go ]; do sleep 0.01; done
fi
echo "$job"
"""


def numbered(count, first=1):
    return b"".join(b"%d\n" % i for i in range(first, first + count))


class DurableTest(CliTest):
    BROKER = {"config": CONFIG}

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = directory.name
        self.topic = fresh_topic()
        self.name = self.topic.replace("/", "-")

    def path(self, name):
        return os.path.join(self.dir, name)

    def store(self, *payloads):
        self.ok("pub", "-l", "--ack", "stored", self.topic, stdin=b"".join(payload.encode() + b"\n" for payload in payloads))

    def sub(self, *arguments):
        """Reads to the end of what is there, and must succeed."""
        return self.ok("sub", "--until-live", *arguments, self.topic).decode().split()

    def start(self, *arguments, url=None):
        """A subscriber that goes on."""
        program = Program([PUBSUB, "sub", "-s", url or self.url, *arguments, self.topic])
        self.addCleanup(program.stop)
        self.addCleanup(self.end, program)
        return program

    @staticmethod
    def end(program):
        """Asks it to end: then it ends what it runs, too."""
        if program.process.poll() is None:
            program.process.terminate()
            program.process.wait(PATIENCE_S)


class Durable(DurableTest):
    def test_the_next_run_goes_on(self):
        self.store("1", "2", "3", "4", "5")
        kept = ["--durable", self.name]
        self.assertEqual(self.sub(*kept, "--all", "-n", "2"), ["1", "2"])
        self.assertEqual(self.sub(*kept, "--all", "-n", "1", "--exec", "cat; echo"), ["3"])
        self.assertEqual(self.sub(*kept), ["4", "5"])
        self.assertEqual(self.sub(*kept, "--all"), [])
        self.store("6")
        self.assertEqual(self.sub(*kept), ["6"])

    def test_it_begins_with_what_is_new(self):
        """Unless it is told otherwise; and keeps what comes while it is away."""
        self.store("before")
        subscriber = self.subscriber("--durable", self.name, self.topic)
        subscriber.process.terminate()
        self.assertEqual(subscriber.wait(), 128 + signal.SIGTERM)
        self.store("meanwhile")
        self.assertEqual(self.sub("--durable", self.name)[-1:], ["meanwhile"])
        self.assertNotIn("before", subscriber.stdout().decode())

    def test_nothing_is_done_that_was_not_printed(self):
        """The reader of the output goes away; what it can't have read comes again."""
        count = scaled(100_000, 10_000)
        self.store(*map(str, range(1, count + 1)))
        pipeline = f"'{PUBSUB}' sub -s {self.url} --durable {self.name} --all --until-live {self.topic} | head -n 10"
        done = subprocess.run(["bash", "-c", pipeline], capture_output=True, timeout=PATIENCE_S)
        self.assertEqual((done.stdout, done.stderr), (numbered(10), b""))
        rest = self.sub("--durable", self.name)
        self.assertEqual(rest, [str(i) for i in range(count + 1 - len(rest), count + 1)])

    @unittest.skipIf(os.environ.get("PUBSUB_SANITIZED") == "1", "a sanitizer's library has to be loaded before all others")
    def test_what_was_published_before_has_come_at_the_end(self):
        """Even if the disk takes its time, of which the publisher did not wait for the end."""
        stuck = self.path("stuck")
        environment = {"LD_PRELOAD": os.environ["PUBSUB_STUCK_DISK"], "STUCK_DISK": stuck}
        with brokers.Broker(config=CONFIG, environment=environment) as broker:
            for n in range(1, 11):
                open(stuck, "w").close()
                done = run_without_broker("pub", "-s", broker.unix, self.topic, str(n))
                self.assertEqual((done.stderr, done.code), ("", 0))
                reader = Subscriber(broker.unix, "--all", "--until-live", "-o", "payload", "#", ready="transient")
                self.addCleanup(reader.stop)
                os.unlink(stuck)
                self.assertEqual(reader.wait(), 0)
                self.assertEqual(reader.stdout().replace(reader.READY, b"", 1), numbered(n))

    def test_restarts_of_both_sides(self):
        """A broker that ends has stored what was acknowledged; one that is killed perhaps not that of the last moments."""
        count = scaled(60_000, 6_000)
        with brokers.Broker(config=CONFIG) as broker:
            def run(*arguments, stdin=b""):
                done = run_without_broker(*arguments, "-s", broker.unix, self.topic, stdin=stdin)
                self.assertEqual((done.stderr, done.code), ("", 0))
                return done.stdout
            run("pub", "-l", "--ack", "stored", stdin=numbered(3 * count))
            self.assertTrue(run("sub", "--durable", "d", "--all", "-n", str(count)) == numbered(count))
            was_stored = broker.end()
            broker.start()
            if was_stored:
                self.assertTrue(run("sub", "--durable", "d", "--all", "-n", str(count)) == numbered(count, count + 1))
            else:  # by a slow disk, which is as if it was killed
                run("sub", "--durable", "d", "--all", "-n", str(count))
            broker.kill()
            broker.start()
            first, *rest = [int(line) for line in run("sub", "--durable", "d", "--until-live").split()]
            self.assertTrue((count if was_stored else 0) < first <= 2 * count + 1)
            self.assertTrue(rest == list(range(first + 1, 3 * count + 1)))

    def test_a_killed_broker_under_a_running_subscriber(self):
        count = scaled(100_000, 10_000)
        with brokers.Broker(config=CONFIG) as broker:
            subscriber = self.start("--durable", "d", "--all", "-n", str(3 * count), url=broker.unix)
            publisher = Program([PUBSUB, "pub", "-s", broker.unix, "-l", "--ack", "stored", self.topic],
                                stdin=subprocess.PIPE)
            self.addCleanup(publisher.stop)
            for part in range(3):
                if part > 0:
                    reached = numbered(1, part * count - count // 2)
                    self.assertTrue(eventually(lambda: b"\n" + reached in subscriber.stdout()))
                    broker.kill()
                    broker.start()
                publisher.process.stdin.write(numbered(count, part * count + 1))
                publisher.process.stdin.flush()
            publisher.process.stdin.close()
            self.assertEqual(publisher.wait(), 0, publisher.stderr())
            self.assertEqual(subscriber.wait(), 0, subscriber.stderr())
            lines = [int(line) for line in subscriber.stdout().split()]
            # What was acknowledged in the broker's last moments comes again, also out of order; nothing is missing.
            self.assertTrue(set(lines) == set(range(1, max(lines) + 1)))

    def test_taken_over(self):
        self.store("1")
        first = self.start("--durable", self.name, "--all")
        self.assertTrue(eventually(first.stdout))
        self.assertEqual(self.sub("--durable", self.name), [])
        self.assertEqual(first.wait(), 7)
        self.assertIn("took over", first.stderr())

    def test_other_patterns(self):
        self.store("1")
        self.sub("--durable", self.name, "--all")
        done = self.run_cli("sub", "--durable", self.name, "--until-live", f"{self.topic}/#")
        self.assertEqual((done.stdout, done.code), (b"", 5))
        self.assertIn("--forget", done.stderr)

    def test_forget(self):
        self.store("1")
        self.assertEqual(self.sub("--durable", self.name, "--all"), ["1"])
        self.ok("sub", "--durable", self.name, "--forget")
        done = self.run_cli("sub", "--durable", self.name, "--forget")
        self.assertEqual(done, (b"", f"pubsub: the broker keeps nothing under the name '{self.name}'\n", 1))
        self.assertEqual(self.sub("--durable", self.name, "--all"), ["1"])


class Acknowledging(DurableTest):
    def test_a_failed_command_gets_it_again(self):
        self.store("good", "bad", "good")
        command = 'job=$(cat); echo "$job $PUBSUB_TRIES" >> DIR/log; [ $job = good ] || [ $PUBSUB_TRIES = 3 ]'
        worker = self.start("--all", "--ack", "-n", "5", "--retry", "10ms", "--exec", command.replace("DIR", self.dir))
        self.assertEqual(worker.wait(), 1)
        with open(self.path("log")) as file:
            log = file.read().splitlines()
        self.assertEqual(sorted(log), ["bad 1", "bad 2", "bad 3", "good 1", "good 1"])
        failed = f"pubsub: the command failed on a message of '{self.topic}': it ended with status 1; it comes again in "
        self.assertEqual(worker.stderr(), f"{failed}10ms\n{failed}20ms\npubsub: 2 of 5 commands failed\n")

    def test_one_that_fails_does_not_hold_up_the_others(self):
        self.store("bad", *map(str, range(50)))
        worker = self.start("--all", "--ack", "--until-live", "--retry", "5m", "--exec",
                            "job=$(cat); echo $job; [ $job != bad ]")
        self.assertEqual(worker.wait(), 1)
        self.assertEqual(worker.stdout().split(), [b"bad", *(b"%d" % i for i in range(50))])

    def test_given_up(self):
        self.store("good", "bad")
        worker = self.start("--durable", self.name, "--all", "--max-tries", "2", "--retry", "10ms", "--fail-on-gap", "--exec",
                            "[ $(cat) = good ]")
        self.assertEqual(worker.wait(), 8)
        self.assertRegex(worker.stderr(), r"it comes again in 10ms\n"
                         r"pubsub: the command failed [^\n]*; it is given up\n"
                         r"pubsub: lost message \d+ of stream 64 \(max_tries\)\n")
        (line,) = self.ok("sub", "--all", "--until-live", "-o", "json", f"$dead/{self.topic}").splitlines()
        dead = json.loads(line)
        self.assertEqual((dead["payload"], dead["headers"]["reason"], dead["headers"]["tries"]), ("bad", "max_tries", 2))
        self.assertEqual(self.sub("--durable", self.name), [])

    def test_too_slow(self):
        """A command that takes longer than is allowed: its message comes again meanwhile, and another can do it."""
        self.store("hold")
        command = WORK.replace("DIR", self.dir)
        terms = ["--group", self.name, "--all", "--ack", "--ack-within", "100ms", "-n", "1"]
        slow = self.start(*terms, "--exec", command)
        self.assertTrue(eventually(lambda: os.path.exists(self.path("held"))))
        other = self.start(*terms, "--exec", 'echo "$(cat) $PUBSUB_TRIES"')
        self.assertEqual(other.wait(), 0, other.stderr())
        self.assertRegex(other.stdout(), rb"\Ahold [0-9]+\n\Z")
        with open(self.path("go"), "w"):
            pass
        self.assertEqual((slow.wait(), slow.stdout()), (0, b"hold\n"))

    def test_tries_are_told_in_json(self):
        self.store("1")
        first = self.start("--durable", self.name, "--all", "--exec", WORK.replace("DIR", self.dir).replace("hold", "1"))
        self.assertTrue(eventually(lambda: os.path.exists(self.path("held"))))
        first.process.kill()
        first.wait()
        message = json.loads("".join(self.sub("--durable", self.name, "-o", "json")))
        self.assertEqual((message["payload"], message["tries"]), ("1", 2))

    def test_a_signal_leaves_it_to_the_next_run(self):
        self.store("hold", "next")
        worker = self.start("--durable", self.name, "--all", "--exec", WORK.replace("DIR", self.dir))
        self.assertTrue(eventually(lambda: os.path.exists(self.path("held"))))
        worker.process.terminate()
        self.assertEqual((worker.wait(), worker.stdout()), (128 + signal.SIGTERM, b""))
        self.assertEqual(self.sub("--durable", self.name), ["hold", "next"])

    def test_commands_end_before_it_does(self):
        """They are waited for, and what they have done is done."""
        self.store("hold", "next")
        worker = self.start("--durable", self.name, "--all", "-n", "1", "--exec", WORK.replace("DIR", self.dir))
        self.assertTrue(eventually(lambda: os.path.exists(self.path("held"))))
        with open(self.path("go"), "w"):
            pass
        self.assertEqual((worker.wait(), worker.stdout(), worker.stderr()), (0, b"hold\n", ""))
        self.assertEqual(self.sub("--durable", self.name), ["next"])

    def test_without_history_nothing_is_acknowledged(self):
        """Messages of topics without a stream come along and count as done."""
        self.store("1")
        durable = ["--durable", self.name, "--where", f'@topic == "{self.topic}" or @topic == "transient"', "#"]
        subscriber = self.subscriber("--all", "-n", "2", "-o", "payload", *durable, ready="transient")
        self.assertEqual((subscriber.wait(), subscriber.stderr()), (0, ""))
        self.assertEqual(sorted(subscriber.stdout().split()), [b"1", b"ready"])
        self.assertEqual(self.ok("sub", "--until-live", *durable), b"")


class Workers(DurableTest):
    def test_each_message_to_one(self):
        count = scaled(600, 100)
        workers = [self.start("--group", self.name, "--durable", f"{self.name}-{i}", "--all", "--jobs", "4", "--exec",
                              self.note(i)) for i in range(3)]
        self.store(*map(str, range(count)))
        self.assertTrue(eventually(lambda: len(self.done()) >= count), self.done())
        self.assertEqual(sorted(self.done(), key=int), [str(i) for i in range(count)])
        for worker in workers:
            self.terminate(worker)
            self.assertEqual(worker.stderr(), "")

    def terminate(self, worker):
        """Also one that came late, and has just connected."""
        self.assertTrue(eventually(lambda: worker.handles(signal.SIGTERM)))
        worker.process.terminate()
        self.assertEqual(worker.wait(), 128 + signal.SIGTERM)

    def note(self, worker):
        """A command that writes its message into the worker's file."""
        return f'echo "$(cat)" >> {self.dir}/done-{worker}'

    def done(self):
        lines = []
        for name in os.listdir(self.dir):
            if name.startswith("done"):
                with open(self.path(name)) as file:
                    lines += [line for line in file.read().split("\n") if line]
        return lines

    def test_what_a_killed_worker_had_goes_to_others(self):
        self.store("hold", "1", "2", "3")
        killed = self.start("--group", self.name, "--durable", f"{self.name}-a", "--all", "--exec",
                            WORK.replace("DIR", self.dir))
        self.assertTrue(eventually(lambda: os.path.exists(self.path("held"))))
        other = self.start("--group", self.name, "--durable", f"{self.name}-b", "--all", "-n", "4", "--exec",
                           'echo "$(cat) $PUBSUB_TRIES"')
        self.assertTrue(eventually(lambda: len(other.stdout().split(b"\n")) == 4), other.stdout())
        killed.process.kill()
        killed.wait()
        self.assertEqual((other.wait(), other.stderr()), (0, ""))
        self.assertEqual(sorted(other.stdout().decode().splitlines()), ["1 1", "2 1", "3 1", "hold 2"])

    def survive(self, terms):
        """Two workers, whose broker is killed in the middle: every message is worked on."""
        count = scaled(300, 60)
        with brokers.Broker(config=CONFIG) as broker:
            def store(first):
                done = run_without_broker("pub", "-s", broker.unix, "-l", "--ack", "stored", self.topic,
                                          stdin=numbered(count, first))
                self.assertEqual((done.stderr, done.code), ("", 0))
            store(1)
            workers = [self.start("--group", "w", "--all", *terms(i), "--exec", self.note(i), url=broker.unix)
                       for i in range(2)]
            self.assertTrue(eventually(lambda: len(self.done()) >= count // 3))
            broker.kill()
            broker.start()
            store(count + 1)
            # What was done in its last moments may come again.
            self.assertTrue(eventually(lambda: len(set(self.done())) == 2 * count), len(set(self.done())))
            for worker in workers:
                self.terminate(worker)

    def test_a_pool_survives_the_broker(self):
        self.survive(lambda i: ["--durable", f"w-{i}"])

    def test_a_pool_without_names_survives_the_broker(self):
        """The group's place is that of its members, which come back."""
        self.survive(lambda i: ["--ack"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
