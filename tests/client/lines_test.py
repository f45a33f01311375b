"""A client over a descriptor that somebody else connected: a pair of sockets with the broker at its other end, and a
terminal, as a serial line is one, with a relay behind it."""
import os
import pathlib
import pty
import selectors
import socket
import subprocess
import tempfile
import threading
import unittest

import brokers
from programs import PATIENCE_S

SCENARIO = pathlib.Path(os.environ.get("PUBSUB_CLIENT_PROGRAMS", ".")) / "client_scenario"
PUBSUBD = os.environ.get("PUBSUBD", "pubsubd")
PIECE = 64
CONFIG = "[limits]\nhandshake_timeout = 1m\n"  # it begins before the client's program does


def scenario(fd):
    done = subprocess.run([SCENARIO, f"fd:{fd}"], capture_output=True, timeout=PATIENCE_S, pass_fds=(fd,))
    return done.stdout.decode(), done.stderr.decode(), done.returncode


def relay(line, connection):
    """Carries bytes between a serial line and the broker, few at a time, until the line or the broker hangs up."""
    ends = {line: connection.fileno(), connection.fileno(): line}
    with selectors.DefaultSelector() as selector:
        for fd in ends:
            selector.register(fd, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                try:
                    piece = os.read(key.fd, PIECE)
                except OSError:
                    return
                if not piece:
                    return
                while piece:
                    piece = piece[os.write(ends[key.fd], piece):]


class Lines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with brokers.Broker() as broker:
            done = subprocess.run([SCENARIO, broker.unix], capture_output=True, timeout=PATIENCE_S)
        cls.usual = done.stdout.decode(), done.stderr.decode(), done.returncode
        assert cls.usual[1:] == ("", 0), cls.usual

    def test_a_pair_of_sockets(self):
        ours, its = socket.socketpair()
        ready, ready_end = os.pipe()
        with ours, its, tempfile.NamedTemporaryFile("w", prefix="pubsub-test-") as config:
            config.write(CONFIG)
            config.flush()
            broker = subprocess.Popen([PUBSUBD, "--config", config.name, "--listen", f"fd:{its.fileno()}", "--ready-fd", str(ready_end)],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      pass_fds=(its.fileno(), ready_end))
            os.close(ready_end)
            try:
                its.close()
                with open(ready) as pipe:
                    self.assertIn("fd:", pipe.readline())
                self.assertEqual(scenario(ours.fileno()), self.usual)
                ours.close()
                broker.wait(PATIENCE_S)  # it has nothing else to serve
            finally:
                if broker.poll() is None:
                    broker.kill()
                    broker.wait()
        self.assertEqual(broker.returncode, 0)

    def test_a_serial_line(self):
        with brokers.Broker(config=CONFIG) as broker, socket.socket(socket.AF_UNIX) as connection:
            connection.connect(broker.unix.removeprefix("unix:"))
            line, terminal = pty.openpty()  # as it comes: with echo, line editing, and line ends translated
            thread = threading.Thread(target=relay, args=(line, connection))
            thread.start()
            try:
                self.assertEqual(scenario(terminal), self.usual)
            finally:
                os.close(terminal)
                connection.shutdown(socket.SHUT_RDWR)
                thread.join(PATIENCE_S)
                os.close(line)


if __name__ == "__main__":
    unittest.main(verbosity=2)
