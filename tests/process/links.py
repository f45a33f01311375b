"""Links between addresses of this machine that can be cut, slowed down and narrowed, in a process of its own.

As a program it reads commands, a line each, and answers each with a line:
  open NAME ADDRESS PORT TO_ADDRESS TO_PORT   a link: what connects to ADDRESS:PORT (0: a free one) is carried on. Says the port
  cut NAME       nothing gets through any more, nothing is refused: as a cable that was pulled
  mend NAME      it is as new; what was on its way goes on
  break NAME     its connections are reset, new ones get through
  slow NAME MS   everything takes so much longer, in each direction
  narrow NAME B  so many bytes a second, in each direction of each connection; 0: as many as there are
NAME may end with `*`: all links that begin so."""
import collections
import selectors
import socket
import struct
import subprocess
import sys
import time

CHUNK = 1 << 16
HELD_MAX = 1 << 20  # bytes of a direction that are here at a time
TICK_S = 0.01       # a narrow link carries on so often


class Way:
    """One direction of a connection."""

    def __init__(self, link, source, sink):
        self.link, self.source, self.sink = link, source, sink
        self.held = collections.deque()  # [when it may go on, bytes]
        self.held_bytes = 0
        self.has_ended = False
        self.allowance = 0.0
        self.counted_at = time.monotonic()

    def may_read(self):
        return not self.link.is_cut and not self.has_ended and self.held_bytes < HELD_MAX

    def read(self, now):
        try:
            data = self.source.recv(CHUNK)
        except BlockingIOError:
            return
        self.has_ended = not data
        self.held.append([now + self.link.slow_s, data])
        self.held_bytes += len(data)

    def due(self):
        """When something goes on; None: nothing does."""
        if not self.held or self.link.is_cut:
            return None
        return max(self.held[0][0], self.counted_at + TICK_S) if self.link.bytes_s else self.held[0][0]

    def allowed(self, now):
        if not self.link.bytes_s:
            return CHUNK
        self.allowance = min(self.allowance + (now - self.counted_at) * self.link.bytes_s, self.link.bytes_s * 4 * TICK_S + CHUNK)
        self.counted_at = now
        return int(self.allowance)

    def write(self, now):
        allowed = self.allowed(now)
        while self.held and not self.link.is_cut and self.held[0][0] <= now:
            data = self.held[0][1]
            if not data:
                self.held.popleft()
                self.sink.shutdown(socket.SHUT_WR)
                return
            if allowed < 1:
                return
            try:
                count = self.sink.send(data[:allowed])
            except BlockingIOError:
                return
            self.held_bytes -= count
            allowed -= count
            self.allowance -= count
            if count < len(data):
                self.held[0][1] = data[count:]
            else:
                self.held.popleft()

    def is_over(self):
        return self.has_ended and not self.held


class Link:
    def __init__(self, name, listener, target):
        self.name, self.listener, self.target = name, listener, target
        self.is_cut, self.slow_s, self.bytes_s = False, 0.0, 0
        self.connections = []  # pairs of ways


class Exchange:
    """All links, and the loop that serves them."""

    def __init__(self):
        self.links = {}
        self.is_over = False
        self.said = b""

    # What is asked for.

    def obey(self, line):
        verb, name, *more = line.split()
        if verb == "open":
            return self.open(name, *more)
        links = [link for link in self.links.values()
                 if link.name == name or name.endswith("*") and link.name.startswith(name[:-1])]
        for link in links:
            if verb in ("cut", "mend"):
                link.is_cut = verb == "cut"
            elif verb == "break":
                for ways in list(link.connections):
                    self.end(link, ways)
            elif verb == "slow":
                link.slow_s = float(more[0]) / 1000
            elif verb == "narrow":
                link.bytes_s = int(more[0])
            else:
                return f"unknown command '{verb}'"
        return f"{len(links)}"

    def open(self, name, address, port, to_address, to_port):
        listener = socket.create_server((address, int(port)), backlog=1024)
        listener.setblocking(False)
        self.links[name] = Link(name, listener, (to_address, int(to_port)))
        return str(listener.getsockname()[1])

    # What happens.

    def accept(self, link):
        try:
            client, _ = link.listener.accept()
        except BlockingIOError:
            return
        server = socket.socket()
        for sock in client, server:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.connect_ex(link.target)  # a refusal shows with the first read or write
        link.connections.append((Way(link, client, server), Way(link, server, client)))

    @staticmethod
    def end(link, ways):
        link.connections.remove(ways)
        for way in ways:
            way.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            way.source.close()

    def interests(self):
        """What is to be waited for now, {socket: events}; and until when."""
        events, due = {sys.stdin.buffer: selectors.EVENT_READ}, []
        now = time.monotonic()
        for link in self.links.values():
            if not link.is_cut:
                events[link.listener] = selectors.EVENT_READ
            for ways in link.connections:
                for way in ways:
                    if way.may_read():
                        events[way.source] = events.get(way.source, 0) | selectors.EVENT_READ
                    when = way.due()
                    if when is not None and when <= now:
                        events[way.sink] = events.get(way.sink, 0) | selectors.EVENT_WRITE
                    elif when is not None:
                        due.append(when)
        return events, max(0, min(due) - now) if due else None

    def carry(self, link, ways, ready, now):
        try:
            for way in ways:
                if ready.get(way.source, 0) & selectors.EVENT_READ and way.may_read():
                    way.read(now)
                when = way.due()
                if when is not None and when <= now:
                    way.write(now)
            if all(way.is_over() for way in ways):
                self.end(link, ways)
        except OSError:
            self.end(link, ways)

    def turn(self, selector):
        events, timeout = self.interests()
        known = {key.fileobj: key for key in selector.get_map().values()}
        for sock, key in known.items():
            if events.get(sock) != key.events:
                selector.unregister(sock)
        for sock, mask in events.items():
            if sock not in known or known[sock].events != mask:
                selector.register(sock, mask)
        ready = {key.fileobj: mask for key, mask in selector.select(timeout)}
        now = time.monotonic()
        for link in list(self.links.values()):
            if link.listener in ready:
                self.accept(link)
            for ways in list(link.connections):
                if any(way.source in ready for way in ways) or any(way.held for way in ways):
                    self.carry(link, ways, ready, now)
        if sys.stdin.buffer in ready:
            self.listen()

    def listen(self):
        line = sys.stdin.buffer.readline()
        if not line:
            self.is_over = True
            return
        try:
            answer = self.obey(line.decode())
        except (OSError, ValueError, IndexError) as error:
            answer = f"failed: {error}"
        print(answer, flush=True)


class Links:
    """The process, as those use it that started it."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer.isdecimal():
            raise AssertionError(f"{words} was answered with '{answer}'")
        return int(answer)

    def open(self, name, address, to_address, to_port, port=0):
        """Returns its port."""
        return self.tell("open", name, address, port, to_address, to_port)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def main():
    exchange = Exchange()
    with selectors.DefaultSelector() as selector:
        while not exchange.is_over:
            exchange.turn(selector)


if __name__ == "__main__":
    main()
