"""Builds the tests of the client's core and of the wire for another machine, and runs them there: under qemu-user.

    linux_test.py DIRECTORY TARGET     a build directory, which is kept, and a name below

Exit code 77: a program for that is not installed.
"""
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# name: (compiler, its flags, what runs its programs, the packages that these come from)
TARGETS = {
    "s390x": ("s390x-linux-gnu-gcc", "-O1 -static", "qemu-s390x", "gcc-s390x-linux-gnu, libc6-dev-s390x-cross and qemu-user"),
    "armhf": ("arm-linux-gnueabihf-gcc", "-O1 -static", "qemu-arm",
              "gcc-arm-linux-gnueabihf, libc6-dev-armhf-cross and qemu-user"),
    # This machine, where the compiler looks for whatever has no defined meaning, unaligned access among it.
    "checked": ("gcc", "-O1 -fsanitize=undefined -fno-sanitize-recover=all", None, "gcc"),
}


def run(*words):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=500)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout[-20000:]}")
    return done.stdout


def main(directory, target):
    compiler, flags, emulator, packages = TARGETS[target]
    for program in filter(None, (compiler, emulator)):
        if not shutil.which(program):
            print(f"skipped: there is no {program}; it comes with the packages {packages}")
            sys.exit(77)
    run("cmake", "-G", "Ninja", "-S", HERE / "programs", "-B", directory, "-DCMAKE_SYSTEM_NAME=Linux",
        f"-DCMAKE_C_COMPILER={compiler}", f"-DCMAKE_C_FLAGS={flags}")
    run("cmake", "--build", directory, "-j", "2")
    vectors = ROOT / "proto/vectors"
    commands = [[directory / f"vectors_{kind}", "--role", "client", *sorted(vectors.glob("client*.txt"))]
                for kind in ("core", "core_fast")]
    commands += [[directory / "vectors_core", "--role", "codec", ROOT / "proto/PROTOCOL.md",
                  *sorted(vectors.glob("codec*.txt"))]]
    commands += [[program] for program in sorted(directory.glob("unit_*"))]
    for command in commands:
        printed = run(*([emulator] if emulator else []), *command)
        print(f"{target}, {' '.join(map(str, [command[0].name, *command[1:3]]))}: {printed.splitlines()[-1]}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
