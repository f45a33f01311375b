"""The report's sections about TLS and about attacks, from made-up measurements. Needs no broker."""
import unittest
from unittest import mock

import measure
import peers
import report
import scenarios
from measure import Plan, Step
from report_test import document_of, failed, runs_of, verdict_of


class TlsTest(unittest.TestCase):
    """Goals and tables of connections with TLS."""
    MEASURED = {"tls-one-64": {"pubsubd-tls": runs_of(0.1, delivered_per_s=5e6), "nats-tls": runs_of(0.4),
                               "mosquitto-tls": runs_of(2.0), "pubsubd-tcp": runs_of(0.01)},
                "tls-handshakes": {"pubsubd-tls": runs_of(300.0, key="cpu_us_per_connect", connects_per_s=900.0),
                                   "nats-tls": runs_of(600.0, key="cpu_us_per_connect"), "mosquitto-tls": failed()}}

    def test_ratio_is_to_others_with_tls(self):
        verdicts = [row["verdict"] for row in document_of(self.MEASURED)["scenarios"]]
        self.assertEqual([verdict["best_peer"] for verdict in verdicts], ["nats-tls"] * 2)
        self.assertAlmostEqual(verdicts[0]["times_better"], 4)
        self.assertAlmostEqual(verdicts[1]["times_better"], 2)

    def test_report(self):
        text = report.markdown(document_of(self.MEASURED))
        self.assertIn("## With TLS", text)
        self.assertRegex(text, r"\| 1 to 1, 64 B, TLS +\| +0\.1 \| +0\.4 \| +2 \| +0\.01 \| +\| +4x \|")
        self.assertRegex(text, r"full handshakes \(µs\) +\| +300 \| +600 \| +failed \| +not run \|")
        self.assertRegex(text, r"full handshakes +\| pubsubd, TLS +\| +900 \| +300 \|")
        self.assertIn("With TLS", report.closing(document_of(self.MEASURED)))

    def test_without_them_there_is_no_section(self):
        self.assertNotIn("## With TLS", report.markdown(document_of({"one-16": {"nats": runs_of(1.0)}})))

    def test_where_another_is_better(self):
        found = document_of({"tls-one-64": {"pubsubd-tls": runs_of(0.5), "nats-tls": runs_of(0.4)}})["peer_better"]
        self.assertEqual([(one["peer"], one["ours_peer"]) for one in found], [("nats-tls", "pubsubd-tls")])

    def test_command_line_has_the_authority(self):
        broker = mock.Mock(url="tls://127.0.0.1:1", pid=1, ca="/ca.pem")
        plan = Plan((scenarios.by_name("tls-resumed"),), None, 1, True)
        words = measure.command(Step(1, plan.scenarios[0], "nats-tls"), plan, peers.Tools("pubsubd", "load"), broker)
        self.assertEqual(words[words.index("--ca") + 1], "/ca.pem")
        self.assertIn("--resume", words)


class AttackReportTest(unittest.TestCase):
    """What an attack on our broker does to somebody else's latency."""

    def measured(self, added_us, **more):
        return {"attack-all": {"pubsubd-attacked": runs_of(added_us, key="p99_added_us", **more)}}

    def test_goal(self):
        self.assertEqual(verdict_of("attack-all", self.measured(9900.0)["attack-all"]), (True, "met"))
        self.assertEqual(verdict_of("attack-all", self.measured(10100.0)["attack-all"]), (False, "missed"))
        self.assertEqual(verdict_of("attack-all", self.measured(1.0, lost=1)["attack-all"]),
                         (False, "missed: messages were lost"))

    def test_both_are_told(self):
        text = report.markdown(document_of(self.measured(2000.0, p99_us_alone=100.0, p99_us=2100.0)))
        self.assertRegex(text, r"\| All of these at once \(ms\) \| +2 \| at most 10 \|")
        self.assertRegex(text, r"\| All of these at once \| pubsubd, attacked \| +100 \| +2,100 \| +2,000 \|")
        self.assertIn("Under attack", report.closing(document_of(self.measured(2000.0))))

    def test_without_it_there_is_no_section(self):
        self.assertNotIn("## Under attack", report.markdown(document_of({"one-16": {"nats": runs_of(1.0)}})))


if __name__ == "__main__":
    unittest.main(verbosity=2)
