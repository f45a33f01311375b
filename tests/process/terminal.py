"""A program on a terminal of its own, whose screen a test can look at (pyte)."""
import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pyte

from programs import PATIENCE_S, PUBSUB

TYPE = "linux"  # what pyte is one of
END = b"\0the end\0"  # no program writes that


class Terminal:
    """A running `pubsub`. `screen` is pyte's, `raw` every byte that was written to the terminal.

    shell: the script of a shell that has job control and runs it as "$@"; None: it is run without one."""

    def __init__(self, *arguments, rows=24, columns=80, environment=(), shell=None):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.master, slave = pty.openpty()
        self.resize_line(rows, columns)
        self.before = termios.tcgetattr(slave)
        environment = {**os.environ, "TERM": TYPE, "LC_ALL": "C", "NO_COLOR": "", **dict(environment)}
        around = ["bash", "-c", "set -m; " + shell, "shell"] if shell else []
        self.process = subprocess.Popen([*around, PUBSUB, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment,
                                        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.slave = slave  # kept open, so that what the program leaves behind can be read, and its modes

    def resize_line(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows, columns):
        self.screen.resize(rows, columns)
        self.resize_line(rows, columns)

    def type(self, keys):
        os.write(self.master, keys.encode())

    def read(self, wait_s=0.0):
        """Shows what was written meanwhile. False: nothing was."""
        if not select.select([self.master], [], [], wait_s)[0]:
            return False
        data = os.read(self.master, 65536)
        self.raw += data
        self.stream.feed(data)
        return True

    def read_rest(self):
        """Shows all that was written by a program that has ended. What is written to a terminal comes to its other side a
        moment later: so it is read up to something that is written after it."""
        os.write(self.slave, END)
        came = b""
        while not came.endswith(END):
            if not select.select([self.master], [], [], PATIENCE_S)[0]:
                raise AssertionError("the terminal keeps what was written to it")
            came += os.read(self.master, 65536)
        self.raw += came[:-len(END)]
        self.stream.feed(came[:-len(END)])

    def lines(self):
        return [line.rstrip() for line in self.screen.display]

    def text(self):
        return "\n".join(self.lines())

    def until(self, condition):
        """Shows what is written until the condition, of this terminal, holds. Returns what it says."""
        deadline = time.monotonic() + PATIENCE_S
        while not (met := condition(self)):
            has_ended = self.process.poll() is not None
            if has_ended:
                self.read_rest()
                met = condition(self)
            if met or has_ended or time.monotonic() > deadline:
                break
            self.read(0.1)
        if not met:
            raise AssertionError(f"not to be seen ({self.process.poll()}):\n{self.text()}")
        return met

    def shows(self, text):
        return self.until(lambda _: text in self.text())

    def line_with(self, text):
        """The first line with this text, once there is one."""
        return self.until(lambda _: next((line for line in self.lines() if text in line), None))

    def style_of(self, text):
        """How the first character of a text is drawn that is on the screen."""
        for row, line in enumerate(self.screen.display):
            if text in line:
                return self.screen.buffer[row][line.index(text)]
        raise AssertionError(f"{text!r} is not there:\n{self.text()}")

    def modes(self):
        return termios.tcgetattr(self.slave)

    def end(self):
        """Waits until the program has ended, and reads what it left. Returns its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        code = self.process.wait(1)
        self.read_rest()
        return code

    def hang_up(self):
        """The terminal goes away."""
        for end in ("slave", "master"):
            if getattr(self, end) >= 0:
                os.close(getattr(self, end))
                setattr(self, end, -1)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        with contextlib.suppress(OSError):
            self.hang_up()
