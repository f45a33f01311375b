"""What is in deploy/ for operators: each file is taken by the program that it is for, as far as that is here."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import brokers

try:
    import yaml
except ImportError:
    yaml = None

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
EXPOSED_AT_MOST = 2.0


def run(*command, **how):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, **how)


class DeployTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)

    def assert_is_a_configuration(self, text):
        file = self.dir / "pubsubd.conf"
        file.write_text(text)
        done = run(brokers.PUBSUBD, "--config", file, "--check-config")
        self.assertEqual((done.returncode, done.stderr), (0, ""), text)


class Systemd(DeployTest):
    def setUp(self):
        super().setUp()
        if not shutil.which("systemd-analyze"):
            self.skipTest("there is no systemd-analyze")
        text = (DEPLOY / "systemd/pubsubd.service.in").read_text()
        self.service = self.dir / "pubsubd.service"
        self.service.write_text(text.replace("@BINDIR@/pubsubd", brokers.PUBSUBD).replace("@CONFIGDIR@", "/etc/pubsub"))
        self.socket = self.dir / "pubsubd.socket"
        shutil.copy(DEPLOY / "systemd/pubsubd.socket", self.socket)

    def test_units_are_understood(self):
        done = run("systemd-analyze", "verify", "--man=no", self.service, self.socket,
                   env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})
        about_ours = [line for line in done.stderr.splitlines() if "pubsubd." in line and "executable" not in line]
        self.assertEqual(about_ours, [])

    def test_hardening(self):
        done = run("systemd-analyze", "security", "--offline=yes", "--no-pager", self.service)
        if "unrecognized option" in done.stderr:
            self.skipTest("this systemd-analyze judges no files")
        level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        self.assertTrue(level, done.stdout + done.stderr)
        self.assertLess(float(level[1]), EXPOSED_AT_MOST, done.stdout)

    def test_directories_that_the_configuration_proposes(self):
        """The service may write there, as the user that it runs as."""
        unit = dict(line.split("=", 1) for line in self.service.read_text().splitlines() if re.match("[A-Z]\\w+=", line))
        config = run(brokers.PUBSUBD, "--print-config").stdout
        for key, directories, names in (("data", "/var/lib", "StateDirectory"), ("file", "/var/log", "LogsDirectory")):
            proposed = re.search(rf"^# {key} = (\S+)$", config, re.M)[1]
            self.assertTrue(f"{proposed}/".startswith(f"{directories}/{unit.get(names)}/"), proposed)

    def test_the_filter_of_calls_lets_the_broker_work(self):
        """Those calls that the broker was seen to use, with streams, passwords and spilling."""
        def expand(name):
            lines = run("systemd-analyze", "syscall-filter", "--no-pager", name).stdout.split("\n")[1:]
            for line in filter(None, (line.split("#")[0].strip() for line in lines)):
                if line.startswith("@"):
                    yield from expand(line)
                else:
                    yield line

        allowed = set()
        for words in re.findall(r"^SystemCallFilter=(.*)$", self.service.read_text(), re.M):
            calls = {call for word in words.lstrip("~").split() for call in (expand(word) if word[0] == "@" else [word])}
            allowed = allowed - calls if words[0] == "~" else allowed | calls
        used = """accept4 bind brk clone3 close connect epoll_create1 epoll_ctl epoll_wait eventfd2 execve exit exit_group fcntl
            fdatasync flock fsync ftruncate futex geteuid getpeername getpriority getrandom getsockname getsockopt gettid ioctl
            listen lseek madvise mkdir mlock mmap mprotect munlock munmap newfstatat openat pipe2 poll prctl pread64 prlimit64
            pwrite64 read rename rt_sigaction rt_sigprocmask sched_getaffinity sched_yield sendto setpriority setsockopt
            shutdown socket statfs sysinfo umask unlink write writev""".split()
        self.assertEqual(sorted(set(used) - allowed), [])


class Images(DeployTest):
    def test_the_configuration_of_the_image(self):
        self.assert_is_a_configuration((DEPLOY / "docker/pubsubd.conf").read_text())

    def test_the_dockerfile_takes_what_is_there(self):
        text = (DEPLOY / "docker/Dockerfile").read_text()
        for path in re.findall(r"/src/(\S+)", text):
            self.assertTrue(os.access(DEPLOY.parent / path, os.X_OK), path)
        config = re.search(r'^CMD \["--config", "/(.*)"\]$', text, re.M)[1]
        self.assertIn(f'"$root/{config}"', (DEPLOY / "docker/make-root").read_text())

    @unittest.skipUnless(yaml, "there is no python3-yaml")
    def test_kubernetes(self):
        with open(DEPLOY / "kubernetes/pubsub.yaml") as file:
            found = {part["kind"]: part for part in yaml.safe_load_all(file)}
        self.assertEqual(sorted(found), ["ConfigMap", "Service", "StatefulSet"])
        pod = found["StatefulSet"]["spec"]["template"]
        container, = pod["spec"]["containers"]
        self.assertEqual(found["Service"]["spec"]["selector"], pod["metadata"]["labels"])
        self.assertEqual(found["StatefulSet"]["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"])
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in found["Service"]["spec"]["ports"]:
            self.assertIn(port["targetPort"], ports)
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in found["StatefulSet"]["spec"]["volumeClaimTemplates"]}
        self.assertEqual({mount["name"] for mount in container["volumeMounts"]}, volumes)
        (name, text), = found["ConfigMap"]["data"].items()
        self.assertIn(f"/etc/pubsub/{name}", container["args"])
        self.assert_is_a_configuration(text)
        self.assertIn(f":{ports['mps']}\n", text)


if __name__ == "__main__":
    unittest.main()
