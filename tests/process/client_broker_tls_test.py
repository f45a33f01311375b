"""The command line and the broker's own TLS: both ends are ours."""
import os
import shutil
import signal
import tempfile
import unittest

import brokers
from issuer import Authority
from programs import PUBSUB, Program, eventually, run_without_broker, scaled

CANNOT_CONNECT, REFUSED = 3, 5
CONFIG = """
[listener secure]
url = tls://127.0.0.1:{port}
certificate = {dir}/server.pem
key = {dir}/server.key
client_ca = {clients}
client_certificate = {wanted}
"""


class SecureBroker:
    """A broker that listens at one tls:// address, `url`, which it keeps when it is started again."""

    def __init__(self, directory, clients, wanted):
        self.dir, self.clients, self.wanted = directory, clients, wanted
        self.port = 0
        self.start()

    def start(self):
        config = os.path.join(self.dir, "pubsubd.conf")
        with open(config, "w") as file:
            file.write(CONFIG.format(port=self.port, dir=self.dir, clients=self.clients, wanted=self.wanted))
        if not eventually(lambda: self._starts(config)):
            raise AssertionError(f"somebody else keeps port {self.port}")
        ready = next(line for line in self.program.stderr().splitlines() if line.startswith("ready "))
        self.port = int(ready.rpartition(":")[2])
        self.url = f"tls://localhost:{self.port}"

    def _starts(self, config):
        """Whether the port was still free: somebody else may have been given it meanwhile."""
        self.program = Program([brokers.PUBSUBD, "-c", config, "--data", os.path.join(self.dir, "data")])
        if eventually(lambda: "ready tls://" in self.program.stderr() or self.program.process.poll() is not None):
            if "ready tls://" in self.program.stderr():
                return True
        said = self.program.stderr()
        self.program.stop()
        if "Address already in use" not in said:
            raise AssertionError(said)
        return False

    def stop(self):
        if self.program.process.poll() is None:
            self.program.process.send_signal(signal.SIGTERM)
        code = self.program.wait()
        said = self.program.stderr()
        self.program.stop()
        if code != 0:
            raise AssertionError(f"pubsubd ended with {code}: {said}")


class BrokersOwnTls(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="pubsub-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.authority, self.clients = Authority(self.dir), Authority(self.dir, "clients")
        self.certify(self.authority.issue("server"))

    def certify(self, certificate):
        shutil.copy(certificate.path, os.path.join(self.dir, "server.pem"))
        shutil.copy(certificate.key, os.path.join(self.dir, "server.key"))

    def start(self, wanted="off"):
        broker = SecureBroker(self.dir, self.clients.path, wanted)
        self.addCleanup(broker.stop)
        return broker

    def run_tls(self, broker, *arguments, stdin=b""):
        return run_without_broker("-s", broker.url, "--ca", self.authority.path, *arguments, stdin=stdin)

    def subscriber(self, broker, *arguments):
        subscriber = Program([PUBSUB, "sub", "-s", broker.url, "--ca", self.authority.path, *arguments])
        self.addCleanup(subscriber.stop)
        self.assertTrue(eventually(lambda: self.run_tls(broker, "pub", "--require", "1", arguments[-1], "ready").code == 0),
                        subscriber.stderr())
        return subscriber

    def test_messages(self):
        broker, count = self.start(), scaled(20000)
        subscriber = self.subscriber(broker, "-n", str(count + 2), "topic")
        large, lines = b"x" * 1000000, b"".join(b"%d\n" % i for i in range(count))
        for arguments, stdin in ((["pub", "topic"], large), (["pub", "-l", "topic"], lines)):
            done = self.run_tls(broker, *arguments, stdin=stdin)
            self.assertEqual((done.stderr, done.code), ("", 0))
        self.assertEqual((subscriber.wait(), subscriber.stderr()), (0, ""))
        self.assertTrue(subscriber.stdout() == b"ready\n" + large + b"\n" + lines, subscriber.stdout()[:200])

    def test_client_certificates(self):
        broker, me = self.start("required"), self.clients.issue("me", "DNS:me.example")
        mine = ["--cert", me.path, "--cert-key", me.key]
        self.assertEqual(self.run_tls(broker, *mine, "pub", "topic", "x").code, 0)
        stranger = self.authority.issue("stranger", "DNS:me.example")
        for who, words in (([], "the broker asks for a certificate of the client's"),
                           (["--cert", stranger.path, "--cert-key", stranger.key],
                            "the broker does not trust who issued the client's certificate")):
            done = self.run_tls(broker, *who, "pub", "topic", "x")
            self.assertEqual((done.stderr, done.code), (f"pubsub: cannot connect to {broker.url}: {words}\n",
                                                        CANNOT_CONNECT))

    def test_a_broker_that_comes_back(self):
        """First with a certificate that has expired, with which nobody goes on; then with a good one."""
        broker = self.start()
        subscriber = self.subscriber(broker, "topic")
        broker.stop()
        self.certify(self.authority.issue("expired", begins_days=-9, ends_days=-2))
        broker.start()
        done = self.run_tls(broker, "pub", "topic", "x")
        self.assertEqual(done.code, CANNOT_CONNECT)
        self.assertIn("its certificate expired on ", done.stderr)
        self.assertTrue(eventually(lambda: "certificate expired" in broker.program.stderr()), broker.program.stderr())
        broker.stop()
        self.certify(self.authority.issue("renewed"))
        broker.start()
        self.assertTrue(eventually(lambda: "connected again" in subscriber.stderr()), subscriber.stderr())
        self.assertTrue(eventually(lambda: self.run_tls(broker, "pub", "--require", "1", "topic", "x").code == 0))
        self.assertTrue(eventually(lambda: subscriber.stdout() == b"ready\nx\n"))

    def test_without_tls_nobody_is_served(self):
        broker = self.start()
        done = run_without_broker("-s", broker.url.replace("tls:", "tcp:"), "pub", "topic", "x")
        self.assertEqual(done.code, REFUSED, done.stderr)
        self.assertIn("serves mps/1 over TLS", done.stderr)


if __name__ == "__main__":
    unittest.main()
