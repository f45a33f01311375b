"""Each kind of attack does to a real broker what it says, and what is measured meanwhile is told beside what was before."""
import dataclasses
import os
import time
import unittest

import measure
import peers
import report
import scenarios
import summary
from measure import OK, Plan, Step
from report_test import ABOUT

TOOLS = peers.Tools(os.environ.get("PUBSUBD", "pubsubd"), os.environ.get("BENCH_LOAD", "bench_load"))


class AttackTest(unittest.TestCase):
    def broker(self):
        broker = peers.Broker(peers.PEERS["pubsubd-attacked"], TOOLS)
        self.addCleanup(broker.stop)
        return broker

    def test_each_kind_is_at_work(self):
        broker = self.broker()
        kinds = tuple(scenarios.ATTACKS)
        with measure.Attack(broker, kinds) as attack:
            time.sleep(1)
            did = attack.end()
        self.assertEqual(set(did["per_s"]), set(kinds))
        for kind in kinds:
            self.assertGreater(did["per_s"][kind], 0, kind)
            self.assertEqual(did["failed"][kind], 0, kind)
        self.assertIsNone(broker.how_it_ended())
        self.assertTrue(peers.can_connect(broker.url))

    def test_what_it_could_not_do_is_told(self):
        broker = self.broker()
        broker.stop()
        with measure.Attack(broker, ("connects",)) as attack:
            did = attack.end()
        self.assertEqual(did["per_s"]["connects"], 0)
        self.assertGreater(did["failed"]["connects"], 0)

    def test_what_is_measured(self):
        scenario = dataclasses.replace(scenarios.by_name("attack-all"), seconds=0.3)
        plan = Plan((scenario,), None, 1, False)
        made = measure.measure(Step(1, scenario, "pubsubd-attacked"), plan, TOOLS)
        self.assertEqual(made["status"], OK, made.get("error"))
        figures = made["figures"]
        self.assertAlmostEqual(figures["p99_added_us"], figures["p99_us"] - figures["p99_us_alone"])
        self.assertGreater(figures["attacks_per_s"], 0)
        self.assertEqual(figures["lost"], 0)
        document = summary.summarise(plan, {(scenario.name, "pubsubd-attacked"): [made]}, ABOUT)
        text = report.markdown(document)
        self.assertIn("## Under attack", text)
        self.assertIn("| All of these at once | pubsubd, attacked |", text)


if __name__ == "__main__":
    unittest.main()
