"""Installs into a directory of its own, then builds and runs programs against that, as users of the library do.

    consumer_test.py BUILD_DIRECTORY [C_FLAGS]     what was built, and the flags that its users need too (sanitizers)
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "process"))
import brokers  # noqa: E402  (found by the path above)

BUILD, FLAGS = "", ""  # set by the command line
SHARED = "pubsub", "pubsub_tls", "pubsub_uv", "pubsub_msgpack"
PACKAGES = {"pubsub": "main.c", "pubsub-core": "core.c", "pubsub-tls": "tls.c", "pubsub-uv": "uv.c",
            "pubsub-msgpack": "msgpack.c"}


def run(*command, **environment):
    result = subprocess.run([str(part) for part in command], env={**os.environ, **environment}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=800)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {result.returncode}:\n{result.stdout}")
    return result.stdout


class Consumer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = pathlib.Path(scratch.name)
        cls.prefix = cls.scratch / "prefix"
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)
        cls.libraries = cls.installed("lib/**/libpubsub.so").parent
        cls.pkgconfig = cls.installed("lib/**/pubsub.pc").parent
        cls.broker = brokers.Broker()
        cls.addClassCleanup(cls.broker.stop)

    @classmethod
    def installed(cls, pattern):
        found = sorted(cls.prefix.glob(pattern))
        if not found:
            there = sorted(str(path.relative_to(cls.prefix)) for path in cls.prefix.rglob("*"))
            raise AssertionError(f"not installed: {pattern}; there is {there}")
        return found[0]

    def check(self, program, source):
        """Runs a program that was made of the source, and looks at what it says."""
        tls = self.broker.tcp.replace("tcp:", "tls:")
        url = tls if source == "tls.c" else self.broker.unix
        said = {"main.c": r"libpubsub \d+\.\d+\.\d+ received 1\n",
                "core.c": r"0 says hello\n",
                "tls.c": re.escape(f"-6 cannot connect to {tls}: the peer does not speak TLS there\n"),
                "uv.c": r"libuv received hello\n",
                "msgpack.c": r"\[42, nil\]\n"}[source]
        self.assertRegex(run(program, url, LD_LIBRARY_PATH=str(self.libraries)), f"^{said}$")

    def project(self, name, lists):
        directory = self.scratch / name
        directory.mkdir()
        shutil.copy(HERE / lists, directory / "CMakeLists.txt")
        for source in PACKAGES.values():
            shutil.copy(HERE / source, directory)
        return directory

    def test_programs(self):
        for program in "pubsubd", "pubsub":
            run(self.installed(f"bin/{program}"), "--version", LD_LIBRARY_PATH=str(self.libraries))

    def test_libraries(self):
        for name in SHARED:
            self.installed(f"lib/**/lib{name}.a")
            library = self.installed(f"lib/**/lib{name}.so")
            soname = re.search(r"soname: \[(.*)\]", run("readelf", "-d", library))[1]
            self.assertRegex(soname, rf"^lib{name}\.so\.\d+$")
            self.assertEqual(os.path.realpath(self.libraries / soname), os.path.realpath(library))

    def test_only_names_of_ours_are_exported(self):
        for name in SHARED:
            lines = run("nm", "-D", "--defined-only", self.installed(f"lib/**/lib{name}.so")).splitlines()
            names = [line.split()[-1] for line in lines]
            self.assertGreater(len(names), 1, name)
            self.assertEqual([other for other in names if not other.startswith("pubsub_")], [], name)

    def test_libraries_need_what_they_are_for(self):
        system = re.compile(r"c|m|pthread|asan|ubsan|tsan|gcc_s")
        for name, others in (("pubsub", ""), ("pubsub_tls", "ssl"), ("pubsub_uv", "uv"), ("pubsub_msgpack", "msgpackc")):
            needed = set(re.findall(r"NEEDED\).*\[lib(.*?)\.so", run("readelf", "-d",
                                                                         self.installed(f"lib/**/lib{name}.so"))))
            needed = {other.replace("-", "") for other in needed if not system.fullmatch(other)} - {"crypto", "pubsub"}
            self.assertEqual(needed, set(others.split()), name)

    @unittest.skipIf("fsanitize" in " ".join(sys.argv), "sanitizers bring their own")
    def test_the_core_needs_no_system(self):
        whole = self.scratch / "core.o"
        run("ld", "-r", "-o", whole, "--whole-archive", self.installed("lib/**/libpubsub_core.a"))
        needed = {line.split()[-1] for line in run("nm", "-u", whole).splitlines()}
        allowed = re.compile(r"mem(cpy|move|set|cmp)|str(len|cat)|__stack_chk_fail")
        self.assertEqual({name for name in needed if not allowed.fullmatch(re.sub(r"^__(\w+)_chk$", r"\1", name))
                          and not allowed.fullmatch(name)}, set())

    def test_cmake(self):
        project = self.project("cmake", "project.cmake")
        run("cmake", "-G", "Ninja", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={self.prefix}",
            f"-DCMAKE_C_FLAGS={FLAGS}")
        run("cmake", "--build", project / "build")
        for name in "consumer", "consumer_static", "consumer_posix":
            self.check(project / "build" / name, "main.c")
        self.check(project / "build" / "consumer_core", "core.c")
        for component in "tls", "uv", "msgpack":
            self.check(project / "build" / f"consumer_{component}", f"{component}.c")
            self.check(project / "build" / f"consumer_{component}_static", f"{component}.c")

    def test_pkg_config(self):
        for package, source in PACKAGES.items():
            for name, static in ("shared", []), ("static", ["--static"]):
                asked = run("pkg-config", "--cflags", "--libs", *static, package,
                            PKG_CONFIG_PATH=str(self.pkgconfig)).split()
                if static:  # takes the archives although the shared libraries are there as well
                    asked = [f"-l:lib{part[2:]}.a" if part.startswith("-lpubsub") else part for part in asked]
                program = self.scratch / f"{package}-{name}"
                run("cc", *FLAGS.split(), "-o", program, HERE / source, *asked)
                self.check(program, source)

    def test_the_core_as_two_files(self):
        directory = self.scratch / "two_files"
        directory.mkdir()
        for file in "pubsub_core.c", "pubsub_core.h":
            shutil.copy(self.installed(f"share/pubsub/{file}"), directory)
        text = (HERE / "core.c").read_text()
        self.assertIn("<pubsub/core.h>", text)
        (directory / "core.c").write_text(text.replace("<pubsub/core.h>", '"pubsub_core.h"'))
        run("cc", *FLAGS.split(), "-o", directory / "core", directory / "core.c", directory / "pubsub_core.c")
        self.check(directory / "core", "core.c")

    def ask(self, components="", optional="", prefix=None, **environment):
        """What a project is told that asks for components: the words, and what it found."""
        project = self.scratch / "ask"
        if not project.exists():
            self.project("ask", "ask.cmake")
        shutil.rmtree(project / "build", ignore_errors=True)
        said = run("cmake", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={prefix or self.prefix}",
                   f"-DCOMPONENTS={components}", f"-DOPTIONAL={optional}", **environment)
        return " ".join(said.split()), set(re.findall(r"^-- (.*)$", said, re.MULTILINE))

    def test_components_bring_only_what_they_need(self):
        self.assertLessEqual({"pubsub: 1", "core: TRUE", "target core"}, self.ask("core")[1])
        self.assertNotIn("target pubsub", self.ask("core")[1])
        found = self.ask()[1]
        self.assertEqual({line for line in found if line.startswith("target")},
                         {"target pubsub", "target pubsub_static", "target posix"})
        self.assertLessEqual({"uv: TRUE", "target uv", "target uv_static", "target pubsub"}, self.ask("uv")[1])

    def test_unknown_components(self):
        said, found = self.ask("posix;zigbee")
        self.assertIn("pubsub has no component 'zigbee', only core, posix, tls, uv, msgpack.", said)
        self.assertLessEqual({"pubsub: 0", "zigbee: FALSE"}, found)

    def test_components_that_are_not_installed(self):
        parts = self.scratch / "parts"
        shutil.copytree(self.prefix, parts, symlinks=True)
        for part in parts.glob("lib/**/pubsub-uv-targets*"):
            part.unlink()
        said, found = self.ask("posix;uv", prefix=parts)
        self.assertIn(f"The component 'uv' of pubsub is not installed in {parts}.", said)
        self.assertIn("pubsub: 0", found)
        said, found = self.ask("posix", "uv", prefix=parts)
        self.assertLessEqual({"pubsub: 1", "posix: TRUE", "uv: FALSE"}, found)
        self.assertNotIn("not installed", said)

    def test_libraries_that_are_not_installed(self):
        nowhere = {"PKG_CONFIG_LIBDIR": str(self.scratch), "PKG_CONFIG_PATH": ""}
        for component, library in ("uv", "libuv (libuv.pc)"), ("msgpack", "msgpack-c (msgpack-c.pc or msgpack.pc)"):
            said, found = self.ask(component, **nowhere)
            self.assertIn(f"The component '{component}' of pubsub needs {library}, which was not found.", said)
            self.assertIn("pubsub: 0", found)
        self.assertIn("pubsub: 1", self.ask("posix;core", **nowhere)[1])


if __name__ == "__main__":
    BUILD, FLAGS = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    unittest.main(verbosity=2, argv=sys.argv[:1])
