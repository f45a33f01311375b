"""No scraper harms anybody, whatever it sends, and whatever it doesn't read."""
import socket
import time
import unittest

import scrape
from raw import FOR, MARK, MSG, eventually

CLIENTS_MOST = 16
FIRST_S, PAGE_S = 10, 0.2
END_S = 60


class Hostile(scrape.MetricsTest):
    def connect(self):
        host, port = self.broker.metrics.removeprefix("http://").rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), timeout=END_S)
        self.addCleanup(sock.close)
        return sock

    def ends(self, sock):
        """Waits for the end of the stream."""
        try:
            while sock.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass

    def test_many_that_never_ask(self):
        """They hold nobody up, and don't gather."""
        broker = self.start()
        before = broker.descriptors()
        crowd = [self.connect() for _ in range(100)]
        for sock in crowd[::2]:
            try:
                sock.sendall(b"GET /metrics HT")
            except OSError:
                pass  # made way already
        self.assertEqual(scrape.ask(broker.metrics, "/healthz")[0], 200)
        self.assertLessEqual(broker.descriptors() - before, CLIENTS_MOST)
        for sock in crowd[:50]:
            self.ends(sock)

    def test_one_that_never_asks_is_ended_in_time(self):
        self.start()
        began = time.monotonic()  # before the broker's clock for them begins
        silent, slow = self.connect(), self.connect()
        silent.setblocking(False)
        for byte in b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ".ljust(200, b"y"):
            try:
                slow.sendall(bytes([byte]))
                silent.recv(1)
                break
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:
                break
        silent.settimeout(END_S)
        self.ends(silent)
        self.ends(slow)
        self.assertGreater(time.monotonic() - began, FIRST_S - 1)

    def test_one_that_reads_nothing(self):
        """What it asked for is written as far as it takes it; everybody else goes on."""
        broker = self.start()
        deaf = [self.connect() for _ in range(CLIENTS_MOST)]
        for sock in deaf:
            try:
                sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
            except OSError:
                pass
        self.assertEqual(scrape.ask(broker.metrics, "/healthz")[0], 200)
        reader = self.peer()
        self.subscribe(reader, 1, "t")
        self.publish("t")
        self.assertEqual([got[0] for got in reader.ping()], [MARK, FOR, MSG])
        self.assertLess(broker.resident_bytes(), 512 << 20)

    def test_nonsense(self):
        """It is refused, or its time runs out."""
        broker, senders = self.start(), []
        for data in (b"\x94\x01\xa3mps\x01\x80", b"\x16\x03\x01" + bytes(300), b"\r\n" * 5000, b"GET\r\n\r\n",
                     b"GET /metrics HTTP/1.1\r\n" + b"X: " + b"y" * 100000, b"G" * 100000,
                     b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n", b"GET /metrics HTTP/1.1\r\n\r\n", bytes(100),
                     b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                     b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                     b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + bytes(100000)):
            sock = self.connect()
            senders.append(sock)
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self.assertEqual(scrape.ask(broker.metrics, "/readyz")[0], 200, data[:40])
        self.assertLess(len(senders), CLIENTS_MOST)  # so nobody had to make way
        for sock in senders:
            self.ends(sock)

    def test_nobody_makes_it_spin(self):
        """Whatever a connection waits for: the broker sleeps meanwhile."""
        broker = self.start()
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
        for data, ends in ((b"", False), (request, False), (request, True), (b"\r\n" * 5000, True), (request + b"\r\n", True),
                           (request + b"Content-Length: 100000\r\n\r\n" + bytes(500), False), (b"G" * 9000, False),
                           (b"POST" + request[3:] + b"Content-Length: 100000\r\n\r\n" + bytes(500), False),
                           (request + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", False),
                           ((request + b"\r\n") * 100, False)):
            sock = self.connect()
            try:
                sock.sendall(data)
                if ends:
                    sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # refused already
        self.assertEqual(scrape.ask(broker.metrics, "/readyz")[0], 200)  # so all of that was taken
        time.sleep(0.5)
        before = broker.cpu_s()
        time.sleep(3)
        self.assertLess(broker.cpu_s() - before, 1.5)

    def test_clients_that_vanish(self):
        broker = self.start()
        before = broker.descriptors()
        for i in range(200):
            sock = self.connect()
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[:i])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            sock.close()
        self.assertTrue(eventually(lambda: broker.descriptors() <= before))
        self.assertEqual(scrape.ask(broker.metrics, "/metrics")[0], 200)

    def test_a_scraper_without_a_pause(self):
        """It gets a page that is a moment old: writing one each time would be work for everybody else."""
        broker = self.start()
        connection = scrape.Connection(broker.metrics)
        self.addCleanup(connection.close)
        uptimes = []
        began = time.monotonic()
        for _ in range(100):
            uptimes.append(scrape.Page(connection.ask("/metrics")[2])["pubsub_uptime_seconds"])
        took = time.monotonic() - began
        self.assertLessEqual(len(set(uptimes)), took / PAGE_S + 2)

    def test_when_descriptors_have_run_out(self):
        """That is when somebody will look."""
        broker = self.start("[limits]\nhandshake_timeout = 5m\n", descriptors=64)
        crowd = []
        for _ in range(100):
            sock = socket.socket(socket.AF_UNIX)
            self.addCleanup(sock.close)
            sock.settimeout(END_S)
            sock.connect(broker.unix.removeprefix("unix:"))
            crowd.append(sock)
        page = broker.page(lambda page: page.get("pubsub_refusals_total", limit="descriptors") > 0)
        self.assertGreater(page["pubsub_connections"], 20)
        for _ in range(5):
            page = scrape.scrape(broker.metrics)
        self.assertGreater(page["process_open_fds"], 60)
        self.assertGreater(page["process_resident_memory_bytes"], 0)
        self.assertEqual(page["process_max_fds"], 64)
        for sock in crowd:
            sock.close()
        broker.page(lambda page: page["pubsub_connections"] == 0)


if __name__ == "__main__":
    unittest.main()
