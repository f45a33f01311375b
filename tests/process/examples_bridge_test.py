"""The library's bridge between two brokers: all that one has stored gets to the other, in order, whatever ends meanwhile."""
import collections
import json
import random
import signal
import time
import unittest

import brokers
from examples_test import Examples
from programs import eventually, run_without_broker, scaled



class Bridge(Examples):
    @classmethod
    def setUpClass(cls):
        cls.brokers = {}
        for name in "a", "b", "c":
            cls.brokers[name] = brokers.Broker(arguments=["--durable", "site/#"])
            cls.addClassCleanup(cls.brokers[name].stop)
        cls.url = cls.brokers["a"].unix

    def bridge(self, name, source, target, pattern="site/#"):
        return self.start("bridge", name, source, self.brokers[source].unix, target, self.brokers[target].unix, pattern,
                          until="open")

    def cli(self, where, *arguments, stdin=b""):
        done = run_without_broker(*arguments, stdin=stdin, PUBSUB_URL=self.brokers[where].unix)
        self.assertEqual((done.stderr, done.code), ("", 0), arguments)
        return done.stdout.decode()

    def publish(self, where, topic, *texts):
        self.cli(where, "pub", "-l", "--ack", "stored", topic, stdin="".join(f"{text}\n" for text in texts).encode())

    def kept(self, where, topic):
        return self.cli(where, "sub", "--all", "--until-live", "-o", "payload", topic).splitlines()

    def arrives(self, where, topic, texts):
        """Waits until just these are there, in this order."""
        texts = [str(text) for text in texts]
        self.assertTrue(eventually(lambda: len(self.kept(where, topic)) >= len(texts)), self.kept(where, topic))
        self.assertEqual(self.kept(where, topic), texts)

    def end(self, *bridges):
        for bridge in bridges:
            bridge.process.send_signal(signal.SIGTERM)
        for bridge in bridges:
            self.assertEqual((bridge.wait(), bridge.stderr()), (0, ""))

    def test_one_way_with_everything_that_belongs_to_a_message(self):
        self.publish("a", "site/old", "before the bridge")
        bridge = self.bridge("one", "a", "b")
        self.arrives("b", "site/old", ["before the bridge"])
        for headers in 0, 1, 14, 15, 16, 40:
            topic = f"site/headers/{headers}"
            words = [word for n in range(headers) for word in ("-H", f"h{n}=v{n}")]
            self.cli("a", "pub", "--ack", "stored", *words, topic, "text")
            self.arrives("b", topic, ["text"])
            message = json.loads(self.cli("b", "sub", "--all", "--until-live", "-o", "json", topic))
            self.assertEqual(message["headers"], {**{f"h{n}": f"v{n}" for n in range(headers)}, "via/a": ""})
        self.publish("b", "site/back", "stays")
        self.publish("a", "site/last", "goes")
        self.arrives("b", "site/last", ["goes"])
        self.assertEqual(self.kept("a", "site/back"), [])
        self.end(bridge)

    def test_both_ways_and_a_ring(self):
        pairs = ("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"), ("c", "a"), ("a", "c")
        both = [self.bridge(f"ring-{source}{target}", source, target) for source, target in pairs[:2]]
        self.publish("a", "site/both/1", *range(50))
        self.publish("b", "site/both/2", *range(50))
        self.arrives("b", "site/both/1", range(50))
        self.arrives("a", "site/both/2", range(50))
        self.end(*both)
        one_way = [self.bridge(f"way-{source}{target}", source, target, "site/ring/#")
                   for source, target in (pairs[0], pairs[2], pairs[4])]
        for name in "abc":
            self.publish(name, f"site/ring/{name}", *range(20))
        for where in "abc":
            for name in "abc":
                self.arrives(where, f"site/ring/{name}", range(20))
        self.publish("a", "site/ring/end", "end")  # and nothing has come back until this has
        self.arrives("c", "site/ring/end", ["end"])
        for where in "abc":
            for name in "abc":
                self.arrives(where, f"site/ring/{name}", range(20))
        self.end(*one_way)

    def test_both_brokers_die(self):
        bridge = self.bridge("mortal", "a", "b", "site/mortal")
        count = 0
        for turn in range(scaled(12, 4)):
            victim = self.brokers["ab"[turn % 2]]
            self.publish("a", "site/mortal", *range(count, count + 100))
            count += 100
            victim.kill()
            if turn % 4 == 1:
                self.publish("a", "site/mortal", *range(count, count + 100))
                count += 100
            victim.start()
        self.arrives("b", "site/mortal", range(count))
        self.assertEqual(bridge.process.poll(), None)
        bridge.process.send_signal(signal.SIGTERM)
        self.assertEqual(bridge.wait(), 0, bridge.stderr())

    def test_the_bridge_dies(self):
        """What it had not acknowledged it carries again: nothing is lost, something may be there twice, in two rows."""
        chance, count, rounds = random.Random(3), 0, scaled(15, 4)
        for turn in range(rounds):
            bridge = self.bridge("dying", "a", "b", "site/dying")
            if turn % 2 == 1:  # it has what it carries in its own memory only
                self.brokers["b"].kill()
            self.publish("a", "site/dying", *range(count, count + 200))
            count += 200
            time.sleep(chance.uniform(0, 0.03))  # any moment: nothing depends on which
            bridge.process.kill()
            bridge.wait()
            if turn % 2 == 1:
                self.brokers["b"].start()
        bridge = self.bridge("dying", "a", "b", "site/dying")
        self.publish("a", "site/dying", "last")
        self.assertTrue(eventually(lambda: self.kept("b", "site/dying")[-1:] == ["last"]))
        kept = self.kept("b", "site/dying")[:-1]
        self.assertEqual(list(collections.OrderedDict.fromkeys(kept)), [str(n) for n in range(count)])
        back = sum(int(second) <= int(first) for first, second in zip(kept, kept[1:]))
        self.assertLessEqual(back, rounds)
        self.end(bridge)

    def test_what_can_not_be_carried(self):
        small = brokers.Broker(config="[limits]\nmax_payload = 4k\n[stream site]\ntopics = site/ok\n")
        self.addCleanup(small.stop)
        self.brokers["small"] = small
        dead = self.subscriber("-o", "topic", "$dead/site/ok", "ready", ready="ready")
        bridge = self.bridge("narrow", "a", "small", "site/ok")
        self.publish("a", "site/ok", "x" * 5000, "fits")
        self.arrives("small", "site/ok", ["fits"])
        self.assertTrue(eventually(lambda: dead.stdout().count(b"$dead/site/ok\n") == 1), bridge.stderr())
        self.assertIn("larger than the limit", bridge.stderr())
        bridge.process.kill()

    def test_usage_and_no_stream(self):
        self.assertEqual(self.run_example("bridge", "n", "a", "unix:/a", "b", "unix:/b")[2], 2)
        self.assertEqual(self.run_example("bridge", "n", "a", "unix:/a", 'b"', "unix:/b", "#")[2], 2)
        out, err, code = self.run_example("bridge", "n", "a", self.brokers["a"].unix, "b", self.brokers["b"].unix, "x/#")
        self.assertEqual((out, code), ("", 1))
        self.assertRegex(err, r"^bridge: .*no stream.*\n$")


if __name__ == "__main__":
    unittest.main(verbosity=2)
