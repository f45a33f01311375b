"""The client's side of a TLS connection, for raw.Peer: with every step in the test's hands."""
import socket
import ssl

import raw


def context(ca=None, version=None, alpn=("mps/1",), pair=None):
    """ca: an Authority, or None: any certificate will do. version: the only one, such as "TLSv1_2"."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # Python takes any end for a good one
    if ca:
        made.load_verify_locations(ca.path)
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if version:
        made.minimum_version = made.maximum_version = ssl.TLSVersion[version]
    if alpn:
        made.set_alpn_protocols(list(alpn))
    if pair:
        made.load_cert_chain(pair.path, pair.key)
    return made


class Socket:
    """Looks like a socket to raw.Peer. What came and holds no whole record is a BlockingIOError."""

    def __init__(self, sock, terms, piece=None):
        """piece: bytes of one write, of what is encrypted; None: all in one."""
        self.sock = sock
        self.piece = piece
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = terms.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def _flush(self):
        data = self.outgoing.read()
        piece = self.piece or len(data) or 1
        for at in range(0, len(data), piece):
            self.sock.sendall(data[at:at + piece])

    def _feed(self, size=1 << 16, flags=0):
        data = self.sock.recv(size, flags)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def handshake(self):
        try:
            return self._handshake()
        except BaseException:
            self.sock.close()
            raise

    def _handshake(self):
        while True:
            try:
                self.tls.do_handshake()
                self._flush()
                return self
            except ssl.SSLWantReadError:
                self._flush()
            except ssl.SSLError:
                self._flush()  # the alert
                raise
            self._feed()

    def send(self, data, flags=0):
        del flags
        sent = self.tls.write(data)
        self._flush()
        return sent

    def recv(self, size, flags=0):
        """Raises ssl.SSLError when the stream was cut off."""
        for is_last in False, True:
            try:
                return self.tls.read(size)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                if is_last:
                    raise BlockingIOError("not a whole record") from None
            self._feed(size, flags)
        raise AssertionError

    def shutdown(self, how):
        """Says that nothing follows, as TLS does it."""
        del how
        try:
            self.tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLError):
            pass  # its answer is not waited for
        self._flush()


def connect(url, terms, **how):
    """A TLS connection to tls://host:port, its handshake done."""
    return Socket(raw.open_socket(url.replace("tls:", "tcp:")), terms, **how).handshake()


def small_socket(url):
    """A connected socket that takes few bytes before it is full."""
    host, port = url[len("tls://"):].rsplit(":", 1)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(raw.ANSWER_S)
    sock.connect((host, int(port)))
    return sock
