"""The broker's filters against a second reading of the specification: 100,000 random messages, each with a filter.

Usage: differential_test.py DRIVER [COUNT [SEED]]"""
import random
import struct
import subprocess
import sys

import evaluator
import generator

BATCH = 5000


def packed(*strings):
    return b"".join(b"\xff\xff\xff\xff" if s is None else struct.pack(">I", len(s)) + s for s in strings)


def expected(scene):
    try:
        tree = evaluator.parse(scene.filter)
    except evaluator.Refused:
        return "refused"
    return "1" if evaluator.matches(tree, scene.topic, scene.props_bytes, scene.payload) else "0"


def show(scene, want, got):
    print(f"filter:  {scene.filter!r}\ntopic:   {scene.topic}\nprops:   {scene.props_bytes and scene.props_bytes.hex()}\n"
          f"payload: {scene.payload.hex()}\n         {scene.document!r}\nthe evaluator says {want}, the driver {got!r}")


def compare(driver, scenes, counts):
    """Judges the scenes both ways. Returns the number of differences."""
    records = b"".join(packed(s.filter, s.topic.encode(), s.props_bytes, s.payload) for s in scenes)
    answers = subprocess.run([driver], input=records, stdout=subprocess.PIPE, check=True, timeout=120).stdout
    lines = answers.decode("utf-8").splitlines()
    if len(lines) != len(scenes):
        sys.exit(f"{len(scenes)} records were answered by {len(lines)} lines")
    differences = 0
    for scene, got in zip(scenes, lines):
        want = expected(scene)
        counts[want] = counts.get(want, 0) + 1
        if " " in got:
            column = int(got.split(" ", 1)[0])
            same = want == "refused" and 1 <= column <= len(scene.filter) + 1
        else:
            same = want == got
        if not same:
            differences += 1
            if differences <= 3:
                show(scene, want, got)
    return differences


def main():
    driver = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 4711
    rng = random.Random(seed)
    counts, differences = {}, 0
    for begin in range(0, count, BATCH):
        scenes = [generator.Scene(rng) for _ in range(min(BATCH, count - begin))]
        differences += compare(driver, scenes, counts)
    print(f"seed {seed}, {count} filters: {counts}, {differences} differences")
    for verdict in ("0", "1", "refused"):  # a generator that no longer says much would find nothing
        if counts.get(verdict, 0) < count // 50:
            sys.exit(f"only {counts.get(verdict, 0)} filters are judged {verdict}")
    sys.exit(1 if differences else 0)


main()
