"""A real broker for the tests of the programs: on a free port and a Unix socket of its own, ready when returned."""
import contextlib
import ctypes
import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time

PUBSUBD = os.environ.get("PUBSUBD", "pubsubd")
READY_S = 60  # a sanitized broker on a busy machine takes its time
STOP_S = 60  # also where the disk is slow
LIBC = ctypes.CDLL(None)
DISK_IS_LATE = "the disk does not take the last messages in time"  # it waits for it for 4 s, says so and ends with 1


class Broker:
    """One pubsubd. `unix` and `tcp` are its URLs, `dir` is a directory that goes away with it.

    descriptors: how many it may open; None: as many as we may.
    arguments: more for its command line.
    config: the text of its configuration file; None: it has none.
    listens: whether it is told to serve `unix` and `tcp`; else the configuration says where, and `tls` are those of its URLs
    that begin so, in its order.
    environment: more for its environment.
    start: or only its directory is made, for now.
    """

    def __init__(self, descriptors=None, arguments=(), config=None, environment=(), listens=True, start=True):
        self.dir = tempfile.mkdtemp(prefix="pubsub-test-")
        self.unix = "unix:" + os.path.join(self.dir, "s")
        self.tcp = "tcp://127.0.0.1:0"
        self.listens = ["--listen", self.unix, "--listen", self.tcp] if listens else []
        self.descriptor_limit = descriptors
        self.arguments = list(arguments)
        self.environment = dict(environment)
        if config is not None:
            path = os.path.join(self.dir, "pubsubd.conf")
            with open(path, "w") as file:
                file.write(config)
            self.arguments += ["--config", path]
        self.process = None
        self.stderr_path = os.path.join(self.dir, "stderr")
        try:
            if start:
                self.start()
        except BaseException:
            self.kill()
            shutil.rmtree(self.dir, ignore_errors=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Starts it, again if it was killed, on the addresses it had before."""
        ready, ready_end = os.pipe()
        environment = {**os.environ, "HOME": self.dir, "XDG_RUNTIME_DIR": self.dir, "XDG_STATE_HOME": self.dir,
                       **self.environment}
        try:
            with open(self.stderr_path, "ab") as stderr:
                self.process = subprocess.Popen(
                    [PUBSUBD, *self.listens, "--ready-fd", str(ready_end), *self.arguments],
                    stdin=subprocess.DEVNULL, stderr=stderr, pass_fds=(ready_end,), env=environment,
                    preexec_fn=self._limit if self.descriptor_limit else None)
        finally:
            os.close(ready_end)
        with open(ready, "rb", buffering=0) as pipe:
            self.ready_line = self._read_line(pipe)
        urls = self.ready_line.split()
        self.tcp = next((url for url in urls if url.startswith("tcp:")), self.tcp)
        self.tls = [url for url in urls if url.startswith("tls:")]

    def _limit(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptor_limit, self.descriptor_limit))

    def _read_line(self, pipe):
        line = b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([pipe], [], [], READY_S)
            if not readable:
                raise AssertionError(f"pubsubd was not ready within {READY_S} s; it said: {self.said()}")
            byte = pipe.read(4096)
            if not byte:
                raise AssertionError(f"pubsubd ended before it was ready; it said: {self.said()}")
            line += byte
        return line.decode().rstrip("\n")

    def said(self):
        """What it wrote to stderr, whole lines of it: another one may be under way."""
        with open(self.stderr_path, errors="replace") as file:
            text = file.read()
        return text[:text.rfind("\n") + 1]

    def end(self):
        """Asks it to end. Returns whether all was stored: not what a slow disk did not take in time. start() brings it
        back."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_S)
        if code != 0 and not self._is_late(code):
            raise AssertionError(f"pubsubd ended with {code}; it said: {self.said()}")
        return code == 0

    def _is_late(self, code):
        return code == 1 and DISK_IS_LATE in self.said()

    def kill(self):
        """Ends it without warning. start() brings it back."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_S)

    def stop(self):
        """Ends it as it wishes to be ended, and complains if it did not end well: so every test looks for crashes."""
        if not self.process:
            return
        process, self.process = self.process, None
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)
                raise AssertionError(f"pubsubd did not end {STOP_S} s after SIGTERM; it said: {self.said()}") from None
            if code not in (0, -signal.SIGKILL) and not self._is_late(code):
                raise AssertionError(f"pubsubd ended with {code}; it said: {self.said()}")
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    @contextlib.contextmanager
    def stopped(self):
        """Holds the broker still (SIGSTOP) meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def cpu_s(self):
        """Processor time that it has used, in seconds. Exactly: /proc counts hundredths of a second."""
        clock = ctypes.c_int()
        if LIBC.clock_getcpuclockid(self.process.pid, ctypes.byref(clock)) != 0:
            raise ProcessLookupError(f"there is no process {self.process.pid}")
        return time.clock_gettime(clock.value)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def peak_bytes(self):
        """The most memory that it has had resident so far."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) << 10

    def descriptors(self):
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))
