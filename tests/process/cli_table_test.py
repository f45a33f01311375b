"""The command line as a table: command, standard input, standard output, standard error, exit code. The files in cli_table/
hold it; each has a broker of its own, which its cases meet in their order."""
import os
import re
import subprocess
import unittest

import brokers
from programs import PATIENCE_S, PUBSUB

HERE = os.path.dirname(os.path.abspath(__file__))
TABLES = os.path.join(HERE, "cli_table")
BROKER = """[stream kept]
topics = kept/#
[stream full]
topics = full/#
max_messages = 1
on_full = refuse
[limits]
max_payload = 64k
"""


class Case:
    """    $ COMMAND   run by a shell, where `pubsub` is what was built; the following lines are about it
        < LINE      of its standard input, which is empty without
        > LINE      of its standard output; >~ REGEX: a line that matches it; >| TEXT: without a newline at its end
        ! LINE      of its standard error; !~ REGEX
        = CODE      its exit code; 0 without
    Other lines are comments."""

    def __init__(self, place, command):
        self.place, self.command, self.code = place, command, 0
        self.stdin, self.stdout, self.stderr = "", "", ""

    def add(self, kind, text):
        """A line. Returns whether it is one of a case."""
        if kind == "<":
            self.stdin += text + "\n"
        elif kind in (">", "!"):
            self.expect(kind, re.escape(text) + "\n")
        elif kind in (">~", "!~"):
            self.expect(kind, text + "\n")
        elif kind == ">|":
            self.expect(kind, re.escape(text))
        elif kind == "=":
            self.code = int(text)

    def expect(self, kind, regex):
        if kind[0] == ">":
            self.stdout += regex
        else:
            self.stderr += regex


def read_table(name):
    cases = []
    with open(os.path.join(TABLES, name), encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            kind, _, text = line.rstrip("\n").partition(" ")
            if kind == "$":
                cases.append(Case(f"{name}:{number}", text))
            elif cases:
                cases[-1].add(kind, text)
    return cases


TABLE_NAMES = sorted(name for name in os.listdir(TABLES) if name.endswith(".txt"))


def environment(url, directory):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PUBSUB_")}
    return {**clean, "PATH": f"{os.path.dirname(PUBSUB)}:{os.environ['PATH']}", "PUBSUB_URL": url, "LC_ALL": "C.UTF-8",
            "XDG_CONFIG_HOME": directory, "TZ": "UTC"}


class Tables(unittest.TestCase):
    """One test for each file, made below."""

    def play(self, name):
        with brokers.Broker(config=BROKER) as broker:
            for case in read_table(name):
                with self.subTest(case.place, command=case.command):
                    self.check(case, environment(broker.unix, broker.dir))

    def check(self, case, env):
        done = subprocess.run(["sh", "-c", case.command], input=case.stdin.encode(), capture_output=True,
                              timeout=PATIENCE_S, env=env, cwd=env["XDG_CONFIG_HOME"])
        stdout, stderr = done.stdout.decode("utf-8", "backslashreplace"), done.stderr.decode("utf-8", "backslashreplace")
        self.assertRegex(stdout, rf"\A{case.stdout}\Z", f"{case.place}: stdout; stderr: {stderr}")
        self.assertRegex(stderr, rf"\A{case.stderr}\Z", f"{case.place}: stderr")
        self.assertEqual(done.returncode, case.code, case.place)


def table_test(name):
    def test(self):
        self.play(name)
    return test


for table in TABLE_NAMES:
    setattr(Tables, f"test_{table.removesuffix('.txt').replace('-', '_')}", table_test(table))


class Complete(unittest.TestCase):
    """What --help names is used by a test of the command line."""

    def help(self, *command):
        done = subprocess.run([PUBSUB, *command, "--help"], capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual((done.returncode, done.stderr), (0, ""), command)
        return done.stdout

    def commands(self):
        """All, as lists of words; those of a command that has some of its own, too."""
        found = []
        for name in self.listed(self.help()):
            found.append([name])
            text = self.help(name)
            if "COMMAND ..." in text.splitlines()[0]:
                found.extend([name, sub] for sub in self.listed(text))
        return found

    @staticmethod
    def listed(text):
        """The commands that a help lists, each at the begin of a line with two spaces before and its summary behind."""
        before = text.split("\n\nOptions\n")[0].split("\n\nConnection")[0].split("\n\nExamples\n")[0]
        return re.findall(r"(?m)^  ([a-z]+)  +\S", before)

    @staticmethod
    def options(text):
        """Each in all its forms, but for those of the connection, which all commands have."""
        mine = re.sub(r"(?ms)^Connection.*?\n\n", "", text)
        both = re.findall(r"(?m)^  (-\w)(?:, (--[a-z-]+))? |^      (--[a-z-]+)", mine)
        return [[form for form in forms if form] for forms in both]

    def test_options(self):
        used = {}
        for name in TABLE_NAMES:
            for case in read_table(name):
                for command, rest in re.findall(r"pubsub ([a-z]+)(.*)", case.command):
                    used.setdefault(command, set()).update(re.findall(r"(?<!\S)(-\w|--[a-z-]+)", rest))
        elsewhere = ""
        for name in os.listdir(HERE):
            if name.startswith("cli") and name.endswith("_test.py"):
                with open(os.path.join(HERE, name), encoding="utf-8") as file:
                    elsewhere += file.read()
        commands = self.commands()
        self.assertGreater(len(commands), 10)
        for command in commands:
            for forms in self.options(self.help(*command)):
                here = "--help" in forms or used.get(command[0], set()).intersection(forms)
                self.assertTrue(here or any(re.search(rf'["\' ]{form}["\'= ]', elsewhere) for form in forms),
                                f"no test uses {' or '.join(forms)} of {' '.join(command)}")

    def test_commands(self):
        tables = "\n".join(case.command for name in TABLE_NAMES for case in read_table(name))
        for command in self.commands():
            self.assertIn(f"pubsub {' '.join(command)}", tables)


if __name__ == "__main__":
    unittest.main(verbosity=2)
