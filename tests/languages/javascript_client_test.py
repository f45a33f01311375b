"""client-lib/javascript, by its own tests with node's runner. They run in a copy in the build directory, for which npm installs the
one package that the client needs, as package-lock.json says; skipped where there is no node, no npm or no registry."""
import filecmp
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "client-lib" / "javascript"
COPY = pathlib.Path(os.environ.get("PUBSUB_JAVASCRIPT_DIR", "javascript")).resolve()
NODE_MAJOR = 18
INSTALL_S, TESTS_S = 120, 600


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(77)


def run(*command, timeout=INSTALL_S, **how):
    return subprocess.run(command, cwd=COPY, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, **how)


def install():
    """Copies the package, and installs what it needs unless that is there already."""
    for program in "node", "npm":
        if not shutil.which(program):
            skip(f"{program} is not installed")
    COPY.mkdir(parents=True, exist_ok=True)
    major = run("node", "-p", "process.versions.node.split('.')[0]").stdout.strip()
    if not major.isdigit() or int(major) < NODE_MAJOR:
        skip(f"node is of version {major}, not of {NODE_MAJOR} or later")
    lock, installed = COPY / "package-lock.json", COPY / "node_modules" / ".package-lock.json"
    fresh = lock.exists() and installed.exists() and filecmp.cmp(SOURCE / lock.name, lock, shallow=False)
    for name in "pubsub.js", "pubsub.d.ts", "package.json", "package-lock.json", "README.md":
        shutil.copy(SOURCE / name, COPY / name)
    for name in "test", "examples":
        shutil.rmtree(COPY / name, ignore_errors=True)
        shutil.copytree(SOURCE / name, COPY / name)
    if fresh:
        return
    try:
        done = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    except subprocess.TimeoutExpired:
        skip(f"npm did not install the package within {INSTALL_S} s")
    if done.returncode != 0:
        skip(f"npm could not install the package: {done.stderr.strip()[-1000:]}")


class JavaScript(unittest.TestCase):
    maxDiff = None

    def run_tests(self, name):
        try:
            done = run("node", "--test", "--test-reporter=tap", f"test/{name}.test.js", timeout=TESTS_S,
                       env={key: value for key, value in os.environ.items() if key != "NODE_OPTIONS"})
        except subprocess.TimeoutExpired as hung:
            self.fail(f"it did not end within {TESTS_S} s, and said: {(hung.stdout or b'').decode(errors='replace')[-20000:]}")
        self.assertEqual(done.returncode, 0, done.stdout[-20000:] + done.stderr[-5000:])
        self.assertRegex(done.stdout, r"(?m)^# pass [1-9]")
        self.assertRegex(done.stdout, r"(?m)^# skipped 0$")

    def test_features(self):
        self.run_tests("features")

    def test_reconnect(self):
        self.run_tests("reconnect")

    def test_hostile_brokers(self):
        self.run_tests("hostile")

    def test_examples(self):
        self.run_tests("examples")


if __name__ == "__main__":
    install()
    unittest.main()
