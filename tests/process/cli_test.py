"""The command line, against a real broker: what it sends and how it is printed."""
import base64
import json
import os
import pty
import re
import subprocess
import tempfile
import unittest

from programs import CliTest, PATIENCE_S, PUBSUB, fresh_topic, read_terminal, run_without_broker


class Forms(CliTest):
    """What is sent, and how it is printed."""

    # (arguments of pub, its input, arguments of get, what get prints)
    RETAINED = [
        (["hello"], b"", [], b"hello\n"),
        (["hello world"], b"", [], b"hello world\n"),
        (["1.10"], b"", [], b"1.10\n"),
        (["1.10"], b"", ["-o", "json"], b'"payload":"1.10"'),
        ([""], b"", [], b"\n"),
        (["--", "-5"], b"", [], b"-5\n"),
        (["{\"a\": 1}"], b"", [], b'{"a": 1}\n'),
        (["-j", "1.10"], b"", [], b"1.1\n"),
        (["-j", "{\"t\": 21, \"list\": [null, true, \"x\"]}"], b"", [], b'{"t":21,"list":[null,true,"x"]}\n'),
        (["-j", "{\"t\":21}"], b"", ["-o", "raw"], b"\x81\xa1t\x15"),
        (["-j", "{\"t\":21}"], b"", ["-o", "msgpack"], b"\x81\xa1t\x15"),
        (["-j", "18446744073709551615"], b"", [], b"18446744073709551615\n"),
        (["-j", "--", "-9223372036854775808"], b"", [], b"-9223372036854775808\n"),
        (["-j", "\"a\\nb\""], b"", [], b"a\\nb\n"),
        (["-j"], b"[1,\n2]\n", [], b"[1,2]\n"),
        (["--json", "-"], b"{}", [], b"{}\n"),
        (["--hex", "00 ff10"], b"", [], b'{"$bin":"AP8Q"}\n'),
        (["--hex", "00ff10"], b"", ["-o", "raw"], b"\x00\xff\x10"),
        (["--hex", "--msgpack", "81a17415"], b"", [], b'{"t":21}\n'),
        (["--hex", "--bin", "81a17415"], b"", ["-o", "raw"], b"\x81\xa1t\x15"),
        (["--hex", "--bin", "81a17415"], b"", [], b'{"$bin":"gaF0FQ=="}\n'),
        (["--bin"], b"\x00\xff", ["-o", "raw"], b"\x00\xff"),
        (["--bin"], b"\x00\xff", ["-o", "msgpack"], b"\xc4\x02\x00\xff"),
        (["--bin", "text"], b"", [], b'{"$bin":"dGV4dA=="}\n'),
        (["--msgpack"], b"\x93\x01\xc0\xca\x3f\xc0\x00\x00", [], b"[1,null,1.5]\n"),
        (["--msgpack"], b"\x81\x01\xd4\x05\x61", [], b'{"1":{"$ext":[5,"YQ=="]}}\n'),
        (["--msgpack"], b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", [], b"null\n"),
        ([], b"all of it\nat once\n", [], b"all of it\\nat once\\n\n"),
        (["-"], b"", [], b"\n"),
        (["-H", "a=b=c", "-H", "k=", "x"], b"", ["-o", "json"], b'"headers":{"a":"b=c","k":""}'),
        (["x"], b"", ["-o", "json"], b'"retained":true,"headers":{}'),
        (["x"], b"", ["-o", "none"], b""),
        (["-j", "{\"a\":{\"b\":[7,\"x\\ty\"]}}"], b"", ["-F", "%{a.b[0]}:%{a.b[1]}:%{none}:%{a}"],
         b'7:x\ty::{"b":[7,"x\\ty"]}\n'),
        (["-j", "\"x\""], b"", ["-F", "%p %j %r %% %q%n"], b'x "x" x % -\n'),
        (["text\nwith\ttab\\"], b"", [], b"text\\nwith\ttab\\\n"),
    ]

    def test_payloads(self):
        for pub, stdin, get, expected in self.RETAINED:
            with self.subTest(pub=pub, get=get):
                topic = fresh_topic()
                self.assertEqual(self.ok("pub", "-r", topic, *pub, stdin=stdin), b"")
                printed = self.ok("get", *get, topic)
                if get[:2] == ["-o", "json"]:
                    self.assertEqual(json.loads(printed)["topic"], topic)
                    self.assertIn(expected, printed)
                else:
                    self.assertEqual(printed, expected)

    def test_topic_in_line(self):
        self.ok("pub", "-r", "in-line/a", "one")
        self.ok("pub", "-r", "in-line/b", "-j", "2")
        both = {b"in-line/a\tone\n", b"in-line/b\t2\n"}
        self.assertEqual(set(self.ok("get", "in-line/+").splitlines(True)), both)
        self.assertEqual(set(self.ok("get", "in-line/a", "in-line/b").splitlines(True)), both)
        self.assertEqual(self.ok("get", "-o", "line", "in-line/a"), b"in-line/a\tone\n")
        self.assertEqual(set(self.ok("get", "-o", "payload", "in-line/#").splitlines(True)), {b"one\n", b"2\n"})
        self.assertEqual(set(self.ok("get", "-o", "topic", "in-line/#").splitlines()), {b"in-line/a", b"in-line/b"})
        self.assertEqual(set(self.ok("get", "-F", "%t=%j", "in-line/#").splitlines()),
                         {b'in-line/a="one"', b"in-line/b=2"})

    def test_topic_cannot_break_the_line(self):
        self.ok("pub", "-r", "odd\ttopic\nhere/x", "m")
        self.assertEqual(self.ok("get", "-o", "line", "+/x"), b"odd\\ttopic\\nhere/x\tm\n")

    def test_json_object(self):
        topic = fresh_topic()
        subscriber = self.subscriber("-o", "json", "-n", "2", topic)
        self.ok("pub", topic, "-j", "{\"a\":[1,\"\\u0007\"]}")
        self.assertEqual(subscriber.wait(), 0)
        message = json.loads(subscriber.stdout().splitlines()[1])
        self.assertRegex(message.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(message, {"topic": topic, "payload": {"a": [1, "\a"]}, "stream": None, "seq": None,
                                   "retained": False, "headers": {}})

    def test_text_that_is_hard_to_print(self):
        topic, text = fresh_topic(), "line\nbell\a escape\x1b[31m emoji\U0001f600 nul\0 end\x7f\u009b\r\t\\"
        self.ok("pub", "-r", topic, stdin=text.encode())
        self.assertEqual(json.loads(self.ok("get", "-o", "json", topic))["payload"], text)
        self.assertEqual(self.ok("get", "-o", "raw", topic), text.encode())
        line = self.ok("get", topic)
        self.assertEqual(line, text.encode().replace(b"\n", b"\\n").replace(b"\0", b"\\0") + b"\n")

    def test_terminal_is_not_driven(self):
        topic, text = fresh_topic(), "a\x1b[31mb\n\t\\\x07\x7f\u009b\U0001f600\0"
        self.ok("pub", "-r", topic, stdin=text.encode() + b"\xff")
        master, slave = pty.openpty()
        with open(master, "rb", buffering=0) as shown:
            command = subprocess.run([PUBSUB, "get", "-s", self.url, topic], stdout=slave, stderr=subprocess.PIPE,
                                     timeout=PATIENCE_S)
            os.close(slave)
            seen = read_terminal(shown)
        self.assertEqual((command.returncode, command.stderr), (0, b""))
        self.assertEqual(seen, "a\\x1b[31mb\\n\t\\\\a\\x7f\\u009b\U0001f600\\0\\xff\r\n".encode())

    def test_not_utf8_is_kept(self):
        topic = fresh_topic()
        self.ok("pub", "-r", topic, stdin=b"caf\xe9")
        self.assertEqual(self.ok("get", topic), b"caf\xe9\n")
        self.assertEqual(json.loads(self.ok("get", "-o", "json", topic))["payload"],
                         {"$str": base64.b64encode(b"caf\xe9").decode()})

    def test_hint_for_json(self):
        for text, options, hinted in (("{\"a\":1}", [], True), ("[1]", [], True), ("{a}", [], False),
                                      ("[1]", ["-j"], False)):
            with self.subTest(text=text, options=options):
                master, slave = pty.openpty()
                with open(master, "rb", buffering=0) as shown:
                    command = subprocess.run([PUBSUB, "pub", "-s", self.url, *options, fresh_topic(), text],
                                             stderr=slave, timeout=PATIENCE_S)
                    os.close(slave)
                    seen = read_terminal(shown)
                self.assertEqual(command.returncode, 0)
                self.assertEqual(b"-j" in seen, hinted, seen)
        done = self.run_cli("pub", fresh_topic(), "{\"a\":1}")  # stderr is no terminal
        self.assertEqual((done.stderr, done.code), ("", 0))

    def test_clearing_a_retained_value(self):
        topic = fresh_topic()
        self.ok("pub", "-r", topic, "value")
        self.ok("pub", "-r", "--bin", topic, "")
        done = self.run_cli("get", topic)
        self.assertEqual(done, (b"", f"pubsub: no retained value of '{topic}'\n", 1))

    def test_file(self):
        topic = fresh_topic()
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"\x00from a file\n")
            file.flush()
            self.ok("pub", "-r", "--file", file.name, topic)
        self.assertEqual(self.ok("get", "-o", "raw", topic), b"\x00from a file\n")


class Help(unittest.TestCase):
    def test_version(self):
        done = run_without_broker("--version")
        self.assertRegex(done.stdout, rb"\Apubsub \d+\.\d+\.\d+\n\Z")
        self.assertEqual((done.stderr, done.code), ("", 0))

    @staticmethod
    def commands(*of):
        """Those that a help lists, with those that they have."""
        text = run_without_broker(*of, "--help").stdout.decode()
        _, _, listed = text.partition("\nCommands, each with --help of its own\n")
        found = re.findall(r"(?m)^  (\w+)  +\w", listed.partition("\n\n")[0])
        return [command for name in found for command in [[*of, name], *Help.commands(*of, name)]]

    def test_help_names_only_what_there_is(self):
        commands = self.commands()
        self.assertLessEqual({"pub", "sub", "req", "reply", "get", "stream ls", "stream info", "stream rm", "stream export",
                              "stream import", "bench", "context add", "help"}, {" ".join(words) for words in commands})
        for words in commands:
            command = " ".join(words)
            done = run_without_broker(*words, "--help")
            self.assertEqual((done.stderr, done.code), ("", 0))
            text = done.stdout.decode()
            for heading in (f"Usage: pubsub {command} [OPTION]...", "\nExamples\n", "\nExit codes\n"):
                self.assertIn(heading, text)
            examples = text.partition("\nExamples\n")[2].partition("\n\n")[0].splitlines()
            self.assertGreaterEqual(len(examples), 2, command)
            self.assertTrue(all(f"pubsub {words[0]}" in line or "pubsub -" in line for line in examples), command)
            self.assertEqual(run_without_broker(*words, "-h"), done)
            self.assertEqual(run_without_broker("help", *words), done)
            options = set(re.findall(r"(?<![\w-])--?[a-z0-9A-Z][a-z-]*", text.split("\nExamples")[0]))
            self.assertIn("--help", options)
            for option in options:
                error = run_without_broker(*words, option, PUBSUB_URL="unix:/nonexistent").stderr
                self.assertNotIn("unknown option", error, f"{command} {option}")

    def test_help_of_nothing_is_that_of_all(self):
        self.assertEqual(run_without_broker("help"), run_without_broker("--help"))

    def test_what_was_meant(self):
        for words, meant in (
                ("pbu t x", "unknown command 'pbu'; did you mean 'pub'?"),
                ("publish t x", "unknown command 'publish'; did you mean 'pub'?"),
                ("subscribe t", "unknown command 'subscribe'; did you mean 'sub'?"),
                ("help bnech", "unknown command 'bnech'; did you mean 'bench'?"),
                ("stream ifno x", "unknown command 'stream ifno'; did you mean 'info'?"),
                ("context delete", "unknown command 'context delete'; see 'pubsub context --help'"),
                ("pub --jsn t x", "unknown option '--jsn'; did you mean '--json'?"),
                ("pub -retain t x", "unknown option '-retain'; did you mean '--retain'?"),
                ("sub -help", "unknown option '-help'; did you mean '--help'?"),
                ("frobnicate", "unknown command 'frobnicate'; see 'pubsub --help'")):
            done = run_without_broker(*words.split())
            self.assertEqual((done.stderr, done.stdout, done.code), (f"pubsub: {meant}\n", b"", 2))

    def shown(self, **environment):
        """The help on a terminal."""
        terminal, other = pty.openpty()
        command = subprocess.Popen([PUBSUB, "pub", "--help"], stdout=other,
                                   env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **environment})
        os.close(other)
        with open(terminal, "rb", buffering=0) as file:
            text = read_terminal(file)
        self.assertEqual(command.wait(PATIENCE_S), 0)
        return text.replace(b"\r\n", b"\n")

    def test_colour_only_where_it_is_wanted(self):
        plain = run_without_broker("pub", "--help").stdout
        coloured = self.shown()
        self.assertNotIn(b"\033", plain)
        self.assertIn(b"\033[1mUsage:\033[0m", coloured)
        self.assertEqual(re.sub(rb"\033\[\d*m", b"", coloured), plain)
        self.assertEqual(self.shown(NO_COLOR="1"), plain)
        self.assertEqual(self.shown(TERM="dumb"), plain)

    def test_help_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            command = subprocess.run([PUBSUB, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE_S)
        self.assertEqual(command.returncode, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
