"""The page docs/cluster.md, as a reader would follow it, in a network of its own."""
import pathlib
import sys
import tempfile
import unittest

import brokers
import cluster
import walkthrough

sys.path.insert(0, str(cluster.TOP / "tests" / "network"))
import namespaces  # noqa: E402  of the other directory

GUIDE = cluster.TOP / "docs" / "cluster.md"
BUILD = pathlib.Path(brokers.PUBSUBD).resolve().parents[1]


class Guide(unittest.TestCase):
    def test_page(self):
        cluster.require()
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        trial = f"{cluster.TOP / 'deploy/cluster/trial'} --build {BUILD}"
        walk = walkthrough.Walk(self, directory.name, "tcp://127.0.0.11:7717", paths={"deploy/cluster/trial": trial})
        walk.follow(GUIDE.read_text())
        walk.end()
        self.assertGreater(walk.count, 8)

    def test_links(self):
        self.assertEqual(walkthrough.dead_links(GUIDE), [])


if __name__ == "__main__":
    namespaces.enter_own()
    unittest.main()
