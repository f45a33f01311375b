"""Brokers that show NATS servers files of credentials: those of one account meet, and share streams; who is refused, or may not all that
a broker needs, is told so in a sentence, and serves its own clients."""
import pathlib
import tempfile
import unittest

import brokers
import cluster
import raw
from cluster_case import Subscriber, document
from nkeys import Account, Key, Operator
from programs import fresh_topic

SHARED_STREAM = """
[stream orders]
topics = orders/#
store = jetstream
replicas = 1
max_bytes = 10m
"""
SPACE = 256 << 20  # what an account may store, in bytes
LIVES_S = 10


class Credentials(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cluster.require()
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        cls.addClassCleanup(directory.cleanup)
        cls.dir = pathlib.Path(directory.name).resolve()
        operator = Operator(cls.dir)
        cls.account = operator.account("brokers", jetstream=SPACE)
        cls.others = operator.account("others", jetstream=SPACE)
        cls.storeless = operator.account("storeless")
        right = cls.account.credentials("right")
        cls.cluster = cluster.Cluster(hosts=2, servers=1, cluster=f"credentials = {right}", config=SHARED_STREAM,
                                      server_config=operator.config)
        cls.addClassCleanup(cls.cluster.stop)
        cls.nats = cls.cluster.servers[0].url
        cls.urls = [broker.unix for broker in cls.cluster.brokers]

    def start(self, name, credentials, more=""):
        broker = brokers.Broker(config=f"[cluster]\nname = {name}\nurl = {self.nats}\ncredentials = {credentials}\n{more}")
        self.addCleanup(broker.stop)
        return broker

    def says(self, broker, *texts):
        cluster.wait_for(lambda: all(text in broker.said() for text in texts), lambda: f"{texts}; it said: {broker.said()}")

    def subscriber(self, url, *patterns, **options):
        subscriber = Subscriber(url, *patterns, **options)
        self.addCleanup(subscriber.close)
        return subscriber

    def publish(self, url, topic, *values, terms=raw.ROUTED):
        with raw.welcomed(url) as peer:
            peer.tell(raw.PUB, 1, terms)
            peer.send(b"".join(raw.frame(raw.MSG, topic, None, document(value)) for value in values))
            while (got := peer.answer(raw.PUBACK))[1] < len(values):
                self.assertLess(got[2], 200, got)
            self.assertLess(got[2], 200, got)

    def assert_serves(self, broker):
        """Its own clients."""
        topic = fresh_topic()
        subscriber = self.subscriber(broker.tcp, topic, scope="local")
        self.publish(broker.unix, topic, "here")
        self.assertEqual(subscriber.next_message()[2], "here")

    # ---- the right ones ----

    def test_brokers_meet(self):
        topic = fresh_topic()
        for one, other in ((0, 1), (1, 0)):
            subscriber = self.subscriber(self.urls[one], topic)
            self.publish(self.urls[other], topic, *range(10))
            self.assertEqual(subscriber.documents(10), list(range(10)))

    def test_they_share_a_stream(self):
        topic = f"orders/{fresh_topic()}"
        self.publish(self.urls[0], topic, "a", "b", terms=raw.STORED)
        subscriber = self.subscriber(self.urls[1], topic, **{"from": "all"})
        self.publish(self.urls[1], topic, "c", terms=raw.STORED)
        found = []
        while len(found) < 3:
            frame = subscriber.next()
            self.assertNotIn(frame[0], (raw.GAP, raw.BYE, raw.ERR), frame)
            if frame[0] == raw.MSG:
                found.append(raw.msgpack.unpackb(frame[3]))
        self.assertEqual(found, ["a", "b", "c"])

    def test_they_share_what_is_retained(self):
        topic = fresh_topic()
        self.publish(self.urls[0], topic, "kept", terms=raw.ROUTED | raw.RETAIN)
        # Whoever shows the same file later gets it from what is stored.
        late = self.start("late", self.account.credentials("late"))
        self.says(late, "connected to what the cluster stores")

        def is_there():
            with raw.welcomed(late.unix) as peer:
                peer.tell(raw.SUB, 1, topic, {})
                return any(frame[0] == raw.MSG for frame in peer.ping())

        cluster.wait_for(is_there, lambda: f"the retained value is there; it said: {late.said()}")

    # ---- those that are refused ----

    def assert_refused(self, name, credentials, *reasons):
        broker = self.start(name, credentials)
        told = f"no connection to {self.nats}: Authorization Violation: credentials '{credentials}'"
        self.says(broker, f"the cluster is away, and this broker alone meanwhile: {told}",
                  f"what the cluster stores is away: {told}", *reasons)
        self.assert_serves(broker)
        self.assertEqual(broker.said().count("warning:"), 2, broker.said())
        return broker

    def test_forged(self):
        self.assert_refused("forged", self.account.credentials("forged", signer=Key(self.dir, "account")))

    def test_of_another_operator(self):
        stranger = Account(Key(self.dir, "operator"), self.dir, "stranger", jetstream=SPACE)
        self.assert_refused("stranger", stranger.credentials("stranger"))

    def test_expired_and_replaced(self):
        path = self.account.credentials("expired", lives_s=-60)
        broker = self.assert_refused("expired", path, f"{path}' expired at 2")
        self.assertEqual(self.account.credentials("expired"), path)
        self.says(broker, f"connected to the cluster as 'expired', through {self.nats}", "connected to what the cluster stores")

    def test_they_expire_meanwhile(self):
        path = self.account.credentials("short", lives_s=LIVES_S)
        broker = self.start("short", path)
        self.says(broker, "the cluster is away")
        self.assertRegex(broker.said(), r"the cluster is away, and this broker alone meanwhile: "
                                        r"(.* broke: .*Authentication Expired|.* expired at 2)")
        self.assert_serves(broker)
        self.account.credentials("short")
        self.says(broker, f"connected to the cluster as 'short', through {self.nats}")

    def test_files_that_are_none(self):
        good = self.account.credentials("good").read_text()
        needs = "must hold a user's JWT and, behind it, the seed of its key"
        for text, error in (("", needs), ("nothing\n", needs), (good[:good.index("-----BEGIN USER NKEY SEED")], needs),
                            ("-----BEGIN NATS USER JWT-----\n\n-----BEGIN USER NKEY SEED-----\n\n", needs),
                            (good.replace("\nSU", "\nSA"), "holds no valid seed of a key"), ("\0" * 100000, needs)):
            path = self.dir / "none.creds"
            path.write_text(text)
            path.chmod(0o600)
            with self.assertRaises(AssertionError) as raised:
                self.start("none", path)
            self.assertIn(f"it said: pubsubd: [cluster]: credentials: '{path}' {error}\n", str(raised.exception))

    # ---- those that may not all ----

    def test_of_another_account(self):
        """It is alone there, and no servers are to blame."""
        topic = fresh_topic()
        subscriber = self.subscriber(self.urls[0], topic)
        broker = self.start("other", self.others.credentials("other"))
        self.says(broker, f"connected to the cluster as 'other', through {self.nats}", "connected to what the cluster stores")
        self.publish(broker.unix, topic, "from another account")
        self.publish(self.urls[1], topic, "from this one")
        self.assertEqual(subscriber.next_message()[2], "from this one")
        self.assertNotIn("'other'", self.cluster.brokers[0].said())
        self.assert_serves(broker)

    def test_of_an_account_without_jetstream(self):
        broker = self.start("storeless", self.storeless.credentials("storeless"), SHARED_STREAM)
        self.says(broker, "something does not work in the cluster: the bucket of shared records KV_pubsub-records: "
                          "JetStream not enabled for account",
                  "stream 'orders' is away: the shared stream pubsub-stream-orders: JetStream not enabled for account")
        self.assert_serves(broker)

    def test_who_may_not_listen(self):
        broker = self.start("deaf", self.account.credentials("deaf", subscribe={"deny": ["pubsub.>"]}))
        self.says(broker, "the cluster is away, and this broker alone meanwhile: the server does not let it listen: "
                          "Permissions Violation for Subscription to \"pubsub.")
        self.assert_serves(broker)

    def assert_forbidden(self, name, what, **permissions):
        broker = self.start(name, self.account.credentials(name, **permissions))
        self.says(broker, f"something does not work in the cluster: the server forbids this broker something: "
                          f"Permissions Violation for {what}")
        self.assert_serves(broker)

    def test_who_may_not_speak(self):
        self.assert_forbidden("mute", 'Publish to "pubsub.', publish={"deny": ["pubsub.>"]})

    def test_who_may_not_store(self):
        self.assert_forbidden("storing", 'Publish to "$JS.API.STREAM.INFO.KV_pubsub-records"', publish={"allow": ["pubsub.>"]})

    def test_who_may_not_be_answered(self):
        self.assert_forbidden("unanswered", 'Subscription to "_INBOX.', subscribe={"allow": ["pubsub.>"]})

    def test_what_a_broker_needs(self):
        """As docs/cluster.md has it, and no more."""
        needs = {"publish": {"allow": ["pubsub.>", "$JS.API.>", "$KV.pubsub-records.>", "$JS.FC.>"]},
                 "subscribe": {"allow": ["pubsub.to.needy", "pubsub.all", "_INBOX.>"]}}
        broker = self.start("needy", self.account.credentials("needy", **needs), SHARED_STREAM)
        self.says(broker, "connected to the cluster as 'needy'", "connected to what the cluster stores", "broker 'host0' is there")
        topic = fresh_topic()
        here = self.subscriber(broker.unix, topic, f"orders/{topic}")
        there = self.subscriber(self.urls[0], topic, f"orders/{topic}")
        self.publish(broker.unix, topic, 1)
        self.publish(broker.unix, f"orders/{topic}", 2, terms=raw.STORED)
        self.assertEqual(there.documents(2), [1, 2])
        self.publish(self.urls[0], topic, 3)
        self.assertEqual(sorted(here.documents(3)), [1, 2, 3])
        self.publish(broker.unix, topic, "kept", terms=raw.ROUTED | raw.RETAIN)

        def is_there():
            with raw.welcomed(self.urls[1]) as peer:
                peer.tell(raw.SUB, 1, topic, {})
                return any(frame[0] == raw.MSG for frame in peer.ping())

        cluster.wait_for(is_there, lambda: f"the retained value is at another broker; it said: {broker.said()}")
        self.assertNotIn("forbids", broker.said())


if __name__ == "__main__":
    unittest.main()
