"""A process with many slow readers, for tests that stop it and let it go on: python3 sleeper.py '{"url": ..., ...}'.

It subscribes `count` times, writes "ready" to stdout, reads until each reader has accounted for `total` messages or was
sent away, and writes what each one's books say as a line of JSON."""
import json
import select
import sys

from hostile import setUpModule as allow_many_descriptors
from readers import Reader


def main():
    task = json.loads(sys.argv[1])
    allow_many_descriptors()
    readers = [Reader(task["url"], task["pattern"], task["options"]) for _ in range(task["count"])]
    print("ready", flush=True)
    poll = select.poll()
    by_descriptor = {reader.sock.fileno(): reader for reader in readers}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    while by_descriptor:
        for descriptor, _ in poll.poll():
            reader = by_descriptor[descriptor]
            reader.sip(1 << 16)
            if reader.ended or reader.at >= task["total"]:
                poll.unregister(descriptor)
                del by_descriptor[descriptor]
    print(json.dumps([{"at": r.at, "received": r.received, "told": r.told, "bye": r.bye} for r in readers]))


if __name__ == "__main__":
    main()
