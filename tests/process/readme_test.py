"""The README's tour, as a reader would follow it, with the broker that it says is running; its configurations, code and links."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import brokers
import issuer
import walkthrough
from programs import PATIENCE_S

TOP = pathlib.Path(__file__).resolve().parents[2]
TOUR = "## A short tour"
READMES = TOP / "README.md", TOP / "client-lib" / "README.md"  # whose code and links are looked at


class Readme(unittest.TestCase):
    def setUp(self):
        self.readme = (TOP / "README.md").read_text()
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def test_tour(self):
        start = self.readme.index(TOUR)
        section = self.readme[start:self.readme.index("\n## ", start)]
        with brokers.Broker(arguments=["--durable", "orders/#"]) as broker:
            walk = walkthrough.Walk(self, os.path.join(self.dir, "here"), broker.unix)
            walk.follow(section)
            walk.end()
        self.assertGreater(walk.count, 10)

    def test_nothing_is_unchecked(self):
        for info, _ in walkthrough.blocks(self.readme):
            self.assertIn(info.split()[0], ("c", "console", "ini", "sh", "text"))

    def test_configurations(self):
        path = pathlib.Path(self.dir, "pubsubd.conf")
        found = ["\n".join(lines) for info, lines in walkthrough.blocks(self.readme) if info == "ini"]
        self.assertTrue(found)
        made = issuer.Authority(self.dir, "pubsub").issue("server")
        for name, source in (("server.crt", made.path), ("server.key", made.key), ("clients-ca.crt", made.path)):
            shutil.copy(source, pathlib.Path(self.dir, name))
        pathlib.Path(self.dir, "passwords").touch(0o600)  # they are read, too
        subprocess.run([brokers.PUBSUBD, "token", "new", "ann", "--file", f"{self.dir}/tokens"], check=True,
                       stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
        for text in found:
            if "[access]" not in text:  # which another part says: somebody must be able to come in
                text += "\n[access]\ntokens = /etc/pubsub/tokens\n"
            path.write_text(text.replace("/etc/pubsub/", f"{self.dir}/"))
            subprocess.run([brokers.PUBSUBD, "--check-config", "--config", path], check=True, timeout=PATIENCE_S)

    def test_code_is_a_file_that_is_compiled(self):
        examples = [path.read_text() for path in (TOP / "client-lib" / "examples").glob("*.c")]
        for readme in READMES:
            found = re.findall(r"```c\n(.*?)```", readme.read_text(), re.DOTALL)
            self.assertTrue(found and all(found), readme)
            for code in found:
                self.assertTrue(any(code in example for example in examples), f"not in any example:\n{code}")

    def test_links_lead_somewhere(self):
        for readme in READMES:
            with self.subTest(readme):
                self.assertEqual(walkthrough.dead_links(readme), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
