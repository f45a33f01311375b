"""Libraries that are loaded into the broker to let what it depends on fail (LD_PRELOAD), and the page by which they are
told when: see control.h."""
import mmap
import os
import pathlib
import shutil
import struct
import sys
import tempfile

from parties import ROOT

LIBRARIES = pathlib.Path(os.environ.get("PUBSUB_FAULTS", ROOT / "build/release/tests/faults"))
SANITIZED = os.environ.get("PUBSUB_SANITIZED") == "1"
NONE, FULL, WRITE_FAILS, SYNC_FAILS, NO_MEMORY, NO_LARGE_MEMORY, DIE = range(7)
FAULT, FIRST, COUNT, CALLS, FAILED, CLOCK_MS = range(0, 48, 8)  # places of the fields
FOR_EVER = 1 << 62
ROOM_BYTES = 1 << 30


def end_under_sanitizers():
    """A sanitizer's library wants to stand before all others in the broker's process, as ours does."""
    if os.environ.get("PUBSUB_SANITIZED") == "1":
        print("skipped: a broker that was built with sanitizers does not start with a library of ours before theirs")
        sys.exit(77)


def scratch():
    """Where files go that need not survive: in memory, if there is a file system with room; so no disk is waited for."""
    for directory in os.environ.get("TMPDIR"), "/dev/shm":
        if directory and os.access(directory, os.W_OK):
            info = os.statvfs(directory)
            if info.f_bavail * info.f_frsize > ROOM_BYTES:
                return directory
    return tempfile.gettempdir()


class Control:
    """The page, in a file of this directory."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "control")
        with open(self.path, "w+b") as file:
            file.truncate(4096)
            self.page = mmap.mmap(file.fileno(), 4096)

    def get(self, place):
        return struct.unpack_from("=q", self.page, place)[0]

    def set(self, place, value):
        struct.pack_into("=q", self.page, place, value)

    def arm(self, fault, first=1, count=FOR_EVER):
        """From the first-th call from now on, so many calls fail that the fault concerns."""
        self.set(FAULT, NONE)
        for place, value in (CALLS, 0), (FAILED, 0), (FIRST, first), (COUNT, count), (FAULT, fault):
            self.set(place, value)

    def disarm(self):
        """Returns how many calls failed."""
        self.set(FAULT, NONE)
        return self.get(FAILED)

    def environment(self, library, **more):
        """Of a broker with this library."""
        first = os.environ.get("PUBSUB_PRELOAD_FIRST")  # a sanitizer's library has to come before all others
        libraries = ([first] if first else []) + [str(LIBRARIES / f"lib{library}.so")]
        return {"LD_PRELOAD": ":".join(libraries), "FAULTS_CONTROL": self.path, **more}


def copy_files(source, target):
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm", "lock"))
