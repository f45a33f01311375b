"""A client of the pubsub broker for asyncio, in one file. It needs Python 3.11 and msgpack.

    import asyncio, pubsub

    async def main() -> None:
        async with pubsub.connect("tcp://127.0.0.1:7717") as client:
            readings = await client.subscribe("site/+/temp")
            await client.publish("site/a/temp", {"t": 21.5})
            async for item in readings:
                if isinstance(item, pubsub.Gap):
                    print("lost:", item)            # losses stand where they happened
                else:
                    print(item.topic, item.value)

    asyncio.run(main())

What it takes care of: a broken connection is made again (full jitter, several addresses), subscriptions and what was not
acknowledged are sent again; publishing waits for the broker's answer and several may be under way; every loss is an item
of the subscription, between the messages where it happened; and a slow reader is sent no more than it has room for.

What it does not do: it starts no threads, and everything belongs to the event loop that connect() was awaited on.

Memory is bounded: a frame by `max_frame`, what waits to be published by `outbox_bytes`, what waits to be read by
`window` messages for each subscription. Nothing is allocated because of a length that a peer merely claims.

Errors are PubSubError and its subclasses, with the protocol's `code` and one sentence. Time ran out: TimeoutError.
The wire protocol is mps/1 (PROTOCOL.md).
"""
from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import enum
import ipaddress
import itertools
import logging
import os
import random
import secrets
import ssl
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, Union, cast

import msgpack  # type: ignore[import]

__all__ = [
    "Ack", "AuthError", "Client", "Closed", "ConnectFailed", "ConnectionLost", "DocumentError", "Gap", "Mark", "Message",
    "Nobody", "ProtocolError", "PubAck", "PubSubError", "Refused", "Stat", "State", "Subscription", "TakenOver", "Will",
    "connect",
]
__version__ = "0.1.0"

DEFAULT_URL = "tcp://127.0.0.1:7717"
MAX_FRAME_BYTES = (1 << 20) + 8192  # the largest payload that a broker allows by default, and the head around it
HEAD_MAX_BYTES = 8192               # of a frame, all but a payload: also what any frame but a MSG may be long
NUMBER_MAX = 2**53 - 1
SID_MAX = 2**31 - 1
ITEMS_MAX = 65536                   # losses and marks that may wait to be read, beside the messages
_ORPHANS_MAX = 1024                 # messages that wait for a subscription which the program has not made yet
DOCUMENT_DEPTH, DOCUMENT_VALUES = 32, 10000

log = logging.getLogger("pubsub")

(_HELLO, _MSG, _PUB, _FOR, _ACK, _CREDIT, _GAP, _PUBACK, _SUB, _SUBACK, _UNSUB, _MARK, _PING, _PONG, _STAT, _AUTH, _WELCOME,
 _ERR, _BYE, _INFO) = (*range(1, 16), *range(18, 23))
_MALFORMED, _UNKNOWN_OP, _LIMIT, _STATE = 101, 103, 104, 105
_AUTH_FAILED, _TAKEN_OVER = 108, 109
_FOR_GOOD = {101, 102, 103, 104, 105, 106, 107, 108, 109, 117}  # what a broker would say again to the same client


# ---- errors ------------------------------------------------------------------------------------------------------

class PubSubError(Exception):
    """Something that the broker or this client could not do. `code` is the protocol's (PROTOCOL.md, Codes), or 0."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class ConnectFailed(PubSubError):
    """No connection came about."""


class ConnectionLost(PubSubError):
    """The connection broke before the answer was there; whether it was done is not known."""


class Closed(PubSubError):
    """The client has ended, and does not come back by itself."""


class AuthError(Closed):
    """The broker does not believe who the client says it is."""


class TakenOver(Closed):
    """Another connection took over this client id."""


class ProtocolError(Closed):
    """The peer does not speak mps/1 as it must."""


class Refused(PubSubError):
    """The broker said no to this one thing; the connection goes on."""


class Nobody(Refused):
    """Nobody is subscribed, where somebody had to be (217)."""


class DocumentError(ValueError):
    """The payload is not the one msgpack document that it should be."""


def _refusal(code: int, text: str) -> Refused:
    return (Nobody if code == 217 else Refused)(text or f"refused with code {code}", code)


# ---- what a program gets -----------------------------------------------------------------------------------------

class Ack(enum.IntEnum):
    """How far a message must have come before publish() returns."""
    NONE = 0        #: written to the connection; lost if that breaks, and a refusal is only logged
    ROUTED = 1      #: in the queue of every subscription that matched
    STORED = 2      #: in the topic's stream, on disk
    REPLICATED = 3  #: on the disks of a majority


class State(enum.Enum):
    """What on_state is told."""
    CONNECTED = "connected"
    LOST = "lost"
    ENDED = "ended"


@dataclasses.dataclass(frozen=True, slots=True)
class PubAck:
    """The broker's answer to one published message."""
    code: int             #: 0; 1: nobody matched; 2: it had been accepted on an earlier connection, the rest says nothing
    matched: int          #: subscriptions that it matched
    dropped: int          #: its copies that full queues refused
    stream: int | None    #: where it is stored (Ack.STORED)
    seq: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """Messages that matched the subscription were lost here, between the item before and the item behind."""
    count: int | None     #: exactly so many; None: nobody can know
    reason: int           #: PROTOCOL.md, GAP; 0: they were on their way when the connection broke, or came meanwhile
    stream: int | None = None
    first: int | None = None  #: of a stream: the positions first..last are gone; 0..0: it is another one now, read from its beginning
    last: int | None = None

    REASONS = {
        0: "connection_lost", 1: "drop_old", 2: "drop_new", 3: "superseded", 4: "expired", 5: "retention", 6: "offline_limit",
        7: "too_large", 8: "max_tries", 9: "broker_restarted", 10: "blocked_too_long", 11: "memory_budget", 12: "damaged",
        13: "not_allowed_any_more", 14: "between_brokers",
    }

    def __str__(self) -> str:
        reason = self.REASONS.get(self.reason, f"reason {self.reason}")
        where = f", positions {self.first} to {self.last} of stream {self.stream}" if self.stream is not None else ""
        return f"{'an unknown number of' if self.count is None else self.count} messages ({reason}{where})"


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A place in what a subscription receives; only with marks=True."""
    kind: Literal["retained_done", "caught_up"]


@dataclasses.dataclass(frozen=True, slots=True)
class Stat:
    """A subscription's counts at the broker: matched = sent + lost + queued, always."""
    matched: int
    sent: int
    lost: int
    queued: int
    queued_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when the connection ends otherwise than by close()."""
    topic: str
    value: object = None
    raw: bytes | None = None
    retain: bool = False
    delay_ms: int = 0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message. Its methods ack(), ack_upto(), nack() and reject() are for subscriptions with `ack`."""
    topic: str
    payload: bytes                    #: as it was published
    props: Mapping[int | str, Any]    #: integer keys are the protocol's, text keys the application's
    retained: bool = False            #: the topic's last value, sent because of the subscription
    replayed: bool = False            #: from a stream's history
    redelivered: bool = False         #: sent before and not acknowledged
    stream: int | None = None         #: position in a stream
    seq: int | None = None
    time_ms: int | None = None        #: Unix time of its arrival at the broker, of the first of a row
    tries: int = 1                    #: how often it was sent
    subscription: Subscription | None = dataclasses.field(default=None, repr=False)

    @property
    def is_document(self) -> bool:
        """Whether it says to be a msgpack document, and not bytes of another kind."""
        return 3 not in self.props

    @property
    def value(self) -> Any:
        """The payload's msgpack document. DocumentError: it is none, or deeper or larger than anybody needs."""
        if not self.is_document:
            raise DocumentError(f"the payload is of content type {self.props[3]!r}, not a msgpack document")
        scanner = _Scanner(len(self.payload), DOCUMENT_DEPTH, DOCUMENT_VALUES, any_value=True)
        try:
            scanner.feed(self.payload)
            if scanner.next() != self.payload:
                raise DocumentError("the payload is not exactly one msgpack document")
            return msgpack.unpackb(self.payload, strict_map_key=False)
        except (ProtocolError, ValueError, TypeError) as error:
            if isinstance(error, DocumentError):
                raise
            raise DocumentError(f"the payload is no msgpack document: {error}") from None

    @property
    def headers(self) -> dict[str, Any]:
        """The application's properties."""
        return {key: value for key, value in self.props.items() if isinstance(key, str)}

    @property
    def reply_to(self) -> str | None:
        """The topic that an answer is to be published to: Client.reply()."""
        return self.props.get(1)

    @property
    def content_type(self) -> str | int | None:
        """None: a msgpack document; 0: raw bytes; a text: a media type."""
        return self.props.get(3)

    @property
    def key(self) -> Any:
        return self.props.get(6)

    def ack(self) -> None:
        """This one is done."""
        self._settle(1)

    def ack_upto(self) -> None:
        """This one and all earlier ones of its stream are done."""
        self._settle(0)

    def nack(self, delay_ms: int = 0) -> None:
        """Not done: send it again, after delay_ms."""
        self._settle(2, delay_ms)

    def reject(self) -> None:
        """It can't be done: never again. The broker publishes it below $dead/."""
        self._settle(3)

    def _settle(self, kind: int, delay_ms: int | None = None) -> None:
        if self.subscription is None or not self.subscription._has_ack:
            raise ValueError("only messages of a subscription with ack can be acknowledged")
        if self.stream is not None and self.seq is not None:  # those of transient topics need none
            self.subscription._settle(self.stream, self.seq, kind, delay_ms)


Item: TypeAlias = Union[Message, Gap, Mark]
Policy: TypeAlias = Literal["drop_old", "drop_new", "latest", "close", "block", "spill"]
From: TypeAlias = Union[str, Sequence[Any]]


# ---- bytes -------------------------------------------------------------------------------------------------------

_FIXED, _SIZED, _ARRAY, _MAP, _NOTHING = range(5)


def _shape(byte: int) -> tuple[int, int, int]:
    """What a value's first byte says: its kind, the bytes of its head (of a fixed one: of all), and the bytes of its
    length or, negative, one less than the negated count that stands in the byte."""
    if byte <= 0x7F or byte >= 0xE0 or byte in (0xC0, 0xC2, 0xC3):
        return _FIXED, 1, 0
    if byte <= 0x8F:
        return _MAP, 1, -1 - (byte & 15)
    if byte <= 0x9F:
        return _ARRAY, 1, -1 - (byte & 15)
    if byte <= 0xBF:
        return _FIXED, 1 + (byte & 31), 0
    fixed = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9,
             0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18}
    sized = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
    if byte in fixed:
        return _FIXED, fixed[byte], 0
    if byte in sized:
        return _SIZED, 1 + sized[byte], sized[byte]
    if 0xC7 <= byte <= 0xC9:
        return _SIZED, 2 + (1 << byte - 0xC7), 1 << byte - 0xC7
    if byte in (0xDC, 0xDD):
        return _ARRAY, 1 + (2 << byte - 0xDC), 2 << byte - 0xDC
    if byte in (0xDE, 0xDF):
        return _MAP, 1 + (2 << byte - 0xDE), 2 << byte - 0xDE
    return _NOTHING, 1, 0


_SHAPES = [_shape(byte) for byte in range(256)]


class _Scanner:
    """Finds where a frame ends, without recursion, judging every claim before its body is there. Goes on where it was
    interrupted, so the cost is linear however the bytes arrive."""

    def __init__(self, max_bytes: int, max_depth: int = 4, max_values: int = 256, any_value: bool = False) -> None:
        self._max_bytes, self._max_depth, self._max_values, self._any = max_bytes, max_depth, max_values, any_value
        self._buffer = bytearray()
        self._start = 0               # of the frame
        self._begin()

    def _begin(self) -> None:
        self._at = self._start        # the next value's head; may lie behind what is there
        self._owed: list[int] = []    # values that are still to come, of each open container
        self._values = 0

    def feed(self, data: bytes) -> None:
        if self._start > 0:
            del self._buffer[:self._start]
            self._at -= self._start
            self._start = 0
        self._buffer += data

    def next(self) -> bytes | None:
        """The next whole frame; None: more bytes are needed."""
        buffer, owed, at = self._buffer, self._owed, self._at
        have = len(buffer)
        while self._values == 0 or owed:
            if at >= have:
                self._at = at
                return None
            kind, size, extra = _SHAPES[buffer[at]]
            if at + size > have and kind != _FIXED:
                self._at = at
                return None
            if self._values == 0 and kind != _ARRAY and not self._any or kind == _NOTHING:
                raise ProtocolError(f"the byte {buffer[at]:02x} does not begin a {'value' if self._values else 'frame'}", _MALFORMED)
            self._values += 1
            count = length = 0
            if extra > 0:
                length = int.from_bytes(buffer[at + 1:at + 1 + extra], "big")
            elif extra < 0:
                length = -1 - extra
            if kind == _SIZED:
                size += length
            elif kind != _FIXED:
                count = length << (kind == _MAP)
            at += size
            if owed:
                owed[-1] -= 1
            if kind in (_ARRAY, _MAP):
                if len(owed) >= self._max_depth:
                    raise ProtocolError(f"more than {self._max_depth} containers in each other", _LIMIT)
                owed.append(count)
                if self._values + count > self._max_values:
                    raise ProtocolError(f"more than {self._max_values} values", _LIMIT)
            if self._values > self._max_values:
                raise ProtocolError(f"more than {self._max_values} values", _LIMIT)
            if at - self._start > self._max_bytes:
                raise ProtocolError(f"longer than the limit of {self._max_bytes} bytes", _LIMIT)
            while owed and owed[-1] == 0:
                owed.pop()
        if at > have:
            self._at = at
            return None
        frame = bytes(buffer[self._start:at])
        self._start = at
        self._begin()
        return frame


def _map(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for key, value in pairs:
        if not isinstance(key, (str, int)) or isinstance(key, bool):
            continue  # no key of the protocol's
        if key in made:
            raise ProtocolError(f"the key {key!r} stands twice in a map", _MALFORMED)
        made[key] = value
    return made


def _decode(frame: bytes) -> list[Any]:
    """A frame that was scanned."""
    try:
        # What is no UTF-8 stays visible, for _Fields.text() to refuse; in elements that nobody reads it does no harm.
        fields = msgpack.unpackb(frame, strict_map_key=False, unicode_errors="surrogateescape", object_pairs_hook=_map)
    except (ValueError, TypeError) as error:
        raise ProtocolError(f"a frame can't be read: {error}", _MALFORMED) from None
    if not fields or type(fields[0]) is not int or not 0 <= fields[0] <= 127:
        raise ProtocolError("a frame does not begin with an operation from 0 to 127", _MALFORMED)
    return cast("list[Any]", fields)


class _Fields:
    """The fields of a frame, each judged when it is asked for."""

    def __init__(self, frame: list[Any]) -> None:
        self._frame = frame

    def any(self, at: int) -> Any:
        """None also where it was left out."""
        return self._frame[at] if at < len(self._frame) else None

    def uint(self, at: int, limit: int = NUMBER_MAX) -> int:
        value = self.any(at)
        if type(value) is not int or not 0 <= value <= limit:
            raise self.wrong(at, f"a number from 0 to {limit}")
        return value

    def optional_uint(self, at: int, limit: int = NUMBER_MAX) -> int | None:
        return None if self.any(at) is None else self.uint(at, limit)

    def text(self, at: int) -> str:
        value = self.any(at)
        if not isinstance(value, str) or not _is_text(value):
            raise self.wrong(at, "a text of UTF-8 without NUL")
        return value

    def bin(self, at: int) -> bytes:
        value = self.any(at)
        if not isinstance(value, bytes):
            raise self.wrong(at, "bytes")
        return value

    def map(self, at: int) -> dict[Any, Any]:
        value = self.any(at)
        if not isinstance(value, dict):
            raise self.wrong(at, "a map")
        return value

    def wrong(self, at: int, due: str) -> ProtocolError:
        return ProtocolError(f"element {at} of a frame of operation {self._frame[0]} is not {due}", _MALFORMED)


def _is_text(value: str) -> bool:
    try:
        return "\0" not in value and (value.isascii() or bool(value.encode()))
    except UnicodeEncodeError:  # a surrogate: _decode() met what is no UTF-8
        return False


def _check_topic(topic: str) -> None:
    length = len(topic.encode(errors="replace"))
    if not 1 <= length <= 255 or not _is_text(topic) or topic.count("/") >= 32 or "+" in topic or "#" in topic:
        raise ValueError(f"the topic {topic!r} is not 1 to 255 bytes of text in at most 32 levels without '+' and '#'")


def _make_props(reply_to: str | None, correlation: Any, content_type: str | int | None, ttl_ms: int | None, key: Any,
                headers: Mapping[str, Any] | None) -> dict[int | str, Any] | None:
    known = {1: reply_to, 2: correlation, 3: content_type, 4: ttl_ms, 6: key}
    props: dict[int | str, Any] = {name: value for name, value in known.items() if value is not None}
    if headers:
        if not all(isinstance(name, str) for name in headers):
            raise ValueError("a header's name is not a text")
        props.update(headers.items())
    return props or None


def _pack(value: object) -> bytes:
    return cast(bytes, msgpack.packb(value))


# ---- addresses ---------------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True, slots=True)
class _Address:
    kind: str
    path: str = ""
    host: str = ""
    port: int = 0
    text: str = ""


def _parse_url(url: str) -> _Address:
    if url.startswith("unix:"):
        path = url[5:].removeprefix("//")
        if not path:
            raise ValueError(f"the URL {url!r} names no path")
        return _Address("unix", path=path, text=url)
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("tcp", "tls") or parts.path or parts.username is not None:
        raise ValueError(f"the URL {url!r} is not unix:/path, tcp://host:port or tls://host:port")
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or not port:
        raise ValueError(f"the URL {url!r} names no host or no port from 1 to 65535")
    return _Address(parts.scheme, host=parts.hostname, port=port, text=url)


def _default_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _is_loopback(writer: asyncio.StreamWriter) -> bool:
    peer = writer.get_extra_info("peername")
    return not isinstance(peer, tuple) or ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback


# ---- subscriptions -----------------------------------------------------------------------------------------------

class Subscription:
    """What Client.subscribe() returns: iterate it for messages and gaps, in the order in which they came.

    Iterating ends after unsubscribe() and Client.close(), and raises what ended the client or the subscription."""

    def __init__(self, client: Client, sid: int, pattern: str, options: dict[str, Any], window: int, marks: bool) -> None:
        self.sid, self.pattern = sid, pattern
        self.granted: dict[str, Any] = {}  #: what the broker granted otherwise than asked for
        self._client, self._options, self._window, self._marks = client, options, window, marks
        self._has_ack = options.get("ack", "none") != "none"
        self._is_reader = (self._has_ack or bool(options.get("durable")) or options.get("policy") == "spill"
                           or options.get("from", "new") != "new")
        self._items: collections.deque[Item] = collections.deque()
        self._held: list[Item] | None = None      # what came before it is known what the last connection took along
        self._waiter: asyncio.Future[None] | None = None
        self._messages = 0                        # of _items and _held
        self._received = self._credit = 0         # messages in all, as the broker counts, and how many it may have sent
        self._counted = False                     # whether _received is what the broker had sent
        self._transient = False                   # a message without position has come
        self._moving = False                      # what comes before SUBACK came from a place that was given up
        self._caught_up = False
        self._began = asyncio.get_running_loop().time()
        self._next: dict[int, int] = {}           # of each stream: the position behind what was received
        self._unsettled: dict[tuple[int, int], None] = {}
        self._acks_due: collections.deque[list[Any]] = collections.deque(maxlen=ITEMS_MAX)
        self._granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[tuple[int, int]] | None = None  # unsubscribe() waits
        self._stats: collections.deque[asyncio.Future[Stat] | None] = collections.deque()  # None: one of our own
        self._over = False
        self._error: PubSubError | None = None
        self._caught: asyncio.Event = asyncio.Event()

    # -- for the program

    def __aiter__(self) -> AsyncIterator[Message | Gap]:
        return cast("AsyncIterator[Message | Gap]", self)

    async def __anext__(self) -> Item:
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._over:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("another task is waiting for this subscription's next item")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._items.popleft()
        if isinstance(item, Message):
            self._messages -= 1
            self._grant()
        return item

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._over:
            await self.unsubscribe()

    async def next(self, timeout: float | None = None) -> Message | Gap:
        """The next item. TimeoutError: none came in so many seconds; StopAsyncIteration: there will be none."""
        async with asyncio.timeout(timeout):
            return cast("Message | Gap", await self.__anext__())

    async def caught_up(self) -> None:
        """Waits until all history has come to this client that was there when the subscription began (with from_)."""
        await self._caught.wait()
        if self._error is not None:
            raise self._error

    async def stat(self) -> Stat:
        """Asks the broker for this subscription's counts. ConnectionLost: there is none now."""
        connection = self._client._connection_now()
        waiting: asyncio.Future[Stat] = asyncio.get_running_loop().create_future()
        self._stats.append(waiting)
        connection.send(_STAT, self.sid)
        return await waiting

    async def unsubscribe(self) -> tuple[int, int]:
        """Ends it, its place in streams too. Returns how many messages it was sent, and how many it lost, in all."""
        if self._ended is None:
            if self._over:
                return 0, 0
            self._ended = asyncio.get_running_loop().create_future()
            self._client._send_if_up(_UNSUB, self.sid)
        return await asyncio.shield(self._ended)

    # -- from the connection

    def _sub_frame(self, resumed: bool) -> list[Any]:
        options: dict[str, Any] = {**self._options, "credit": 0 if resumed else self._credit}
        begin = options.get("from", "new")
        if isinstance(begin, list) and begin[0] == "ago":  # the same moment as when it was made
            options["from"] = begin = ["ago", begin[1] + int(1000 * (asyncio.get_running_loop().time() - self._began))]
        goes_on = self._next and "group" not in options and (
            begin != "last_per_topic" or self._caught_up)
        if self._is_reader and goes_on and not (resumed and self._has_ack):
            places = dict(self._next)
            for stream, seq in self._unsettled:
                places[stream] = min(places[stream], seq)
            pairs = [number for place in list(places.items())[:64] for number in place]
            options["from"] = ["seq", *pairs, "new" if isinstance(begin, list) and begin[0] == "seq" else begin]
            self._moving = resumed
            if not resumed:
                self._next = places
                self._unsettled.clear()
        return [_SUB, self.sid, self.pattern, options]

    def _connected(self, connection: _Connection, first: bool, resumed: bool, same_history: bool) -> None:
        """Says what this subscription is, behind WELCOME or when it is new (first)."""
        self._stats.clear()
        if not same_history:
            self._next.clear()
            self._unsettled.clear()
            if isinstance(self._options.get("from"), list) and self._options["from"][0] == "seq":
                self._options["from"] = "all"
        if self._ended is not None:
            connection.send(_UNSUB, self.sid)
            return
        if not resumed:
            # In a session credit is said by CREDIT alone: that of a SUB would hold again when the broker has restarted.
            self._received, self._counted = 0, True
            self._credit = 0 if "sess" in self._client._hello else self._window - self._messages
        connection.send(*self._sub_frame(resumed))
        if not first and not resumed and (not self._is_reader or self._transient):
            self._put(Gap(None, 0))
        if resumed:  # credit goes on from what the broker counted
            self._held = self._held if self._held is not None else []
            self._stats.append(None)
            connection.send(_STAT, self.sid)
            while self._acks_due:
                connection.send(*self._acks_due.popleft())
        else:
            self._acks_due.clear()

    def _lost(self, error: PubSubError) -> None:
        self._release()
        for waiting in self._stats:
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
        self._stats.clear()

    def _take(self, message: Message) -> None:
        self._received += 1
        if self._received > self._credit and self._counted:
            raise ProtocolError(f"more messages came on subscription {self.sid} than it had credit for", _STATE)
        if message.stream is not None and message.seq is not None:
            if self._moving or (not self._has_ack and message.seq < self._next.get(message.stream, 0)):
                return  # it comes again, or has come
            self._next[message.stream] = max(self._next.get(message.stream, 0), message.seq + 1)
            if self._has_ack:
                self._unsettled[message.stream, message.seq] = None
        else:
            self._transient = self._transient or not message.retained
        if not self._counted and self._messages >= self._window + _ORPHANS_MAX:
            self._put(Gap(1, 0))  # more than this program has room for, sent for another one's credit
            return
        self._messages += 1
        self._put(message)

    def _gap(self, gap: Gap) -> None:
        if gap.stream is not None and gap.last == 0:  # it is another stream now, which is read from its beginning
            self._next[gap.stream] = 1
            for place in [place for place in self._unsettled if place[0] == gap.stream]:
                del self._unsettled[place]
        elif gap.stream is not None and gap.last is not None:
            if self._moving:
                return
            self._next[gap.stream] = max(self._next.get(gap.stream, 0), gap.last + 1)
            if gap.reason == 8 and gap.first == gap.last:
                self._unsettled.pop((gap.stream, gap.last), None)
        self._put(gap)

    def _suback(self, code: int, granted: Any) -> None:
        self._moving = False
        if code == 0:
            self.granted = granted if isinstance(granted, dict) else {}
            if not self._granted.done():
                self._granted.set_result(None)
            self._grant()
            return
        error = _refusal(code, granted if isinstance(granted, str) else "")
        self._client._subs.pop(self.sid, None)
        if not self._granted.done():
            self._granted.set_exception(error)
        self._end(error)

    def _mark(self, kind: int, counts: Any) -> None:
        if kind == 1 and self._marks:
            self._put(Mark("retained_done"))
        elif kind == 2:
            self._caught_up = True
            self._caught.set()
            if self._marks:
                self._put(Mark("caught_up"))
        elif kind == 4:
            self._client._subs.pop(self.sid, None)
            counts = counts if isinstance(counts, dict) else {}
            if self._ended is not None and not self._ended.done():
                self._ended.set_result((counts.get("sent", 0), counts.get("lost", 0)))
            self._end(None)

    def _stat(self, stat: Stat) -> None:
        waiting = self._stats.popleft() if self._stats else None
        if waiting is not None:
            if not waiting.done():
                waiting.set_result(stat)
            return
        if self._held is None:
            return
        lost = stat.sent - self._received if self._counted and not self._is_reader and "group" not in self._options else 0
        if lost > 0:
            self._held.insert(0, Gap(lost, 0))
        self._received, self._credit, self._counted = stat.sent, stat.sent, True
        self._release()
        self._grant()

    def _release(self) -> None:
        held, self._held = self._held, None
        for item in held or ():
            self._put(item)

    def _put(self, item: Item) -> None:
        items = self._items if self._held is None else self._held
        if len(items) > ITEMS_MAX + self._window:
            raise ProtocolError(f"more than {ITEMS_MAX} losses and marks wait on subscription {self.sid}", _LIMIT)
        last = items[-1] if items else None
        if isinstance(item, Gap) and isinstance(last, Gap) and (item.reason, item.stream) == (last.reason, None):
            items[-1] = Gap(None if item.count is None or last.count is None else item.count + last.count, item.reason)
        else:
            items.append(item)
        if self._held is None:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _grant(self) -> None:
        """Lets the broker send as many as there is room for, when that is worth a frame."""
        total = self._received + self._window - self._messages
        if self._over or self._ended is not None or not self._granted.done():
            return
        if self._counted and self._held is None and total - self._credit >= max(1, self._window // 2):
            if self._client._send_if_up(_CREDIT, self.sid, total):
                self._credit = total

    def _settle(self, stream: int, seq: int, kind: int, delay_ms: int | None) -> None:
        if kind == 0:
            for position in [place for place in self._unsettled if place[0] == stream and place[1] <= seq]:
                del self._unsettled[position]
        else:
            self._unsettled.pop((stream, seq), None)
        frame = [_ACK, self.sid, stream, seq, kind] + ([] if delay_ms is None else [delay_ms])
        if not self._client._send_if_up(*frame):
            self._acks_due.append(frame)

    def _end(self, error: PubSubError | None) -> None:
        self._over, self._error = True, error
        self._lost(error or Closed("the subscription has ended"))
        if self._granted.done() is False:
            self._granted.set_exception(error or Closed("the client was closed"))
        if self._granted.done() and not self._granted.cancelled():
            self._granted.exception()  # seen, also if nobody waits for it any more
        if self._ended is not None and not self._ended.done():
            self._ended.set_result((0, 0))
        self._caught.set()
        self._wake()


# ---- a connection ------------------------------------------------------------------------------------------------

@dataclasses.dataclass(slots=True, eq=False)
class _Publish:
    """A message on its way to the broker."""
    frame: bytes
    flags: int
    pid: int                      # 0: not acknowledged
    done: asyncio.Future[PubAck]
    request: int | None = None    # it ends with its connection


class _Connection:
    """One connection and what holds for it alone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_frame: int) -> None:
        loop = asyncio.get_running_loop()
        self.reader, self.writer = reader, writer
        self.scanner = _Scanner(max(max_frame, HEAD_MAX_BYTES))
        self.flags = 0                       # of the last PUB
        self.first_pid = True
        self.terms: tuple[int, int, int | None, int, int | None, int] | None = None  # of the last FOR
        self.sent_at = self.received_at = loop.time()
        self.pongs: collections.deque[tuple[bytes, asyncio.Future[None] | None]] = collections.deque()

    def send(self, *frame: Any) -> None:
        self.write(_pack(frame))

    def write(self, data: bytes) -> None:
        if not self.writer.transport.is_closing():  # else who reads will see it
            self.sent_at = asyncio.get_running_loop().time()
            self.writer.write(data)

    async def frame(self) -> list[Any]:
        """The next frame. EOFError: there is none."""
        while True:
            frame = self.scanner.next()
            if frame is not None:
                return _decode(frame)
            data = await self.reader.read(65536)
            if not data:
                raise EOFError("the broker ended the connection")
            self.received_at = asyncio.get_running_loop().time()
            self.scanner.feed(data)

    def close(self) -> None:
        self.writer.close()


# ---- the client --------------------------------------------------------------------------------------------------

class Client:
    """One logical connection to a broker. Made by connect()."""

    def __init__(self, addresses: list[_Address], hello: dict[str, Any], *, tls: ssl.SSLContext | None, in_clear: bool,
                 max_frame: int, outbox_bytes: int, connect_timeout: float, reconnect: bool, reconnect_min: float,
                 reconnect_max: float, on_state: Callable[[State, str], None] | None) -> None:
        self.client_id: str = hello.get("id", "")  #: what the broker calls this client
        self.welcome: dict[str, Any] = {}          #: what the broker said in WELCOME
        self._addresses, self._hello, self._tls, self._in_clear = addresses, hello, tls, in_clear
        self._max_frame, self._outbox_bytes, self._connect_timeout = max_frame, outbox_bytes, connect_timeout
        self._reconnect, self._reconnect_min, self._reconnect_max = reconnect, reconnect_min, reconnect_max
        self._on_state = on_state
        self._connection: _Connection | None = None
        self._connected_before = False
        self._epoch = 0
        self._error: PubSubError | None = None     # why it has ended
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._subs: dict[int, Subscription] = {}
        self._last_sid = 0
        self._orphans: dict[int, list[Message | Gap]] = {}  # of subscriptions of the session that are not asked for yet
        self._adopts = False
        self._next_pid = 1
        self._unanswered: collections.deque[_Publish] = collections.deque()  # with pid, the lowest first
        self._unwritten: collections.deque[_Publish] = collections.deque()
        self._inflight = 0                         # pids written on this connection and not answered: the first ones
        self._written_pid = 0                      # the highest that was ever written
        self._waiting_bytes = 0                    # of all in _unanswered, and of the others in _unwritten
        self._order = asyncio.Lock()               # publishes take their places in the order of their calls
        self._room: asyncio.Event = asyncio.Event()
        self._requests: dict[int, asyncio.Queue[Message | PubSubError]] = {}
        self._last_request = 0
        self._replies_lost = 0

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        return self._connection is not None

    # -- publishing

    async def publish(self, topic: str, value: object = None, *, raw: bytes | None = None, ack: Ack | int = Ack.ROUTED,
                      retain: bool = False, must_route: bool = False, headers: Mapping[str, Any] | None = None,
                      ttl_ms: int | None = None, key: Any = None, content_type: str | None = None,
                      reply_to: str | None = None, correlation: Any = None) -> PubAck:
        """Publishes one message and waits for the broker's answer, over reconnects too.

        value         anything that msgpack can pack: the payload is this document
        raw           or bytes, sent as they are; content_type may say of what media type
        ack           how far it must have come; with Ack.NONE it returns when the message is written
        retain        keep it as the topic's last value; clear() ends that
        must_route    nobody subscribed is an error: Nobody
        ttl_ms        it is not delivered any more after so long at the broker
        key           what `latest` and groups keep together; left out: the topic

        Raises ValueError (bad topic or properties, before anything is sent), Refused, Closed. With a session
        (connect(session_s=...)) it is published exactly once, however often the connection breaks; without, perhaps
        twice, never lost in silence."""
        return await (await self.submit(topic, value, raw=raw, ack=ack, retain=retain, must_route=must_route, headers=headers,
                                        ttl_ms=ttl_ms, key=key, content_type=content_type, reply_to=reply_to,
                                        correlation=correlation))

    async def submit(self, topic: str, value: object = None, *, raw: bytes | None = None, ack: Ack | int = Ack.ROUTED,
                     retain: bool = False, must_route: bool = False, headers: Mapping[str, Any] | None = None,
                     ttl_ms: int | None = None, key: Any = None, content_type: str | None = None,
                     reply_to: str | None = None, correlation: Any = None) -> asyncio.Future[PubAck]:
        """As publish(), but returns as soon as there is room in the outbox, with a future of the answer: so many can be
        under way. Messages are sent in the order of the calls."""
        if raw is not None and value is not None:
            raise ValueError("a message has a value or raw bytes, not both")
        if raw is None and content_type is not None:
            raise ValueError("content_type is of raw bytes")
        kind = None if raw is None else (content_type or 0)
        payload = _pack(value) if raw is None else bytes(raw)
        props = _make_props(reply_to, correlation, kind, ttl_ms, key, headers)
        return await self._submit(topic, props, payload, int(ack), retain, must_route)

    async def clear(self, topic: str) -> PubAck:
        """Ends the retained value of a topic."""
        return await (await self._submit(topic, None, b"", Ack.ROUTED, True, False))

    async def _submit(self, topic: str, props: dict[int | str, Any] | None, payload: bytes, level: int, retain: bool,
                      must_route: bool, request: int | None = None) -> asyncio.Future[PubAck]:
        _check_topic(topic)
        if not 0 <= level <= 3:
            raise ValueError(f"the acknowledgement level {level} is not within 0..3")
        limit = self.welcome.get("max_payload", 1 << 20)
        if len(payload) > limit:
            raise ValueError(f"the payload's {len(payload)} bytes are over the broker's limit of {limit}")
        frame = _pack([_MSG, topic, props, payload])
        if len(frame) - len(payload) > HEAD_MAX_BYTES:
            raise ValueError(f"topic and properties take more than {HEAD_MAX_BYTES} bytes")
        # Each is answered by itself, so that every caller learns of his own.
        flags = retain * 1 | level << 1 | must_route * 8 | (16 if level else 0)
        async with self._order:
            while self._error is None and self._waiting_bytes > 0 and self._waiting_bytes + len(frame) > self._outbox_bytes:
                self._room.clear()
                await self._room.wait()
            if self._error is not None or self._closing:
                raise self._error or Closed("the client was closed")
            if request is not None and not self._requests[request].empty():
                raise ConnectionLost("the connection broke before the request was sent")
            message = _Publish(frame, flags, self._next_pid if level else 0, asyncio.get_running_loop().create_future(), request)
            self._waiting_bytes += len(frame)
            if level:
                self._next_pid += 1
                self._unanswered.append(message)
            self._unwritten.append(message)
            self._write_due()
        connection = self._connection
        if connection is not None:
            try:
                await connection.writer.drain()
            except OSError:
                pass  # who reads will see it, and everything else goes on from there
        return message.done

    def _write_due(self) -> None:
        """Writes what the window allows."""
        connection = self._connection
        window = self.welcome.get("pub_window", 1)
        while connection is not None and self._unwritten:
            message = self._unwritten[0]
            if message.pid and self._inflight >= window:
                return
            self._unwritten.popleft()
            if message.pid and connection.first_pid or message.flags != connection.flags:
                connection.send(_PUB, message.pid, message.flags)
                connection.flags = message.flags
                connection.first_pid = connection.first_pid and not message.pid
            connection.write(message.frame)
            if message.pid:
                self._inflight += 1
                self._written_pid = max(self._written_pid, message.pid)
            else:
                self._settled(message, PubAck(0, 0, 0, None, None))

    def _settled(self, message: _Publish, result: PubAck | PubSubError) -> None:
        self._waiting_bytes -= len(message.frame)
        self._room.set()
        if message.done.done():
            return
        if isinstance(result, PubAck):
            message.done.set_result(result)
        else:
            message.done.set_exception(result)
            if message.request is not None:
                message.done.exception()  # whoever asked hears it from the queue
        if message.request is not None and isinstance(result, PubSubError):
            self._answer(message.request, result)

    def _puback(self, fields: _Fields) -> None:
        pid, code = fields.uint(1), fields.uint(2)
        ack = PubAck(code, fields.uint(3), fields.uint(4), fields.optional_uint(5), fields.optional_uint(6))
        first = self._unanswered[0].pid if self._unanswered else self._next_pid
        if pid < first and code < 100:
            return  # settled before
        if pid >= first + self._inflight or (code >= 100 and pid != first):
            raise ProtocolError(f"PUBACK of {pid} with code {code}, which is not due", _STATE)
        while self._unanswered and self._unanswered[0].pid <= pid:
            message = self._unanswered.popleft()
            self._inflight -= 1
            text = fields.any(7)
            self._settled(message, ack if code < 100 else _refusal(code, text if isinstance(text, str) else ""))
        self._write_due()

    async def flush(self) -> None:
        """Waits until all that was published before is answered, and the broker has processed what needs no answer."""
        while self._unanswered:
            last = self._unanswered[-1].done
            await asyncio.wait([last])
        await self.ping()

    async def ping(self) -> None:
        """Returns when the broker has processed all that was sent before. ConnectionLost: it broke meanwhile."""
        connection = self._connection_now()
        token, done = secrets.token_bytes(8), asyncio.get_running_loop().create_future()
        connection.pongs.append((token, done))
        connection.send(_PING, token)
        await done

    # -- subscribing

    async def subscribe(self, pattern: str, *, policy: Policy | None = None, max_msgs: int | None = None,
                        max_bytes: int | None = None, block_ms: int | None = None,
                        then: Literal["drop_old", "drop_new", "close"] | None = None, filter: str | None = None,
                        group: str | None = None, from_: From | None = None,
                        ack: Literal["none", "upto", "each"] | None = None, ack_ms: int | None = None,
                        max_tries: int | None = None, inflight: int | None = None, durable: bool = False,
                        retained: bool | Literal["new"] = True, no_local: bool = False,
                        scope: Literal["local", "cluster"] | None = None, window: int = 256, marks: bool = False,
                        sid: int | None = None) -> Subscription:
        """Subscribes to a topic or a pattern ('+' is one level, '#' at the end all the rest), and returns when the broker
        has granted it. Refused: it did not.

        policy, max_msgs, max_bytes, block_ms, then   what a full queue at the broker does, and when it is full
        filter     only messages of which this is true: 'temp > 30 and site == "a"'
        group      each message goes to one of those that are subscribed with this name
        from_      where in the streams it begins: "new", "all", ("last", n), ("seq", stream, n, ..), ("time", ms),
                   ("ago", ms), "acked", "last_per_topic"
        ack        "upto" or "each": messages of streams come again until Message.ack() or the like is called
        durable    the place in streams outlives this program (needs client_id and session_s)
        retained   whether the topics' last values come first; "new": only if the session has no such subscription
        scope      "cluster": returns when all brokers of the cluster know of it; where that can't be had, `granted` has "local"
        window     the most messages that wait here to be read; the broker keeps the others
        marks      Mark items, too
        sid        its number; give one where a session goes on after the program's restart

        After a reconnect it is made again. A reader of streams (from_, ack, durable, "spill") goes on without a loss. Any
        other gets a Gap of reason 0 where the connection broke: with the exact count if the session was resumed."""
        if self._error is not None or self._closing:
            raise self._error or Closed("the client was closed")
        if not 1 <= window <= 1 << 20:
            raise ValueError(f"the window {window} is not within 1..1048576")
        given = {"policy": policy, "max_msgs": max_msgs, "max_bytes": max_bytes, "block_ms": block_ms, "then": then,
                 "filter": filter, "group": group, "from": list(from_) if from_ and not isinstance(from_, str) else from_,
                 "ack": ack, "ack_ms": ack_ms, "max_tries": max_tries, "inflight": inflight, "durable": durable or None,
                 "retained": {True: None, "new": 1, False: 2}[retained], "no_local": no_local or None,
                 "scope": scope}
        if sid is None:
            while self._last_sid == 0 or self._last_sid in self._subs:
                self._last_sid += 1
            sid = self._last_sid
        elif not 1 <= sid <= SID_MAX or sid in self._subs:
            raise ValueError(f"the sid {sid} is taken, or not within 1..{SID_MAX}")
        options = {name: value for name, value in given.items() if value is not None}
        subscription = Subscription(self, sid, pattern, options, window, marks)
        self._subs[sid] = subscription
        if self._connection is not None:
            adopts = self._adopts
            if adopts:
                subscription._held = list(self._orphans.pop(sid, []))
                subscription._messages = sum(isinstance(item, Message) for item in subscription._held)
                for item in subscription._held:
                    if isinstance(item, Message):
                        object.__setattr__(item, "subscription", subscription)
                        if item.stream is not None and item.seq is not None:
                            subscription._next[item.stream] = item.seq + 1
                            if subscription._has_ack:
                                subscription._unsettled[item.stream, item.seq] = None
            subscription._connected(self._connection, True, adopts, True)
        try:
            await asyncio.shield(subscription._granted)
        except asyncio.CancelledError:  # nobody would ever read it
            subscription._ended = asyncio.get_running_loop().create_future()
            self._send_if_up(_UNSUB, sid)
            raise
        return subscription

    # -- requests

    async def request(self, topic: str, value: object = None, *, raw: bytes | None = None, timeout: float = 5.0,
                      headers: Mapping[str, Any] | None = None) -> Message:
        """Asks whoever serves the topic and returns the first answer. Nobody: nobody is there (at once); TimeoutError;
        ConnectionLost: the connection broke, and whether it was served is not known."""
        replies = self.request_many(topic, value, raw=raw, timeout=timeout, headers=headers, max_replies=1)
        async with contextlib.aclosing(replies):
            async for reply in replies:
                return reply
        lost = f"; the broker said that {self._replies_lost} answers to this client were lost" if self._replies_lost else ""
        raise TimeoutError(f"no answer on {topic!r} in {timeout} s{lost}")

    async def request_many(self, topic: str, value: object = None, *, raw: bytes | None = None, timeout: float = 5.0,
                           headers: Mapping[str, Any] | None = None, max_replies: int | None = None) -> AsyncGenerator[Message, None]:
        """As request(), for all answers that come within `timeout` seconds, or the first `max_replies`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        inbox = self.welcome.get("inbox")
        if self._connection is None or inbox is None:
            self._connection_now()
            raise Refused("the broker has no inboxes", 0)
        self._last_request += 1
        number, queue = self._last_request, asyncio.Queue[Message | PubSubError](1024)
        self._requests[number] = queue
        try:
            props = _make_props(f"{inbox}/{number}", None, None if raw is None else 0, None, None, headers)
            try:
                async with asyncio.timeout_at(deadline):
                    await self._submit(topic, props, _pack(value) if raw is None else raw, Ack.ROUTED, False, True, number)
            except TimeoutError:
                return
            count = 0
            while max_replies is None or count < max_replies:
                try:
                    async with asyncio.timeout_at(deadline):
                        answer = await queue.get()
                except TimeoutError:
                    return
                if isinstance(answer, PubSubError):
                    raise answer
                count += 1
                yield answer
        finally:
            del self._requests[number]

    async def reply(self, request: Message, value: object = None, *, raw: bytes | None = None,
                    headers: Mapping[str, Any] | None = None, must_route: bool = False) -> PubAck:
        """Answers a message that asks for it. ValueError: it names no topic for answers."""
        if request.reply_to is None:
            raise ValueError("the message names no topic for answers")
        return await self.publish(request.reply_to, value, raw=raw, headers=headers, must_route=must_route,
                                  correlation=request.props.get(2))

    def _answer(self, number: int, answer: Message | PubSubError) -> None:
        queue = self._requests.get(number)
        if queue is not None and not queue.full():
            queue.put_nowait(answer)
        elif queue is not None:
            self._replies_lost += 1

    # -- ending

    async def close(self, timeout: float = 5.0) -> None:
        """Waits until what was published is answered, says BYE, and ends. What is not answered in `timeout` seconds
        fails with Closed."""
        if self._closing:
            return
        self._closing = True
        try:
            async with asyncio.timeout(timeout):
                while self._unanswered and self._error is None:
                    await asyncio.wait([self._unanswered[-1].done])
                if self._connection is not None:
                    self._connection.send(_BYE, 0)
                    await asyncio.wait([self._tasks[0]])
        except TimeoutError:
            pass
        self._end(Closed("the client was closed"))
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, error: PubSubError) -> None:
        if self._error is not None:
            return
        self._error = error
        self._drop(error)
        for message in [*self._unanswered, *(message for message in self._unwritten if not message.pid)]:
            self._settled(message, error)
        self._unanswered.clear()
        self._unwritten.clear()
        for number in list(self._requests):
            self._answer(number, error)
        for subscription in list(self._subs.values()):
            subscription._end(None if self._closing else error)
        self._subs.clear()
        self._room.set()
        self._say(State.ENDED, error.text)

    # -- the connection

    def _connection_now(self) -> _Connection:
        if self._connection is None:
            raise self._error or ConnectionLost("there is no connection to the broker at this moment")
        return self._connection

    def _send_if_up(self, *frame: Any) -> bool:
        if self._connection is None:
            return False
        self._connection.send(*frame)
        return True

    def _say(self, state: State, text: str) -> None:
        log.info("%s: %s", state.value, text)
        if self._on_state is not None:
            try:
                self._on_state(state, text)
            except Exception:
                log.exception("on_state raised")

    async def _open(self, address: _Address) -> _Connection:
        """Connects and says HELLO; returns when WELCOME was there."""
        context = (self._tls or _default_tls()) if address.kind == "tls" else None
        if context is not None:
            context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
            context.set_alpn_protocols(["mps/1"])
        try:
            if address.kind == "unix":
                reader, writer = await asyncio.open_unix_connection(address.path)
            else:
                reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
        except OSError as error:
            raise ConnectFailed(f"cannot connect to {address.text}: {error.strerror or error}") from error
        connection = _Connection(reader, writer, self._max_frame)
        try:
            if "data" in self._hello and address.kind == "tcp" and not self._in_clear and not _is_loopback(writer):
                raise AuthError(f"token and password are not sent to {address.text} in clear; in_clear=True allows it")
            connection.send(_HELLO, "mps", 1, self._hello)
            frame = await connection.frame()
            if frame[0] == _BYE:
                end = self._bye(frame)
                raise end if isinstance(end, Closed) else ConnectFailed(end.text, end.code)
            fields = _Fields(frame)
            if frame[0] != _WELCOME or fields.uint(1) != 1:
                raise ProtocolError(f"{address.text} did not answer with WELCOME", _STATE)
            self._welcomed(connection, fields.map(2))
            return connection
        except BaseException as why:
            if isinstance(why, ProtocolError):
                connection.send(_BYE, why.code, why.text)
            connection.close()
            raise

    def _welcomed(self, connection: _Connection, options: dict[Any, Any]) -> None:
        def number(key: str, default: int, limit: int = NUMBER_MAX) -> int:
            value = options.get(key, default)
            if type(value) is not int or not 0 <= value <= limit:
                raise ProtocolError(f"WELCOME's {key} is no number", _MALFORMED)
            return value

        if not isinstance(options.get("id"), str) or not isinstance(options.get("inbox", ""), str):
            raise ProtocolError("WELCOME lacks the client's id, or its inbox is no text", _MALFORMED)
        epoch = options.get("epoch") or self._epoch  # 0: the broker doesn't know yet
        same_history = self._epoch in (0, epoch)
        self._epoch = epoch
        last_pid, resumed = number("last_pid", 0), options.get("resumed", False) is True
        self.welcome = {**options, "max_payload": number("max_payload", 1 << 20), "ka": number("ka", self._hello["ka"]),
                        "pub_window": max(1, number("pub_window", 1000))}
        self.client_id = options["id"]
        if "sess" in self._hello:  # it is found again by the id that the broker made up
            self._hello["id"] = self.client_id
        self._hello.pop("clean", None)
        first, self._connected_before = not self._connected_before, True
        self._adopts = first and resumed
        self._orphans.clear()
        if last_pid > self._written_pid:
            raise ProtocolError(f"WELCOME's last_pid is {last_pid}, which was not published yet", _STATE)
        self._unwritten.extendleft(reversed(list(itertools.islice(self._unanswered, self._inflight))))
        while self._unanswered and self._unanswered[0].pid <= last_pid:
            self._settled(self._unanswered.popleft(), PubAck(2, 0, 0, None, None))
        self._unwritten = collections.deque(message for message in self._unwritten if not 0 < message.pid <= last_pid)
        self._inflight = 0
        self._connection = connection
        for subscription in list(self._subs.values()):
            subscription._connected(connection, False, resumed, same_history)
        self._write_due()

    def _bye(self, frame: list[Any]) -> PubSubError:
        fields = _Fields(frame)
        code, text = fields.uint(1), fields.any(2)
        why = f"the broker closed the connection: {text if isinstance(text, str) else f'code {code}'}"
        if code == _AUTH_FAILED:
            return AuthError(why, code)
        if code == _TAKEN_OVER:
            return TakenOver(why, code)
        return (Closed if code in _FOR_GOOD else ConnectionLost)(why, code)

    def _drop(self, error: PubSubError) -> None:
        """The connection is gone."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if isinstance(error, ProtocolError):
            connection.close()  # when BYE is written
        else:
            connection.writer.transport.abort()
        for _, waiting in connection.pongs:
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
        for subscription in self._subs.values():
            subscription._lost(error)
        for message in self._unanswered:
            if message.request is not None:
                # Its pid has to be used up, and nobody hears what is published to an inbox that is gone.
                self._answer(message.request, error)
                message.request, message.flags = None, 2 | 16
                self._waiting_bytes -= len(message.frame)
                message.frame = _pack([_MSG, f"{self.welcome['inbox']}/0", None, b""])
                self._waiting_bytes += len(message.frame)
                message.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        for number in list(self._requests):
            self._answer(number, error)

    async def _run(self) -> None:
        """Reads, and connects again, until there is nothing more to be done."""
        failures = 0
        while self._error is None:
            if self._connection is None:
                await asyncio.sleep(random.uniform(0, min(self._reconnect_max, self._reconnect_min * 2**min(failures, 30))))
                failures += 1
            try:
                if self._connection is None:
                    await self._attempt(failures - 1)
                    self._say(State.CONNECTED, "connected again")
                began = asyncio.get_running_loop().time()
                await self._read(cast(_Connection, self._connection))
            except (PubSubError, OSError, EOFError, ssl.SSLError) as error:
                failed = error if isinstance(error, PubSubError) else ConnectionLost(str(error) or "the connection broke")
            except Exception as error:
                log.exception("a mistake of this client")
                failed = Closed(f"a mistake of this client: {error!r}")
            if self._connection is not None:
                if isinstance(failed, ProtocolError):
                    self._connection.send(_BYE, failed.code, failed.text)
                if asyncio.get_running_loop().time() - began > self._reconnect_max:
                    failures = 0
                if self._closing:
                    failed = Closed("the client was closed")
                self._drop(failed)
                if not self._closing:
                    self._say(State.LOST, failed.text)
            done = self._closing and not self._unanswered
            if isinstance(failed, Closed) or not self._reconnect or done:
                self._end(failed if isinstance(failed, Closed) else Closed(failed.text, failed.code))

    async def _attempt(self, number: int) -> None:
        address = self._addresses[number % len(self._addresses)]
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._open(address)
        except TimeoutError:
            raise ConnectFailed(f"{address.text} did not answer within {self._connect_timeout} s") from None
        except (OSError, EOFError) as error:
            raise ConnectFailed(f"{address.text} ended the connection before it was up: {error}") from None

    async def _read(self, connection: _Connection) -> None:
        pulse = asyncio.create_task(self._pulse(connection))
        try:
            while True:
                frame = await connection.frame()
                self._frame(connection, frame)
                if frame[0] == _PING:  # who does not take the answers gets no more of them
                    await connection.writer.drain()
        finally:
            pulse.cancel()

    async def _pulse(self, connection: _Connection) -> None:
        """Sends a PING when it was silent for half the keepalive, and breaks a connection that is dead."""
        keepalive = self.welcome["ka"]
        loop = asyncio.get_running_loop()
        while keepalive:
            await asyncio.sleep(keepalive / 8)
            now = loop.time()
            if now - connection.received_at > 1.5 * keepalive:
                connection.reader.feed_eof()
                connection.writer.transport.abort()
                return
            if now - min(connection.sent_at, connection.received_at) >= keepalive / 2 and not connection.pongs:
                connection.pongs.append((b"", None))
                connection.send(_PING, b"")

    # -- what the broker says

    def _frame(self, connection: _Connection, frame: list[Any]) -> None:
        op, fields = frame[0], _Fields(frame)
        if op == _MSG:
            self._message(connection, fields)
        elif op == _FOR:
            self._for(connection, fields)
        elif op == _PUBACK:
            self._puback(fields)
        elif op == _GAP:
            self._gap(fields)
        elif op == _PING:
            connection.send(_PONG, fields.bin(1))
        elif op == _PONG:
            token = fields.bin(1)
            if not connection.pongs or connection.pongs[0][0] != token:
                raise ProtocolError("PONG of a PING that was not sent", _STATE)
            waiting = connection.pongs.popleft()[1]
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        elif op == _BYE:
            raise self._bye(frame)
        elif op in (_SUBACK, _MARK, _STAT):
            self._about_subscription(op, fields)
        elif op == _ERR:
            code, text = fields.uint(1), fields.text(2)
            log.warning("the broker refused something (%d): %s", code, text)
        elif op == _INFO:
            self.welcome.update({key: value for key, value in fields.map(1).items() if key in ("max_payload", "pub_window")
                                 and type(value) is int and value > 0})
        elif op == _AUTH:
            fields.bin(1)  # this client has no more proof than it gave
        elif op in (_HELLO, _PUB, _ACK, _CREDIT, _SUB, _UNSUB, _WELCOME):
            raise ProtocolError(f"the operation {op} is not the broker's, or not at this time", _STATE)
        elif op < 64:
            raise ProtocolError(f"the operation {op} is unknown", _UNKNOWN_OP)

    def _about_subscription(self, op: int, fields: _Fields) -> None:
        sid = fields.uint(1, SID_MAX)
        subscription = self._subs.get(sid)
        if op == _STAT:
            stat = Stat(*(fields.uint(at) for at in range(2, 7)))
            if subscription is not None:
                subscription._stat(stat)
            return
        code = fields.uint(2)
        if subscription is None:
            return
        if op == _MARK:
            subscription._mark(code, fields.any(3))
        else:
            subscription._suback(code, fields.map(3) if code == 0 else fields.text(3))

    def _for(self, connection: _Connection, fields: _Fields) -> None:
        sid, stream, seq = fields.uint(1, SID_MAX), fields.optional_uint(3), fields.optional_uint(4)
        if (stream is None) != (seq is None):
            raise fields.wrong(4, "there exactly if element 3 is")
        connection.terms = (sid, fields.optional_uint(2) or 0, stream, seq or 0, fields.optional_uint(5),
                            fields.optional_uint(6) or 1)

    def _message(self, connection: _Connection, fields: _Fields) -> None:
        if connection.terms is None:
            raise ProtocolError("a MSG came before the first FOR", _STATE)
        sid, flags, stream, seq, time_ms, tries = connection.terms
        topic, props, payload = fields.text(1), fields.any(2), fields.bin(3)
        if props is not None and not isinstance(props, dict):
            raise fields.wrong(2, "a map or nil")
        if stream is not None:
            connection.terms = (sid, flags, stream, seq + 1, time_ms, tries)
        subscription = self._subs.get(sid)
        message = Message(topic, payload, props or {}, bool(flags & 1), bool(flags & 2), bool(flags & 4), stream,
                          seq if stream is not None else None, time_ms, tries, subscription)
        if subscription is not None:
            subscription._take(message)
        elif sid == 0:
            inbox, _, number = topic.rpartition("/")
            if inbox == self.welcome.get("inbox") and number.isdecimal() and len(number) < 16:
                self._answer(int(number), message)
        elif self._adopts:
            self._keep(sid, message)

    def _gap(self, fields: _Fields) -> None:
        sid = fields.uint(1, SID_MAX)
        gap = Gap(fields.optional_uint(2), fields.uint(3), fields.optional_uint(4), fields.optional_uint(5), fields.optional_uint(6))
        if sid in self._subs:
            self._subs[sid]._gap(gap)
        elif sid == 0:
            self._replies_lost += gap.count or 1
        elif self._adopts:
            self._keep(sid, gap)

    def _keep(self, sid: int, item: Message | Gap) -> None:
        """For a subscription of a session that goes on, of which this program has not said yet that it wants it."""
        kept = self._orphans.setdefault(sid, []) if len(self._orphans) < 256 else []
        if len(kept) < _ORPHANS_MAX:
            kept.append(item)
        elif isinstance(kept[-1], Gap) and kept[-1].reason == 0 and kept[-1].count is not None:
            kept[-1] = Gap(kept[-1].count + 1, 0)
        else:
            kept.append(Gap(1, 0))


# ---- connecting --------------------------------------------------------------------------------------------------

class _Connecting:
    """What connect() returns: await it, or use it in `async with`."""

    def __init__(self, make: Callable[[], Client], retry_first: bool) -> None:
        self._make, self._retry_first = make, retry_first
        self._client: Client | None = None

    async def _connect(self) -> Client:
        client = self._make()
        for number in range(len(client._addresses)):
            try:
                await client._attempt(number)
                client._say(State.CONNECTED, "connected")
                break
            except PubSubError as error:
                if number + 1 == len(client._addresses) and not self._retry_first or isinstance(error, Closed):
                    client._end(error)
                    raise
        client._tasks.append(asyncio.create_task(client._run()))
        return client

    def __await__(self) -> Generator[Any, None, Client]:
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._connect()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()


def connect(url: str | Sequence[str] | None = None, *, client_id: str | None = None, session_s: int = 0, clean: bool = False,
            token: bytes | None = None, user: str | None = None, password: str | None = None, certificate: bool = False,
            in_clear: bool = False, tls: ssl.SSLContext | None = None, keepalive_s: int = 60, will: Will | None = None,
            max_frame: int = MAX_FRAME_BYTES, outbox_bytes: int = 8 << 20, connect_timeout: float = 5.0,
            reconnect: bool = True, reconnect_min: float = 0.1, reconnect_max: float = 10.0, retry_first: bool = False,
            on_state: Callable[[State, str], None] | None = None) -> _Connecting:
    """Connects to a broker: `client = await connect(url)`, or `async with connect(url) as client:`, which closes it.

    url           unix:/path, tcp://host:port or tls://host:port, or several that are tried in turn; None: $PUBSUB_URL,
                  else tcp://127.0.0.1:7717
    client_id     who this is; None: the broker gives a name
    session_s     how many seconds the broker keeps subscriptions, what is queued for them, and which publishes it took,
                  when the connection is gone
    clean         forget an older session first
    token | user and password | certificate   how it proves who it is. Token and password are not sent in clear to another
                  machine, unless in_clear
    tls           a context with other than the system's certificates
    will          what the broker publishes when this client is gone without close()
    max_frame     the longest message that it takes, in bytes; a longer one is a Gap of reason 7
    outbox_bytes  publishing waits when so many bytes are not answered yet
    connect_timeout   seconds for a connection and its WELCOME
    reconnect     whether a broken connection is made again, after a random time up to reconnect_min seconds, doubled with
                  each failure up to reconnect_max
    retry_first   goes on in the background if the first attempt fails, instead of raising
    on_state      called with a State and why

    Raises ValueError (bad URL or option), ConnectFailed, AuthError, ProtocolError, Closed."""
    urls = [url or os.environ.get("PUBSUB_URL") or DEFAULT_URL] if url is None or isinstance(url, str) else list(url)
    addresses = [_parse_url(one) for one in urls]
    if not addresses:
        raise ValueError("no URL is given")
    if (token is not None) + (user is not None) + certificate > 1 or (user is None) != (password is None):
        raise ValueError("a client proves who it is by a token, by user and password, or by its certificate")
    hello: dict[str, Any] = {"ka": keepalive_s, "sw": f"pubsub.py {__version__}", "rx_max": max_frame}
    if client_id is not None:
        hello["id"] = client_id
    if session_s:
        hello.update(sess=session_s, boot=secrets.randbits(64) or 1)
    if clean:
        hello["clean"] = True
    if token is not None:
        hello.update(auth="token", data=token)
    elif user is not None:
        hello.update(auth="password", data=[user, password])
    elif certificate:
        hello["auth"] = "cert"
    if will is not None:
        props = None if will.raw is None else {3: 0}
        payload = _pack(will.value) if will.raw is None else will.raw
        hello["will"] = [will.topic, payload, int(will.retain), will.delay_ms, props]
    return _Connecting(lambda: Client(addresses, hello, tls=tls, in_clear=in_clear, max_frame=max_frame, outbox_bytes=outbox_bytes,
                                      connect_timeout=connect_timeout, reconnect=reconnect, reconnect_min=reconnect_min,
                                      reconnect_max=reconnect_max, on_state=on_state), retry_first)
