"""The examples that live on an event loop of their own: they publish and subscribe on it, whatever becomes of the broker."""
import os
import re
import shutil
import signal
import tempfile
import unittest

import examples_test
from client_broker_tls_test import SecureBroker
from issuer import Authority
from programs import eventually


class Loop(examples_test.Examples):
    NAME = ""

    def numbers(self, program):
        return [int(line) for line in program.stdout().splitlines() if line.isdigit()]

    def said(self, program, word):
        return len(re.findall(rf"^\({word}: ", program.stdout(), re.MULTILINE))

    def wait_until(self, program, condition):
        self.assertTrue(eventually(lambda: condition() or program.process.poll() is not None) and condition(),
                        program.stdout() + program.stderr())

    def wait_for_more(self, program):
        """Waits for three numbers that were not there yet."""
        count = len(self.numbers(program))
        self.wait_until(program, lambda: len(self.numbers(program)) >= count + 3)

    def end(self, program):
        program.process.send_signal(signal.SIGTERM)
        self.assertEqual((program.wait(), program.stderr()), (0, ""))

    def kill_broker(self):
        self.broker.kill()

    def check_a_life(self, program):
        """Before, while and after the broker is away, twice."""
        self.wait_for_more(program)
        for times in 1, 2:
            self.kill_broker()
            self.wait_until(program, lambda: self.said(program, "lost") == times)
            self.broker.start()
            self.wait_until(program, lambda: self.said(program, "connected again") == times)
            self.wait_for_more(program)
        numbers = self.numbers(program)
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(self.said(program, "connected"), 1)
        self.end(program)

    def check_it_waits(self, program):
        """Started without a broker."""
        self.broker.start()
        self.wait_for_more(program)
        self.end(program)


class Epoll(Loop):
    def test_a_life(self):
        self.check_a_life(self.start("epoll_loop", "beat/epoll", "10"))

    def test_it_waits_for_its_broker(self):
        self.broker.kill()
        self.check_it_waits(self.start("epoll_loop", "beat/epoll", "10"))

    def test_usage(self):
        for arguments in ("a",), ("a", "0"), ("a", "x"), ("a", "1", "b"):
            self.assertEqual(self.run_example("epoll_loop", *arguments)[2], 2, arguments)


class Libuv(Loop):
    def test_a_life(self):
        program = self.start("uv_loop", "beat/uv", "10")
        self.check_a_life(program)
        self.assertEqual(program.stdout().splitlines()[-1], "(closed)")

    def test_it_waits_for_its_broker(self):
        self.broker.kill()
        self.check_it_waits(self.start("uv_loop", "beat/uv", "10"))

    def test_it_ends_without_a_broker(self):
        self.broker.kill()
        self.addCleanup(self.broker.start)
        program = self.start("uv_loop", "beat/uv", "10", until="(publishing on beat/uv)")
        self.end(program)
        self.assertEqual(program.stdout(), "(publishing on beat/uv)\n(closed)\n")

    def test_usage(self):
        for arguments in ("a",), ("a", "0"), ("a", "1", "no-such-file"), ("a", "1", "b", "c"):
            self.assertEqual(self.run_example("uv_loop", *arguments)[2], 2, arguments)
        out, err, code = self.run_example("uv_loop", "a/#/b", "1")
        self.assertEqual((out, code), ("(closed)\n", 3))
        self.assertRegex(err, "^uv_loop: bad subscription to 'a/#/b'")


class LibuvTls(Loop):
    """By the name localhost, which libuv looks up."""
    @classmethod
    def setUpClass(cls):
        directory = tempfile.mkdtemp(prefix="pubsub-test-")
        cls.addClassCleanup(shutil.rmtree, directory)
        cls.authority = Authority(directory)
        server = cls.authority.issue("server")
        shutil.copy(server.path, os.path.join(directory, "server.pem"))
        shutil.copy(server.key, os.path.join(directory, "server.key"))
        cls.broker = SecureBroker(directory, cls.authority.path, "off")
        cls.addClassCleanup(cls.broker.stop)
        cls.url = cls.broker.url

    def kill_broker(self):
        self.broker.stop()

    def test_a_life(self):
        self.check_a_life(self.start("uv_loop", "beat/tls", "10", self.authority.path))


if __name__ == "__main__":
    unittest.main(verbosity=2)
