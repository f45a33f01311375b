"""Runs a device's session on a machine in an emulator, with the core as two files: every build says PASS of each of its parts.

    device_test.py DIRECTORY TARGET     where pubsub_core.c and pubsub_core.h are; cortex_m4, or avr, whose int has 16 bits

Exit code 77: a program for that is not installed.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent / "device"
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-ffunction-sections", "-fdata-sections"]
ONLY_PUBLISHING = ["-DPUBSUB_CORE_SUBSCRIBE=0"]
ALIGNED = ["-mno-unaligned-access", "-DTRAP_UNALIGNED"]
BY_BYTES = ["-fno-builtin", "-fno-tree-loop-distribute-patterns"]  # or the compiler makes memcpy() of memcpy()


class CortexM4:
    packages = "gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm"
    compiler = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-Wconversion", "-Wcast-align=strict"]
    sources = {"device.c": [], "cortex_m4.c": ["-Os"], "libc.c": BY_BYTES}
    link = ["-nostdlib", "-Wl,-e,board_on_reset", "-T", HERE / "cortex_m4.ld", "-lgcc"]
    emulator = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none",
                "-semihosting-config", "enable=on,target=native", "-kernel"]
    builds = {  # name: (options, how many lines it says)
        "for size": (["-Os"], 13),
        "for size, only publishing": (["-Os", *ONLY_PUBLISHING], 13),
        "for size, every unaligned access a fault": (["-Os", *ALIGNED], 14),
        "for speed, every unaligned access a fault": (["-O2", "-DPUBSUB_CORE_FAST=1", *ALIGNED], 14),
    }

    @staticmethod
    def ended_well(done, said):
        return done.returncode == 0


class Avr:
    packages = "gcc-avr, avr-libc and simavr"
    # A limit may be higher than what an int of 16 bits can say, so that some comparisons are always true.
    compiler = ["avr-gcc", "-mmcu=atmega1284p", "-Wno-type-limits"]
    sources = {"device.c": [], "avr.c": []}
    link = []
    emulator = ["simavr", "-m", "atmega1284p", "-f", "16000000"]
    builds = {
        "for size": (["-Os"], 13),
        "for size, only publishing": (["-Os", *ONLY_PUBLISHING], 13),
        "for speed": (["-O2", "-DPUBSUB_CORE_FAST=1"], 13),
    }

    @staticmethod
    def ended_well(done, said):
        """The emulator does not tell how the program ended, but shows what it said last."""
        return "END good" in done.stdout


def build(target, directory, core, options):
    objects = []
    sources = {core / "pubsub_core.c": ["-pedantic"], **{HERE / name: extra for name, extra in target.sources.items()}}
    for source, extra in sources.items():
        objects.append(directory / (source.stem + ".o"))
        subprocess.run([*target.compiler, *FLAGS, "-I", core, *options, *extra, "-c", source, "-o", objects[-1]], check=True)
    program = directory / "device.elf"
    subprocess.run([*target.compiler, "-Wl,--gc-sections", *objects, *target.link, "-o", program], check=True)
    return program


def main(core, target):
    for program in target.compiler[0], target.emulator[0]:
        if not shutil.which(program):
            print(f"skipped: there is no {program}; it comes with the packages {target.packages}")
            sys.exit(77)
    failed = False
    for name, (options, lines) in target.builds.items():
        with tempfile.TemporaryDirectory() as directory:
            program = build(target, pathlib.Path(directory), core, options)
            done = subprocess.run([*target.emulator, program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=250)
        said = re.findall(r"^(?:\x1b\[[0-9;]*m)*((?:PASS|FAIL) .*)$", done.stdout, re.M)
        good = target.ended_well(done, said) and len(said) == lines and all(line.startswith("PASS ") for line in said)
        failed |= not good
        print(f"{'ok' if good else 'FAILED'}: {name}, exit code {done.returncode}", *said, sep="\n")
        if not good:
            print(done.stdout)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), {"cortex_m4": CortexM4, "avr": Avr}[sys.argv[2]])
