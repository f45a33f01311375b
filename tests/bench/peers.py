"""The brokers that are compared: how each is started on loopback with its default settings, awaited and stopped."""
import contextlib
import dataclasses
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

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "process"))
import issuer  # noqa: E402

READY_S = 15
STOP_S = 10
POLL_S = 0.005
SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/local/sbin")  # not in every user's PATH
UNIX_PATH_MAX = 100  # the kernel takes 107 bytes
KEPT = "kept"  # the first level of topics that the generator wants to be stored
# What is started does not outlive us, not even if we are killed.
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")


class PeerError(Exception):
    """A broker that can't be measured, with one sentence that says why."""


class PeerUnsupported(PeerError):
    """It will not do it another time either."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to one broker."""
    name: str
    label: str  # in tables and charts
    program: str  # the key of PROGRAMS
    transport: str  # tcp, tls or unix
    protocol: str  # what the generator speaks to it
    colour: str
    stores: str = ""  # how it keeps messages, as its start function understands it; "": not
    synced: bool = False  # what it has acknowledged as stored is on the disk
    mode: str = ""  # the generator's, whatever the scenario's is
    attacked: bool = False  # it serves TLS and takes passwords, too, for who attacks it there

    @property
    def is_ours(self):
        return self.program == "pubsubd"

    @property
    def is_floor(self):
        return self.program in ("relay", "sink", "disk")

    @property
    def is_other(self):
        return not self.is_ours and not self.is_floor


PEERS = {peer.name: peer for peer in (
    Peer("pubsubd-tcp", "pubsubd, TCP", "pubsubd", "tcp", "mps", "#1b6ca8"),
    Peer("pubsubd-unix", "pubsubd, Unix", "pubsubd", "unix", "mps", "#6fb1de"),
    Peer("nats", "NATS, TCP", "nats", "tcp", "nats", "#3f8f4f"),
    Peer("redis-tcp", "Redis, TCP", "redis", "tcp", "redis", "#b8433a"),
    Peer("redis-unix", "Redis, Unix", "redis", "unix", "redis", "#dd8f88"),
    Peer("mosquitto-tcp", "Mosquitto, TCP", "mosquitto", "tcp", "mqtt", "#c98a1b"),
    Peer("mosquitto-unix", "Mosquitto, Unix", "mosquitto", "unix", "mqtt", "#e6bd72"),
    Peer("pubsubd-tls", "pubsubd, TLS", "pubsubd", "tls", "mps", "#1b6ca8"),
    Peer("nats-tls", "NATS, TLS", "nats", "tls", "nats", "#3f8f4f"),
    Peer("mosquitto-tls", "Mosquitto, TLS", "mosquitto", "tls", "mqtt", "#c98a1b"),
    Peer("pubsubd-attacked", "pubsubd, attacked", "pubsubd", "tcp", "mps", "#1b6ca8", attacked=True),
    Peer("relay-tcp", "Floor, TCP", "relay", "tcp", "raw", "#8a8a8a"),
    Peer("relay-unix", "Floor, Unix", "relay", "unix", "raw", "#bdbdbd"),
    Peer("pubsubd-stored", "pubsubd, stored", "pubsubd", "tcp", "mps", "#1b6ca8", "yes", synced=True),
    Peer("jetstream-always", "JetStream, sync_interval always", "nats", "tcp", "nats", "#2f6f3c", "always", synced=True),
    Peer("redis-always", "Redis, appendfsync always", "redis", "tcp", "redis", "#b8433a", "always", synced=True),
    Peer("jetstream", "JetStream, synced every 2 min", "nats", "tcp", "nats", "#7fbf8c", "default"),
    Peer("redis-everysec", "Redis, synced every second", "redis", "tcp", "redis", "#dd8f88", "everysec"),
    Peer("sink", "Floor: write, fdatasync, answer", "sink", "tcp", "raw", "#8a8a8a", "yes", synced=True),
    Peer("disk", "Bare file: write, fdatasync", "disk", "tcp", "raw", "#bdbdbd", "yes", synced=True, mode="disk"),
)}


@dataclasses.dataclass(frozen=True)
class Tools:
    """The programs that we built."""
    pubsubd: str
    load: str
    data: str = None  # a directory for what brokers keep on the disk; None: the system's one for temporary files


def find_program(name):
    """The path of an installed program, or PeerError."""
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_DIRECTORIES)))
    if path is None:
        raise PeerError(f"{name} is not installed")
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """A running broker. `url` is where it serves, `urls` all such places, `pid` its process; None for the bare disk, which has none. With TLS `ca` is
    the file with the certificate that verifies the broker's, which is `pair`: an ECDSA one, made for it alone."""

    def __init__(self, peer, tools, settings=()):
        self.peer, self.tools, self.settings = peer, tools, list(settings)
        self.dir = temporary_directory()
        self.data = tempfile.mkdtemp(prefix="pubsub-bench-", dir=tools.data) if peer.stores else None
        self.socket_path = os.path.join(self.dir, "s")
        self.log_path = os.path.join(self.dir, "log")
        self.urls = []
        self.process = self.url = self.ca = self.pair = None
        try:
            if peer.transport == "tls" or peer.attacked:
                self.make_certificate()
            START[peer.program](self)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def make_certificate(self):
        try:
            authority = issuer.Authority(self.dir)
            self.ca, self.pair = authority.path, authority.issue("broker")
        except (OSError, AssertionError) as error:
            raise PeerError(f"no certificate could be made: {error}") from error

    def launch(self, command, stdout=None, pass_fds=()):
        """Starts it."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*ENDS_WITH_US, *command, *self.settings], stdin=subprocess.DEVNULL,
                stdout=stdout or log, stderr=log, cwd=self.dir, pass_fds=pass_fds, start_new_session=True)

    def place(self):
        """Chooses where it will serve, and returns the port or path of it."""
        if self.peer.transport == "unix":
            self.url = "unix:" + self.socket_path
            return self.socket_path
        port = free_port()
        self.url = f"{self.peer.transport}://127.0.0.1:{port}"
        return port

    def await_connection(self):
        deadline = time.monotonic() + READY_S
        while not can_connect(self.url):
            if self.process.poll() is not None:
                raise PeerError(f"{self.peer.program} ended before it was ready{self.last_words()}")
            if time.monotonic() > deadline:
                raise PeerError(f"{self.peer.program} accepted no connection within {READY_S} s{self.last_words()}")
            time.sleep(POLL_S)

    def await_ready_line(self, descriptor):
        """Waits for a line 'ready URL' and takes the URL from it. Closes the descriptor."""
        line = b""
        with open(descriptor, "rb", buffering=0) as pipe:
            while not line.endswith(b"\n"):
                readable, _, _ = select.select([pipe], [], [], READY_S)
                if not readable:
                    raise PeerError(f"{self.peer.program} was not ready within {READY_S} s{self.last_words()}")
                data = pipe.read(4096)
                if not data:
                    raise PeerError(f"{self.peer.program} ended before it was ready{self.last_words()}")
                line += data
        self.urls = line.decode().split()[1:]
        self.url = self.urls[0]

    def last_words(self):
        """What it wrote last, to be put behind a sentence."""
        with contextlib.suppress(OSError):
            lines = pathlib.Path(self.log_path).read_text(errors="replace").splitlines()
            if lines:
                return f"; it said: {lines[-1].strip()}"
        return ""

    def how_it_ended(self):
        """None while it runs."""
        code = self.process.poll() if self.process else None
        if code is None:
            return None
        how = f"was killed by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{self.peer.program} {how}{self.last_words()}"

    def stop(self):
        try:
            if self.process and self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.dir, ignore_errors=True)
            if self.data:
                shutil.rmtree(self.data, ignore_errors=True)


def temporary_directory():
    directory = tempfile.mkdtemp(prefix="pubsub-bench-")
    if len(directory) < UNIX_PATH_MAX:
        return directory
    os.rmdir(directory)
    return tempfile.mkdtemp(prefix="pubsub-bench-", dir="/tmp")


def can_connect(url):
    kind, _, place = url.partition(":")
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as probe:
        try:
            probe.connect(place if kind == "unix" else ("127.0.0.1", int(place.rpartition(":")[2])))
            return True
        except OSError:
            return False


def start_pubsubd(broker):
    stores = ["--data", broker.data, "--durable", f"{KEPT}/#"] if broker.peer.stores else []
    ready, ready_end = os.pipe()
    try:
        broker.launch([broker.tools.pubsubd, *where_pubsubd_serves(broker), "--ready-fd", str(ready_end), *stores],
                      pass_fds=(ready_end,))
    except BaseException:
        os.close(ready)
        raise
    finally:
        os.close(ready_end)
    broker.await_ready_line(ready)


def where_pubsubd_serves(broker):
    if broker.peer.transport == "unix":
        return ["--listen", "unix:" + broker.socket_path]
    if broker.pair is None:
        return ["--listen", "tcp://127.0.0.1:0"]
    path = pathlib.Path(broker.dir, "pubsubd.conf")
    text = f"[listener tls]\nurl = tls://127.0.0.1:0\ncertificate = {broker.pair.path}\nkey = {broker.pair.key}\n"
    if broker.peer.attacked:
        text = f"[access]\npasswords = {make_passwords(broker)}\n[listener plain]\nurl = tcp://127.0.0.1:0\n{text}"
    path.write_text(text)
    return ["--config", str(path)]


def make_passwords(broker):
    """A file with the password of somebody."""
    path = os.path.join(broker.dir, "passwords")
    done = subprocess.run([broker.tools.pubsubd, "passwd", path, "somebody"], input="a good password\n", capture_output=True,
                          text=True, timeout=READY_S, check=False)
    if done.returncode != 0:
        raise PeerError(f"no password could be set: {done.stderr.strip()}")
    return path


def start_relay(broker, *mode):
    url = "unix:" + broker.socket_path if broker.peer.transport == "unix" else "tcp://127.0.0.1:0"
    ready, ready_end = os.pipe()
    try:
        broker.launch([broker.tools.load, *(mode or ["--relay"]), "--url", url], stdout=ready_end)
    except BaseException:
        os.close(ready)
        raise
    finally:
        os.close(ready_end)
    broker.await_ready_line(ready)


def start_sink(broker):
    start_relay(broker, "--sink", os.path.join(broker.data, "sink"))


def start_disk(broker):
    broker.url = "file:" + os.path.join(broker.data, "disk")


def start_nats(broker):
    program, stores = find_program("nats-server"), []
    if broker.peer.stores:
        path = pathlib.Path(broker.dir, "nats.conf")
        always = ", sync_interval: always" if broker.peer.stores == "always" else ""
        path.write_text(f'jetstream {{ store_dir: "{broker.data}"{always} }}\n')
        stores = ["-c", str(path)]
        if always:
            require_option(program, path, "sync_interval")
    tls = ["--tls", "--tlscert", broker.pair.path, "--tlskey", broker.pair.key] if broker.pair else []
    broker.launch([program, "-a", "127.0.0.1", "-p", str(broker.place()), *stores, *tls])
    broker.await_connection()


def require_option(program, path, option):
    """Whether this nats-server knows an option is what it says of a configuration with it."""
    done = subprocess.run([program, "-t", "-c", str(path)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=READY_S, check=False)
    if f'unknown field "{option}"' in done.stdout + done.stderr:
        raise PeerUnsupported(f"{first_line([program, '--version'])} does not know {option}")


def start_redis(broker):
    place = broker.place()
    where = (["--port", "0", "--unixsocket", place] if broker.peer.transport == "unix"
             else ["--bind", "127.0.0.1", "--port", str(place)])
    stores = ["--appendonly", "yes", "--appendfsync", broker.peer.stores] if broker.peer.stores else []
    broker.launch([find_program("redis-server"), *where, "--dir", broker.data or broker.dir, *stores])
    broker.await_connection()


def start_mosquitto(broker):
    place = broker.place()
    listener = f"listener 0 {place}" if broker.peer.transport == "unix" else f"listener {place} 127.0.0.1"
    path = pathlib.Path(broker.dir, "mosquitto.conf")
    # As root it would become another user, who may not use our directory.
    user = "user root\n" if os.geteuid() == 0 else ""
    tls = f"certfile {broker.pair.path}\nkeyfile {broker.pair.key}\n" if broker.pair else ""
    path.write_text(f"{listener}\n{tls}allow_anonymous true\n{user}")
    broker.launch([find_program("mosquitto"), "-c", str(path)])
    broker.await_connection()


START = {"pubsubd": start_pubsubd, "relay": start_relay, "sink": start_sink, "disk": start_disk, "nats": start_nats,
         "redis": start_redis, "mosquitto": start_mosquitto}


def file_system(directory):
    """The type and the device of the file system that a directory is on, as far as that is known."""
    text = first_line(["findmnt", "-n", "-o", "FSTYPE,SOURCE", "--target", str(directory)]) or ""
    kind, _, device = text.partition(" ")
    return {"type": kind or "unknown", "device": device.strip() or "unknown"}


def first_line(command):
    """The first line that a program prints, whatever its exit code; None if it can't be run."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=READY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), None)


def versions(tools):
    """What each program says its version is, by program; None where it is not installed."""
    found = {"pubsubd": first_line([tools.pubsubd, "--version"])}
    for key, name, option in (("nats", "nats-server", "--version"), ("redis", "redis-server", "--version"),
                              ("mosquitto", "mosquitto", "-h")):
        try:
            found[key] = first_line([find_program(name), option])
        except PeerError:
            found[key] = None
    return found
