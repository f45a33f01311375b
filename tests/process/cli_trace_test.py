"""`pubsub trace`: what it prints of messages, for people and as JSON, how it ends, and who may."""
import json
import os
import signal
import unittest

import brokers
from programs import CliTest, PUBSUB, Program, eventually, fresh_topic, run_without_broker


class Tracer(Program):
    """A running `pubsub trace`, which is armed when it is returned."""

    def __init__(self, url, *arguments):
        super().__init__([PUBSUB, "trace", "-s", url, *arguments])
        if not eventually(lambda: self.process.poll() is not None or "tracing" in self.stderr()):
            self.stop()
            raise AssertionError("the trace is not armed")

    def lines(self):
        return self.stdout().decode().splitlines()

    def events(self):
        return [json.loads(line) for line in self.lines()]


class TraceTest(CliTest):
    def trace(self, *arguments, url=None):
        tracer = Tracer(url or self.url, *arguments)
        self.addCleanup(tracer.stop)
        return tracer

    def refused(self, code, *arguments):
        done = self.run_cli("trace", *arguments)
        self.assertEqual((done.stdout, done.code), (b"", code), done.stderr)
        self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
        return done.stderr


class Following(TraceTest):
    BROKER = {"arguments": ["--durable", "kept/#"]}

    def test_for_people(self):
        topic = fresh_topic()
        self.subscriber("--id", "yes", topic)
        tracer = self.trace(topic)
        self.assertEqual(tracer.stderr(), f"pubsub: tracing '{topic}'\n")
        self.ok("pub", "--id", "who", topic, "hello")
        self.assertEqual(tracer.wait(), 0, tracer.stderr())
        lines = tracer.lines()
        self.assertRegex(lines[0], rf"^{topic}: \d+ bytes, \d{{4}}-\d\d-\d\dT[\d:.]+Z, from who, at unix,uid:\d+ "
                                   r"by listener unix:/.*, to be acknowledged as routed$")
        self.assertIn(f"queued for yes/1 '{topic}', drop_old", lines[1])
        written = [line for line in lines if "written to" in line]
        self.assertEqual(len(written), 1, lines)
        self.assertRegex(written[0], rf"^ +[\d.]+ (us|ms|s)  written to yes/1 '{topic}' after [\d.]+ (us|ms|s)$")
        self.assertRegex(lines[-1], r"^ +1 matched: 1 written; \d+ other subscriptions?$")

    def test_filters_and_near_misses_are_named(self):
        topic = fresh_topic() + "/temp"
        self.subscriber("--id", "hot", "--where", "temp > 30", topic, ready=topic, probe=False)
        self.subscriber("--id", "near", topic.replace("temp", "Temp"))
        hot = ("pub", "-j", "--require", "1", topic, '{"temp": 31}')
        self.assertTrue(eventually(lambda: self.run_cli(*hot).code == 0))
        tracer = self.trace(topic)
        self.ok("pub", "-j", topic, '{"temp": 3}')
        self.assertEqual(tracer.wait(), 0)
        text = "\n".join(tracer.lines())
        self.assertIn(f"not for hot/1 '{topic}': its filter rejects it: temp > 30", text)
        self.assertIn(f"near: near/1 '{topic.replace('temp', 'Temp')}' is nearly the topic", text)
        self.assertIn("0 matched", text)

    def test_groups(self):
        topic = fresh_topic()
        self.subscriber("--id", "w1", "--group", "g", topic)
        tracer = self.trace(topic)
        self.ok("pub", topic, "x")
        self.assertEqual(tracer.wait(), 0)
        text = "\n".join(tracer.lines())
        self.assertRegex(text, rf"queued for group g '{topic}', of 1 member, drop_old\n")
        self.assertRegex(text, rf"given to w1/1, of group g '{topic}' after .* in the group's queue\n")
        self.assertRegex(text, rf"written to w1/1, of group g '{topic}' after ")

    def test_streams(self):
        self.subscriber("--id", "reader", "--all", "kept/#", ready="kept/ready")
        tracer = self.trace("kept/a")
        self.ok("pub", "--ack", "stored", "kept/a", "x")
        self.assertEqual(tracer.wait(), 0)
        text = "\n".join(tracer.lines())
        self.assertIn("to be acknowledged as stored", text)
        self.assertRegex(text, r"kept by stream durable, as its number \d+\n")
        self.assertIn("to be read from its stream by reader/1 'kept/#'", text)
        self.assertRegex(text, r"stored in stream durable at \d+\n")
        self.assertIn("written to reader/1 'kept/#'", text)

    def test_a_slow_subscriber_that_loses_it(self):
        topic = fresh_topic()
        slow = self.subscriber("--id", "slow", "--max-msgs", "1", topic)
        os.kill(slow.process.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, slow.process.pid, signal.SIGCONT)
        def loses():  # as soon as its connection takes no more
            self.ok("pub", "-l", topic, stdin=20 * (b"y" * 60000 + b"\n"))
            return self.lost() > 0
        self.assertTrue(eventually(loses))
        tracer = self.trace(topic)
        self.ok("pub", topic, "x")
        self.ok("pub", topic, "the next one")
        self.assertEqual(tracer.wait(), 0)
        text = "\n".join(tracer.lines())
        self.assertRegex(text, rf"LOST for slow/1 '{topic}' after .*: drop_old, the queue was full, the oldest went\n")
        self.assertIn("1 matched: 0 written, 1 LOST", text)

    def lost(self):
        done = self.run_cli("sub", "-o", "json", "-n", "1", "--for", "60s", "$SYS/subscription/slow/1")
        return json.loads(done.stdout)["payload"]["lost"]

    def test_several_as_json(self):
        topic = fresh_topic()
        self.subscriber("--id", "s", topic + "/#", ready=topic)
        tracer = self.trace("--json", "-n", "2", topic + "/+")
        self.ok("pub", "-k", "-l", stdin=f"{topic}/a\t1\n{topic}/b\t2\nother\t3\n".encode())
        self.assertEqual(tracer.wait(), 0)
        events = tracer.events()
        self.assertEqual(events[0], {"event": "armed", "pattern": topic + "/+", "messages": 2, "for_ms": 60000})
        self.assertEqual([(e["number"], e["topic"]) for e in events if e["event"] == "message"],
                         [(1, topic + "/a"), (2, topic + "/b")])
        done = {e["number"]: (e["matched"], e["sent"], e["lost"]) for e in events if e["event"] == "done"}
        self.assertEqual(done, {1: (1, 1, 0), 2: (1, 1, 0)})
        self.assertEqual(events[-1], {"event": "end", "why": "messages", "messages": 2})
        sent = [s for e in events if e["event"] == "steps" for s in e["steps"] if s["step"] == "sent"]
        self.assertTrue(all(s["waited_us"] <= s["at_us"] for s in sent), sent)

    def test_names_do_not_drive_the_line(self):
        topic = fresh_topic() + "/a\tb\x1b[2J\u202e"
        tracer = self.trace(topic)
        self.ok("pub", topic, "x")
        self.assertEqual(tracer.wait(), 0)
        name = topic.replace("\t", r"\t").replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
        self.assertTrue(tracer.lines()[0].startswith(name + ": "), tracer.lines())
        self.assertTrue("".join(tracer.lines()).isprintable(), tracer.lines())


class Ending(TraceTest):
    def test_time_runs_out(self):
        tracer = self.trace("--for", "300ms", fresh_topic())
        self.assertEqual((tracer.wait(), tracer.lines()), (124, []))

    def test_interrupted(self):
        tracer = self.trace(fresh_topic())
        tracer.process.send_signal(signal.SIGINT)
        self.assertEqual(tracer.wait(), 130)

    def test_broker_goes(self):
        with brokers.Broker() as broker:
            tracer = self.trace("t", url=broker.unix)
            broker.kill()
            self.assertIn(tracer.wait(), (3, 7))
        self.assertRegex(tracer.stderr().splitlines()[-1], "^pubsub: ")

    def test_a_tracer_that_goes_makes_room(self):
        for _ in range(6):
            self.trace(fresh_topic()).stop()
        self.assertTrue(eventually(lambda: self.run_cli("trace", "--for", "1ms", fresh_topic()).code == 124))

    def test_too_many(self):
        tracers = [self.trace(fresh_topic()) for _ in range(4)]
        self.assertIn("4 traces are under way, the limit is 4", self.refused(5, fresh_topic()))
        for tracer in tracers:
            tracer.stop()


class Refusals(TraceTest):
    def test_usage(self):
        for arguments in ([], ["a", "b"], ["-n", "17", "t"], ["-n", "0", "t"], ["--for", "2m", "t"]):
            self.refused(2, *arguments)

    def test_patterns(self):
        self.assertIn("inboxes", self.refused(5, "$inbox/#"))
        self.assertIn("bad pattern 'a/#/b'", self.refused(5, "a/#/b"))
        self.assertIn("longer than 255 bytes", self.refused(5, "a" * 2000))
        self.assertIn("not UTF-8", self.refused(5, b"a\xff"))

    def test_who_may_not(self):
        config = "[listener l]\nurl = tcp://127.0.0.1:0\n[access]\ndefault_group = all\n[group all]\nsubscribe = #\npublish = #\n"
        with brokers.Broker(config=config, listens=False) as broker:
            done = run_without_broker("trace", "-s", broker.tcp, "t")
            self.assertEqual(done.code, 4, done.stderr)
            self.assertIn("the right 'sys'", done.stderr)

    def test_a_refused_message_is_shown_as_such(self):
        topic = fresh_topic()
        tracer = self.trace(topic)
        done = self.run_cli("pub", "--ack", "stored", topic, "x")
        self.assertEqual(done.code, 5)
        self.assertEqual(tracer.wait(), 0)
        self.assertRegex("\n".join(tracer.lines()), r"REFUSED \(216\): no durable stream keeps")


if __name__ == "__main__":
    unittest.main()
