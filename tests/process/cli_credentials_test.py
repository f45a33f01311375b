"""Who the command line says it is: passwords and tokens from files and the environment, and where they are not to be
seen."""
import os
import shutil
import socket
import tempfile
import threading
import unittest

import msgpack

from programs import PUBSUB, CliTest, Program, eventually, fresh_topic, run_without_broker

NOT_AUTHENTICATED = 108
SECRET = "correct horse 42"


class Doorkeeper:
    """A broker that notes what HELLO says and lets nobody in; with `silent` it lets them wait."""

    def __init__(self, directory, silent=False):
        self.path = os.path.join(tempfile.mkdtemp(dir=directory), "s")
        self.url = "unix:" + self.path
        self.silent = silent
        self.hellos = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _serve(self):
        held = []
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                for sock in held:
                    sock.close()
                return
            unpacker = msgpack.Unpacker(raw=False)
            while not (hello := next(iter(unpacker), None)):
                unpacker.feed(sock.recv(4096))
            self.hellos.append(hello[3])
            if self.silent:
                held.append(sock)
                continue
            sock.sendall(msgpack.packb([21, NOT_AUTHENTICATED, "this user or password is not known"]))
            sock.close()


class Credentials(CliTest):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="pubsub-test-")
        self.addCleanup(shutil.rmtree, self.dir)

    def file(self, content, mode=0o600):
        path = os.path.join(tempfile.mkdtemp(dir=self.dir), "secret")
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        return path

    def doorkeeper(self, **options):
        keeper = Doorkeeper(self.dir, **options)
        self.addCleanup(keeper.close)
        return keeper

    def proof(self, *arguments, **environment):
        """What HELLO says to prove who this is; the broker does not believe it, and is not asked again."""
        keeper = self.doorkeeper()
        for words in (["pub", *arguments, "t", "x"], [*arguments, "sub", "t"]):
            done = run_without_broker("-s", keeper.url, *words, **environment)
            self.assertEqual((done.stderr, done.code), (
                "pubsub: the broker closed the connection: this user or password is not known\n", 4))
        first, second = [(hello.get("auth"), hello.get("data")) for hello in keeper.hellos]
        self.assertEqual(first, second)
        return first

    def wrong(self, words, *arguments, **environment):
        keeper = self.doorkeeper()
        done = run_without_broker("-s", keeper.url, "pub", *arguments, "t", "x", **environment)
        self.assertEqual((done.stderr.count("\n"), done.code), (1, 2), done.stderr)
        self.assertIn(words, done.stderr)
        self.assertNotIn(SECRET, done.stderr)
        self.assertEqual(keeper.hellos, [])

    def test_passwords(self):
        proof = ("password", ["ann", SECRET])
        for end in b"", b"\n", b"\r\n":
            self.assertEqual(self.proof("--user", "ann", "--password-file", self.file(SECRET.encode() + end)), proof)
        self.assertEqual(self.proof("--user", "ann", PUBSUB_PASSWORD=SECRET), proof)
        self.assertEqual(self.proof("--user", "ann", "--password-file", self.file(SECRET.encode()), PUBSUB_PASSWORD="x",
                                    PUBSUB_TOKEN="y"), proof)
        self.assertEqual(self.proof("--user", "ann", "--password-file", self.file(b" two\nlines\n\n")),
                         ("password", ["ann", " two\nlines\n"]))
        self.assertEqual(self.proof(PUBSUB_PASSWORD=SECRET), (None, None))  # whose would it be

    def test_tokens(self):
        self.assertEqual(self.proof("--token-file", self.file(b"\xfftoken\n", 0o400)), ("token", b"\xfftoken"))
        self.assertEqual(self.proof(PUBSUB_TOKEN=SECRET), ("token", SECRET.encode()))
        self.assertEqual(self.proof("--token-file", self.file(b"x"), PUBSUB_TOKEN=SECRET), ("token", b"x"))
        self.assertEqual(self.proof(PUBSUB_TOKEN=""), (None, None))

    def test_a_pipe_instead_of_a_file(self):
        ours, theirs = os.pipe()
        os.write(theirs, SECRET.encode() + b"\n")
        os.close(theirs)
        self.addCleanup(os.close, ours)
        keeper = self.doorkeeper()
        command = Program([PUBSUB, "-s", keeper.url, "--token-file", f"/dev/fd/{ours}", "sub", "t"], pass_fds=(ours,))
        self.addCleanup(command.stop)
        self.assertEqual(command.wait(), 4)
        self.assertEqual(keeper.hellos[0]["data"], SECRET.encode())

    def test_files_that_are_open_to_others(self):
        for mode in 0o640, 0o604, 0o660, 0o644:
            path = self.file(SECRET.encode(), mode)
            self.wrong(f"the file of the password, '{path}', is open to others (mode {mode:04o}); chmod 600 it",
                       "--user", "ann", "--password-file", path)
            self.wrong(f"the file of the token, '{path}', is open", "--token-file", path)

    def test_what_is_no_secret(self):
        absent = os.path.join(self.dir, "absent")
        self.wrong(f"cannot read the token from '{absent}': No such file", "--token-file", absent)
        self.wrong(f"cannot read the token from '{self.dir}': Is a directory", "--token-file", self.dir)
        self.wrong("it is empty", "--token-file", self.file(b"\n"))
        self.wrong("holds a NUL", "--user", "ann", "--password-file", self.file(b"a\0b"))
        self.wrong("is longer than 2048 bytes", "--token-file", self.file(b"x" * 2049))
        self.wrong("$PUBSUB_TOKEN is longer than 2048 bytes", PUBSUB_TOKEN="x" * 2049)
        self.wrong("the password is not UTF-8", "--user", "ann", "--password-file", self.file(b"\xff"))
        self.assertEqual(self.proof("--token-file", self.file(b"x" * 2048)), ("token", b"x" * 2048))

    def test_what_does_not_go_together(self):
        path = self.file(SECRET.encode())
        self.wrong("--user needs a password, in --password-file or $PUBSUB_PASSWORD", "--user", "ann")
        self.wrong("--password-file needs --user", "--password-file", path)
        self.wrong("--user and --token-file are two answers", "--user", "ann", "--token-file", path,
                   PUBSUB_PASSWORD="x")

    def test_nothing_secret_goes_to_another_machine_in_clear(self):
        url = "tcp://192.0.2.1:7717"  # nobody has this address
        for arguments, kind in ((["--user", "ann", "--password-file", self.file(SECRET.encode())], "password"),
                                (["--token-file", self.file(SECRET.encode())], "token")):
            done = run_without_broker("-s", url, *arguments, "pub", "t", "x")
            self.assertEqual((done.stderr, done.code), (f"pubsub: cannot connect to {url}: a {kind} would travel to "
                                                        "another machine without encryption\n", 2))

    def test_secrets_leave_the_environment(self):
        """Neither a command that is started gets them, nor does whoever looks at the process see them."""
        topic = fresh_topic()
        worker = Program([PUBSUB, "sub", "-s", self.url, "-n", "1", "--exec", "env; cat", topic],
                         env={**os.environ, "PUBSUB_PASSWORD": SECRET, "KEPT": "yes"})
        self.addCleanup(worker.stop)
        self.assertTrue(eventually(lambda: self.run_cli("pub", "--require", "1", topic, "x").code == 0), worker.stderr())
        self.assertEqual(worker.wait(), 0)
        self.assertIn(b"KEPT=yes", worker.stdout())
        self.assertNotIn(b"PUBSUB_PASSWORD", worker.stdout())

        keeper = self.doorkeeper(silent=True)
        waiting = Program([PUBSUB, "sub", "-s", keeper.url, topic], env={**os.environ, "PUBSUB_TOKEN": SECRET})
        self.addCleanup(waiting.stop)
        self.assertTrue(eventually(lambda: keeper.hellos))
        self.assertEqual(keeper.hellos[0]["data"], SECRET.encode())
        for name in "environ", "cmdline":
            with open(f"/proc/{waiting.process.pid}/{name}", "rb") as file:
                self.assertNotIn(SECRET.encode(), file.read())


if __name__ == "__main__":
    unittest.main()
