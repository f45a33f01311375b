"""Several brokers on a cluster of NATS servers, all on this machine: host n has the address 127.0.0.(10 + n), one server and
one broker. Each of them can be killed, frozen and brought back; with links, all that hosts say to each other goes through them
(links.py), so that a host can be cut off without root. Everything is ready when it is returned."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import brokers
import raw
from links import Links

TOP = pathlib.Path(__file__).resolve().parents[2]
SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/local/sbin")  # not in every user's PATH
READY_S = 120      # a sanitized broker on a busy machine takes its time, and so does an election
ANSWER_S = 5       # a request that was not answered by then was lost
TRIES = 5          # somebody else may take a port that was free
NOWHERE = 1        # a port at which nobody listens
MARK_CAUGHT_UP = 2
RECORD = struct.Struct("<IQqH")   # of a message in a server's files: length, position, time, length of its subject


def nats_server():
    """The program's path; None: it is not here."""
    return os.environ.get("PUBSUB_NATS_SERVER") or shutil.which(
        "nats-server", path=os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_DIRECTORIES, str(TOP / "build/tools"))))


def missing():
    """Why there can be no cluster here, in a sentence; None: there can."""
    if not nats_server():
        return "there is no nats-server"
    if not pathlib.Path(shutil.which(brokers.PUBSUBD) or brokers.PUBSUBD).with_name("pubsubd_cluster.so").exists():
        return "the broker was built without [cluster]"
    return None


def require():
    """Skips the test where there can be no cluster."""
    if missing():
        raise unittest.SkipTest(missing())


def address(host):
    return f"127.0.0.{10 + host}"


def free_port(host):
    with socket.socket() as probe:
        probe.bind((address(host), 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=READY_S):
    """What the condition says, once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for this: {what() if callable(what) else what}")
        time.sleep(0.02)
    return found


class PortTaken(Exception):
    """Somebody else has it."""


class Server:
    """The nats-server of a host. `url` is where clients reach it; its files are in `dir`, and stay."""

    def __init__(self, host, directory):
        self.host, self.dir = host, directory
        self.process = None
        self.port, self.route_port, self.http_port = (free_port(host) for _ in range(3))
        self.url = f"nats://{address(host)}:{self.port}"
        self.log = directory / "log"
        directory.mkdir(exist_ok=True)

    def configure(self, routes, more=""):
        """routes: URLs of the other servers. No other ways are told to anybody: they all lead through the links."""
        routes = ", ".join(f'"{route}"' for route in routes)
        several = f"""
cluster {{
  name: trial
  listen: {address(self.host)}:{self.route_port}
  advertise: "{address(self.host)}:{NOWHERE}"
  no_advertise: true
  routes: [{routes}]
}}
""" if routes else ""
        (self.dir / "nats-server.conf").write_text(f"""
server_name: host{self.host}
listen: {address(self.host)}:{self.port}
http: {address(self.host)}:{self.http_port}
max_payload: 8MB
write_deadline: 2s
jetstream {{ store_dir: "{self.dir}", max_memory_store: 64MB, max_file_store: 8GB }}
{several}
{more}
""")

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([nats_server(), "-c", str(self.dir / "nats-server.conf")],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def check(self):
        """That it runs."""
        if self.process.poll() is not None:
            said = self.said()
            raise (PortTaken if "address already in use" in said else AssertionError)(f"nats-server ended; it said: {said}")

    def said(self):
        return self.log.read_text(errors="replace")[-4000:]

    def ask(self, path):
        """What it answers over HTTP, as JSON; None: nothing."""
        try:
            with urllib.request.urlopen(f"http://{address(self.host)}:{self.http_port}{path}", timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def holds(self, stream):
        """{position: bytes} of what its files say a stream holds: its own copy, whatever the others have."""
        found = {}
        blocks = (self.dir / "jetstream" / "$G" / "streams" / stream / "msgs").glob("*.blk")
        for path in sorted(blocks, key=lambda path: int(path.stem)):
            data, at = path.read_bytes(), 0
            while at + RECORD.size <= len(data):
                length, position, _, _ = RECORD.unpack_from(data, at)
                length &= 0x7fffffff                  # the highest bit: it has headers
                if not RECORD.size + 8 <= length <= len(data) - at:
                    break
                if 0 < position < 1 << 63:            # else it was removed
                    found[position] = data[at + RECORD.size:at + length - 8]   # a checksum is behind it
                at += length
        return found

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def is_ready(self, count):
        """It is one of so many, with a leader for all of them."""
        self.check()
        if (self.ask("/healthz?js-server-only=true") or {}).get("status") != "ok":
            return False
        if count == 1:
            return True
        meta = (self.ask("/jsz") or {}).get("meta_cluster") or {}
        return bool(meta.get("leader")) and meta.get("cluster_size") == count

    def kill(self):
        if self.is_running():
            self.process.kill()
            self.process.wait(brokers.STOP_S)

    def end(self):
        """As its operator would."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(brokers.STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    @contextlib.contextmanager
    def stopped(self):
        """Holds it still (SIGSTOP) meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


class NatsClient:
    """As much of a NATS client as tests need: requests."""

    def __init__(self, server):
        self.socket = socket.create_connection((address(server.host), server.port), timeout=ANSWER_S)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        self.inbox, self.count = os.urandom(8).hex(), 0
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'
                            b"SUB %s.* 1\r\n" % self.inbox.encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def request(self, subject, payload=b""):
        """The answer's bytes; None: nobody is there."""
        self.count += 1
        answer = f"{self.inbox}.{self.count}"
        self.socket.sendall(f"PUB {subject} {answer} {len(payload)}\r\n".encode() + payload + b"\r\n")
        while True:
            verb, *fields = self.file.readline().decode().split() or ["end"]
            if verb == "PING":
                self.socket.sendall(b"PONG\r\n")
            elif verb == "MSG":
                data = self.file.read(int(fields[-1]) + 2)[:-2]
                if fields[0] == answer:
                    return data
            elif verb == "HMSG":
                self.file.read(int(fields[-1]) + 2)
                return None
            elif verb in ("end", "-ERR"):
                raise AssertionError(f"the server ended it: {fields}")

    def api(self, name, /, **fields):
        """A call of JetStream's, as a dictionary."""
        answer = self.request(f"$JS.API.{name}", json.dumps(fields).encode() if fields else b"")
        return json.loads(answer) if answer is not None else None


class Cluster:
    """servers[n] and brokers[n] are host n's.

    hosts: how many. servers: of how many of them there are servers; None: all.
    links: what hosts say to each other goes through links, which are named `nats-FROM-TO` and `broker-FROM-TO`.
    cluster: more for the section [cluster] of every broker; {host} stands for the host's number.
    config: more for the configuration of every broker.
    arguments: how brokers are started: arguments of brokers.Broker()
    """

    def __init__(self, hosts=3, servers=None, links=False, cluster="", config="", server_config="", **arguments):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="pubsub-test-"))
        self.links = None
        self.servers, self.brokers = [], []
        self.more, self.config, self.server_config, self.arguments = cluster, config, server_config, arguments
        self.has_links = links
        try:
            self._start_servers(servers or hosts)
            for host in range(hosts):
                self.brokers.append(brokers.Broker(config=self._configuration(host), start=False, **arguments))
            self.start_brokers()
        except BaseException:
            self._kill_all()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _start_servers(self, count):
        for tries_left in range(TRIES - 1, -1, -1):
            try:
                self._try_servers(count)
                return
            except PortTaken:
                self._kill_servers()
                if not tries_left:
                    raise

    def _try_servers(self, count):
        self.links = Links() if self.has_links else None
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        self.servers = [Server(host, self.dir / f"server{host}") for host in range(count)]
        for server in self.servers:
            others = [other for other in self.servers if other is not server]
            server.configure([f"nats://{self._way('nats', server.host, other, other.route_port)}" for other in others],
                             self.server_config)
        for server in self.servers:
            server.start()
        self.await_servers()

    def _way(self, kind, host, server, port):
        """host:port by which a host reaches a server's port."""
        if not self.links:
            return f"{address(server.host)}:{port}"
        return "%s:%d" % (address(host), self.links.open(f"{kind}-{host}-{server.host}", address(host), address(server.host), port))

    def _configuration(self, host):
        # Its own host's server comes first.
        order = sorted(self.servers, key=lambda server: (server.host - host) % len(self.servers))
        urls = ",".join(f"nats://{self._way('broker', host, server, server.port)}" for server in order)
        return f"[cluster]\nname = host{host}\nurl = {urls}\n{self.more.replace('{host}', str(host))}\n{self.config}\n"

    def start_brokers(self):
        for broker in self.brokers:
            broker.start()
        self.await_meeting()

    def await_servers(self):
        """Until they are one cluster, with a leader."""
        def is_ready(server):
            for other in self.servers:
                other.check()  # without all of them, none is
            return server.is_ready(len(self.servers))

        for server in self.servers:
            wait_for(lambda: is_ready(server), lambda: f"server {server.host} is ready; it said: {server.said()}")

    def await_copies(self):
        """Until each stream has a leader, and all copies that there are to be."""
        def are_current():
            try:
                return look()
            except TimeoutError:
                return False  # the question was lost between the servers

        def look():
            with NatsClient(self.servers[0]) as client:
                for name in (client.api("STREAM.NAMES") or {}).get("streams") or ():
                    found = (client.api(f"STREAM.INFO.{name}") or {}).get("cluster") or {}
                    replicas = found.get("replicas") or ()
                    if not found.get("leader") or any(not one.get("current") or one.get("offline") for one in replicas):
                        return False
            return True
        wait_for(are_current, "all copies of all streams are up to date")

    def await_meeting(self, hosts=None):
        """Until what is published at each of these brokers comes to all of them."""
        hosts = range(len(self.brokers)) if hosts is None else hosts
        with contextlib.ExitStack() as stack:
            peers = {host: stack.enter_context(raw.welcomed(self.brokers[host].unix)) for host in hosts}
            topics = {host: f"meeting/{host}/{os.urandom(6).hex()}" for host in hosts}
            heard = {host: set() for host in hosts}
            for host, peer in peers.items():
                peer.tell(raw.SUB, 1, "meeting/#", {"retained": 2})
                peer.answer(raw.SUBACK)

            def have_met():
                for host, peer in peers.items():
                    peer.tell(raw.MSG, topics[host], None, b"\xc0")
                    heard[host].update(frame[1] for frame in peer.ping() if frame[0] == raw.MSG)
                return all(heard[host] >= set(topics.values()) for host in hosts)

            wait_for(have_met, lambda: f"brokers meet; they heard {heard}; they said: "
                                       f"{[self.brokers[host].said()[-1000:] for host in hosts]}")

    def leader(self, stream):
        """The host whose server leads a stream of this name; None: nobody says that it does."""
        for server in self.servers:
            if server.is_running():
                with NatsClient(server) as client:
                    name = ((client.api(f"STREAM.INFO.{stream}") or {}).get("cluster") or {}).get("leader")
                return int(name.removeprefix("host")) if name else None
        return None

    def streams(self):
        """Names of all streams that the servers have."""
        for server in self.servers:
            if server.is_running():
                with NatsClient(server) as client:
                    return (client.api("STREAM.NAMES") or {}).get("streams") or []
        return []

    def cut(self, host):
        """What this host says to others, and they to it, does not come through any more. Needs links."""
        for link in self._links_of(host):
            self.links.tell("cut", link)

    def mend(self, host):
        for link in self._links_of(host):
            self.links.tell("mend", link)

    def _links_of(self, host):
        others = [n for n in range(max(len(self.servers), len(self.brokers))) if n != host]
        return [f"{kind}-{a}-{b}" for kind in ("nats", "broker") for n in others for a, b in ((host, n), (n, host))]

    def _kill_servers(self):
        for server in self.servers:
            with contextlib.suppress(ProcessLookupError):
                if server.is_running():
                    server.process.send_signal(signal.SIGCONT)
            server.kill()
        if self.links:
            self.links.stop()
            self.links = None

    def _kill_all(self):
        for broker in self.brokers:
            broker.kill()
            shutil.rmtree(broker.dir, ignore_errors=True)
        self._kill_servers()
        shutil.rmtree(self.dir, ignore_errors=True)

    def stop(self):
        """Ends all, and complains if a broker did not end well."""
        try:
            with contextlib.ExitStack() as stack:
                for broker in self.brokers:
                    stack.callback(broker.stop)
        finally:
            self._kill_all()
