"""Checks the core as two files: that every compiler takes them without a warning in every configuration, with nothing around
them; and that there is no symbol in them but the functions of the header.

    two_files_test.py DIRECTORY     where pubsub_core.c and pubsub_core.h are

The example bare_metal, which is built of these two files, shows that they work.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wundef", "-Wstrict-prototypes",
         "-Wmissing-prototypes", "-Werror", "-Os"]
# name: (compiler and its flags, its nm)
COMPILERS = {
    "gcc": (["gcc", "-Wcast-align=strict"], "nm"),
    "clang": (["clang", "-Wcast-align"], "nm"),
    "Cortex-M4": (["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-Wcast-align=strict"], "arm-none-eabi-nm"),
    "Cortex-M0": (["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb", "-Wcast-align=strict"], "arm-none-eabi-nm"),
    "32-bit ARM": (["arm-linux-gnueabihf-gcc", "-Wcast-align=strict"], "arm-linux-gnueabihf-nm"),
    "s390x": (["s390x-linux-gnu-gcc", "-Wcast-align=strict"], "s390x-linux-gnu-nm"),
}
OPTIONAL = {"clang"}  # packages of the fuzzers, not of the tests
SWITCHES = ["PIECES", "STREAMS", "FILTERS", "CREDIT", "STAT", "PROPERTIES", "WILL", "PROOF", "TEXTS"]
CONFIGURATIONS = [[], ["FAST=1"], ["SUBSCRIBE=0"]]
LEAST = ["SUBSCRIBE=0", "PROPERTIES=0", "WILL=0", "PROOF=0", "TEXTS=0"]
MORE = [["SUBSCRIBE=0", "TEXTS=1"], LEAST] + [[f"{switch}=0"] for switch in SWITCHES]  # with the first compiler only
# What the core may need of the C library; bcmp is what clang makes of memcmp where the C library has it.
NEEDED = {"bcmp", "memchr", "memcmp", "memcpy", "memmove", "memset", "strcat", "strcpy", "strlen"}
ROOT = pathlib.Path(__file__).resolve().parents[2]


def symbols(nm, path):
    """(what it defines for others, its variables, what it needs of others)."""
    defined, variables, needed = set(), set(), set()
    for line in subprocess.run([nm, path], check=True, capture_output=True, text=True).stdout.splitlines():
        kind, name = line.split()[-2:]
        if name.startswith("$"):  # marks of ARM's compilers
            continue
        if kind == "U":
            needed.add(name)
        elif kind.isupper():
            defined.add(name)
        if kind in "bBcCdD":
            variables.add(name)
    return defined, variables, needed


def declared(compiler, header, options):
    """The functions that the header declares in this configuration."""
    text = subprocess.run([*compiler[:1], "-E", "-P", *options, header], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"\b(pubsub_core_\w+)\(", text))


def check(name, compiler, nm, core, configuration, directory):
    """A sentence for each thing that is wrong."""
    options = [f"-DPUBSUB_CORE_{value}" for value in configuration]
    output = directory / "core.o"
    where = f"{name} {' '.join(configuration)}"
    done = subprocess.run([*compiler, *FLAGS, *options, "-c", "pubsub_core.c", "-o", output], cwd=core,
                          capture_output=True, text=True)
    if done.returncode != 0:
        return [f"{where}: {done.stderr}"]
    defined, variables, needed = symbols(nm, output)
    public = declared(compiler, core / "pubsub_core.h", options)
    wrong = []
    if defined != public:
        wrong.append(f"{where}: defines {sorted(defined - public)}, declares without defining {sorted(public - defined)}")
    if variables:
        wrong.append(f"{where}: has variables: {sorted(variables)}")
    strange = {symbol for symbol in needed - NEEDED if not symbol.startswith(("__aeabi_", "__gnu_thumb1"))}
    if strange:
        wrong.append(f"{where}: needs {sorted(strange)}")
    return wrong


def check_alone(core, directory):
    """As a firmware project takes them: copied into a directory with a program that uses them, and built there as C and C++."""
    for file in "pubsub_core.c", "pubsub_core.h":
        shutil.copy(core / file, directory)
    for language in ("c", "c++") if shutil.which("g++") else ("c",):
        (directory / "main.c").write_text('#include "pubsub_core.h"\n#include "pubsub_core.h"\n'
                                          "int main(void) { struct pubsub_core core; static uint8_t rx[PUBSUB_CORE_RX_MIN];\n"
                                          "pubsub_core_init(&core, rx, sizeof rx, rx, sizeof rx); return 0; }\n")
        subprocess.run(["gcc", "-c", "pubsub_core.c"], cwd=directory, check=True)
        subprocess.run(["gcc", "-x", language, "-c", "main.c"], cwd=directory, check=True)
        subprocess.run(["gcc", "-o", "main", "main.o", "pubsub_core.o"], cwd=directory, check=True)
        subprocess.run([directory / "main"], check=True)


def check_example(core, directory):
    """The part of the example bare_metal that firmware copies needs the core, its board, and nothing of an operating system."""
    compiler, nm = COMPILERS["Cortex-M4"]
    text = (ROOT / "client-lib/examples/bare_metal.c").read_text()
    part, end, _ = text.partition("/* ==== the board, as a program")
    if not end:
        return ["bare_metal.c does not say where its board begins"]
    (directory / "device.c").write_text(part + "void *used[] = {(void *)device_init, (void *)device_step};\n")
    subprocess.run([*compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-Os", "-I", core, "-c", directory / "device.c", "-o",
                    directory / "device.o"], check=True)
    needed = symbols(nm, directory / "device.o")[2]
    strange = [symbol for symbol in needed - NEEDED if not symbol.startswith(("board_", "pubsub_core_", "__aeabi_"))]
    return [f"bare_metal.c needs {sorted(strange)}"] if strange else []


def main(core):
    wrong, missing = [], []
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        check_alone(core, directory)
        for name, (compiler, nm) in COMPILERS.items():
            if not shutil.which(compiler[0]):
                missing.append(compiler[0])
                continue
            configurations = CONFIGURATIONS + (MORE if name == "gcc" else [])
            for configuration in configurations:
                wrong += check(name, compiler, nm, core, configuration, directory)
            print(f"{name}: {len(configurations)} configurations")
        if COMPILERS["Cortex-M4"][0][0] not in missing:
            wrong += check_example(core, directory)
    for line in wrong:
        print("FAILED:", line)
    if missing:
        print(f"not looked at, for it is not installed: {', '.join(missing)}")
    if wrong:
        sys.exit(1)
    sys.exit(77 if set(missing) - OPTIONAL else 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
