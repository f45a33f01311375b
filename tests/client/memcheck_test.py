"""The client under valgrind's memcheck: what it reads it has written before, what it has it gives back."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import brokers
from programs import SANITIZED, Program, eventually

PROGRAMS = pathlib.Path(os.environ.get("PUBSUB_CLIENT_PROGRAMS", "."))
EXAMPLES = pathlib.Path(os.environ.get("PUBSUB_EXAMPLES", "."))
MEMCHECK = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=all",
            "--errors-for-leak-kinds=all", "--track-fds=yes"]


def checked(*command, **environment):
    """(what it printed, what it and valgrind complained of, its exit code)"""
    done = subprocess.run([*MEMCHECK, *map(str, command)], capture_output=True, text=True, timeout=1000,
                          env={**os.environ, **environment})
    return done.stdout, done.stderr, done.returncode


class Memcheck(unittest.TestCase):
    def setUp(self):
        self.broker = brokers.Broker(arguments=["--durable", "sensors/#", "--durable", "kept/#"])
        self.addCleanup(self.broker.stop)

    def test_it_would_say_so(self):
        """Of a program that is known to lose memory: else nothing here would say anything."""
        out, err, code = checked(PROGRAMS / "client_leak")
        self.assertEqual(code, 99)
        self.assertIn("definitely lost", err)

    def test_the_scenario(self):
        for url in self.broker.unix, self.broker.tcp:
            out, err, code = checked(PROGRAMS / "client_scenario", url, "whole")
            self.assertEqual((err, code), ("", 0))
            self.assertTrue(out.endswith("405 messages, 30 answers, 268 settled\n"), out[-200:])

    def test_the_broker_goes_and_comes(self):
        source, outbox = os.path.join(self.broker.dir, "source"), os.path.join(self.broker.dir, "outbox")
        with open(source, "w") as file:
            file.write("21500\n")
        sensor = Program([*MEMCHECK, EXAMPLES / "example_sensor", "cellar", source, outbox, "5", "200"],
                         env={**os.environ, "PUBSUB_URL": f"unix:/no/such/socket,{self.broker.unix}"})
        try:
            for _ in range(3):
                self.assertTrue(eventually(lambda: b"cellar" in self.stored()))
                self.broker.kill()
                self.broker.start()
            self.assertEqual(sensor.wait(), 0, sensor.stderr())
            self.assertTrue(sensor.stdout().endswith(f"\n200 stored, 0 lost, 0 wait in {outbox}\n".encode()))
            self.assertNotIn("==", sensor.stderr())
        finally:
            sensor.stop()

    def stored(self):
        return subprocess.run([os.environ.get("PUBSUB", "pubsub"), "sub", "-s", self.broker.unix, "-o", "topic", "--all",
                               "--until-live", "sensors/#"], capture_output=True, timeout=1000).stdout

    def test_nobody_is_there(self):
        for url, words in (("unix:/no/such/socket,tcp://127.0.0.1:1", "cannot connect to any of 2 brokers"),
                           ("fd:99", "Bad file descriptor"), ("unix:/a,unix", "bad URL 'unix'")):
            out, err, code = checked(PROGRAMS / "client_scenario", url)
            self.assertEqual((out, code), ("", 1))
            self.assertRegex(err, f"^scenario: .*{words}.*\n$")

    def test_the_outbox_file(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "outbox")
            writer = Program([PROGRAMS / "client_writer", self.broker.unix, path, "batch", "1"])
            self.assertTrue(eventually(lambda: writer.stdout().count(b"\n") > 100))
            writer.process.kill()
            writer.process.wait()
            writer.stop()
            self.assertEqual(checked(PROGRAMS / "client_writer", self.broker.unix, path, "each"), ("0 refused\n", "", 0))
            with open(path, "r+b") as file:
                file.seek(50)
                file.write(b"?")
            out, err, code = checked(PROGRAMS / "client_writer", self.broker.unix, path, "each")
            self.assertEqual((out, code), ("", 1))
            self.assertRegex(err, "^writer: open: .* it is damaged: the checksum of its beginning is wrong\n$")


if __name__ == "__main__":
    if SANITIZED or not shutil.which("valgrind"):
        print("memcheck and sanitizers do not go together" if SANITIZED else "there is no valgrind")
        sys.exit(77)
    unittest.main(verbosity=2)
