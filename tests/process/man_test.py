"""The pages of the manual: one for each command, made of what it says of itself, and a formatter finds nothing wrong."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from brokers import PUBSUBD
from programs import PATIENCE_S, PUBSUB

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
EXAMPLE = os.path.join(TOP, "deploy", "pubsubd.conf")
PROTOCOL = os.path.join(TOP, "proto", "PROTOCOL.md")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout


def options_of(text):
    """Those that stand at the begin of a line, as an option's own."""
    return set(re.findall(r"(?m)^ +(?:-\w, )?(--?[\w-]+)", text))


@unittest.skipUnless(shutil.which("mandoc"), "mandoc is not installed")
class Manual(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="pubsub-test-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.pages_in = os.path.join(cls.dir, "man")
        lowdown = shutil.which("lowdown")
        run(sys.executable, os.path.join(TOP, "docs", "man", "make_pages.py"), PUBSUB, PUBSUBD, EXAMPLE, "1.2.3", cls.pages_in,
            *([lowdown, PROTOCOL] if lowdown else []))
        cls.pages = {name: os.path.join(place, name) for place, _, names in os.walk(cls.pages_in) for name in names}

    def shown(self, name):
        """As a reader has it, wide enough that nothing is broken into lines."""
        text = run("mandoc", "-T", "ascii", "-O", "width=500", self.pages[name])
        return re.sub(r".\x08", "", text)

    def commands(self, *of):
        _, _, listed = run(PUBSUB, *of, "--help").partition("\nCommands, each with --help of its own\n")
        for name in re.findall(r"(?m)^  (\w+)  +\w", listed.partition("\n\n")[0]):
            yield (*of, name)
            yield from self.commands(*of, name)

    def test_a_formatter_finds_nothing_wrong(self):
        for name, path in self.pages.items():
            found = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True, text=True,
                                   timeout=PATIENCE_S)
            self.assertEqual((found.stdout, found.returncode), ("", 0), name)

    def test_each_command_has_a_page(self):
        commands = list(self.commands())
        self.assertIn(("stream", "export"), commands)
        wanted = {f"pubsub-{'-'.join(words)}.1" for words in commands} | {
            "pubsub.1", "pubsubd.8", "pubsubd-token.8", "pubsubd.conf.5"}
        self.assertEqual(set(self.pages) - {"mps.7"}, wanted)
        for words in commands:
            self.check_command(words)

    def check_command(self, words):
        text = self.shown(f"pubsub-{'-'.join(words)}.1")
        said = run(PUBSUB, *words, "--help")
        self.assertEqual(options_of(text), options_of(said.partition("\nExamples")[0]), words)
        for example in said.partition("\nExamples\n")[2].partition("\n\n")[0].splitlines():
            self.assertIn(example.strip(), text)
        # No word is lost: what the help says stands there, though in other lines.
        squeezed = re.sub(r"\s+", " ", text)
        for line in said.partition("\nExamples")[0].splitlines()[2:]:
            if line == "Options" or line.startswith("Commands, each "):
                continue  # the page's own headings stand there instead
            for part in re.split(r" {2,}", line.strip()):
                self.assertIn(re.sub(r"\s+", " ", part), squeezed, words)
        for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"):
            self.assertRegex(text, f"(?m)^{heading}$")

    def test_pages_that_are_referred_to_exist(self):
        for name in self.pages:
            also = self.shown(name).partition("\nSEE ALSO\n")[2].rpartition("\n\n")[0]
            for page, section in re.findall(r"([\w.-]+)\((\d)\)", also):
                self.assertIn(f"{page}.{section}", self.pages, name)

    def test_the_broker(self):
        self.assertEqual(options_of(self.shown("pubsubd.8")), options_of(run(PUBSUBD, "--help")))

    def test_each_key_of_the_configuration_is_told(self):
        text = self.shown("pubsubd.conf.5")
        with open(EXAMPLE) as file:
            example = file.read()
        for line in re.findall(r"(?m)^(?:# )?\w+ = .*$", example):
            self.assertIn(line.removeprefix("# "), text)
        for section in set(re.findall(r"(?m)^\[.*\]$", example)):
            self.assertIn(f"\n{section}\n", text)

    @unittest.skipUnless(shutil.which("lowdown"), "lowdown is not installed")
    def test_the_protocol(self):
        text = self.shown("mps.7")
        with open(PROTOCOL) as file:
            headings = re.findall(r"(?m)^## (.*)$", file.read())
        self.assertGreater(len(headings), 10)
        for heading in headings:
            self.assertIn("\n" + heading.upper() + "\n", text)
        self.assertIn("2^53 - 1", text)

    def test_man_finds_them(self):
        if not shutil.which("man"):
            self.skipTest("man is not installed")
        text = subprocess.run(["man", "-M", self.pages_in, "pubsub", "pub"], capture_output=True, text=True,
                              timeout=PATIENCE_S, env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
        # "man pubsub pub" is what man-db makes of it: the page of the command.
        self.assertIn("PUBSUB-PUB(1)", text.stdout, text.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
