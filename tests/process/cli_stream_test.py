"""Durable streams on the command line: storing, reading from anywhere, `pubsub stream`, exports and their way back."""
import json
import os
import pty
import re
import signal
import subprocess
import tempfile
import unittest

import brokers
import mps_client
import msgpack
from programs import (CliTest, PATIENCE_S, PUBSUB, Program, eventually, fresh_topic, read_terminal, run_without_broker,
                      scaled)

CONFIG = """
[stream kept]
topics = test/#
[stream moved]
topics = moved/#
topics = moved-too/+
max_messages = 1000000
max_age = 30d
[stream small]
topics = small/#
max_messages = 5
on_full = refuse
"""


def numbered(count, first=1):
    return b"".join(b"%d\n" % i for i in range(first, first + count))


class StreamTest(CliTest):
    BROKER = {"config": CONFIG}

    def store(self, topic, *payloads):
        """Stores messages, each with a commit of its own."""
        for payload in payloads:
            self.ok("pub", "--ack", "stored", topic, payload)

    def read(self, *arguments):
        """What is there, as a list of lines."""
        return self.ok("sub", "--until-live", *arguments).decode().splitlines()

    def positions(self, topic):
        return [int(line) for line in self.read("--all", "-F", "%q", topic)]

    def refused(self, code, *arguments, stdin=b""):
        """It ends with this code and one line on stderr, which is returned."""
        done = self.run_cli(*arguments, stdin=stdin)
        self.assertEqual((done.stdout, done.code), (b"", code), (arguments, done.stderr))
        self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
        return done.stderr[len("pubsub: "):-1]


class Storing(StreamTest):
    def test_stored(self):
        topic = fresh_topic()
        self.ok("pub", "-l", "--ack", "stored", topic, stdin=numbered(1000))
        self.assertEqual(self.read("--all", topic), [str(i) for i in range(1, 1001)])

    def test_topics_without_a_stream(self):
        self.assertIn("'nowhere'", self.refused(5, "pub", "--ack", "stored", "nowhere", "x"))
        self.assertIn("line 1:", self.refused(5, "pub", "-l", "--ack", "stored", "nowhere", stdin=numbered(100)))

    def test_only_some_topics_have_a_stream(self):
        topic = fresh_topic()
        done = self.run_cli("pub", "-k", "--ack", "stored", stdin=f"{topic}\t1\nnowhere\t2\n{topic}\t3\n".encode())
        self.assertEqual((done.code, done.stderr.count("\n")), (5, 1))
        self.assertRegex(done.stderr, "^pubsub: line 2: .*'nowhere'")
        self.assertEqual(self.read("--all", topic), ["1", "3"])

    def test_full(self):
        """A stream that takes no more says so once, and the rest is not sent; one line of many topics is one refusal."""
        with brokers.Broker(config=CONFIG) as broker:
            for _ in range(5):
                done = run_without_broker("pub", "-s", broker.unix, "--ack", "stored", "small/a", "x")
                self.assertEqual((done.stderr, done.code), ("", 0))
            done = run_without_broker("pub", "-s", broker.unix, "--ack", "stored", "-l", "small/a", stdin=numbered(100))
            self.assertEqual((done.code, done.stderr.count("\n")), (5, 1), done.stderr)
            self.assertRegex(done.stderr, "^pubsub: line 1: ")
            done = run_without_broker("pub", "-s", broker.unix, "--ack", "stored", "-k",
                                      stdin=b"small/a\tx\ntest/a\tx\nsmall/b\ty\n")
            self.assertEqual(done.code, 5)
            self.assertEqual(re.findall("line [0-9]+", done.stderr), ["line 1", "line 3"])
            done = run_without_broker("sub", "-s", broker.unix, "--all", "--until-live", "test/#")
            self.assertEqual(done, (b"test/a\tx\n", "", 0))

    def test_a_lost_connection_stores_nothing_twice(self):
        count, topic = scaled(200_000, 20_000), fresh_topic()
        with brokers.Broker(config=CONFIG) as broker:
            publisher = Program([PUBSUB, "pub", "-s", broker.unix, "-l", "--ack", "stored", topic],
                                stdin=subprocess.PIPE)
            self.addCleanup(publisher.stop)
            publisher.process.stdin.write(numbered(count // 2))
            publisher.process.stdin.flush()

            def some_are_stored():
                return run_without_broker("sub", "-s", broker.unix, "--last", "--until-live", topic).stdout != b""
            self.assertTrue(eventually(some_are_stored))
            broker.kill()
            broker.start()
            publisher.process.stdin.write(numbered(count - count // 2, count // 2 + 1))
            publisher.process.stdin.close()
            self.assertEqual(publisher.wait(), 0, publisher.stderr())
            done = run_without_broker("sub", "-s", broker.unix, "--all", "--until-live", topic)
            self.assertTrue(done.stdout == numbered(count), "a message is missing or there twice")


class Reading(StreamTest):
    def test_where_it_begins(self):
        topic = fresh_topic()
        self.store(f"{topic}/a", "1", "2")
        self.store(f"{topic}/b", "3", "4")
        first = self.positions(f"{topic}/#")[0]
        for start, expected in ((["--all"], "1234"), (["--last"], "4"), (["--last", "3"], "234"), (["--last=3"], "234"),
                                (["--last", "99"], "1234"), (["--since", "1h"], "1234"),
                                (["--since", "2020-01-01"], "1234"), (["--since", "2100-01-01T00:00Z"], ""),
                                (["--from-seq", str(first + 2)], "34"), (["--from-seq", f"kept:{first + 3}"], "4"),
                                (["--from-seq", f"64:{first + 1}"], "234"), (["--from-seq", str(first + 4)], ""),
                                (["--last-per-topic"], "24")):
            with self.subTest(start=start):
                self.assertEqual("".join(self.read(*start, "-o", "payload", f"{topic}/#")), expected)

    def test_positions_are_told(self):
        topic = fresh_topic()
        self.store(topic, "a", "b")
        messages = [json.loads(line) for line in self.read("--all", "-o", "json", topic)]
        self.assertEqual([message["payload"] for message in messages], ["a", "b"])
        self.assertEqual([message["stream"] for message in messages], [64, 64])
        self.assertEqual(messages[1]["seq"], messages[0]["seq"] + 1)
        self.assertRegex(messages[0]["time"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(self.read("--all", "-F", "%q %T", topic),
                         [f"{message['seq']} {message['time']}" for message in messages])

    def test_it_ends_at_the_present_also_of_nothing(self):
        self.assertEqual(self.read("--all", fresh_topic(), fresh_topic()), [])

    def test_several_patterns(self):
        one, other = fresh_topic(), fresh_topic()
        self.store(one, "1")
        self.store(other, "2")
        self.assertEqual(set(self.read("--all", one, other)), {f"{one}\t1", f"{other}\t2"})

    def test_filter(self):
        topic = fresh_topic()
        for temp in (20, 31, 25, 40):
            self.ok("pub", "-j", "--ack", "stored", topic, f'{{"temp": {temp}}}')
        self.assertEqual(self.read("--all", "--where", "temp > 30", topic), ['{"temp":31}', '{"temp":40}'])
        self.assertEqual(self.read("--last", "1", "--where", "temp < 30", topic), ['{"temp":25}'])

    def test_count_ends_it(self):
        topic = fresh_topic()
        self.store(topic, "1", "2", "3")
        self.assertEqual(self.ok("sub", "--all", "-n", "2", topic), b"1\n2\n")

    def test_no_seam_between_history_and_present(self):
        """While it is read, it is written: each line comes once, in its order."""
        count, topic = scaled(300_000, 30_000), fresh_topic()
        self.ok("pub", "-l", "--ack", "stored", topic, stdin=numbered(count // 3))
        publisher = Program([PUBSUB, "pub", "-s", self.url, "-l", topic], stdin=subprocess.PIPE)
        self.addCleanup(publisher.stop)
        reader = self.subscriber("--all", "-n", str(count), topic, probe=False)
        publisher.process.stdin.write(numbered(count - count // 3, count // 3 + 1))
        publisher.process.stdin.close()
        self.assertEqual((publisher.wait(), publisher.stderr()), (0, ""))
        self.assertEqual((reader.wait(), reader.stderr()), (0, ""))
        self.assertTrue(reader.stdout() == numbered(count))

    def test_a_reader_goes_on_after_the_broker_was_killed(self):
        count, topic = scaled(200_000, 20_000), fresh_topic()
        with brokers.Broker(config=CONFIG) as broker:
            def store(lines):
                done = run_without_broker("pub", "-s", broker.unix, "-l", "--ack", "stored", topic, stdin=lines)
                self.assertEqual((done.stderr, done.code), ("", 0))
            store(numbered(count))
            reader = Program([PUBSUB, "sub", "-s", broker.unix, "--all", "-n", str(2 * count), topic])
            self.addCleanup(reader.stop)
            self.assertTrue(eventually(reader.stdout))
            broker.kill()
            broker.start()
            store(numbered(count, count + 1))
            self.assertEqual(reader.wait(), 0, reader.stderr())
            self.assertTrue(reader.stdout() == numbered(2 * count))
            self.assertRegex(reader.stderr(), r"\Apubsub: lost connection: [^\n]+\n"
                             r"(pubsub: cannot connect again: [^\n]+; trying on\n)*pubsub: connected again\n\Z")

    def test_a_slow_reader_loses_nothing(self):
        """With queue limits that would lose nearly everything of what is not read from a stream."""
        count, topic = scaled(500_000, 50_000), fresh_topic()
        self.store(topic, "0")
        reader = self.subscriber("--all", "--max-msgs", "1", "-n", str(count + 1), topic, probe=False)
        self.assertTrue(eventually(reader.stdout))
        reader.process.send_signal(signal.SIGSTOP)
        self.ok("pub", "-l", "--ack", "stored", topic, stdin=numbered(count))
        reader.process.send_signal(signal.SIGCONT)
        self.assertEqual((reader.wait(), reader.stderr()), (0, ""))
        self.assertTrue(reader.stdout() == numbered(count + 1, 0))

    def test_spill(self):
        count, topic = scaled(200_000, 20_000), fresh_topic()
        reader = self.subscriber("--policy", "spill", "--max-msgs", "10", "-n", str(count + 1), topic)
        reader.process.send_signal(signal.SIGSTOP)
        self.ok("pub", "-l", "--ack", "stored", topic, stdin=numbered(count))
        reader.process.send_signal(signal.SIGCONT)
        self.assertEqual((reader.wait(), reader.stderr()), (0, ""))
        self.assertTrue(reader.lines() == numbered(count))

    def test_what_is_gone_is_told(self):
        with brokers.Broker(config=CONFIG) as broker:
            def run(*arguments):
                done = run_without_broker(*arguments, PUBSUB_URL=broker.unix)
                self.assertEqual(done.code, 0, (arguments, done.stderr))
                return done
            for i in range(1, 6):
                run("pub", "--ack", "stored", f"test/{i % 2}", str(i))
            self.assertEqual(run("stream", "rm", "--yes", "--below", "4", "kept").stdout, b"removed 3 messages\n")
            done = run("sub", "--from-seq", "2", "--until-live", "-o", "payload", "test/#")
            self.assertEqual((done.stdout, done.stderr), (b"4\n5\n", "pubsub: lost messages 2 to 3 of stream 64 (retention)\n"))
            done = run("sub", "--from-seq", "3", "--until-live", "-o", "payload", "test/#")
            self.assertEqual((done.stdout, done.stderr), (b"4\n5\n", "pubsub: lost message 3 of stream 64 (retention)\n"))
            done = run("sub", "--from-seq", "2", "--until-live", "test/1")
            self.assertEqual(done.stderr,
                             "pubsub: lost what matches 'test/1' of messages 2 to 3 of stream 64 (retention)\n")
            lines = run("sub", "--from-seq", "2", "--until-live", "-o", "json", "test/#").stdout.splitlines()
            self.assertEqual(json.loads(lines[0]), {"gap": {"count": 2, "reason": "retention", "stream": 64,
                                                            "first": 2, "last": 3}})
            lines = run("sub", "--from-seq", "2", "--until-live", "-o", "json", "test/1").stdout.splitlines()
            self.assertIsNone(json.loads(lines[0])["gap"]["count"])
            done = run_without_broker("sub", "--from-seq", "2", "--fail-on-gap", "test/#", PUBSUB_URL=broker.unix)
            self.assertEqual((done.stdout, done.code), (b"", 8))
            self.assertEqual(run("sub", "--all", "--until-live", "test/#").stderr, "")

    WRONG = [
        (["--until-live"], "--until-live needs a place to begin"),
        (["--all", "--last"], "both --all and --last"),
        (["--since", "1h", "--from-seq", "5"], "both --since and --from-seq"),
        (["--since", "yesterday"], "--since yesterday: neither"),
        (["--from-seq", "0"], "--from-seq 0: not a position"),
        (["--from-seq", ":5"], "--from-seq :5: not a position"),
        (["--last=0"], "--last 0: not a whole number"),
        (["--from-seq", "5", "other"], "only one pattern"),
        (["--from-seq", "kept:5", "--from-seq", "64:7"], "names the stream 64 twice"),
        (["--retained", "only", "--all"], "--retained only asks for last values"),
        (["--retained", "only", "--ack"], "--retained only asks for last values"),
        (["--max-tries", "3"], "--max-tries goes with --ack or --durable"),
        (["--ack-within", "5s"], "--ack-within goes with --ack or --durable"),
        (["--retry", "5s", "--ack"], "--retry goes with --exec"),
        (["--ack-within", "50ms", "--ack"], "--ack-within 50ms: must be at least 100ms"),
        (["--durable", "a b"], "--durable a b: not a name"),
        (["--durable", "a", "--id", "b"], "--id is not possible"),
        (["--forget"], "--forget needs --durable NAME"),
        (["--forget", "--durable", "a"], "--forget receives nothing"),
    ]

    def test_what_makes_no_sense(self):
        for options, text in self.WRONG:
            with self.subTest(options):
                self.assertIn(text, self.refused(2, "sub", *options, "test/x"))

    def test_topics_without_history(self):
        self.refused(5, "sub", "--all", "nowhere")
        self.refused(5, "sub", "--ack", "nowhere")
        self.assertEqual(self.refused(5, "sub", "--from-seq", "5", "nowhere"), "no stream keeps messages of 'nowhere'")
        self.assertEqual(self.refused(5, "sub", "--from-seq", "none:5", "#"), "there is no stream 'none'")
        self.assertEqual(self.refused(5, "sub", "--from-seq", "5", "#"),
                         "'#' reaches 3 streams (kept, moved, small): say which, as in --from-seq STREAM:N")


class Operating(StreamTest):
    def test_list(self):
        self.store("moved/a", "x")
        lines = self.ok("stream", "ls").decode().splitlines()
        self.assertEqual(len(lines), 4)
        self.assertEqual(lines[0].split(),
                         ["NUMBER", "MESSAGES", "SIZE", "OF", "FIRST", "NEXT", "OLDEST", "READERS", "STREAM"])
        self.assertEqual([(line.split()[0], line.split()[-1]) for line in lines[1:]],
                         [("64", "kept"), ("65", "moved"), ("66", "small")])
        self.assertEqual(len({line.index(name) for line, name in zip(lines, ("STREAM", "kept", "moved", "small"))}), 1)

    def test_list_in_json(self):
        streams = [json.loads(line) for line in self.ok("stream", "ls", "--json").splitlines()]
        self.assertEqual([stream["name"] for stream in streams], ["kept", "moved", "small"])
        self.assertEqual([stream["full"] for stream in streams], ["drop_old", "drop_old", "refuse"])
        self.assertEqual(streams[1]["patterns"], ["moved/#", "moved-too/+"])

    def test_info(self):
        self.store("moved/a", "x", "y")
        told = json.loads(self.ok("stream", "info", "--json", "moved"))
        lines = self.ok("stream", "info", "65").decode().splitlines()
        self.assertEqual(lines[:4], ["stream      moved", "number      65", "patterns    moved/#", "            moved-too/+"])
        facts = {line[:12].strip(): line[12:] for line in lines}
        self.assertEqual(facts["messages"], str(told["messages"]))
        self.assertEqual(facts["positions"], f"{told['first']} to {told['next'] - 1}")
        self.assertEqual(facts["limits"], "size 1g, messages 1000000, age 30d")
        self.assertEqual(facts["when full"], "the oldest messages go")
        self.assertRegex(facts["oldest"], r"^20\d\d-\S+Z \(\d+[smh] ago\)$")

    def test_what_was_not_stored(self):
        """A will for which a full stream has no room."""
        with brokers.Broker(config=CONFIG) as broker:
            def ok(*arguments, stdin=b""):
                done = run_without_broker(*arguments, stdin=stdin)
                self.assertEqual((done.stderr, done.code), ("", 0))
                return done.stdout.decode().splitlines()
            ok("pub", "-s", broker.unix, "--ack", "stored", "-l", "small/a", stdin=numbered(5))
            self.assertEqual([line for line in ok("stream", "info", "-s", broker.unix, "small") if "unstored" in line], [])
            mps_client.Client(broker.unix, will=["small/will", b"gone", 0, 0]).socket.close()

            def is_told():
                return "unstored    1 dead letters and wills, for want of room" in ok("stream", "info", "-s", broker.unix, "small")
            self.assertTrue(eventually(is_told))
            self.assertEqual([line.split("  ")[-1] for line in ok("stream", "ls", "-s", broker.unix)[1:]],
                             ["kept", "moved", "small (unstored)"])

    def test_names_that_are_none(self):
        for command in (["info"], ["rm", "--yes"], ["export"]):
            self.assertEqual(self.refused(1, "stream", *command, "keep"),
                             "there is no stream 'keep'; did you mean 'kept'?")
            self.assertEqual(self.refused(1, "stream", *command, "something-else"),
                             "there is no stream 'something-else'; see 'pubsub stream ls'")
        self.assertIn("did you mean 'info'", self.refused(2, "stream", "inf", "kept"))
        self.assertIn("no command", self.refused(2, "stream"))
        self.assertIn("no name of a stream", self.refused(2, "stream", "info"))
        self.assertIn("too many arguments: 'b'", self.refused(2, "stream", "info", "a", "b"))

    def test_a_broker_without_streams(self):
        with brokers.Broker() as broker:
            done = run_without_broker("stream", "ls", "-s", broker.unix)
            self.assertEqual((done.stdout.count(b"\n"), done.stderr, done.code), (1, "", 0))
            done = run_without_broker("stream", "-s", broker.unix, "ls", "--json")
            self.assertEqual(done, (b"", "", 0))

    def test_a_broker_that_tells_nothing(self):
        with brokers.Broker(config="[broker]\nsys_interval = 0\n") as broker:
            done = run_without_broker("stream", "ls", "-s", broker.unix)
            self.assertEqual((done.stdout, done.code), (b"", 124))
            self.assertIn("sys_interval = 0", done.stderr)

    # ---- removing ----

    def remove_on_a_terminal(self, answer, *arguments):
        """Returns what was shown there, and the exit code."""
        master, slave = pty.openpty()
        with open(master, "r+b", buffering=0) as terminal:
            process = subprocess.Popen([PUBSUB, "stream", "rm", "-s", self.url, *arguments], stdin=slave, stdout=slave,
                                       stderr=slave)
            os.close(slave)
            try:
                shown = b""
                while not shown.endswith(b"[y/N] "):
                    shown += terminal.read(4096)
                terminal.write(answer)
                shown += read_terminal(terminal)
                return shown.decode().replace("\r\n", "\n"), process.wait(PATIENCE_S)
            finally:
                process.kill()
                process.wait(PATIENCE_S)

    def test_it_asks_before_it_removes(self):
        self.store("small/a", "x")
        shown, code = self.remove_on_a_terminal(b"\n", "small")
        self.assertIn("Remove all 1 messages of the stream 'small'? [y/N] ", shown)
        self.assertTrue(shown.endswith("pubsub: nothing was removed\n"), shown)
        self.assertEqual((code, self.read("--all", "small/a")), (1, ["x"]))
        shown, code = self.remove_on_a_terminal(b"y\n", "--below", "2", "small")
        self.assertIn("Remove what is before position 2 of the stream 'small'? [y/N] ", shown)
        self.assertTrue(shown.endswith("removed 1 message\n"), shown)
        self.assertEqual((code, self.read("--all", "small/a")), (0, []))
        self.assertEqual(self.ok("stream", "rm", "--yes", "small"), b"removed 0 messages\n")

    def test_nobody_to_ask(self):
        self.assertIn("--yes", self.refused(2, "stream", "rm", "kept"))

    def test_only_the_operator_removes(self):
        done = run_without_broker("stream", "rm", "--yes", "kept", "-s", self.broker.tcp)
        self.assertEqual((done.stdout, done.code), (b"", 4))
        self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")


class Exports(StreamTest):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.file = os.path.join(directory.name, "export")
        self.dir = directory.name

    def another(self, config=CONFIG):
        broker = brokers.Broker(config=config)
        self.addCleanup(broker.stop)
        return broker

    def all_messages(self, url):
        """All messages of the stream, but for their times."""
        done = run_without_broker("sub", "-s", url, "--all", "--until-live", "-o", "json", "moved/#", "moved-too/+")
        self.assertEqual((done.stderr, done.code), ("", 0))
        messages = [json.loads(line) for line in done.stdout.splitlines()]
        return sorted(({**message, "time": None} for message in messages), key=lambda message: message["seq"])

    def fill(self, url):
        """Messages of every kind."""
        for arguments, stdin in (
                (["moved/a", "text"], b""),
                (["moved/a", "-j", '{"a": [1, null, {"b": 2.5}]}'], b""),
                (["moved-too/b", "--bin"], bytes(range(256))),
                (["moved/empty", "--bin", ""], b""),
                (["moved/a", "-H", "k=v", "-H", "\u00e9=\u20ac", "--ttl", "1h", "--key", "x", "with props"], b""),
                (["moved/large", "--bin"], bytes(1_000_000)),
                (["moved/many", "-l"], numbered(1000))):
            done = run_without_broker("pub", "-s", url, "--ack", "stored", *arguments, stdin=stdin)
            self.assertEqual((done.stderr, done.code), ("", 0))

    def test_there_and_back(self):
        source, target = self.another(), self.another()
        self.fill(source.unix)
        done = run_without_broker("stream", "export", "-s", source.unix, "moved", self.file)
        self.assertEqual(done, (b"", "", 0))
        self.assertEqual(os.listdir(self.dir), ["export"])
        done = run_without_broker("stream", "import", "-s", target.unix, self.file)
        self.assertEqual(done, (b"stored 1006 messages\n", "", 0))
        sent, arrived = self.all_messages(source.unix), self.all_messages(target.unix)
        self.assertEqual(len(sent), 1006)
        self.assertEqual(arrived, sent)
        done = run_without_broker("stream", "export", "-s", target.unix, "moved")
        again = os.path.join(self.dir, "again")
        with open(again, "wb") as file:
            file.write(done.stdout)
        self.assertEqual(self.blocks(again)[0], self.blocks(self.file)[0])

    @staticmethod
    def blocks(path):
        """All frames of an export as one piece of bytes, and its lines."""
        with open(path, "rb") as file:
            lines, frames = [json.loads(file.readline())], b""
            while "end" not in lines[-1]:
                lines.append(json.loads(file.readline()))
                frames += file.read(lines[-1].get("bytes", 0))
            return frames, lines

    def test_form(self):
        """The lines, and between them the frames as the protocol has them."""
        source = self.another()
        self.fill(source.unix)
        run_without_broker("stream", "export", "-s", source.unix, "moved", self.file)
        frames, lines = self.blocks(self.file)
        self.assertEqual((lines[0]["pubsub-export"], lines[0]["stream"], lines[0]["first"], lines[0]["next"]),
                         (1, "moved", 1, 1007))
        self.assertEqual(lines[-1], {"end": {"messages": 1006, "lost": 0}})
        self.assertEqual(sum(line.get("messages", 0) for line in lines), 1006)
        self.assertEqual([line["first"] for line in lines[2:-1]], [line["last"] + 1 for line in lines[1:-2]])
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(frames)
        messages = list(unpacker)
        self.assertEqual(messages[0], [2, "moved/a", None, b"\xa4text"])
        self.assertEqual(messages[2], [2, "moved-too/b", {3: 0}, bytes(range(256))])
        self.assertEqual(messages[4][2], {"k": "v", "\u00e9": "\u20ac", 4: 3_600_000, 6: "x"})
        self.assertEqual(msgpack.packb(messages[-1]), frames[-len(msgpack.packb(messages[-1])):])

    def test_through_a_pipe(self):
        source, target = self.another(), self.another()
        self.fill(source.unix)
        pipeline = (f"'{PUBSUB}' stream export -s {source.unix} moved | cat | '{PUBSUB}' stream import -s {target.unix} -")
        done = subprocess.run(["bash", "-o", "pipefail", "-c", pipeline], capture_output=True, timeout=PATIENCE_S)
        self.assertEqual((done.stdout, done.stderr, done.returncode), (b"stored 1006 messages\n", b"", 0))
        self.assertEqual(self.all_messages(target.unix), self.all_messages(source.unix))

    def test_losses_are_in_it(self):
        source = self.another()
        for i in range(4):
            run_without_broker("pub", "-s", source.unix, "--ack", "stored", "--ttl", "1ms" if i == 1 else "1h", "moved/a",
                               str(i))

        def expired():
            return run_without_broker("sub", "-s", source.unix, "--all", "--until-live", "moved/a").stdout == b"0\n2\n3\n"
        self.assertTrue(eventually(expired))
        done = run_without_broker("stream", "export", "-s", source.unix, "moved", self.file)
        self.assertEqual((done.stdout, done.stderr, done.code), (b"", "pubsub: lost message 2 of stream 65 (expired)\n", 0))
        lines = self.blocks(self.file)[1]
        self.assertEqual(lines[2], {"lost": {"first": 2, "last": 2, "count": 1, "reason": "expired"}})
        self.assertEqual(lines[-1], {"end": {"messages": 3, "lost": 1}})
        target = self.another()
        done = run_without_broker("stream", "import", "-s", target.unix, self.file)
        self.assertEqual(done, (b"stored 3 messages\n", "", 0))

    def test_broken_files_are_refused(self):
        source, target = self.another(), self.another()
        self.fill(source.unix)
        whole = run_without_broker("stream", "export", "-s", source.unix, "moved").stdout
        flipped = bytearray(whole)
        flipped[-100] ^= 1
        for what, content, place in (("cut", whole[:-10], len(whole) - 10), ("cut in a block", whole[:-500], len(whole) - 500),
                                     ("flipped", bytes(flipped), None), ("no export", b"{}\n", 0), ("empty", b"", 0)):
            with self.subTest(what):
                with open(self.file, "wb") as file:
                    file.write(content)
                done = run_without_broker("stream", "import", "-s", target.unix, self.file)
                self.assertEqual((done.stdout, done.code), (b"", 1))
                self.assertRegex(done.stderr, rf"\Apubsub: {self.file} is broken at byte [0-9]+: [^\n]+\n\Z")
                if place is not None:
                    self.assertIn(f"at byte {place}: ", done.stderr)
        self.assertEqual(self.all_messages(target.unix), [])
        # From a pipe, what stands before the place is stored, and told.
        done = run_without_broker("stream", "import", "-s", target.unix, "-", stdin=bytes(flipped))
        self.assertRegex(done.stderr, r"\Apubsub: standard input is broken at byte [0-9]+: [^\n]+\n\Z")
        stored = int(re.fullmatch(rb"stored (\d+) messages\n", done.stdout)[1])
        self.assertEqual((len(self.all_messages(target.unix)), done.code), (stored, 1))
        self.assertTrue(0 < stored < 1006, stored)

    def test_it_ends_where_the_broker_refuses(self):
        source = self.another()
        self.fill(source.unix)
        run_without_broker("stream", "export", "-s", source.unix, "moved", self.file)
        target = self.another("[stream few]\ntopics = moved/a\n")
        done = run_without_broker("stream", "import", "-s", target.unix, self.file)
        self.assertRegex(done.stderr, r"\Apubsub: message 3: [^\n]*'moved-too/b'[^\n]*\n\Z")
        self.assertRegex(done.stdout, rb"\Astored \d+ messages\n\Z")
        self.assertEqual(done.code, 5)

    def test_a_file_is_replaced_only_by_a_whole_one(self):
        with open(self.file, "w") as file:
            file.write("an earlier export")
        self.assertEqual(self.run_cli("stream", "export", "none", self.file).code, 1)
        with self.broker.stopped():
            export = Program([PUBSUB, "stream", "export", "-s", self.url, "moved", self.file])
            self.addCleanup(export.stop)
            export.process.send_signal(signal.SIGINT)
            export.wait()
        with open(self.file) as file:
            self.assertEqual(file.read(), "an earlier export")
        self.assertEqual(os.listdir(self.dir), ["export"])
        self.ok("stream", "export", "moved", self.file)
        self.assertEqual(self.blocks(self.file)[1][0]["stream"], "moved")

    def test_not_to_a_terminal(self):
        master, slave = pty.openpty()
        with open(master, "rb", buffering=0) as shown:
            command = subprocess.run([PUBSUB, "stream", "export", "-s", self.url, "moved"], stdout=slave,
                                     stderr=subprocess.PIPE, timeout=PATIENCE_S)
            os.close(slave)
            self.assertEqual(read_terminal(shown), b"")
        self.assertEqual(command.returncode, 2)

    def test_progress_on_a_terminal(self):
        """Of an import that takes longer than a second, because its input does."""
        source = self.another()
        self.fill(source.unix)
        export = run_without_broker("stream", "export", "-s", source.unix, "moved").stdout
        master, slave = pty.openpty()
        with open(master, "rb", buffering=0) as terminal:
            process = subprocess.Popen([PUBSUB, "stream", "import", "-s", self.url, "-"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=slave)
            self.addCleanup(process.kill)
            os.close(slave)
            process.stdin.write(export[:-100])
            process.stdin.flush()
            shown = b""
            while b"messages, " not in shown:
                shown += terminal.read(4096)
            process.stdin.write(export[-100:])
            stdout, _ = process.communicate(timeout=PATIENCE_S)
            shown += read_terminal(terminal)
        self.assertEqual((stdout, process.returncode), (b"stored 1006 messages\n", 0))
        self.assertEqual(re.sub(rb"\r\x1b\[K([0-9]+ messages, [0-9]+ a second)?", b"", shown), b"")

    def test_a_signal_ends_an_import_that_waits_for_input(self):
        process = Program([PUBSUB, "stream", "import", "-s", self.url, "-"], stdin=subprocess.PIPE)
        self.addCleanup(process.stop)
        process.process.stdin.write(b'{"pubsub-export":1,')
        process.process.stdin.flush()
        self.assertTrue(eventually(lambda: process.handles(signal.SIGTERM)))
        process.process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 128 + signal.SIGTERM)
        self.assertEqual((process.stdout(), process.stderr()), (b"stored 0 messages\n", ""))


if __name__ == "__main__":
    unittest.main(verbosity=2)
