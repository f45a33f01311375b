"""A device's outbox file: its program is killed again and again, at any moment, and sometimes the broker is, too. All that
was accepted is stored once."""
import os
import pathlib
import random
import subprocess
import time
import unittest

import brokers
from programs import CliTest, Program, eventually, scaled

WRITER = pathlib.Path(os.environ.get("PUBSUB_CLIENT_PROGRAMS", ".")) / "client_writer"
APART = 1_000_000  # between the first numbers of two starts


class Restart(CliTest):
    BROKER = {"arguments": ["--durable", "kept/#"]}

    def setUp(self):
        self.random = random.Random(self.id())
        self.accepted = []

    def run_and_kill(self, file, sync, first):
        writer = Program([WRITER, self.broker.unix, file, sync, str(first)])
        try:
            if self.broker.process.poll() is None:  # else what is left from before may fill the outbox
                self.assertTrue(eventually(lambda: writer.stdout() or writer.process.poll() is not None))
            time.sleep(self.random.uniform(0, 0.05))  # any moment: nothing depends on which
            self.assertIsNone(writer.process.poll(), writer.stderr())
            writer.process.kill()
            writer.process.wait()
            lines = writer.stdout().decode().splitlines()
            self.accepted += [int(line) for line in lines]
        finally:
            writer.stop()

    def finish(self, file, sync):
        done = subprocess.run([WRITER, self.broker.unix, file, sync], capture_output=True, text=True, timeout=300)
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("0 refused\n", "", 0))

    def stored(self):
        return [int(line) for line in self.ok("sub", "-o", "payload", "--all", "--until-live", "kept/numbers").split()]

    def live(self, sync, kill_broker):
        before = len(self.stored())
        file = os.path.join(self.broker.dir, f"outbox-{sync}-{kill_broker}")
        rounds, with_broker = scaled(40, 6), 0
        for turn in range(rounds):
            if kill_broker and turn % 5 == 1:
                self.broker.kill()
            else:
                with_broker += 1
            self.run_and_kill(file, sync, 1 + turn * APART)
            if self.broker.process.poll() is not None:
                self.broker.start()
        self.finish(file, sync)
        numbers = self.stored()[before:]
        self.assertGreaterEqual(len(self.accepted), with_broker)  # one each, where a sync takes long
        self.assertEqual(len(numbers), len(set(numbers)), "something is stored twice")
        self.assertEqual(set(self.accepted) - set(numbers), set(), "something that was accepted is lost")
        self.assertEqual(numbers, sorted(numbers))
        # Of each start at most the one that was being accepted when it was killed.
        self.assertLessEqual(len(set(numbers) - set(self.accepted)), rounds)
        self.finish(file, sync)  # which has nothing to do any more
        self.assertEqual(self.stored()[before:], numbers)

    def test_each_is_synced(self):
        self.live("each", False)

    def test_batches_are_synced(self):
        self.live("batch", False)

    def test_the_broker_dies_too(self):
        self.live("batch", True)

    def test_the_broker_dies_too_and_each_is_synced(self):
        self.live("each", True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
