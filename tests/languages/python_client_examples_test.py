"""client-lib/python's example programs, the README's first program, and its types, as somebody who tries them out would see them."""
import asyncio
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

import brokers
import pubsub
from programs import PATIENCE_S, Program, eventually

CLIENT = pathlib.Path(pubsub.__file__).resolve().parent


class Examples(unittest.TestCase):
    def setUp(self):
        self.broker = brokers.Broker(arguments=("--durable", "site/#"))
        self.addCleanup(self.broker.stop)

    def start(self, *command):
        program = Program([sys.executable, *map(str, command)], env={**os.environ, "PUBSUB_URL": self.broker.unix, "INTERVAL_S": "0.01"})
        self.addCleanup(program.stop)
        return program

    def ended(self, program):
        self.assertEqual((program.wait(), program.stderr()), (0, ""))
        return program.stdout().decode()

    def test_sensor_and_worker(self):
        sensor, worker = CLIENT / "examples" / "sensor.py", CLIENT / "examples" / "worker.py"
        first = self.start(worker, "ann", "site/#")
        self.assertTrue(eventually(lambda: b"ready" in first.stdout()), first.stderr())
        self.assertEqual(self.ended(self.start(sensor, "site/a/load", "3")), "3 readings are stored\n")
        self.assertTrue(eventually(lambda: first.stdout().count(b"\n") == 4), first.stdout())
        first.process.kill()
        first.wait()
        asyncio.run(self.publish_bytes())
        self.assertEqual(self.ended(self.start(sensor, "site/a/load", "2")), "2 readings are stored\n")
        lines = self.ended(self.start(worker, "ann", "site/#", "3")).splitlines()
        fresh = [line for line in lines[1:] if int(re.match(r"\S+ (\d+):", line).group(1)) > 3]  # others came twice: it was killed
        self.assertRegex(fresh[0], r"^site/a/load 4: the payload is of content type 0")
        for line in fresh[1:]:
            self.assertRegex(line, r"^site/a/load [56]: \{'number': [01], 'load': ")

    async def publish_bytes(self):
        async with pubsub.connect(self.broker.unix, connect_timeout=PATIENCE_S) as client:
            await client.publish("site/a/load", raw=b"\xc1", ack=pubsub.Ack.STORED)

    def test_the_readmes_first_program(self):
        code = re.search(r"```python\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL).group(1)
        self.assertIn('"tcp://127.0.0.1:7717"', code)
        path = pathlib.Path(self.broker.dir) / "program.py"
        path.write_text(code.replace("tcp://127.0.0.1:7717", self.broker.tcp))
        self.assertEqual(self.ended(self.start(path)), "site/a/temp {'t': 21.5}\n")


class Types(unittest.TestCase):
    def test_strictly(self):
        if not shutil.which("mypy"):
            self.skipTest("mypy is not installed")
        files = [CLIENT / "pubsub.py", *(CLIENT / "examples").glob("*.py")]
        done = subprocess.run(["mypy", "--strict", "--no-incremental", *map(str, files)], capture_output=True, text=True, timeout=10 * PATIENCE_S,
                              env={**os.environ, "MYPYPATH": str(CLIENT)})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
