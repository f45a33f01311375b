"""Measures what the client's core takes on a Cortex-M4 and compares it with what is promised: bytes of code, of state and
of stack, for a build with everything and for one that only publishes.

    size_test.py [--write] [--symbols]

Prints the table, fails when a figure is above its limit, or when the table in client-lib/README.md is another one; --write
writes it there. --symbols prints what the code is made of, the largest last.

Code is what the linker keeps of the core's files and of the compiler's library, constants included, for a program that
uses every function; the C library's memcpy and the like are not counted. Stack is the deepest chain of calls from any
public function, by what the compiler says of each, those of the C library included.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
README = ROOT / "client-lib/README.md"
BEGIN, END = "<!-- size: written by tests/size/size_test.py --write -->", "<!-- size: end -->"
CC = "arm-none-eabi-gcc"
FLAGS = ["-std=c99", "-mcpu=cortex-m4", "-mthumb", "-Os", "-ffunction-sections", "-fdata-sections", "-fcallgraph-info=su",
         "-Wall", "-Wextra", "-Werror", "-I", str(ROOT / "client-lib/include"), "-I", str(ROOT / "proto")]
BUILDS = {  # name: (options, code limit)
    "everything": ([], 10 * 1024),
    "only publishing": (["-DPUBSUB_CORE_SUBSCRIBE=0"], 6 * 1024),
}
STATE_MAX, STACK_MAX = 128, 512  # bytes
# What a client may need of the C library.
LIBC = {"memchr", "memcmp", "memcpy", "memmove", "memset", "strcat", "strcpy", "strlen"}
# What others say of themselves, with the same compiler and -Os for a Cortex-M: code, without the C library.
OTHERS = [("coreMQTT, MQTT 3.1.1", "6.9 KB"), ("coreMQTT, MQTT 5", "18.9 KB"), ("Paho embedded, MQTT 3.1.1", "6.8 KB"),
          ("wolfMQTT, MQTT 3.1.1", "9.6 KB"), ("wolfMQTT, MQTT 5", "17.8 KB")]


def run(*words, cwd=None):
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{words[0]} failed:\n{done.stderr}")
    return done.stdout


def build(directory, options):
    """Compiles and links; the program, its map, and the object files of the core."""
    objects = []
    for source in [ROOT / "client-lib/device.c", HERE / "use_all.c"]:
        objects.append(directory / (source.stem + ".o"))
        run(CC, *FLAGS, *options, "-c", source, "-o", objects[-1], cwd=directory)
    program, map_file = directory / "program.elf", directory / "program.map"
    run(CC, "-mcpu=cortex-m4", "-mthumb", "-nostartfiles", "-Wl,--gc-sections", "-Wl,-e,main", f"-Wl,-Map={map_file}", *objects,
        "-o", program)
    return program, map_file.read_text(), objects


# A section's place in the map: name, address, size and file, the name on a line of its own if it is long.
PLACED = re.compile(r"^ (\.[^\s]+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+(\S+)$", re.M)


def sizes(program, map_text):
    """Bytes of code, of the C library's part that is not counted, and of writable memory of the core."""
    placed = map_text[map_text.index("Linker script and memory map"):]
    not_ours, writable = 0, 0
    for name, address, size, origin in PLACED.findall(placed):
        if int(address, 16) == 0 or not name.startswith((".text", ".rodata", ".data", ".bss", ".ARM.ex")):
            continue
        size = int(size, 16)
        ours = not re.search(r"use_all\.o$|libc(_nano)?\.a", origin)
        if name.startswith((".data", ".bss")):
            writable += size if ours else 0
        elif not ours:
            not_ours += size
    total = 0
    for line in run("arm-none-eabi-size", "-A", program).splitlines():
        words = line.split()
        if words and words[0] in (".text", ".rodata", ".ARM.exidx", ".ARM.extab"):
            total += int(words[1])
    return total - not_ours, writable


def state_size(objects):
    """Bytes of struct pubsub_core: use_all.c has an array of them."""
    for line in run("arm-none-eabi-nm", "-S", "--radix=d", objects[-1]).splitlines():
        words = line.split()
        if words[-1] == "state_bytes":
            return int(words[1])
    sys.exit("use_all.c does not say how large struct pubsub_core is")


def library_stack(program):
    """Bytes of stack of each function of the program by its pushes: for those of libraries, which come without notes."""
    stacks, name = {}, None
    for line in run("arm-none-eabi-objdump", "-d", "--no-show-raw-insn", program).splitlines():
        if found := re.match(r"[0-9a-f]+ <([^>]+)>:", line):
            name = found[1]
            stacks[name] = 0
        elif found := re.search(r"\t(?:push|stmdb\tsp!,).*\{(.*)\}", line):
            for part in found[1].split(", "):
                ends = re.findall(r"\d+", part) if "-" in part else None
                stacks[name] += 4 * (int(ends[1]) - int(ends[0]) + 1 if ends else 1)
        elif found := re.search(r"\tsub(?:\.w|w)?\tsp, (?:sp, )?#(\d+)", line):
            stacks[name] += int(found[1])
    return stacks


def call_graph(directory, objects):
    """{function: (bytes of stack, whom it calls)}; functions that are local to a file are file:name."""
    nodes, edges = {}, {}
    for path in objects:
        text = (directory / (path.stem + ".ci")).read_text()
        for title, label in re.findall(r'node: \{ title: "([^"]+)" label: "([^"]+)"', text):
            if found := re.search(r"\\n(\d+) bytes \((\w+)", label):
                if found[2] != "static":
                    sys.exit(f"{title} takes stack without a bound")
                nodes[title] = int(found[1])
        for source, target in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text):
            edges.setdefault(source, set()).add(target)
    return nodes, edges


def deepest(nodes, edges, libraries):
    """(bytes, chain) of the deepest chain of calls from a public function; fails on recursion and unknown calls."""
    known = {}

    def depth(name, above):
        if name in above:
            sys.exit(f"recursion: {' '.join(above)} {name}")
        if name not in known:
            if name in nodes:
                below = max((depth(target, above + (name,)) for target in edges.get(name, ())), default=(0, ()))
                known[name] = (nodes[name] + below[0], (name,) + below[1])
            elif name in LIBC or name.startswith("__aeabi_"):
                known[name] = (libraries.get(name, 0), (name,))
            else:
                sys.exit(f"{above[-1]} calls {name}, which no device has to have")
        return known[name]

    return max(depth(name, ()) for name in nodes if re.match("pubsub_core_", name))


def measure(options):
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        program, map_text, objects = build(directory, options)
        code, writable = sizes(program, map_text)
        if writable:
            sys.exit(f"the core has {writable} bytes of variables of its own")
        nodes, edges = call_graph(directory, objects)
        stack, chain = deepest(nodes, edges, library_stack(program))
        symbols = run("arm-none-eabi-nm", "--size-sort", "--radix=d", program)
        return code, state_size(objects), stack, [part.split(":")[-1] for part in chain], symbols


def kilobytes(count):
    return f"{count / 1024:.1f} KB"


def table(measured):
    compiler = run(CC, "-dumpfullversion").strip()
    lines = [BEGIN, "", f"Cortex-M4, gcc {compiler}, `-Os`; the C library's `memcpy` and the like not counted:", "",
             "| build | code | state | stack |", "|---|---:|---:|---:|"]
    for name, (code, state, stack, _, _) in measured.items():
        lines.append(f"| `pubsub_core_*`, {name} | {kilobytes(code)} ({code:,} bytes) | {state} bytes | {stack} bytes |")
    lines += ["", "What others publish of their clients, code alone:", "", "| client | code |", "|---|---:|"]
    lines += [f"| {name} | {size} |" for name, size in OTHERS]
    return "\n".join(lines + ["", END])


def above_limits(measured):
    wrong = []
    for name, (code, state, stack, chain, _) in measured.items():
        for what, value, limit in (("code", code, BUILDS[name][1]), ("state", state, STATE_MAX), ("stack", stack, STACK_MAX)):
            if value > limit:
                wrong.append(f"{name}: {value} bytes of {what}, the limit is {limit}")
        print(f"deepest chain of calls, {name}: {' > '.join(chain)}")
    return wrong


def main():
    measured = {name: measure(options) for name, (options, _) in BUILDS.items()}
    if "--symbols" in sys.argv:
        for name in measured:
            print(name, measured[name][-1], sep="\n")
    text = table(measured)
    print(text)
    wrong = above_limits(measured)
    readme = README.read_text()
    begin, end = readme.find(BEGIN), readme.find(END) + len(END)
    if begin < 0 or end < len(END):
        wrong.append(f"{README.name} has no place for the table")
    elif "--write" in sys.argv:
        README.write_text(readme[:begin] + text + readme[end:])
    elif readme[begin:end] != text:
        wrong.append(f"the table in client-lib/{README.name} is not what was measured: size_test.py --write")
    for line in wrong:
        print("FAILED:", line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
