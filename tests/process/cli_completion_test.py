"""Completion in real shells on a terminal: what is typed, with Tab, is what a command gets."""
import os
import pty
import re
import shutil
import subprocess
import tempfile
import unittest

from programs import PUBSUB, PATIENCE_S, CliTest, eventually, fresh_topic, run_without_broker

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "cli", "completion")
TAB = "\t"
MEAN = ("mean/1$(touch harm)", "mean/2`touch harm`", "mean/3'; touch harm; '", 'mean/4"; touch harm; "', "mean/5\\!!\\",
        "mean/6; touch harm;")

# In place of the program, which is only asked for candidates: notes its arguments, one a line, and a last line. It waits half a
# second for the broker's, which is little for a busy machine: so it is asked again when there are none, several times.
NOTING = """pubsub() {
    if [ "$1" != __complete ]; then
        { printf '%s\\n' "$@" && echo over; } > "$NOTES"
        return
    fi
    local answer try
    for try in 1 2 3 4 5; do
        answer=$(command "$PUBSUB" "$@")
        case $answer in *[!a-z]*) break ;; esac
    done
    printf '%s\\n' "$answer"
}
"""
BASH = NOTING + """PS1='' PS2=''
bind 'set bell-style none' 2>/dev/null
"""
ZSH = NOTING + """PS1='' PS2='' RPS1=''
unsetopt BEEP PROMPT_SP
fpath=("$SCRIPTS" $fpath)
autoload -Uz compinit && compinit -u -D
"""


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, command, setup, environment):
        self.dir = tempfile.mkdtemp(prefix="pubsub-test-")
        self.notes = os.path.join(self.dir, "notes")
        script = os.path.join(self.dir, "setup")
        with open(script, "w") as file:
            file.write(setup)
        self.terminal, other = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, cwd=self.dir, start_new_session=True,
            env={**os.environ, "PUBSUB": os.path.abspath(PUBSUB), "NOTES": self.notes, "HOME": self.dir, "TERM": "xterm",
                 "SCRIPTS": os.path.abspath(SCRIPTS), "LC_ALL": "C.UTF-8", "HISTFILE": "", **environment})
        os.close(other)
        os.set_blocking(self.terminal, False)
        self.shown = b""
        self.type(f". {script} && pubsub set up\n")
        self.arguments()

    def type(self, text):
        os.write(self.terminal, text.encode())

    def is_noted(self):
        try:
            self.shown += os.read(self.terminal, 65536)  # or it would wait for us to look
        except (BlockingIOError, OSError):
            pass
        try:
            with open(self.notes) as file:
                return file.read().endswith("over\n")
        except FileNotFoundError:
            return False

    def arguments(self):
        """What the command that was typed got."""
        if not eventually(self.is_noted):
            raise AssertionError(f"no command was run; the terminal shows {self.shown!r}")
        with open(self.notes) as file:
            arguments = file.read().split("\n")[:-2]
        os.unlink(self.notes)
        return arguments

    def stop(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)
        os.close(self.terminal)
        shutil.rmtree(self.dir, ignore_errors=True)


class Completion(CliTest):
    BROKER = {"config": "[stream kept]\ntopics = kept/#\n"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for topic in ("shop/orders/new", "shop/clock:utc", "odd/with blank", "odd/it's", "ctl/\x1b[2J", "ctl/\u202eb", *MEAN):
            done = run_without_broker("pub", "-s", cls.url, "-r", topic, "x")
            assert done.code == 0, done.stderr

    def shell(self, name):
        commands = {"bash": (["bash", "--norc", "--noprofile", "-i"], BASH + '. "$SCRIPTS/pubsub.bash"\n'),
                    "bash, with its package": (["bash", "--norc", "--noprofile", "-i"],
                                               BASH + '. /usr/share/bash-completion/bash_completion\n'
                                                      '. "$SCRIPTS/pubsub.bash"\n'),
                    "zsh": (["zsh", "-f", "-i"], ZSH)}
        command, setup = commands[name]
        if not shutil.which(command[0]):
            self.skipTest(f"{command[0]} is not installed")
        if "package" in name and not os.path.exists("/usr/share/bash-completion/bash_completion"):
            self.skipTest("bash-completion is not installed")
        shell = Shell(command, setup, {"PUBSUB_URL": self.url, "XDG_CONFIG_HOME": self.broker.dir})
        self.addCleanup(shell.stop)
        return shell

    def check(self, name):
        shell = self.shell(name)
        self.subscriber("listened/to", ready="listened/to")
        self.subscriber("listened/pat/+", ready="listened/pat/x")
        with open(os.path.join(shell.dir, "letter with blank.txt"), "w"):
            pass
        self.assertEqual(run_without_broker("context", "add", "--replace", "plant", "-s", self.url,
                                            XDG_CONFIG_HOME=self.broker.dir).code, 0)
        for typed, wanted in (
                # commands, those of commands, options, their values
                (f"be{TAB}", ["bench"]),
                (f"stream ex{TAB}", ["stream", "export"]),
                (f"pub --ret{TAB} t x", ["pub", "--retain", "t", "x"]),
                (f"pub --ack sto{TAB} t x", ["pub", "--ack", "stored", "t", "x"]),
                (f"pub --ack=sto{TAB} t x", ["pub", "--ack=stored", "t", "x"]),
                (f"sub --retained on{TAB} t", ["sub", "--retained", "only", "t"]),
                (f"bench lat{TAB}", ["bench", "latency"]),
                (f"-c pl{TAB} get t", ["-c", "plant", "get", "t"]),
                (f"help stream inf{TAB}", ["help", "stream", "info"]),
                # topics
                (f"get shop/o{TAB}", ["get", "shop/orders/new"]),
                (f"-c plant pub shop/o{TAB} x", ["-c", "plant", "pub", "shop/orders/new", "x"]),
                (f"sub shop/clock:u{TAB}", ["sub", "shop/clock:utc"]),
                (f"pub listened/t{TAB} x", ["pub", "listened/to", "x"]),
                (f"pub listened/p{TAB}y x", ["pub", "listened/py", "x"]),
                (f"sub listened/p{TAB}", ["sub", "listened/pat/+"]),
                (f"stream info ke{TAB}", ["stream", "info", "kept"]),
                (f"sub odd/w{TAB}", ["sub", "odd/with blank"]),
                (f"sub 'odd/w{TAB}", ["sub", "odd/with blank"]),
                (f"sub odd/i{TAB}", ["sub", "odd/it's"]),
                # what nobody can read is not offered; it would drive the terminal
                (f"sub ctl/{TAB}x", ["sub", "ctl/x"]),
                # files, not of this program's making
                (f"pub --file let{TAB} t", ["pub", "--file", "letter with blank.txt", "t"]),
                # nothing fits
                (f"pub --nothing{TAB} t", ["pub", "--nothing", "t"])):
            shell.type(f"pubsub {typed}\n")
            # A blank behind a word that is over, and one more: an open quote is closed by who typed it.
            self.assertEqual([word for word in shell.arguments() if word], wanted, f"{name}: {typed!r}")

    def check_mean(self, name, in_quotes):
        """A topic is anybody's text: as it is put into the line, it must mean nothing to the shell. in_quotes: what a topic
        holds is escaped within quotes, too, which are closed then; else such topics are not offered there."""
        shell = self.shell(name)
        for topic in MEAN:
            for quote in ("", "'", '"'):
                start = topic[:len("mean/1")]
                offered = in_quotes or not set(topic) & set({"": "", "'": "'", '"': '$`"\\!'}[quote])
                shell.type(f"pubsub get {quote}{start}{TAB}{'' if offered else quote}\n")
                self.assertEqual(shell.arguments(), ["get", topic if offered else start], f"{name}: {quote}{start}")
                self.assertFalse(os.path.exists(os.path.join(shell.dir, "harm")), f"{name}: {quote}{topic}")

    def test_bash_takes_no_topic_for_commands(self):
        self.check_mean("bash", in_quotes=False)

    def test_zsh_takes_no_topic_for_commands(self):
        self.check_mean("zsh", in_quotes=True)

    def test_bash(self):
        self.check("bash")

    def test_bash_with_its_package(self):
        self.check("bash, with its package")

    def test_zsh(self):
        self.check("zsh")


class Candidates(CliTest):
    """What the program answers, for each option of each command."""

    def complete(self, *words):
        done = self.run_cli("__complete", *words)
        self.assertEqual((done.stderr, done.code), ("", 0), words)
        mode, *candidates = done.stdout.decode().splitlines()
        self.assertIn(mode, ("words", "open", "files"), words)
        return [line.partition("\t")[0] for line in candidates]

    def options(self, *command):
        """Each, and whether it has a value. Those of the connection are the same for all commands."""
        text = run_without_broker(*command, "--help").stdout.decode().partition("\nExamples")[0]
        if command != ("pub",):
            text = re.sub(r"(?ms)^Connection.*?(?=^  -h, )", "", text)
        found = re.findall(r"(?m)^ {2,6}(?:-\w, )?(--?[\w-]+)( \S+)?", text)
        return [(option, bool(value) and not value.startswith(" [")) for option, value in found]

    def check(self, *command):
        options = self.options(*command)
        offered = self.complete(*command, "-")
        self.assertLessEqual({option for option, _ in options}, set(offered))
        for option, has_value in options:
            if has_value:
                self.complete(*command, option, "")
            if option.startswith("--") and has_value:
                for candidate in self.complete(*command, f"{option}="):
                    self.assertTrue(candidate.startswith(f"{option}="), candidate)

    def test_each_option_of_each_command(self):
        commands = self.complete("")
        self.assertIn("pub", commands)
        for command in commands:
            deeper = self.complete(command, "") if command in ("stream", "context") else []
            for words in [[command], *([command, name] for name in deeper)]:
                self.check(*words)

    def test_what_takes_one_of_several_words_offers_them(self):
        self.assertEqual(self.complete("sub", "--policy", "d"), ["drop_old", "drop_new"])
        self.assertEqual(self.complete("sub", "--policy", "block", "--then", ""), ["drop_old", "drop_new", "close"])
        self.assertEqual(self.complete("sub", "--scope", ""), ["local", "cluster"])
        self.assertEqual(self.complete("sub", "-o", "j"), ["json"])
        self.assertEqual(self.complete("bench", ""), ["pub", "sub", "fan", "latency"])

    def test_nothing_is_done_meanwhile(self):
        """Whatever stands before, nothing is published, waited for, or kept."""
        topic = fresh_topic()
        self.complete("pub", "-r", topic, "x", "")
        self.complete("pub", "-r", "--", topic, "x", "")
        self.complete("sub", "--last", "5")
        self.complete("sub", "--last", "5", topic, "-")
        self.assertEqual(self.run_cli("get", topic).code, 1)
        self.complete("context", "add", "made", "-s", self.url, "")
        self.complete("context", "use", "--none", "")
        self.assertNotIn("made", self.complete("-c", ""))

    def test_without_a_broker_there_are_just_no_topics(self):
        self.assertEqual(self.complete("-s", "unix:/nonexistent/s", "sub", "a"), [])
        self.assertEqual(self.complete("-s", "nonsense", "sub", "a"), [])

    def test_behind_what_is_wrong_something_can_follow(self):
        self.assertEqual(self.complete("pub", "--nonsense", "--ack", "many", "--reta"), ["--retain"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
