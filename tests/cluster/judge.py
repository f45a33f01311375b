"""What brokers owe to those that use them, judged from what these have noted; no broker is needed for it.

A publisher has as many lives as it has connections, and begins to count with each of them: a message is known by the life
(any hashable) and its number, from 1. Readers note what comes in the order in which it comes."""
import dataclasses
import itertools


@dataclasses.dataclass
class Life:
    """Of a publisher: up to which number it has sent, and up to which it knows that the broker has it in its queues."""
    name: tuple
    sent: int = 0
    settled: int = 0


@dataclasses.dataclass
class Notes:
    """Of one connection of a reader.

    since: {life's name: number that was sent when its subscription held}; what was sent later is owed to it. A life that is
    not in there began later. None: nobody knows when it held, so what is owed begins with what comes first.
    events: (life's name, number), or None for a GAP.
    is_whole: it lasted to the end of the trial, so what was sent last is owed to it, too.
    """
    since: dict | None
    events: list = dataclasses.field(default_factory=list)
    is_whole: bool = True


@dataclasses.dataclass
class Live:
    """What became of messages that no stream keeps."""
    received: int = 0
    gaps: int = 0
    unsaid: list = dataclasses.field(default_factory=list)   # holes without a GAP: (life's name, first, last)
    doubled: int = 0
    disordered: int = 0


def judge_live(notes, lives):
    """lives: {name: Life} of all publishers."""
    found = Live(gaps=sum(event is None for event in notes.events))
    last = {}       # name: the last number that came
    said_at = {}    # name: how many GAPs there were when it came
    gaps = 0
    for event in notes.events:
        if event is None:
            gaps += 1
            continue
        name, number = event
        found.received += 1
        begin = number - 1 if notes.since is None else min(notes.since.get(name, 0), number - 1)
        before = last.get(name, begin)
        if number == before:
            found.doubled += 1
        elif number < before:
            found.disordered += 1
        else:
            if number > before + 1 and said_at.get(name, 0) == gaps:
                found.unsaid.append((name, before + 1, number - 1))
            last[name] = number
        said_at[name] = gaps
    if notes.is_whole:
        found.unsaid += list(owed(notes, lives, last, said_at, gaps))
    return found


def owed(notes, lives, last, said_at, gaps):
    """What is missing at the end of each life, without a GAP since its last message."""
    for name, life in lives.items():
        if notes.since is None and name not in last:
            continue
        before = last[name] if name in last else notes.since.get(name, 0)
        if before < life.settled and said_at.get(name, 0) == gaps:
            yield name, before + 1, life.settled


@dataclasses.dataclass
class Account:
    """Of a publisher to a shared stream: what it was told of its numbers, from 1. in_flight: it sends no number before the one
    that is so much lower is answered."""
    name: tuple
    sent: int = 0
    acknowledged: set = dataclasses.field(default_factory=set)
    refused: set = dataclasses.field(default_factory=set)
    in_flight: int = 1


@dataclasses.dataclass
class Stored:
    """What became of messages of a stream."""
    acknowledged: int = 0
    refused: int = 0
    kept_though_refused: int = 0
    lost: list = dataclasses.field(default_factory=list)       # (publisher's name, number): acknowledged, and not there
    doubled: list = dataclasses.field(default_factory=list)
    unknown: list = dataclasses.field(default_factory=list)    # nobody has sent it
    overtaken: int = 0     # by what its publisher sent before this one was answered: may be, when another server takes the lead
    disordered: int = 0    # behind what was sent when this one was answered


def judge_stored(found, accounts):
    """found: (publisher's name, number) of all that is in the stream, in the order of positions. accounts: {name: Account}."""
    result = Stored(sum(len(account.acknowledged) for account in accounts.values()),
                    sum(len(account.refused) for account in accounts.values()))
    there, last = set(), {}
    for who in found:
        name, number = who
        account = accounts.get(name)
        if account is None or number > account.sent:
            result.unknown.append(who)
        elif who in there:
            result.doubled.append(who)
        elif number + account.in_flight <= last.get(name, 0):
            result.disordered += 1
        elif number < last.get(name, 0):
            result.overtaken += 1
        if account is not None:
            result.kept_though_refused += who not in there and number in account.refused
        there.add(who)
        last[name] = max(number, last.get(name, 0))
    for account in accounts.values():
        result.lost += [(account.name, number) for number in sorted(account.acknowledged) if (account.name, number) not in there]
    return result


def holes(positions):
    """Of what a reader of a stream has noted, positions and None for a GAP: (before, behind) where positions are missing, or go
    back, and no GAP says so."""
    return [(a, b) for a, b in itertools.pairwise(positions) if a is not None and b is not None and b != a + 1]
