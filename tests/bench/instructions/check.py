"""Counts the instructions that each scenario of bench_instructions executes per message, and compares them with what is
recorded in counts.txt: they must not rise by more than 10 %.

    check.py [--only NAME ...] [--record] [--profiles DIR]

--record writes what was counted to counts.txt; with --only, the other scenarios keep their counts. --profiles leaves
what callgrind_annotate says about each scenario in DIR. The programs are those in the directory that
BENCH_INSTRUCTIONS_DIR names, else the release build's.

Exit code: 0 nothing rose, 1 something did or a scenario failed, 2 wrong arguments, 77 what was counted on this machine
would say nothing: it is another machine or another compiler than the recorded one, or not a release build.
"""
import argparse
import concurrent.futures
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
COUNTS = HERE / "counts.txt"
BUILT = HERE.parents[2] / "build/release/tests/bench/instructions"
PROGRAMS = ("bench_instructions", "bench_instructions_cli")
RISE_MAX = 0.10
SKIPPED = 77  # ctest's way of saying that a test could not be run
SECONDS_MAX = 300  # for one scenario

# What has to be equal for counts to be comparable, in the order of the file.
CONDITIONS = ("machine", "compiler", "libc")
HEADER = """\
# Instructions per message of the hot paths, written by check.py --record. A test fails when one rises by more than 10 %.
"""


class Failure(Exception):
    pass


# ---- counts.txt --------------------------------------------------------------------------------------------------

def read_counts(text):
    """(what the counts hold for, {scenario: instructions per message}) of a counts file."""
    conditions, counts = {}, {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if words[0].endswith(":"):
            conditions[words[0][:-1]] = " ".join(words[1:])
        else:
            try:
                name, count = words
                counts[name] = float(count)
            except ValueError:
                raise Failure(f"line {number} of the counts is not a scenario and its count: {line!r}") from None
    return conditions, counts


def write_counts(conditions, counts):
    lines = [f"{key}: {value}" for key, value in conditions.items()]
    width = max(map(len, counts))
    return HEADER + "\n".join(lines + [f"{name:{width}} {count:12.2f}" for name, count in counts.items()]) + "\n"


def compare(recorded, counted):
    """The table of both, and the names of those that rose, that fell, and that nobody has recorded."""
    rows, rose, fell, unknown = [], [], [], []
    width = max(map(len, counted), default=8)
    rows.append(f"{'scenario':{width}} {'recorded':>12} {'now':>12} {'change':>8}")
    for name, now in counted.items():
        if name not in recorded:
            unknown.append(name)
            rows.append(f"{name:{width}} {'':>12} {now:12.2f} {'new':>8}")
            continue
        before = recorded[name]
        change = now / before - 1 if before > 0 else float(now > 0)
        rows.append(f"{name:{width}} {before:12.2f} {now:12.2f} {change:+8.1%}")
        if change > RISE_MAX:
            rose.append(name)
        elif change < -RISE_MAX:
            fell.append(name)
    return "\n".join(rows), rose, fell, unknown


def judge(recorded, counted):
    """Prints the comparison and returns the exit code."""
    table, rose, fell, unknown = compare(recorded, counted)
    print(table)
    if fell:
        print(f"fell by more than {RISE_MAX:.0%}, record it: {', '.join(fell)}")
    if unknown:
        print(f"not in {COUNTS.name}, record it: {', '.join(unknown)}")
    if rose:
        print(f"rose by more than {RISE_MAX:.0%}: {', '.join(rose)}")
    return 1 if rose or unknown else 0


# ---- counting ----------------------------------------------------------------------------------------------------

def conditions_here(compiler):
    """What counts depend on besides the code. The C library chooses its string functions by the processor."""
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    vectors = "avx2" if re.search(r"\bavx2\b", flags) else "no avx2"
    return {
        "machine": f"{platform.machine()}, {vectors}",
        "compiler": compiler,
        "libc": " ".join(platform.libc_ver()),
        "valgrind": run(["valgrind", "--version"]).strip(),
    }


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False, **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def count(program, name, directory):
    """Instructions per message of one scenario. Nothing of the environment reaches the program: also its size counts."""
    profile = pathlib.Path(directory) / name
    out = run(["valgrind", "--tool=callgrind", "--toggle-collect=measured", "--toggle-collect=uncounted_*",
               f"--callgrind-out-file={profile}", program, name], env={"PATH": os.environ["PATH"]})
    units = int(out.split()[1])
    total = re.search(r"^totals: (\d+)$", profile.read_text(encoding="utf-8"), re.MULTILINE)
    if total is None or int(total[1]) == 0:
        raise Failure(f"{name}: callgrind has counted nothing")
    return int(total[1]) / units


def write_profile(name, per_message, directory, profiles):
    def annotate(*options):
        text = run(["callgrind_annotate", "--auto=no", "--threshold=100", *options, pathlib.Path(directory) / name])
        lines = text[text.rindex("file:function"):].splitlines()[2:42]
        return "\n".join(re.sub(r"\S+:(\S+) \[.*\]$", r"\1", line) for line in lines)

    text = f"{name}: {per_message:.1f} instructions per message\n\nEXCLUSIVE\n{annotate()}\n\n" \
           f"INCLUSIVE\n{annotate('--inclusive=yes')}\n"
    (profiles / f"{name}.txt").write_text(text, encoding="utf-8")


def list_scenarios():
    """{name: the program that plays it}"""
    directory = pathlib.Path(os.environ.get("BENCH_INSTRUCTIONS_DIR", BUILT))
    return {name: directory / program for program in PROGRAMS for name in run([directory / program, "--list"]).split()}


def count_all(scenarios, profiles):
    """Counts on all processors at once: nothing of it depends on time."""
    def one(name):
        per_message = count(scenarios[name], name, directory)
        if profiles:
            write_profile(name, per_message, directory, profiles)
        return per_message
    with tempfile.TemporaryDirectory() as directory, \
            concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return dict(zip(scenarios, pool.map(one, scenarios)))


# ---- the command -------------------------------------------------------------------------------------------------

def reason_to_skip(recorded, here, build):
    if build != "Release":
        return f"this is a build of type {build}: only what a release build executes is recorded"
    for key in CONDITIONS:
        if key in recorded and recorded[key] != here[key]:
            return f"the counts were recorded with {key} '{recorded[key]}', here it is '{here[key]}'"
    return None


def arguments(all_names):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(all_names), default=list(all_names))
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--profiles", metavar="DIR", type=pathlib.Path)
    return parser.parse_args()


def main():
    if shutil.which("valgrind") is None:
        print("there is no valgrind: deploy/install-packages test installs it")
        return SKIPPED
    scenarios = list_scenarios()
    args = arguments(scenarios)
    build, compiler = run([next(iter(scenarios.values())), "--built"]).splitlines()
    here = conditions_here(compiler)
    recorded, counts = read_counts(COUNTS.read_text(encoding="utf-8")) if COUNTS.exists() else ({}, {})
    reason = reason_to_skip({} if args.record else recorded, here, build)
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    if args.profiles:
        args.profiles.mkdir(parents=True, exist_ok=True)
    counted = count_all({name: scenarios[name] for name in scenarios if name in args.only}, args.profiles)
    result = judge(counts, counted)
    if not args.record:
        return result
    merged = {name: counted.get(name, counts.get(name)) for name in scenarios}
    COUNTS.write_text(write_counts(here, {k: v for k, v in merged.items() if v is not None}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"check.py: {failure}", file=sys.stderr)
        sys.exit(1)
