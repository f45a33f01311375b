"""The section [cluster]: what is wrong with it is said before anything is served; a cluster that is away is no reason not to
serve; nothing of it is loaded where it is not configured."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import brokers
import cluster
import issuer
import raw

END_S = 60
NOBODY = "nats://127.0.0.1:1"  # where nobody listens
MODULE = "pubsubd_cluster.so"


def module():
    return pathlib.Path(shutil.which(brokers.PUBSUBD) or brokers.PUBSUBD).resolve().with_name(MODULE)


class ClusterConfigTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name).resolve()
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.dir), "XDG_STATE_HOME": str(self.dir), "HOME": str(self.dir)}

    def write(self, name, text, mode=0o600):
        path = self.dir / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def configure(self, text):
        return self.write("pubsubd.conf", "[cluster]\n" + text)

    def run_to_end(self, *arguments, program=brokers.PUBSUBD):
        return subprocess.run([program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=END_S, env=self.environment)

    def start(self, config, **how):
        broker = brokers.Broker(config="[cluster]\n" + config, **how)
        self.addCleanup(broker.stop)
        return broker

    def says(self, broker, text):
        self.assertTrue(raw.eventually(lambda: text in broker.said(), END_S), broker.said())

    def serve_nats(self, config):
        """A server on a port of its choice. Returns its URL; if it has a certificate, that is for 127.0.0.1."""
        file = self.write("nats.conf", config + "\n")
        process = subprocess.Popen([cluster.nats_server(), "-a", "127.0.0.1", "-p", "-1", "-c", file, "--ports_file_dir", self.dir],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

        def listens():
            self.assertIsNone(process.poll(), "nats-server ended")
            with contextlib.suppress(OSError, ValueError):
                return json.loads(next(self.dir.glob("*.ports"), pathlib.Path("/nowhere")).read_text())["nats"][0]
            return None

        return cluster.wait_for(listens, "a server that says where it listens")


@unittest.skipUnless(module().exists(), "the broker was built without [cluster]")
class Wrong(ClusterConfigTest):
    def assert_wrong(self, error, text):
        """It is checked, and it does not start either."""
        file = self.configure(f"url = {NOBODY}\n" + text)
        done = self.run_to_end("--config", file, "--check-config")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", f"pubsubd: {error}\n"))
        done = self.run_to_end("--config", file, "--listen", "tcp://127.0.0.1:0")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", f"pubsubd: {error}\n"))

    def test_password_files(self):
        path = self.dir / "password"
        keys = f"user = ann\npassword_file = {path}\n"
        self.assert_wrong(f"[cluster] password_file: {path}: cannot be opened: No such file or directory", keys)
        self.write("password", "secret\n", 0o640)
        self.assert_wrong(f"[cluster] password_file: {path}: is not used: others than its owner may use it; chmod 600 it", keys)
        for content in ("", "\n", "one\ntwo\n"):
            self.write("password", content)
            self.assert_wrong(f"[cluster] password_file: {path}: it must hold one line, and nothing else", keys)
        self.write("password", "secret\n")
        done = self.run_to_end("--config", self.configure(f"url = {NOBODY}\n{keys}"), "--check-config")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_token_files(self):
        path = self.write("token", "a\nb\n")
        self.assert_wrong(f"[cluster] token_file: {path}: it must hold one line, and nothing else", f"token_file = {path}\n")

    def test_other_files(self):
        missing = self.dir / "missing"
        for key in ("ca", "credentials"):
            self.assert_wrong(f"[cluster] {key}: '{missing}' cannot be read: No such file or directory", f"{key} = {missing}\n")
        certificate, key = self.write("certificate", "x"), self.write("key", "x", 0o644)
        self.assert_wrong(f"[cluster] key: '{key}' is not private: its mode is 0644, and 0640 is the most that it may be",
                          f"certificate = {certificate}\nkey = {key}\n")

    def test_files_that_are_no_certificates(self):
        ca = self.write("ca", "no certificate\n")
        done = self.run_to_end("--config", self.configure(f"url = {NOBODY}\nca = {ca}\n"), "--listen", "tcp://127.0.0.1:0")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"^pubsubd: \[cluster\]: .*" + re.escape(str(ca)) + r".*\n$")


@unittest.skipUnless(module().exists(), "the broker was built without [cluster]")
class Module(ClusterConfigTest):
    def install(self, *parts):
        path = self.dir.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def test_it_may_be_absent(self):
        """Then [cluster] is refused with a sentence, and all else works."""
        directory = self.install("bin")
        program = shutil.copy(shutil.which(brokers.PUBSUBD), directory)
        file = self.configure(f"url = {NOBODY}\n")
        done = self.run_to_end("--config", file, "--check-config", program=program)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        form = (r"pubsubd: \[cluster\] needs the module pubsubd_cluster\.so, which is neither in '(.*)' nor in '(.*)': "
                r"install the package pubsubd-cluster\n")
        self.assertRegex(done.stderr, form)
        beside, installed = re.fullmatch(form, done.stderr).groups()
        self.assertEqual(beside, str(directory))
        done = self.run_to_end("--config", self.configure(""), "--check-config", program=program)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        # Where it is installed beside the program it is found.
        place = self.install(os.path.normpath(installed))
        shutil.copy(module(), place)
        done = self.run_to_end("--config", self.configure(f"url = {NOBODY}\n"), "--check-config", program=program)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_something_else_of_that_name(self):
        directory = self.install("bin")
        program = shutil.copy(shutil.which(brokers.PUBSUBD), directory)
        (directory / MODULE).write_text("no module\n")
        done = self.run_to_end("--config", self.configure(f"url = {NOBODY}\n"), "--check-config", program=program)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, r"^pubsubd: \[cluster\]: .*pubsubd_cluster\.so.*\n$")

    def test_it_is_loaded_only_where_it_is_wanted(self):
        with brokers.Broker() as alone:
            self.assertNotIn("libnats", pathlib.Path(f"/proc/{alone.process.pid}/maps").read_text())
        one_of_many = self.start(f"url = {NOBODY}\n")
        maps = pathlib.Path(f"/proc/{one_of_many.process.pid}/maps").read_text()
        self.assertIn(MODULE, maps)
        self.assertIn("libnats", maps)


@unittest.skipUnless(module().exists(), "the broker was built without [cluster]")
class Away(ClusterConfigTest):
    def test_its_own_clients_are_served(self):
        broker = self.start(f"name = here\nurl = {NOBODY}\n")
        with raw.welcomed(broker.unix) as one, raw.welcomed(broker.tcp) as other:
            one.tell(raw.SUB, 1, "a/#", {})
            one.answer(raw.SUBACK)
            self.says(broker, f"the cluster is away, and this broker alone meanwhile: no connection to {NOBODY}: ")
            other.tell(raw.MSG, "a/b", None, b"\xc0")
            self.assertEqual(one.answer(raw.MSG)[1], "a/b")
        self.assertEqual(broker.said().count("the cluster is away"), 1)

    def test_a_reload_changes_nothing_of_it(self):
        broker = self.start(f"name = here\nurl = {NOBODY}\n")
        file = pathlib.Path(broker.dir, "pubsubd.conf")
        file.write_text("[cluster]\nname = there\nurl = nats://127.0.0.1:2\ntopics = a/#\ndefer_time = 7s\n")
        for _ in range(2):  # it still is to be taken over the second time
            before = len(broker.said())
            broker.process.send_signal(signal.SIGHUP)
            self.assertTrue(raw.eventually(lambda: re.search(r"loaded again; .*\n", broker.said()[before:])), broker.said())
            self.assertIn("the configuration was loaded again; nothing changes at once; after a restart: "
                          "[cluster] name, [cluster] defer_time, [cluster] url or topics\n", broker.said()[before:])


@unittest.skipIf(cluster.missing(), cluster.missing())
class There(ClusterConfigTest):
    def test_with_a_password(self):
        url = self.serve_nats('authorization { user: "ann", password: "a secret" }')
        wrong = self.write("wrong", "another one\n")
        refused = self.start(f"url = {url}\nuser = ann\npassword_file = {wrong}\n")
        self.says(refused, f"the cluster is away, and this broker alone meanwhile: no connection to {url}: ")
        self.assertRegex(refused.said(), "(?i)authorization")
        self.assertNotIn("another one", refused.said())
        right = self.write("right", "a secret\n")
        taken = self.start(f"name = me\nurl = {url}\nuser = ann\npassword_file = {right}\n")
        self.says(taken, f"connected to the cluster as 'me', through {url}")

    def test_with_a_token(self):
        url = self.serve_nats('authorization { token: "a-token" }')
        token = self.write("token", "a-token\n")
        broker = self.start(f"name = me\nurl = {url}\ntoken_file = {token}\n")
        self.says(broker, f"connected to the cluster as 'me', through {url}")

    def test_the_host_gives_the_name(self):
        url = self.serve_nats("")
        broker = self.start(f"url = {url}\n")
        host = re.sub("[^A-Za-z0-9_-]", "-", os.uname().nodename.split(".")[0])[:64]
        self.says(broker, f"connected to the cluster as '{host}', through {url}")

    def test_encrypted(self):
        authority = issuer.Authority(self.dir)
        theirs = authority.issue("server", "DNS:localhost,IP:127.0.0.1")
        ours = authority.issue("broker", "DNS:broker")
        url = self.serve_nats(f'tls {{ cert_file: "{theirs.path}", key_file: "{theirs.key}", ca_file: "{authority.path}", verify: true }}')
        url = url.replace("nats:", "tls:")
        mine = f"certificate = {ours.path}\nkey = {ours.key}\n"
        broker = self.start(f"name = me\nurl = {url}\nca = {authority.path}\n{mine}")
        self.says(broker, f"connected to the cluster as 'me', through {url}")
        without = self.start(f"url = {url}\nca = {authority.path}\n")
        self.says(without, "the cluster is away")
        stranger = issuer.Authority(self.dir, "stranger")
        distrusting = self.start(f"url = {url}\nca = {stranger.path}\n{mine}")
        self.says(distrusting, "the cluster is away")

    def test_the_systems_authorities(self):
        authority = issuer.Authority(self.dir)
        theirs = authority.issue("server", "DNS:localhost,IP:127.0.0.1")
        url = self.serve_nats(f'tls {{ cert_file: "{theirs.path}", key_file: "{theirs.key}" }}').replace("nats:", "tls:")
        trusting = self.start(f"name = me\nurl = {url}\n", environment={"SSL_CERT_FILE": authority.path})
        self.says(trusting, f"connected to the cluster as 'me', through {url}")
        distrusting = self.start(f"url = {url}\n")
        self.says(distrusting, "the cluster is away")

    def test_a_certificate_of_another_host(self):
        authority = issuer.Authority(self.dir)
        theirs = authority.issue("server", "DNS:elsewhere.example")
        url = self.serve_nats(f'tls {{ cert_file: "{theirs.path}", key_file: "{theirs.key}" }}')
        broker = self.start(f"url = {url.replace('nats:', 'tls:')}\nca = {authority.path}\n")
        self.says(broker, "the cluster is away")
        self.says(broker, "mismatch")  # perhaps not at the first attempt, which a busy server does not answer in time


if __name__ == "__main__":
    unittest.main()
