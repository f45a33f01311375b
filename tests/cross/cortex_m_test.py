"""Runs a device's session on a Cortex-M4 in an emulator, with the core as two files: every build says PASS of each of its parts.

    cortex_m_test.py DIRECTORY     where pubsub_core.c and pubsub_core.h are

Exit code 77: a program for that is not installed.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent / "cortex_m"
CC = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb"]
EMULATOR = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none",
            "-semihosting-config", "enable=on,target=native"]
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-ffunction-sections", "-fdata-sections"]
ALIGNED = ["-mno-unaligned-access", "-DTRAP_UNALIGNED"]
BUILDS = {  # name: (options, how many lines it says)
    "for size": (["-Os"], 11),
    "for size, only publishing": (["-Os", "-DPUBSUB_CORE_SUBSCRIBE=0"], 11),
    "for size, every unaligned access a fault": (["-Os", *ALIGNED], 12),
    "for speed, every unaligned access a fault": (["-O2", "-DPUBSUB_CORE_FAST=1", "-DSTACK_MAX=1024", *ALIGNED], 12),
}


def build(directory, core, options):
    program = directory / "device.elf"
    objects = []
    for source, extra in ((core / "pubsub_core.c", ["-pedantic", "-Wcast-align=strict"]), (HERE / "device.c", []),
                          (HERE / "board.c", ["-Os"]), (HERE / "libc.c", ["-fno-builtin", "-fno-tree-loop-distribute-patterns"])):
        objects.append(directory / (source.stem + ".o"))
        subprocess.run([*CC, *FLAGS, "-I", core, *options, *extra, "-c", source, "-o", objects[-1]], check=True)
    subprocess.run([*CC, "-nostdlib", "-Wl,--gc-sections", "-Wl,-e,board_on_reset", "-T", HERE / "board.ld", *objects, "-lgcc", "-o", program],
                   check=True)
    return program


def main(core):
    for program in CC[0], EMULATOR[0]:
        if not shutil.which(program):
            print(f"skipped: there is no {program}; it comes with the package {program.removesuffix('-gcc')}, "
                  "or gcc-arm-none-eabi and libnewlib-arm-none-eabi")
            sys.exit(77)
    failed = False
    for name, (options, lines) in BUILDS.items():
        with tempfile.TemporaryDirectory() as directory:
            program = build(pathlib.Path(directory), core, options)
            done = subprocess.run([*EMULATOR, "-kernel", program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=120)
        said = done.stdout.splitlines()
        good = done.returncode == 0 and len(said) == lines and all(line.startswith("PASS ") for line in said)
        failed |= not good
        print(f"{'ok' if good else 'FAILED'}: {name}, exit code {done.returncode}\n{done.stdout}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
