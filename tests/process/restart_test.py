"""Restarts under a service manager that keeps the listening sockets: nobody is refused meanwhile, and nothing that was
acknowledged is lost, however the broker ended."""
import signal
import subprocess
import threading
import unittest

import brokers
import raw
from manager import Manager
from programs import PATIENCE_S, PUBSUB, SANITIZED, Program, eventually, run_without_broker

RESTARTS = 10
PUBLISHERS = 3
BETWEEN = 5 if SANITIZED else 50  # messages of each publisher that come between two restarts, at least
CONFIG = """
[listener local]
url = {tcp}
[listener socket]
url = {unix}
[stream kept]
topics = kept/#
"""
SHUTTING_DOWN = 113


class Caller(threading.Thread):
    """Connects again and again, each time until it is welcome. What went wrong stands in `wrong`."""

    def __init__(self, url):
        super().__init__()
        self.url, self.wrong, self.calls, self.is_over = url, [], 0, threading.Event()

    def run(self):
        try:
            while not self.is_over.wait(0.002):
                self.call()
        except Exception as error:  # pylint: disable=broad-except
            self.wrong.append(repr(error))

    def call(self):
        """Raises ConnectionRefusedError if nobody listens."""
        with raw.Peer(self.url) as peer:
            self.calls += 1
            try:
                peer.send(raw.hello())
                first = peer.next()
            except ConnectionError:
                return  # it was with a broker that was killed
            if first is None:
                return  # likewise
            if first[0] != raw.WELCOME and first[:2] != [raw.BYE, SHUTTING_DOWN]:
                self.wrong.append(repr(first))

    def end(self):
        self.is_over.set()
        self.join(PATIENCE_S)


class Publisher:
    """`pub -l --ack stored`, fed with numbers until end()."""

    def __init__(self, url, topic):
        self.topic, self.count, self.is_over = topic, 0, threading.Event()
        self.program = Program([PUBSUB, "pub", "-s", url, "-l", "--ack", "stored", topic], stdin=subprocess.PIPE)
        self.thread = threading.Thread(target=self.feed)
        self.thread.start()

    def feed(self):
        try:
            while not self.is_over.wait(0.001):
                self.program.process.stdin.write(b"%d\n" % self.count)
                self.program.process.stdin.flush()
                self.count += 1
            self.program.process.stdin.close()
        except BrokenPipeError:
            pass  # its exit code says why

    def end(self):
        """No more. Returns its exit code, when all is acknowledged."""
        self.is_over.set()
        self.thread.join(PATIENCE_S)
        return self.program.wait()

    def stop(self):
        self.is_over.set()
        self.program.process.kill()
        self.thread.join()
        self.program.stop()


class Restart(unittest.TestCase):
    def setUp(self):
        self.manager = Manager()
        self.addCleanup(self.manager.close)
        self.tcp, self.unix = self.manager.tcp(), self.manager.unix()
        self.config = self.manager.dir / "pubsubd.conf"
        self.config.write_text(CONFIG.format(tcp=self.tcp, unix=self.unix))
        self.start()

    def start(self):
        self.manager.start("--config", self.config, "--data", self.manager.dir / "data")

    def end(self, number=signal.SIGTERM):
        code = self.manager.end(number)
        if number == signal.SIGTERM and code == 1 and brokers.DISK_IS_LATE in self.manager.said():
            return  # what it gave up was not acknowledged, so its publisher has it still
        self.assertEqual(code, 0 if number == signal.SIGTERM else -number, self.manager.said())

    def received(self, *arguments):
        """What `sub` prints, by topic."""
        done = run_without_broker("sub", "-s", self.unix, *arguments, "kept/#")
        self.assertEqual((done.code, done.stderr), (0, ""))
        return self.by_topic(done.stdout)

    @staticmethod
    def by_topic(output):
        found = {}
        for line in output.decode().splitlines():
            topic, payload = line.split("\t")
            found.setdefault(topic, []).append(int(payload))
        return found

    def test_nothing_is_lost_and_nobody_is_refused(self):
        callers = [Caller(self.tcp), Caller(self.unix)]
        publishers = [Publisher(self.tcp if n else self.unix, f"kept/{n}") for n in range(PUBLISHERS)]
        subscriber = Program([PUBSUB, "sub", "-s", self.tcp, "--durable", "reader", "--all", "kept/#"])
        for helper in *publishers, subscriber:
            self.addCleanup(helper.stop)
        for caller in callers:
            self.addCleanup(caller.end)
            caller.start()

        def came(least):
            found = self.by_topic(subscriber.stdout().rpartition(b"\n")[0])
            return all(len(found.get(publisher.topic, ())) >= least[publisher.topic] for publisher in publishers)

        for n in range(RESTARTS):
            found = self.by_topic(subscriber.stdout().rpartition(b"\n")[0])
            least = {publisher.topic: len(found.get(publisher.topic, ())) + BETWEEN for publisher in publishers}
            self.assertTrue(eventually(lambda: came(least)), self.manager.said())
            is_killed = n % 3 == 2
            self.end(signal.SIGKILL if is_killed else signal.SIGTERM)
            waiting = [raw.Peer(url) for url in (self.tcp, self.unix)]  # while no broker is there
            for peer in waiting:
                peer.send(raw.hello())
            self.start()
            for peer in waiting:
                with peer:
                    first = peer.next()
                    self.assertEqual(first[0], raw.WELCOME, first)

        for publisher in publishers:
            self.assertEqual(publisher.end(), 0, publisher.program.stderr())
        for caller in callers:
            caller.end()
            self.assertEqual(caller.wrong, [])
            self.assertGreater(caller.calls, RESTARTS)
        sent = {publisher.topic: list(range(publisher.count)) for publisher in publishers}
        self.assertEqual(self.received("--all", "--until-live"), sent)  # each is stored once, in its order
        last = {topic: len(numbers) for topic, numbers in sent.items()}
        self.assertTrue(eventually(lambda: all(
            set(self.by_topic(subscriber.stdout().rpartition(b"\n")[0]).get(topic, ())) >= set(range(count))
            for topic, count in last.items())), subscriber.stderr())
        self.assertNotIn("lost ", subscriber.stderr().replace("lost connection", ""))
        self.end()


if __name__ == "__main__":
    unittest.main()
