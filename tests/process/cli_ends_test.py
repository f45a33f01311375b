"""How the commands end: exit codes, stop conditions, signals, and what goes to stderr."""
import os
import pty
import signal
import subprocess
import tempfile
import time
import unittest

from programs import CliTest, PATIENCE_S, PUBSUB, eventually, fresh_topic, run_without_broker


class Ends(CliTest):
    """Exit codes, stop conditions and what goes to stderr."""

    # (arguments, part of the one line on stderr)
    WRONG_USAGE = [
        ([], "no command"),
        (["pubb"], "did you mean 'pub'?"),
        (["sbu", "x"], "did you mean 'sub'?"),
        (["frobnicate"], "unknown command 'frobnicate'"),
        (["--nonsense"], "unknown option '--nonsense'"),
        (["-l", "pub"], "unknown option '-l'"),
        (["-s"], "needs a value"),
        (["pub"], "no topic"),
        (["pub", "t", "a", "b"], "too many arguments: 'b'"),
        (["pub", "t", "-5"], "unknown option '-5'"),
        (["pub", "--retian", "t", "x"], "did you mean '--retain'?"),
        (["pub", "--retain=x", "t", "x"], "takes no value"),
        (["pub", "-j", "t", "not json"], "MSG is not JSON"),
        (["pub", "-j", "t", "18446744073709551616"], "integer"),
        (["pub", "--hex", "t", "abc"], "MSG is not hexadecimal"),
        (["pub", "-j", "--bin", "t", "1"], "only one of"),
        (["pub", "-j", "--hex", "t", "1"], "exclude"),
        (["pub", "-l", "t", "x"], "both MSG and --lines"),
        (["pub", "-l", "--msgpack", "t"], "--hex"),
        (["pub", "-k", "t"], "-k takes topics"),
        (["pub", "--file", "f", "t", "x"], "both MSG and --file"),
        (["pub", "-n", "0", "t", "x"], "-n 0: not a whole number of at least 1"),
        (["pub", "-n", "-1", "t", "x"], "-n -1"),
        (["pub", "-n", "1x", "t", "x"], "-n 1x"),
        (["pub", "--rate", "x", "t", "x"], "--rate x"),
        (["pub", "--ack", "maybe", "t", "x"], "--ack maybe"),
        (["pub", "--ack", "none", "--require", "1", "t", "x"], "--require"),
        (["pub", "-H", "novalue", "t", "x"], "-H novalue"),
        (["pub", "-H", "=x", "t", "x"], "-H =x"),
        (["pub", "-H", "a=1", "-H", "a=2", "t", "x"], "the key 'a' is there already"),
        (["sub"], "no pattern; if you typed #, the shell removed it: quote it or use -a"),
        (["sub", "-a", "x"], "both -a and the pattern 'x'"),
        (["sub", "--for", "ten", "x"], "--for ten"),
        (["sub", "--idle", "0", "x"], "--idle 0"),
        (["sub", "--max-bytes", "0", "x"], "--max-bytes 0"),
        (["sub", "--max-msgs", "0", "x"], "--max-msgs 0"),
        (["sub", "--retained", "yes", "x"], "--retained yes"),
        (["sub", "-o", "xml", "x"], "-o xml"),
        (["sub", "-F", "%x", "x"], "-F '%x'"),
        (["get"], "no topic"),
        (["get", "-n", "1", "x"], "unknown option '-n'"),
        (["-s", "nonsense://", "get", "x"], "nonsense"),
    ]

    def test_wrong_usage(self):
        for arguments, part in self.WRONG_USAGE:
            with self.subTest(arguments=arguments):
                done = self.run_cli(*arguments)
                self.assertEqual((done.stdout, done.code), (b"", 2), done.stderr)
                self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
                self.assertIn(part, done.stderr)

    def test_no_message_on_a_terminal(self):
        master, slave = pty.openpty()
        with open(master, "rb", buffering=0):
            command = subprocess.run([PUBSUB, "pub", "-s", self.url, "t"], stdin=slave, stderr=subprocess.PIPE,
                                     timeout=PATIENCE_S)
            os.close(slave)
        self.assertEqual(command.returncode, 2)
        self.assertIn(b"no message", command.stderr)

    def test_cannot_connect(self):
        with tempfile.TemporaryDirectory() as directory:
            for url in (f"unix:{directory}/nobody", "tcp://127.0.0.1:1"):
                for command in (["pub", "t", "x"], ["sub", "t"], ["get", "t"]):
                    with self.subTest(url=url, command=command):
                        done = run_without_broker("-s", url, *command)
                        self.assertEqual((done.stdout, done.code), (b"", 3))
                        self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")

    def test_many_brokers_with_long_names(self):
        urls = ",".join([f"unix:/nonexistent/{number:080}" for number in range(7)] + ["tls://127.0.0.1:1"])
        for arguments, environment in ((["-s", urls], {}), ([], {"PUBSUB_URL": urls})):
            done = run_without_broker(*arguments, "pub", "t", "x", **environment)
            self.assertEqual((done.stdout, done.code), (b"", 3))
            self.assertRegex(done.stderr, r"\Apubsub: cannot connect to any of 8 brokers: (unix:/nonexistent/0+: No such file or directory; ){7}"
                                          r"tls://127.0.0.1:1: Connection refused\n\Z")

    def test_connection_options_stand_before_or_after(self):
        topic = fresh_topic()
        for arguments in (["-s", self.url, "pub", topic, "x"], ["pub", "-s", self.url, topic, "x"],
                          ["pub", topic, "x", "-s", self.url], [f"-s{self.url}", "--id=me", "pub", topic, "x"]):
            done = run_without_broker(*arguments, PUBSUB_URL="unix:/nonexistent")
            self.assertEqual(done, (b"", "", 0))
        done = run_without_broker("-s", self.broker.tcp, "pub", topic, "x")
        self.assertEqual(done, (b"", "", 0))

    def test_bad_client_id(self):
        done = self.run_cli("--id", "a/b", "pub", "t", "x")
        self.assertIn(done.code, (2, 5))
        self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")

    def test_refused(self):
        for arguments in (["pub", "a+b", "x"], ["pub", "", "x"], ["pub", "-n", "5", "#", "x"],
                          ["pub", "x/" * 32 + "x", "x"], ["pub", "t" * 256, "x"], ["sub", "a+b"], ["sub", "#/x"],
                          ["sub", "ok", ""], ["get", "#x"]):
            with self.subTest(arguments=arguments):
                done = self.run_cli(*arguments)
                self.assertEqual((done.stdout, done.code), (b"", 5))
                self.assertRegex(done.stderr, r"\Apubsub: bad (topic|pattern) '[^\n]+\n\Z")

    def test_acknowledgement_that_is_not_there(self):
        for level in ("stored", "replicated"):
            done = self.run_cli("pub", "-l", "--ack", level, "t", stdin=b"1\n2\n3\n")
            self.assertEqual((done.stdout, done.code), (b"", 5))
            self.assertRegex(done.stderr, r"\Apubsub: line 1: [^\n]+\n\Z")

    def test_require(self):
        topic = fresh_topic()
        done = self.run_cli("pub", "--require", "1", topic, "x")
        self.assertEqual(done, (b"", "pubsub: 0 subscriptions matched, 1 required\n", 6))
        subscriber = self.subscriber("-n", "10", topic)
        self.ok("pub", "--require", "1", topic, "x")
        done = self.run_cli("pub", "--require", "2", topic, "x")
        self.assertEqual(done, (b"", "pubsub: 1 subscription matched, 2 required\n", 6))
        done = self.run_cli("pub", "-k", "--require", "1", stdin=f"{topic}\t1\n{topic}/none\t2\n{topic}\t3\n".encode())
        self.assertEqual(done.code, 6)
        subscriber.stop()

    def timed(self, *arguments):
        """Runs it again if it could not connect: that may take no longer than --for, which is little for a busy machine."""
        results = []

        def is_connected():
            results.append(self.run_cli(*arguments))
            return results[-1].code != 3
        eventually(is_connected)
        return results[-1]

    def test_time_runs_out(self):
        topic = fresh_topic()
        for arguments, code in ((["-n", "1", "--for", "200ms"], 124), (["--for", "200ms"], 0),
                                (["-n", "1", "--idle", "200ms"], 124), (["--idle", "0.2s"], 0),
                                (["--idle", "1h", "--for", "200ms"], 0)):
            with self.subTest(arguments=arguments):
                began = time.monotonic()
                done = self.timed("sub", topic, *arguments)
                self.assertEqual(done, (b"", "", code))
                self.assertGreater(time.monotonic() - began, 0.19)

    def test_for_counts_though_messages_come(self):
        topic = fresh_topic()
        command = [PUBSUB, "pub", "-s", self.url, "-n", "1000000", "--rate", "200", topic, "x"]
        with subprocess.Popen(command) as publisher:
            def came():
                """Unless a busy machine took all of that time to connect."""
                done = self.timed("sub", "--for", "1s", "-n", "1000000", topic)
                self.assertEqual((done.stderr, done.code), ("", 124))
                return b"x\n" in done.stdout
            self.assertTrue(eventually(came))
            publisher.terminate()
            self.assertEqual(publisher.wait(PATIENCE_S), 128 + signal.SIGTERM)

    def test_retained_choices(self):
        topic = fresh_topic()
        self.ok("pub", "-r", topic, "kept")
        self.assertEqual(self.ok("sub", "-n", "1", topic), b"kept\n")
        self.assertEqual(self.ok("sub", "--retained", "only", topic), b"kept\n")
        self.assertEqual(self.timed("sub", "--retained", "no", "-n", "1", "--for", "200ms", topic), (b"", "", 124))
        self.assertEqual(self.run_cli("sub", "--retained", "only", "-n", "2", topic), (b"kept\n", "", 124))

    def test_get_without_values(self):
        self.assertEqual(self.run_cli("get", "none/here"), (b"", "pubsub: no retained value of 'none/here'\n", 1))
        self.ok("pub", "-r", "one/here", "x")
        self.assertEqual(self.ok("get", "none/here", "one/here"), b"one/here\tx\n")

    def test_all_topics(self):
        subscriber = self.subscriber("-a", "-o", "topic", ready="all/of/them")
        subscriber.process.send_signal(signal.SIGINT)
        self.assertEqual(subscriber.wait(), 128 + signal.SIGINT)
        self.assertEqual(subscriber.stdout().splitlines()[-1], b"all/of/them")

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            topic = fresh_topic()
            subscriber = self.subscriber(topic)
            self.ok("pub", topic, "before")
            self.assertTrue(eventually(lambda: b"before\n" in subscriber.stdout()))
            subscriber.process.send_signal(number)
            self.assertEqual(subscriber.wait(), 128 + number)
            self.assertEqual((subscriber.lines(), subscriber.stderr()), (b"before\n", ""))

    def test_signal_to_a_publisher_that_waits_for_input(self):
        topic = fresh_topic()
        subscriber = self.subscriber(topic)
        with subprocess.Popen([PUBSUB, "pub", "-s", self.url, "-l", topic], stdin=subprocess.PIPE,
                              stderr=subprocess.PIPE) as publisher:
            publisher.stdin.write(b"sent\nnot a whole line")
            publisher.stdin.flush()
            self.assertTrue(eventually(lambda: b"sent\n" in subscriber.stdout()))
            publisher.send_signal(signal.SIGINT)
            self.assertEqual(publisher.wait(PATIENCE_S), 128 + signal.SIGINT)
            self.assertEqual(publisher.stderr.read(), b"")

    def test_signal_while_nobody_reads_the_output(self):
        topic = fresh_topic()
        subscriber = self.subscriber(topic, stdout=subprocess.PIPE)
        self.ok("pub", "-n", "50000", topic, "x" * 100)  # far more than a pipe holds
        self.assertTrue(eventually(lambda: self.blocked_in_write(subscriber.process.pid)))
        subscriber.process.send_signal(signal.SIGTERM)
        self.assertEqual(subscriber.wait(), 128 + signal.SIGTERM)

    @staticmethod
    def blocked_in_write(pid):
        with open(f"/proc/{pid}/wchan") as file:
            return "pipe_w" in file.read()

    def test_reader_goes_away(self):
        topic = fresh_topic()
        subscriber = self.subscriber(topic, stdout=subprocess.PIPE)
        self.assertEqual(subscriber.process.stdout.readline(), b"ready\n")
        subscriber.process.stdout.close()  # and no further message comes that it could fail on
        self.assertEqual((subscriber.wait(), subscriber.stderr()), (0, ""))

    def test_reader_goes_away_while_messages_come(self):
        topic = fresh_topic()
        script = '"$0" sub -s "$1" "$2" | head -n 3'
        with subprocess.Popen(["sh", "-c", script, PUBSUB, self.url, topic], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as pipe:
            while self.run_cli("pub", "--require", "1", topic, "ready").code != 0:
                self.assertIsNone(pipe.poll())
            self.ok("pub", "-n", "100000", topic, "more")
            out, err = pipe.communicate(timeout=PATIENCE_S)
        self.assertEqual((out, err), (b"ready\nmore\nmore\n", b""))

    def test_output_that_cannot_be_written(self):
        self.ok("pub", "-r", "full", "x")
        with open("/dev/full", "wb") as full:
            command = subprocess.run([PUBSUB, "get", "-s", self.url, "full"], stdout=full, stderr=subprocess.PIPE,
                                     timeout=PATIENCE_S)
        self.assertEqual(command.returncode, 1)
        self.assertRegex(command.stderr, rb"\Apubsub: cannot write to standard output: [^\n]+\n\Z")

    def test_descriptors_that_are_closed(self):
        """What is printed does not go into the connection that would have taken the number."""
        self.ok("pub", "-r", "closed", "x")
        for arguments in ["get", "closed"], ["sub", "--retained", "only", "closed"], ["status"]:
            command = subprocess.run(["sh", "-c", '"$0" "$@" <&- >&-', PUBSUB, *arguments, "-s", self.url],
                                     stderr=subprocess.PIPE, timeout=PATIENCE_S)
            self.assertEqual((command.stderr, command.returncode),
                             (b"pubsub: cannot write to standard output: Bad file descriptor\n", 1), arguments)

    def test_input_that_cannot_be_read(self):
        for arguments in (["--file", "/nonexistent/file"], ["--file", "/"], ["-l", "--file", "/"]):
            done = self.run_cli("pub", *arguments, "t")
            self.assertEqual((done.stdout, done.code), (b"", 1))
            self.assertRegex(done.stderr, r"\Apubsub: cannot (open|read) /[^\n]*\n\Z")

    def test_bad_input(self):
        for arguments, stdin in ((["-j"], b"{"), (["--msgpack"], b"\x01\x02"), (["--msgpack"], b""),
                                 (["--hex"], b"xx")):
            done = self.run_cli("pub", *arguments, "t", stdin=stdin)
            self.assertEqual((done.stdout, done.code), (b"", 1))
            self.assertRegex(done.stderr, r"\Apubsub: standard input is not [^\n]+\n\Z")

    # Hostile 18.
    def test_taken_over(self):
        topic = fresh_topic()
        first = self.subscriber("--id", "the-same", topic)
        second = self.subscriber("--id", "the-same", topic, probe=False)
        self.assertEqual(first.wait(), 7)
        self.assertRegex(first.stderr(), r"\Apubsub: [^\n]+\n\Z")
        second.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
