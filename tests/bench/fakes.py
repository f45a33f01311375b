"""Brokers for tests of the load generator: as much of Redis and of JetStream as it speaks to, in a thread.

What is stored is in `messages`, (topic, payload) each, and a test may change it on the way back by `back`."""
import json
import select
import socket
import threading


class Fake:
    """A server on a free port, for one connection after the other or many at a time, in one thread.

    back: what readers get, from the list of all messages.
    hold: acknowledgements of a connection are kept back until there are so many.
    refuse: the number of the message that is refused.
    """

    def __init__(self, back=lambda messages: messages, hold=1, refuse=None):
        self.back, self.hold, self.refuse = back, hold, refuse
        self.messages = []
        self.most_unacknowledged = 0
        self.least_batch = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.wake, self.wake_end = socket.socketpair()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def stop(self):
        self.wake_end.close()
        self.thread.join()
        self.wake.close()
        self.listener.close()

    def _serve(self):
        connections = {}
        while True:
            readable, _, _ = select.select([self.wake, self.listener, *connections], [], [])
            if self.wake in readable:
                break
            if self.listener in readable:
                sock, _ = self.listener.accept()
                connections[sock] = Connection(sock)
            for sock in readable:
                if sock in connections and not self._read(connections[sock]):
                    del connections[sock]
                    sock.close()
        for sock in connections:
            sock.close()

    def _read(self, connection):
        try:
            data = connection.sock.recv(1 << 18)
            connection.input += data
            self.handle(connection)
        except OSError:
            return False
        return bool(data)

    def store(self, connection, topic, payload, answer):
        """Takes one message; answers as soon as enough are unanswered."""
        if not connection.held:
            self.least_batch = min(filter(None, (self.least_batch, self.count_waiting(connection) + 1)))
        self.messages.append((topic, payload))
        connection.held.append(answer)
        self.most_unacknowledged = max(self.most_unacknowledged, len(connection.held))
        if len(connection.held) >= self.hold:
            connection.sock.sendall(b"".join(connection.held))
            connection.held.clear()


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.input = b""
        self.held = []
        self.subscriptions = {}  # NATS: from a subject to its sid

    def take_line(self):
        """The next line without its end; None if it has not all come."""
        line, end, rest = self.input.partition(b"\r\n")
        if not end:
            return None
        self.input = rest
        return line


class FakeRedis(Fake):
    subscriber = None  # the connection that gets what is published; one is enough

    def handle(self, connection):
        while True:
            words, rest = self.command(connection.input)
            if words is None:
                return
            connection.input = rest
            self.obey(connection, words)

    @staticmethod
    def command(data):
        """The first command as a list of words, and what stands behind it; (None, data) if it has not all come."""
        head, end, rest = data.partition(b"\r\n")
        if not end:
            return None, data
        words = []
        for _ in range(int(head[1:])):
            size, end, rest = rest.partition(b"\r\n")
            if not end or len(rest) < int(size[1:]) + 2:
                return None, data
            words.append(rest[:int(size[1:])])
            rest = rest[int(size[1:]) + 2:]
        return words, rest

    def count_waiting(self, connection):
        return connection.input.count(b"XADD")

    def obey(self, connection, words):
        if words[0] == b"PING":
            connection.sock.sendall(b"+PONG\r\n")
        elif words[0] == b"XADD":
            number = len(self.messages)
            refused = number == self.refuse
            self.store(connection, words[3], words[4],
                       b"-MISCONF no disk\r\n" if refused else self.bulk(b"%d-0" % (number + 1)))
        elif words[0] == b"XRANGE":
            begin = 0 if words[2] == b"-" else int(words[2][1:-2])
            entries = list(enumerate(self.back(self.messages), 1))[begin:begin + int(words[5])]
            connection.sock.sendall(b"*%d\r\n" % len(entries) + b"".join(
                b"*2\r\n" + self.bulk(b"%d-0" % number) + b"*2\r\n" + self.bulk(topic) + self.bulk(payload)
                for number, (topic, payload) in entries))
        elif words[0] == b"SUBSCRIBE":
            self.subscriber = connection
            connection.sock.sendall(b"*3\r\n$9\r\nsubscribe\r\n" + self.bulk(words[1]) + b":1\r\n")
        elif words[0] == b"PUBLISH":
            self.subscriber.sock.sendall(b"*3\r\n$7\r\nmessage\r\n" + self.bulk(words[1]) + self.bulk(words[2]))
            connection.sock.sendall(b":1\r\n")

    @staticmethod
    def bulk(data):
        return b"$%d\r\n%s\r\n" % (len(data), data)


class FakeJetStream(Fake):
    """Pushes CHUNK messages, then waits until it is answered: to its flow control or, in turn, to its heartbeat."""
    CHUNK = 50

    def handle(self, connection):
        while True:
            before = connection.input
            line = connection.take_line()
            if line is None:
                return
            words = line.split()
            if words[0] == b"PUB" and not self.take_payload(connection, words):
                connection.input = before
                return
            if words[0] == b"PING":
                connection.sock.sendall(b"PONG\r\n")
            elif words[0] == b"SUB":
                connection.subscriptions[words[1]] = words[2]

    def take_payload(self, connection, words):
        size = int(words[-1])
        if len(connection.input) < size + 2:
            return False
        payload, connection.input = connection.input[:size], connection.input[size + 2:]
        self.published(connection, words[1], words[2] if len(words) == 4 else None, payload)
        return True

    def count_waiting(self, connection):
        return connection.input.count(b"PUB kept.")

    def send(self, connection, subject, payload, reply=b"", subscription=None):
        sid = connection.subscriptions[subscription or subject]
        connection.sock.sendall(self.message(subject, sid, payload, reply))

    @staticmethod
    def message(subject, sid, payload, reply=b""):
        return b"MSG %s %s %s%d\r\n%s\r\n" % (subject, sid, reply and reply + b" ", len(payload), payload)

    def published(self, connection, subject, reply, payload):
        if subject == b"$JS.API.STREAM.CREATE.kept":
            self.created = json.loads(payload)
            refused = self.refuse == "stream"
            self.send(connection, reply, b'{"error":{"code":500}}' if refused else b'{"type":"created"}')
        elif subject == b"$JS.API.CONSUMER.CREATE.kept":
            connection.inbox = json.loads(payload)["config"]["deliver_subject"].encode()
            connection.left = list(enumerate(self.back(self.messages), 1))
            self.send(connection, reply, b'{"type":"created"}')
            self.push(connection)
        elif subject.startswith(b"more."):
            self.push(connection)
        elif subject.startswith(b"kept."):
            number = len(self.messages)
            answer = b'{"stream":"kept","seq":%d}' % (number + 1)
            if number == self.refuse:
                answer = b'{"error":{"code":503}}'
            self.store(connection, subject, payload, self.message(reply, connection.subscriptions[reply], answer))

    def push(self, connection):
        chunk, connection.left = connection.left[:self.CHUNK], connection.left[self.CHUNK:]
        sid = connection.subscriptions[connection.inbox]
        out = b"".join(self.message(topic, sid, payload, b"$JS.ACK.kept.c.1.%d" % number)
                       for number, (topic, payload) in chunk)
        if connection.left:
            out += self.ask(connection.inbox, sid, stalled=len(connection.left) // self.CHUNK % 2 == 0)
        connection.sock.sendall(out)

    @staticmethod
    def ask(inbox, sid, stalled):
        header = (b"NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: more.1\r\n\r\n" if stalled
                  else b"NATS/1.0 100 FlowControl Request\r\n\r\n")
        reply = b"" if stalled else b"more.2 "
        return b"HMSG %s %s %s%d %d\r\n%s\r\n" % (inbox, sid, reply, len(header), len(header), header)
