#!/usr/bin/python3
"""Writes the fuzzers' seed corpora, corpus/{frame,session,client,cluster,filter}: meaningful frames and streams of them.

Each file begins with two bytes for the fuzzer itself (how the input is cut, options; see fuzz_*.c), but
for filters, which begin with lines, and clusters, which are actions from the first byte on."""
import os

import msgpack

PLACE = os.path.dirname(os.path.abspath(__file__))
HELLO = [1, "mps", 1, {"id": "dev-7", "ka": 60, "rx_max": 4096, "half": True}]


def pack(*frames):
    return b"".join(f if isinstance(f, bytes) else msgpack.packb(f, use_bin_type=True) for f in frames)


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


PROPS = {1: "$inbox/0123456789abcdef01234567/1", 2: 7, 3: 0, 4: 1000, 5: bytes(25), 6: "k", 7: b"id", 8: 1700000000000, "unit": ["m", 1, 2.5, None, True]}
DOCUMENT = msgpack.packb({"a": {"b": [1, 2, {"c": "x"}]}, "odd key": -1.5, "t": [None, True, b"bin"]}, use_bin_type=True)

TO_BROKER = {
    "hello": [HELLO],
    "hello-all": [[1, "mps", 3, {"id": "x", "auth": "none", "data": b"t", "ka": 1, "sess": 0, "clean": True, "rx_max": 64,
                                 "boot": 1, "will": ["w", b"gone", 0, 0], "half": False, "vmin": 1, "sw": "s/1", "odd": [1]}]],
    "msg": [[2, "site/a/temp", None, bytes.fromhex("81a17415")]],
    "msg-props": [[2, "a/b", PROPS, DOCUMENT]],
    "msg-empty": [[2, "a", None, b""]],
    "msg-wide": [bytes.fromhex("dc0004cd0002d90161c0c500017b")],
    "msg-widest": [bytes.fromhex("dd00000005ce00000002db0000000161dec60000000178a178".replace("de", "c0", 1))],
    "msg-more-fields": [[2, "a", None, b"x", "later", {"k": 1}]],
    "msg-bad-props": [[2, "a", {4: "soon"}, b"x"], [2, "a", {5: b"short"}, b"x"], bytes.fromhex("9402a16182070107020c40178".replace("0c40178", "c40178"))],
    "msg-bad-topic": [[2, "", None, b"x"], [2, "a/+", None, b"x"], [2, "a#", None, b"x"], [2, "/".join("a" * 40), None, b"x"], [2, "t" * 256, None, b"x"]],
    "msg-reserved": [[2, "$SYS/x", None, b"x"], [2, "$inbox/a/1", None, b"x"]],
    "msg-run": [[2, "a/b", None, b"%d" % i] for i in range(40)],
    "msg-run-mixed": [[2, "a/" + "bc"[i % 2], None, b"x" * i] for i in range(40)],
    "msg-large": [[2, "a", None, b"L" * 6000], [2, "a", None, b"after"]],
    "msg-oversized": [[2, "a", None, b"o" * 100], [2, "a", None, b"after"]],
    "msg-far-too-large": [bytes.fromhex("9402a161c0c6ffffffff")],
    "pub": [[3, 1, 2], [2, "a", None, b"x"], [2, "a", None, b"y"], [3, 0, 0], [2, "a", None, b"z"]],
    "pub-each": [[3, 5, 18], [2, "a", None, b"x"], [2, "b", None, b"y"], [2, "$x", None, b""]],
    "pub-retain": [[3, 1, 3], [2, "a/r", None, b"x"], [9, 1, "a/#", {}], [2, "a/r", None, b""], [9, 1, "a/#", {}]],
    "pub-must-route": [[3, 1, 10], [2, "no/body", None, b"x"], [3, 0, 8], [2, "no/body", None, b"x"]],
    "pub-stored": [[3, 1, 4], [2, "a", None, b"x"]],
    "pub-order": [[3, 1, 2], [2, "a", None, b"x"], [3, 7, 2]],
    "pub-no-level": [[3, 1, 0]],
    "sub": [[9, 1, "site/+/temp", {}], [2, "site/a/temp", None, b"x"], [11, 1]],
    "sub-options": [[9, 2, "#", {"max_msgs": 2, "max_bytes": 100, "policy": "drop_old", "ack": "none", "from": "new", "retained": 1}]],
    "sub-unavailable": [[9, 3, "a", {o: v}] for o, v in (("policy", "latest"), ("ack", "each"), ("credit", 0), ("group", "g"),
                        ("filter", "a > 1"), ("from", "all"), ("no_local", True), ("durable", True), ("then", "spill"), ("block_ms", 5))],
    "sub-bad": [[9, 0, "a", {}], [9, 2**31, "a", {}], [9, 1, "a/#/b", {}], [9, 1, "a+", {}], [9, 1, "$inbox/x", {}], [9, 1, "a", {"max_msgs": 0}]],
    "sub-overlap": [[9, i, p, {"retained": i % 3}] for i, p in enumerate(["#", "+", "a/#", "a/+", "+/b", "a/b", "+/+/#", "/"], 1)] + [[2, "a/b", None, b"x"]] * 3,
    "sub-in-use": [[9, 1, "a", {}], [9, 1, "b", {}], [9, 1, "a", {"max_msgs": 1}]],
    "sub-unsub-loop": [[9, 1, "#", {}], [2, "q", None, b"1"], [11, 1]] * 6,
    "unsub-unknown": [[11, 77]],
    "ping": [[13, b"token"], [13, b""], [14, b"unasked"]],
    "stat": [[9, 1, "a", {}], [2, "a", None, b"x"], [15, 1], [15, 9]],
    "ack-credit-auth": [[5, 1, 64, 5], [5, 1, 64, 5, 2, 100], [6, 1, 10], [6, 1, 10, True], [18, b"token"]],
    "bye": [[9, 1, "#", {}], [2, "a", None, b"x"], [21, 0]],
    "bye-will": [[21, 1, "text"]],
    "unknown-op": [[70, 1, {2: 3}], [127], [40, 1]],
    "wrong-way": [[4, 1]],
    "hello-twice": [HELLO],
    "everything": [[9, 1, "#", {"max_msgs": 3}], [3, 1, 2], [2, "a", PROPS, DOCUMENT], [13, b"1"], [15, 1], [3, 0, 1], [2, "r", None, b"v"], [9, 2, "r", {}], [11, 1], [21, 0]],
}
HELLO_OURS, SMALL, NARROW, CUT, TIME, TWO, LEAPS, STUCK = (1 << i for i in range(8))  # options of fuzz_session.c
INBOX = "$inbox/0123456789abcdef01234567"  # there stands the attacker's own for it


def messages(topic, count, props=None, size=1):
    return [[2, topic, props, b"%d" % i * size] for i in range(count)]


def keyed(*keys):
    return [[2, "a/%d" % (i % 2), {6: k}, b"%d" % i] for i, k in enumerate(keys)]


def hello(**options):
    return [1, "mps", 1, options]


SESSIONS = {
    "policy-drop-old": (1, 0, [[9, 1, "#", {"max_msgs": 2, "credit": 0}], *messages("a", 6), [15, 1], [6, 1, 9, True]]),
    "policy-drop-new": (1, 5, [[9, 1, "#", {"policy": "drop_new", "max_msgs": 2, "credit": 1}], [3, 1, 2], *messages("a", 6), [15, 1], [6, 1, 9]]),
    "policy-latest": (1, 0, [[9, 1, "#", {"policy": "latest", "credit": 0}], *keyed("x", 7, "x", b"x", 7, True, 1.0, None, "y", 7), *messages("a", 3), [15, 1], [6, 1, 99]]),
    "policy-latest-full": (STUCK | NARROW | 1, 3, [[9, 1, "#", {"policy": "latest", "max_msgs": 3}], *keyed(*range(9)), *keyed(8, 7, 6, 5), [9, 1, "#", {"policy": "drop_old"}], *messages("a", 9),
                                                   [9, 1, "#", {"policy": "latest"}], [6, 1, 99]]),
    "policy-close": (1, 0, [[9, 7, "a/#", {"policy": "close", "max_msgs": 2, "credit": 0}], *messages("a/b", 4), [13, b"x"]]),
    "policy-close-bytes": (TWO | 1, 4, [[9, 7, "a/#", {"policy": "close", "max_bytes": 60, "credit": 0}], *messages("a/b", 9)]),
    "block": (LEAPS | 1, 0, [[9, 1, "#", {"policy": "block", "max_msgs": 2, "block_ms": 50, "credit": 0}], [3, 1, 2], *messages("a", 6), [15, 1], [6, 1, 99]]),
    "block-credit": (1, 9, [[9, 1, "#", {"policy": "block", "max_msgs": 2, "block_ms": 600000, "credit": 0}], *messages("a", 4), [13, b"held"], [6, 1, 2], [3, 1, 2], *messages("b", 4),
                            [6, 1, 5, True], [13, b"on"], [15, 1], [13, b"behind"]]),
    "block-two": (TWO | STUCK | LEAPS | 1, 6, [[9, 1, "#", {"policy": "block", "max_msgs": 1, "block_ms": 1000, "then": "drop_old"}], *messages("a", 9, size=20), [13, b"x"], [21, 0]]),
    "block-then-close": (LEAPS | 1, 2, [[9, 1, "a", {"policy": "block", "max_msgs": 1, "block_ms": 100, "then": "close", "credit": 0}], *messages("a", 4), [13, b"x"]]),
    "block-keepalive": (LEAPS, 1, [hello(id="k", ka=1), [9, 1, "#", {"policy": "block", "max_msgs": 1, "credit": 0}], *messages("a", 3), [13, b""]]),
    "block-upsert": (TIME | TWO | 1, 7, [[9, 1, "#", {"policy": "block", "max_msgs": 1, "credit": 0}], *messages("a", 3), [9, 1, "#", {"max_msgs": 1}], *messages("b", 3), [11, 1]]),
    "block-budget": (SMALL | TWO | TIME | 1, 0, [[9, 1, "a", {"policy": "block", "credit": 0}], [9, 2, "+", {"policy": "block", "credit": 0}], *messages("a", 9, size=20), [6, 2, 9], [6, 1, 9]]),
    "credit": (1, 0, [[9, 1, "#", {"credit": 2}], *messages("a", 5), [6, 1, 3], [6, 1, 1], [15, 1], [9, 1, "#", {"credit": 4}], [9, 1, "#", {}], [6, 9, 1], [6, 0, 1]]),
    "credit-drain": (1, 3, [[9, 1, "#", {"credit": 0}], [6, 1, 0, True], *messages("a", 3), [6, 1, 2, True], [6, 1, 2, True], [6, 1, 9, True], [11, 1], [9, 1, "#", {"credit": 0}], [6, 1, 1]]),
    "credit-retained": (1, 0, [[3, 0, 1], [2, "r/1", None, b"1"], [2, "r/2", None, b"2"], [3, 0, 0], [9, 1, "r/+", {"credit": 1}], [2, "r/1", None, b"live"], [6, 1, 2], [3, 0, 1],
                               [2, "r/2", None, b""], [6, 1, 9, True]]),
    "ttl": (TIME | 1, 8, [[9, 1, "#", {"credit": 0}], *messages("a", 3, {4: 0}), *messages("a", 3, {4: 30}), *messages("a", 2), *messages("a", 3, {4: 100}), [15, 1], [6, 1, 99]]),
    "ttl-retained": (LEAPS | 1, 8, [[3, 0, 1], [2, "r", {4: 50}, b"v"], [2, "s", {4: 2**53 - 1}, b"v"], [9, 1, "+", {}], [9, 2, "r", {"retained": 1}], [9, 2, "r", {}]]),
    "ttl-block": (LEAPS | 1, 5, [[9, 1, "#", {"policy": "block", "max_msgs": 2, "credit": 0, "block_ms": 9000}], *messages("a", 4, {4: 100}), *keyed("x", "x"), [6, 1, 99]]),
    "ttl-unsub": (TIME | CUT | 1, 0, [[9, 1, "#", {"credit": 0}], *messages("a", 3, {4: 60000}), [11, 1], [9, 2, "a", {"credit": 0}], *messages("a", 3, {4: 60000}), [13, b"x"]]),
    "filter": (1, 0, [[9, 1, "#", {"filter": "a.b[0] == 1 and @level[0] == \"x\""}], [9, 2, "#", {"filter": "not exists(a)", "credit": 0}], [2, "x/y", None, DOCUMENT], [2, "x", {3: 0}, b"raw"],
                      [9, 3, "#", {"filter": "(a >"}], [9, 1, "#", {"filter": "@topic ^= \"x\""}], [2, "x", None, b"\x07"], [15, 1], [15, 2]]),
    "filter-retained": (1, 0, [[3, 1, 3], [2, "x", None, DOCUMENT], [2, "y", None, b"\x01"], [9, 1, "#", {"filter": ". == 1"}], [3, 3, 10], [2, "y", None, b"\x02"], [2, "y", None, b"\x01"]]),
    "group": (TWO | 1, 0, [[9, 1, "#", {"group": "g"}], [9, 2, "#", {"group": "g", "credit": 2}], [3, 1, 2], *messages("a", 9), [15, 1], [15, 2], [11, 1], *messages("a", 3), [6, 2, 99, True]]),
    "group-full": (TWO | STUCK | NARROW | 1, 5, [[9, 1, "a", {"group": "g", "max_msgs": 3}], [9, 2, "a", {"group": "g", "max_msgs": 3}], *messages("a", 12, size=9), [21, 0]]),
    "group-differs": (TWO | 1, 0, [[9, 1, "#", {"group": "g"}], [9, 2, "#", {"group": "g", "max_msgs": 9}], [9, 1, "#", {"group": "h"}], [9, 3, "#", {"group": "g", "filter": "a > 1"}],
                                   [9, 4, "#", {"group": "g", "policy": "close"}], [9, 5, "a", {"group": "g", "no_local": True}], [9, 6, "a", {"group": ""}]]),
    "group-alone": (1, 0, [[9, 1, "#", {"group": "g", "credit": 1}], *messages("a", 4), [9, 1, "#", {"group": "g", "credit": 1, "policy": "latest", "max_msgs": 2}], *keyed(1, 2, 1), [6, 1, 3, True], [21, 0]]),
    "group-block": (TWO | LEAPS | 1, 7, [[9, 1, "#", {"group": "g", "policy": "block", "max_msgs": 2, "block_ms": 100, "credit": 1}], *messages("a", 6), [13, b"x"], [6, 1, 3], *messages("b", 6)]),
    "group-latest-ttl": (TWO | TIME | STUCK | NARROW | 1, 9, [[9, 1, "#", {"group": "g", "policy": "latest"}], *keyed(1, 2, 1, 2), *messages("a", 4, {4: 20}), *keyed(1, 2)]),
    "group-narrow": (NARROW | CUT | TIME | STUCK | 1, 0, [[9, 1, "#", {"group": "g", "credit": 1}], *messages("a", 2)]),
    "group-drain": (NARROW | TWO | LEAPS | STUCK | 1, 0, [[9, 2, "#", {"group": "g"}], *messages("a", 1), [6, 2, 99, True]]),
    "group-rx-max": (0, 0, [hello(rx_max=30), [9, 1, "#", {"group": "g"}], *messages("a", 3, size=9), *messages("a", 3, size=40)]),
    "inbox": (TWO | 1, 0, [[3, 1, 10], [2, INBOX, None, b"1"], [2, INBOX + "/x", {2: 7}, b"2"], [2, "$inbox/000000000000000000000000", None, b"3"], [15, 0], [6, 0, 1], [11, 0], [9, 0, "a", {}],
                           [9, 1, INBOX + "/#", {}], [3, 4, 3], [2, INBOX, None, b"4"]]),
    "inbox-full": (SMALL | STUCK | NARROW | 1, 0, [*messages(INBOX + "/1", 12), [15, 0]]),
    "request": (1, 4, [[9, 1, "svc", {"group": "g"}], [3, 1, 10], [2, "svc", {1: INBOX + "/9", 2: 9}, b"?"], [2, INBOX + "/9", {2: 9}, b"!"], [3, 0, 0], [2, INBOX + "/9", {2: 9}, b"!!"], [2, "none", {1: INBOX}, b"?"]]),
    "will": (CUT, 0, [hello(id="w", will=["gone/w", b"bye", 1, 0]), [9, 1, "gone/#", {}], [2, "a", None, b"x"]]),
    "will-delayed": (TWO | CUT | LEAPS, 6, [hello(id="w", will=["gone", b"bye", 0, 5000, {4: 100, 6: "k"}]), [9, 1, "#", {}], [2, "a", None, b"x"], [21, 1]]),
    "will-dropped": (0, 0, [hello(id="w", will=["gone", b"bye", 0, 0]), [21, 0]]),
    "will-refused": (TWO, 0, [hello(will=["a/+", b"bye", 0, 0]), [13, b"x"]]),
    "will-reserved": (0, 0, [hello(will=["$SYS/x", b"bye", 0, 0]), [13, b"x"]]),
    "will-shape": (0, 0, [hello(will=["a", "text", 0, 0])]),
    "will-far": (0, 0, [hello(id="w", will=["a", b"x", 0, 2**53 - 1]), [21, 1]]),
    "no-local": (TWO | 1, 0, [[9, 1, "#", {"no_local": True}], [3, 1, 10], *messages("a", 3), [15, 1], [9, 1, "#", {}], *messages("a", 2), [3, 6, 3], [2, "r", None, b"v"], [9, 2, "r", {"no_local": True}]]),
    "sys": (LEAPS | SMALL | 1, 3, [[9, 1, "$SYS/#", {}], [9, 2, "#", {"credit": 0}], [9, 3, "a", {"group": "g", "credit": 0}], *messages("a", 3), [13, b"1"], [13, b"2"], [13, b"3"], [6, 2, 9], [2, "$SYS/x", None, b""]]),
    "sys-slow": (LEAPS | TWO | 1, 1, [[9, 1, "$SYS/subscription/+/+", {"filter": "slow == true", "policy": "latest", "max_msgs": 2}], [9, 2, "a", {"credit": 0, "no_local": False}], *messages("a", 3), [13, b"1"], [11, 2]]),
    "keepalive": (LEAPS, 9, [hello(id="k", ka=2, half=True), [9, 1, "#", {}], [13, b"1"], [2, "a", None, b"x"]]),
    "taken-over": (TWO, 0, [hello(id="same", will=["gone", b"bye", 0, 0]), [9, 1, "#", {"policy": "block", "credit": 0, "max_msgs": 1}], *messages("a", 3)]),
    "budget": (SMALL | STUCK | TWO | 1, 0, [[9, i, "#", {"max_msgs": 1000, "max_bytes": 100000, "credit": 0}] for i in (1, 2, 3)] + messages("a", 60, size=8) + [[6, i, 99, True] for i in (1, 2, 3)]),
    "many-at-once": (STUCK | TWO | LEAPS | NARROW | 1, 11, [[9, 1, "#", {"policy": "block", "max_msgs": 3, "block_ms": 50}], [9, 2, "+", {"policy": "latest", "max_msgs": 2}],
                                                             [9, 3, "a/#", {"group": "g", "policy": "drop_new", "max_msgs": 2}], [9, 4, "a/0", {"no_local": True, "filter": "not . == 3"}],
                                                             [3, 1, 3], *keyed(1, 2, 1, 3, "k"), *messages("a/0", 3, {4: 60}), [6, 3, 4, True], [15, 2], [11, 1], [21, 1]]),
}
TO_CLIENT = {
    "welcome": [[19, 1, {"id": "dev-7", "epoch": 5, "resumed": False, "last_pid": 0, "inbox": "$inbox/abc", "ka": 60,
                         "max_payload": 1048576, "max_topic": 255, "max_subs": 10, "pub_window": 100, "ack": 1, "sw": "b/1"}]],
    "for-msg": [[4, 1], [2, "a", None, b"x"], [2, "a", PROPS, DOCUMENT], [4, 1, 1], [2, "r", None, b"v"]],
    "for-position": [[4, 1, 2, 64, 100, 1700000000000, 3], [2, "a", None, b"x"], [2, "a", None, b"y"], [4, 1, None, 64, 200], [2, "a", None, b"z"]],
    "msg-without-for": [[2, "a", None, b"x"]],
    "gap": [[7, 1, 318, 1], [7, 1, None, 9], [7, 1, 5, 2, 64, 10, 14], [7, 1, 1, 99]],
    "puback": [[8, 3, 0, 2, 0], [8, 4, 1, 0, 0], [8, 5, 217, 0, 0, None, None, "nobody is subscribed to 't'"]],
    "puback-wrong": [[8, 900, 0, 1, 0]],
    "puback-stored": [[8, 2, 0, 1, 0, 64, 7]],
    "suback": [[10, 1, 0, {}], [10, 1, 0, {"max_msgs": 5, "max_bytes": 6}], [10, 1, 210, "bad pattern"]],
    "mark": [[12, 1, 1], [12, 1, 2], [12, 1, 3, {}], [12, 1, 4, {"sent": 5, "lost": 1}], [12, 1, 77]],
    "ping": [[13, b"are you there"], [13, b""], [14, b"t"]],
    "ping-many": [[13, bytes(60)]] * 60,
    "stat": [[15, 1, 10, 5, 2, 3, 300]],
    "err": [[20, 211, "may not", 2, "$SYS/x"], [20, 219, "bad option", 9, 1], [20, 213, "too large"], [20, 210, "control \x1b[2J \x00".replace("\x00", "") + "x" * 400]],
    "bye": [[21, 0]],
    "bye-text": [[21, 113, "the broker is shutting down", {"after": 1}], [2, "a", None, b"x"]],
    "info": [[22, {"lame_duck": True, "max_payload": 100, "other": ["tcp://h:1"]}]],
    "unknown": [[70, {1: 2}], [100, b"x"], [30, 1]],
    "wrong-way": [[9, 1, "a", {}]],
    "too-large": [[4, 1], [2, "a", None, b"x" * 5000], [2, "a", None, b"after"]],
    "stream": [[10, 1, 0, {}], [4, 1, 1], [2, "r", None, b"v"], [12, 1, 1], [4, 1], [2, "a", None, b"x"], [7, 1, 3, 1], [2, "a", None, b"y"], [8, 5, 0, 1, 0], [22, {}], [21, 113, "bye"]],
    "durable": [[19, 1, {"id": "fuzz", "epoch": 2**64 - 1, "resumed": True, "last_pid": 8, "sess": 30, "ack": 2}], [4, 1, 4, 64, 5, 1700000000000, 2],
                [2, "a", None, b"x"], [10, 1, 0, {}], [4, 1, 2, 64, 6], [2, "a", None, b"y"], [2, "b", None, b"z"], [7, 1, None, 12, 64, 8, 9], [12, 1, 2],
                [4, 1, 0, 64, 10], [2, "a", None, b""], [20, 219, "never sent", 5, 1]],
}
RAW = {
    "c1": b"\xc1",
    "array32": b"\xdd\xff\xff\xff\xff", "array32-256m": b"\xdd\x10\x00\x00\x00", "map32": b"\xdf\xff\xff\xff\xff",
    "str32": b"\x94\x02\xdb\xff\xff\xff\xff", "bin32": b"\x92\x0d\xc6\xff\xff\xff\xff", "ext32": b"\x92\x46\xc9\xff\xff\xff\xff\xff",
    "array16-many": b"\xdc\xff\xff" * 20, "nested-4": pack([70, nested(3)]), "nested-5": pack([70, nested(4)]), "nested-40": pack([70, nested(40)]),
    "nils": pack([70] + [None] * 200), "nils-too-many": pack([70] + [None] * 300),
    "numbers": pack([70, 127, 128, 255, 256, 65535, 65536, 2**32, 2**63, 2**64 - 1, -1, -33, -129, -32769, -2**31 - 1, 1.5]),
    "exts": b"\x97\x46\xd4\x01x\xd5\x01xx\xd6\x01xxxx\xd7\x01xxxxxxxx\xd8\x01" + b"x" * 16 + b"\xc7\x03\x01xxx",
    "negative-sid": b"\x92\x0b\xff", "float-sid": b"\x92\x0b\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
    "op-wide": b"\x92\xcd\x00\x0d\xc4\x00", "op-128": b"\x91\xcc\x80", "op-text": b"\x91\xa1a", "empty": b"\x90", "no-array": b"\x05",
    "duplicate-key": b"\x94\x09\x01\xa1a\x82\xa8max_msgs\x01\xa8max_msgs\x02",
    "bad-utf8": b"\x94\x02\xa2\xc3\x28\xc0\xc4\x00", "nul": b"\x94\x02\xa2a\x00\xc0\xc4\x00",
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "mqtt": bytes.fromhex("100c00044d5154540402003c0000"), "tls": bytes.fromhex("16030100a5"),
}
READING = msgpack.packb({"temp": 31.5, "n": 7, "site": "berlin", "on": True, "none": None, "tags": ["red", 3, [1]], "a": {"b": [1, {"c": "deep"}]},
                         "odd key": 2**64 - 1, "big": 2**53 + 1, "least": -2**63, "blob": b"xy"}, use_bin_type=True)
HEADERS = msgpack.packb({"unit": "C", "sizes": [4, 5], 4: 60000}, use_bin_type=True)
FILTERS = {
    "example": 'temp > 30 and site == "berlin"',
    "operators": 'n == 7 and n != 8 and n < 8 and n <= 7 and n > 6 and n >= 7 and site ^= "ber" and exists(a.b)',
    "containers": 'tags has "red" and n in [1, 7.0, "x", nil, true] and a has "b" and not (. has n)',
    "paths": '."odd key" > 1 and a.b[1].c == "deep" and a."b"[0] == 1 and [0] == 1',
    "message": '@topic ^= "site/" and @level[1] == "a" and @props.unit == "C" and @props[4] > 1 and @props.sizes has 5',
    "message-alone": '@level[0] == "site" or @props."unit" == "C"',
    "precedence": 'not n == 8 and n == 9 or not (n == 1 or n == 2) and not not on == true',
    "wide-numbers": 'big == 9007199254740993 and big > 9007199254740992.0 and least == -9223372036854775808 and n < 18446744073709551616 and n < 1e300',
    "texts": r'site != "a\"b\\c\n\t\u00e9\ud83d\ude00" and site > "" and "berlin/7" ^= site',
    "kinds": 'on == true and none == nil and blob == blob and site != nil and nil != none and n == site',
    "nested": "(" * 64 + "n==7" + ")" * 64,
    "nots": "not " * 61 + "n==7",
    "nodes": "n in [1" + ",2" * 61 + "]",
    "deep-path": "exists(a" + ".a" * 31 + ") or exists(a" + "[0]" * 31 + ")",
    "same-beginnings": "a.b.c < a.b.d or a.b[0] > a.c or a.b.c == a",
    "no-comparison": "active and n == 1",
    "no-value": "(temp > )",
    "no-end": 'site == "berlin',
    "half-pair": r'site == "\ud800x"',
    "reserved": "a.not == 1",
    "bad-number": "n == 1.2.3",
    "two-literals": "1 == 1",
    "not-utf8": b"n == 1 \xff",
}


def sized(data):
    return bytes([len(data) // 256, len(data) % 256]) + data


def lane(*frames, which=0, bits=0):
    return bytes([9, which, bits]) + sized(pack(*frames))


def client(action, who, *rest):  # 0 comes, 1 subscribes, 3 unsubscribes, 4 is cut, 5 says bye, 6 publishes
    return bytes([6, action * 3 + who, *rest])


def record(kind, key, value):
    return bytes([2, kind - 1, 1]) + sized(key) + sized(value)


HERE = bytes([0]) + sized(pack([32, 1, "one", 1, b"\0\1\2", {"sw": "x"}]))
LATER = bytes([4, 3])
INTEREST = [34, 1, 0, True, ["t/#", "s/+", "a/b"], [["g", "t/a"]]]
CLUSTER = {
    "here": HERE + LATER + bytes([1, 0, 1, 1]) + LATER,
    "messages": client(0, 0) + client(1, 0, 0, 0) + HERE + lane([2, "t/a", None, b"x"], [2, "t/b", {4: 1000}, b"y"], [2, "t/b", None, b"y"] * 2) + LATER,
    "run": client(0, 0) + client(1, 0, 3, 0) + HERE + lane(*[[2, "t/a", None, b"%d" % i] for i in range(40)]),
    "hole": client(0, 0) + client(1, 0, 0, 0) + lane([2, "t/a", None, b"x"]) + lane([2, "t/a", None, b"y"], bits=0x43) + lane([2, "t/a", None, b"z"], bits=0xff),
    "interest": client(0, 0) + lane(INTEREST, bits=4) + client(6, 0, 0, 17) + client(6, 0, 2, 19) + lane([34, 2, 2, True, ["t/#"], []], bits=8) + LATER,
    "interest-bad": lane([34, 1, 0, True, ["t/#/b", "$SYS/#", ""], [["", "a"], ["g"]]]) + lane([34, 9, 1, False, [], [["g" * 65, "a"]]]),
    "interest-much": b"".join(lane([34, i + 1, 2 if i else 0, True, ["t/%d/%d" % (i, k) for k in range(50)], []], bits=0) for i in range(10)),
    "terms": client(0, 0) + client(1, 0, 0, 1) + lane([35, False, [["g", "t/#"], ["h", "a"]]], [2, "t/a", None, b"x"], [35, True, []], [2, "t/a", None, b"y"]),
    "echo": client(0, 0) + client(1, 0, 0, 2) + lane([36, 1, 1], [37, 1, 0], [37, 2, None], [36, 2**53 - 1, 2**53 - 1], [37, 3, 2**53 - 1]) + lane([37, 1]) + LATER * 12,
    "claim": client(0, 0) + client(0, 1) + lane([38, "x", "", 2**51, False], [41, "y", 1, 1, 1], [38, "y", "user", 2**51, True], [38, "", "", 1, False]),
    "claim-clean": client(0, 0) + client(1, 0, 4, 28) + lane([38, "x", "", 2**51, True], [38, "x", "", 2**52, False]) + record(3, b"x\0" + b"1", pack([40, "one", 1, 1, 1])) + record(2, b"x\0" + b"1", pack([40, "one", 1, 1, 1, 60, "ann", "s/#", True, [], [True]])) + client(0, 0),
    "resync-leave": lane([39]) + lane([40], [2, "t/a", None, b"x"]) + lane([39]) + LATER,
    "group-far": lane(INTEREST) + client(0, 0) + client(6, 0, 0, 1) * 3 + lane([34, 2, 3, True, [], [["g", "t/a"]]]) + client(6, 0, 0, 1),
    "inbox": client(0, 0) + HERE + lane(INTEREST) + client(6, 0, 3, 1),
    "retained": client(0, 0) + client(1, 0, 0, 0) + record(1, b"t/a", pack([2, "t/a", None, b"v"])) + record(1, b"t/b", b"\xc1") + client(6, 0, 0, 5) + bytes([2, 0, 0]) + sized(b"t/a") + sized(b""),
    "records": b"".join(record(kind, b"x", value) for kind in range(1, 7) for value in (b"", b"\x90", pack([1, 2, 3, 4]), pack({"a": 1}), b"\xdd\xff\xff\xff\xff")),
    "stream": client(0, 0) + client(1, 0, 4, 4) + bytes([3]) + sized(pack([2, "s/a", None, b"x"], [2, "t/a", None, b"y"], [2, "", None, b"z"], [2, "s/b", {4: 10}, b""])) + LATER,
    "stream-away": client(0, 0) + client(6, 0, 2, 3) + bytes([5, 2]) + client(6, 0, 2, 3) + bytes([4, 5]) + bytes([5, 0]) + LATER,
    "stream-anew": client(0, 0) + client(1, 0, 4, 12) + client(6, 0, 2, 3) * 3 + bytes([5, 5]) + client(6, 0, 2, 3) + bytes([5, 6]) + LATER,
    "durable": client(0, 0) + client(1, 0, 4, 28) + client(6, 0, 2, 3) * 3 + client(4, 0) + lane([38, "x", "", 2**51, False]) + client(0, 0) + client(1, 0, 4, 28) + LATER,
    "raw": b"".join(bytes([0]) + sized(data) for data in RAW.values()),
    "lane-raw": b"".join(lane(data) for data in RAW.values()),
    "away": client(0, 0) + client(1, 0, 0, 2) + HERE + lane(INTEREST) + bytes([5, 1]) + client(6, 0, 0, 1) + bytes([4, 6, 5, 0]) + LATER,
    "crowd": b"".join(bytes([1, i % 26, i // 26, 0]) for i in range(80)) + LATER * 8,
}


def write(corpus, name, options, data, cut=0):
    directory = os.path.join(PLACE, "corpus", corpus)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, name), "wb") as file:
        file.write(bytes([cut, options]) + data)


def write_filter(name, text, props, payload):
    text = text if isinstance(text, bytes) else text.encode()
    directory = os.path.join(PLACE, "corpus", "filter")
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, name), "wb") as file:
        file.write(text + b"\nsite/a/temp\n" + len(props).to_bytes(2, "big") + props + payload)


def main():
    frames = {**{"b-" + k: pack(*v) for k, v in TO_BROKER.items()}, **{"c-" + k: pack(*v) for k, v in TO_CLIENT.items()}, **RAW}
    for name, data in frames.items():
        write("frame", name, 0, data)
    for name in ("b-msg-oversized", "b-msg-props", "numbers", "b-everything"):
        write("frame", name + "-small", 1, frames[name], cut=7)
    write("frame", "document", 0, DOCUMENT)
    write("frame", "document-deep", 0, pack(nested(31)))

    for name, items in TO_BROKER.items():
        write("session", name, 1, pack(*items))
    for name, options, cut in (("msg-oversized", 3, 0), ("msg-run", 3, 9), ("sub-overlap", 7, 3), ("everything", 63 - 8, 5), ("everything", 63, 0),
                               ("pub-retain", 33, 1), ("sub-unsub-loop", 5, 2), ("msg-large", 1, 77), ("bye", 13, 4), ("pub-each", 17, 8)):
        write("session", f"{name}-{options}-{cut}", options, pack(*TO_BROKER[name]), cut)
    for name, (options, cut, items) in SESSIONS.items():
        write("session", name, options, pack(*items), cut)
    write("session", "no-hello-then-all", 0, pack(HELLO, *TO_BROKER["everything"]), 11)
    for name, data in RAW.items():
        write("session", "raw-" + name, 0 if name in ("http", "mqtt", "tls", "c1", "array32") else 1, data)

    os.makedirs(os.path.join(PLACE, "corpus", "cluster"), exist_ok=True)
    for name, data in CLUSTER.items():
        with open(os.path.join(PLACE, "corpus", "cluster", name), "wb") as file:
            file.write(data)

    for name, items in TO_CLIENT.items():
        write("client", name, 0 if name == "welcome" else 3, pack(*items))
    for name, options in (("ping-many", 1), ("stream", 7), ("too-large", 11), ("bye-text", 1), ("puback", 3), ("welcome", 4), ("durable", 16), ("durable", 18)):
        write("client", f"{name}-{options}", options, pack(*TO_CLIENT[name]), 21)
    for name, data in RAW.items():
        write("client", "raw-" + name, 1, data)

    for name, text in FILTERS.items():
        write_filter(name, text, HEADERS, READING)
    example = FILTERS["example"]
    for name, payload in (("cut", READING[:-1]), ("longer", READING + b"\0"), ("empty", b""), ("nested", pack(nested(33))),
                          ("values", b"\xdc\x27\x10" + bytes(10000)), ("twice", b"\x82\xa4temp\x01\xa4temp\x21"),
                          ("keys", b"\x83\x91\x01\x02\x81\xa1z\x01\x90\x05\xd9\x04temp"), ("number", b"\x15"), ("text", b"hello")):
        write_filter("payload-" + name, example, b"", payload)
    write_filter("content-type", "not " + example, b"\x81\x03\x00", READING)


main()
