"""Builds the client's core with every switch of pubsub/core_config.h the other way, alone, and with limits at both ends of
their ranges, for this machine and for a Cortex-M4, without a warning; a value out of range must be refused.

Every build is linked with a program that uses all that is declared, so what a switch leaves out nobody misses.
"""
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
PARTS = sorted((ROOT / "client-lib").glob("core*.c"))
ONE_FILE = [ROOT / "client-lib/device.c"]
FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wundef", "-Wvla", "-Wstrict-prototypes",
         "-Wmissing-prototypes", "-Werror", "-Os", "-ffunction-sections", "-fdata-sections",
         "-I", str(ROOT / "client-lib/include"), "-I", str(ROOT / "proto")]
COMPILERS = [["cc"], ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-nostartfiles", "-Wl,-e,main"]]
ON = ["SUBSCRIBE", "PIECES", "STREAMS", "FILTERS", "CREDIT", "STAT", "PROPERTIES", "WILL", "PROOF", "TEXTS"]
OF_SUBSCRIBE = ["PIECES", "STREAMS", "FILTERS", "CREDIT", "STAT"]


def option(**values):
    return [f"-DPUBSUB_CORE_{name}={value}" for name, value in values.items()]


GOOD = [option(), option(FAST=1), option(SUBSCRIBE=0, TEXTS=1), option(SUBSCRIBE=0, FAST=1),
        option(TEXT_MAX=236, HEAD_MAX=256), option(TEXT_MAX=4096, HEAD_MAX=8192),
        option(SUBSCRIBE=0, PROPERTIES=0, WILL=0, PROOF=0, TEXTS=0),
        option(**{name: 0 for name in OF_SUBSCRIBE + ["PROPERTIES", "WILL", "PROOF", "TEXTS"]})]
GOOD += [option(**{name: 0}) for name in ON]
BAD = [(option(TEXT_MAX=235), "PUBSUB_CORE_TEXT_MAX is not within 236..4096"), (option(TEXT_MAX=4097), "within 236..4096"),
       (option(HEAD_MAX=255), "PUBSUB_CORE_HEAD_MAX is not within 256..8192"), (option(HEAD_MAX=8193), "within 256..8192")]
BAD += [(option(SUBSCRIBE=0, **{name: 1}), "need PUBSUB_CORE_SUBSCRIBE") for name in OF_SUBSCRIBE]


def build(compiler, options, directory, sources=ONE_FILE):
    words = compiler[:1] + FLAGS + compiler[1:] + options + [str(source) for source in sources + [HERE / "use_all.c"]] + ["-o", f"{directory}/program"]
    return subprocess.run(words, capture_output=True, text=True)


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        config = pathlib.Path(directory) / "my_config.h"
        config.write_text("#define PUBSUB_CORE_SUBSCRIBE 0\n#define PUBSUB_CORE_TEXT_MAX 300\n")
        named = [f'-DPUBSUB_CORE_CONFIG_FILE="{config.name}"', "-I", directory]
        for compiler in COMPILERS:
            for options in GOOD + [named]:
                done = build(compiler, options, directory)
                if done.returncode != 0:
                    failed += 1
                    print(f"{compiler[0]} {' '.join(options)} failed:\n{done.stderr}")
            for options in GOOD[:1]:
                done = build(compiler, options, directory, PARTS)
                if done.returncode != 0:
                    failed += 1
                    print(f"{compiler[0]} of the single files failed:\n{done.stderr}")
            done = build(compiler, named, directory)
            symbols = subprocess.run(["nm", f"{directory}/program"], capture_output=True, text=True).stdout
            if "pubsub_core_publish" not in symbols or "pubsub_core_subscribe" in symbols:
                failed += 1
                print("the named header with the configuration was not used")
        for options, text in BAD:
            done = build(COMPILERS[0], options, directory)
            if done.returncode == 0 or text not in done.stderr:
                failed += 1
                print(f"{' '.join(options)} was not refused with '{text}':\n{done.stderr}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
