"""Three brokers on three NATS servers: what is published at one comes to those who want it at the others."""
import unittest

import raw
from cluster_case import ClusterTest, Subscriber, document
from programs import PUBSUB, Program, eventually, fresh_topic, run_without_broker, scaled

TAKEN_OVER = 109
ROUNDS = 400     # after a subscription that waits for the others, so many first messages all come
RUN = 20_000     # messages, as fast as they go
BIG = 1 << 20    # the largest payload


class Live(ClusterTest):
    def test_from_each_to_each(self):
        topic = fresh_topic()
        subscribers = [self.subscriber(host, topic) for host in range(3)]
        for host in range(3):
            self.publish(host, topic, *(f"{host} {n}" for n in range(100)))
        for subscriber in subscribers:
            self.assertEqual(subscriber.granted, [{}])
            found = subscriber.documents(300)
            for host in range(3):  # in the order of each origin, whatever comes between
                self.assertEqual([text for text in found if text[0] == str(host)], [f"{host} {n}" for n in range(100)])

    def test_each_subscription_gets_its_own_copy_once(self):
        topic = fresh_topic()
        here = self.subscriber(0, f"{topic}/+/c", f"{topic}/#", f"{topic}/b/c")
        there = self.subscriber(1, f"{topic}/#")
        self.publish(2, f"{topic}/b/c", 1)
        self.publish(2, f"{topic}/b/d", 2)
        self.publish(2, f"{topic}/x/c", 3)
        found = [here.next_message()[::2] for _ in range(6)]
        self.assertEqual(sorted(found), [(1, 1), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1)])
        self.assertEqual(there.documents(3), [1, 2, 3])
        self.assert_silent(2, there, f"{topic}/e")

    def test_a_run_keeps_its_order(self):
        topic, count = fresh_topic(), scaled(RUN, 1000)
        subscribers = [self.subscriber(host, topic, max_msgs=10 * RUN) for host in (1, 2)]
        with raw.welcomed(self.urls[0]) as peer:
            for begin in range(0, count, 500):
                peer.send(b"".join(raw.frame(raw.MSG, topic, None, document(n)) for n in range(begin, min(begin + 500, count))))
            peer.ping()
        for subscriber in subscribers:
            self.assertEqual(subscriber.documents(count), list(range(count)))

    def test_large(self):
        topic = fresh_topic()
        subscriber = self.subscriber(2, topic)
        payload = b"\xc6" + (BIG - 5).to_bytes(4, "big") + bytes(BIG - 5)
        with raw.welcomed(self.urls[0]) as peer:
            for _ in range(3):
                peer.tell(raw.MSG, topic, None, payload)
            peer.ping()
        self.assertEqual([len(text) for text in subscriber.documents(3)], [BIG - 5] * 3)

    def test_properties_travel(self):
        topic = fresh_topic()
        subscriber = self.subscriber(1, topic)
        with raw.welcomed(self.urls[0]) as peer:
            peer.tell(raw.MSG, topic, {1: "text/plain"}, document("x"))
            peer.ping()
        message = next(frame for frame in iter(subscriber.next, None) if frame[0] == raw.MSG)
        self.assertEqual(message[2], {1: "text/plain"})

    def test_the_first_message_after_a_subscription_comes(self):
        """Of a subscription that waits for the others; without that, a fifth of them would not."""
        count = scaled(ROUNDS, 40)
        with raw.welcomed(self.urls[1]) as publisher:
            for n in range(count):
                topic = fresh_topic()
                with Subscriber(self.urls[0], topic) as subscriber:
                    publisher.tell(raw.MSG, topic, None, document(n))
                    self.assertEqual(subscriber.next_message()[2], n)

    def test_who_left_gets_nothing(self):
        topic = fresh_topic()
        subscriber = self.subscriber(0, topic, f"{topic}/other")
        subscriber.tell(raw.UNSUB, 1)
        subscriber.answer(raw.MARK)
        self.publish(1, topic, "not this")
        self.publish(1, f"{topic}/other", "this")
        self.assertEqual(subscriber.next_message()[::2], (2, "this"))

    def test_must_route_finds_those_elsewhere(self):
        topic = fresh_topic()
        subscriber = self.subscriber(0, topic)
        self.publish(1, topic, 1, flags=raw.MUST_ROUTE)
        self.assertEqual(subscriber.documents(1), [1])

    def test_retained(self):
        topic = fresh_topic()

        def held(host):
            return run_without_broker("get", "-s", self.urls[host], topic).stdout

        for host, text in ((0, b"one"), (2, b"two"), (1, b"three")):
            done = run_without_broker("pub", "-s", self.urls[host], "-r", topic, text.decode())
            self.assertEqual((done.stderr, done.code), ("", 0))
            for other in range(3):
                self.assertTrue(eventually(lambda: held(other) == text + b"\n"), (host, other, held(other)))
        done = run_without_broker("pub", "-s", self.urls[2], "-r", "--bin", topic, stdin=b"")
        self.assertEqual((done.stderr, done.code), ("", 0))
        for other in range(3):
            self.assertTrue(eventually(lambda: held(other) == b""), (other, held(other)))

    def test_request_and_reply(self):
        topic = fresh_topic()
        server = Program([PUBSUB, "reply", "-s", self.urls[0], topic, "--echo"])
        self.addCleanup(server.stop)
        self.assertTrue(eventually(
            lambda: run_without_broker("req", "-s", self.urls[2], "--timeout", "1s", topic, "ready").code == 0), server.stderr())
        for host in range(3):
            done = run_without_broker("req", "-s", self.urls[host], "--timeout", "100s", topic, f"from {host}")
            self.assertEqual((done.stdout, done.stderr, done.code), (f"from {host}\n".encode(), "", 0))

    def test_the_same_client_elsewhere_takes_over(self):
        name = fresh_topic().replace("/", "-")
        first = self.peer(0, id=name, sess=600)
        second = self.peer(1, id=name, sess=600)
        self.assertEqual(first.answer(raw.BYE)[1], TAKEN_OVER)
        second.ping()

    def test_status_shows_the_others(self):
        done = run_without_broker("status", "-s", self.urls[0])
        self.assertEqual((done.stderr, done.code), ("", 0))
        for other in ("host1", "host2"):
            self.assertIn(other, done.stdout.decode())


class Groups(ClusterTest):
    def members(self, topic, *hosts):
        return {host: self.subscriber(host, topic, group="workers") for host in hosts}

    def receive(self, members, values):
        """Who got what, {host: [document]}, when each of these came to one of them."""
        found, left = {host: [] for host in members}, set(values)

        def take():
            for host, member in members.items():
                for frame in member.ping():
                    if frame[0] == raw.MSG:
                        value = raw.msgpack.unpackb(frame[3])
                        self.assertIn(value, left, "twice, or never sent")
                        left.remove(value)
                        found[host].append(value)
            return not left
        self.assertTrue(eventually(take), (found, left))
        return found

    def test_local_members_come_first(self):
        topic = fresh_topic()
        members = self.members(topic, 0, 1)
        self.publish(0, topic, *range(50))
        self.assertEqual(self.receive(members, range(50)), {0: list(range(50)), 1: []})
        self.publish(1, topic, *range(50, 100))
        self.assertEqual(self.receive(members, range(50, 100)), {0: [], 1: list(range(50, 100))})

    def test_without_local_members_each_message_goes_to_one(self):
        topic = fresh_topic()
        members = self.members(topic, 0, 1)
        for n in range(100):
            self.publish(2, topic, n)
        found = self.receive(members, range(100))
        self.assertTrue(all(found.values()), found)  # by turns
        for part in found.values():
            self.assertEqual(part, sorted(part))

    def test_when_the_local_members_leave_the_others_take_over(self):
        topic = fresh_topic()
        members = self.members(topic, 0, 1)
        self.publish(0, topic, 1)
        self.assertEqual(self.receive(members, [1]), {0: [1], 1: []})
        members.pop(0).goodbye()
        # Who resends to a group that rests meanwhile finds out by the answer of another broker.
        other = members[1]
        numbers = iter(range(2, 10_000))

        def reached():
            self.publish(0, topic, next(numbers))
            return any(frame[0] == raw.MSG for frame in other.ping())
        self.assertTrue(eventually(reached))


if __name__ == "__main__":
    unittest.main()
