"""What is done to a cluster, each of it while all publish, and what has to hold meanwhile. Times are options of the trial, by name:
see OPTIONS. When a failure returns all is mended again, and all brokers hear each other."""
import contextlib
import dataclasses
import threading
import time

import raw
from cluster import NatsClient, wait_for
from parties import RESTARTED, Wrong

# Names with their defaults, and what --short makes of them; in seconds unless said otherwise.
OPTIONS = {
    "down": (2, 0.5),            # how long what was killed stays away
    "cut": (30, 7),              # how long a host is cut off
    "away": (60, 12),            # how long all servers are away
    "frozen": (12, 7),           # how long a broker is held still; longer than it takes to be missed
    "slow": (10, 3),             # how long the network is slow,
    "slow_ms": (150, 100),       # by so many milliseconds
    "narrow": (200_000, 200_000),   # and so many bytes a second
    "storm": (15, 4),            # how long clients and links come and go
}


@dataclasses.dataclass(frozen=True)
class Failure:
    name: str
    title: str
    run: object
    cluster: dict = dataclasses.field(default_factory=dict)   # arguments of Cluster()


def mended(trial):
    trial.cluster.await_servers()
    trial.cluster.await_copies()
    trial.cluster.await_meeting()


def kill_server(trial, host):
    server = trial.cluster.servers[host]
    server.kill()
    trial.sleep("down")
    trial.await_flow(count=20)  # the others go on
    server.start()
    mended(trial)


def any_server(trial):
    """kill -9 of a NATS server."""
    kill_server(trial, trial.rng.choice(trial.hosts))


def stream_leader(trial):
    """kill -9 of the server that leads the stream."""
    leader, = wait_for(lambda: [host for host in [trial.cluster.leader(trial.stream_name())] if host is not None],
                       "the stream has a leader")
    kill_server(trial, leader)


def any_broker(trial):
    """kill -9 of a broker; the others go on, and hear of it."""
    host = trial.rng.choice(trial.hosts)
    others = [other for other in trial.hosts if other != host]
    trial.cluster.brokers[host].kill()
    trial.sleep("down")
    trial.await_flow(others, count=20)
    trial.cluster.brokers[host].start()
    mended(trial)


def cut_off(trial):
    """A host, server and broker, is cut off from the others, which go on; its broker goes on for its own clients."""
    host = trial.rng.choice(trial.hosts)
    others = [other for other in trial.hosts if other != host]
    began = time.monotonic()
    trial.cluster.cut(host)
    try:
        trial.await_flow([host], stored=False)
        trial.await_flow(others)
        stored = trial.stored()[host]
        time.sleep(max(0, trial.options["cut"] - (time.monotonic() - began)))
        if trial.stored()[host] > stored + trial.storing[host].IN_FLIGHT:
            trial.noted.append(f"a broker without a majority acknowledged {trial.stored()[host] - stored} messages as replicated")
    finally:
        trial.cluster.mend(host)
    mended(trial)


def one_by_one(trial):
    """All servers are restarted, one after the other, as for an upgrade."""
    for server in trial.cluster.servers:
        server.end()
        server.start()
        trial.cluster.await_servers()
        trial.cluster.await_copies()   # before the next one: two of three have to be up to date
    mended(trial)


def all_away(trial):
    """No server for a while: local service goes on, level 3 is deferred, then refused with 216, and never acknowledged."""
    for server in trial.cluster.servers:
        server.kill()
    time.sleep(0.5)  # for answers that were under way
    began, stored, refused = time.monotonic(), trial.stored(), trial.refused()
    try:
        for host in trial.hosts:
            trial.await_flow([host], stored=False)
        trial.wait_for(lambda: all(now > before for now, before in zip(trial.refused(), refused)), "level 3 is refused in the end")
        time.sleep(max(0, trial.options["away"] - (time.monotonic() - began)))
        if trial.stored() != stored:
            trial.noted.append(f"acknowledged as replicated without any server: {stored} became {trial.stored()}")
        codes = {code for publisher in trial.storing for code, _ in publisher.texts}
        if codes != {216}:
            trial.noted.append(f"refused with {codes}, not 216")
    finally:
        for server in trial.cluster.servers:
            server.start()
    mended(trial)


def frozen_broker(trial):
    """A broker is held still (SIGSTOP); the others go on."""
    host = trial.rng.choice(trial.hosts)
    with trial.cluster.brokers[host].stopped():
        others = [other for other in trial.hosts if other != host]
        trial.await_flow(others, count=20)
        trial.sleep("frozen")
        trial.await_flow(others, count=20)
    mended(trial)


def frozen_server(trial):
    """A NATS server is held still (SIGSTOP)."""
    host = trial.rng.choice(trial.hosts)
    with trial.cluster.servers[host].stopped():
        trial.sleep("frozen")
    mended(trial)


def slow_network(trial):
    """Everything between hosts takes long, and little gets through at a time."""
    links = trial.cluster.links
    links.tell("slow", "*", trial.options["slow_ms"])
    links.tell("narrow", "*", trial.options["narrow"])
    try:
        trial.await_flow(count=20)
        trial.sleep("slow")
    finally:
        links.tell("slow", "*", 0)
        links.tell("narrow", "*", 0)
    mended(trial)


def removed_stream(trial):
    """Somebody removes the stream: it begins anew, with another epoch, and its readers are told."""
    cluster = trial.cluster
    before = [epoch_of(broker) for broker in cluster.brokers]
    trial.forgives_loss = True
    with NatsClient(cluster.servers[0]) as client:
        answer = client.api(f"STREAM.DELETE.{trial.stream_name()}")
    if not (answer or {}).get("success"):
        raise Wrong(f"the stream could not be removed: {answer}")

    def is_told(reader):
        return any(gap[2] is None and gap[3] == RESTARTED for notes in reader.notes for gap in notes.gaps)

    trial.wait_for(lambda: all(is_told(reader) for reader in trial.streams),
                   lambda: f"readers are told; they were: {[reader.gaps for reader in trial.streams]}")
    trial.wait_for(lambda: all(epoch_of(broker) != was for broker, was in zip(cluster.brokers, before)), "the epoch changes")
    for broker in cluster.brokers:
        wait_for(lambda: "orders" in broker.said(), lambda: f"the log tells it: {broker.said()[-1000:]}")
    mended(trial)


def epoch_of(broker):
    with raw.welcomed(broker.unix) as peer:
        return peer.welcome["epoch"]


def storm(trial):
    """Connections between brokers and servers are reset again and again, and crowds of clients come and go."""
    until = time.monotonic() + trial.options["storm"]
    wrong = []

    def crowd(broker):
        try:
            while time.monotonic() < until:
                with contextlib.ExitStack() as stack:
                    for _ in range(20):
                        peer = stack.enter_context(raw.welcomed(broker.unix))
                        peer.tell(raw.SUB, 1, f"crowd/{time.monotonic_ns()}/#", {"scope": "cluster"})
        except Exception as failure:  # pylint: disable=broad-except
            wrong.append(f"a client of the crowd: {failure!r}")

    crowds = [threading.Thread(target=crowd, args=(broker,)) for broker in trial.cluster.brokers]
    for thread in crowds:
        thread.start()
    while time.monotonic() < until:
        trial.cluster.links.tell("break", trial.rng.choice(["broker-*", "nats-*", f"broker-{trial.rng.choice(trial.hosts)}-*"]))
        time.sleep(trial.rng.uniform(0.2, 1))
    for thread in crowds:
        thread.join()
    trial.noted += wrong[:3]
    mended(trial)


LINKS = {"links": True}
FAILURES = (
    Failure("server", "kill -9 of a NATS server", any_server),
    Failure("leader", "kill -9 of the stream's leader", stream_leader),
    Failure("broker", "kill -9 of a broker", any_broker),
    Failure("cut", "a host cut off", cut_off, LINKS),
    Failure("restarts", "NATS servers restarted one by one", one_by_one),
    Failure("away", "all NATS servers away", all_away),
    Failure("frozen", "a broker frozen", frozen_broker),
    Failure("frozen-server", "a NATS server frozen", frozen_server),
    Failure("slow", "a slow and narrow network", slow_network, LINKS),
    Failure("removed", "the stream removed", removed_stream),
    Failure("storm", "reconnect storms", storm, LINKS),
)
