"""A peer on a raw socket: any bytes go out, frames come in. For sending what no client library would.

Frames are lists, [operation, field, ...], packed and unpacked with Debian's python3-msgpack, which nobody here wrote.
"""
import select
import socket
import struct
import time

import msgpack

(HELLO, MSG, PUB, FOR, ACK, CREDIT, GAP, PUBACK, SUB, SUBACK, UNSUB, MARK, PING, PONG, STAT, AUTH, WELCOME, ERR, BYE,
 INFO) = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18, 19, 20, 21, 22)

ANSWER_S = 30  # a broker that has not answered by then never will
ROUTED, STORED, REPLICATED = 2, 4, 6  # flags of PUB: the acknowledgement level
RETAIN, MUST_ROUTE, EACH = 1, 8, 16


def frame(*fields):
    return msgpack.packb(list(fields), use_bin_type=True)


def hello(**options):
    return frame(HELLO, "mps", 1, options)


def open_socket(url):
    """A connected socket to unix:/path or tcp://host:port."""
    if url.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(ANSWER_S)
        try:
            sock.connect(url[len("unix:"):])
        except OSError:
            sock.close()
            raise
        return sock
    host, port = url[len("tcp://"):].rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=ANSWER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Peer:
    """One connection. `sock` may be given instead of a URL."""

    def __init__(self, url=None, sock=None):
        self.sock = sock or open_socket(url)
        self.sock.settimeout(ANSWER_S)
        self.unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=1 << 28)
        self.ended = False
        self.was_reset = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Ends the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def finish(self):
        """Ends our side of the stream."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side was faster

    def send(self, data):
        """Sends data, as much of it as the broker takes before it closes. It reads meanwhile, so that neither side
        waits for the other for ever."""
        view = memoryview(data)
        while len(view) > 0 and not self.ended:
            poll = select.poll()  # select() would refuse descriptors over 1023
            poll.register(self.sock, select.POLLIN | select.POLLOUT)
            ready = poll.poll(ANSWER_S * 1000)
            if not ready:
                raise TimeoutError("the broker neither reads nor closes")
            events = ready[0][1]
            if events & ~select.POLLOUT:
                self._receive()
            if events & select.POLLOUT and not self.ended:
                try:
                    view = view[self.sock.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL):]
                except BlockingIOError:
                    pass
                except OSError:
                    return

    def tell(self, *fields):
        self.send(frame(*fields))

    def _receive(self):
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionResetError:
            self.was_reset = True
            data = b""
        except BlockingIOError:
            return  # what came is not all of a TLS record
        if data:
            self.unpacker.feed(data)
        else:
            self.ended = True

    def next(self):
        """The next frame, None at the end of the stream. Raises TimeoutError when nothing comes."""
        while True:
            try:
                return next(self.unpacker)
            except StopIteration:
                if self.ended:
                    return None
                self._receive()

    def until(self, op):
        """All frames up to and with the first one of this operation."""
        frames = []
        while True:
            got = self.next()
            if got is None:
                raise EOFError(f"the stream ended before operation {op}; before that came {frames}")
            frames.append(got)
            if got[0] == op:
                return frames

    def answer(self, op):
        return self.until(op)[-1]

    def rest(self):
        """All frames up to the end of the stream."""
        frames = []
        while (got := self.next()) is not None:
            frames.append(got)
        return frames

    def ping(self, token=b"ping"):
        """Waits until everything sent before was processed. Returns the frames that came, without the PONG."""
        self.tell(PING, token)
        frames = []
        while (got := self.next()) != [PONG, token]:
            if got is None:
                raise EOFError(f"the stream ended before the PONG; before that came {frames}")
            frames.append(got)
        return frames

    def goodbye(self):
        """Says BYE and reads to the end."""
        self.tell(BYE, 0)
        frames = self.rest()
        self.close()
        return frames


def welcomed(url, **options):
    """A peer that said HELLO and got its WELCOME, which is in `welcome`."""
    peer = Peer(url)
    peer.send(hello(**options))
    first = peer.next()
    if first is None or first[0] != WELCOME:
        raise AssertionError(f"HELLO {options} was answered with {first}")
    peer.welcome = first[2]
    return peer


def eventually(condition, seconds=ANSWER_S):
    """Asks again until the condition holds. Returns whether it did in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
