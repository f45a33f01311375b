"""The dashboard and the alerts ask for what a broker tells: every name in them is on its page, with the labels that they use,
and Prometheus can read every expression."""
import json
import os
import pathlib
import re
import tempfile
import unittest

import brokers
import cluster
import scrape
from raw import MSG, PUB, PUBACK, STORED, SUB, SUBACK, frame, welcomed

TOP = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = TOP / "deploy" / "grafana" / "pubsub.json"
ALERTS = TOP / "deploy" / "prometheus" / "pubsub-alerts.yml"
CONFIG = TOP / "deploy" / "prometheus" / "prometheus.yml"
GUIDE = TOP / "docs" / "metrics.md"
OF_CLUSTERS = "pubsub_cluster_"  # what brokers have that others are joined to
OF_SCRAPES = {"instance", "job"}  # labels that Prometheus adds


def names_in(text):
    """Whole names, not the beginnings that stand before a '*'."""
    return set(re.findall(r"\b(?:pubsub|process)_[a-z0-9_]*[a-z0-9]\b", text))


class DashboardTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """A broker of which every series is there."""
        joined = cls.join()
        broker = scrape.Broker("[stream all]\ntopics = d/#\nmax_bytes = 1m\nmax_messages = 1000\nmax_age = 1d\n" + joined)
        cls.addClassCleanup(broker.stop)
        slow = welcomed(broker.unix, id="slow")
        cls.addClassCleanup(slow.close)
        slow.send(frame(SUB, 1, "t", {"credit": 0}) + frame(SUB, 2, "t", {"credit": 0, "group": "g"}))
        for _ in range(2):
            slow.answer(SUBACK)
        slow.send(frame(PUB, 1, STORED) + frame(MSG, "d/1", None, b"\xc0") + frame(PUB, 0, 0) + frame(MSG, "t", None, b"\xc0"))
        slow.answer(PUBACK)
        cls.page = broker.page(lambda page: page["pubsub_slow_subscriptions"] == 1 and
                               page["pubsub_loop_delay_seconds_count"] > 0 and
                               (not joined or page.get("pubsub_cluster_broker_present", broker="other") == 1))
        cls.labels = {}
        for name, labels in cls.page.values:
            cls.labels.setdefault(name, set()).update(key for key, _ in labels)

    @classmethod
    def join(cls):
        """Configuration that makes a broker meet another one; "": there can be no cluster here, and nothing is asked of it."""
        cls.is_alone = cluster.missing() is not None
        if cls.is_alone:
            return ""
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        cls.addClassCleanup(directory.cleanup)
        server = cluster.Server(0, pathlib.Path(directory.name, "server"))
        server.configure([])
        server.start()
        cls.addClassCleanup(server.kill)
        cluster.wait_for(lambda: server.is_ready(1), "the server is ready")
        other = brokers.Broker(config=f"[cluster]\nname = other\nurl = {server.url}\n")
        cls.addClassCleanup(other.stop)
        return f"[cluster]\nname = this\nurl = {server.url}\n"

    def is_asked(self, name):
        return not (self.is_alone and name.startswith(OF_CLUSTERS))

    def assert_told(self, text, where):
        for name in filter(self.is_asked, names_in(text)):
            self.assertTrue(name in self.labels or name in self.page.types, (name, where))

    def queries(self):
        """Every expression of the dashboard, with how its lines are called."""
        found = []
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            for target in panel.get("targets", []):
                found.append((panel["title"], target["expr"], target.get("legendFormat", "")))
        self.assertGreater(len(found), 30)
        return found

    def test_the_dashboard_asks_for_what_there_is(self):
        for title, expression, legend in self.queries():
            names = names_in(expression)
            self.assertTrue(names, title)
            self.assert_told(expression, title)
            known = set.union(OF_SCRAPES, *(self.labels[name] for name in names)) if all(map(self.is_asked, names)) else None
            if known:
                self.assertLessEqual(set(re.findall(r"\{\{(\w+)\}\}", legend)), known, title)
            self.assertIn('instance=~"$instance"', expression, title)

    def test_the_dashboard_chooses_among_brokers(self):
        variables = {one["name"]: one for one in json.loads(DASHBOARD.read_text())["templating"]["list"]}
        self.assertEqual(sorted(variables), ["datasource", "instance"])
        self.assert_told(variables["instance"]["definition"], "instance")

    def test_no_panel_covers_another(self):
        taken = {}
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
            for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
                self.assertIsNone(taken.get(cell), panel["title"])
                taken[cell] = panel["title"]

    def test_the_alerts_ask_for_what_there_is(self):
        text = ALERTS.read_text()
        self.assertGreater(len(names_in(text)), 8)
        self.assert_told(text, ALERTS)

    def test_the_guide_speaks_of_what_there_is(self):
        text = GUIDE.read_text()
        self.assertGreater(len(names_in(text)), 10)
        self.assert_told(text, GUIDE)

    def test_the_page_is_told_of_in_the_guide(self):
        """Of each family at least its beginning, as pubsub_stream_..."""
        text = GUIDE.read_text()
        for name in self.page.types:
            begins = re.findall(r"`((?:pubsub|process)_[a-z_]*?)_?\*`", text)
            self.assertTrue(name in names_in(text) or any(name.startswith(begin) for begin in begins), name)

    def test_prometheus_reads_the_alerts(self):
        said, code = scrape.promtool("check", "config", str(CONFIG))
        self.assertEqual(code, 0, said)

    def test_prometheus_reads_every_expression(self):
        rules = ["groups:", "  - name: dashboard", "    rules:"]
        for number, (_, expression, _) in enumerate(self.queries()):
            for variable, value in (("$instance", ".*"), ("$__rate_interval", "1m")):
                expression = expression.replace(variable, value)
            rules += [f"      - record: query:{number}", f"        expr: {json.dumps(expression)}"]
        with tempfile.TemporaryDirectory(prefix="pubsub-test-") as directory:
            path = os.path.join(directory, "rules.yml")
            pathlib.Path(path).write_text("\n".join(rules) + "\n")
            said, code = scrape.promtool("check", "rules", path)
        self.assertEqual(code, 0, said)

    def test_every_alert_can_fire_and_stays_quiet_on_this_page(self):
        """With series that are as they should be none fires; with those that are not, each does."""
        bad = {'up{job="pubsub",instance="a"}': "0", 'pubsub_store_failing{job="pubsub",instance="a"}': "1",
               'pubsub_data_filesystem_bytes{job="pubsub",instance="a"}': "100",
               'pubsub_data_filesystem_free_bytes{job="pubsub",instance="a"}': "5",
               'pubsub_lag_seconds{job="pubsub",instance="a"}': "100",
               'pubsub_queued_bytes{job="pubsub",instance="a"}': "90",
               'pubsub_queue_budget_bytes{job="pubsub",instance="a"}': "100",
               'pubsub_stream_bytes{job="pubsub",instance="a",stream="s"}': "95",
               'pubsub_stream_budget_bytes{job="pubsub",instance="a",stream="s"}': "100",
               'pubsub_stream_behind_messages{job="pubsub",instance="a",stream="s"}': "7",
               'pubsub_cluster_connected{job="pubsub",instance="a"}': "0",
               'pubsub_cluster_streams_connected{job="pubsub",instance="a"}': "0",
               'pubsub_cluster_broker_present{job="pubsub",instance="a",broker="b"}': "0",
               'pubsub_connections{job="pubsub",instance="a"}': "95",
               'pubsub_connections_allowed{job="pubsub",instance="a"}': "100"}
        series = {name: f"{value}x60" for name, value in bad.items()}
        series |= {'pubsub_lost_messages_total{job="pubsub",instance="a"}': "0+10x60",
                   'pubsub_refusals_total{job="pubsub",instance="a",limit="max_payload"}': "0+10x60",
                   'pubsub_cluster_holes_total{job="pubsub",instance="a",broker="b"}': "0+1x60",
                   'pubsub_cluster_deferred_answers{job="pubsub",instance="a"}': "0+100x60",
                   'pubsub_stream_stored_messages_total{job="pubsub",instance="a",stream="s"}': "1000x20 5x40",
                   'process_start_time_seconds{job="pubsub",instance="a"}': "7x60",
                   'pubsub_loop_delay_seconds_sum{job="pubsub",instance="a"}': "0+60x60",
                   'pubsub_loop_delay_seconds_count{job="pubsub",instance="a"}': "0+60x60"}
        good = {name: "1000x60" for name in series}
        good |= {name: "0x60" for name in series if re.search("failing|lag|queued|behind|loop_delay_seconds_sum", name)}
        good |= {'pubsub_connections{job="pubsub",instance="a"}': "5x60"}
        alerts = re.findall(r"alert: (\w+)", ALERTS.read_text())
        for values, count in ((series, 1), (good, 0)):
            self.promtool_counts(alerts, values, count)

    def test_a_broker_that_began_anew_has_lost_no_stream(self):
        one = '{job="pubsub",instance="a"'
        series = {f'pubsub_stream_stored_messages_total{one},stream="s"}}': "1000x20 5x40",
                  f"process_start_time_seconds{one}}}": "7x20 8x40"}
        self.promtool_counts(["PubsubStreamWentBack"], series, 0)

    def test_each_connection_to_the_cluster_is_watched(self):
        one = '{job="pubsub",instance="a"'
        for connected, streams in ((0, 1), (1, 0), (0, 0)):
            series = {f"pubsub_cluster_connected{one}}}": f"{connected}x60",
                      f"pubsub_cluster_streams_connected{one}}}": f"{streams}x60"}
            self.promtool_counts(["PubsubClusterAway"], series, 1)

    def promtool_counts(self, alerts, series, count):
        lines = ["rule_files:", f"  - {ALERTS}", "evaluation_interval: 1m", "tests:", "  - interval: 1m", "    input_series:"]
        for name, values in series.items():
            lines += [f"      - series: {json.dumps(name)}", f"        values: {json.dumps(values)}"]
        lines += ["    promql_expr_test:"]
        for alert in alerts:
            samples = f"[{{labels: 'alerts', value: {count}}}]" if count else "[]"
            expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
            lines += [f"      - expr: {json.dumps(expression)}", "        eval_time: 30m",
                      f"        exp_samples: {samples}".replace("'alerts'", json.dumps("{}"))]
        with tempfile.TemporaryDirectory(prefix="pubsub-test-") as directory:
            path = os.path.join(directory, "tests.yml")
            pathlib.Path(path).write_text("\n".join(lines) + "\n")
            said, code = scrape.promtool("test", "rules", path)
        self.assertEqual(code, 0, said)


if __name__ == "__main__":
    unittest.main()
