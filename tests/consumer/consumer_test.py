"""Installs into a directory of its own, then builds and runs a program against that, as users of the library do.

    consumer_test.py BUILD_DIRECTORY [C_FLAGS]     what was built, and the flags that its users need too (sanitizers)
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "process"))
import brokers  # noqa: E402  (found by the path above)


def run(*command, **environment):
    result = subprocess.run([str(part) for part in command], env={**os.environ, **environment}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {result.returncode}:\n{result.stdout}")
    return result.stdout


def installed_under(prefix, pattern):
    found = sorted(prefix.glob(pattern))
    if not found:
        sys.exit(f"not installed: {pattern}; there is {sorted(str(p.relative_to(prefix)) for p in prefix.rglob('*'))}")
    return found[0]


def check(program, broker, libraries):
    printed = run(program, broker.unix, LD_LIBRARY_PATH=str(libraries))
    if not printed.startswith("libpubsub ") or not printed.endswith(" received 1\n"):
        sys.exit(f"{program} printed: {printed}")
    print(f"{program.name}: {printed}", end="")


def check_tls(program, broker, libraries):
    url = broker.tcp.replace("tcp:", "tls:")
    printed = run(program, url, LD_LIBRARY_PATH=str(libraries))
    if printed != f"-6 cannot connect to {url}: the peer does not speak TLS there\n":
        sys.exit(f"{program} printed: {printed}")
    print(f"{program.name}: {printed}", end="")


def main(build, flags):
    with tempfile.TemporaryDirectory(prefix="pubsub-test-") as scratch, brokers.Broker() as broker:
        scratch = pathlib.Path(scratch)
        prefix = scratch / "prefix"
        run("cmake", "--install", build, "--prefix", prefix)
        pc = installed_under(prefix, "lib/**/pubsub.pc")
        libraries = installed_under(prefix, "lib/**/libpubsub.so").parent
        installed_under(prefix, "lib/**/libpubsub.a")
        installed_under(prefix, "lib/**/libpubsub.so.*")
        for file in "lib/**/libpubsub_tls.a", "lib/**/libpubsub_tls.so.*", "include/pubsub/tls_openssl.h":
            installed_under(prefix, file)
        for program in "pubsubd", "pubsub":
            print(run(installed_under(prefix, f"bin/{program}"), "--version", LD_LIBRARY_PATH=str(libraries)), end="")

        project = scratch / "project"
        project.mkdir()
        shutil.copy(HERE / "main.c", project)
        shutil.copy(HERE / "tls.c", project)
        shutil.copy(HERE / "project.cmake", project / "CMakeLists.txt")
        run("cmake", "-G", "Ninja", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
            f"-DCMAKE_C_FLAGS={flags}")
        run("cmake", "--build", project / "build")
        check(project / "build" / "consumer", broker, libraries)
        check_tls(project / "build" / "consumer_tls", broker, libraries)

        for package, source, check_program in ("pubsub", "main.c", check), ("pubsub-tls", "tls.c", check_tls):
            for name, static in ("shared", []), ("static", ["--static"]):
                asked = run("pkg-config", "--cflags", "--libs", *static, package, PKG_CONFIG_PATH=str(pc.parent)).split()
                if static:  # takes the archives although the shared libraries are there as well
                    asked = [f"-l:lib{part[2:]}.a" if part.startswith("-lpubsub") else part for part in asked]
                program = scratch / f"{package}-{name}"
                run("cc", *flags.split(), "-o", program, HERE / source, *asked)
                check_program(program, broker, libraries)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
