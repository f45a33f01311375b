#!/usr/bin/python3
"""Writes the seed corpora of what is not made of frames, corpus/{topic,config,store}, and the dictionaries of all
fuzzers, NAME.dict: words that libFuzzer puts into its inputs."""
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")


# ---- seeds -----------------------------------------------------------------------------------------------------

WIDE = "x" * 253
TOPICS = {
    "equal": ["a/b/c", "a/b/c"], "plus": ["+", "a/+/c", "+/+/+", "a/b/c"], "rest": ["#", "a/#", "a/b/#", "a/b/c/#", "a/b/c"],
    "parent": ["a/#", "a/+/#", "+/#", "a"], "empty-levels": ["/+", "+/", "//", "/#", "+//#", "//"],
    "reserved": ["#", "+/x", "$SYS/#", "$SYS/+", "$SYS/x"], "dollar-inside": ["+/$x", "a/$x", "a/#", "a/$x"],
    "only-rest": ["#", "+/#", "+", "/#", "/"], "longest": [WIDE + "/#", WIDE + "/+", "+/#", WIDE + "/a"],
    "too-long-together": ["x" * 200 + "/+", "+/" + "x" * 200, "a"], "just-together": ["x" * 127 + "/+", "+/" + "x" * 127, "a"],
    "32-levels": ["/".join("+" * 32), "/".join("+" * 31) + "/#", "/".join("a" * 32)], "33-levels": ["/".join("+" * 33), "/".join("a" * 33)],
    "bad": ["a+", "#/a", "a/#b", "", "a#"], "utf8": ["\u00e9/+", "+/\U0001f600", "\u00e9/\U0001f600"],
    "tails": ["a/b/c/d", "a/b/c/e", "a/b/x", "a/b", "a", "a/b/c/d"], "wild-tails": ["+/b/+/d", "+/b/+/e", "+/b/#", "a/b/c/d"],
}
RAW_TOPICS = {"overlong": b"\xc0\xaf\n\xe0\x80\xaf", "half-pair": b"+\n\xed\xa0\x80", "beyond": b"#\n\xf4\x90\x80\x80", "cut": b"#\n\xf0\x9f\x98", "nul": b"a\x00b\na\x00b"}
CONFIGS = {
    "limits": "[limits]\nmax_payload = 64k\nqueue_total_bytes = 1g\nhandshake_timeout = 1500ms\nkeepalive_max = 1h\n",
    "listeners": "[listener a]\nurl = tcp://127.0.0.1:0\n[listener b]\nurl = unix:/tmp/x.sock\n[listener c]\nurl = fd:3\n",
    "stream": "[stream s]\ntopics = a/#, +/b\ntopics=c\nmax_bytes = 1m\nmax_age = 1d\nmax_messages = 5\non_full = refuse\n",
    "metrics": "[metrics]\nurl = http://[::1]:0\nallow_remote = yes\n[metrics]\nurl = unix:/x\n",
    "broker": "[broker]\nsys_interval = 0\ndata = /var/x y\n", "comments": "# one\n\n; two\n[limits] ; three\nmax_payload=1m ; four\n\t\n",
    "crossed": "[limits]\nqueue_messages = 10\nqueue_messages_cap = 5\n", "twice": "[limits]\nmax_payload = 1m\nmax_payload = 1m\n",
    "sections-twice": "[limits]\n[limits]\n", "no-section": "a = 1\n", "no-key": "[limits]\n= 1\n", "no-value": "[limits]\nmax_payload =\n",
    "no-pair": "[limits]\nmax_payload\n", "colon": "[limits]\nmax_payload: 2m\n", "no-bracket": "[limits\n", "behind-bracket": "[limits] x\n",
    "indented": "[limits]\nmax_payload = 1m\n  2\n", "unknown": "[limit]\n", "near-key": "[limits]\nmax_paylod = 1\n", "range": "[limits]\nmax_payload = 999g\n",
    "no-url": "[listener a]\n[limits]\n", "no-topics": "[stream a]\n", "bad-name": "[stream a b]\ntopics = a\n", "bad-pattern": "[stream a]\ntopics = a, #/b\n",
    "long-line": "[limits]\nmax_payload = " + " " * 190 + "1m\n", "long-comment": "# " + "x" * 500 + "\n[limits]\n", "control": "[limits]\n\x1b[31m = 1\n",
    "blanks-in-key": "[limits]\na\tb\rc = 1\n", "return": "[limits]\r\nmax_payload = 1m\r\n", "mark": "\ufeff[limits]\n", "no-end": "[limits]\nmax_payload = 1m", "empty": "",
    "groups": "[access]\ndefault_group = all\n[group all]\npublish = a/#, %u/+\ndeny_subscribe = $SYS/#\nrights = retain, admin\n[user ann]\ngroups = all\nuid = 1000\n",
}


def order(what, at, data, log=False):
    return bytes([what | (0x80 if log else 0)]) + at.to_bytes(3, "big") + bytes([len(data)]) + data


WRITE, FLIP, CUT, PAGE, WHOLE = range(5)
KILLED, SALVAGE, READS = 1, 2, 4
STORES = {
    "whole": (0,), "killed": (KILLED,), "salvaged": (SALVAGE,), "reads": (READS,), "killed-salvaged": (KILLED | SALVAGE,),
    "head": (0, order(WRITE, 0, b"SQLite format 4")), "page-size": (0, order(WRITE, 16, b"\x02\x00")), "empty": (0, order(CUT, 0, b"")),
    "half": (0, order(CUT, 40000, b"")), "cut-in-page": (SALVAGE, order(CUT, 20001, b"")), "schema": (0, order(FLIP, 3600, b"\xff" * 200)),
    "root": (0, order(WRITE, 4096, bytes(100))), "leaf": (0, order(WRITE, 8192, b"\x0d\x00\x00\xff\xff\x00\x00\x00")), "pages-swapped": (0, order(PAGE, 3, b"\x05")),
    "text": (0, order(FLIP, 30000, b"\x01")), "cell": (READS, order(WRITE, 12300, b"\xff" * 60)), "all-pages-same": (SALVAGE, *[order(PAGE, i, b"\x03") for i in range(3, 20)]),
    "version": (0, order(WRITE, 60, b"\x7f\xff\xff\xff")), "id": (0, order(WRITE, 68, bytes(4))), "free-list": (0, order(WRITE, 32, b"\0\0\0\x03\0\0\0\x09")),
    "other-file": (0, order(WHOLE, 0, b"") + b"this is no database " * 60), "log-head": (KILLED, order(WRITE, 0, bytes(32), True)), "log-cut": (KILLED, order(CUT, 70000, b"", True)),
    "log-text": (KILLED, order(FLIP, 50000, b"\x10", True)), "log-frame": (KILLED, order(WRITE, 32, b"\0\0\0\x02", True)), "both": (KILLED, order(FLIP, 100, b"\x40" * 9), order(CUT, 30000, b"", True)),
    "texts": (0, *[order(FLIP, 4096 * page + 3500, b"\x01") for page in range(2, 60)]), "texts-salvaged": (SALVAGE, *[order(FLIP, 4096 * page + 3500, b"\x01") for page in range(2, 60, 3)]),
    "texts-and-root": (READS, order(WRITE, 4096, bytes(100)), *[order(FLIP, 4096 * page + 3000, b"\x01") for page in range(4, 60, 5)]),
    "log-alone": (KILLED | SALVAGE, order(CUT, 0, b"")),
}


def write(corpus, name, data):
    directory = os.path.join(HERE, "corpus", corpus)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, name), "wb") as file:
        file.write(data)


# ---- dictionaries ----------------------------------------------------------------------------------------------

# Operations, as an array of so many fields begins.
HEADS = [bytes([0x90 + count, op]) for op, counts in {1: (4,), 2: (4,), 3: (3, 5), 4: (2, 3, 4, 7), 5: (4, 5, 6), 6: (3, 4), 7: (4, 7), 8: (5, 7), 9: (4,), 10: (4,),
                                                      11: (2,), 12: (3, 4), 13: (2,), 14: (2,), 15: (2, 7), 18: (2,), 19: (3,), 20: (3, 5), 21: (2, 3), 22: (2,)}.items() for count in counts]
NUMBERS = [b"\xcc\xff", b"\xcd\xff\xff", b"\xce\xff\xff\xff\xff", b"\xce\x7f\xff\xff\xff", b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff", b"\xcf" + b"\xff" * 8, b"\xd0\xff", b"\xd3\x80" + bytes(7),
           b"\xcb\x3f\xf0" + bytes(6), b"\xc0", b"\xc2", b"\xc3", b"\xc1"]
SHAPES = [b"\xc4\x00", b"\xc4\x01x", b"\xd9\x01a", b"\xda\x00\x01a", b"\xdb\x00\x00\x00\x01a", b"\xc5\x00\x01x", b"\xc6\x00\x00\x00\x01x", b"\x80", b"\x90", b"\x91", b"\x81",
          b"\xdc\x00\x02", b"\xdd\x00\x00\x00\x02", b"\xde\x00\x01", b"\xdf\x00\x00\x00\x01", b"\xd4\x01x", b"\xc7\x01\x01x"]
OPTIONS = """mps id auth data ka sess clean rx_max boot will half vmin max_msgs max_bytes policy drop_old drop_new latest close block spill retained group filter credit no_local
block_ms from new all last last_per_topic time ago acked seq then ack none each upto durable inflight ack_ms max_tries retry_ms key epoch resumed last_pid inbox max_payload max_topic max_subs pub_window
sent lost after lame_duck none scope local cluster""".split()
TEXTS = ["a", "a/b", "#", "+", "a/#", "+/b", "d/#", "$SYS/#", "$dead/#", "$inbox/0123456789abcdef01234567"]


def packed(text):
    data = text.encode()
    return bytes([0xa0 + len(data)]) + data if len(data) < 32 else b"\xd9" + bytes([len(data)]) + data


def config_words():
    """The keys of the example configuration, and what stands around them."""
    with open(os.path.join(TOP, "deploy", "pubsubd.conf"), encoding="utf-8") as file:
        keys = re.findall(r"^#?\s*([a-z_]+) = ", file.read(), re.MULTILINE)
    sections = ["[broker]\n", "[limits]\n", "[stream s]\n", "[listener l]\n", "[metrics]\n", "[access]\n", "[user u]\n", "[group g]\n"]
    access = ["passwords", "tokens", "default_group", "groups", "certificate", "uid", "gid", "publish", "subscribe", "deny_publish", "deny_subscribe", "rights", "key",
              "client_ca", "client_certificate", "allow_anonymous"]
    values = ["tcp://127.0.0.1:0", "tls://h:1", "http://[::1]:1", "unix:/x", "fd:3", "drop_oldest", "refuse", "yes", "no", "off", "optional", "required", "retain, block", "%u", "%i", "uri:a", "dns:a", "cn:a", "sha256:",
              "1k", "1m", "1g", "1t", "1ms", "1s", "1h", "1d", "0", "18446744073709551616", "-1", "\ufeff", "\t", "\r\n", " ; ", "# ", " = ", ": ", "]", "\n\n"]
    return sections + [key + " = " for key in dict.fromkeys(keys + access)] + values


FILTER_WORDS = ["and ", "or ", "not ", "has ", "in ", "exists(", "true", "false", "nil", "==", "!=", "<=", ">=", "^=", "@topic", "@level[0]", "@props.", "@props[4]", "[0]", ".", "(", ")", '"', r"\u00e9",
                r"\ud83d\ude00", "1e300", "18446744073709551615", "-9223372036854775808", "1.5", "\n", "a.b", "\na/b\n"]
TOPIC_WORDS = ["+", "#", "/", "/+", "/#", "+/", "$", "$SYS/", "\n", "\n#\n", "\u00e9", "\U0001f600", "a/b", "//", "x" * 60, "/+" * 15, "a/" * 15]
STORE_WORDS = [b"SQLite format 3\x00", b"\x10\x00", b"\x0d", b"\x05", b"\x0a", b"\x02", b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83", b"\x00\x00\x00\x01", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x10\x00", b"\x00\x20\x00"]


def write_words(name, words):
    with open(os.path.join(HERE, name + ".dict"), "w", encoding="ascii") as file:
        file.write("# Written by make_texts.py.\n")
        for word in dict.fromkeys(w.encode() if isinstance(w, str) else w for w in words):
            file.write('"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in word) + '"\n')


def main():
    for name, lines in TOPICS.items():
        write("topic", name, "\n".join(lines).encode())
    for name, data in RAW_TOPICS.items():
        write("topic", name, data)
    for name, text in CONFIGS.items():
        write("config", name, text.encode())
    for name, (options, *orders) in STORES.items():
        write("store", name, bytes([options]) + b"".join(orders))
    frames = HEADS + NUMBERS + SHAPES + [packed(word) for word in OPTIONS + TEXTS]
    for name in ("frame", "session", "client"):
        write_words(name, frames)
    write_words("filter", FILTER_WORDS)
    write_words("topic", TOPIC_WORDS)
    write_words("config", config_words())
    write_words("store", STORE_WORDS)
    # Actions of four clients, and a step behind each: see fuzz_durable.c.
    write_words("durable", [bytes([action]) for action in range(32)] + [bytes([28, step]) for step in range(8)] + [bytes([29, fault]) for fault in range(8)] + [b"\x1e\x00\x00", b"\x1e\x00\x01"])


main()
