"""One trial of a failure: publishers and readers at all brokers, what is done to them, and what became of it."""
import dataclasses
import threading
import time

from cluster import NatsClient, wait_for
from judge import holes, judge_live, judge_stored
from parties import LIVE, LivePublisher, Reader, StoredPublisher, StreamReader, Wrong, read_stream

SHIFTED = 5000  # a message has at most so much lower a position after another server leads the stream, whose copy differs
PATIENCE_S = 120
NOTED_S = 6     # see let_servers_note()
CONFIG = """
[stream orders]
topics = orders/#
store = jetstream
replicas = 3
max_bytes = 0
"""


@dataclasses.dataclass
class Result:
    """What is counted of a trial, or of several together."""
    times: int = 0
    live: int = 0              # messages that live readers received
    gaps: int = 0
    unsaid: int = 0            # holes that no GAP told
    doubled_live: int = 0
    disordered: int = 0
    overtaken: int = 0         # stored behind what its publisher sent while it was under way
    acknowledged: int = 0      # at level 3
    lost: int = 0              # of these
    doubled: int = 0
    refused: int = 0
    resent: int = 0
    diverged: int = 0          # trials after which the servers' own copies of the stream differed
    longest_ms: int = 0        # until an acknowledgement
    wrong: list = dataclasses.field(default_factory=list)   # sentences

    def add(self, other):
        for field in dataclasses.fields(self):
            mine, others = getattr(self, field.name), getattr(other, field.name)
            setattr(self, field.name, max(mine, others) if field.name == "longest_ms" else mine + others)

    def is_good(self):
        return not (self.wrong or self.unsaid or self.lost or self.doubled or self.disordered or self.doubled_live)


def first_difference(read):
    """What each has there, and how many places there are; each is (stream, [(position, who)])."""
    found = [list(places) for places in zip(*(one[1] for one in read)) if any(place != places[0] for place in places)]
    return (found[0], len(found)) if found else "nowhere: one ends earlier"


class Trial:
    """options: times in seconds and such, by name, which a failure asks for (see failures.py).
    begin: where the stream's readers begin, as in SUB."""

    def __init__(self, cluster, number, rng, options, begin):
        self.cluster, self.number, self.rng, self.options, self.begin = cluster, number, rng, options, begin
        self.wants_more = True
        self.hosts = range(len(cluster.brokers))
        self.publishers = [LivePublisher(self, host, self.broker_of(host)) for host in self.hosts]
        self.storing = [StoredPublisher(self, host, self.next_broker(host)) for host in self.hosts]
        self.readers = [Reader(self, f"reader-{host}", self.broker_of(host), f"{LIVE}/#", scope="cluster") for host in self.hosts]
        self.streams = [StreamReader(self, f"stream-{host}", self.broker_of(host), begin) for host in self.hosts]
        self.forgives_loss = False   # the stream was removed under them: what it held is gone
        self.noted = []
        self.next_begin = begin      # for readers of the next trial with the same cluster

    def broker_of(self, host):
        return lambda: self.cluster.brokers[host]

    def next_broker(self, host):
        """Its own host's, or if that does not run the next one."""
        def choose():
            for n in range(len(self.hosts)):
                broker = self.cluster.brokers[(host + n) % len(self.hosts)]
                if broker.process and broker.process.poll() is None:
                    return broker
            return self.cluster.brokers[host]
        return choose

    def everybody(self):
        return [*self.readers, *self.streams, *self.publishers, *self.storing]

    def sent_by_now(self):
        return {life.name: life.sent for publisher in self.publishers for life in publisher.past}

    def lives(self):
        return {life.name: life for publisher in self.publishers for life in publisher.past}

    def check(self):
        for party in self.everybody():
            if party.failure:
                raise party.failure

    def wait_for(self, condition, what, seconds=PATIENCE_S):
        def is_so():
            self.check()
            return condition()
        wait_for(is_so, what, seconds)

    # What failures wait for.

    def sleep(self, name):
        """As long as the option says."""
        time.sleep(self.options[name])

    def settled(self, host):
        return sum(life.settled for life in self.publishers[host].past)

    def heard(self, reader, host):
        """How many messages of a host a host's reader has."""
        return self.readers[reader].heard.get(host, 0)

    def stream_name(self):
        """What the servers call the stream."""
        return next(name for name in self.cluster.streams() if "orders" in name)

    def stored(self):
        return [len(publisher.account.acknowledged) for publisher in self.storing]

    def refused(self):
        return [len(publisher.account.refused) for publisher in self.storing]

    def refusals(self):
        """{(code, text): how often}"""
        found = {}
        for publisher in self.storing:
            for what, count in publisher.texts.items():
                found[what] = found.get(what, 0) + count
        return found

    def await_flow(self, hosts=None, count=200, stored=True):
        """So many more messages come, at each of these hosts from each of them, and are stored."""
        hosts = list(self.hosts if hosts is None else hosts)
        pairs = [(reader, host) for reader in hosts for host in hosts]
        before = {pair: self.heard(*pair) for pair in pairs}
        kept = self.stored()
        self.wait_for(lambda: all(self.heard(*pair) >= before[pair] + count for pair in pairs)
                      and (not stored or all(self.stored()[host] > kept[host] for host in hosts)),
                      lambda: f"messages go between {hosts}; since {before}: { {pair: self.heard(*pair) for pair in pairs} }, "
                              f"stored {kept}: {self.stored()}")

    # Its course.

    def run(self, failure):
        """Returns the result."""
        began = [*self.readers, *self.streams]
        try:
            for party in began:
                party.start()
            self.wait_for(lambda: all(reader.is_on.is_set() for reader in began), "subscriptions hold")
            for party in (*self.publishers, *self.storing):
                party.start()
            self.await_flow(count=20)
            failure(self)
            self.await_flow(count=20)
            self.wants_more = False
            self.wait_for(lambda: all(p.is_settled() for p in (*self.publishers, *self.storing)), "all is answered in the end")
            return self.judge()
        finally:
            ends = [threading.Thread(target=self.end_quietly, args=(party,)) for party in self.everybody() if party.is_alive()]
            for thread in ends:
                thread.start()
            for thread in ends:
                thread.join()

    @staticmethod
    def end_quietly(party):
        party.is_over.set()
        party.join(PATIENCE_S)

    def judge(self):
        """When all publishers are done: what was owed has come, or does within patience."""
        result = Result(times=1)
        live = self.await_right(lambda: [judge_live(notes, self.lives()) for reader in self.readers for notes in reader.notes],
                                lambda found: not any(one.unsaid for one in found))
        for one in live:
            result.live += one.received
            result.gaps += one.gaps
            result.unsaid += len(one.unsaid)
            result.doubled_live += one.doubled
            result.disordered += one.disordered
            self.noted += [f"unsaid hole: {hole}" for hole in one.unsaid]
        self.note_count("live messages came twice", result.doubled_live)
        self.note_count("live messages came behind later ones", result.disordered)
        self.judge_streams(result)
        result.resent = sum(publisher.resent for publisher in self.storing)
        result.longest_ms = int(max(publisher.longest_s for publisher in self.storing) * 1000)
        result.wrong += self.noted
        return result

    def note_count(self, what, count):
        self.noted += [f"{count} {what}"] if count else []

    def await_right(self, look, is_right, seconds=60):
        """What look() says once that is right, or at last."""
        deadline = time.monotonic() + seconds
        while not is_right(found := look()) and time.monotonic() < deadline:
            self.check()
            time.sleep(0.1)
        return found

    def copies(self):
        """How the servers' own copies of the stream differ, as their files say, in this trial's messages; "": they don't. It is
        nats-server that lets them (docs/cluster.md)."""
        held = [server.holds(self.stream_name()) for server in self.cluster.servers]
        end = min(max(one, default=0) for one in held)   # what came last may not be in all files yet
        first = max(1, self.first_position())
        places = [place for place in range(first, end + 1) if any(one.get(place) != held[0].get(place) for one in held)]
        if not places:
            return ""
        return (f"the servers' own copies differ at {len(places)} positions, {places[0]} to {places[-1]}: the first are "
                f"{[one.get(places[0]) for one in held]}")

    def mend_copies(self):
        """As the guide says: all get that of the server that leads. Else the next trials would find what this one has left."""
        name = self.stream_name()
        with NatsClient(self.cluster.servers[0]) as client:
            for replicas in (1, len(self.cluster.servers)):
                config = client.api(f"STREAM.INFO.{name}")["config"]
                answer = client.api(f"STREAM.UPDATE.{name}", **{**config, "num_replicas": replicas})
                if "error" in answer:
                    raise Wrong(f"the copies can't be mended: {answer['error']}")
                self.cluster.await_copies()
            self.wait_for(lambda: not self.copies(), lambda: f"the copies are the same again: {self.copies()}")
            self.let_servers_note(client)

    def let_servers_note(self, client):
        """nats-server 2.9 that is killed before it has noted that there are several copies again may come back with the stream for
        itself, as it was in between. It notes that when a consumer goes, if it hasn't for five seconds."""
        name = f"{self.stream_name()}.noted"
        time.sleep(NOTED_S)
        config = {"name": "noted", "ack_policy": "none", "num_replicas": 1, "mem_storage": True}
        answers = [client.api(f"CONSUMER.CREATE.{name}", stream_name=self.stream_name(), config=config),
                   client.api(f"CONSUMER.DELETE.{name}")]
        if any(answer is None or "error" in answer for answer in answers):
            raise Wrong(f"a consumer could not be made and removed: {answers}")

    def first_position(self):
        return self.begin[2] if self.begin != "all" else 1

    def read_own(self, broker):
        """What a broker reads of this trial: (the stream's number, [(position, who)])."""
        begin = "all"
        if self.begin != "all" and not self.forgives_loss and self.first_position() > SHIFTED:
            begin = [*self.begin[:2], self.first_position() - SHIFTED]
        stream, found = read_stream(broker, begin)
        return stream, [one for one in found if one[1][0][0] == self.number]

    def judge_streams(self, result):
        accounts = {publisher.account.name: publisher.account for publisher in self.storing}
        read = self.await_right(lambda: [self.read_own(broker) for broker in self.cluster.brokers],
                                lambda read: all(one == read[0] for one in read))
        if any(one != read[0] for one in read):
            self.noted.append(f"brokers read different things in the stream: {[(one[0], len(one[1])) for one in read]} messages; "
                              f"where they differ first: {first_difference(read)}")
        stream, found = read[0]
        stored = judge_stored([who for _, who in found], accounts)
        result.acknowledged, result.refused = stored.acknowledged, stored.refused
        result.lost, result.doubled = 0 if self.forgives_loss else len(stored.lost), len(stored.doubled)
        result.disordered += stored.disordered
        result.overtaken = stored.overtaken
        self.note_count("messages are stored behind others that were sent when they were answered", stored.disordered)
        self.noted += [f"acknowledged and lost: {who}" for who in stored.lost[:3] if not self.forgives_loss]
        self.noted += [f"stored twice: {who}" for who in stored.doubled[:3]]
        self.noted += [f"stored, and never sent: {who}" for who in stored.unknown[:3]]
        self.await_right(self.copies, lambda differs: not differs, seconds=3)
        differs = self.copies()
        result.diverged = int(bool(differs))
        if differs and (self.noted or result.lost or result.doubled):
            self.noted.append(differs)
        self.next_begin = ["seq", stream, found[-1][0] + 1] if found else "all"
        end = found[-1][1] if found else None
        self.await_right(lambda: [reader.notes[-1].found[-1:] for reader in self.streams if reader.notes],
                         lambda ends: all(one == [end] for one in ends))
        for reader in self.streams:
            for notes in reader.notes:
                result.unsaid += len(holes(notes.positions))
                self.noted += [f"{reader.name} has a hole in its positions: {hole}" for hole in holes(notes.positions)[:3]]
            if reader.notes[-1].found[-1:] != [end]:
                self.noted.append(f"{reader.name} ends with {reader.notes[-1].found[-1:]}, not with {end}")
        if differs:
            self.mend_copies()
