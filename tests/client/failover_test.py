"""A client that is given two brokers: it is always at one that lives."""
import unittest

import brokers
from programs import Subscriber, eventually, run_without_broker


class Failover(unittest.TestCase):
    def setUp(self):
        self.brokers = [brokers.Broker() for _ in range(2)]
        for broker in self.brokers:
            self.addCleanup(broker.stop)
        self.urls = f"{self.brokers[0].unix},{self.brokers[1].tcp}"

    def reaches(self, broker, text):
        return run_without_broker("pub", "-s", broker.unix, "--require", "1", "news", text).code == 0

    def await_output(self, subscriber, output):
        self.assertTrue(eventually(lambda: subscriber.stdout() == output), subscriber.stdout())

    def test_it_goes_where_a_broker_is(self):
        first, second = self.brokers
        subscriber = Subscriber(self.urls, "-o", "payload", "news", probe=False)
        self.addCleanup(subscriber.stop)
        self.assertTrue(eventually(lambda: self.reaches(first, "1")), subscriber.stderr())
        self.assertFalse(self.reaches(second, "not heard"))
        self.await_output(subscriber, b"1\n")  # that it was sent to it does not say that it left the broker
        first.kill()
        self.assertTrue(eventually(lambda: self.reaches(second, "2")), subscriber.stderr())
        first.start()
        self.assertFalse(self.reaches(first, "not heard"))  # it has no reason to leave
        self.await_output(subscriber, b"1\n2\n")
        second.kill()
        self.assertTrue(eventually(lambda: self.reaches(first, "3")), subscriber.stderr())
        self.await_output(subscriber, b"1\n2\n3\n")

    def test_one_message_with_the_first_that_is_there(self):
        first, second = self.brokers
        first.kill()
        subscriber = Subscriber(second.unix, "-o", "payload", "news")
        self.addCleanup(subscriber.stop)
        self.assertEqual(run_without_broker("pub", "-s", self.urls, "news", "text"), (b"", "", 0))
        self.assertTrue(eventually(lambda: subscriber.lines() == b"text\n"), subscriber.stdout())
        second.kill()
        done = run_without_broker("pub", "-s", self.urls, "news", "text")
        self.assertEqual(done.code, 3)
        self.assertEqual(done.stderr, f"pubsub: cannot connect to any of 2 brokers: {first.unix}: Connection refused; "
                                      f"{second.tcp}: Connection refused\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
