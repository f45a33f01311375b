"""Every frame of proto/vectors, as bytes: those of the codec's cases and those that the conversations send and expect."""
import pathlib
import re

import msgpack

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "proto" / "vectors"
BYTES = re.compile(r"^\s*(?:frame|[A-Z](?:>>|<<))\s+(.*)$")
TOKEN = re.compile(r'\s*(?:(?P<hex>[0-9a-fA-F]{2})|"(?P<text>[^"]*)"|(?P<open>str\(|\()|(?P<close>\))|\*(?P<times>\d+)'
                   r'|(?P<name>\$[a-z]+))')


class Parser:
    """PROTOCOL.md, Conformance vectors: Bytes. What only the tested side knows stands as a text of its name."""

    def __init__(self, text):
        self.tokens = list(self._split(text))
        self.at = 0

    @staticmethod
    def _split(text):
        at = 0
        text = text.rstrip()
        while at < len(text):
            if text[at:].lstrip().startswith("#") and text[at:at + 2] == "  ":
                return  # a comment
            match = TOKEN.match(text, at)
            if not match:
                raise ValueError(f"not understood: {text[at:]!r}")
            at = match.end()
            yield match.lastgroup, match.group(match.lastgroup)

    def sequence(self):
        out, last = bytearray(), b""
        while self.at < len(self.tokens):
            kind, text = self.tokens[self.at]
            if kind == "close":
                break
            self.at += 1
            if kind == "times":
                out += last * (int(text) - 1)
                continue
            if kind == "open":
                last = self.sequence()
                self.at += 1
                if text == "str(":
                    last = msgpack.packb(last.decode())
            else:
                last = bytes.fromhex(text) if kind == "hex" else text.encode()
            out += last
        return bytes(out)


def split(data):
    """The frames of a piece of a conversation. What is left is one, too, if it is not whole or none."""
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=1 << 26)
    unpacker.feed(data)
    begin = 0
    while begin < len(data):
        try:
            unpacker.skip()
            end = unpacker.tell()
        except (msgpack.OutOfData, ValueError):
            end = len(data)
        yield data[begin:end]
        begin = end


def frames():
    """All that are different, in a fixed order."""
    found = {}
    for path in sorted(VECTORS.glob("*.txt")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = BYTES.match(line)
            if match:
                for frame in split(Parser(match.group(1)).sequence()):
                    found.setdefault(frame, f"{path.name}:{number}")
    return found
