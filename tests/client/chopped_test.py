"""The client's programs with every call for bytes cut to 1 to 64 of them, or failed by a signal or for now: they say the
same as without."""
import os
import pathlib
import subprocess
import unittest

import brokers
from programs import PATIENCE_S, SANITIZED, scaled

PROGRAMS = pathlib.Path(os.environ.get("PUBSUB_CLIENT_PROGRAMS", "."))
EXAMPLES = pathlib.Path(os.environ.get("PUBSUB_EXAMPLES", "."))
PUBSUB = os.environ.get("PUBSUB", "pubsub")
SEEDS = range(1, 1 + scaled(10, 2))


def chopped(seed):
    """The environment of a program whose bytes travel so."""
    first = os.environ.get("PUBSUB_PRELOAD_FIRST")
    libraries = ([first] if first else []) + [str(PROGRAMS / "libchop_preload.so")]
    more = {"ASAN_OPTIONS": "verify_asan_link_order=0"} if SANITIZED and not first else {}
    return {"LD_PRELOAD": ":".join(libraries), "CHOP_SEED": str(seed), **more}


def run(*command, stdin=None, **environment):
    """(what it printed, what it complained of, its exit code)"""
    done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True, timeout=PATIENCE_S,
                          env={**os.environ, **environment})
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), done.returncode


class Chopped(unittest.TestCase):
    def setUp(self):
        self.broker = brokers.Broker(arguments=["--durable", "sensors/#", "--durable", "kept/#"])
        self.addCleanup(self.broker.stop)

    def test_the_scenario(self):
        whole = run(PROGRAMS / "client_scenario", self.broker.unix, "whole")
        self.assertEqual(whole[1:], ("", 0))
        self.assertTrue(whole[0].endswith("\n405 messages, 30 answers, 268 settled\n"), whole[0][-100:])
        for url in self.broker.unix, self.broker.tcp:
            for seed in SEEDS:
                with self.subTest(url=url, seed=seed):
                    said = run(PROGRAMS / "client_scenario", url, "whole", **chopped(seed))
                    self.assertEqual(said[1:], ("", 0))
                    self.assertEqual(said[0].splitlines(), whole[0].splitlines())

    def test_the_bytes_are_chopped(self):
        """Else nothing here would say anything."""
        report = os.path.join(self.broker.dir, "report")
        run(PROGRAMS / "client_scenario", self.broker.unix, CHOP_REPORT=report, **chopped(1))
        with open(report) as file:
            cut, failed = map(int, file.read().split())
        self.assertGreater(cut, 1000)
        self.assertGreater(failed, 100)

    def test_the_examples(self):
        count = scaled(200, 50)
        for seed in SEEDS:
            with self.subTest(seed=seed):
                environment = {"PUBSUB_URL": self.broker.tcp, **chopped(seed)}
                name = f"s{seed}"
                source, outbox = os.path.join(self.broker.dir, "source"), os.path.join(self.broker.dir, name)
                with open(source, "w") as file:
                    file.write("21500\n")
                out, err, code = run(EXAMPLES / "example_sensor", name, source, outbox, 1, count, **environment)
                self.assertEqual((err, code), ("", 0))
                self.assertTrue(out.endswith(f"\n{count} stored, 0 lost, 0 wait in {outbox}\n"), out[-200:])
                kept = run(PUBSUB, "sub", "-s", self.broker.unix, "--all", "--until-live", "-F", "%{at} %{value}",
                           f"sensors/{name}")[0]
                self.assertEqual(kept.splitlines(), out.splitlines()[:-1])
                out, err, code = run(EXAMPLES / "example_replay", f"sensors/{name}", **environment)
                self.assertEqual((err, code), ("", 0))
                self.assertEqual(out.count(f" sensors/{name} "), count)

    def test_the_command_line(self):
        lines = "".join(f"line {n}\n" for n in range(scaled(300, 50)))
        for seed in SEEDS:
            topic = f"kept/cli/{seed}"
            self.assertEqual(run(PUBSUB, "pub", "-s", self.broker.tcp, "--ack", "stored", "-l", topic,
                                 stdin=lines.encode(), **chopped(seed)), ("", "", 0))
            self.assertEqual(run(PUBSUB, "sub", "-s", self.broker.tcp, "-o", "payload", "--all", "--until-live", topic,
                                 **chopped(seed)), (lines, "", 0))


if __name__ == "__main__":
    unittest.main(verbosity=2)
