"""What the broker tells Prometheus of itself: the figures, and where it tells them."""
import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time
import unittest

import brokers
import scrape
from programs import scaled
from raw import ACK, FOR, MSG, PUB, ROUTED, STORED, SUB, eventually, frame

SLOW_MOST, GROUPS_MOST = 20, 100
END_S = 60


class Figures(scrape.MetricsTest):
    def test_what_was_received_delivered_and_is_there(self):
        broker = self.start()
        reader = self.peer()
        self.subscribe(reader, 1, "a/+")
        self.publish("a/1", "a/2", "b/1")
        reader.ping()
        self.publish("r", flags=ROUTED | 1)  # retained
        page = broker.page(lambda page: page["pubsub_connections"] == 1)
        self.assertEqual(page["pubsub_received_messages_total"], 4)
        self.assertEqual(page["pubsub_received_bytes_total"],
                         sum(len(frame(MSG, topic, None, b"\xc0")) for topic in ("a/1", "a/2", "b/1", "r")))
        self.assertEqual(page["pubsub_delivered_messages_total"], 2)
        self.assertEqual((page["pubsub_subscriptions"], page["pubsub_retained_messages"]), (1, 1))
        self.assertEqual(page["pubsub_lost_messages_total"], 0)
        self.assertEqual(page.get("pubsub_build_info", version="0.1.0"), 1)
        reader.close()
        broker.page(lambda page: page["pubsub_connections"] == 0 == page["pubsub_subscriptions"])

    def test_the_process(self):
        broker = self.start()
        peers = [self.peer() for _ in range(10)]
        page = broker.page(lambda page: page["pubsub_loop_delay_seconds_count"] > 0)
        self.assertIn(page["process_open_fds"] - broker.descriptors(), (-1, 0, 1))  # the scraper's, and one that is lent
        self.assertGreater(page["process_max_fds"], 100)
        self.assertLess(abs(page["process_resident_memory_bytes"] - broker.resident_bytes()), 8 << 20)
        self.assertLess(abs(page["process_start_time_seconds"] - time.time()), END_S)
        self.assertLess(page["pubsub_uptime_seconds"], END_S)
        self.assertGreater(page["process_cpu_seconds_total"], 0)
        self.assertEqual(page.get("pubsub_loop_delay_seconds_bucket", le="+Inf"), page["pubsub_loop_delay_seconds_count"])
        self.assertEqual(len(peers), page["pubsub_connections"])

    def test_a_loop_that_stood_still_is_seen(self):
        broker = self.start()
        broker.page(lambda page: page["pubsub_loop_delay_seconds_count"] > 0)
        with broker.stopped():
            time.sleep(2.5)  # a timer of a second is late by more than one
        page = broker.page(lambda page: page["pubsub_loop_delay_seconds_count"] > page.get("pubsub_loop_delay_seconds_bucket", le="1"))
        self.assertGreater(page["pubsub_loop_delay_seconds_sum"], 1)

    def test_limits_that_refused(self):
        broker = self.start("[limits]\nmax_payload = 1k\nmax_connections = 77\n")
        peer = self.peer()
        peer.send(frame(MSG, "t", None, bytes(2000)))
        peer.ping()
        page = broker.page(lambda page: page.get("pubsub_refusals_total", limit="max_payload") == 1)
        self.assertEqual(page.get("pubsub_refusals_total", limit="descriptors"), 0)
        self.assertEqual(page["pubsub_connections_allowed"], 77)

    def test_listeners(self):
        broker = self.start("[limits]\nmax_connections = 3\n")
        peers = [self.peer() for _ in range(3)]
        refused = socket.create_connection(broker.tcp.removeprefix("tcp://").rsplit(":", 1))
        self.addCleanup(refused.close)
        refused.settimeout(END_S)
        while refused.recv(4096):
            pass
        where = {"listener": broker.unix, "url": broker.unix}
        page = broker.page(lambda page: page.get("pubsub_listener_connections", **where) == 3)
        self.assertEqual(page.get("pubsub_listener_accepted_total", **where), 3)
        elsewhere = {"listener": broker.tcp, "url": broker.tcp}
        self.assertEqual(page.get("pubsub_listener_refused_total", **elsewhere), 1)
        self.assertEqual(page.get("pubsub_listener_accepted_total", **elsewhere), 0)
        peers[0].close()
        broker.page(lambda page: page.get("pubsub_listener_connections", **where) == 2)

    def test_a_stream_and_its_readers(self):
        broker = self.start("[stream orders]\ntopics = o/#\nmax_messages = 1000\nmax_bytes = 0\n")
        broker.page(lambda page: page.get("pubsub_stream_oldest_timestamp_seconds", stream="orders") is None)
        self.publish(*["o/1"] * 10, flags=STORED)
        reader = self.peer()
        self.subscribe(reader, 1, "o/#", **{"from": "all", "credit": 4})
        bystander = self.peer()
        self.subscribe(bystander, 1, "o/never", **{"from": "all"})
        page = broker.page(lambda page: page.get("pubsub_stream_behind_messages", stream="orders") == 6)
        self.assertEqual(page.get("pubsub_stream_readers", stream="orders"), 2)
        self.assertEqual(page.get("pubsub_stream_messages", stream="orders"), 10)
        self.assertEqual(page.get("pubsub_stream_stored_messages_total", stream="orders"), 10)
        self.assertEqual(page.get("pubsub_stream_messages_allowed", stream="orders"), 1000)
        self.assertIsNone(page.get("pubsub_stream_budget_bytes", stream="orders"))
        self.assertLess(abs(page.get("pubsub_stream_oldest_timestamp_seconds", stream="orders") - time.time()), END_S)
        reader.close()
        broker.page(lambda page: page.get("pubsub_stream_behind_messages", stream="orders") == 0)

    def test_a_reader_that_does_not_acknowledge_is_behind(self):
        broker = self.start("[stream orders]\ntopics = o/#\n")
        self.publish(*["o/1"] * 5, flags=STORED)
        reader = self.peer()
        self.subscribe(reader, 1, "o/#", **{"from": "all", "ack": "each"})
        stream = next(got for got in iter(reader.next, None) if got[0] == FOR)[3]
        broker.page(lambda page: page.get("pubsub_stream_behind_messages", stream="orders") == 5)
        reader.tell(ACK, 1, stream, 2, 0)  # and the one before it
        broker.page(lambda page: page.get("pubsub_stream_behind_messages", stream="orders") == 3)

    def test_those_who_are_slow(self):
        """The slowest have series, and all are counted."""
        broker = self.start()
        slow, quick = self.peer(id="slow"), self.peer(id="quick")
        pattern = 'a/"quoted"\\'
        self.subscribe(slow, 7, pattern, credit=0, max_msgs=2)
        self.subscribe(quick, 1, "#")
        for sid in range(100, 130):
            self.subscribe(slow, sid, f"later/{sid}", credit=0)
        self.publish(pattern, pattern, pattern)
        broker.page(lambda page: page["pubsub_lag_seconds"] >= 0.5)
        self.publish(*[f"later/{sid}" for sid in range(100, 130)])
        quick.ping()
        page = broker.page(lambda page: page["pubsub_slow_subscriptions"] == 31)
        series = page.series("pubsub_slow_subscription_lag_seconds")
        self.assertEqual(len(series), SLOW_MOST)
        labels = {"client": "slow", "sid": "7", "pattern": pattern}
        self.assertEqual(max(series, key=lambda one: one[1])[0], labels)
        self.assertEqual(page.get("pubsub_slow_subscription_queued_messages", **labels), 2)
        self.assertEqual(page.get("pubsub_slow_subscription_lost_messages_total", **labels), 1)
        self.assertEqual(page["pubsub_lost_messages_total"], 1)
        self.assertEqual(page["pubsub_queued_messages"], 32)
        self.assertGreater(page["pubsub_queued_bytes"], 0)
        slow.close()
        page = broker.page(lambda page: page["pubsub_slow_subscriptions"] == 0)
        self.assertEqual(page.series("pubsub_slow_subscription_lag_seconds"), [])

    def test_groups_have_bounds(self):
        """Of many groups those that came first stay, whoever comes and goes."""
        broker = self.start()
        peer = self.peer()
        for sid in range(1, GROUPS_MOST + 21):
            self.subscribe(peer, sid, "jobs/+", group=f"g{sid}", credit=0)
        self.publish("jobs/1", "jobs/2")
        page = broker.page(lambda page: page["pubsub_groups"] == GROUPS_MOST + 20)
        for name in ("pubsub_group_members", "pubsub_group_queued_messages", "pubsub_group_lag_seconds"):
            told = {labels["group"] for labels, _ in page.series(name)}
            self.assertEqual(told, {f"g{sid}" for sid in range(1, GROUPS_MOST + 1)})
        group = {"group": "g3", "pattern": "jobs/+"}
        self.assertEqual(page.get("pubsub_group_members", **group), 1)
        self.assertEqual(page.get("pubsub_group_queued_messages", **group), 2)
        self.assertEqual(page.get("pubsub_group_matched_messages_total", **group), 2)
        broker.page(lambda page: page["pubsub_slow_groups"] == GROUPS_MOST + 20)

    def test_many_queues_are_looked_through_while_messages_flow(self):
        """So many that one turn is too short for them."""
        count = scaled(60000, 40000)
        broker = self.start()
        slow = self.peer()
        slow.send(b"".join(frame(SUB, sid, "q", {"credit": 0}) for sid in range(1, count + 1)))
        slow.ping()
        self.publish("q")
        page = broker.page(lambda page: page["pubsub_slow_subscriptions"] == count)
        self.assertEqual(page["pubsub_queued_messages"], count)
        scraper = scrape.Connection(broker.metrics)
        self.addCleanup(scraper.close)
        for sid in range(1, 11):  # some leave while it goes on
            scraper.request("GET", "/metrics")
            slow.send(b"".join(frame(11, gone) for gone in range(sid, count, 1000)))
            answer = scraper.getresponse()
            self.assertEqual(answer.status, 200)
            scrape.Page(answer.read().decode())
        slow.ping()
        left = count - sum(len(range(sid, count, 1000)) for sid in range(1, 11))
        broker.page(lambda page: page["pubsub_queued_messages"] == left == page["pubsub_slow_subscriptions"])

    def test_promtool_has_nothing_to_say(self):
        broker = self.start("[stream orders]\ntopics = o/#\nmax_age = 1d\n")
        slow = self.peer(id="slow")
        self.subscribe(slow, 1, 's/\u00e4\\"\t', credit=0)
        self.subscribe(slow, 2, "s/#", group="g", credit=0)
        self.publish('s/\u00e4\\"\t', "o/1")
        broker.page(lambda page: page["pubsub_slow_subscriptions"] == 1)
        self.assertEqual(scrape.promtool("check", "metrics", stdin=scrape.ask(broker.metrics, "/metrics")[2]), ("", 0))


class Answers(scrape.MetricsTest):
    def test_alive_and_ready(self):
        broker = self.start()
        plain = "text/plain; charset=utf-8"
        self.assertEqual(scrape.ask(broker.metrics, "/healthz"), (200, plain, "alive\n"))
        self.assertEqual(scrape.ask(broker.metrics, "/readyz"), (200, plain, "ready\n"))

    def test_what_is_not_there(self):
        broker = self.start()
        for path in ("/", "/metrics/", "/metric", "/healthz/x", "//metrics", "/%6detric"):
            self.assertEqual(scrape.ask(broker.metrics, path)[::2], (404, "there are /metrics, /healthz and /readyz\n"), path)
        self.assertEqual(scrape.ask(broker.metrics, "/healthz?verbose=1")[0], 200)

    def test_other_methods(self):
        broker = self.start()
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            connection = scrape.Connection(broker.metrics)
            self.addCleanup(connection.close)
            connection.request(method, "/metrics", body=b"x" * 100)
            answer = connection.getresponse()
            self.assertEqual((answer.status, answer.getheader("Allow")), (405, "GET, HEAD"), method)
        self.assertEqual(scrape.ask(broker.metrics, "/metrics", "HEAD"), (200, scrape.TYPE, ""))

    def test_a_connection_serves_many_scrapes(self):
        broker = self.start()
        connection = scrape.Connection(broker.metrics)
        self.addCleanup(connection.close)
        self.assertEqual(connection.ask("/healthz")[0], 200)
        sock = connection.sock
        for _ in range(3):
            self.assertEqual(connection.ask("/metrics")[0], 200)
        self.assertIs(connection.sock, sock)

    def test_while_it_stops_it_is_alive_and_not_ready(self):
        broker = self.start("[limits]\nclosing_timeout = 1m\n")
        reader = self.peer()  # it does not read, so that its connection takes a while to close
        self.subscribe(reader, 1, "big")
        self.publish(*["big"] * 40, payload=bytes(1 << 18))
        connection = scrape.Connection(broker.metrics)
        self.addCleanup(connection.close)
        self.assertEqual(connection.ask("/readyz")[0], 200)
        broker.process.send_signal(signal.SIGTERM)
        answers = []
        self.assertTrue(eventually(lambda: answers.append(connection.ask("/readyz")) or answers[-1][0] == 503))
        self.assertEqual(answers[-1][2], "the broker is stopping\n")
        self.assertEqual(connection.ask("/healthz")[0], 200)
        self.assertEqual(scrape.Page(connection.ask("/metrics")[2])["pubsub_connections"], 1)

    def test_a_disk_that_takes_nothing(self):
        broker = self.start("[stream all]\ntopics = #\n")
        self.publish("t", flags=STORED)
        before = resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
        peer = self.peer()
        peer.send(frame(PUB, 1, ROUTED) + frame(MSG, "t", None, b"\xc0"))
        self.assertTrue(eventually(lambda: scrape.ask(broker.metrics, "/readyz")[0] == 503))
        self.assertIn("did not reach the disk", scrape.ask(broker.metrics, "/readyz")[2])
        broker.page(lambda page: page["pubsub_store_failing"] == 1)
        resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, before)
        self.assertTrue(eventually(lambda: scrape.ask(broker.metrics, "/readyz")[0] == 200))
        broker.page(lambda page: page["pubsub_store_failing"] == 0)


class Addresses(scrape.MetricsTest):
    REMOTE = "other machines reach it; if they may, say allow_remote = yes in [metrics]"

    def refusal(self, url, *arguments):
        broker = brokers.Broker(start=False, config=f"[metrics]\nurl = {url}\n")
        self.addCleanup(shutil.rmtree, broker.dir)
        done = subprocess.run([brokers.PUBSUBD, *broker.listens, *broker.arguments, *arguments], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=END_S, env={**os.environ, "HOME": broker.dir})
        self.assertFalse(os.path.exists(broker.unix.removeprefix("unix:")))
        return done.stderr, done.returncode

    def test_other_machines_are_kept_out_unless_it_is_said(self):
        for url in ("http://0.0.0.0:0", "http://[::]:0"):
            said = f"pubsubd: cannot serve metrics at '{url}': {self.REMOTE}\n"
            self.assertEqual(self.refusal(url), (said, 1))
            self.assertEqual(self.refusal(url, "--check-config"), (said, 2))
        broker = self.start(url="http://0.0.0.0:0", more="allow_remote = yes\n")
        port = broker.metrics.rsplit(":", 1)[1]
        self.assertEqual(scrape.ask(f"http://127.0.0.1:{port}", "/healthz")[0], 200)

    def test_a_unix_socket(self):
        path = os.path.join(brokers.Broker(start=False).dir, "metrics")
        self.addCleanup(shutil.rmtree, os.path.dirname(path))
        broker = self.start(url=f"unix:{path}")
        self.assertEqual(broker.metrics, f"unix:{path}")
        self.assertGreaterEqual(scrape.scrape(broker.metrics)["pubsub_uptime_seconds"], 0)
        self.assertTrue(os.path.exists(path))
        broker.stop()
        self.assertFalse(os.path.exists(path))

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_a_unix_socket_belongs_to_who_the_broker_goes_on_as(self):
        """So he can remove it at the end, and who may connect is what the umask of the start leaves."""
        directory, nobody = brokers.Broker(start=False).dir, pwd.getpwnam("nobody").pw_uid
        self.addCleanup(shutil.rmtree, directory)
        os.chown(directory, nobody, -1)
        old = os.umask(0o027)
        try:
            broker = self.start("[broker]\nuser = nobody\n", url=f"unix:{directory}/m")
        finally:
            os.umask(old)
        made = os.stat(f"{directory}/m")
        self.assertEqual((made.st_uid, stat.S_IMODE(made.st_mode)), (nobody, 0o750))
        self.assertEqual(scrape.ask(broker.metrics, "/readyz")[0], 200)
        broker.stop()
        self.assertFalse(os.path.exists(f"{directory}/m"))

    def test_what_is_taken_already(self):
        directory = pathlib.Path(brokers.Broker(start=False).dir)
        self.addCleanup(shutil.rmtree, directory)
        (directory / "file").write_text("mine")
        said, code = self.refusal(f"unix:{directory}/file")
        self.assertEqual((said, code), (f"pubsubd: cannot listen on 'unix:{directory}/file': there is something that is "
                                        "not a socket\n", 1))
        self.assertEqual((directory / "file").read_text(), "mine")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            self.assertEqual(self.refusal(url), (f"pubsubd: cannot serve metrics at '{url}': Address already in use\n", 1))


class Reload(scrape.MetricsTest):
    def load(self, metrics):
        """Returns what it says about it."""
        path = os.path.join(self.broker.dir, "pubsubd.conf")
        with open(path, "w") as file:
            file.write(f"[metrics]\n{metrics}\n")
        before = len(self.broker.said())
        self.broker.process.send_signal(signal.SIGHUP)
        self.assertTrue(eventually(lambda: re.search(r"configuration was.* loaded again[^\n]*\n", self.broker.said()[before:])))
        return self.broker.said()[before:]

    def test_on_and_elsewhere_and_off(self):
        broker = self.broker = brokers.Broker(config="[metrics]\n")
        self.addCleanup(broker.stop)
        self.assertIn("from now on holds: [metrics] url", self.load("url = http://127.0.0.1:0"))
        first, = re.findall(r"metrics are served at (\S+)", broker.said())
        self.assertEqual(scrape.ask(first, "/readyz")[0], 200)
        kept = scrape.Connection(first)
        self.addCleanup(kept.close)
        self.assertEqual(kept.ask("/healthz")[0], 200)
        self.assertIn("nothing changes at once", self.load("url = http://127.0.0.1:0"))
        self.load(f"url = unix:{broker.dir}/m")
        self.assertEqual(scrape.ask(f"unix:{broker.dir}/m", "/readyz")[0], 200)
        self.assertRaises(ConnectionRefusedError, scrape.ask, first, "/readyz")
        self.assertEqual(kept.ask("/healthz")[0], 200)
        self.load("")
        self.assertFalse(os.path.exists(f"{broker.dir}/m"))
        self.assertRaises(OSError, kept.ask, "/healthz")
        self.load(f"url = unix:{broker.dir}/m")
        self.assertEqual(scrape.scrape(f"unix:{broker.dir}/m")["pubsub_connections"], 0)

    def test_what_can_not_be_served_changes_nothing(self):
        broker = self.start()
        said = self.load("url = http://0.0.0.0:0")
        self.assertIn("was not loaded again", said)
        self.assertIn(Addresses.REMOTE, said)
        self.assertEqual(scrape.ask(broker.metrics, "/readyz")[0], 200)
        self.load("url = http://0.0.0.0:0\nallow_remote = yes")
        url = "http://127.0.0.1:" + broker.served()[-1].rsplit(":", 1)[1]
        self.assertEqual(scrape.ask(url, "/readyz")[0], 200)
        self.assertIn(Addresses.REMOTE, self.load("url = http://0.0.0.0:0\nallow_remote = no"))
        self.assertEqual(scrape.ask(url, "/readyz")[0], 200)


if __name__ == "__main__":
    unittest.main()
