"""Follows a page of documentation as a reader would, in terminals: every command is run, and what it prints compared.

What a fenced block is, says the word behind its three backticks:
  console             The first terminal, one shell from the page's beginning to its end. A line that begins with `$ ` is a command,
                      `> ` goes on with it, the others are what it prints, on stdout and stderr together.
  console broker      Another terminal, whose last command runs a broker that says that it is ready. It goes on.
  console waits N     Another terminal, whose last command makes N subscriptions and ends while the next block is run.
  console stays N     Another terminal, whose last command makes N subscriptions, or none, and goes on until the end of the page.
  LANGUAGE FILE       What the reader writes into FILE, which he runs if it begins with `#!`.
  ini                 A part of a configuration; `pubsubd --check-config` has nothing to say about it.
  sh                  Commands that change the reader's system: nobody runs them here.
  text, json, yaml    What something looks like.
In what is printed `…` stands for anything within a line, and on a line of its own for any lines.

Nothing sleeps: a relay between the commands and the broker sees when a subscription holds."""
import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time

import msgpack

import brokers
import raw
from programs import PATIENCE_S, PUBSUB

END = "\x1eended\x1e\n"
# One command after the other from a descriptor, which they don't inherit, in this shell itself.
SHELL = f"while IFS= read -r -d '' -u %d __; do eval \"$__\" %d<&-; printf '{END[:-1]}\\n'; done 2>&1"


def blocks(text):
    """The fenced blocks of a Markdown text, as (info string, lines)."""
    found, info, lines = [], None, []
    for line in text.splitlines():
        if info is None and line.startswith("```"):
            info, lines = line[3:].strip(), []
        elif info is not None and line == "```":
            found.append((info, lines))
            info = None
        elif info is not None:
            lines.append(line)
    if info is not None:
        raise AssertionError(f"a block '{info}' has no end")
    return found


def commands(lines):
    """The commands of a console block, each with the lines that it prints."""
    found = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = f"{found[-1][0]}\n{line[2:]}", []
        else:
            found[-1][1].append(line)
    return found


def pattern(expected):
    """The regular expression of what is printed."""
    return "".join(r"(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n" for line in expected)


def heading_anchors(text):
    """What links to the headings of a page end with, as they are shown on the web."""
    return {re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-") for line in text.splitlines()
            if line.startswith("#")}


def dead_links(page):
    """The links of a page (a path) that lead to no file, or to no heading."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?ms)^```.*?^```$", "", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or anchor and anchor not in heading_anchors(file.read_text()):
            dead.append(target)
    return dead


class Relay:
    """Stands between the commands and the broker, to see when a subscription holds."""

    def __init__(self, url, path):
        self.url = url
        self.subscribed = threading.Semaphore(0)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client:
            try:
                server = raw.open_socket(self.url)
            except OSError:
                return  # no broker is there, and no other answer than that
            with server:
                server.settimeout(None)
                unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
                back = threading.Thread(target=self._carry, args=(server, client, unpacker), daemon=True)
                back.start()
                self._carry(client, server, None)
                back.join()

    def _carry(self, source, sink, unpacker):
        try:
            while data := source.recv(1 << 16):
                if unpacker:  # counted before the command can know of it, and end: see forget()
                    unpacker.feed(data)
                    for frame in unpacker:
                        if frame[0] == raw.SUBACK and frame[2] == 0:
                            self.subscribed.release()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side has gone: the other finds out by itself

    def forget(self):
        """Subscriptions of commands that have ended are not those that are waited for next."""
        while self.subscribed.acquire(blocking=False):
            pass

    def close(self):
        self.listener.close()


class Terminal:
    """A shell that is given commands, and what is printed there."""

    def __init__(self, directory, environment):
        commands_end, self.commands = os.pipe()
        self.process = subprocess.Popen(["bash", "-c", SHELL % (commands_end, commands_end)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        cwd=directory, env=environment, pass_fds=(commands_end,), start_new_session=True)
        os.close(commands_end)
        self.printed = ""

    def enter(self, command):
        self.printed = ""
        os.write(self.commands, command.encode() + b"\0")

    def read_until(self, reached):
        """Reads on until `reached` of what was printed since the last command is true, or the shell has ended, or patience;
        returns whether it is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached(self.printed) and (left := deadline - time.monotonic()) > 0:
            if select.select([self.process.stdout], [], [], left)[0]:
                more = os.read(self.process.stdout.fileno(), 1 << 16)
                if not more:
                    break
                self.printed += more.decode(errors="replace")
        return reached(self.printed)

    def end(self, how=signal.SIGKILL):
        """Sends the signal to all that it has started."""
        os.close(self.commands)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
            if how != signal.SIGKILL:
                self.read_until(lambda _: False)
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.stdout.close()
        self.process.wait()


class Walk:
    """One page, followed in `directory` by a test.

    broker: the URL of the broker that stands for the default one in all terminals.
    environment: more for the terminals.
    paths: what stands for what in commands and files, as {"/etc/pubsub": "/tmp/..."}; it is turned back in what is printed.
    """

    def __init__(self, test, directory, broker, environment=(), paths=()):
        self.test, self.directory, self.paths = test, directory, dict(paths)
        self.count = 0  # of commands that were run
        self.terminals, self.staying = [], []
        self.waiting = None
        os.makedirs(directory, exist_ok=True)
        programs = dict.fromkeys(os.path.dirname(path) for path in (PUBSUB, brokers.PUBSUBD))
        relay = os.path.join(directory, ".relay")
        self.environment = {**os.environ, "PATH": ":".join([*programs, os.environ["PATH"]]), "LC_ALL": "C.UTF-8",
                            "PUBSUB_URL": f"unix:{relay}", **dict(environment)}
        self.relay = Relay(broker, relay)
        test.addCleanup(self.end)
        self.first = self.terminal()

    def end(self):
        for terminal in self.terminals:
            terminal.end()
        self.terminals = []
        self.relay.close()

    def terminal(self):
        self.terminals.append(Terminal(self.directory, self.environment))
        return self.terminals[-1]

    def here(self, text):
        for path, ours in self.paths.items():
            text = text.replace(path, ours)
        return text

    def there(self, text):
        for path, ours in self.paths.items():
            text = text.replace(ours, path)
        return text

    def follow(self, text):
        for info, lines in blocks(text):
            word, *more = info.split()
            if info == "console":
                for command, expected in commands(lines):
                    self.run(self.first, command, expected)
                self.finish_waiting()
            elif word == "console":
                *before, (command, expected) = commands(lines)
                self.begin(more, before, command, expected)
            elif info == "ini":
                self.check("\n".join(lines) + "\n")
            elif len(more) == 1:
                self.write(more[0], "\n".join(lines) + "\n")
            else:
                self.test.assertIn(info, ("sh", "text", "json", "yaml"), "a block that nothing checks")
        self.finish_waiting()
        for terminal, command, expected in self.staying:
            with self.test.subTest(command):
                terminal.read_until(lambda printed: re.fullmatch(pattern(expected), self.there(printed)))
                self.compare(command, expected, self.there(terminal.printed))

    def run(self, terminal, command, expected):
        with self.test.subTest(command):
            terminal.enter(self.here(command))
            self.finish(terminal, command, expected)

    def finish(self, terminal, command, expected):
        self.count += 1
        ended = terminal.read_until(lambda printed: printed.endswith(END))
        printed = self.there(terminal.printed)
        if not ended:
            self.test.fail(f"'{command}' did not end; it printed: {printed[-2000:]}")
        self.compare(command, expected, printed[:-len(END)])

    def compare(self, command, expected, printed):
        if printed and not printed.endswith("\n"):
            printed += "\n"  # which nobody can see, before the next prompt
        if not re.fullmatch(pattern(expected), printed):
            self.test.fail(f"'{command}' printed:\n{printed}not:\n" + "\n".join(expected))

    def begin(self, how, before, command, expected):
        terminal = self.terminal()
        for earlier in before:
            self.run(terminal, *earlier)
        self.relay.forget()
        terminal.enter(self.here(command))
        if how == ["broker"]:
            self.count += 1
            if not terminal.read_until(lambda printed: re.search("^ready ", printed, re.MULTILINE)):
                self.test.fail(f"'{command}' was never ready; it printed: {terminal.printed}")
            self.compare(command, expected, self.there(terminal.printed))
            return
        what, number = how
        for _ in range(int(number)):
            if not self.relay.subscribed.acquire(timeout=PATIENCE_S):
                terminal.read_until(lambda _: True)
                self.test.fail(f"'{command}' never subscribed; it printed: {terminal.printed}")
        if what == "stays":
            self.count += 1
            self.staying.append((terminal, command, expected))
        else:
            self.test.assertEqual((what, self.waiting), ("waits", None))
            self.waiting = terminal, command, expected

    def finish_waiting(self):
        if self.waiting:
            with self.test.subTest(self.waiting[1]):
                self.finish(*self.waiting)
        self.waiting = None

    def check(self, configuration):
        """That a broker would start with it."""
        self.write(".part.conf", configuration)
        with self.test.subTest(configuration):
            done = subprocess.run([brokers.PUBSUBD, "--check-config", "--config", ".part.conf"], cwd=self.directory,
                                  env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S)
            self.test.assertEqual((done.stderr, done.returncode), ("", 0))

    def write(self, name, text):
        path = os.path.join(self.directory, self.here(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(self.here(text))
        if text.startswith("#!"):
            os.chmod(path, 0o755)
