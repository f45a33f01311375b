"""A client of mps/1 written from PROTOCOL.md alone, on msgpack's streaming unpacker. Shares nothing with libpubsub."""
import socket

import msgpack

HELLO, MSG, PUB, FOR, GAP, PUBACK, SUB, SUBACK, UNSUB, MARK, PING, PONG, STAT, WELCOME, ERR, BYE = (
    1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21)
RETAIN, ROUTED, EACH = 1, 2, 16


class Refused(Exception):
    """The broker said no: ERR, BYE, or a PUBACK or SUBACK with a code from 200 on."""


class Client:
    def __init__(self, url, timeout_s=60, **options):
        kind, _, place = url.partition(":")
        host, _, port = place.lstrip("/").rpartition(":")
        self.socket = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
        self.socket.settimeout(timeout_s)
        self.socket.connect(place if kind == "unix" else (host, int(port)))
        self.unpacker = msgpack.Unpacker(strict_map_key=False)
        self.sid = self.flags = self.pid = 0
        self.messages, self.gaps, self.pubacks = [], [], []  # (sid, flags, topic, props, payload), (sid, count, reason), frames
        self.send(HELLO, "mps", 1, options)
        self.welcome = self.until(WELCOME)[2]

    def send(self, *frame):
        self.socket.sendall(msgpack.packb(frame))

    def frame(self):
        """The next frame, after it was taken note of."""
        while True:
            for frame in self.unpacker:
                self.take(frame)
                return frame
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the broker closed the connection")
            self.unpacker.feed(data)

    def take(self, frame):
        op, *fields = frame
        if op == FOR:
            self.sid, self.flags = (fields + [0])[:2]
        elif op == MSG:
            self.messages.append((self.sid, self.flags, *fields[:3]))
        elif op == GAP:
            self.gaps.append(tuple(fields[:3]))
        elif op == PUBACK:
            self.pubacks.append(frame)
        elif op == PING:
            self.send(PONG, fields[0])
        if op in (ERR, BYE) or op in (PUBACK, SUBACK) and fields[1] >= 200:
            raise Refused(frame)

    def until(self, op, *first):
        """Reads up to the frame that begins so, and returns it."""
        while True:
            frame = self.frame()
            if frame[:1 + len(first)] == [op, *first]:
                return frame

    def subscribe(self, sid, pattern, **options):
        self.send(SUB, sid, pattern, options)
        self.until(SUBACK, sid)
        self.until(MARK, sid, 1)

    def publish(self, topic, document, props=None, flags=ROUTED | EACH):
        """Publishes with acknowledgement and returns how many subscriptions matched."""
        self.pid += 1
        self.send(PUB, self.pid, flags)
        self.send(MSG, topic, props, msgpack.packb(document))
        return self.until(PUBACK, self.pid)[3]

    def wait_messages(self, count):
        while len(self.messages) < count:
            self.frame()
        return self.messages
