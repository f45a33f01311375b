"""The audit log: what is in it, that nothing in it can be forged, and that it can't be flooded."""
import os
import re
import signal
import unittest

import brokers
import raw
from raw import BYE, MSG, PUB, PUBACK, ROUTED, STORED, SUB, hello, welcomed

VALUE = r'("(?:[^"\\]|\\.)*"|\S*)'


def fields(line):
    """Of a line in the form of logfmt; the whole of it must be."""
    if not re.fullmatch(rf"(?:[a-z_]+={VALUE})(?: [a-z_]+={VALUE})*", line):
        raise AssertionError(f"this is no logfmt: {line}")
    pairs = re.findall(rf"([a-z_]+)={VALUE}", line)
    return {key: re.sub(r'\\(["\\])', r"\1", value[1:-1]) if value.startswith('"') else value for key, value in pairs}


def audited(broker):
    begin = "pubsubd: audit: "
    return [fields(line[len(begin):]) for line in broker.said().splitlines() if line.startswith(begin)]


class Audit(unittest.TestCase):
    def setUp(self):
        self.broker = brokers.Broker(arguments=["--durable", "kept/#"])
        self.addCleanup(self.broker.stop)

    def welcomed(self, url=None, **options):
        peer = welcomed(url or self.broker.tcp, **options)
        self.addCleanup(peer.close)
        return peer

    def refused(self, data):
        with raw.Peer(self.broker.tcp) as peer:
            peer.send(data)
            return peer.rest()[-1]

    def of(self, event):
        return [line for line in audited(self.broker) if line["event"] == event]

    def test_connections(self):
        self.welcomed(id="over-tcp")
        self.welcomed(self.broker.unix, id="over-unix")
        tcp, unix = self.of("connect")
        self.assertEqual(tcp, {"event": "connect", "client": "over-tcp", "peer": "127.0.0.1", "listener": self.broker.tcp})
        self.assertEqual((unix["client"], unix["listener"]), ("over-unix", self.broker.unix))
        self.assertRegex(unix["peer"], r"^unix,uid:\d+$")

    def test_refusals_and_closes_by_fault(self):
        self.refused(hello(id="two words"))
        self.refused(b"GET / HTTP/1.1\r\n\r\n")
        peer = self.welcomed(id="faulty")
        peer.send(b"\xc1")
        self.assertEqual(peer.rest()[-1][:2], [BYE, 101])
        bad_id, http = self.of("refuse")
        self.assertEqual((bad_id["code"], http["code"]), ("117", "101"))
        self.assertIn("two words", bad_id["text"])
        self.assertIn("HTTP", http["text"])
        closed, = self.of("close")
        self.assertEqual((closed["client"], closed["code"]), ("faulty", "101"))

    def test_takeovers(self):
        self.welcomed(id="one")
        self.welcomed(id="one")
        taken, = self.of("takeover")
        self.assertEqual((taken["client"], taken["code"]), ("one", "109"))

    def test_what_is_not_allowed(self):
        peer = self.welcomed(id="curious", will=["$SYS/x", b"", 0, 0])
        peer.tell(SUB, 1, "$inbox/#", {})
        peer.tell(PUB, 1, ROUTED)
        peer.tell(MSG, "$SYS/broker", None, b"forged")
        peer.ping()
        denied = self.of("deny")
        self.assertEqual([(line["client"], line["code"]) for line in denied], [("curious", "211")] * 3)
        self.assertIn("$inbox/#", denied[1]["text"])
        self.assertIn("$SYS/broker", denied[2]["text"])

    def test_administration(self):
        peer = self.welcomed(self.broker.unix, id="operator")
        peer.tell(PUB, 1, STORED)
        peer.tell(MSG, "kept/1", None, b"x")
        self.assertEqual(peer.answer(PUBACK)[1], 1)
        peer.tell(PUB, 0, 0)
        peer.tell(MSG, "$SYS/request/stream/remove", {1: peer.welcome["inbox"] + "/1"}, b"\x81\xa6stream\xa7durable")
        peer.answer(MSG)
        line, = self.of("admin")
        self.assertEqual((line["client"], line["text"]), ("operator", "removed 1 messages of stream 'durable'"))

    def test_nothing_in_it_can_be_forged(self):
        self.welcomed(id='a"\\b=c')
        self.refused(hello(id="line\npubsubd: audit: event=connect client=\"root\""))
        self.refused(hello(id="\x1b[2J\u202eesrever"))
        self.assertEqual([line["client"] for line in self.of("connect")], ['a"\\b=c'])
        self.assertEqual(len(self.of("refuse")), 2)
        self.assertTrue(self.broker.said().replace("\n", "").isprintable())

    def test_secrets_are_not_in_it(self):
        self.refused(hello(id="spy", auth="password", data=["user", "hunter2hunter2"]))
        self.refused(hello(id="spy", auth="token", data=b"token-of-mine"))
        self.assertEqual(len(self.of("refuse")), 2)
        for secret in "hunter2", "token-of-mine", b"token-of-mine".hex():
            self.assertNotIn(secret, self.broker.said())

    def test_44_a_flood_of_one_event_is_counted_and_hides_no_other(self):
        connects = 400
        for _ in range(connects):
            self.welcomed().goodbye()
        peer = self.welcomed(id="curious")
        peer.tell(SUB, 1, "$inbox/#", {})
        peer.ping()
        connects += 1

        def all_are_told():
            """With the first one of a second, all that were left out before are."""
            nonlocal connects
            self.welcomed().goodbye()
            connects += 1
            left_out = sum(int(line["count"]) for line in self.of("left_out") if line["of"] == "connect")
            return left_out > 0 and len(self.of("connect")) + left_out == connects

        self.assertTrue(raw.eventually(all_are_told))
        self.assertEqual(len(self.of("deny")), 1)
        self.assertEqual({line["of"] for line in self.of("left_out")}, {"connect"})

    def test_listeners_are_named_as_in_the_configuration(self):
        """Also in what is said of those who never became a session."""
        config = ("[limits]\nconnections_from_loopback = 1\n[listener inside]\nurl = tcp://127.0.0.1:0\n"
                  "[listener outside]\nurl = tcp://127.0.0.1:0\n")
        with brokers.Broker(config=config, listens=False) as broker:
            inside, outside = broker.ready_line.split()[1:]
            with welcomed(inside), raw.Peer(outside) as refused:
                self.assertEqual(refused.rest()[-1][0], BYE)
                connect, refuse = audited(broker)
        self.assertEqual((connect["event"], connect["listener"]), ("connect", "inside"))
        self.assertEqual((refuse["event"], refuse["listener"], refuse["code"]), ("refuse", "outside", "115"))

    def test_reloads(self):
        with brokers.Broker(config="[limits]\n") as broker:
            file = os.path.join(broker.dir, "pubsubd.conf")

            def reload(text, count):
                with open(file, "w") as out:
                    out.write(text)
                broker.process.send_signal(signal.SIGHUP)
                self.assertTrue(raw.eventually(lambda: len(audited(broker)) == count))
                return audited(broker)[-1]

            self.assertEqual(reload("[limits]\nmax_sessions = 7\nmax_payload = 2k\n", 1), {
                "event": "reload", "result": "applied",
                "text": "from now on holds: max_sessions; after a restart: max_payload"})
            refused = reload('[limits]\nkeepalive_max = "forged"\n', 2)
            self.assertEqual((refused["event"], refused["result"]), ("reload", "refused"))
            self.assertIn(":2: keepalive_max = '", refused["text"])

    def test_it_can_be_turned_off(self):
        with brokers.Broker(config="[log]\naudit = no\n") as broker:
            welcomed(broker.tcp).goodbye()
            with raw.Peer(broker.tcp) as peer:
                peer.send(b"\xc1")
                self.assertEqual(peer.rest()[-1][:2], [BYE, 101])
            self.assertEqual(audited(broker), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
