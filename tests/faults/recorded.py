"""A broker of which everything is written down that it does to its files, so that power_images can make what would be on
the disk had the power failed at any moment, and judge it by what publishers had been told by then. power.c has the same
knowledge of what is published."""
import subprocess
import threading
import time

import faults
from parties import Wrong, brokers

CONFIG = """[stream orders]
topics = orders/#
[stream few]
topics = few/#
max_messages = 200
"""


def topic_of(publisher, number):
    """Every tenth goes to a stream that keeps only the last ones."""
    return f"{'few' if number % 10 == 9 else 'orders'}/{publisher}/{number % 5}"


class Told:
    """What publishers were told, and when."""

    def __init__(self, path, before=""):
        self.path = path
        self.lines = [before]
        self.mutex = threading.Lock()

    def note(self, publisher, first, last, stream=None, position=None, code=0):
        with self.mutex:
            self.lines.append(f"{time.monotonic_ns()} {publisher} {first} {last} {stream or 0} {position or 0} {code}\n")

    def write(self):
        self.path.write_text("".join(self.lines))


class Recorded:
    """In this directory it keeps its log and what was told. told_before: lines of what was told in an earlier life of
    the data directory."""

    def __init__(self, directory, data, told_before=""):
        self.control = faults.Control(directory)
        self.data, self.log = data, directory / "log"
        self.told = Told(directory / "told", told_before)
        environment = self.control.environment("disk_preload", FAULTS_DIRECTORY=str(data), FAULTS_LOG=str(self.log))
        self.broker = brokers.Broker(config=CONFIG, arguments=["--data", str(data)], environment=environment)

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        """It has to end well, unless something else is wrong already."""
        if failed:
            self.broker.kill()
        self.broker.stop()

    def images(self, count, seed, scratch, *more):
        """Returns whether all is well with them, and a line that says it."""
        self.told.write()
        command = [faults.LIBRARIES / "power_images", self.log, self.told.path, count, seed, scratch, *more]
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        if done.returncode not in (0, 1):
            raise Wrong(f"power_images ended with {done.returncode}")
        return done.returncode == 0, done.stdout.rstrip("\n")
