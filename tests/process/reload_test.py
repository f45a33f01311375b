"""SIGHUP: the configuration is loaded again; all of it or nothing, and what happened is said in one line."""
import os
import re
import signal
import subprocess
import threading
import unittest

import brokers
import raw

DONE = "the configuration was loaded again; "
REFUSED = "the configuration was not loaded again, what was loaded before holds: "
TOO_MANY = 115
RATE = 214


class ReloadTest(unittest.TestCase):
    def start(self, config, **how):
        self.broker = brokers.Broker(config=config, **how)
        self.addCleanup(self.broker.stop)
        self.file = os.path.join(self.broker.dir, "pubsubd.conf")

    def write(self, text):
        with open(self.file, "w") as file:
            file.write(text)

    def reload(self, audited=True):
        """Returns the line that it says about it, before which stands one of the audit log, if that is written."""
        before = len(self.broker.said())
        self.broker.process.send_signal(signal.SIGHUP)
        self.assertTrue(raw.eventually(lambda: "loaded again" in self.broker.said()[before:] or
                                       "to load again" in self.broker.said()[before:]), self.broker.said())
        self.assertTrue(raw.eventually(lambda: self.broker.said()[before:].endswith("\n")))
        *audit, line = self.broker.said()[before:].splitlines()
        audit = [said for said in audit if "event=left_out" not in said]  # comes when its time is over
        self.assertEqual(len(audit), int(audited), audit)
        self.assertTrue(all(said.startswith("pubsubd: audit: event=reload result=") for said in audit), audit)
        return line.split(": ", 2)[2]

    def welcomed(self, **options):
        peer = raw.welcomed(self.broker.unix, **options)
        self.addCleanup(peer.close)
        return peer

    def test_what_can_change_at_once_does(self):
        self.start("[limits]\nkeepalive_max = 50s\n")
        before = self.welcomed(ka=1000)
        self.write("[limits]\nkeepalive_max = 40s\nmax_connections = 2\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: max_connections, keepalive_max")
        self.assertEqual((before.welcome["ka"], self.welcomed(ka=1000).welcome["ka"]), (50, 40))
        third = raw.Peer(self.broker.unix)
        self.addCleanup(third.close)
        self.assertEqual(third.next()[:2], [raw.BYE, TOO_MANY])
        before.ping()
        self.assertEqual(self.reload(), DONE + "nothing changes at once")

    def test_one_that_comes_too_early_waits(self):
        """It does not end a broker that is still starting, as the signal by itself would."""
        self.broker = brokers.Broker(start=False)
        self.addCleanup(self.broker.stop)
        self.file = os.path.join(self.broker.dir, "pipe")
        os.mkfifo(self.file)
        self.broker.arguments += ["--config", self.file]
        starting = threading.Thread(target=self.broker.start)
        starting.start()
        with open(self.file, "w") as file:  # it begins to read its configuration, which ends when this ends
            file.write("[limits]\n")
            self.assertTrue(raw.eventually(lambda: self.broker.process))
            self.broker.process.send_signal(signal.SIGHUP)
        starting.join()
        self.assertIsNone(self.broker.process.poll())
        self.write("[limits]\nmax_connections = 2\n")
        self.assertTrue(raw.eventually(lambda: DONE + "from now on holds: max_connections" in self.broker.said()))

    def over_tcp(self, **options):
        peer = raw.Peer(self.broker.tcp)
        self.addCleanup(peer.close)
        peer.send(raw.hello(**options))
        return peer, peer.next()

    def test_caps_of_an_address(self):
        """They count who is there; a lower one closes nobody."""
        self.start("[limits]\n")
        there = [self.over_tcp()[0] for _ in range(3)]
        self.write("[limits]\nconnections_from_loopback = 2\nconnections_per_address = 5\nunwelcomed_per_address = 1\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: unwelcomed_per_address, connections_per_address, "
                         "connections_from_loopback")
        for peer in there:
            peer.ping()
        _, refusal = self.over_tcp()
        self.assertEqual(refusal[:3], [raw.BYE, TOO_MANY,
                                       "127.0.0.1 has 3 connections, the limit is 2 (connections_from_loopback)"])
        self.write("[limits]\nconnections_from_loopback = 5\nunwelcomed_per_address = 1\n")
        self.reload()
        silent = raw.Peer(self.broker.tcp)
        self.addCleanup(silent.close)
        _, first = self.over_tcp()
        self.assertEqual(first[0], raw.WELCOME)
        self.assertIn("this is the oldest", silent.next()[2])

    def test_connections_of_a_user(self):
        user = f"[user me]\nuid = {os.geteuid()}\ngroups = all\n[group all]\npublish = #\nsubscribe = #\n"
        self.start(user)
        there = [self.welcomed() for _ in range(2)]
        self.write(user + "[limits]\nconnections_per_user = 2\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: connections_per_user")
        for peer in there:
            peer.ping()
        third = raw.Peer(self.broker.unix)
        self.addCleanup(third.close)
        third.send(raw.hello())
        self.assertEqual(third.next()[:3], [raw.BYE, TOO_MANY,
                                            "user 'me' has 2 connections, the limit is 2 (connections_per_user)"])
        there.pop().goodbye()
        self.welcomed()

    def refusals(self, peer, count):
        """Codes of the refusals of so many messages. Of one connection only some in a second are told."""
        peer.send(raw.frame(raw.MSG, "t", None, b"x") * count)
        return [frame[1] for frame in peer.ping() if frame[0] == raw.ERR]

    def test_rates_hold_for_who_is_there(self):
        self.start("[limits]\n")
        first, second, third = (self.welcomed() for _ in range(3))
        self.assertEqual(self.refusals(first, 50), [])
        self.write("[limits]\npublish_rate = 10\npublish_delay = 0\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: publish_rate, publish_delay")
        self.assertEqual(set(self.refusals(first, 500)), {RATE})
        self.write("[limits]\npublish_rate_bytes = 1k\npublish_delay = 0\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: publish_rate, publish_rate_bytes")
        self.assertEqual(set(self.refusals(second, 5000)), {RATE})
        self.write("[limits]\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: publish_rate_bytes, publish_delay")
        self.assertEqual(self.refusals(third, 5000), [])

    def test_limits_of_queues_hold_for_new_subscriptions(self):
        self.start("[limits]\n")
        peer = self.welcomed()
        self.write("[limits]\nqueue_messages_cap = 10\nqueue_messages = 5\nqueue_bytes_cap = 1m\nqueue_bytes = 1m\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: queue_messages, queue_bytes, queue_messages_cap, "
                         "queue_bytes_cap")
        peer.tell(raw.SUB, 1, "t", {"max_msgs": 1000})
        granted = peer.answer(raw.SUBACK)
        self.assertIn(10, [value for field in granted if isinstance(field, dict) for value in field.values()], granted)

    def test_reports_begin_and_end(self):
        self.start("[broker]\nsys_interval = 0\n")
        peer = self.welcomed()
        peer.tell(raw.SUB, 1, "$SYS/broker", {})
        peer.tell(raw.CREDIT, 1, 1000)
        self.assertEqual(peer.answer(raw.SUBACK)[2], 0)
        self.write("[broker]\nsys_interval = 100ms\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: sys_interval")
        for _ in range(3):
            self.assertEqual(peer.answer(raw.MSG)[1], "$SYS/broker")

    def test_everything_but_what_is_marked_holds_at_once(self):
        """Each key is what --print-config says of it."""
        printed = subprocess.run([brokers.PUBSUBD, "--print-config"], capture_output=True, text=True, check=True).stdout
        part = printed[printed.index("[limits]"):printed.index("[log]")]
        marked = re.findall(r"# Another value holds after a restart\.\n(\w+) = ", part)
        self.assertEqual(marked, ["max_payload", "max_subscriptions", "publish_window"])
        values = {"handshake_timeout": "7s", "closing_timeout": "7s", "keepalive_max": "70s", "session_max": "70s",
                  "publish_delay": "7s", "queue_messages_cap": "999999", "queue_bytes": "5m"}
        keys = re.findall(r"^(\w+) = ", part, re.MULTILINE)
        self.assertGreater(len(keys), 25)
        self.start("[limits]\n")
        for key in keys:
            size = key.endswith("bytes") or key.endswith("bytes_cap") or key == "max_payload"
            value = values.get(key, "77m" if size else "999")
            self.write(f"[limits]\n{key} = {value}\n")
            said = self.reload()
            if key in marked:
                self.assertTrue(said.endswith(f"after a restart: {key}"), (key, said))
            else:
                self.assertNotIn("after a restart", said)
                self.assertRegex(said, rf"from now on holds: .*\b{key}\b")

    def test_the_audit_log_is_turned_off_and_on(self):
        """What turns it off still stands in it; who came meanwhile is known when it is on again."""
        self.start("[log]\naudit = yes\n")
        self.write("[log]\naudit = no\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: [log] audit")
        peer = self.welcomed(id="quiet")
        self.assertEqual(self.reload(audited=False), DONE + "nothing changes at once")
        self.write("[log]\naudit = yes\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: [log] audit")
        before = len(self.broker.said())
        peer.send(b"\xc1")
        peer.rest()
        line, = self.broker.said()[before:].splitlines()
        self.assertRegex(line, r'^pubsubd: audit: event=close client="quiet" peer=unix,uid:\d+ listener="unix:[^"]+" code=101 ')

    def test_what_the_file_does_not_set_any_more_has_its_default(self):
        self.start("[limits]\nkeepalive_max = 50s\n")
        self.write("[limits]\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: keepalive_max")
        self.assertEqual(self.welcomed(ka=1000).welcome["ka"], 1000)

    def test_what_needs_a_restart_is_said_until_then(self):
        self.start("[limits]\nmax_payload = 64k\n", arguments=("--durable", "d/#"))
        self.write("[limits]\nmax_payload = 32k\nhandshake_timeout = 3s\n[stream s]\ntopics = s/#\n")
        needs = "; after a restart: max_payload, [stream]"
        self.assertEqual(self.reload(), DONE + "from now on holds: handshake_timeout" + needs)
        self.assertEqual(self.reload(), DONE + "nothing changes at once" + needs)
        self.assertEqual(self.welcomed().welcome["max_payload"], 65536)

    def test_what_holds_until_a_restart_keeps_its_room(self):
        self.start("[limits]\nmax_payload = 4m\ninput_total_bytes = 8m\n")
        self.write("[limits]\nmax_payload = 1m\ninput_total_bytes = 2m\n")
        self.assertEqual(self.reload(), REFUSED + "input_total_bytes = 2m is less than max_payload = 4m, which holds until "
                         "a restart")
        self.write("[limits]\nmax_payload = 1m\ninput_total_bytes = 5m\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: input_total_bytes; after a restart: max_payload")

    def test_addresses_of_the_file_need_a_restart_unless_they_are_not_used(self):
        self.start("[listener a]\nurl = fd:0\n")
        self.write("[listener b]\nurl = fd:1\n")
        self.assertEqual(self.reload(), DONE + "nothing changes at once")  # --listen holds instead of these

    # hostile.md 49, 50
    # Hostile 49.
    def test_a_broken_file_changes_nothing(self):
        good = "[limits]\nkeepalive_max = 50s\n"
        self.start(good)
        peer = self.welcomed()
        cases = {
            "": ": the file is empty",
            "[limits]\nkeepalive_max = 40s\n[limi": ":3: '[limi' is not a [section], with nothing behind it",
            "[limits]\nkeepalive_max = 40s\nmax_payload": ":3: 'max_payload' is neither a [section] nor 'key = value'",
            "[limits]\nkeepalive_max = 40s\n" + "a" * 300 + " = 1\n": ":3: the line is longer than 197 bytes",
            "[limits]\nkeepalive_max = 40s\nmax_conections = 1\n":
                ":3: unknown key 'max_conections' in [limits]; did you mean 'max_connections'?",
        }
        for text, error in cases.items():
            self.write(text)
            self.assertEqual(self.reload(), REFUSED + self.file + error)
            self.assertEqual(self.welcomed(ka=1000).welcome["ka"], 50)
        os.unlink(self.file)
        self.assertEqual(self.reload(), REFUSED + self.file + ": cannot be opened: No such file or directory")
        peer.ping()
        self.write(good.replace("50", "30"))
        self.reload()
        self.assertEqual(self.welcomed(ka=1000).welcome["ka"], 30)

    # hostile.md 51
    # Hostile 51.
    def test_without_a_free_descriptor(self):
        self.start("[limits]\nkeepalive_max = 50s\n", descriptors=64)
        peers = []
        while (peer := raw.Peer(self.broker.unix)):
            self.addCleanup(peer.close)
            peer.send(raw.hello(ka=1000))
            if peer.next()[0] == raw.BYE:
                break
            peers.append(peer)
        self.write("[limits]\nkeepalive_max = 40s\n")
        self.assertEqual(self.reload(), DONE + "from now on holds: keepalive_max")
        peers.pop().goodbye()
        self.assertTrue(raw.eventually(lambda: self.broker.descriptors() < 64))
        self.assertEqual(self.welcomed(ka=1000).welcome["ka"], 40)
        for peer in peers:
            peer.ping()

    def test_there_is_no_file(self):
        self.start(None)
        self.assertEqual(self.reload(audited=False), "there is no configuration file to load again: the broker was started "
                         "without --config")
        self.welcomed()


if __name__ == "__main__":
    unittest.main(verbosity=2)
