"""What is in deploy/ for several brokers: each file is taken by the program that it is for, and the trial begins and ends."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

import brokers
import cluster
import issuer
from programs import PATIENCE_S, Program, eventually, run_without_broker

try:
    import yaml
except ImportError:
    yaml = None

DEPLOY = cluster.TOP / "deploy"
sys.path.insert(0, str(cluster.TOP / "tests" / "network"))
import namespaces  # noqa: E402  of the other directory

BUILD = pathlib.Path(brokers.PUBSUBD).resolve().parents[1]


class ClusterDeploy(unittest.TestCase):
    def setUp(self):
        cluster.require()
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)

    def run_program(self, *command, **environment):
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=PATIENCE_S,
                              env={**os.environ, **environment})

    def assert_is_of_a_server(self, text, **environment):
        file = self.dir / "nats-server.conf"
        file.write_text(text)
        done = self.run_program(cluster.nats_server(), "-t", "-c", file, **environment)
        self.assertEqual((done.returncode, "is valid" in done.stdout + done.stderr), (0, True), done.stderr)

    def assert_is_of_a_broker(self, text):
        file = self.dir / "pubsubd.conf"
        file.write_text(text)
        done = self.run_program(brokers.PUBSUBD, "--config", file, "--check-config")
        self.assertEqual((done.returncode, done.stderr), (0, ""), text)

    def secret(self, text):
        file = self.dir / "secret"
        file.touch(mode=0o600)
        file.write_text(text)
        return str(file)

    def test_configurations_of_real_hosts(self):
        authority = issuer.Authority(str(self.dir))
        pair = authority.issue("h1")
        tokens = self.dir / "tokens"
        self.assertEqual(self.run_program(brokers.PUBSUBD, "token", "new", "ann", "--file", tokens).returncode, 0)
        ours = {"/etc/pubsub/cluster-ca.crt": authority.path, "/etc/pubsub/cluster-password": self.secret("change me\n"),
                "/etc/pubsub/tokens": str(tokens),
                **{f"/etc/pubsub/{name}.crt": pair.path for name in ("nats", "server")},
                **{f"/etc/pubsub/{name}.key": pair.key for name in ("nats", "server")}}
        texts = []
        for name in "nats-server.conf", "pubsubd.conf":
            text = (DEPLOY / "cluster" / name).read_text()
            for path, replacement in ours.items():
                text = text.replace(path, replacement)
            texts.append(text)
        self.assertNotIn("/etc/pubsub", re.sub("(?m)^#.*$", "", "".join(texts)))
        self.assert_is_of_a_server(texts[0])
        self.assert_is_of_a_broker(texts[1])

    @unittest.skipUnless(yaml, "there is no python3-yaml")
    def test_kubernetes(self):
        with open(DEPLOY / "kubernetes/pubsub-cluster.yaml") as file:
            parts = list(yaml.safe_load_all(file))
        found = {(part["kind"], part["metadata"]["name"]): part for part in parts}
        self.assertEqual(len(found), len(parts))
        services = {name for kind, name in found if kind == "Service"}
        for name in "pubsub-nats", "pubsub":
            stateful = found["StatefulSet", name]["spec"]
            pod = stateful["template"]
            self.assertIn(stateful["serviceName"], services)
            self.assertEqual(stateful["selector"]["matchLabels"], pod["metadata"]["labels"])
            self.assertEqual(found["Service", name]["spec"]["selector"], pod["metadata"]["labels"])
            container, = pod["spec"]["containers"]
            ports = {port["name"] for port in container["ports"]}
            self.assertLessEqual({port["targetPort"] for port in found["Service", name]["spec"]["ports"]}, ports)
            volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
            volumes |= {claim["metadata"]["name"] for claim in stateful.get("volumeClaimTemplates", ())}
            containers = [container, *pod["spec"].get("initContainers", ())]
            self.assertEqual({mount["name"] for one in containers for mount in one["volumeMounts"]}, volumes)
        servers = found["ConfigMap", "pubsub-nats"]["data"]["nats-server.conf"]
        self.assert_is_of_a_server(servers, POD_NAME="pubsub-nats-0", NATS_PASSWORD="p0123")
        (name, text), = found["ConfigMap", "pubsub"]["data"].items()
        self.assertEqual(name, "pubsubd.conf")
        for host in re.findall(r"nats://(\S+):4222", text):
            self.assertIn(f"nats://{host}:6222", servers)
        self.assert_is_of_a_broker(text.replace("/run/pubsub/nats-password", self.secret("p0123")))

    def test_trial(self):
        """It begins, what is published at one broker comes to another, and it ends without leaving anything."""
        trial = Program([str(DEPLOY / "cluster/trial"), "--build", str(BUILD)], start_new_session=True)
        self.addCleanup(trial.stop)
        self.addCleanup(self.kill_group, trial.process.pid)
        self.assertTrue(eventually(lambda: b"ready " in trial.stdout() or trial.process.poll() is not None))
        said = trial.stdout().decode()
        self.assertIn("ready ", said, trial.stderr())
        data = pathlib.Path(re.search(r"files in (\S+)", said)[1])
        urls = re.search("^ready (.*)$", said, re.M)[1].split()
        self.assertEqual(len(urls), 3)
        for url in urls:
            done = run_without_broker("pub", "-s", urls[0], "-r", "--ack", "replicated", "orders/1", f"for {url}")
            self.assertEqual((done.stderr, done.code), ("", 0))
            done = run_without_broker("sub", "-s", url, "--last", "1", "--until-live", "orders/1")
            self.assertEqual((done.stdout, done.code), (f"for {url}\n".encode(), 0), done.stderr)
        self.assertTrue((data / "host3" / "pubsubd.conf").exists())
        trial.process.send_signal(signal.SIGINT)
        self.assertEqual(trial.wait(), 0)
        self.assertFalse(data.exists())

    @staticmethod
    def kill_group(pid):
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


if __name__ == "__main__":
    namespaces.enter_own()
    unittest.main()
