"""The command line and a broker that wants to know who comes: tokens and passwords, believed, refused and taken back."""
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

import brokers
from programs import PUBSUB, Program, eventually, run_without_broker

NOT_AUTHORISED = 4
CONFIG = """
[access]
tokens = {dir}/tokens
passwords = {dir}/passwords
[user ann]
groups = all
[user bob]
groups = readers
[group all]
publish = #
subscribe = #
rights = retain
[group readers]
subscribe = site/#
"""


def pubsubd(*arguments, stdin=""):
    return subprocess.run([brokers.PUBSUBD, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=60,
                          check=True).stdout.strip()


class Access(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        cls.addClassCleanup(directory.cleanup)
        cls.dir = pathlib.Path(directory.name)
        pubsubd("passwd", cls.dir / "passwords", "ann", stdin="correct horse\n")
        cls.token = pubsubd("token", "new", "bob", "--file", cls.dir / "tokens")
        cls.broker = brokers.Broker(config=CONFIG.format(dir=cls.dir))
        cls.addClassCleanup(cls.broker.stop)
        cls.url = cls.broker.tcp

    def secret(self, name, text):
        path = self.dir / name
        path.write_text(text + "\n")
        path.chmod(0o600)
        return str(path)

    def run_as(self, who, *arguments, **environment):
        return run_without_broker("-s", self.url, *who, *arguments, **environment)

    def ann(self):
        return ["--user", "ann", "--password-file", self.secret("ann", "correct horse")]

    def test_a_user_with_a_password(self):
        done = self.run_as(self.ann(), "pub", "-r", "site/a", "hello")
        self.assertEqual((done.stderr, done.code), ("", 0))
        done = self.run_as(["--user", "ann"], "get", "site/a", PUBSUB_PASSWORD="correct horse")
        self.assertEqual((done.stdout, done.stderr, done.code), (b"hello\n", "", 0))

    def test_many_connections_and_one_secret(self):
        """A file that can be read once: each of the command's connections has it."""
        ours, theirs = os.pipe()
        os.write(theirs, b"correct horse\n")
        os.close(theirs)
        self.addCleanup(os.close, ours)
        bench = Program([PUBSUB, "bench", "fan", "-s", self.url, "--user", "ann", "--password-file", f"/dev/fd/{ours}",
                         "--for", "300ms"], pass_fds=(ours,))
        self.addCleanup(bench.stop)
        self.assertEqual(bench.wait(), 0, bench.stderr())

    def test_who_is_not_believed(self):
        for who in (["--user", "ann", "--password-file", self.secret("wrong", "battery staple")],
                    ["--token-file", self.secret("bad-token", self.token[:-1] + "!")]):
            done = self.run_as(who, "pub", "site/a", "hello")
            self.assertEqual((done.stderr.count("\n"), done.code), (1, NOT_AUTHORISED), done.stderr)
            self.assertIn("pubsub: the broker closed the connection: ", done.stderr)
            self.assertNotIn("battery staple", done.stderr)
            self.assertNotIn(self.token[:-1], done.stderr)

    def test_a_token_and_what_it_allows(self):
        bob = ["--token-file", self.secret("token", self.token)]
        done = self.run_as(bob, "pub", "site/a", "hello")
        self.assertEqual(done.code, NOT_AUTHORISED, done.stderr)
        done = self.run_as(bob, "sub", "-n", "1", "#")
        self.assertEqual(done.code, NOT_AUTHORISED, done.stderr)
        self.assertIn("site/#", done.stderr)  # what would be allowed
        subscriber = Program([PUBSUB, "sub", "-s", self.url, "-n", "1", "site/b"],
                             env={**os.environ, "PUBSUB_TOKEN": self.token})
        self.addCleanup(subscriber.stop)
        self.assertTrue(eventually(lambda: self.run_as(self.ann(), "pub", "--require", "1", "site/b", "x").code == 0))
        self.assertEqual((subscriber.wait(), subscriber.stdout()), (0, b"x\n"))

    def reload(self):
        before = self.broker.said().count("was loaded again")
        self.broker.process.send_signal(signal.SIGHUP)
        self.assertTrue(eventually(lambda: self.broker.said().count("was loaded again") > before), self.broker.said())

    def test_who_is_thrown_out_does_not_come_again(self):
        carol = pubsubd("token", "new", "bob", "--file", self.dir / "tokens")
        self.reload()
        subscriber = Program([PUBSUB, "sub", "-s", self.url, "site/c"], env={**os.environ, "PUBSUB_TOKEN": carol})
        self.addCleanup(subscriber.stop)
        self.assertTrue(eventually(lambda: self.run_as(self.ann(), "pub", "--require", "1", "site/c", "x").code == 0),
                        subscriber.stderr())
        lines = (self.dir / "tokens").read_text().splitlines(True)
        (self.dir / "tokens").write_text("".join(lines[:-1]))
        self.reload()
        self.assertEqual(subscriber.wait(), NOT_AUTHORISED, subscriber.stderr())


if __name__ == "__main__":
    unittest.main()
