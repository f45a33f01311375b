"""`pubsub check`: what a monitor is told, by a line and by the exit code."""
import contextlib
import re
import signal
import subprocess
import unittest

import brokers
import mps_client
from programs import PUBSUB, CliTest, Program, eventually, run_without_broker

OK, WARNING, CRITICAL, UNKNOWN = range(4)
NUMBER = r"-?\d+(?:\.\d+)?"
# label=value[unit];[warning];[critical];[least];[most]: what Nagios' guidelines say of performance data
PERFORMANCE = re.compile(rf"[a-z_]+={NUMBER}(?:s|%|c|);{NUMBER}:?;(?:{NUMBER}:?)?;{NUMBER}(?:;{NUMBER})?")
SAMPLE = re.compile(rf'([a-z_]+)(?:\{{[a-z]+="[a-z]+"\}})? {NUMBER}(?:e-\d+)?')


class CheckTest(CliTest):
    def check(self, code, *arguments, url=None):
        """It ends with this code. Returns its output."""
        done = run_without_broker("check", "-s", url or self.url, *arguments)
        self.assertEqual(done.code, code, (arguments, done))
        if code == UNKNOWN:
            self.assertRegex(done.stderr, r"\Apubsub: [^\n]+\n\Z")
        else:
            self.assertEqual(done.stderr, "")
        return done.stdout.decode()

    def nagios(self, code, *arguments, url=None):
        """The text and the performance data of the one line."""
        line = self.check(code, "-o", "nagios", *arguments, url=url)
        self.assertEqual(line.count("\n"), 1)
        text, bar, performance = line.rstrip("\n").partition(" | ")
        for word in performance.split():
            self.assertRegex(word, rf"\A{PERFORMANCE.pattern}\Z")
        self.assertEqual(bool(bar), code != UNKNOWN)
        name = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[code]
        self.assertTrue(text.startswith(f"PUBSUB {name} - "), text)
        return text[len(f"PUBSUB {name} - "):], performance.split()

    def sleeper(self, broker, pattern, max_msgs=2, **options):
        """A subscription that takes nothing, so that what matches it waits, until the end of a `with`."""
        reader = mps_client.Client(broker.unix, **options)
        reader.subscribe(1, pattern, credit=0, max_msgs=max_msgs)
        return contextlib.closing(reader.socket)


class Limits(CheckTest):
    def test_all_is_well(self):
        with brokers.Broker() as broker:
            self.assertEqual(self.check(OK, url=broker.unix), "ok: 0 % of the memory for queues is taken; no lag\n")

    def test_lag_and_who_has_it(self):
        with brokers.Broker() as broker, self.sleeper(broker, "lag/#", id="sleepy"):
            self.check(OK, "--lag", "100ms,1h", url=broker.unix)
            run_without_broker("pub", "-s", broker.unix, "lag/1", "x")
            late = lambda *limits: run_without_broker("check", "-s", broker.unix, *limits)
            self.assertTrue(eventually(lambda: late("--lag", "300ms,1h").code == WARNING))
            self.assertTrue(eventually(lambda: late("--lag", "10ms,500ms").code == CRITICAL))
            self.assertRegex(self.check(CRITICAL, "--lag", "10ms,500ms", url=broker.unix),
                             r"\Acritical: a lag of [0-9.]+m?s of client 'sleepy', pattern 'lag/#'\n\Z")
            self.check(WARNING, "--lag", "500ms", url=broker.unix)
            self.check(OK, url=broker.unix, *["--lag", "1h"])

    def test_lost_messages(self):
        with brokers.Broker() as broker, self.sleeper(broker, "loss"):
            for _ in range(5):
                run_without_broker("pub", "-s", broker.unix, "loss", "x")
            self.assertEqual(self.check(WARNING, "--lost", "3,4", url=broker.unix), "warning: 3 messages lost\n")
            self.check(CRITICAL, "--lost", "1,3", url=broker.unix)
            self.check(OK, "--lost", "4", url=broker.unix)
            self.assertEqual(self.check(OK, "--lost", "1", "--within", "200ms", url=broker.unix),
                             "ok: 0 messages lost in 0.2 s\n")
            publisher = Program([PUBSUB, "pub", "-s", broker.unix, "-n", "10000000", "--rate", "1000", "loss", "x"])
            self.addCleanup(publisher.stop)
            losing = lambda: run_without_broker("check", "-s", broker.unix, "--lost", "1,2", "--within", "300ms").code
            self.assertTrue(eventually(lambda: losing() == CRITICAL))
            publisher.stop()

    def test_memory_for_queues(self):
        config = "[limits]\nqueue_total_bytes = 8m\n"
        with brokers.Broker(config=config) as broker, self.sleeper(broker, "memory", max_msgs=1000):
            for _ in range(6):
                run_without_broker("pub", "-s", broker.unix, "--ack", "routed", "memory", "x" * 100000)
            self.check(OK, "--memory", "30", url=broker.unix)
            self.assertRegex(self.check(WARNING, "--memory", "5,30", url=broker.unix),
                             r"\Awarning: (?:[5-9]|[12]\d) % of the memory for queues is taken\n\Z")
            self.check(CRITICAL, "--memory", "2,5", url=broker.unix)

    def test_the_worst_comes_first(self):
        with brokers.Broker() as broker, self.sleeper(broker, "worst"):
            for _ in range(3):
                run_without_broker("pub", "-s", broker.unix, "worst", "x")
            self.assertEqual(self.check(CRITICAL, "--memory", "90", "--lag", "1h", "--lost", "1,1", url=broker.unix)
                             .split("; ")[0], "critical: 1 message lost")

    def test_the_disk_of_what_is_kept(self):
        with brokers.Broker(config="[stream kept]\ntopics = kept/#\n") as broker:
            self.assertRegex(self.check(OK, "--disk", "0", url=broker.unix), r"\Aok: \d+ % of the disk is free\n\Z")
            self.check(CRITICAL, "--disk", "100,100", url=broker.unix)
            self.check(WARNING, "--disk", "100", url=broker.unix)
            self.assertIn("of the disk is free", run_without_broker("check", "-s", broker.unix).stdout.decode())
        self.check(UNKNOWN, "--disk", "10")  # nothing is kept here


class Forms(CheckTest):
    def test_nagios(self):
        text, performance = self.nagios(OK)
        self.assertEqual([word.partition("=")[0] for word in performance], ["queue_memory", "input_memory", "lag"])
        self.assertIn("memory", text)
        text, performance = self.nagios(OK, "--lost", "1000000,2000000", "--lag", "1h")
        self.assertRegex(performance[0], r"\Alag=[0-9.]+s;3600;;0\Z")
        self.assertRegex(performance[1], r"\Alost=\d+c;1000000;2000000;0\Z")
        _, performance = self.nagios(OK, "--lost", "1000000", "--within", "1ms")
        self.assertEqual(performance, ["lost=0;1000000;;0"])

    def test_nagios_and_the_names_of_others(self):
        with brokers.Broker() as broker, self.sleeper(broker, "a|b=1;/\x1b]0;x\x07/\u202e/#", id="c|d"):
            run_without_broker("pub", "-s", broker.unix, "a|b=1;/\x1b]0;x\x07/\u202e/1", "x")
            late = lambda: run_without_broker("check", "-s", broker.unix, "--lag", "1ms").code
            self.assertTrue(eventually(lambda: late() == WARNING))
            text, performance = self.nagios(WARNING, "--lag", "1ms", url=broker.unix)
            self.assertEqual(len(performance), 1)
            self.assertTrue(text.isprintable())
            self.assertIn(r"c\x7cd", text)

    def test_nagios_when_nothing_is_known(self):
        text, _ = self.nagios(UNKNOWN, url=f"unix:{self.broker.dir}/no|body")
        self.assertRegex(text, r"\Acannot connect to [^|]+\Z")

    def test_prometheus(self):
        samples = self.check(OK, "-o", "prometheus", "--lag", "1h", "--memory", "90", "--lost", "1000000").splitlines()
        names = {SAMPLE.fullmatch(line)[1] for line in samples if not line.startswith("#")}
        self.assertEqual(names, {"pubsub_check_status", "pubsub_check_memory_ratio", "pubsub_check_lag_seconds",
                                 "pubsub_check_lost_total"})
        for name in names:
            self.assertEqual(sum(line.startswith(f"# TYPE {name} ") for line in samples), 1)
            self.assertEqual(sum(line.startswith(f"# HELP {name} ") for line in samples), 1)
        self.assertIn("pubsub_check_status 0", samples)
        unknown = self.check(UNKNOWN, "-o", "prometheus", url=f"unix:{self.broker.dir}/nobody")
        self.assertIn("\npubsub_check_status 3\n", unknown)


class Unknown(CheckTest):
    def test_usage(self):
        for arguments in (["--memory", "101"], ["--memory", "80,70"], ["--memory", "80,"], ["--memory", "nan"],
                          ["--memory", ""], ["--lag", "x"], ["--lag", "10s,5s"], ["--lost", "0"], ["--lost", "-1"],
                          ["--disk", "5,10"], ["--within", "1s"], ["--lost", "1", "--within", "0"], ["-o", "xml"],
                          ["--lagg", "1s"], ["surplus"], ["--lag"], ["--memory", "1" * 1000]):
            self.assertEqual(self.check(UNKNOWN, *arguments), "", arguments)

    def test_nobody_there(self):
        self.assertEqual(self.check(UNKNOWN, url=f"unix:{self.broker.dir}/nobody"), "")

    def test_it_needs_the_right_sys(self):
        config = "[access]\n[user watcher]\ngroups = watchers\n[group watchers]\nrights = sys\n"
        with brokers.Broker(config=config) as broker:
            text, _ = self.nagios(UNKNOWN, url=broker.tcp)
            self.assertIn("sys", text)

    def test_the_broker_goes_meanwhile(self):
        with brokers.Broker() as broker:
            waiting = Program([PUBSUB, "check", "-s", broker.unix, "--lost", "1", "--within", "1h", "-o", "nagios"])
            self.addCleanup(waiting.stop)
            page = lambda: run_without_broker("status", "--over", "0", "-s", broker.unix).stdout.decode()
            self.assertTrue(eventually(lambda: re.search("^connections +2$", page(), re.MULTILINE)))
            broker.process.send_signal(signal.SIGTERM)
            self.assertEqual(waiting.wait(), UNKNOWN)
            self.assertTrue(waiting.stdout().startswith(b"PUBSUB UNKNOWN - "))

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PUBSUB, "check", "-s", self.url], stdout=full, stderr=subprocess.PIPE, timeout=120)
        self.assertEqual(done.returncode, UNKNOWN)
        self.assertIn(b"cannot write to standard output", done.stderr)

    def test_a_signal(self):
        waiting = Program([PUBSUB, "check", "-s", self.url, "--lost", "1", "--within", "1h"])
        self.addCleanup(waiting.stop)
        self.assertTrue(eventually(lambda: waiting.handles(signal.SIGTERM)))
        waiting.process.send_signal(signal.SIGTERM)
        self.assertEqual((waiting.wait(), waiting.stdout()), (128 + signal.SIGTERM, b""))


if __name__ == "__main__":
    unittest.main()
