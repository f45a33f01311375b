"""A publisher and a subscriber that go about their business while something else happens to the broker."""
import contextlib
import threading

import raw

BATCH = 50


class Bystanders:
    """Publishes numbered messages, each acknowledged, and checks that every one arrives, once and in order."""

    def __init__(self, url):
        self.subscriber = raw.welcomed(url)
        self.subscriber.tell(raw.SUB, 1, "bystanders/+/news", {})
        self.subscriber.answer(raw.SUBACK)
        self.publisher = raw.welcomed(url)
        self.publisher.tell(raw.PUB, 1, raw.ROUTED)
        self.alone = True  # nobody else subscribes to what is published here
        self.arrived = 0
        self.error = None
        self.stopping = threading.Event()
        self.working = threading.Lock()  # held while a batch is on its way
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            while not self.stopping.wait(0.002):
                with self.working:
                    self._publish_batch()
        except Exception as error:  # whatever it was: the test that sees it fails
            self.error = error

    def _publish_batch(self):
        last = self.arrived + BATCH
        numbers = range(self.arrived + 1, last + 1)
        self.publisher.send(b"".join(raw.frame(raw.MSG, f"bystanders/{n % 3}/news", None, b"%d" % n) for n in numbers))
        for number in numbers:
            message = self.subscriber.answer(raw.MSG)
            if message != [raw.MSG, f"bystanders/{number % 3}/news", None, b"%d" % number]:
                raise AssertionError(f"message {number} was due, but there came {message}")
            self.arrived = number
        while (ack := self.publisher.answer(raw.PUBACK))[1] < last:
            self._check_ack(ack)
        self._check_ack(ack)

    def _check_ack(self, ack):
        if ack[2] != 0 or ack[3] < 1 or ack[4] != 0 or (self.alone and ack[3] != 1):
            raise AssertionError(f"a bystander's publishes were answered with {ack}")

    def check(self, more=2 * BATCH):
        """Waits until that many more messages have arrived. Raises what went wrong since the start, if anything did."""
        wanted = self.arrived + more
        raw.eventually(lambda: self.error or self.arrived >= wanted, 60)
        if self.error:
            raise self.error
        if self.arrived < wanted:
            raise AssertionError(f"bystanders: only {self.arrived} messages arrived, {wanted} were due")

    @contextlib.contextmanager
    def paused(self):
        """Nothing is on its way meanwhile."""
        with self.working:
            yield

    def stop(self):
        self.stopping.set()
        self.thread.join(60)
        self.publisher.close()
        self.subscriber.close()
