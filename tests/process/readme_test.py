"""The README's tour, as a reader would follow it: every command in it is run, and what it prints compared.

A block that begins with three backticks and `console` is one terminal: a line that begins with `$ ` is a command, the
others are what it prints, on stdout and stderr together. A block of `console waits N` is another terminal: its one
command, which makes N subscriptions, goes on while the next block is run; what it printed is compared after that.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

import brokers
import issuer
import msgpack
import raw

TOP = pathlib.Path(__file__).resolve().parents[2]
SECTIONS = {"## A five-minute tour": [], "## Durable streams": ["--durable", "orders/#"]}  # arguments of the broker
READMES = TOP / "README.md", TOP / "client-lib" / "README.md"  # whose code and links are looked at
COMMAND_S = 60


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
    return found


def commands(lines):
    """The commands of a console block, each with the lines that it prints."""
    found = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


class Relay:
    """Stands between the commands and the broker, to see when a subscription holds: so nothing has to sleep."""

    def __init__(self, url, path):
        self.url = url
        self.subscribed = threading.Semaphore(0)
        self.listener = raw.socket.socket(raw.socket.AF_UNIX)
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
        with client, raw.open_socket(self.url) as server:
            server.settimeout(None)
            unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
            back = threading.Thread(target=self._carry, args=(server, client, unpacker), daemon=True)
            back.start()
            self._carry(client, server, None)
            back.join()

    def _carry(self, source, sink, unpacker):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
                if unpacker:
                    unpacker.feed(data)
                    for frame in unpacker:
                        if frame[0] == raw.SUBACK and frame[2] == 0:
                            self.subscribed.release()
            sink.shutdown(raw.socket.SHUT_WR)
        except OSError:
            pass  # one side has gone: the other finds out by itself

    def forget(self):
        """Subscriptions of commands that have ended are not those that are waited for next."""
        while self.subscribed.acquire(blocking=False):
            pass

    def close(self):
        self.listener.close()


class Readme(unittest.TestCase):
    def setUp(self):
        self.readme = (TOP / "README.md").read_text()
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def serve(self, arguments):
        broker = brokers.Broker(arguments=arguments)
        self.addCleanup(broker.stop)
        path = os.path.join(broker.dir, "relay")
        self.relay = Relay(broker.unix, path)
        self.addCleanup(self.relay.close)
        programs = os.path.dirname(os.environ["PUBSUB"])
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PUBSUB_URL": f"unix:{path}",
                            "LC_ALL": "C.UTF-8"}

    def start(self, command):
        process = subprocess.Popen(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, env=self.environment, cwd=self.dir,
                                   start_new_session=True)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def finish(self, process, command, expected):
        try:
            printed, _ = process.communicate(timeout=COMMAND_S)
        except subprocess.TimeoutExpired as error:
            self.fail(f"'{command}' did not end; it printed: {error.stdout}")
        self.assertEqual(printed.splitlines(), expected, f"of '{command}'")

    def test_sections(self):
        for title, arguments in SECTIONS.items():
            with self.subTest(title):
                start = self.readme.index(title)
                self.serve(arguments)
                self.follow(self.readme[start:self.readme.index("\n## ", start + 1)])

    def follow(self, section):
        run, waiting = 0, None
        for info, lines in blocks(section):
            if info.startswith("console waits "):
                (command, expected), = commands(lines)
                self.relay.forget()
                waiting = self.start(command), command, expected
                for _ in range(int(info.split()[2])):
                    self.assertTrue(self.relay.subscribed.acquire(timeout=COMMAND_S), f"'{command}' never subscribed")
                run += 1
            elif info == "console":
                for command, expected in commands(lines):
                    with self.subTest(command):
                        self.finish(self.start(command), command, expected)
                    run += 1
                if waiting:
                    with self.subTest(waiting[1]):
                        self.finish(*waiting)
                waiting = None
            else:
                self.assertIn(info, ("c", "ini", "sh"), "a block that nothing checks")
        self.assertIsNone(waiting)
        self.assertGreater(run, 5)

    def test_configurations(self):
        path = pathlib.Path(self.dir, "pubsubd.conf")
        found = ["\n".join(lines) for info, lines in blocks(self.readme) if info == "ini"]
        self.assertTrue(found)
        made = issuer.Authority(self.dir, "pubsub").issue("server")
        for name, source in (("server.crt", made.path), ("server.key", made.key), ("clients-ca.crt", made.path)):
            shutil.copy(source, pathlib.Path(self.dir, name))
        pathlib.Path(self.dir, "passwords").touch(0o600)  # they are read, too
        subprocess.run([brokers.PUBSUBD, "token", "new", "ann", "--file", f"{self.dir}/tokens"], check=True,
                       stdout=subprocess.DEVNULL, timeout=COMMAND_S)
        for text in found:
            if "[access]" not in text:  # which another part says: somebody must be able to come in
                text += "\n[access]\ntokens = /etc/pubsub/tokens\n"
            path.write_text(text.replace("/etc/pubsub/", f"{self.dir}/"))
            subprocess.run([brokers.PUBSUBD, "--check-config", "--config", path], check=True, timeout=COMMAND_S)

    def test_code_is_a_file_that_is_compiled(self):
        examples = [path.read_text() for path in (TOP / "client-lib" / "examples").glob("*.c")]
        for readme in READMES:
            found = re.findall(r"```c\n(.*?)```", readme.read_text(), re.DOTALL)
            self.assertTrue(found and all(found), readme)
            for code in found:
                self.assertTrue(any(code in example for example in examples), f"not in any example:\n{code}")

    def test_links_lead_somewhere(self):
        for readme in READMES:
            targets = re.findall(r"\]\(([^)#]+)\)", readme.read_text())
            self.assertTrue(targets, readme)
            for target in targets:
                self.assertTrue((readme.parent / target).exists(), target)


if __name__ == "__main__":
    unittest.main(verbosity=2)
