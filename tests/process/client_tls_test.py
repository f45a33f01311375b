"""The command line over TLS, with a real broker behind a server of Python's that ends TLS: who is believed, who is not and
in which words, and what happens to connections."""
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
import unittest

import brokers
from issuer import Authority, self_signed
from programs import PUBSUB, CliTest, Program, Subscriber, eventually, fresh_topic, run_without_broker, scaled
from tls_peer import TlsPeer, context_for

EXAMPLES = os.environ.get("PUBSUB_EXAMPLES", ".")
CANNOT_CONNECT = 3


class TlsTest(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dir = tempfile.mkdtemp(prefix="pubsub-test-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.authority = Authority(cls.dir)
        cls.good = cls.authority.issue("good")

    def peer(self, certificate=None, context=None, **options):
        """What ends TLS in front of the broker. context: of ssl; None: an ordinary one with the certificate."""
        peer = TlsPeer(self.broker.unix.removeprefix("unix:"), context or context_for(certificate or self.good), **options)
        self.addCleanup(peer.close)
        return peer

    def run_tls(self, url, *arguments, ca="authority", stdin=b"", **environment):
        trust = ["--ca", self.authority.path if ca == "authority" else ca] if ca else []
        return run_without_broker(*arguments, "-s", url, *trust, stdin=stdin, **environment)

    def passes(self, url, *arguments, **options):
        done = self.run_tls(url, "pub", *arguments, fresh_topic(), "hello", **options)
        self.assertEqual((done.stderr, done.code), ("", 0))

    def refused(self, url, words, *arguments, **options):
        """It cannot connect, and says so in one line with these words."""
        done = self.run_tls(url, "pub", *arguments, fresh_topic(), "hello", **options)
        self.assertEqual((done.stderr.count("\n"), done.code), (1, CANNOT_CONNECT), done.stderr)
        self.assertTrue(done.stderr.startswith(f"pubsub: cannot connect to {url}: "), done.stderr)
        self.assertRegex(done.stderr, words)


class Trust(TlsTest):
    """Who is believed."""

    def test_a_good_certificate(self):
        for versions, name in (((ssl.TLSVersion.TLSv1_2,) * 2, "TLSv1.2"), ((ssl.TLSVersion.TLSv1_3,) * 2, "TLSv1.3")):
            peer = self.peer(context=context_for(self.good, versions=versions))
            self.passes(peer.url)
            self.passes(f"tls://127.0.0.1:{peer.port}")
            self.assertEqual([each[:2] for each in peer.established], [(name, "mps/1")] * 2)
            self.assertTrue(eventually(lambda: peer.endings == ["told", "told"]), (peer.endings, peer.failures))

    def test_a_server_that_chooses_no_protocol(self):
        self.passes(self.peer(context=context_for(self.good, alpn=())).url)

    @staticmethod
    def day(ahead):
        """The date so many days from now, which is another one when midnight has passed."""
        return time.strftime("%Y-%m-%d", time.gmtime(time.time() + ahead * 86400))

    def test_expired(self):
        before = self.day(-2)
        peer = self.peer(self.authority.issue("expired", begins_days=-9, ends_days=-2))
        self.refused(peer.url, rf"its certificate expired on ({before}|{self.day(-2)}) \d\d:\d\d:\d\d UTC$")

    def test_not_yet_valid(self):
        before = self.day(2)
        peer = self.peer(self.authority.issue("early", begins_days=2))
        self.refused(peer.url, rf"its certificate is not valid before ({before}|{self.day(2)}) \d\d:\d\d:\d\d UTC$")

    def test_wrong_names(self):
        for alternative, names in (("DNS:a.example,DNS:*.b.example,IP:192.0.2.7,IP:2001:db8::1",
                                    r"a\.example, \*\.b\.example, 192\.0\.2\.7, 2001:db8::1"),
                                   ("email:root@localhost", "no host at all"), ("", "no host at all"),
                                   (",".join(f"DNS:number-{i}.example" for i in range(20)),
                                    r"number-0\.example, .*number-\d\.example, and more")):
            peer = self.peer(self.authority.issue("localhost", alternative))  # its common name is not looked at
            self.refused(peer.url, rf"its certificate is not for 'localhost', but for {names}$")
        peer = self.peer(self.authority.issue("by-name", "DNS:localhost"))
        self.passes(peer.url)
        self.refused(f"tls://127.0.0.1:{peer.port}", "its certificate is not for '127.0.0.1', but for localhost$")

    def test_names_cannot_drive_the_terminal(self):
        peer = self.peer(self.authority.issue("odd", "DNS:\x1b[2Jodd.example"))
        self.refused(peer.url, r"but for \?\[2Jodd\.example$")

    def test_self_signed(self):
        own = self_signed(self.dir)
        peer = self.peer(own)
        self.refused(peer.url, "its certificate is self-signed and not among those that are trusted$")
        self.passes(peer.url, ca=own.path)

    def test_unknown_issuer(self):
        peer = self.peer(Authority(self.dir, "somebody else").issue("good"))
        self.refused(peer.url, "its certificate was issued by 'somebody else', which is not trusted$")

    def test_revoked(self):
        revoked = self.authority.issue("revoked")
        lists = os.path.join(self.dir, "with-lists.pem")
        with open(lists, "w") as out:
            for path in self.authority.path, self.authority.revocation_list(revoked):
                with open(path) as file:
                    out.write(file.read())
        peer = self.peer(revoked)
        self.passes(peer.url)  # without a list nobody knows
        self.refused(peer.url, "its certificate was revoked by 'authority'$", ca=lists)
        self.passes(self.peer().url, ca=lists)

    def test_the_systems_store(self):
        peer = self.peer()
        self.refused(peer.url, "its certificate was issued by 'authority', which is not trusted$", ca=None)
        self.passes(peer.url, ca=None, SSL_CERT_FILE=self.authority.path)
        directory = tempfile.mkdtemp(dir=self.dir)
        shutil.copy(self.authority.path, directory)
        subprocess.run(["openssl", "rehash", directory], check=True)
        self.passes(peer.url, ca=directory)
        self.passes(peer.url, ca=None, SSL_CERT_DIR=directory)

    def test_an_old_version(self):
        peer = self.peer(context=context_for(self.good, versions=(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)))
        self.refused(peer.url, "the broker speaks neither TLS 1.2 nor 1.3$")
        self.assertEqual(peer.established, [])

    def test_no_tls_at_all(self):
        """Nothing is said in clear to a broker that has no TLS, which does not even get to know a topic."""
        port = self.broker.tcp.rpartition(":")[2]
        self.refused(f"tls://localhost:{port}", "the peer does not speak TLS there$")
        self.refused(f"tls://127.0.0.1:{port}", "the peer does not speak TLS there$")

    def test_another_protocol(self):
        """s_server, because Python's ssl goes on without one where the two sides have none in common."""
        server = Program(["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", self.good.path, "-key",
                          self.good.key, "-alpn", "http/1.1,h2"], stdin=subprocess.PIPE)
        self.addCleanup(server.stop)
        accepts = re.compile(rb"ACCEPT 127\.0\.0\.1:(\d+)")
        self.assertTrue(eventually(lambda: accepts.search(server.stdout())), server.stderr())
        self.refused(f"tls://localhost:{accepts.search(server.stdout())[1].decode()}",
                     r"the peer does not serve mps/1 \(ALPN\)$")

    def test_a_client_certificate(self):
        clients = Authority(self.dir, "clients")
        mine, stolen = clients.issue("me", "URI:mps:me"), self.authority.issue("stolen", "URI:mps:me")
        both = os.path.join(self.dir, "both.pem")
        with open(both, "w") as out:
            for path in mine.path, mine.key:
                with open(path) as file:
                    out.write(file.read())
        os.chmod(both, 0o600)
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            peer = self.peer(context=context_for(self.good, client_ca=clients.path, versions=(version, version)))
            self.passes(peer.url, "--cert", mine.path, "--cert-key", mine.key)
            self.passes(peer.url, "--cert", both)
            self.assertEqual([each[2]["subjectAltName"] for each in peer.established], [(("URI", "mps:me"),)] * 2)
            self.refused(peer.url, "asks for a certificate of the client's$")
            self.refused(peer.url, "the broker does not trust who issued the client's certificate$",
                         "--cert", stolen.path, "--cert-key", stolen.key)


class Files(TlsTest):
    """What is wrong before anything is sent."""

    def wrong(self, url, words, *arguments, ca=None):
        done = self.run_tls(url, *arguments, "pub", fresh_topic(), "hello", ca=ca)
        self.assertEqual((done.stderr.count("\n"), done.code), (1, 2), done.stderr)
        self.assertRegex(done.stderr, words)

    def file(self, text, mode=0o600):
        path = os.path.join(tempfile.mkdtemp(dir=self.dir), "file")
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def test_files_that_cannot_be_used(self):
        peer, other = self.peer(), self.authority.issue("other")
        absent, empty = os.path.join(self.dir, "absent"), self.file("")
        encrypted = os.path.join(self.dir, "encrypted.key")
        subprocess.run(["openssl", "pkey", "-in", other.key, "-out", encrypted, "-aes128", "-passout", "pass:x"], check=True)
        open_key = shutil.copy(other.key, os.path.join(self.dir, "open.key"))
        os.chmod(open_key, 0o640)
        trusted = "cannot use the trusted certificates of"
        self.wrong(peer.url, f"{trusted} '{absent}': No such file", ca=absent)
        self.wrong(peer.url, f"{trusted} '{empty}': there is none in PEM form", ca=empty)
        self.wrong(peer.url, f"cannot use the certificate of '{absent}': No such file", "--cert", absent)
        self.wrong(peer.url, f"cannot use the certificate of '{empty}': there is none", "--cert", empty)
        self.wrong(peer.url, f"cannot use the key of '{self.good.key}': key values mismatch", "--cert", other.path,
                   "--cert-key", self.good.key)
        self.wrong(peer.url, f"cannot use the key of '{encrypted}': ", "--cert", other.path, "--cert-key", encrypted)
        self.wrong(peer.url, f"the file of the key, '{open_key}', is open to others .mode 0640.; chmod 600 it",
                   "--cert", other.path, "--cert-key", open_key)
        self.wrong(peer.url, "--cert-key needs --cert", "--cert-key", other.key)
        self.assertEqual(peer.accepted, 0)

    def test_options_of_tls_without_tls(self):
        """Whoever says whom to trust does not want a connection where that is not asked."""
        self.wrong(self.broker.tcp, "--ca is for TLS, and tcp://.* is not a tls:// address", ca=self.authority.path)
        self.wrong(self.broker.unix, "--cert is for TLS", "--cert", self.good.path)


class Connections(TlsTest):
    """What happens on connections that are up, or nearly."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.silent = TlsPeer("", silent=True)
        cls.addClassCleanup(cls.silent.close)
        cls.stalled_since = time.monotonic()
        cls.stalled = Program([PUBSUB, "pub", "-s", cls.silent.url, "topic", "x"])  # looked at by the last test
        cls.addClassCleanup(cls.stalled.stop)

    def test_then_a_stalled_handshake_has_ended(self):
        self.assertEqual(self.stalled.wait(), CANNOT_CONNECT)
        self.assertGreaterEqual(time.monotonic() - self.stalled_since, 5)
        self.assertEqual(self.stalled.stderr(), f"pubsub: cannot connect to {self.silent.url}: no answer to the TLS "
                                                "handshake within 5000 ms\n")

    def test_a_peer_that_goes_away_in_the_handshake(self):
        peer = self.peer(silent=True)
        command = Program([PUBSUB, "pub", "-s", peer.url, "--ca", self.authority.path, "topic", "x"])
        self.addCleanup(command.stop)
        self.assertTrue(eventually(lambda: peer.heard_bytes))  # what it says to somebody who has gone is answered with a reset
        peer.cut()
        self.assertEqual(command.wait(), CANNOT_CONNECT)
        self.assertIn("the peer closed the connection during the TLS handshake", command.stderr())

    def subscriber_over(self, peer, *arguments):
        subscriber = Subscriber(peer.url, "--ca", self.authority.path, *arguments, probe=False)
        self.addCleanup(subscriber.stop)
        self.assertTrue(eventually(lambda: Subscriber.reached(self.url, arguments[-1])), subscriber.stderr())
        return subscriber

    def test_a_cut_stream_is_a_lost_connection(self):
        topic, peer = fresh_topic(), self.peer()
        subscriber = self.subscriber_over(peer, topic)
        self.assertTrue(eventually(lambda: subscriber.stdout() == b"ready\n"))
        peer.cut()
        self.assertTrue(eventually(lambda: "connected again" in subscriber.stderr()), subscriber.stderr())
        self.assertIn("lost connection: the connection broke: it was cut off, without the end that TLS has\n",
                      subscriber.stderr())
        self.assertTrue(eventually(lambda: Subscriber.reached(self.url, topic)))
        self.assertTrue(eventually(lambda: subscriber.stdout() == b"ready\nready\n"))
        self.assertEqual(len(peer.established), 2)

    def test_a_broker_that_is_not_believed_any_more_is_not_connected_to(self):
        """The way back leads to somebody with another certificate, over which nothing is sent; then to the right one."""
        topic, peer = fresh_topic(), self.peer()
        subscriber = self.subscriber_over(peer, topic)
        good, peer.context = peer.context, context_for(self_signed(self.dir, "impostor"))
        peer.cut()
        self.assertTrue(eventually(lambda: len(peer.failures) >= 2), peer.failures)
        self.assertTrue(all("alert unknown ca" in failure or "EOF" in failure or "reset" in failure
                            for failure in peer.failures), peer.failures)
        self.assertEqual(len(peer.established), 1)
        self.assertEqual(subscriber.stderr().count("cannot connect again: its certificate is self-signed and not among those "
                                                   "that are trusted; trying on\n"), 1, subscriber.stderr())
        peer.context = good
        self.assertTrue(eventually(lambda: "connected again" in subscriber.stderr()), subscriber.stderr())

    def test_large_messages_and_many_small_ones(self):
        """Both ways: records are not messages."""
        topic, peer, count = fresh_topic(), self.peer(), scaled(20000)
        subscriber = self.subscriber_over(peer, "-n", str(count + 2), topic)
        large = b"x" * 1000000
        self.assertEqual(self.run_tls(peer.url, "pub", topic, stdin=large).code, 0)
        lines = b"".join(b"%d\n" % i for i in range(count))
        done = self.run_tls(peer.url, "pub", "-l", topic, stdin=lines)
        self.assertEqual((done.stderr, done.code), ("", 0))
        self.assertEqual(subscriber.wait(), 0, subscriber.stderr())
        self.assertTrue(subscriber.stdout() == b"ready\n" + large + b"\n" + lines, subscriber.stdout()[:200])

    def test_requests(self):
        topic, peer = fresh_topic(), self.peer()
        responder = Program([PUBSUB, "reply", "-s", peer.url, "--ca", self.authority.path, topic, "--echo"])
        self.addCleanup(responder.stop)
        self.assertTrue(eventually(lambda: self.run_cli("req", topic, "hello").code == 0), responder.stderr())
        done = self.run_tls(peer.url, "req", topic, "hello")
        self.assertEqual((done.stdout, done.stderr, done.code), (b"hello\n", "", 0))


class Examples(TlsTest):
    """The library's example programs for TLS."""

    def start(self, name, *arguments, **environment):
        program = Program([os.path.join(EXAMPLES, f"example_{name}"), *arguments], stdin=subprocess.PIPE,
                          env={**os.environ, **environment})
        self.addCleanup(program.stop)
        return program

    def ended(self, program):
        return program.wait(), program.stderr()

    def test_openssl(self):
        topic, peer, other = fresh_topic(), self.peer(), self.peer(self_signed(self.dir, "openssl-example"))
        subscriber = self.subscriber(topic, "-n", "2", ready=topic)
        self.assertEqual(self.ended(self.start("tls", peer.url, topic, "hello", self.authority.path)), (0, ""))
        self.assertEqual((subscriber.wait(), subscriber.lines()), (0, b'{"$bin":"aGVsbG8="}\n'))
        self.assertEqual(self.ended(self.start("tls", other.url, topic, "hello", self.authority.path)), (
            3, f"tls: cannot connect to {other.url}: its certificate is self-signed and not among those that are "
               "trusted\n"))
        code, said = self.ended(self.start("tls", peer.url, topic, "x", self.authority.path, PUBSUB_TOKEN="secret"))
        self.assertEqual(code, 3)
        self.assertIn("the broker closed the connection: ", said)  # it knows no tokens

    def test_mbedtls(self):
        topic, peer = fresh_topic(), self.peer()
        for url in peer.url, f"tls://127.0.0.1:{peer.port}":
            chat = self.start("tls_mbedtls", url, self.authority.path, topic)
            self.assertTrue(eventually(lambda: b"(subscribed)\n" in chat.stdout() or chat.process.poll() is not None))
            long = b"x" * 40000
            self.assertEqual(self.run_cli("pub", topic, "--bin", stdin=b"hello").code, 0)
            chat.process.stdin.write(long + b"\n")
            chat.process.stdin.close()
            self.assertEqual(self.ended(chat), (0, ""))
            lines = chat.stdout().splitlines()
            self.assertEqual(lines[:2], [b"(subscribed)", b"hello"])
            self.assertEqual(b"".join(lines[2:]), long)
        self.assertEqual([each[:2] for each in peer.established], [("TLSv1.2", "mps/1")] * 2)
        self.assertTrue(eventually(lambda: peer.endings == ["told", "told"]), (peer.endings, peer.failures))

    def test_mbedtls_believes_nobody_else(self):
        port = self.broker.tcp.rpartition(":")[2]
        wrong = [(self.peer(self.authority.issue("old", begins_days=-9, ends_days=-2)).url, "its certificate has expired"),
                 (self.peer(self.authority.issue("soon", begins_days=2)).url, "its certificate is not valid yet"),
                 (self.peer(self_signed(self.dir, "mbedtls-example")).url, "its certificate is not trusted"),
                 (self.peer(self.authority.issue("strange", "DNS:a.example")).url, "its certificate is for another name"),
                 (f"tls://127.0.0.1:{self.peer(self.authority.issue('names', 'DNS:127.0.0.1')).port}",
                  "its certificate is for another name"),
                 (self.peer(context=context_for(self.good, versions=(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1))).url,
                  "the broker does not speak TLS 1.2"),
                 (f"tls://localhost:{port}", "the peer does not speak TLS there")]
        for url, words in wrong:
            self.assertEqual(self.ended(self.start("tls_mbedtls", url, self.authority.path, "topic")), (
                3, f"tls_mbedtls: cannot connect to {url}: {words}\n"))

    def test_mbedtls_when_the_stream_is_cut(self):
        topic, peer = fresh_topic(), self.peer()
        chat = self.start("tls_mbedtls", peer.url, self.authority.path, topic)
        self.assertTrue(eventually(lambda: b"(subscribed)\n" in chat.stdout()))
        peer.cut()
        self.assertTrue(eventually(lambda: chat.stdout() == b"(subscribed)\n" * 2), chat.stderr())
        self.assertEqual(self.run_cli("pub", topic, "--bin", stdin=b"back").code, 0)
        self.assertTrue(eventually(lambda: chat.stdout().endswith(b"back\n")))


if __name__ == "__main__":
    unittest.main()
