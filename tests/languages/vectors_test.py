"""Six implementations of msgpack that share no code with Python's, nor with ours, read every frame of proto/vectors as it does:
so a client in their languages sees what the specification says. What is no msgpack, none of them reads.

They are not asked about frames that claim far more than is there: some take the memory, and some crash. A client looks at
the heads of a frame before it gives it to any of them (PROTOCOL.md, Finding the end of a frame).

Each program in decoders/ prints what it read in one form (Show). Some languages cannot tell everything apart that
msgpack does; Show is told what is given up before the two are compared.
"""
import os
import pathlib
import re
import resource
import shutil
import struct
import subprocess
import unittest

import msgpack

import vector_frames

HERE = pathlib.Path(__file__).resolve().parent / "decoders"
PROGRAMS = os.environ.get("PUBSUB_DECODERS", "")  # the directory of those in C
PATIENCE_S = 200
MEMORY_BYTES = 2 << 30
HUGE_CLAIM = re.compile(rb"[\xc6\xc9\xdb\xdd\xdf][^\x00]...", re.DOTALL)  # bytes or values, 16 million or more


class Show:
    """The one form. bin_is_str: the language has one kind of byte strings; ordered: a map's pairs stand as they came;
    text_keys: a key is a text, whatever it was; empty_map_is_array: cannot be told apart; int_max: what is over it is a text; ext:
    what an ext holds is told; tables: an array is a map that counts from 1, what is nil is not in it, and integers have 64 bits
    with a sign."""

    def __init__(self, bin_is_str=False, ordered=False, text_keys=False, empty_map_is_array=False, int_max=2**64, ext=True,
                 tables=False):
        self.bin, self.ordered, self.text_keys = "s" if bin_is_str else "b", ordered, text_keys
        self.empty_map, self.int_max, self.ext = "[]" if empty_map_is_array else "{}", int_max, ext
        self.tables = tables

    def __call__(self, value):
        if value is None:
            return "nil"
        if isinstance(value, int) and value > self.int_max:
            return "s" + str(value).encode().hex()
        if self.tables and isinstance(value, int) and value >= 2**63:
            value -= 2**64
        if isinstance(value, (bool, int)):
            return str(value).lower()
        if isinstance(value, float):
            return "f" + struct.pack(">d", value).hex()
        if isinstance(value, str):
            return "s" + brief(value.encode(errors="surrogateescape"))
        if isinstance(value, bytes):
            return self.bin + brief(value)
        if isinstance(value, msgpack.ExtType):
            return f"x{value.code}:{brief(value.data)}" if self.ext else "x"
        if isinstance(value, Pairs):
            return self.map(value)
        if self.tables:
            return self.map(enumerate(value, 1))
        return "[" + ",".join(map(self, value)) + "]"

    def map(self, pairs):
        shown = [(self.key(key), self(each)) for key, each in pairs if not (self.tables and each is None)]
        if not self.ordered:
            shown = sorted(dict(shown).items())  # of a key that stands twice the last one counts
        return "{" + ",".join(sorted_if(not self.ordered, [f"{key}:{each}" for key, each in shown])) + "}" if shown else self.empty_map

    def key(self, key):
        if self.text_keys and isinstance(key, int):
            return "s" + str(key).encode().hex()
        return self(key)


def brief(data):
    """What is long is shown by its beginning and its length."""
    return f"{data[:32].hex()}~{len(data)}" if len(data) > 64 else data.hex()


def sorted_if(yes, parts):
    return sorted(parts) if yes else parts


class Pairs(list):
    """A map as it came."""


def is_ext(value):
    return isinstance(value, msgpack.ExtType)


def has_odd_key(value):
    """Keys that are neither texts nor numbers, which no map of the protocol has."""
    return isinstance(value, Pairs) and any(isinstance(key, bool) or not isinstance(key, (str, int)) for key, _ in value)


def holds(value, what):
    """Whether what() is true of the value or anything in it."""
    inside = [each for pair in value for each in pair] if isinstance(value, Pairs) else value if isinstance(value, list) else []
    return what(value) or any(holds(each, what) for each in inside)


class Vectors(unittest.TestCase):
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        all_frames = ((frame, place, cls.read(frame)) for frame, place in vector_frames.frames().items())
        asked = [each for each in all_frames if not (isinstance(each[2], ValueError) and HUGE_CLAIM.search(each[0]))]
        cls.frames, cls.places, cls.values = zip(*asked)
        cls.lines = "".join(frame.hex() + "\n" for frame in cls.frames)

    @staticmethod
    def read(frame):
        """What Python's msgpack says; ValueError if it is none."""
        try:
            return msgpack.unpackb(frame, strict_map_key=False, unicode_errors="surrogateescape", object_pairs_hook=Pairs)
        except ValueError as error:  # also what is not whole
            return error

    def test_that_there_are_frames_of_all_kinds(self):
        self.assertGreater(len(self.frames), 2000)
        good = [value for value in self.values if not isinstance(value, ValueError)]
        self.assertGreater(len(good), 2000)
        self.assertGreater(len(self.values) - len(good), 10)
        self.assertLessEqual({*range(1, 16), 18, 19, 20, 21, 22}, {value[0] for value in good if isinstance(value, list) and value and
                                                                 isinstance(value[0], int)})

    def compare(self, name, command, show, but=lambda value: False, but_bytes=None):
        """but, but_bytes: what the language does not claim to read, or to refuse."""
        if not shutil.which(command[0]):
            self.skipTest(f"{command[0]} is not installed")
        # Not those that we have built: a sanitizer needs more address space than there is memory.
        limit = None if os.path.isabs(command[0]) else lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        done = subprocess.run(command, input=self.lines, capture_output=True, text=True, timeout=PATIENCE_S, preexec_fn=limit)
        if done.returncode != 0:
            self.fail(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")
        shown = done.stdout.splitlines()
        self.assertEqual(len(shown), len(self.frames), done.stderr[-2000:])
        wrong, compared = [], 0
        for frame, place, value, got in zip(self.frames, self.places, self.values, shown):
            if holds(value, but) or (but_bytes is not None and but_bytes in frame):
                continue
            compared += 1
            due = "error" if isinstance(value, ValueError) else show(value)
            if got != due:
                wrong.append(f"{place} {frame[:60].hex(' ')}: {name} says {got[:200]}, Python says {due[:200]}")
        self.assertEqual("\n".join(wrong[:20]), "", f"{len(wrong)} of {compared} differ")
        self.assertGreater(compared, 0.95 * len(self.frames))

    def test_ruby(self):
        self.compare("ruby-msgpack", ["ruby", str(HERE / "decode.rb")], Show())

    def test_perl(self):
        self.compare("Data::MessagePack", ["perl", str(HERE / "decode.pl")], Show(bin_is_str=True, text_keys=True),
                     but=lambda value: is_ext(value) or has_odd_key(value))

    def test_lua(self):
        self.compare("lua-messagepack", ["lua5.3", str(HERE / "decode.lua")], Show(bin_is_str=True, tables=True),
                     but=has_odd_key)

    def test_php(self):
        self.compare("PHP's msgpack", ["php", str(HERE / "decode.php")],
                     Show(bin_is_str=True, text_keys=True, empty_map_is_array=True, int_max=2**63 - 1),
                     but=lambda value: is_ext(value) or has_odd_key(value))

    def test_msgpack_c(self):
        self.compare("msgpack-c", [os.path.join(PROGRAMS, "decode_msgpack_c")], Show(ordered=True))

    def test_msgpuck(self):
        self.compare("msgpuck", [os.path.join(PROGRAMS, "decode_msgpuck")], Show(ordered=True, ext=False), but_bytes=b"\xc1")


if __name__ == "__main__":
    unittest.main()
