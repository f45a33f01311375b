"""Contexts: what is kept of a connection under a name, and when it counts."""
import json
import os
import shutil
import stat
import subprocess
import tempfile
import unittest

from programs import PATIENCE_S, PUBSUB, CliTest, fresh_topic, run_without_broker

NOWHERE = "unix:/nonexistent/socket"


class Contexts(CliTest):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="pubsub-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = os.path.join(self.dir, "pubsub", "contexts.json")

    def run_here(self, *arguments, **environment):
        return run_without_broker(*arguments, **{"XDG_CONFIG_HOME": self.dir, "PUBSUB_URL": "", **environment})

    def done(self, *arguments, **environment):
        done = self.run_here(*arguments, **environment)
        self.assertEqual((done.stderr, done.code), ("", 0), arguments)
        return done.stdout.decode()

    def refused(self, text, *arguments, code=2, **environment):
        done = self.run_here(*arguments, **environment)
        self.assertEqual((done.stderr, done.stdout, done.code), (f"pubsub: {text}\n", b"", code), arguments)

    def kept(self):
        with open(self.path) as file:
            return json.load(file)

    def test_what_is_kept_is_listed_and_forgotten(self):
        self.assertEqual(self.done("context", "ls"), "")
        self.done("context", "add", "here", "-s", self.url)
        self.done("context", "add", "plant", "-s", "tls://plant.example:7718", "--ca", "ca.crt", "--user", "ann",
                  "--password-file", "/etc/ann")
        self.assertEqual(self.done("context", "ls"),
                         f"  here   {self.url}\n  plant  tls://plant.example:7718  ann\n")
        self.assertEqual(self.kept()["contexts"]["plant"], {
            "url": "tls://plant.example:7718", "ca": os.path.join(os.getcwd(), "ca.crt"), "user": "ann",
            "password_file": "/etc/ann"})
        self.done("context", "use", "plant")
        self.assertIn("* plant  ", self.done("context", "ls"))
        self.done("context", "rm", "plant")
        self.assertEqual(self.done("context", "ls"), f"  here   {self.url}\n".replace("here   ", "here  "))
        self.assertNotIn("use", self.kept())
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["contexts.json"])

    def test_it_is_the_users_alone(self):
        self.done("context", "add", "a", "-s", self.url)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.path)).st_mode), 0o700)
        os.chmod(self.path, 0o620)
        self.refused(f"the contexts in '{self.path}' may be written by others (mode 0620); chmod 600 it",
                     "-c", "a", "pub", "t", "x")

    def test_no_secret_is_kept(self):
        self.done("context", "add", "a", "-s", self.url, "--user", "ann", PUBSUB_PASSWORD="hush hush", PUBSUB_TOKEN="psst")
        with open(self.path) as file:
            text = file.read()
        self.assertNotIn("hush", text)
        self.assertNotIn("psst", text)

    def test_what_counts(self):
        topic = fresh_topic()
        self.done("context", "add", "here", "-s", self.url)
        self.done("context", "add", "nowhere", "-s", NOWHERE)
        publish = ["pub", topic, "x"]
        cannot = f"cannot connect to {NOWHERE}: No such file or directory"
        # An option comes first, then --context, before or after the command.
        self.done("-c", "here", *publish)
        self.done(*publish, "--context", "here")
        self.done("-c", "here", *publish, PUBSUB_CONTEXT="nowhere", PUBSUB_URL=NOWHERE)
        self.done("-c", "nowhere", "-s", self.url, *publish)
        self.refused(cannot, "-c", "here", "-s", NOWHERE, *publish, code=3)
        # Then $PUBSUB_CONTEXT, then $PUBSUB_URL, then the context in use.
        self.done(*publish, PUBSUB_CONTEXT="here")
        self.done(*publish, PUBSUB_CONTEXT="here", PUBSUB_URL=NOWHERE)
        self.done("-s", self.url, *publish, PUBSUB_CONTEXT="nowhere")
        self.done("context", "use", "here")
        self.done(*publish)
        self.done(*publish, PUBSUB_CONTEXT="")
        self.refused(cannot, *publish, code=3, PUBSUB_CONTEXT="nowhere")
        self.refused(cannot, *publish, code=3, PUBSUB_URL=NOWHERE)
        self.refused(cannot, *publish, "-s", NOWHERE, code=3)
        self.done("context", "use", "nowhere")
        self.refused(cannot, *publish, code=3)
        self.done("stream", "ls", "-c", "here")

    def test_who_it_is_goes_where_it_was_meant_for(self):
        token = os.path.join(self.dir, "no-such-token")
        self.done("context", "add", "secret", "-s", NOWHERE, "--token-file", token, "--use")
        missing = f"cannot read the token from '{token}': No such file or directory"
        self.refused(missing, "pub", "t", "x")
        # Neither -s nor $PUBSUB_URL says that this token is for that broker, too.
        self.done("pub", "-s", self.url, "t", "x")
        self.done("pub", "t", "x", PUBSUB_URL=self.url)
        self.done("pub", "-s", self.url, "t", "x", PUBSUB_CONTEXT="secret")
        # Who names both means both.
        self.refused(missing, "pub", "-c", "secret", "-s", self.url, "t", "x")
        # Another user is not proved by that token.
        done = self.run_here("pub", "-c", "secret", "--user", "ann", "t", "x", PUBSUB_PASSWORD="p")
        self.assertIn(f"cannot connect to {NOWHERE}", done.stderr)

    def test_tls_of_a_context_is_not_asked_of_another_address(self):
        self.done("context", "add", "plant", "-s", "tls://127.0.0.1:1", "--ca", "/no/ca")
        self.done("-c", "plant", "-s", self.url, "pub", "t", "x")
        self.refused("--ca is for TLS, and unix:/x is not a tls:// address", "context", "add", "x", "-s", "unix:/x", "--ca",
                     "/no/ca")

    def test_what_is_wrong(self):
        self.refused("no name of a context; see 'pubsub context add --help'", "context", "add", "-s", self.url)
        self.refused("where is the broker? -s says so; see 'pubsub context add --help'", "context", "add", "a")
        self.refused("-s plant:7717: not an address as unix:/path, tcp://host:port, tls://host:port",
                     "context", "add", "a", "-s", f"{self.url},plant:7717")
        self.refused("'a b' is not a context's name: 1 to 64 letters, digits, '.', '_', '-'",
                     "context", "add", "a b", "-s", self.url)
        self.refused("two commands would be one client: --id is not kept; see 'pubsub context add --help'",
                     "context", "add", "a", "-s", self.url, "--id", "me")
        done = self.run_here(*(os.fsencode(word) for word in ("context", "add", "a", "-s", "tls://h:1")), b"--ca", b"/\xff")
        self.assertEqual((done.code, os.path.exists(self.path)), (2, False), done.stderr)
        self.assertIn("can't be kept: it is not UTF-8", done.stderr)
        self.done("context", "add", "plant", "-s", NOWHERE)
        self.refused("there is a context 'plant' already; --replace puts this one in its place",
                     "context", "add", "plant", "-s", self.url)
        self.assertEqual(self.kept()["contexts"]["plant"]["url"], NOWHERE)
        self.done("context", "add", "--replace", "plant", "-s", self.url)
        self.assertEqual(self.kept()["contexts"]["plant"]["url"], self.url)
        for command in ("use", "rm"):
            self.refused("there is no context 'palnt'; did you mean 'plant'?", "context", command, "palnt")
        self.refused("there is no context 'x'; see 'pubsub context ls'", "-c", "x", "sub", "t")
        self.refused("there is no context 'x'; see 'pubsub context ls'", "sub", "t", PUBSUB_CONTEXT="x")

    def test_a_file_that_is_broken_is_left_alone(self):
        os.makedirs(os.path.dirname(self.path))
        for text, why in (
                ('{"contexts": {\n oops', f"'{self.path}', line 2: "),
                ('[]', f"'{self.path}' does not hold contexts: "),
                ('{"contexts": {"a": {"url": 7}}}', f"'{self.path}': context 'a' has 'url', which is unknown or not of its type"),
                ('{"contexts": {"a": {"utl": "x"}}}', f"'{self.path}': context 'a' has 'utl', ")):
            with open(self.path, "w") as file:
                file.write(text)
            os.chmod(self.path, 0o600)
            for arguments in (["context", "ls"], ["context", "add", "b", "-s", self.url], ["-c", "a", "pub", "t", "x"],
                              ["pub", "t", "x"]):
                done = self.run_here(*arguments)
                self.assertTrue(done.stderr.startswith("pubsub: " + why), done.stderr)
                self.assertEqual(done.code, 2)
            with open(self.path) as file:
                self.assertEqual(file.read(), text)
        # It says nothing to whoever does not ask.
        self.done("pub", "-s", self.url, "t", "x")

    def test_what_is_no_file(self):
        directory = os.path.dirname(self.path)
        os.makedirs(directory, exist_ok=True)
        for make in os.mkfifo, os.mkdir:
            make(self.path)
            self.refused(f"'{self.path}' is no file of contexts", "context", "ls")
            (os.rmdir if make is os.mkdir else os.unlink)(self.path)

    def test_those_who_change_it_at_once_lose_nothing(self):
        commands = [subprocess.Popen([PUBSUB, "context", "add", f"c{i}", "-s", self.url],
                                     env={**os.environ, "XDG_CONFIG_HOME": self.dir}) for i in range(8)]
        self.assertEqual([command.wait(PATIENCE_S) for command in commands], [0] * 8)
        self.assertEqual(set(self.kept()["contexts"]), {f"c{i}" for i in range(8)})

    def test_without_a_home(self):
        environment = {name: value for name, value in os.environ.items() if name not in ("XDG_CONFIG_HOME", "HOME", "PUBSUB_URL")}
        def run(*arguments, **more):
            return subprocess.run([PUBSUB, *arguments], env={**environment, **more}, timeout=PATIENCE_S,
                                  capture_output=True, text=True)
        runtime = os.path.join(self.dir, "runtime")
        os.mkdir(runtime)
        os.symlink(self.url.removeprefix("unix:"), os.path.join(runtime, "pubsub.sock"))
        for home in ({}, {"HOME": "relative"}, {"HOME": "/nonexistent"}, {"HOME": "/dev/null"}):
            done = run("pub", "t", "x", XDG_RUNTIME_DIR=runtime, **home)
            self.assertEqual((done.stderr, done.returncode), ("", 0), home)
        self.assertEqual(run("context", "ls").stderr,
                         "pubsub: there is no place for contexts: neither $XDG_CONFIG_HOME nor $HOME is an absolute path\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
