"""Running the command line in tests: for its result, or as a subscriber that goes on meanwhile."""
import atexit
import collections
import itertools
import os
import shutil
import subprocess
import tempfile
import time
import unittest

import brokers

PUBSUB = os.environ.get("PUBSUB", "pubsub")
# How large the large inputs are; 1 is what the programs are meant for.
SCALE = float(os.environ.get("PUBSUB_TEST_SCALE", "1.0"))
SANITIZED = os.environ.get("PUBSUB_SANITIZED") == "1"
if SANITIZED and "PUBSUB_TEST_SCALE" not in os.environ:
    SCALE = 0.05
PATIENCE_S = 120  # whatever has not happened by then won't
NOT_IN_TIME, TRIES = b": no answer within 5000 ms\n", 3

# Contexts of who runs the tests are not theirs.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="pubsub-test-")
os.environ.pop("PUBSUB_CONTEXT", None)
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)

Done = collections.namedtuple("Done", "stdout stderr code")
fresh = itertools.count(1)


def scaled(count, least=1):
    return max(least, int(count * SCALE))


def fresh_topic():
    return f"test/{next(fresh)}"


def run_without_broker(*arguments, stdin=b"", **environment):
    """To its end. Again if it could not connect within 5 s, as a busy machine may have it: then it has done nothing."""
    for _ in range(TRIES):
        command = subprocess.run([PUBSUB, *arguments], input=stdin, capture_output=True, timeout=PATIENCE_S,
                                 env={**os.environ, "LC_ALL": "C.UTF-8", **environment})
        if NOT_IN_TIME not in command.stderr:
            break
    return Done(command.stdout, command.stderr.decode(errors="replace"), command.returncode)


class Program:
    """A running program, whose output goes into files."""

    def __init__(self, command, stdin=subprocess.DEVNULL, stdout=None, **options):
        self.dir = tempfile.mkdtemp(prefix="pubsub-test-")
        self.out_path, self.err_path = os.path.join(self.dir, "out"), os.path.join(self.dir, "err")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(command, stdin=stdin, stdout=out if stdout is None else stdout, stderr=err,
                                            **options)

    def stdout(self):
        with open(self.out_path, "rb") as file:
            return file.read()

    def stderr(self):
        with open(self.err_path, errors="replace") as file:
            return file.read()

    def handles(self, number):
        """Whether it has a handler of its own for a signal. Before, while it connects, it just ends by it."""
        with open(f"/proc/{self.process.pid}/status") as file:
            caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt:"))
        return bool(caught >> (number - 1) & 1)

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Subscriber(Program):
    """A running `pubsub sub`. When it is returned its subscriptions are in force, and it was sent one message,
    READY, on the topic `ready` (its last argument, where that is a topic)."""
    READY = b"ready\n"

    def __init__(self, url, *arguments, ready=None, stdout=None, probe=True):
        super().__init__([PUBSUB, "sub", "-s", url, *arguments], stdout=stdout)
        topic = ready or arguments[-1]
        if probe and not eventually(lambda: self.process.poll() is not None or self.reached(url, topic)):
            said = self.stderr()
            self.stop()
            raise AssertionError(f"no subscription came about: {said}")

    @staticmethod
    def reached(url, topic):
        return run_without_broker("pub", "-s", url, "--require", "1", topic, "ready").code == 0

    def lines(self):
        """What was printed after the first message. That the broker has sent that one does not say that it is printed."""
        out = self.stdout()
        if self.READY.startswith(out):
            return b""
        if not out.startswith(self.READY):
            raise AssertionError(f"the first line is {out[:80]!r}")
        return out[len(self.READY):]


def read_terminal(shown):
    """All that was written to a terminal, of which `shown` is the open other side, when nobody has it open any more."""
    seen = b""
    try:
        while more := shown.read(4096):
            seen += more
    except OSError:
        pass  # the end of a terminal
    return seen


def eventually(condition):
    """Waits for something that happens in another process and makes itself known only by being so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class CliTest(unittest.TestCase):
    """One broker for all tests of a class; each has topics of its own."""
    BROKER = {}  # how it is started: arguments of brokers.Broker()

    @classmethod
    def setUpClass(cls):
        cls.broker = brokers.Broker(**cls.BROKER)
        cls.addClassCleanup(cls.broker.stop)
        cls.url = cls.broker.unix

    def run_cli(self, *arguments, stdin=b""):
        return run_without_broker(*arguments, stdin=stdin, PUBSUB_URL=self.url)

    def ok(self, *arguments, stdin=b""):
        """Runs it, must be silent on stderr and end with 0. Returns its output."""
        done = self.run_cli(*arguments, stdin=stdin)
        self.assertEqual((done.stderr, done.code), ("", 0), arguments)
        return done.stdout

    def subscriber(self, *arguments, **options):
        subscriber = Subscriber(self.url, *arguments, **options)
        self.addCleanup(subscriber.stop)
        return subscriber
