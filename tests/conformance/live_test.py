"""The broker's vectors, over sockets, against the real broker."""
import glob
import os
import subprocess
import sys
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "process"))
from brokers import PUBSUBD, Broker  # noqa: E402

VECTORS = os.environ["VECTORS"]
TIMEOUT_S = 1700


class VectorsTest(unittest.TestCase):
    def play(self, *how):
        files = sorted(glob.glob(os.path.join(TOP, "proto", "vectors", "broker-*.txt")))
        result = subprocess.run([VECTORS, *how, *files], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                timeout=TIMEOUT_S, text=True)
        lines = result.stdout.splitlines()
        bad = [line for line in lines if line.startswith("not ok")]
        self.assertEqual((result.returncode, bad), (0, []))
        self.assertGreater(len(lines), 100)


class SharedBrokerTest(VectorsTest):
    def test_unix(self):
        with Broker() as broker:
            self.play("--connect", broker.unix)

    def test_tcp(self):
        with Broker() as broker:
            self.play("--connect", broker.tcp)


class OwnBrokerTest(VectorsTest):
    def test_streams_and_restarts(self):
        self.play("--start", PUBSUBD)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
