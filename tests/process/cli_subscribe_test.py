"""What `pubsub sub` asks the broker for: filters, policies, groups, gaps; and what `pubsub pub` says of a message."""
import json
import os
import pty
import signal
import subprocess
import unittest

from programs import CliTest, PATIENCE_S, PUBSUB, eventually, fresh_topic, read_terminal, scaled


class Subscriptions(CliTest):
    def stop_reading(self, *arguments, **options):
        """A subscriber that is there and does not read."""
        subscriber = self.subscriber(*arguments, **options)
        subscriber.process.send_signal(signal.SIGSTOP)
        return subscriber

    def go_on(self, subscriber, condition):
        subscriber.process.send_signal(signal.SIGCONT)
        self.assertTrue(eventually(lambda: condition(subscriber.stdout())), subscriber.stdout()[-200:])
        subscriber.process.terminate()
        self.assertEqual(subscriber.wait(), 128 + signal.SIGTERM)

    # ---- filters ----

    def test_filter(self):
        topic = fresh_topic()
        end = f"{topic}/end"
        subscriber = self.subscriber("-o", "payload", "--where", "temp > 30 and site == \"a\" or @level[2] == \"end\"",
                                     f"{topic}/#", ready=end)
        for payload in ('{"temp": 31, "site": "a"}', '{"temp": 30, "site": "a"}', '{"temp": 99}', '"text"',
                        '{"temp": 30.5, "site": "a"}', '{"temp": "31", "site": "a"}'):
            self.ok("pub", "-j", topic, payload)
        done = self.run_cli("pub", "-j", "--require", "1", topic, '{"temp": 1}')
        self.assertEqual((done.stderr, done.code), ("pubsub: 0 subscriptions matched, 1 required\n", 6))
        self.ok("pub", end, "end")
        self.assertTrue(eventually(lambda: subscriber.stdout().endswith(b"end\n")))
        self.assertEqual(subscriber.lines(), b'{"temp":31,"site":"a"}\n{"temp":30.5,"site":"a"}\nend\n')

    def test_filter_of_headers(self):
        topic = fresh_topic()
        for value in ("b", "a"):
            self.ok("pub", "-r", "-H", f"site={value}", f"{topic}/{value}", value)
        self.assertEqual(self.ok("sub", "--retained", "only", "--where", '@props."site" == "a"', f"{topic}/+"),
                         f"{topic}/a\ta\n".encode())

    def test_bad_filter(self):
        done = self.run_cli("sub", "--where", "temp >> 3", "t")
        self.assertEqual((done.stdout, done.code), (b"", 5))
        self.assertRegex(done.stderr, r"\Apubsub: [^\n]*column 7[^\n]*\n\Z")

    def test_bad_filter_on_a_terminal(self):
        master, slave = pty.openpty()
        with open(master, "rb", buffering=0) as shown:
            command = subprocess.run([PUBSUB, "sub", "-s", self.url, "--where", "\"\u00e9\" == temp >> 3", "t"],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave,
                                     timeout=PATIENCE_S)
            os.close(slave)
            seen = read_terminal(shown)
        self.assertEqual((command.returncode, command.stdout), (5, b""))
        lines = seen.decode().split("\r\n")
        self.assertRegex(lines[0], "^pubsub: .*column [0-9]+")
        self.assertEqual((lines[1], lines[3:]), ("  \"\u00e9\" == temp >> 3", [""]))
        self.assertEqual(lines[2].strip(), "^")
        self.assertEqual(lines[1][lines[2].index("^"):][0], ">")

    # ---- policies ----

    def test_latest(self):
        """A reader that was stopped gets the last of each key, and only with --gaps all is told of the others."""
        count, keys = scaled(200_000, 20_000), 100
        updates = b"".join(b"%s/%d\t%d\n" % (b"%s", i % keys, i) for i in range(count))
        for extra, told in (([], False), (["--gaps", "all"], True), (["--fail-on-gap"], False)):
            topic = fresh_topic()
            end = b"%d\n" % (count - 1)
            reader = self.stop_reading("--policy", "latest", "-o", "payload", *extra, f"{topic}/+", ready=f"{topic}/r")
            self.ok("pub", "-k", stdin=updates.replace(b"%s", topic.encode()))
            self.go_on(reader, lambda out: out.endswith(b"\n" + end))
            got = [int(line) for line in reader.lines().split()]
            self.assertEqual(got[-keys:], list(range(count - keys, count)))
            self.assertEqual(got, sorted(got))
            missing = count - len(got)
            self.assertGreater(missing, 0)
            lines = reader.stderr().splitlines()
            lost = sum(int(line.split()[2]) for line in lines)
            self.assertEqual(lost, missing if told else 0)
            for line in lines:
                self.assertRegex(line, rf"^pubsub: lost \d+ messages? of '{topic}/\+' \(superseded\)$")

    def test_latest_by_key(self):
        topic, count = fresh_topic(), scaled(200_000, 20_000)
        reader = self.stop_reading("--policy", "latest", "--gaps", "all", "-o", "json", f"{topic}/#", ready=topic)
        self.ok("pub", "-n", str(count), "--key", "one", f"{topic}/a", "old")
        self.ok("pub", "--key", "one", f"{topic}/b", "new")
        self.go_on(reader, lambda out: b'"new"' in out)
        lines = [json.loads(line) for line in reader.stdout().splitlines()][1:]
        self.assertEqual((lines[-1]["topic"], lines[-1]["payload"], lines[-1]["key"]), (f"{topic}/b", "new", "one"))
        lost = sum(line["gap"]["count"] for line in lines if "gap" in line)
        self.assertEqual({line["gap"]["reason"] for line in lines if "gap" in line}, {"superseded"})
        self.assertEqual(lost + sum("payload" in line for line in lines), count + 1)

    def received(self, reader, reason, done):
        """The numbers that a reader in JSON was sent, once done(how many, and how many it lost) holds. Every gap is of
        this reason and stands where the missing ones belong."""
        def look():
            got, due = [], 0
            for line in reader.stdout().splitlines(keepends=True)[1:]:
                if not line.endswith(b"\n"):
                    break  # it is being written
                line = json.loads(line)
                if "gap" in line:
                    self.assertEqual(line["gap"]["reason"], reason)
                    due += line["gap"]["count"]
                else:
                    self.assertEqual(int(line["payload"]), due)
                    got.append(due)
                    due += 1
            return got, due - len(got)
        self.assertTrue(eventually(lambda: done(len(look()[0]), look()[1])), look()[1])
        return look()[0]

    def test_drop_new(self):
        topic, count = fresh_topic(), scaled(500_000, 200_000)
        reader = self.stop_reading("--policy", "drop_new", "--max-msgs", "1000", "-o", "json", f"{topic}/#",
                                   ready=topic)
        self.ok("pub", "-l", topic, stdin=b"".join(b"%d\n" % i for i in range(count)))
        reader.process.send_signal(signal.SIGCONT)
        got = self.received(reader, "drop_new", lambda came, lost: came + lost == count)
        self.assertLess(len(got), count)
        self.assertEqual(reader.stderr(), "")

    def test_close(self):
        topic = fresh_topic()
        reader = self.stop_reading("--policy", "close", "--max-msgs", "10", "--no-reconnect", topic)
        self.ok("pub", "-n", str(scaled(500_000, 200_000)), topic, "x")
        reader.process.send_signal(signal.SIGCONT)
        self.assertEqual(reader.wait(), 7)
        self.assertRegex(reader.stderr(), r"\Apubsub: [^\n]*too slow[^\n]*10 messages \(max_msgs\)[^\n]*\n\Z")

    def test_block(self):
        """The publisher is slowed to the reader's speed, and nothing is lost."""
        topic, count = fresh_topic(), scaled(300_000, 100_000)
        reader = self.stop_reading("--policy", "block", "--block", "1h", "--max-msgs", "100", topic)
        data = b"".join(b"%d\n" % i for i in range(count))
        with subprocess.Popen([PUBSUB, "pub", "-s", self.url, "-l", topic], stdin=subprocess.PIPE) as publisher:
            publisher.stdin.write(data)
            publisher.stdin.close()
            self.assertIsNone(publisher.poll(), "nothing held the publisher")
            self.go_on(reader, lambda out: out.endswith(b"\n%d\n" % (count - 1)))
            self.assertEqual(publisher.wait(PATIENCE_S), 0)
        self.assertTrue(reader.lines() == data)
        self.assertEqual(reader.stderr(), "")

    def test_block_gives_up(self):
        for then in ("drop_new", "drop_old"):
            topic, count = fresh_topic(), scaled(300_000, 100_000)
            reader = self.stop_reading("--policy", "block", "--block", "50ms", "--then", then, "--max-msgs", "100",
                                       "-o", "json", f"{topic}/#", ready=topic)
            self.ok("pub", "-l", topic, stdin=b"".join(b"%d\n" % i for i in range(count)))
            reader.process.send_signal(signal.SIGCONT)
            got = self.received(reader, "blocked_too_long", lambda came, lost: came + lost == count)
            self.assertLess(len(got), count)

    def test_fail_on_gap(self):
        topic, count = fresh_topic(), scaled(500_000, 200_000)
        reader = self.stop_reading("--policy", "drop_new", "--fail-on-gap", "--max-msgs", "10", topic)
        self.ok("pub", "-n", str(count), topic, "x")
        reader.process.send_signal(signal.SIGCONT)
        self.assertEqual(reader.wait(), 8)
        self.assertRegex(reader.stderr(), rf"\Apubsub: lost \d+ messages of '{topic}' \(drop_new\)\n\Z")

    # ---- groups ----

    @staticmethod
    def numbers(members):
        """What these have printed, of which a last line may be under way."""
        return [int(line) for member in members for line in member.stdout().rpartition(b"\n")[0].split() if line != b"ready"]

    def test_group(self):
        topic, count = fresh_topic(), scaled(10_000, 1_000)
        members = [self.subscriber("--group", "g", topic, probe=False) for _ in range(2)]
        self.assertTrue(eventually(lambda: self.run_cli("pub", "--require", "1", topic, "ready").code == 0))
        # Both are there when both have got something.
        self.assertTrue(eventually(lambda: self.run_cli("pub", topic, "ready").code == 0
                                   and all(member.stdout() for member in members)))
        done = self.run_cli("pub", "--require", "2", topic, "ready")
        self.assertEqual((done.stderr, done.code), ("pubsub: 1 subscription matched, 2 required\n", 6))
        self.ok("pub", "-l", topic, stdin=b"".join(b"%d\n" % i for i in range(count)))

        self.assertTrue(eventually(lambda: len(self.numbers(members)) >= count))
        self.assertEqual(sorted(self.numbers(members)), list(range(count)))

    def test_group_options_that_differ(self):
        topic = fresh_topic()
        self.subscriber("--group", "g", topic)
        done = self.run_cli("sub", "--group", "g", "--policy", "drop_new", topic)
        self.assertEqual((done.stdout, done.code), (b"", 5))
        self.assertRegex(done.stderr, r"\Apubsub: [^\n]*policy[^\n]*\n\Z")

    def test_what_does_not_go_with_a_group(self):
        for arguments in (["--group", "a b"], ["--group", ""], ["--group", "g" * 65],
                          ["--group", "g", "--policy", "close"]):
            with self.subTest(arguments=arguments):
                done = self.run_cli("sub", *arguments, "t")
                self.assertEqual((done.stdout, done.code), (b"", 5))
                self.assertRegex(done.stderr, r"\Apubsub: [^\n]*group[^\n]*\n\Z")

    def test_leaving_a_group_loses_nothing(self):
        """One goes after a while: what it was given it still prints, the rest goes to the other."""
        topic, count = fresh_topic(), scaled(100_000, 10_000)
        stays = self.subscriber("--group", "g", topic)
        goes = self.subscriber("--group", "g", "--for", "2s", topic, probe=False)
        with subprocess.Popen([PUBSUB, "pub", "-s", self.url, "-l", "--rate", str(count // 4), topic],
                              stdin=subprocess.PIPE) as publisher:
            publisher.stdin.write(b"".join(b"%d\n" % i for i in range(count)))
            publisher.stdin.close()
            self.assertEqual((goes.wait(), goes.stderr()), (0, ""))
            self.assertEqual(publisher.wait(PATIENCE_S), 0)

        self.assertTrue(eventually(lambda: len(self.numbers((stays, goes))) >= count), len(self.numbers((stays, goes))))
        self.assertEqual(sorted(self.numbers((stays, goes))), list(range(count)))

    # ---- what a message says of itself ----

    def test_ttl(self):
        topic = fresh_topic()
        self.ok("pub", "-r", "--ttl", "1h", f"{topic}/long", "long")
        self.ok("pub", "-r", "--ttl", "100ms", f"{topic}/short", "short")
        self.assertTrue(eventually(lambda: self.ok("get", "-o", "payload", f"{topic}/+") == b"long\n"))
        # In a queue, it is lost in its place.
        reader = self.stop_reading("-o", "json", topic)
        filling = scaled(100_000, 100_000)  # more than the sockets hold, so that what follows waits at the broker
        self.ok("pub", "-n", str(filling), topic, "x")
        self.ok("pub", "-n", "3", "--ttl", "50ms", topic, "expires")
        done = self.run_cli("sub", "--for", "300ms", f"{topic}/none")  # meanwhile its time passes
        self.assertEqual(done.code, 0)
        self.ok("pub", topic, "end")
        self.go_on(reader, lambda out: b'"end"' in out)
        lines = [json.loads(line) for line in reader.stdout().splitlines()]
        self.assertEqual(lines[-2], {"gap": {"count": 3, "reason": "expired"}})
        self.assertEqual((len(lines), lines[-1]["payload"]), (filling + 3, "end"))

    def test_properties_in_json(self):
        topic = fresh_topic()
        self.ok("pub", "-r", "-H", "a=1", "-H", "\u00e9=\u00fc", "--ttl", "1h", "--key", "k", "--bin", topic, "x")
        message = json.loads(self.ok("get", "-o", "json", topic))
        self.assertEqual({name: message.get(name) for name in ("headers", "ttl_ms", "key", "content_type")},
                         {"headers": {"a": "1", "\u00e9": "\u00fc"}, "ttl_ms": 3_600_000, "key": "k",
                          "content_type": 0})
        self.assertEqual(self.ok("get", "-F", "%h{a}%h{\u00e9}%h{none}", topic), "1\u00fc\n".encode())

    # (arguments, part of the one line on stderr)
    WRONG_USAGE = [
        (["sub", "--policy", "sometimes", "t"],
         "--policy sometimes: not one of drop_old, drop_new, latest, close, block"),
        (["sub", "--policy", "spill_all", "t"], "--policy spill_all"),
        (["sub", "--block", "2s", "t"], "goes with --policy block"),
        (["sub", "--block", "2s", "--policy", "spill", "t"], "goes with --policy block"),
        (["sub", "--then", "close", "--policy", "latest", "t"], "goes with --policy block or spill"),
        (["sub", "--policy", "block", "--block", "0", "t"], "--block 0: must be at least 1ms"),
        (["sub", "--policy", "block", "--block", "soon", "t"], "--block soon"),
        (["sub", "--policy", "block", "--then", "latest", "t"], "--then latest"),
        (["sub", "--gaps", "some", "t"], "--gaps some"),
        (["sub", "--polcy", "latest", "t"], "did you mean '--policy'?"),
        (["sub", "--where"], "'--where' needs a value"),
        (["pub", "--ttl", "soon", "t", "x"], "--ttl soon"),
        (["pub", "--ttl", "-1", "t", "x"], "--ttl -1"),
        (["pub", "--key", b"\xff", "t", "x"], "--key"),
        (["req"], "no topic"),
        (["req", "t", "a", "b"], "too many arguments: 'b'"),
        (["req", "--timeout", "0", "t", "x"], "--timeout 0: must be at least 1ms"),
        (["req", "--timeout", "100d", "t", "x"], "--timeout 100d: must be at most"),
        (["req", "--replies", "0", "t", "x"], "--replies 0"),
        (["req", "--all", "--replies", "2", "t", "x"], "--all and --replies exclude"),
        (["req", "-j", "t", "{"], "MSG is not JSON"),
        (["req", "--file", "f", "t", "x"], "both MSG and --file"),
        (["rep", "t"], "did you mean 're"),
        (["reply"], "no topic"),
        (["reply", "t"], "give --exec or --echo"),
        (["reply", "--echo", "--exec", "cat", "t"], "exclude"),
        (["reply", "--echo", "-j", "t"], "an echo has the form of the request"),
        (["reply", "--echo", "--jobs", "2", "t"], "--jobs goes with --exec"),
        (["reply", "--echo", "t", "u"], "too many arguments: 'u'"),
        (["reply", "-n", "0", "--echo", "t"], "-n 0"),
    ]

    def test_wrong_usage(self):
        for arguments, part in self.WRONG_USAGE:
            with self.subTest(arguments=arguments):
                done = self.run_cli(*arguments)
                self.assertEqual((done.stdout, done.code), (b"", 2), done.stderr)
                self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
                self.assertIn(part, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
