"""SIGHUP: the configuration is loaded again; all of it or nothing, and what happened is said in one line."""
import os
import signal
import unittest

import brokers
import raw

DONE = "the configuration was loaded again; "
REFUSED = "the configuration was not loaded again, what was loaded before holds: "
TOO_MANY = 115


class ReloadTest(unittest.TestCase):
    def start(self, config, **how):
        self.broker = brokers.Broker(config=config, **how)
        self.addCleanup(self.broker.stop)
        self.file = os.path.join(self.broker.dir, "pubsubd.conf")

    def write(self, text):
        with open(self.file, "w") as file:
            file.write(text)

    def reload(self):
        """Returns the line that it says about it."""
        before = len(self.broker.said())
        self.broker.process.send_signal(signal.SIGHUP)
        self.assertTrue(raw.eventually(lambda: self.broker.said()[before:].endswith("\n")), self.broker.said())
        lines = self.broker.said()[before:].splitlines()
        self.assertEqual(len(lines), 1, lines)
        return lines[0].split(": ", 2)[2]

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
        self.assertEqual(self.reload(), "there is no configuration file to load again: the broker was started without "
                         "--config")
        self.welcomed()


if __name__ == "__main__":
    unittest.main(verbosity=2)
