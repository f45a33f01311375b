"""The guide of docs/device.md, as a reader would follow it: all of its commands in one shell, with what they print; its
configuration is checked, its code is that of the examples.

In a `console` block a line that begins with `$ ` is a command, `> ` goes on with it, the others are what it prints; `…` stands for
anything within a line."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import brokers
import issuer
from programs import PATIENCE_S, SANITIZED
from readme_test import TOP, blocks

GUIDE = TOP / "docs" / "device.md"
BUILD = pathlib.Path(os.environ.get("PUBSUB_BUILD", "."))
MARK = "----- that was command"


def commands(text):
    found = []
    for info, lines in blocks(text):
        if info != "console":
            continue
        for line in lines:
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> "):
                found[-1] = f"{found[-1][0]}\n{line[2:]}", []
            else:
                found[-1][1].append(line)
    return found


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
        (self.dir / "client-lib").symlink_to(TOP / "client-lib")
        found = commands(self.text)
        self.assertGreater(len(found), 30)
        script = "".join(f"{command}\necho '{MARK}'\n" for command, _ in found)
        shell = subprocess.Popen(["bash", "-c", f"exec 2>&1\n{script}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 text=True, cwd=self.dir, env=self.install(), start_new_session=True)
        try:
            said, _ = shell.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            self.fail(f"the guide did not come to its end; the last of it: {(error.stdout or b'')[-2000:]}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)  # what the guide has started and not ended
            shell.communicate()
        parts = said.split(f"{MARK}\n")
        self.assertEqual(len(parts), len(found) + 1, said[-2000:])
        for (command, expected), printed in zip(found, parts):
            with self.subTest(command):
                pattern = "".join(".*".join(map(re.escape, line.split("…"))) + "\n" for line in expected)
                self.assertRegex(printed, rf"\A{pattern}\Z")

    def test_configuration(self):
        (text,) = ["\n".join(lines) for info, lines in blocks(self.text) if info == "ini"]
        made = issuer.Authority(self.dir, "pubsub").issue("server")
        shutil.copy(made.path, self.dir / "server.crt")
        shutil.copy(made.key, self.dir / "server.key")
        subprocess.run([brokers.PUBSUBD, "token", "new", "attic", "--file", self.dir / "tokens"], check=True,
                       stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
        path = self.dir / "pubsubd.conf"
        path.write_text(text.replace("/etc/pubsub/", f"{self.dir}/"))
        subprocess.run([brokers.PUBSUBD, "--check-config", "--config", path], check=True, timeout=PATIENCE_S)

    def test_code_is_that_of_the_examples(self):
        found = ["\n".join(lines) for info, lines in blocks(self.text) if info == "c"]
        self.assertGreater(len(found), 2)
        examples = [path.read_text() for path in (TOP / "client-lib/examples").glob("*.c")]
        for code in found:
            self.assertTrue(any(code in example for example in examples), f"not in any example:\n{code}")

    def test_nothing_is_unchecked(self):
        self.assertEqual({info for info, _ in blocks(self.text)}, {"console", "c", "ini"})
        links = re.findall(r"\]\(([^)]+)\)", self.text)
        headings = {re.sub(r"[^a-z ]", "", line.lower()).strip().replace(" ", "-") for line in self.text.splitlines()
                    if line.startswith("#")}
        for link in links:
            if link.startswith("#"):
                self.assertIn(link[1:], headings)
            else:
                self.assertTrue((GUIDE.parent / link).exists(), link)


if __name__ == "__main__":
    unittest.main(verbosity=2)
