"""The broker's configuration file: what it changes, how it is checked and printed, and that a wrong one opens nothing."""
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import unittest

import brokers
import raw

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "pubsubd.conf"
END_S = 60
TOO_MANY = 115


def without_memory(text):
    """The defaults of the memory for queues and for input are this machine's."""
    return re.sub(r"(?m)^(# )?((queue|input)_total_bytes) = .*$", r"\2 = ...", text)


class ConfigTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)
        self.file = self.dir / "pubsubd.conf"
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.dir), "XDG_STATE_HOME": str(self.dir)}

    def write(self, text):
        self.file.write_text(text)
        return self.file

    def run_to_end(self, *arguments):
        return subprocess.run([brokers.PUBSUBD, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=END_S, env=self.environment)

    def ok(self, *arguments):
        done = self.run_to_end(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def assert_refused(self, error, *arguments):
        done = self.run_to_end(*arguments)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", error))

    def serve(self, *arguments):
        """Starts it. Returns its URLs."""
        process = subprocess.Popen([brokers.PUBSUBD, *map(str, arguments)], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True, env=self.environment)
        self.addCleanup(self.stop, process)
        line = process.stderr.readline()
        self.assertTrue(line.startswith("ready "), line)
        return line.split()[1:]

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        self.assertEqual(process.returncode, 0)

    def welcomed(self, url, **options):
        peer = raw.welcomed(url, **options)
        self.addCleanup(peer.close)
        return peer


class Printing(ConfigTest):
    def test_the_example_is_the_defaults(self):
        defaults = self.ok("--print-config")
        self.assertEqual(without_memory(EXAMPLE.read_text()), without_memory(defaults))
        self.assertEqual(self.ok("--config", EXAMPLE, "--print-config"), defaults)

    def test_what_is_printed_can_be_read(self):
        changed = self.ok("-c", self.write("[limits]\nqueue_total_bytes = 77m\nmax_payload = 64k\n[broker]\nsys_interval=0\n"
                                           "[listener here]\nurl = tcp://127.0.0.1:0\n"), "--print-config")
        for line in ("max_payload = 64k", "sys_interval = 0", "queue_total_bytes = 77m", "[listener here]",
                     "url = tcp://127.0.0.1:0"):
            self.assertIn("\n" + line + "\n", changed)
        self.assertEqual(self.ok("-c", self.write(changed), "--print-config"), changed)

    def test_examples_are_comments_to_the_end(self):
        """Without a listener, a stream or a user nothing of theirs is set."""
        lines = self.ok("--print-config").splitlines()
        sections = [line for line in lines if line.startswith("[")]
        self.assertEqual(sections, ["[broker]", "[limits]", "[log]", "[metrics]", "[cluster]", "[access]"])
        example = lines.index("# [listener socket]")
        self.assertIn("# allow_anonymous = yes", lines[example:])
        self.assertNotIn("allow_anonymous = yes", lines)
        last = next(i for i, line in enumerate(lines) if line.startswith("allow_plaintext_passwords = "))
        self.assertEqual([line for line in lines[last + 1:] if line and not line.startswith("#")], [])

    def test_who_may_come_in_is_printed(self):
        text = "[listener a]\nurl = tcp://127.0.0.1:0\nallow_anonymous = no\n\n[listener b]\nurl = unix:/x\n" \
               "allow_anonymous = yes\n"
        printed = self.ok("-c", self.write(text), "--print-config")
        self.assertTrue(printed.endswith("\n" + text), printed[-300:])
        self.assertEqual(self.ok("-c", self.write(printed), "--print-config"), printed)

    def test_listen_is_part_of_what_is_printed(self):
        self.write("[listener here]\nurl = tcp://127.0.0.1:0\n")
        printed = self.ok("-c", self.file, "--listen", "tcp://[::1]:5", "--print-config")
        self.assertIn("\n[listener 1]\nurl = tcp://[::1]:5\n", printed)
        self.assertNotIn("[listener here]", printed)

    def test_durable_and_data_are_part_of_what_is_printed(self):
        self.write("[stream durable]\ntopics = a/#, b\nmax_age = 7d\n[broker]\ndata = /its/own\n")
        printed = self.ok("-c", self.file, "--durable", "c,d/+", "--durable", "#", "--data", "/another one", "--print-config")
        streams = printed[printed.index("\n[stream durable]\n"):printed.index("\n# Where it is served")]
        defaults = "max_bytes = 1g\nmax_age = 0\nmax_messages = 0\non_full = drop_oldest\nstore = sqlite\nreplicas = 3\n"
        self.assertEqual(streams, "\n[stream durable]\ntopics = a/#\ntopics = b\n" + defaults.replace("age = 0", "age = 7d") +
                         "\n[stream durable-2]\ntopics = c\ntopics = d/+\n" + defaults +
                         "\n[stream durable-3]\ntopics = #\n" + defaults)
        self.assertIn("\ndata = /another one\n", printed)
        self.assertEqual(self.ok("-c", self.write(printed), "--print-config"), printed)

    def test_nobody_reads_what_is_printed(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([brokers.PUBSUBD, "--print-config"], stdout=full, stderr=subprocess.PIPE, text=True,
                                  timeout=END_S, check=False)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)


class Checking(ConfigTest):
    def test_a_good_file(self):
        self.assertEqual(self.ok("--check-config", "-c", EXAMPLE), f"pubsubd: {EXAMPLE} is valid\n")

    # Hostile 49, 50.
    def test_wrong_files(self):
        self.write("[limits]\nmax_payload = 64k\nmax_conections = 5\n")
        error = f"pubsubd: {self.file}:3: unknown key 'max_conections' in [limits]; did you mean 'max_connections'?\n"
        self.assert_refused(error, "--check-config", "-c", self.file)
        self.assert_refused(error, "--print-config", "-c", self.file)
        self.assert_refused(error, "-c", self.file)
        missing = self.dir / "none"
        self.assert_refused(f"pubsubd: {missing}: cannot be opened: No such file or directory\n", "-c", missing)
        self.assert_refused(f"pubsubd: {self.dir}: cannot be read: Is a directory\n", "-c", self.dir)
        self.write("")
        self.assert_refused(f"pubsubd: {self.file}: the file is empty\n", "-c", self.file)

    def test_wrong_arguments(self):
        self.assert_refused("pubsubd: --check-config needs --config FILE\n", "--check-config")
        self.assert_refused("pubsubd: --config is given twice\n", "-c", EXAMPLE, "-c", EXAMPLE)
        self.assertEqual(self.run_to_end("--config").returncode, 2)
        self.assert_refused("pubsubd: --data is given twice\n", "--data", "a", "--data", "a")
        self.assert_refused("pubsubd: --data: '' can't be the data directory: it is empty\n", "--data", "")
        self.assert_refused("pubsubd: --durable: 'a#' can't be a stream's pattern: a wildcard, '+' or '#', must be a whole "
                            "level\n", "--durable", "a#")
        self.assert_refused("pubsubd: --durable: 'x' is a pattern of the stream 'durable' already\n", "--durable", "x,y",
                            "--durable", "x")
        self.assert_refused("pubsubd: --salvage is of no use without a stream, from --durable or the configuration\n",
                            "--salvage")
        self.assert_refused("pubsubd: --durable is given more than 64 times\n", *["--durable", "x"] * 65)

    # Hostile 49.
    def test_a_wrong_file_opens_nothing(self):
        path = self.dir / "s"
        self.write(f"[listener here]\nurl = unix:{path}\n[limits]\nqueue_bytes = 8m\nqueue_bytes_cap = 4m\n")
        self.assert_refused(f"pubsubd: {self.file}:5: queue_bytes = 8m is more than queue_bytes_cap = 4m\n", "-c", self.file)
        self.assertEqual(os.listdir(self.dir), [self.file.name])

    def test_checking_opens_nothing(self):
        path = self.dir / "s"
        self.write(f"[listener here]\nurl = unix:{path}\n[stream all]\ntopics = #\n[broker]\ndata = {self.dir}/data\n")
        self.ok("-c", self.file, "--check-config")
        self.ok("-c", self.file, "--print-config", "--salvage")
        self.assertEqual(os.listdir(self.dir), [self.file.name])


class Serving(ConfigTest):
    def test_listeners(self):
        path = self.dir / "s"
        self.write(f"[listener one]\nurl = unix:{path}\n[listener two]\nurl = tcp://127.0.0.1:0\n")
        unix, tcp = self.serve("-c", self.file)
        self.assertEqual(unix, f"unix:{path}")
        self.assertRegex(tcp, r"^tcp://127\.0\.0\.1:[1-9]\d*$")
        self.welcomed(unix)
        self.welcomed(tcp)

    def test_listen_instead_of_listeners(self):
        path, other = self.dir / "s", self.dir / "other"
        self.write(f"[listener one]\nurl = unix:{path}\n")
        self.assertEqual(self.serve("-c", self.file, "--listen", f"unix:{other}"), [f"unix:{other}"])
        self.assertFalse(path.exists())

    def test_limits_hold(self):
        self.write("[limits]\nmax_connections = 1\nmax_payload = 2k\nmax_subscriptions = 3\npublish_window = 4\n"
                   "keepalive_max = 50s\n")
        url, = self.serve("-c", self.file, "--listen", f"unix:{self.dir / 's'}")
        peer = self.welcomed(url, ka=1000)
        told = {key: peer.welcome[key] for key in ("max_payload", "max_subs", "pub_window", "ka")}
        self.assertEqual(told, {"max_payload": 2048, "max_subs": 3, "pub_window": 4, "ka": 50})
        second = raw.Peer(url)
        self.addCleanup(second.close)
        self.assertEqual(second.next()[:2], [raw.BYE, TOO_MANY])


if __name__ == "__main__":
    unittest.main(verbosity=2)
