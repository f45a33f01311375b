"""The command line of tests/bench/run."""
import argparse
import datetime
import json
import os
import pathlib
import platform
import resource
import shlex
import signal
import subprocess
import sys
import tempfile

import charts
import peers
import report
import summary
from measure import Plan, run_plan
from progress import Progress
from scenarios import QUICK_PEERS, SCENARIOS, by_name

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / "build" / "release"
RUNS, RUNS_MAX = 3, 100
INTERRUPTED = 130


def complain(text, code):
    print(f"bench: {text}", file=sys.stderr)
    sys.exit(code)


def runs_argument(text):
    if not text.isdecimal() or not 1 <= int(text) <= RUNS_MAX:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of runs from 1 to {RUNS_MAX}")
    return int(text)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        complain(f"{message}; see --help", 2)


def arguments(words):
    parser = Parser(prog="tests/bench/run", description="""Compares pubsubd with NATS, Redis and Mosquitto, and with a
        relay that only copies bytes, side by side on this machine: the CPU time that a broker needs for a delivered
        message, rates, latency, memory, losses; and for what is stored with JetStream, Redis' streams, and a program
        that only writes. Installs what is missing, builds, measures, and writes tables and charts.""", allow_abbrev=False,
                    epilog="All of it takes about 40 minutes, --quick about three minutes. Exit codes: 0 measured, whatever "
                           "the figures are; 1 pubsubd could not be measured; 2 wrong arguments; 130 interrupted.")
    parser.add_argument("--runs", type=runs_argument, metavar="N", help=f"measure everything N times (default {RUNS})")
    parser.add_argument("--quick", action="store_true", help="a first look: one short run, less scale")
    parser.add_argument("--only", action="append", metavar="SCENARIO", help="only this scenario; may be repeated")
    parser.add_argument("--peer", action="append", metavar="PEER", help="only this broker; may be repeated")
    parser.add_argument("--out", type=pathlib.Path, default=TOP / "build" / "bench", metavar="DIR",
                        help="where the results go (default: build/bench)")
    parser.add_argument("--data", type=pathlib.Path, metavar="DIR",
                        help="where brokers keep what they store meanwhile (default: where the results go)")
    parser.add_argument("--load", type=pathlib.Path, metavar="PATH",
                        help="another load generator than the one just built")
    parser.add_argument("--list", action="store_true", help="list the scenarios and brokers, and end")
    return parser.parse_args(words)


def plan_of(options):
    for name in options.only or ():
        if by_name(name) is None:
            complain(f"there is no scenario '{name}'; --list shows them", 2)
    for name in options.peer or ():
        if name not in peers.PEERS:
            complain(f"there is no broker '{name}'; --list shows them", 2)
    scenarios = tuple(scenario for scenario in SCENARIOS if not options.only or scenario.name in options.only)
    names = options.peer or (QUICK_PEERS if options.quick else None)
    plan = Plan(scenarios, names, options.runs or (1 if options.quick else RUNS), options.quick)
    if not plan.steps():
        complain("none of these brokers takes part in any of these scenarios; --list shows who does", 2)
    return plan


def print_list():
    print("Scenarios, and the brokers that take part:")
    for scenario in SCENARIOS:
        print(f"  {scenario.name:18} {scenario.heading(False)}\n  {'':18} {' '.join(scenario.peers)}")
    print("Brokers:")
    for name, peer in peers.PEERS.items():
        print(f"  {name:18} {peer.label}")


def build(targets):
    """Builds these as released."""
    for words in (["cmake", "--preset", "release", "-DBUILD_TESTING=ON"],
                  ["cmake", "--build", "--preset", "release", "--target", *targets]):
        try:
            done = subprocess.run(words, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        except FileNotFoundError:
            complain(f"{words[0]} is not installed", 1)
        if done.returncode != 0:
            print(done.stdout, file=sys.stderr)
            complain(f"building failed: {' '.join(words)}", 1)


def tools_of(options):
    load = options.load.resolve() if options.load else BUILD / "tests" / "bench" / "bench_load"
    for path in (BUILD / "bin" / "pubsubd", load):
        if not os.access(path, os.X_OK) or not path.is_file():
            complain(f"{path} is not a program", 1)
    return peers.Tools(str(BUILD / "bin" / "pubsubd"), str(load), str((options.data or options.out).resolve()))


def raise_descriptor_limit():
    """As many open files as we may have. All that we start inherits it, and ten thousand connections need it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def git_revision():
    try:
        words = ["git", "-C", str(TOP), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def first_value(path, key, separator):
    """The value behind the first `key` of a file like /proc/cpuinfo."""
    try:
        with open(path) as file:
            for line in file:
                name, _, value = line.partition(separator)
                if name.strip() == key:
                    return value.strip().strip('"')
    except OSError:
        pass
    return "unknown"


def about(tools, words, load):
    """load: how many processes were at work before we began, on average over a minute."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "command": shlex.join(["tests/bench/run", *words]), "revision": git_revision(),
            "machine": {"cpu": first_value("/proc/cpuinfo", "model name", ":"), "cores": os.cpu_count(),
                        "memory_mib": pages >> 20, "kernel": platform.release(), "architecture": platform.machine(),
                        "distribution": first_value("/etc/os-release", "PRETTY_NAME", "="),
                        "storage": peers.file_system(tools.data),
                        "load_before": round(load, 2)},
            "versions": peers.versions(tools)}


def write(path, text):
    """Writes a file as a whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_results(directory, document):
    write(directory / "results.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    write(directory / "table.md", report.markdown(document))
    drawn, errors = charts.draw(document, directory)
    for error in errors:
        print(f"bench: {error}", file=sys.stderr)
    print(f"Written to {directory}: results.json, table.md, {len(drawn)} charts (SVG)", file=sys.stderr)


def ours_failed(document):
    """Whether our own broker could not be measured somewhere: then what others did proves nothing."""
    return any(measured["runs_failed"] for row in document["scenarios"] for peer, measured in row["peers"].items()
               if peers.PEERS[peer].is_ours)


def interrupted(*_):
    raise KeyboardInterrupt


def run(options, words):
    plan = plan_of(options)
    for name, directory in (("out", options.out), ("data", options.data or options.out)):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):
                pass
        except OSError as error:
            complain(f"--{name} {directory} can't be written to: {error.strerror}", 2)
    load = os.getloadavg()[0]
    print("Building as released", file=sys.stderr)
    build(["pubsubd"] if options.load else ["pubsubd", "bench_load"])
    tools = tools_of(options)
    raise_descriptor_limit()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    results, code = {}, 0
    progress = Progress(plan.quick)
    known = about(tools, words, load)
    try:
        run_plan(plan, tools, progress, results)
    except KeyboardInterrupt:
        code = INTERRUPTED
    progress.close()
    if code:
        print("bench: interrupted; what was measured is reported", file=sys.stderr)
    document = summary.summarise(plan, {key: made for key, made in results.items() if made}, known)
    write_results(options.out, document)
    print(report.closing(document))
    return code or (1 if ours_failed(document) else 0)


def main(words):
    options = arguments(words)
    sys.stdout.reconfigure(errors="replace")
    if options.list:
        print_list()
        return 0
    return run(options, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
