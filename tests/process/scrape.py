"""Asking for metrics over HTTP, and reading Prometheus' text format as its specification says, no more leniently."""
import http.client
import os
import re
import shutil
import socket
import subprocess
import unittest

import brokers
from raw import ANSWER_S, MSG, PUB, PUBACK, ROUTED, SUB, SUBACK, eventually, frame, welcomed

PROMTOOL_S = 60
TYPE = "text/plain; version=0.0.4; charset=utf-8"
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


class Connection(http.client.HTTPConnection):
    """To http://host:port or unix:/path."""

    def __init__(self, url):
        self.path = url.removeprefix("unix:") if url.startswith("unix:") else None
        super().__init__("localhost" if self.path else url.removeprefix("http://"), timeout=ANSWER_S)

    def connect(self):
        if self.path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, path, method="GET", **how):
        """Returns (status, type of the content, text)."""
        self.request(method, path, **how)
        answer = self.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read().decode()


def ask(url, path, method="GET", **how):
    connection = Connection(url)
    try:
        return connection.ask(path, method, **how)
    finally:
        connection.close()


class Page:
    """A page that was parsed: `types` and `helps` by name of the family, `values` by name and labels."""

    def __init__(self, text):
        self.text = text
        self.types, self.helps, self.values = {}, {}, {}
        if not text.endswith("\n"):
            raise AssertionError("the last line has no end")
        self.family = None
        for line in text[:-1].split("\n"):
            if line.startswith("# HELP "):
                self.begin_family(line)
            elif line.startswith("# TYPE "):
                _, _, name, self.types[name] = line.split(" ")
                if name != self.family:
                    raise AssertionError(f"the type of '{name}' stands in '{self.family}'")
            else:
                self.take_sample(line)

    def begin_family(self, line):
        _, _, self.family, text = line.split(" ", 3)
        if self.family in self.helps:
            raise AssertionError(f"'{self.family}' stands there twice")
        self.helps[self.family] = text

    def take_sample(self, line):
        match = SAMPLE.fullmatch(line)
        if not match or not NUMBER.fullmatch(match[3]):
            raise AssertionError(f"'{line}' is not a sample")
        name, labels = match[1], self.labels(match[2] or "")
        suffixes = ("_bucket", "_sum", "_count") if self.types[self.family] == "histogram" else ("",)
        if name not in [self.family + suffix for suffix in suffixes]:
            raise AssertionError(f"'{name}' stands in '{self.family}'")
        if (name, labels) in self.values:
            raise AssertionError(f"'{line}' is there twice")
        self.values[name, labels] = float(match[3])

    @staticmethod
    def labels(text):
        labels, at = [], 0
        while at < len(text):
            match = LABEL.match(text, at)
            if not match:
                raise AssertionError(f"'{text[at:]}' is no label")
            value = re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], match[2])
            labels.append((match[1], value))
            at = match.end()
        return frozenset(labels)

    def __getitem__(self, name):
        """The value of a series without labels."""
        return self.values[name, frozenset()]

    def get(self, name, **labels):
        return self.values.get((name, frozenset((key, str(value)) for key, value in labels.items())))

    def series(self, name):
        """Those of a name: a list of (labels, value)."""
        return [(dict(labels), value) for (other, labels), value in self.values.items() if other == name]


def scrape(url):
    status, kind, text = ask(url, "/metrics")
    if (status, kind) != (200, TYPE):
        raise AssertionError(f"/metrics was answered with {status}, {kind}: {text[:200]}")
    return Page(text)


def promtool(*arguments, stdin=""):
    """What Prometheus' own tool says, and its exit code."""
    program = os.environ.get("PUBSUB_PROMTOOL") or shutil.which("promtool")
    if not program:
        raise unittest.SkipTest("there is no promtool")
    done = subprocess.run([program, *arguments], input=stdin.encode(), capture_output=True, timeout=PROMTOOL_S)
    return done.stdout.decode() + done.stderr.decode(), done.returncode


class Broker(brokers.Broker):
    """A broker that serves metrics, at `metrics`: by default at a free port."""

    def __init__(self, config="", url="http://127.0.0.1:0", more="", **how):
        super().__init__(config=f"[metrics]\nurl = {url}\n{more}{config}", **how)

    def start(self):
        super().start()
        self.metrics = self.served()[-1]

    def served(self):
        """Where it said that it serves them, in this order."""
        return re.findall(r"metrics are served at (\S+)", self.said())

    def page(self, condition=lambda page: True):
        """A page of which this is true, which it may have to become."""
        pages = []

        def look():
            pages.append(scrape(self.metrics))
            return condition(pages[-1])
        if not eventually(look):
            raise AssertionError(f"it never became so; the last page: {pages[-1].text}")
        return pages[-1]


class MetricsTest(unittest.TestCase):
    def start(self, config="", **how):
        self.broker = Broker(config, **how)
        self.addCleanup(self.broker.stop)
        return self.broker

    def peer(self, **options):
        peer = welcomed(self.broker.unix, **options)
        self.addCleanup(peer.close)
        return peer

    def subscribe(self, peer, sid, pattern, **options):
        peer.tell(SUB, sid, pattern, options)
        answer = peer.answer(SUBACK)
        self.assertEqual(answer[:3], [SUBACK, sid, 0])

    def publish(self, *topics, flags=ROUTED, payload=b"\xc0"):
        """One message to each, all of them routed when it returns."""
        peer = self.peer()
        peer.send(frame(PUB, 1, flags) + b"".join(frame(MSG, topic, None, payload) for topic in topics))
        while peer.answer(PUBACK)[1] < len(topics):
            pass
        peer.goodbye()
