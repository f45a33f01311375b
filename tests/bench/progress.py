"""What the user sees meanwhile: one line a measurement on stderr, on a terminal always the same one."""
import shutil
import sys
import time

from measure import OK
from peers import PEERS
from scenarios import METRICS


def minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    def __init__(self, quick, stream=None):
        self.quick = quick
        self.stream = stream or sys.stderr
        self.in_place = self.stream.isatty()
        self.began = time.monotonic()
        self.line = ""
        self.step = None

    def begin(self, index, count, step, left_s):
        self.step = step
        self.line = (f"{minutes(time.monotonic() - self.began)} elapsed, {minutes(left_s)} left  [{index + 1}/{count}]"
                     f"  run {step.run}  {step.scenario.heading(self.quick)}: {PEERS[step.peer].label}")
        if self.in_place:
            self._overwrite(self.line[:shutil.get_terminal_size().columns - 1])

    def end(self, made):
        failed = made["status"] != OK
        text = f"{self.line}  {self._outcome(made)}"
        if not self.in_place:
            print(text, file=self.stream, flush=True)
        elif failed:
            self._overwrite(text + "\n")  # stays to be read

    def close(self):
        if self.in_place:
            self._overwrite("")

    def _outcome(self, made):
        if made["status"] != OK:
            return f"{made['status']}: {made['error']}"
        metric = METRICS[self.step.scenario.metric]
        figure = made["figures"].get(metric.key)
        return "no figure" if figure is None else f"{figure * metric.factor:.4g} {metric.unit}"

    def _overwrite(self, text):
        self.stream.write("\r\x1b[K" + text)
        self.stream.flush()
