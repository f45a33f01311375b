"""From measurements to the report: medians, ratios, goals, and that nothing which failed is left out. Needs no broker."""
import dataclasses
import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import attack
import charts
import measure
import peers
import report
import scenarios
import summary
from measure import FAILED, OK, UNSUPPORTED, Plan, Step

HERE = pathlib.Path(__file__).resolve().parent
ABOUT = {"date": "2024-01-01T00:00:00+00:00", "command": "tests/bench/run", "revision": "0123456789ab",
         "machine": {"cpu": "a CPU", "cores": 2, "memory_mib": 1024, "kernel": "6.1", "architecture": "x86_64",
                     "distribution": "Debian", "load_before": 0.1,
                     "storage": {"type": "ext4", "device": "/dev/vda"}},
         "versions": {"pubsubd": "pubsubd 0.1.0", "nats": None, "redis": "7", "mosquitto": "2"}}


def runs_of(*values, key="cpu_us_per_delivered", **more):
    """One successful run for each value."""
    return [{"status": OK, "run": number, "took_s": 1.0, "figures": {key: value, "lost": 0, **more}}
            for number, value in enumerate(values, 1)]


def failed(text="the broker closed the connection", status=FAILED):
    return [{"status": status, "run": 1, "took_s": 1.0, "error": text}]


def document_of(measured, quick=False, runs=3):
    """The document of these measurements: {scenario: {peer: runs}}."""
    plan = Plan(tuple(scenarios.by_name(name) for name in measured), None, runs, quick)
    results = {(name, peer): made for name, by_peer in measured.items() for peer, made in by_peer.items()}
    return summary.summarise(plan, results, ABOUT)


def row_of(name, by_peer):
    return document_of({name: by_peer})["scenarios"][0]


def verdict_of(name, by_peer):
    verdict = row_of(name, by_peer)["verdict"]
    return verdict["met"], verdict["text"]


class StatisticsTest(unittest.TestCase):
    def test_median_and_spread(self):
        found = row_of("one-16", {"nats": runs_of(0.9, 0.5, 0.6)})["peers"]["nats"]["figures"]
        self.assertEqual(found["cpu_us_per_delivered"], {"median": 0.6, "min": 0.5, "max": 0.9})

    def test_even_number_of_runs(self):
        found = row_of("one-16", {"nats": runs_of(1.0, 2.0)})["peers"]["nats"]["figures"]
        self.assertEqual(found["cpu_us_per_delivered"]["median"], 1.5)

    def test_failed_runs_do_not_count_but_are_told(self):
        peer = row_of("one-16", {"nats": [*runs_of(1.0, 3.0), *failed("it died")]})["peers"]["nats"]
        self.assertEqual((peer["status"], peer["runs_ok"], peer["runs_failed"], peer["error"]), (OK, 2, 1, "it died"))
        self.assertEqual(peer["figures"]["cpu_us_per_delivered"]["median"], 2.0)

    def test_unknown_figures_are_left_out(self):
        peer = row_of("one-16", {"nats": runs_of(1.0, p50_us=None, protocol="nats")})["peers"]["nats"]
        self.assertEqual(set(peer["figures"]), {"cpu_us_per_delivered", "lost"})

    def test_ratio_is_to_the_best_other_over_the_same_transport(self):
        verdict = row_of("one-16", {"pubsubd-tcp": runs_of(0.02), "nats": runs_of(0.6), "redis-tcp": runs_of(0.5),
                                    "redis-unix": runs_of(0.4), "relay-tcp": runs_of(0.009)})["verdict"]
        self.assertEqual((verdict["best_peer"], verdict["best"]), ("redis-tcp", 0.5))
        self.assertAlmostEqual(verdict["times_better"], 25)

    def test_ratio_of_a_rate(self):
        verdict = row_of("stall", {"pubsubd-tcp": runs_of(0.9, key="ratio"),
                                   "nats": runs_of(0.3, key="ratio")})["verdict"]
        self.assertAlmostEqual(verdict["times_better"], 3)


class GoalTest(unittest.TestCase):
    def test_figure_and_ratio(self):
        for ours, best, expected in ((0.03, 0.6, (True, "met")), (0.04, 0.6, (False, "missed")),
                                     (0.03, 0.5, (True, "met, but not the ratio")),
                                     (0.04, 0.9, (False, "missed, but the ratio is met"))):
            with self.subTest(ours=ours, best=best):
                self.assertEqual(verdict_of("one-16", {"pubsubd-tcp": runs_of(ours), "nats": runs_of(best)}), expected)

    def test_figure_without_others(self):
        self.assertEqual(verdict_of("one-16", {"pubsubd-tcp": runs_of(0.03)}), (True, "met"))

    def test_above_the_floor_of_the_same_transport(self):
        def judged(ours):
            return verdict_of("pingpong-unix", {"pubsubd-unix": runs_of(ours, key="p50_us"),
                                                "relay-unix": runs_of(18.0, key="p50_us")})
        self.assertEqual(judged(20.0), (True, "met"))
        self.assertEqual(judged(20.1), (False, "missed"))

    def test_no_floor(self):
        self.assertEqual(verdict_of("pingpong-tcp", {"pubsubd-tcp": runs_of(20.0, key="p50_us")}),
                         (None, "no floor measured"))

    def test_stalled_subscriber(self):
        def judged(ratio, told):
            made = runs_of(ratio, key="ratio", slow_missed=50, slow_told=told)
            return verdict_of("stall", {"pubsubd-tcp": made})
        self.assertEqual(judged(0.95, 50), (True, "met"))
        self.assertEqual(judged(0.94, 50), (False, "missed"))
        self.assertEqual(judged(0.99, 49), (False, "missed: not told exactly"))
        self.assertEqual(judged(0.99, None), (False, "missed: not told exactly"))

    def test_who_loses_messages_has_not_met_it(self):
        self.assertEqual(verdict_of("one-16", {"pubsubd-tcp": [*runs_of(0.01, lost=1)]}),
                         (False, "missed: messages were lost"))

    def test_ours_failed(self):
        self.assertEqual(verdict_of("one-16", {"pubsubd-tcp": failed(), "nats": runs_of(0.6)}), (False, "failed"))

    def test_ours_took_no_part(self):
        self.assertEqual(verdict_of("one-16", {"nats": runs_of(0.6)}), (None, "not measured"))

    def test_unit_of_memory(self):
        verdict = row_of("idle", {"pubsubd-tcp": runs_of(1024, key="bytes_per_connection")})["verdict"]
        self.assertEqual((verdict["ours"], verdict["met"]), (1.0, True))


class StoredTest(unittest.TestCase):
    """Goals, comparisons and tables of streams that are kept on the disk."""
    KEY = {"key": "acked_per_s"}

    def test_share_of_the_floor(self):
        for ours, expected in ((500, (True, "met: 50 %")), (490, (False, "missed: 49 %"))):
            self.assertEqual(verdict_of("stored-1", {"pubsubd-stored": runs_of(ours, **self.KEY),
                                                     "sink": runs_of(1000, **self.KEY),
                                                     "disk": runs_of(2000, **self.KEY)}), expected)
        self.assertEqual(verdict_of("stored-1", {"pubsubd-stored": runs_of(500, **self.KEY)}), (None, "no floor measured"))

    def test_times_of_another_scenario(self):
        def judged(first, second):
            rows = document_of({"stored-1": {"pubsubd-stored": first},
                                "stored-256": {"pubsubd-stored": runs_of(second, **self.KEY)}})["scenarios"]
            return rows[1]["verdict"]["met"], rows[1]["verdict"]["text"]
        self.assertEqual(judged(runs_of(100, **self.KEY), 4000), (True, "met: 40 times"))
        self.assertEqual(judged(runs_of(100, **self.KEY), 3900), (False, "missed: 39 times"))
        self.assertEqual(judged(failed(), 4000), (None, "stored-1 was not measured"))
        self.assertEqual(verdict_of("stored-256", {"pubsubd-stored": runs_of(4000, **self.KEY)}),
                         (None, "stored-1 was not measured"))

    def test_ratio_is_to_the_best_of_those_who_synchronise(self):
        verdict = row_of("stored-1", {"pubsubd-stored": runs_of(500, **self.KEY), "redis-always": runs_of(250, **self.KEY),
                                      "redis-everysec": runs_of(9000, **self.KEY), "jetstream": runs_of(8000, **self.KEY),
                                      "sink": runs_of(1000, **self.KEY)})["verdict"]
        self.assertEqual((verdict["best_peer"], verdict["times_better"]), ("redis-always", 2.0))

    def test_shares_are_not_compared_but_rates_are(self):
        document = document_of({"replay-1": {
            "pubsubd-stored": runs_of(0.5, key="replay_share", delivered_per_s=1000),
            "jetstream": runs_of(0.9, key="replay_share", delivered_per_s=2000)}})
        self.assertIsNone(document["scenarios"][0]["verdict"]["times_better"])
        self.assertEqual([(found["peer"], found["ours_peer"], found["key"]) for found in document["peer_better"]],
                         [("jetstream", "pubsubd-stored", "delivered_per_s")])

    def test_report(self):
        document = document_of({"stored-1": {
            "pubsubd-stored": runs_of(500, p50_us=90, stored=700, read_back=700, **self.KEY),
            "jetstream-always": failed("nats-server: v2.9.10 does not know sync_interval", UNSUPPORTED),
            "sink": runs_of(1000, **self.KEY), "disk": runs_of(2000, **self.KEY)}})
        text = report.markdown(document)
        self.assertIn("## Streams that are kept on the disk", text)
        self.assertIn("What is stored is on ext4 (/dev/vda)", text)
        self.assertNotIn("is no disk", text)
        self.assertIn("JetStream, sync_interval always: cannot: nats-server: v2.9.10 does not know sync_interval", text)
        line = next(line for line in text.splitlines() if "| pubsubd, stored " in line)
        self.assertEqual([cell.strip() for cell in line.strip("|").split("|")][-2:], ["700", "700"])
        self.assertIn("Streams that are kept on the disk", report.closing(document))
        for block in text.split("\n\n"):
            self.assertLessEqual(len({len(line) for line in block.splitlines() if line.startswith("|")}), 1, block)

    def test_memory_is_no_disk(self):
        document = document_of({"stored-1": {"pubsubd-stored": runs_of(500, **self.KEY)}})
        document["machine"] = {**document["machine"], "storage": {"type": "tmpfs", "device": "tmpfs"}}
        self.assertIn("**tmpfs is no disk**", report.markdown(document))

    def test_without_them_there_is_no_section(self):
        self.assertNotIn("## Streams", report.markdown(document_of({"one-16": {"pubsubd-tcp": runs_of(0.02)}})))


class ComparisonTest(unittest.TestCase):
    def test_growth(self):
        found = document_of({"connections-10": {"pubsubd-tcp": runs_of(0.02), "nats": runs_of(0.5)},
                             "connections-10000": {"pubsubd-tcp": runs_of(0.03), "nats": runs_of(1.0)}})["growth"]
        self.assertEqual([growth["title"] for growth in found], ["From 10 to 10,000 connections"])
        self.assertAlmostEqual(found[0]["peers"]["pubsubd-tcp"]["ratio"], 1.5)
        self.assertEqual((found[0]["met"], found[0]["peers"]["nats"]["ratio"]), (True, 2.0))

    def test_growth_beyond_the_limit(self):
        figures = {"cpu_us_alone": 1, "cpu_us_beside": 1.6}
        document = document_of({"stall": {"pubsubd-tcp": [{"status": OK, "run": 1, "took_s": 1, "figures": figures}]}})
        self.assertIs(document["growth"][0]["met"], False)
        self.assertIn("missed", report.growth_table(document))

    def test_where_another_is_better(self):
        found = document_of({"one-64k": {
            "pubsubd-tcp": runs_of(20, 22, delivered_per_s=1000, peak_kib=900, p50_us=5),
            "pubsubd-unix": runs_of(10, delivered_per_s=2000, peak_kib=800),
            "redis-tcp": runs_of(21, 19, delivered_per_s=2000, peak_kib=1000),
            "redis-unix": runs_of(12, delivered_per_s=1000, peak_kib=700),
            "relay-tcp": runs_of(1)}})["peer_better"]
        self.assertEqual([(one["peer"], one["ours_peer"], one["key"], one["spreads_overlap"]) for one in found],
                         [("redis-tcp", "pubsubd-tcp", "cpu_us_per_delivered", True),
                          ("redis-tcp", "pubsubd-tcp", "delivered_per_s", False),
                          ("redis-unix", "pubsubd-unix", "peak_kib", False)])

    def test_latency_is_not_compared_with_another_window(self):
        found = document_of({"one-16": {"pubsubd-tcp": runs_of(0.02, p50_us=100, p99_us=200),
                                        "mosquitto-tcp": runs_of(8.0, p50_us=1, p99_us=2)}})["peer_better"]
        self.assertEqual(found, [])


class ReportTest(unittest.TestCase):
    document = None

    @classmethod
    def setUpClass(cls):
        cls.document = document_of({
            "one-16": {"pubsubd-tcp": runs_of(0.02, 0.022, 0.019, p50_us=40), "pubsubd-unix": runs_of(0.011),
                       "nats": failed("nats-server is not installed"), "redis-tcp": runs_of(1.0),
                       "redis-unix": runs_of(0.9), "mosquitto-tcp": runs_of(8.1, lost=7, delivered=1000),
                       "relay-tcp": runs_of(0.009), "relay-unix": runs_of(0.008)},
            "acked": {"pubsubd-tcp": runs_of(0.1), "pubsubd-unix": runs_of(0.1),
                      "mosquitto-tcp": failed("bench_load: mqtt does not support acked", UNSUPPORTED)},
            "stall": {"pubsubd-tcp": runs_of(0.99, key="ratio", slow_missed=5, slow_told=5),
                      "nats": runs_of(0.1, key="ratio")}})

    def line(self, text, begin):
        return next(line for line in text.splitlines() if line.startswith(f"| {begin}"))

    def test_main_table(self):
        line = self.line(report.main_table(self.document), "1 to 1, 16 B")
        self.assertEqual([cell.strip() for cell in line.strip("|").split("|")], ["1 to 1, 16 B", "0.02 / 0.011", "failed", "1 / 0.9", "8.1†", "0.009 / 0.008",
                                 "at most 0.03 (1/20 of the best)", "50x", "met"])

    def test_spread_table(self):
        self.assertIn("0.019–0.022 / 0.011–0.011", self.line(report.spread_table(self.document), "1 to 1, 16 B"))

    def test_what_failed_is_shown_with_its_reason(self):
        text = report.markdown(self.document)
        self.assertIn("NATS, TCP: 1 of 1 runs failed: nats-server is not installed", text)
        self.assertIn("Mosquitto, TCP: cannot: bench_load: mqtt does not support acked", text)
        self.assertIn("n/a", self.line(report.main_table(self.document), "1 to 1, 64 B, each acknowledged"))

    def test_losses_are_shown(self):
        self.assertRegex(report.markdown(self.document), r"\| 1 to 1, 16 B +\| Mosquitto, TCP +\| +7 \| +1,000 \|")

    def test_quick_and_interrupted_say_so(self):
        document = document_of({"one-16": {"pubsubd-tcp": runs_of(0.02)}}, quick=True)
        text = report.markdown(document)
        self.assertIn("Do not quote its figures", text)
        self.assertIn("This was interrupted", text)
        self.assertIn("quick look", report.closing(document))

    def test_a_busy_machine_is_told(self):
        self.assertNotIn("busy", report.markdown(self.document))
        busy = {**self.document, "machine": {**ABOUT["machine"], "load_before": 3.5}}
        self.assertIn("busy with other work** (load 3.5", report.markdown(busy))

    def test_closing_counts_goals(self):
        self.assertIn("Goals met: 2 of 2.", report.closing(self.document))

    def test_every_table_is_a_rectangle(self):
        for block in report.markdown(self.document).split("\n\n"):
            lines = [line for line in block.splitlines() if line.startswith("|")]
            self.assertLessEqual(len({len(line) for line in lines}), 1, block)

    def test_numbers(self):
        for value, text in ((0, "0"), (0.00912, "0.00912"), (0.0000123, "0.000012"), (5.678, "5.68"), (99.96, "100"),
                            (198.4, "198"), (1234567, "1,234,567"), (None, "–")):
            self.assertEqual(report.short(value), text)


class DocumentTest(unittest.TestCase):
    """The form of results.json."""

    def test_schema(self):
        text = json.dumps(document_of({"one-16": {"pubsubd-tcp": runs_of(0.02), "nats": failed()}}), allow_nan=False)
        document = json.loads(text)
        self.assertEqual(document["schema"], 1)
        for key, kind in (("date", str), ("command", str), ("revision", str), ("machine", dict), ("versions", dict),
                          ("quick", bool), ("complete", bool), ("runs", int), ("peers", dict), ("scenarios", list),
                          ("growth", list), ("peer_better", list)):
            self.assertIsInstance(document[key], kind, key)
        row, = document["scenarios"]
        for key, kind in (("name", str), ("title", str), ("mode", str), ("arguments", dict), ("seconds", float),
                          ("metric", dict), ("goal", str), ("windows", dict), ("settings", dict), ("takes_part", list),
                          ("peers", dict), ("verdict", dict)):
            self.assertIsInstance(row[key], kind, key)
        self.assertEqual(row["peers"]["nats"]["status"], FAILED)
        self.assertEqual(row["peers"]["nats"]["runs"][0]["error"], failed()[0]["error"])
        self.assertEqual(set(row["verdict"]), {"judged", "ours", "best_peer", "best", "times_better", "met", "text"})


class ScenariosTest(unittest.TestCase):
    def test_the_table_is_sound(self):
        names = [scenario.name for scenario in scenarios.SCENARIOS]
        self.assertEqual(len(names), len(set(names)))
        for scenario in scenarios.SCENARIOS:
            with self.subTest(scenario.name):
                self.assertLessEqual(set(scenario.peers), set(peers.PEERS))
                shown = [peer for _, column in report.COLUMNS[scenario.group] for peer in column]
                self.assertLessEqual(set(scenario.peers), set(shown))
                self.assertLessEqual(set(scenario.attacks), set(attack.Attack.RATES))
                if scenario.goal and scenario.goal.times_of:
                    self.assertIn(scenario.goal.times_of[0], names[:names.index(scenario.name)])
                self.assertIn(scenario.judged, scenario.peers)
                self.assertLessEqual(set(scenario.quick_args), set(scenario.args))
                self.assertRegex(scenario.name, r"^[a-z0-9-]+$")
                self.assertNotIn("{", scenario.heading(quick=True))
                programs = {"*", *(peer.program for peer in peers.PEERS.values())}
                self.assertLessEqual({*scenario.windows, *scenario.settings, *scenario.once}, programs)

    def test_growth_names_scenarios(self):
        for growth in scenarios.GROWTH:
            for name, _ in (growth.small, growth.large):
                self.assertIsNotNone(scenarios.by_name(name))

    def test_runs_are_interleaved(self):
        plan = Plan(scenarios.SCENARIOS[:2], ("nats", "redis-tcp"), 2, False)
        self.assertEqual([(step.run, step.scenario.name, step.peer) for step in plan.steps()],
                         [(run, name, peer) for run in (1, 2) for name in ("one-16", "one-256")
                          for peer in ("nats", "redis-tcp")])

    def test_who_needs_long_is_measured_once(self):
        plan = Plan((scenarios.by_name("topics-1m"),), None, 3, False)
        made = [step.peer for step in plan.steps()]
        self.assertEqual((made.count("mosquitto-tcp"), made.count("pubsubd-tcp")), (1, 3))


class ChartTest(unittest.TestCase):
    def script(self, by_peer, name="one-16"):
        document = document_of({name: by_peer})
        return charts.script(document, document["scenarios"][0], "chart.svg")

    def test_all_brokers_are_in_it_and_failures_too(self):
        text = self.script({"pubsubd-tcp": runs_of(0.02, 0.03, 0.04), "nats": failed(), "redis-tcp": runs_of(1.0)})
        self.assertIn("8 0.03 0.02 0.04 ", text)
        self.assertIn('set label "failed"', text)
        self.assertIn('"NATS, TCP" 6', text)
        self.assertIn("set logscale x", text)
        self.assertIn("broker CPU per delivered message, µs (lower is better)", text)

    def test_linear_when_figures_are_close(self):
        self.assertNotIn("logscale", self.script({"pubsubd-tcp": runs_of(20.0, key="p50_us"),
                                                  "relay-tcp": runs_of(18.0, key="p50_us")}, "pingpong-tcp"))

    def test_nothing_to_draw(self):
        self.assertIsNone(self.script({"nats": failed()}))

    def test_without_gnuplot(self):
        with mock.patch("shutil.which", return_value=None):
            drawn, errors = charts.draw(document_of({"one-16": {"nats": runs_of(1.0)}}), "/nonexistent")
        self.assertEqual((drawn, errors), ([], ["gnuplot is not installed, so there are no charts"]))


FAKE_LOAD = r"""#!{python}
import json, os, socket, sys, time
if "--relay" in sys.argv:
    place = socket.socket()
    place.bind(("127.0.0.1", 0))
    print("ready", "tcp://127.0.0.1:%d" % place.getsockname()[1], flush=True)
    time.sleep(1000)
{body}
"""
GOOD = 'print(json.dumps({"cpu_us_per_delivered": 0.5, "lost": 0, "argv": sys.argv[1:]}))'


class MeasureTest(unittest.TestCase):
    """Calls a generator that is a script, with its relay as the broker."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.load = pathlib.Path(directory.name, "load")
        self.plan = Plan((scenarios.by_name("one-16"),), ("relay-tcp",), 1, True)

    def measure(self, body, patience_s=30.0):
        self.load.write_text(FAKE_LOAD.format(python=sys.executable, body=body))
        self.load.chmod(self.load.stat().st_mode | stat.S_IXUSR)
        tools = peers.Tools("/nonexistent/pubsubd", str(self.load))
        scenario = dataclasses.replace(scenarios.by_name("one-16"), patience_s=patience_s)
        return measure.measure(Step(1, scenario, "relay-tcp"), self.plan, tools)

    def test_command_line(self):
        made = self.measure(GOOD)
        words = made["figures"]["argv"]
        self.assertEqual(made["status"], OK)
        options = dict(zip(words[::2], words[1::2]))
        pid, url = options.pop("--pid"), options.pop("--url")
        self.assertEqual(options, {"--protocol": "raw", "--mode": "flow", "--publishers": "1", "--subscribers": "1",
                                   "--topics": "1", "--payload": "16", "--window": str(scenarios.WINDOW),
                                   "--seconds": "0.24", "--warmup": "0.1", "--seed": "1"})
        self.assertRegex(url, r"^tcp://127\.0\.0\.1:\d+$")
        self.assertFalse(os.path.exists(f"/proc/{pid}"), "the broker still runs")

    def test_failures(self):
        for body, status, error in (
                ('sys.exit("bench_load: the broker closed the connection")', FAILED,
                 "bench_load: the broker closed the connection"),
                ('print("bench_load: raw does not support flow", file=sys.stderr); sys.exit(2)', UNSUPPORTED,
                 "bench_load: raw does not support flow"),
                ('print("bench_load: no --mode", file=sys.stderr); sys.exit(2)', FAILED, "bench_load: no --mode"),
                ("sys.exit(3)", FAILED, "the generator ended with exit code 3"),
                ("print('oops')", FAILED, "the generator printed no JSON object: oops"),
                ("pass", FAILED, "the generator printed no JSON object: nothing"),
                ('os.kill(int(sys.argv[sys.argv.index("--pid") + 1]), 9); time.sleep(0.2); ' + GOOD, FAILED,
                 "relay was killed by signal SIGKILL")):
            with self.subTest(body):
                made = self.measure(body)
                self.assertEqual((made["status"], made["error"]), (status, error))

    def test_hangs(self):
        made = self.measure("time.sleep(1000)", patience_s=0.5)
        self.assertEqual(made["status"], FAILED)
        self.assertRegex(made["error"], "^not done after ")

    def test_not_installed(self):
        with mock.patch("shutil.which", return_value=None):
            made = measure.measure(Step(1, self.plan.scenarios[0], "nats"), self.plan, peers.Tools("pubsubd", "load"))
        self.assertEqual((made["status"], made["error"]), (FAILED, "nats-server is not installed"))

    def test_the_bare_disk(self):
        self.load.write_text(FAKE_LOAD.format(python=sys.executable, body=GOOD))
        self.load.chmod(self.load.stat().st_mode | stat.S_IXUSR)
        data = self.load.parent / "data"
        data.mkdir()
        plan = Plan((scenarios.by_name("stored-1"),), ("disk",), 1, True)
        made = measure.measure(Step(1, plan.scenarios[0], "disk"), plan, peers.Tools("pubsubd", str(self.load), str(data)))
        words = made["figures"]["argv"]
        options = dict(zip(words[::2], words[1::2]))
        self.assertEqual(options["--mode"], "disk")
        self.assertNotIn("--pid", options)
        self.assertRegex(options["--url"], rf"^file:{re.escape(str(data))}/.+/disk$")
        self.assertEqual(list(data.iterdir()), [], "what was stored is still there")

    def test_a_server_that_does_not_know_an_option(self):
        server = self.load.parent / "nats-server"
        server.write_text('#!/bin/sh\n[ "$1" = --version ] && echo nats-server: v2.9.10\n'
                          'echo "nats-server: $3:1:1: unknown field \\"sync_interval\\"" >&2\nexit 1\n')
        server.chmod(0o755)
        plan = Plan((scenarios.by_name("stored-1"),), ("jetstream-always",), 1, True)
        with mock.patch("peers.find_program", return_value=str(server)):
            made = measure.measure(Step(1, plan.scenarios[0], "jetstream-always"), plan, peers.Tools("pubsubd", "load"))
        self.assertEqual((made["status"], made["error"]),
                         (UNSUPPORTED, "nats-server: v2.9.10 does not know sync_interval"))

    def test_what_cannot_succeed_is_not_tried_again(self):
        plan = Plan(self.plan.scenarios, ("relay-tcp",), 3, True)
        with mock.patch("measure.measure", side_effect=[{**failed("no", UNSUPPORTED)[0]}]) as called:
            results = measure.run_plan(plan, None, mock.Mock())
        self.assertEqual(called.call_count, 1)
        self.assertEqual([made["run"] for made in results["one-16", "relay-tcp"]], [1, 2, 3])


class CommandLineTest(unittest.TestCase):
    def run_main(self, *words):
        return subprocess.run([sys.executable, str(HERE / "main.py"), *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=False)

    def test_wrong_arguments(self):
        for words, error in ((["--only", "nothing"], "there is no scenario 'nothing'; --list shows them"),
                             (["--peer", "nobody"], "there is no broker 'nobody'; --list shows them"),
                             (["--runs", "0"], "argument --runs: '0' is not a number of runs from 1 to 100; see --help"),
                             (["--what"], "unrecognized arguments: --what; see --help"),
                             (["--only", "acked", "--peer", "nats"],
                              "none of these brokers takes part in any of these scenarios; --list shows who does")):
            with self.subTest(words):
                done = self.run_main(*words)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", f"bench: {error}\n"))

    def test_list(self):
        done = self.run_main("--list")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for name in (*(scenario.name for scenario in scenarios.SCENARIOS), *peers.PEERS):
            self.assertTrue(re.search(rf"^  {name} ", done.stdout, re.MULTILINE), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
