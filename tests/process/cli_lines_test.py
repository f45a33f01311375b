"""Messages line by line through the command line, made for the test and found on the machine."""
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
import unittest

from programs import CliTest, PATIENCE_S, PUBSUB, fresh_topic, scaled

# Of a subscriber that loses nothing, should the machine give it no time while its publisher goes on.
HOLDS = "--policy", "block", "--block", "1h"


class Lines(CliTest):
    """A message per line."""

    def test_lines_go_through_unchanged(self):
        lines = ["plain", "", "tab\there", "back\\slash \\n \\0", "carriage\r", "caf\u00e9 \u4e2d\u6587 \U0001f600",
                 " blanks ", "{\"json\": 1}", "\x1b[31mred", "no newline at the end"]
        topic = fresh_topic()
        data = "\n".join(lines).encode()
        subscriber = self.subscriber("-n", str(len(lines) + 1), topic)
        self.ok("pub", "-l", topic, stdin=data)
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.lines(), data + b"\n")

    def test_a_million_lines(self):
        topic, count = fresh_topic(), scaled(1_000_000)
        data = b"".join(b"line %d of the file\n" % i for i in range(count))
        subscriber = self.subscriber(*HOLDS, "-n", str(count + 1), topic)
        began = time.monotonic()
        self.ok("pub", "-l", topic, stdin=data)
        self.assertEqual(subscriber.wait(), 0)
        print(f"{count} lines in {time.monotonic() - began:.2f} s", flush=True)
        self.assertTrue(subscriber.lines() == data, "the output differs from the input")
        self.assertEqual(subscriber.stderr(), "")

    def test_many_subscribers(self):
        topic, subscriber_count, count = fresh_topic(), scaled(200, 10), scaled(20000, 1000)
        data = b"".join(b"line %d for all\n" % i for i in range(count))
        subscribers = [self.subscriber("-o", "payload", "-n", str(count + 1), topic, f"{topic}/ready/{i}",
                                       ready=f"{topic}/ready/{i}") for i in range(subscriber_count)]
        self.ok("pub", "-l", "--require", str(subscriber_count), topic, stdin=data)
        self.assertEqual({subscriber.wait() for subscriber in subscribers}, {0})
        self.assertEqual({hashlib.sha256(subscriber.lines()).digest() for subscriber in subscribers},
                         {hashlib.sha256(data).digest()})

    def test_empty_input_is_no_message(self):
        topic = fresh_topic()
        subscriber = self.subscriber("-n", "2", topic)
        self.assertEqual(self.ok("pub", "-l", topic, stdin=b""), b"")
        self.ok("pub", topic, "last")
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.lines(), b"last\n")

    def test_nul_separated(self):
        topic = fresh_topic()
        subscriber = self.subscriber("-n", "3", topic)
        self.ok("pub", "-0", topic, stdin=b"a\nb\0c")
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.lines(), b"a\\nb\nc\n")

    def test_json_lines(self):
        topic = fresh_topic()
        subscriber = self.subscriber("-n", "3", topic)
        done = self.run_cli("pub", "-lj", topic, stdin=b"{\"a\" : 1}\nnot json\n[2]\n")
        self.assertEqual(done.code, 5)
        self.assertRegex(done.stderr, r"\Apubsub: line 2: not JSON: .*\n\Z")
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.lines(), b"{\"a\":1}\n[2]\n")

    def test_hex_and_bin_lines(self):
        topic = fresh_topic()
        subscriber = self.subscriber("-o", "json", "-n", "4", topic)
        self.ok("pub", "-l", "--hex", "--msgpack", topic, stdin=b"c3\n01\n")
        self.ok("pub", "-l", "--bin", topic, stdin=b"x\n")
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual([json.loads(line)["payload"] for line in subscriber.stdout().splitlines()[1:]],
                         [True, 1, {"$bin": "eA=="}])

    def test_count_ends_the_lines(self):
        topic = fresh_topic()
        subscriber = self.subscriber("-n", "4", topic)
        self.ok("pub", "-l", "-n", "2", topic, stdin=b"1\n2\n3\n4\n")
        self.ok("pub", topic, "end")
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.lines(), b"1\n2\nend\n")

    def test_keyed_lines(self):
        topic = fresh_topic()
        subscriber = self.subscriber("-n", "4", f"{topic}/#", ready=topic)
        long_topic = "x" * 300
        lines = [f"{topic}/a\tone", "no tab", f"{topic}/b\ttwo\ttabs", "g++\tbad", "", f"{long_topic}\tlong",
                 f"{topic}/c\t"]
        done = self.run_cli("pub", "-k", stdin="\n".join(lines).encode())
        self.assertEqual(done.code, 5)
        errors = done.stderr.splitlines()
        self.assertEqual(len(errors), 4, errors)
        self.assertEqual(errors[0], "pubsub: line 2: no tab between topic and message")
        self.assertRegex(errors[1], r"^pubsub: line 4: bad topic 'g\+\+': .")
        self.assertEqual(errors[2], "pubsub: line 5: no tab between topic and message")
        self.assertRegex(errors[3], r"^pubsub: line 6: bad topic 'x+': .*255")
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.stdout().decode(),
                         f"{topic}\tready\n{topic}/a\tone\n{topic}/b\ttwo\ttabs\n{topic}/c\t\n")

    def test_refusals_of_the_broker_name_the_line(self):
        topic = fresh_topic()
        lines = [f"{topic}\t{i}" for i in range(1000)]
        for at in (3, 499, 500, 999):
            lines[at] = f"$reserved/{at}\tx"
        lines[10] = "a+b\tx"  # refused before it has a publish id, so that lines and ids part
        done = self.run_cli("pub", "-k", stdin="\n".join(lines).encode())
        self.assertEqual(done.code, 4)  # not authorised
        self.assertEqual(sorted(int(re.match(r"pubsub: line (\d+): ", line)[1]) for line in done.stderr.splitlines()),
                         [4, 11, 500, 501, 1000])

    def test_refusals_without_acknowledgement(self):
        done = self.run_cli("pub", "--ack", "none", "$reserved/x", "x")
        self.assertEqual(done.code, 4)
        self.assertRegex(done.stderr, r"\Apubsub: .*\n\Z")

    def test_line_too_long(self):
        topic = fresh_topic()
        subscriber = self.subscriber("-n", "3", topic)
        data = b"short\n" + b"x" * 3_000_000 + b"\nnext\n" + b"y" * (1 << 20) + b"\n"
        done = self.run_cli("pub", "-l", topic, stdin=data)
        self.assertEqual(done.code, 5)
        errors = done.stderr.splitlines()
        self.assertEqual(len(errors), 2, errors)
        self.assertRegex(errors[0], r"^pubsub: line 2: too large: 3000000 bytes.* 1048576$")
        self.assertRegex(errors[1], r"^pubsub: line 4: too large: .* 1048581 bytes.* 1048576$")
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.lines(), b"short\nnext\n")

    def test_each_line_as_soon_as_it_is_there(self):
        topic = fresh_topic()
        subscriber = self.subscriber(topic, stdout=subprocess.PIPE)
        self.assertEqual(subscriber.process.stdout.readline(), b"ready\n")
        with subprocess.Popen([PUBSUB, "pub", "-s", self.url, "-l", topic], stdin=subprocess.PIPE) as publisher:
            for i in range(20):
                publisher.stdin.write(b"line %d\n" % i)
                publisher.stdin.flush()
                self.assertEqual(subscriber.process.stdout.readline(), b"line %d\n" % i)
            publisher.stdin.write(b"and the rest")
            publisher.stdin.close()
            self.assertEqual(subscriber.process.stdout.readline(), b"and the rest\n")
            self.assertEqual(publisher.wait(PATIENCE_S), 0)

    def test_unacknowledged_lines_arrive(self):
        topic, count = fresh_topic(), scaled(100_000)
        data = b"".join(b"%d\n" % i for i in range(count))
        subscriber = self.subscriber(*HOLDS, "-n", str(count + 1), topic)
        self.ok("pub", "-l", "--ack", "none", topic, stdin=data)
        self.assertEqual(subscriber.wait(), 0)
        self.assertTrue(subscriber.lines() == data)

    def test_repeated_message_and_rate(self):
        topic = fresh_topic()
        subscriber = self.subscriber("-n", "21", topic)
        began = time.monotonic()
        self.ok("pub", "-n", "20", "--rate", "100", topic, "again")
        self.assertGreater(time.monotonic() - began, 0.18)
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.lines(), b"again\n" * 20)


class RealInput(CliTest):
    """Data that nobody made for a test."""

    @unittest.skipUnless(shutil.which("dpkg-query"), "this machine has no package list")
    def test_package_list(self):
        packages = subprocess.run(["dpkg-query", "-W", "-f", r"${Package}\t${Version}\n"], capture_output=True,
                                  check=True).stdout
        lines = packages.splitlines(True)
        refused = [number for number, line in enumerate(lines, 1) if b"+" in line.split(b"\t")[0]]
        accepted = [line for line in lines if b"+" not in line.split(b"\t")[0]]
        self.assertGreater(len(accepted), 50)
        subscriber = self.subscriber("-n", str(len(accepted) + 1), "+", ready="ready")
        done = self.run_cli("pub", "-l", "-k", stdin=packages)
        self.assertEqual(done.code, 5 if refused else 0)
        self.assertEqual([line.split(": ")[1] for line in done.stderr.splitlines()],
                         [f"line {number}" for number in refused])
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.stdout().splitlines(True)[1:], accepted)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        found = {}
        for directory in {os.path.dirname(os.path.realpath(line.split()[2])) for line in cls.mapped_files()}:
            for name in os.listdir(directory):
                path = os.path.realpath(os.path.join(directory, name))
                if ".so" in name and os.path.isfile(path):
                    found[path] = os.path.getsize(path)
        cls.libraries = sorted(((size, path) for path, size in found.items()), reverse=True)

    @staticmethod
    def mapped_files():
        """Of a program that uses shared libraries, as ldd prints them: where this machine keeps such."""
        listed = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout
        return [line for line in listed.splitlines() if "=>" in line]

    def library(self, at_most):
        """The largest of the system's libraries of at most so many bytes."""
        return next((size, path) for size, path in self.libraries if size <= at_most)

    def test_library_as_one_message(self):
        size, path = self.library(1 << 20)
        self.assertGreater(size, 100_000)
        topic = fresh_topic()
        self.ok("pub", "-r", "--bin", "--file", path, topic)
        with open(path, "rb") as file:
            self.assertTrue(self.ok("get", "-o", "raw", topic) == file.read())

    def test_library_beyond_the_limit(self):
        size, path = self.libraries[0]
        self.assertGreater(size, 1 << 20)
        done = self.run_cli("pub", "--bin", "--file", path, fresh_topic())
        said = f"pubsub: too large: {size} bytes, the broker's limit for a payload is 1048576\n"
        self.assertEqual(done, (b"", said, 5))

    def test_library_as_lines_of_text(self):
        _, path = self.library(8_000_000)
        with open(path, "rb") as file:
            text = base64.encodebytes(file.read())
        topic = fresh_topic()
        subscriber = self.subscriber(*HOLDS, "-n", str(text.count(b"\n") + 1), topic)
        self.ok("pub", "-l", topic, stdin=text)
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(hashlib.sha256(subscriber.lines()).digest(), hashlib.sha256(text).digest())

    def test_library_as_lines_of_bytes(self):
        _, path = self.library(4_000_000)
        with open(path, "rb") as file:
            data = file.read()
        if not data.endswith(b"\n"):
            data += b"\n"
        topic = fresh_topic()
        subscriber = self.subscriber(*HOLDS, "-n", str(data.count(b"\n") + 1), topic)
        self.ok("pub", "-l", topic, stdin=data)
        self.assertEqual(subscriber.wait(), 0)
        self.assertEqual(subscriber.lines(), data.replace(b"\0", b"\\0"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
