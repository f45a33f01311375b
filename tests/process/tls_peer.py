"""What ends TLS in front of a broker, by Python's ssl module: each connection is decrypted and goes on to the broker's
Unix socket."""
import select
import socket
import ssl
import threading
import warnings

CHUNK = 65536
BACKLOG_BYTES = 4 * CHUNK  # what waits for one side before the other is not read any more


def context_for(certificate, client_ca=None, versions=None, alpn=("mps/1",)):
    """A server's. versions: the lowest and the highest; client_ca: the client needs a certificate of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # with it, a stream that is cut off looks as one that has ended
    if versions:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # for versions that are too old for the system's level
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old ones are asked for on purpose
            context.minimum_version, context.maximum_version = versions
    context.load_cert_chain(certificate.path, certificate.key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


class Side:
    """One end of a connection: what was read there, and what is to be written there."""

    def __init__(self, sock):
        self.sock = sock
        self.out = bytearray()
        self.ended = False      # nothing more comes from there
        self.shut = False       # nothing more goes there
        self.told = False       # the other side said its end while we said ours
        self.reads_on = select.POLLIN

    def read(self):
        """What is there; b"" if nothing is."""
        try:
            data = self.sock.recv(CHUNK)
            self.reads_on = select.POLLIN
            self.ended = not data
            return data
        except ssl.SSLZeroReturnError:
            self.ended = True  # it is told, after we have told ours
        except ssl.SSLWantWriteError:
            self.reads_on = select.POLLOUT
        except (ssl.SSLWantReadError, BlockingIOError):
            self.reads_on = select.POLLIN
        return b""

    def write(self):
        try:
            while self.out:
                del self.out[:self.sock.send(self.out[:CHUNK])]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
            pass

    def shut_down(self):
        self.shut = True
        if not isinstance(self.sock, ssl.SSLSocket):
            self.sock.shutdown(socket.SHUT_WR)
            return
        try:
            self.sock.unwrap()
            self.told = True  # what follows is of no interest, also if the connection is reset
        except (OSError, ValueError):
            pass  # the other side has not said its own end yet


class TlsPeer:
    """Listens on a free port of 127.0.0.1; `url` is its address by name, `port` its port.

    upstream: path of the broker's socket. context: of ssl; None: bytes go on as they are.
    silent: connections are accepted and nothing is ever said on them.
    """

    def __init__(self, upstream, context=None, silent=False):
        self.upstream, self.context, self.silent = upstream, context, silent
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"tls://localhost:{self.port}"
        self.accepted = 0
        self.heard_bytes = 0    # by a silent one
        self.established = []   # (TLS version, ALPN, the client's certificate) of each connection
        self.failures = []      # of handshakes
        self.endings = []       # "told" or "cut": how each client ended its stream
        self.sockets = set()
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()
        self.cut()

    def cut(self):
        """Ends all connections as a broken network does: TLS is not told."""
        with self.lock:
            for sock in self.sockets:
                try:
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, raw):
        with self.lock:
            self.sockets.add(raw)
        sock = raw
        try:
            if self.silent:
                while data := raw.recv(CHUNK):
                    self.heard_bytes += len(data)
                return
            if self.context:
                sock = self.context.wrap_socket(raw, server_side=True, suppress_ragged_eofs=False)
                with self.lock:
                    self.sockets.discard(raw)
                    self.sockets.add(sock)
                    self.established.append((sock.version(), sock.selected_alpn_protocol(), sock.getpeercert()))
            with socket.socket(socket.AF_UNIX) as broker:
                broker.connect(self.upstream)
                self._relay(Side(sock), Side(broker))
        except OSError as error:
            self.failures.append(str(error))
        finally:
            with self.lock:
                self.sockets.discard(sock)
                self.sockets.discard(raw)
            socket.socket.close(sock)

    def _relay(self, client, broker):
        for side in client, broker:
            side.sock.setblocking(False)
        pairs = (client, broker), (broker, client)
        while not (client.shut and broker.shut):
            for source, target in pairs:
                if not source.ended and len(target.out) < BACKLOG_BYTES:
                    try:
                        target.out += source.read() if not source.told else b""
                        source.ended = source.ended or source.told
                    except OSError:
                        source.ended = True
                        if source is client:
                            self.endings.append("cut")
                            return
                    else:
                        if source.ended and source is client:
                            self.endings.append("told")
                target.write()
                if source.ended and not target.out and not target.shut:
                    target.shut_down()
            self._wait(pairs)

    @staticmethod
    def _wait(pairs):
        if any(isinstance(source.sock, ssl.SSLSocket) and source.sock.pending() for source, _ in pairs):
            return
        poll = select.poll()
        for source, target in pairs:
            events = source.reads_on if not source.ended and len(target.out) < BACKLOG_BYTES else 0
            poll.register(source.sock.fileno(), events | (select.POLLOUT if source.out else 0))
        poll.poll(200)
