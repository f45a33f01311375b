"""The links that tests of clusters cut do what they are told."""
import socket
import threading
import time
import unittest

from links import Links

HERE = "127.0.0.1"
PATIENCE_S = 30
BYTES = 100_000


class Echo:
    """Sends back what comes."""

    def __init__(self):
        self.listener = socket.create_server((HERE, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
            except OSError:
                pass


class LinksTest(unittest.TestCase):
    def setUp(self):
        echo = Echo()
        self.addCleanup(echo.listener.close)
        self.links = Links()
        self.addCleanup(self.links.stop)
        self.port = self.links.open("a-b", HERE, HERE, echo.port)
        self.links.open("c-d", HERE, HERE, echo.port)
        self.client = self.connect()

    def connect(self):
        client = socket.create_connection((HERE, self.port), timeout=PATIENCE_S)
        self.addCleanup(client.close)
        return client

    def ask(self, client, data):
        """Seconds until it is back."""
        began = time.monotonic()
        client.sendall(data)
        left = len(data)
        while left:
            got = client.recv(left)
            self.assertTrue(got, "the connection ended")
            left -= len(got)
        return time.monotonic() - began

    def test_carries(self):
        self.ask(self.client, bytes(BYTES))
        self.client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.client.recv(1), b"")

    def test_cut_and_mended(self):
        self.ask(self.client, b"x")
        self.assertEqual(self.links.tell("cut", "a-*"), 1)
        self.client.sendall(b"y")
        other = self.connect()  # nothing is refused
        other.sendall(b"z")
        for client in self.client, other:
            client.settimeout(0.2)
            with self.assertRaises(TimeoutError):
                client.recv(1)
            client.settimeout(PATIENCE_S)
        self.links.tell("mend", "a-b")
        self.assertEqual((self.client.recv(1), other.recv(1)), (b"y", b"z"))

    def test_broken(self):
        self.ask(self.client, b"x")
        self.links.tell("break", "*")
        with self.assertRaises(ConnectionError):
            self.client.recv(1)
        self.ask(self.connect(), b"x")

    def test_slow(self):
        self.links.tell("slow", "a-b", 150)
        self.assertGreaterEqual(self.ask(self.client, b"x"), 0.3)
        self.links.tell("slow", "a-b", 0)
        self.ask(self.client, b"x")

    def test_narrow(self):
        self.links.tell("narrow", "a-b", BYTES)
        self.assertGreaterEqual(self.ask(self.client, bytes(2 * BYTES)), 1)
        self.links.tell("narrow", "a-b", 0)
        self.ask(self.client, bytes(2 * BYTES))

    def test_what_it_does_not_know(self):
        with self.assertRaises(AssertionError):
            self.links.tell("bend", "a-b")
        self.assertEqual(self.links.tell("cut", "nothing"), 0)


if __name__ == "__main__":
    unittest.main()
