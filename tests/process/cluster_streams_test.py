"""Three brokers on three NATS servers that share streams: acknowledged as replicated at one, read at any, gone on with at another."""
import unittest

import raw
from cluster_case import StreamsTest
from programs import eventually, fresh_topic, run_without_broker

ONE = 1  # a kind of ACK


class Streams(StreamsTest):
    def test_written_at_one_read_at_each(self):
        topic = self.topic()
        for host in range(3):
            self.publish_replicated(host, topic, *(f"{host} {n}" for n in range(50)))
        values = [f"{host} {n}" for host in range(3) for n in range(50)]
        found = [self.read_values(host, topic, values) for host in range(3)]
        self.assertEqual(found[1:], found[:-1])  # the same positions

    def test_caught_up_is_behind_what_another_broker_acknowledged(self):
        topic = self.topic()
        publisher, reader = self.peer(0), self.peer(1)
        publisher.tell(raw.PUB, 1, raw.REPLICATED)
        for number in range(1, 101):
            publisher.tell(raw.MSG, topic, None, raw.msgpack.packb(number))
            self.assertEqual(publisher.answer(raw.PUBACK)[1], number)
            reader.tell(raw.SUB, number, topic, {"from": ["last", 1], "retained": 2})
            found = [frame for frame in reader.until(raw.MARK) if frame[0] == raw.MSG]
            self.assertEqual(raw.msgpack.unpackb(found[-1][3]), number)
            reader.tell(raw.UNSUB, number)
            reader.answer(raw.MARK)

    def test_a_reader_goes_on_with_what_comes(self):
        topic = self.topic()
        self.publish_replicated(0, topic, 1, 2)
        reader = self.peer(1)
        reader.tell(raw.SUB, 1, topic, {"from": "all", "retained": 2})
        self.publish_replicated(2, topic, 3, 4)
        found = []
        while len(found) < 4:
            frame = reader.next()
            self.assertNotEqual(frame[0], raw.GAP, frame)
            if frame[0] == raw.MSG:
                found.append(raw.msgpack.unpackb(frame[3]))
        self.assertEqual(found, [1, 2, 3, 4])

    def test_a_plain_subscriber_gets_it_at_once(self):
        topic = self.topic()
        subscriber = self.subscriber(1, topic)
        self.publish_replicated(0, topic, 1, 2, 3)
        self.assertEqual(subscriber.documents(3), [1, 2, 3])

    def test_from_a_position(self):
        topic = self.topic()
        self.publish_replicated(0, topic, 1, 2)
        last = self.publish_replicated(0, topic, 3)
        self.read_values(1, topic, [1, 2, 3])
        stream = run_without_broker("stream", "info", "-s", self.urls[1], "orders").stdout.decode()
        self.assertIn("orders", stream)
        done = run_without_broker("sub", "-s", self.urls[1], "--from-seq", f"orders:{last}", "--until-live", topic)
        self.assertEqual((done.stdout, done.stderr, done.code), (b"3\n", "", 0))

    def test_sent_again_at_another_broker_it_is_stored_once(self):
        topic, name = self.topic(), fresh_topic().replace("/", "-")
        who = {"id": name, "sess": 600, "boot": 7}
        self.publish_replicated(0, topic, "a", "b", "c", **who)
        self.publish_replicated(1, topic, "a", "b", "c", "d", **who)
        self.publish_replicated(2, topic, "d", "e", first=4, **who)
        for host in range(3):
            self.read_values(host, topic, ["a", "b", "c", "d", "e"])

    def test_a_topic_of_no_stream_is_not_replicated(self):
        done = run_without_broker("pub", "-s", self.urls[0], "--ack", "replicated", fresh_topic(), "x")
        self.assertEqual(done.code, 5)
        self.assertIn("replicated", done.stderr)

    def test_the_command_line(self):
        topic = self.topic()
        done = run_without_broker("pub", "-s", self.urls[0], "--ack", "replicated", topic, "x")
        self.assertEqual((done.stderr, done.code), ("", 0))
        done = run_without_broker("sub", "-s", self.urls[1], "--all", "-n", "1", topic)
        self.assertEqual((done.stdout, done.stderr, done.code), (b"x\n", "", 0))

    def acknowledged(self, host, name, topic, count):
        """A durable subscription, here: the next messages, each acknowledged. It leaves."""
        found = []
        with raw.welcomed(self.urls[host], id=name, sess=600) as peer:
            peer.tell(raw.SUB, 1, topic, {"from": "all", "durable": True, "ack": "each", "retained": 2})
            while len(found) < count:
                frame = peer.next()
                self.assertNotIn(frame[0], (raw.GAP, raw.ERR, raw.BYE), frame)
                if frame[0] == raw.FOR:
                    stream, position = frame[3:5]
                elif frame[0] == raw.MSG:
                    found.append(raw.msgpack.unpackb(frame[3]))
                    peer.tell(raw.ACK, 1, stream, position, ONE)
                    position += 1
            peer.ping()
        return found

    def test_a_durable_client_goes_on_at_another_broker(self):
        topic, name = self.topic(), fresh_topic().replace("/", "-")
        self.publish_replicated(0, topic, *range(30))
        found = []
        for host in (0, 1, 2, 0):
            found += self.acknowledged(host, name, topic, 5)
        # The brokers where it was are there, and have answered its PING: so they know what it acknowledged.
        self.assertEqual(found, list(range(20)))

    def test_a_group_reads_each_message_at_one_broker(self):
        topic, group = self.topic(), fresh_topic().replace("/", "-")
        self.publish_replicated(0, topic, *range(40))
        members = [self.peer(host) for host in range(3)]
        for member in members:
            member.tell(raw.SUB, 1, topic, {"from": "all", "group": group, "ack": "each", "retained": 2})
            member.answer(raw.SUBACK)
        found = []

        def take():
            for member in members:
                for frame in member.ping():
                    if frame[0] == raw.FOR:
                        member.at = frame[3:5]
                    elif frame[0] == raw.MSG:
                        found.append(raw.msgpack.unpackb(frame[3]))
                        member.tell(raw.ACK, 1, *member.at, ONE)
                        member.at[1] += 1
            return len(set(found)) == 40
        self.assertTrue(eventually(take), found)
        self.assertEqual(sorted(found), list(range(40)))


if __name__ == "__main__":
    unittest.main()
