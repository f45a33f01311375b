"""The guide of docs/device.md, as a reader would follow it: all of its commands, with what they print; its configuration is
checked, its code is that of the examples."""
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
from programs import PATIENCE_S, SANITIZED

TOP = pathlib.Path(__file__).resolve().parents[2]
GUIDE = TOP / "docs" / "device.md"
BUILD = pathlib.Path(os.environ.get("PUBSUB_BUILD", "."))


class Guide(unittest.TestCase):
    def setUp(self):
        self.text = GUIDE.read_text()
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)

    def install(self):
        """The library, as somebody who follows the guide has it. Returns the environment of his shell."""
        prefix = self.dir / "installed"
        subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL,
                       timeout=PATIENCE_S)
        libraries = next(path.parent for path in prefix.rglob("libpubsub.so"))
        programs = self.dir / "programs"
        programs.mkdir()
        if SANITIZED:
            compiler = programs / "cc"
            compiler.write_text(f'#!/bin/sh\nexec {shutil.which("cc")} -fsanitize=address,undefined "$@"\n')
            compiler.chmod(0o755)
        return {**os.environ, "PATH": f"{programs}:{prefix}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8",
                "PKG_CONFIG_PATH": str(libraries / "pkgconfig"), "LD_LIBRARY_PATH": str(libraries)}

    def test_commands(self):
        environment = self.install()
        (self.dir / "client-lib").symlink_to(TOP / "client-lib")
        walk = walkthrough.Walk(self, self.dir, f"unix:{self.dir}/device/broker.sock", environment=environment)
        walk.follow("".join(re.findall(r"(?ms)^```console.*?^```\n", self.text)))
        walk.end()
        self.assertGreater(walk.count, 30)

    def test_configuration(self):
        (text,) = ["\n".join(lines) for info, lines in walkthrough.blocks(self.text) if info == "ini"]
        made = issuer.Authority(self.dir, "pubsub").issue("server")
        shutil.copy(made.path, self.dir / "server.crt")
        shutil.copy(made.key, self.dir / "server.key")
        subprocess.run([brokers.PUBSUBD, "token", "new", "attic", "--file", self.dir / "tokens"], check=True,
                       stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
        path = self.dir / "pubsubd.conf"
        path.write_text(text.replace("/etc/pubsub/", f"{self.dir}/"))
        subprocess.run([brokers.PUBSUBD, "--check-config", "--config", path], check=True, timeout=PATIENCE_S)

    def test_code_is_that_of_the_examples(self):
        found = ["\n".join(lines) for info, lines in walkthrough.blocks(self.text) if info == "c"]
        self.assertGreater(len(found), 2)
        examples = [path.read_text() for path in (TOP / "client-lib/examples").glob("*.c")]
        for code in found:
            self.assertTrue(any(code in example for example in examples), f"not in any example:\n{code}")

    def test_nothing_is_unchecked(self):
        self.assertEqual({info for info, _ in walkthrough.blocks(self.text)}, {"console", "c", "ini"})
        self.assertEqual(walkthrough.dead_links(GUIDE), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
