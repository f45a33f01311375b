"""A service manager for the tests, as systemd is one: it opens the sockets and keeps them while brokers come and go, hands
them over (LISTEN_FDS), and is told how the broker is (NOTIFY_SOCKET)."""
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import brokers

TOLD_S = 60  # a sanitized broker on a busy machine takes its time

# Becomes the broker, with the descriptors that are listed first at 3 and up.
BECOME = """
import os, sys
given, command = [int(n) for n in sys.argv[1].split(",") if n], sys.argv[2:]
high = [os.dup2(fd, 100 + i) for i, fd in enumerate(given)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(len(given)), LISTEN_PID=str(os.getpid()), WATCHDOG_PID=str(os.getpid()))
os.execv(command[0], command)
"""


class Manager:
    """sockets: those that it hands over; tcp() and unix() open more. dir goes away with it."""

    def __init__(self, abstract=False):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="pubsub-test-"))
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify_name = f"@pubsub-test-{os.getpid()}-{self.dir.name}" if abstract else str(self.dir / "notify")
        self.told.bind("\0" + self.notify_name[1:] if abstract else self.notify_name)
        self.sockets = []
        self.process = None
        self.stderr_path = self.dir / "stderr"

    def tcp(self):
        """Opens a socket at a free port. Returns its URL."""
        self.sockets.append(socket.create_server(("127.0.0.1", 0), backlog=4096))
        return "tcp://127.0.0.1:%d" % self.sockets[-1].getsockname()[1]

    def unix(self):
        self.sockets.append(socket.socket(socket.AF_UNIX))
        path = str(self.dir / f"s{len(self.sockets)}")
        self.sockets[-1].bind(path)
        self.sockets[-1].listen(4096)
        return "unix:" + path

    def start(self, *arguments, **environment):
        """Starts a broker, and returns the status that it tells when it is ready."""
        self.spawn(*arguments, **environment)
        return self.next("READY")["STATUS"]

    def spawn(self, *arguments, **environment):
        fds = [sock.fileno() for sock in self.sockets]
        env = {**os.environ, "XDG_RUNTIME_DIR": str(self.dir), "XDG_STATE_HOME": str(self.dir),
               "NOTIFY_SOCKET": self.notify_name, **environment}
        with open(self.stderr_path, "ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", BECOME, ",".join(map(str, fds)), shutil.which(brokers.PUBSUBD), *map(str, arguments)],
                stdin=subprocess.DEVNULL, stderr=stderr, env=env, pass_fds=fds)

    def next(self, *names):
        """What it tells next that is about one of these, as a dictionary."""
        deadline = time.monotonic() + TOLD_S
        while True:
            readable, _, _ = select.select([self.told], [], [], max(0, min(0.05, deadline - time.monotonic())))
            if readable:
                state = dict(line.split("=", 1) for line in self.told.recv(1 << 16).decode().split("\n"))
                if any(name in state for name in names):
                    return state
            elif self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode} and never told {names}: {self.said()}")
            elif time.monotonic() > deadline:
                raise AssertionError(f"it did not tell {names} within {TOLD_S} s: {self.said()}")

    def said(self):
        """What it wrote to stderr."""
        return self.stderr_path.read_text(errors="replace")

    def end(self, number=signal.SIGTERM):
        """Ends the broker. Returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(brokers.STOP_S)

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for sock in (*self.sockets, self.told):
            sock.close()
        shutil.rmtree(self.dir, ignore_errors=True)
