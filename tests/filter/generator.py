"""Random messages and filters for the differential test: filters that mostly mean something for their message, with
numbers around the places where integers and floats part, and messages that mostly are documents."""
import functools
import math
import re
import struct

KEYS = ["a", "b", "c", "temp", "site", "temperature_of_the_room", "odd key", "and", "é", "", "k-9", "x" * 40]
TEXTS = ["", "a", "b", "ab", "abc", "site", "berlin", "berlin/7", "Berlin", "é", "\U0001f600", "a\"b\\c\n\t", "x" * 40, "\x7f"]
NUMBERS = [0, 1, 2, 3, 5, 7, 30, 127, 128, 255, 256, 65535, 65536, -1, -2, -31, -32, -33, -128, -129, -32769, 2**31, -2**31,
           2**32, 2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, -2**53, -2**53 - 1, 2**63 - 1, 2**63, 2**63 + 1, 2**63 + 2048,
           2**64 - 1, 2**64 - 2048, -2**63, -2**63 + 1, -2**63 + 1024]
FLOATS = [0.0, -0.0, 0.5, 1.0, 1.5, 30.0, -1.0, -1.5, 2.0**53, 2.0**53 + 2, 2.0**63, 2.0**64, -2.0**63, -2.0**63 - 2048,
          2.0**64 - 2048, 1e300, -1e300, 5e-324, math.inf, -math.inf, math.nan, 127.5, 0.1]
TOPICS = ["a", "site/a/temp", "site//b", "a/b/c/d", "berlin/7", "/", "é/ab"]
SIGNS = ["==", "!=", "<", "<=", ">", ">="]
WIDTHS = {">B": 2**8, ">H": 2**16, ">I": 2**32}
TIMESTAMP = re.compile(rb"[\xd4-\xd8]\xff|\xc7.\xff|\xc8..\xff|\xc9....\xff", re.DOTALL)


class Raw(bytes):
    """An encoded value."""


def head(rng, value, fixed, limit, *wide):
    """A length in the shortest form or, now and then, a longer one. wide: first bytes with the formats of the length."""
    if fixed is not None and value <= limit and rng.random() < 0.9:
        return bytes([fixed | value])
    forms = [(byte, form) for byte, form in wide if value < WIDTHS[form]]
    byte, form = forms[0] if rng.random() < 0.8 else rng.choice(forms)
    return bytes([byte]) + struct.pack(form, value)


@functools.cache
def int_forms(value):
    """Every encoding of an integer, the shortest first."""
    forms = [struct.pack("b", value)] if -32 <= value < 128 else []
    for byte, form in zip(range(0xcc, 0xd4), (">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q")):
        bits = 8 * struct.calcsize(form)
        low, high = (0, 2**bits - 1) if form[1].isupper() else (-2**(bits - 1), 2**(bits - 1) - 1)
        if low <= value <= high:
            forms.append(bytes([byte]) + struct.pack(form, value))
    return forms


def encode(rng, value):
    """msgpack in any of the encodings that a value has. A list of pairs in a tuple is a map."""
    if isinstance(value, Raw):
        return bytes(value)
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        forms = int_forms(value)
        return forms[0] if rng.random() < 0.6 else rng.choice(forms)
    if isinstance(value, float):
        narrow = rng.random() < 0.3 and (value != value or abs(value) < 1e30 or math.isinf(value))
        return b"\xca" + struct.pack(">f", value) if narrow else b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape")
        return head(rng, len(text), 0xa0, 31, (0xd9, ">B"), (0xda, ">H"), (0xdb, ">I")) + text
    if isinstance(value, bytes):
        return head(rng, len(value), None, 0, (0xc4, ">B"), (0xc5, ">H"), (0xc6, ">I")) + value
    if isinstance(value, list):
        return head(rng, len(value), 0x90, 15, (0xdc, ">H"), (0xdd, ">I")) + b"".join(encode(rng, item) for item in value)
    return head(rng, len(value), 0x80, 15, (0xde, ">H"), (0xdf, ">I")) + b"".join(
        encode(rng, key) + encode(rng, item) for key, item in value)


def scalar(rng):
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(NUMBERS)
    if kind < 0.6:
        return rng.choice(FLOATS)
    if kind < 0.8:
        return rng.choice(TEXTS)
    return rng.choice([None, True, False, b"", b"ab", Raw(b"\xd4\x05x"), Raw(b"\xc7\x03\x01abc"), "\udcff\udc80"])


def map_key(rng):
    if rng.random() < 0.85:
        return rng.choice(KEYS)
    return rng.choice([0, 1, 2, 3, 5, 300, 2**64 - 1, -1, None, True, 1.0, b"a", [1], (("a", 1),)])


def tree(rng, depth):
    kind = rng.random() if depth > 0 else 1
    if kind < 0.3:
        return tuple((map_key(rng), tree(rng, depth - 1)) for _ in range(rng.randrange(5)))
    if kind < 0.5:
        return [tree(rng, depth - 1) for _ in range(rng.randrange(4))]
    return scalar(rng)


def document(rng):
    """A tree that most often is a map, and its bytes."""
    value = tuple((map_key(rng), tree(rng, 3)) for _ in range(rng.randrange(1, 7))) if rng.random() < 0.85 else tree(rng, 3)
    data = encode(rng, value)
    kind = rng.random()
    if kind < 0.01:
        data = b"\x91" * rng.randrange(28, 34) + data
    elif kind < 0.012:
        data = b"\xdc" + struct.pack(">H", count := rng.randrange(9960, 10005)) + data + b"\xc0" * (count - 1)
    elif kind < 0.07:
        data = damaged(rng, data)
    return value, data


def damaged(rng, data):
    at = rng.randrange(len(data) + 1)
    data = rng.choice([data[:at], data + data[:at], data[:at] + bytes([rng.randrange(256)]) + data[at + 1:],
                       data[:at] + data[at + 1:], b"", b"\xc1"])
    return b"" if TIMESTAMP.search(data) else data  # msgpack for Python has an opinion about these


def props(rng):
    """Headers of the shape that the broker lets pass, and their bytes."""
    if rng.random() < 0.5:
        return (), None
    keys = rng.sample([key for key in KEYS if key] + ([3] if rng.random() < 0.1 else []) + [4, 6], rng.randrange(5))
    values = {3: 0, 4: 60000}
    pairs = []
    for key in keys:
        plain = rng.choice(["C", "ab", 7, 1.5, True, None, b"ab", [1, "a"], []])
        pairs.append((key, values.get(key, "k" if key == 6 else plain)))
    return tuple(pairs), encode(rng, tuple(pairs))


# ---- expressions ----

def blank(rng, least=0):
    return rng.choice([" "] * 6 + ["" if least == 0 else " ", "  ", "\t", "\n"])


def quoted(rng, text):
    written = ""
    for character in text:
        if character in '"\\':
            written += "\\" + character
        elif character in "\n\t" and rng.random() < 0.5:
            written += {"\n": "\\n", "\t": "\\t"}[character]
        elif rng.random() < 0.05 and ord(character) < 0x10000:
            written += f"\\u{ord(character):04x}"
        else:
            written += character
    return f'"{written}"'


def literal(rng, value):
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return quoted(rng, value)
    if isinstance(value, float) and (value != value or math.isinf(value)):
        return "1.5"
    if isinstance(value, float) or rng.random() < 0.1:
        return rng.choice([repr(float(value)), f"{float(value):.3f}", f"{float(value):e}"]) if abs(value) < 1e20 else repr(float(value))
    return str(value)


def plain(value):
    return value is None or isinstance(value, (bool, int, float)) or (
        isinstance(value, str) and value.isprintable() or value in ("a\"b\\c\n\t", "\x7f"))


def some_literal(rng, near=None):
    """A literal: that value, one beside it, or any."""
    if near is not None and not isinstance(near, Raw) and plain(near) and rng.random() < 0.7:
        if isinstance(near, int) and not isinstance(near, bool):
            near += rng.choice([0, 0, 0, 1, -1])
        if isinstance(near, str) and rng.random() < 0.2:
            near = near[:rng.randrange(len(near) + 1)]
        return literal(rng, near)
    value = scalar(rng)
    return literal(rng, value) if plain(value) else rng.choice(["18446744073709551616", "-9223372036854775809", "1e-3", "7"])


def step_text(rng, key, first):
    if isinstance(key, int):
        return f"[{key}]"
    bare = re.fullmatch("[a-z][a-z0-9_-]*", key) and key != "and" and rng.random() < 0.9
    written = key if bare else quoted(rng, key)
    return written if first and bare and rng.random() < 0.95 else "." + written


def walk(rng, value, written, first=True):
    """Some path into a value, as it is written, and what is there (None if nothing is)."""
    while rng.random() < 0.9:
        if isinstance(value, list) and value and rng.random() < 0.95:
            index = rng.randrange(len(value))
            written, value = written + f"[{index}]", value[index]
        elif isinstance(value, tuple) and value and rng.random() < 0.95:
            key, item = rng.choice(value)
            if isinstance(key, bool) or not isinstance(key, (int, str)) or (isinstance(key, int) and key < 0):
                break
            written, value = written + step_text(rng, key, first), item
        elif rng.random() < 0.1 or (first and not written):
            written, value = written + step_text(rng, rng.choice(KEYS + [0, 2, 5]), first), None
        else:
            break
        first = False
    return written, value


def path(rng, scene):
    """A path as it is written, and what the message holds there."""
    kind = rng.random()
    if kind < 0.06:
        return "@topic", scene.topic
    if kind < 0.12:
        index = rng.randrange(5)
        levels = scene.topic.split("/")
        return f"@level[{index}]", levels[index] if index < len(levels) else None
    if kind < 0.22:
        return walk(rng, scene.props, "@props", False) if scene.props else ("@props.unit", None)
    if kind < 0.24:
        return ".", scene.document
    written, value = walk(rng, scene.document, "")
    return (written, value) if written else (".", value)


def comparison(rng, scene):
    left, value = path(rng, scene)
    kind = rng.random()
    if kind < 0.1:
        return f"exists{blank(rng)}({left}{blank(rng)})"
    if kind < 0.2:
        items = [some_literal(rng, value if rng.random() < 0.4 else None) for _ in range(rng.randrange(1, 5))]
        return f"{left} in{blank(rng)}[{(',' + blank(rng)).join(items)}]"
    if kind < 0.35:
        element = None
        if isinstance(value, (list, tuple)) and value:
            element = rng.choice(value)
            element = element[0] if isinstance(value, tuple) else element
        right = some_literal(rng, element) if rng.random() < 0.8 else path(rng, scene)[0]
        return f"{left} has{blank(rng, 1)}{right}"
    if kind < 0.42:
        near = value if isinstance(value, str) and plain(value) else rng.choice(["", "a", "ber"])
        right = quoted(rng, near[:rng.randrange(len(near) + 1)]) if rng.random() < 0.8 else path(rng, scene)[0]
        return f"{left}{blank(rng)}^={blank(rng)}{right}"
    sign = rng.choice(SIGNS)
    right = some_literal(rng, value) if rng.random() < 0.8 else path(rng, scene)[0]
    if rng.random() < 0.15:
        left, right = right, left
    return f"{left}{blank(rng)}{sign}{blank(rng)}{right}"


def condition(rng, scene, size):
    if size <= 1:
        text = comparison(rng, scene)
    else:
        half = rng.randrange(1, size)
        word = rng.choice(["and", "or"])
        text = f"{condition(rng, scene, half)} {word}{blank(rng, 1)}{condition(rng, scene, size - half)}"
    if rng.random() < 0.2:
        text = f"({blank(rng)}{text})"
    if rng.random() < 0.15:
        text = f"not {text}"
    return text


def mistaken(rng, text):
    """The text with something wrong in it, most often."""
    pieces = re.findall(r'"[^"]*"|[\w.@]+|[=!<>^]+|\s+|.', text, re.DOTALL)
    at = rng.randrange(len(pieces))
    change = rng.random()
    if change < 0.3:
        del pieces[at]
    elif change < 0.5:
        pieces.insert(at, rng.choice(["and", " or ", "not ", "in", "has", "(", ")", "[", "]", ",", ".", "==", '"', "3", "nil", "-", "@",
                                      "[0]", "\\u12", "é", "\0"]))
    elif change < 0.7:
        pieces[at] = rng.choice(pieces)
    else:
        character = rng.randrange(len(text) + 1)
        return text[:character] + rng.choice(['"', ".", "\\", " ", "=", "(", "a", "9", "e", "-", ""]) + text[character + 1:]
    return "".join(pieces)


class Scene:
    """A random message and a filter for it."""

    def __init__(self, rng):
        self.topic = rng.choice(TOPICS)
        self.props, self.props_bytes = props(rng)
        self.document, self.payload = document(rng)
        size = rng.choice([1, 1, 1, 2, 2, 3, 4, 6]) if rng.random() < 0.99 else rng.randrange(10, 24)
        text = condition(rng, self, size)
        if rng.random() < 0.1:
            text = mistaken(rng, text)
        self.filter = text.encode("utf-8", "surrogateescape")
