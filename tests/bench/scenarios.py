"""What is measured: every scenario of the comparison, with its goal, in one table, SCENARIOS."""
import dataclasses

KIB = 1024
MIB = 1024 * KIB
WINDOW = 256 * KIB  # enough for full batches, little enough to stay within a CPU's caches

# Which ways to which broker a scenario takes; peers.PEERS says what each is.
OURS = ("pubsubd-tcp", "pubsubd-unix")
OTHERS_TCP = ("nats", "redis-tcp", "mosquitto-tcp")
TCP = ("pubsubd-tcp", *OTHERS_TCP)
BROKERS = (*OURS, "nats", "redis-tcp", "redis-unix", "mosquitto-tcp")
FLOOR = ("relay-tcp", "relay-unix")
ALL = (*BROKERS, *FLOOR)
# Who stores messages; the first three have them on the disk when they acknowledge them.
STORES = ("pubsubd-stored", "jetstream-always", "redis-always", "jetstream", "redis-everysec")
STORE_FLOOR = ("sink", "disk")
# What TLS costs is seen beside the same broker without it.
TLS = ("pubsubd-tls", "nats-tls", "mosquitto-tls", "pubsubd-tcp")
QUICK_PEERS = (*OURS, *OTHERS_TCP, "mosquitto-unix", *FLOOR, *STORES, *STORE_FLOOR, *TLS, "pubsubd-attacked")


@dataclasses.dataclass(frozen=True)
class Metric:
    """One figure of the generator's JSON object, as the tables and charts show it."""
    key: str
    title: str
    unit: str
    factor: float = 1.0  # from the generator's unit to this one
    higher_is_better: bool = False
    compares: bool = True  # who has the better figure is the better one
    synced_only: bool = False  # compared only with who has it on the disk, too, when it is acknowledged


METRICS = {
    "cpu": Metric("cpu_us_per_delivered", "broker CPU per delivered message", "µs"),
    "round": Metric("p50_us", "time from publisher to subscriber, median", "µs"),
    "connection": Metric("bytes_per_connection", "memory per idle connection", "KiB", 1 / KIB),
    "stored": Metric("acked_per_s", "messages stored and acknowledged per second", "/s", higher_is_better=True,
                     synced_only=True),
    "stored_cpu": Metric("cpu_us_per_acked", "broker CPU per stored message", "µs", synced_only=True),
    "replay": Metric("replay_share", "rate of replay, of the rate of live messages at the same broker", "%", 100,
                     higher_is_better=True, compares=False),
    "readers": Metric("bytes_per_reader", "memory for each of many readers of a stream", "KiB", 1 / KIB),
    "connect": Metric("cpu_us_per_connect", "broker CPU per connection", "µs"),
    "attack": Metric("p99_added_us", "99th percentile of the latency, more than without the attack", "ms", 1e-3),
    "beside": Metric("ratio", "rate beside a stalled subscriber, of the rate alone", "%", 100, higher_is_better=True),
}


@dataclasses.dataclass(frozen=True)
class Goal:
    """What our broker has to reach in a scenario: at_most, above_floor, at_least, of_floor or times_of, and maybe more."""
    at_most: float = None  # in the metric's unit
    above_floor: float = None  # at most so much more than the relay of bytes, in the metric's unit
    at_least: float = None  # in the metric's unit
    times_best: float = None  # so many times better than the best other broker over the same transport
    told_exactly: bool = False  # the slow subscriber is told of exactly what it missed
    of_floor: float = None  # at least so many % of what the floor has
    times_of: tuple = None  # (scenario, at least so many times what it has there)

    def text(self):
        if self.at_most is not None:
            share = f" (1/{self.times_best:g} of the best)" if self.times_best else ""
            return f"at most {self.at_most:g}{share}"
        if self.above_floor is not None:
            return f"at most floor + {self.above_floor:g}"
        if self.of_floor is not None:
            return f"at least {self.of_floor:g} % of the floor"
        if self.times_of is not None:
            return f"at least {self.times_of[1]:g} times {self.times_of[0]}"
        return f"at least {self.at_least:g}" + (", losses told exactly" if self.told_exactly else "")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One row of the comparison.

    mode, args: the generator's; `quick_args` replace some of them with --quick.
    peers: who takes part. `judged` is the one of ours that the goal is for.
    seconds: how long it is measured, where the mode has a duration.
    windows: bytes under way at the same time where WINDOW does not fit, by broker program; "*" is all others.
    settings: more arguments for a broker's program where its default forbids the scenario; told in the report.
    once: programs that are measured in the first run only, because they need so long to get there; told in the report.
    patience_s: how long it may take beyond that before it counts as failed.
    """
    name: str
    title: str
    mode: str
    args: dict
    peers: tuple
    metric: str = "cpu"
    goal: Goal = None
    seconds: float = 0.8
    judged: str = "pubsubd-tcp"
    windows: dict = dataclasses.field(default_factory=dict)
    settings: dict = dataclasses.field(default_factory=dict)
    quick_args: dict = dataclasses.field(default_factory=dict)
    once: tuple = ()
    patience_s: float = 30
    group: str = "live"  # or "stored", "tls", "attack": it stands in tables of its own
    attacks: tuple = ()  # the kinds of attack.py beside which it is measured, after it was measured without

    def arguments(self, quick):
        return {**self.args, **self.quick_args} if quick else self.args

    def heading(self, quick):
        """Its title, with the numbers that it is run with."""
        return self.title.format(**{key: f"{value:,}" for key, value in self.arguments(quick).items()})

    def window(self, program):
        return self.windows.get(program, self.windows.get("*", WINDOW))


def one_to_one(name, payload, title, goal, windows):
    return Scenario(name, f"1 to 1, {title}", "flow", dict(publishers=1, subscribers=1, topics=1, payload=payload), ALL,
                    goal=goal, windows=windows)


def fan_out(name, subscribers, goal, windows):
    return Scenario(name, "1 to {subscribers}, 64 B", "flow",
                    dict(publishers=1, subscribers=subscribers, topics=1, payload=64), ALL, goal=goal, windows=windows)


def stored(name, title, metric="stored", goal=None, peers=(*STORES, "sink"), **args):
    """Publishers that have each message acknowledged when it is stored."""
    return Scenario(name, title, "stored", {"payload": 64, **args}, peers, metric=metric, goal=goal, seconds=1.0,
                    judged="pubsubd-stored", group="stored", patience_s=120)


def tls_flow(name, subscribers, payload, size, windows):
    to = f"1 to {subscribers}"
    return Scenario(f"tls-{name}", f"{to}, {size}, TLS", "flow",
                    dict(publishers=1, subscribers=subscribers, topics=1, payload=payload), TLS, judged="pubsubd-tls",
                    group="tls", windows=windows, seconds=1.0)


def tls_connects(name, title, peers, **args):
    return Scenario(name, title, "connects", {"subscribers": 8, **args}, peers, metric="connect", judged="pubsubd-tls",
                    group="tls", seconds=1.0)


# What attack.py does, and what that is called.
ATTACKS = {"connects": "connections that come and go", "silent": "silent connections", "claims": "claims of huge lengths",
           "handshakes": "TLS handshakes that stay half done", "passwords": "wrong passwords",
           "malformed": "malformed frames", "subscribing": "subscribing to # in a loop",
           "not-reading": "subscribers that never read, and a flood for them"}


def attacked(name, title, *kinds):
    return Scenario(f"attack-{name}", title, "flow", dict(publishers=1, subscribers=1, topics=1, payload=64, rate=1000),
                    ("pubsubd-attacked",), metric="attack", goal=Goal(at_most=10) if len(kinds) > 1 else None,
                    judged="pubsubd-attacked", group="attack", attacks=kinds, seconds=4.0)


def replay(subscribers):
    return Scenario(f"replay-{subscribers}", "Replay of {messages} messages to {subscribers}, 64 B", "replay",
                    dict(messages=1000000, subscribers=subscribers, payload=64), STORES, metric="replay",
                    goal=Goal(at_least=60), seconds=0.8, judged="pubsubd-stored", group="stored", patience_s=180,
                    once=("nats",), quick_args=dict(messages=100000))


# Mosquitto queues 1,000 messages for a subscriber and drops what is beyond.
MOSQUITTO_QUEUE = {"mosquitto": 32 * KIB}
LARGE = {"*": 1 * MIB}  # a few large messages
# With a wide fan-out each byte under way is under way to every subscriber: so many that a broker has a share of a second
# to work off, and that Mosquitto's queue holds.
FAN_100 = {"mosquitto": 16 * KIB}
FAN_1000 = {"mosquitto": 4 * KIB, "*": 64 * KIB}
FAN_10000 = {"mosquitto": 1, "*": 2 * KIB}
# Redis refuses the 10,001st connection by default.
REDIS_CONNECTIONS = {"redis": ("--maxclients", "19000")}
ONE_MESSAGE = {"*": 1}  # the least that the generator keeps under way: two messages

SCENARIOS = (
    one_to_one("one-16", 16, "16 B", Goal(at_most=0.03, times_best=20), MOSQUITTO_QUEUE),
    one_to_one("one-256", 256, "256 B", Goal(at_most=0.11), {"mosquitto": 128 * KIB}),
    one_to_one("one-4k", 4 * KIB, "4 KiB", Goal(at_most=1.2), {}),
    one_to_one("one-64k", 64 * KIB, "64 KiB", Goal(at_most=20), LARGE),
    fan_out("fan-10", 10, Goal(at_most=0.02), MOSQUITTO_QUEUE),
    fan_out("fan-100", 100, Goal(at_most=0.014, times_best=16), FAN_100),
    fan_out("fan-1000", 1000, Goal(at_most=0.018, times_best=21), FAN_1000),
    Scenario("ten-to-ten", "10 to 10, 10 topics, 64 B", "flow",
             dict(publishers=10, subscribers=10, topics=10, payload=64), ALL, goal=Goal(at_most=0.06), windows=MOSQUITTO_QUEUE),
    Scenario("wildcards", "{wildcards} wildcard subscriptions, random topics, 64 B", "wildcards",
             dict(wildcards=10000, subscribers=10, payload=64), BROKERS, goal=Goal(at_most=0.15, times_best=20),
             windows={"mosquitto": 32 * KIB, "redis": 16 * KIB}),
    Scenario("interleaved", "{topics} topics interleaved to 1, 64 B", "flow",
             dict(publishers=1, subscribers=1, topics=1000, payload=64, interleave=True), BROKERS, windows=MOSQUITTO_QUEUE),
    Scenario("acked", "1 to 1, 64 B, each acknowledged", "acked",
             dict(publishers=1, subscribers=1, topics=1, payload=64), (*OURS, "redis-tcp", "redis-unix", "mosquitto-tcp"), windows=MOSQUITTO_QUEUE),
    Scenario("mixed", "Mixed load: 1,000 topics, 50 subscribers, one slow", "mixed", dict(publishers=4),
             (*OURS, *OTHERS_TCP), seconds=1.5, windows={"mosquitto": 64 * KIB}),
    Scenario("pingpong-tcp", "Ping-pong over TCP, 16 B", "pingpong", dict(payload=16),
             (*TCP, "relay-tcp"), metric="round", goal=Goal(above_floor=2)),
    Scenario("pingpong-unix", "Ping-pong over a Unix socket, 16 B", "pingpong", dict(payload=16),
             ("pubsubd-unix", "redis-unix", "mosquitto-unix", "relay-unix"), metric="round", goal=Goal(above_floor=2),
             judged="pubsubd-unix"),
    Scenario("idle", "{subscribers} idle connections", "idle", dict(subscribers=5000), (*OURS, *OTHERS_TCP),
             metric="connection", goal=Goal(at_most=1.0), quick_args=dict(subscribers=1000)),
    Scenario("stall", "One stalled subscriber beside a fast one, 256 B", "stall", dict(payload=256), TCP,
             metric="beside", goal=Goal(at_least=95, told_exactly=True), windows={"mosquitto": 128 * KIB}, seconds=2.5),
    Scenario("connections-10", "1 to {subscribers} connections, small batches, 64 B", "scale-conns",
             dict(subscribers=10, payload=64), (*TCP, "relay-tcp"), windows=FAN_10000),
    Scenario("connections-10000", "1 to {subscribers} connections, small batches, 64 B", "scale-conns",
             dict(subscribers=10000, payload=64), (*TCP, "relay-tcp"), windows=FAN_10000, settings=REDIS_CONNECTIONS,
             seconds=1.5, quick_args=dict(subscribers=2000), patience_s=60),
    Scenario("burst-10000", "One message at a time to {subscribers} subscribers, 64 B", "flow",
             dict(publishers=1, subscribers=10000, topics=1, payload=64), (*TCP, "relay-tcp"), windows=ONE_MESSAGE,
             settings=REDIS_CONNECTIONS, quick_args=dict(subscribers=2000), patience_s=60),
    Scenario("subscriptions-1", "{subscriptions} subscription, 64 B", "scale-subs",
             dict(subscriptions=1, subscribers=1, payload=64), TCP, windows=MOSQUITTO_QUEUE),
    Scenario("subscriptions-10", "{subscriptions} subscriptions of {subscribers}, 64 B to random ones", "scale-subs",
             dict(subscriptions=10, subscribers=10, payload=64), TCP, windows=MOSQUITTO_QUEUE),
    Scenario("subscriptions-1m", "{subscriptions} subscriptions of {subscribers}, 64 B to random ones", "scale-subs",
             dict(subscriptions=1000000, subscribers=10, payload=64), TCP, windows=MOSQUITTO_QUEUE,
             quick_args=dict(subscriptions=100000), once=("nats", "mosquitto"), patience_s=120),
    Scenario("topics-1m", "{topics} distinct topics to 1, 64 B", "scale-topics", dict(topics=1000000, payload=64), TCP,
             windows=MOSQUITTO_QUEUE, quick_args=dict(topics=100000), once=("mosquitto",), patience_s=60),
    Scenario("big-1m", "1 to 1, 1 MiB", "flow", dict(publishers=1, subscribers=1, topics=1, payload=MIB), ALL,
             windows={"*": 4 * MIB}),
    tls_flow("one-64", 1, 64, "64 B", MOSQUITTO_QUEUE),
    tls_flow("one-1k", 1, KIB, "1 KiB", {}),
    tls_flow("fan-64", 10, 64, "64 B", MOSQUITTO_QUEUE),
    tls_flow("fan-1k", 10, KIB, "1 KiB", {}),
    tls_connects("tls-handshakes", "Connections, {subscribers} under way: full handshakes", TLS),
    tls_connects("tls-resumed", "Connections, {subscribers} under way: resumed sessions", TLS[:3], resume=True),
    *(attacked(kind, title[0].upper() + title[1:], kind) for kind, title in ATTACKS.items()),
    attacked("all", "All of these at once", *ATTACKS),
    stored("stored-1", "1 publisher that waits for each, 64 B", goal=Goal(of_floor=50), peers=(*STORES, *STORE_FLOOR),
           publishers=1, **{"in-flight": 1}),
    stored("stored-256", "{publishers} publishers, {in-flight} in flight each, 64 B", goal=Goal(times_of=("stored-1", 40)),
           publishers=4, **{"in-flight": 64}),
    stored("stored-batch", "1 publisher, batches of {batch}, 64 B", metric="stored_cpu", goal=Goal(at_most=1.5),
           publishers=1, **{"in-flight": 100, "batch": 100}),
    stored("stored-flood", "1 publisher, {in-flight} in flight, 64 B", publishers=1, **{"in-flight": 4096}),
    replay(1),
    replay(10),
    Scenario("readers", "{subscribers} readers of one stream, {messages} messages of 4 KiB", "readers",
             dict(subscribers=1000, messages=2000, payload=4 * KIB), STORES, metric="readers", goal=Goal(at_most=64),
             judged="pubsubd-stored", group="stored", once=("nats",), patience_s=300, quick_args=dict(subscribers=100)),
)


@dataclasses.dataclass(frozen=True)
class Growth:
    """A pair of figures that shows how the cost of a delivered message grows.

    Each end is a scenario and the key of a figure there. The second may be at most `at_most` times the first.
    """
    title: str
    small: tuple
    large: tuple
    at_most: float = 1.5


GROWTH = (
    Growth("From 10 to {subscribers} connections", ("connections-10", "cpu_us_per_delivered"),
           ("connections-10000", "cpu_us_per_delivered")),
    Growth("From 1 to {subscriptions} subscriptions", ("subscriptions-1", "cpu_us_per_delivered"),
           ("subscriptions-1m", "cpu_us_per_delivered")),
    Growth("From 10 to {subscriptions} subscriptions, both of 10 connections",
           ("subscriptions-10", "cpu_us_per_delivered"), ("subscriptions-1m", "cpu_us_per_delivered")),
    Growth("From an empty to a full queue of a stalled subscriber", ("stall", "cpu_us_alone"), ("stall", "cpu_us_beside")),
)


def by_name(name):
    return next((scenario for scenario in SCENARIOS if scenario.name == name), None)
