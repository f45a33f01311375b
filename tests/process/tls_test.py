"""TLS listeners: who gets in and how, and that all works under TLS as it does without."""
import contextlib
import io
import os
import select
import signal
import socket
import ssl
import subprocess
import types
import unittest

import brokers
import msgpack
import raw
import tls
from hostile import AUTH_FAILED, SANITIZED
from issuer import openssl
from raw import BYE, MSG, SUB, WELCOME, frame, hello
from readers import Publisher, Reader, numbered
from tls_broker import Made, TlsTest, listener, setUpModule

SHUTTING_DOWN = 113
MIB = 1 << 20


class Serving(TlsTest):
    def test_both_versions_and_kinds_of_keys(self):
        for version, url in ("TLSv1_2", self.url), ("TLSv1_3", self.url), ("TLSv1_2", self.rsa), ("TLSv1_3", self.rsa):
            with self.subTest(version=version, url=url):
                peer = self.welcomed(url, version=version)
                self.assertEqual(peer.sock.tls.version(), version.replace("_", "."))
                self.assertRegex(peer.sock.tls.cipher()[0], "GCM|CHACHA20")
                self.assertIsNone(peer.sock.tls.compression())
                self.assert_echo(peer, "versions")
                self.assertEqual(peer.goodbye()[-1][:2], [BYE, 0])

    def test_older_versions_and_weak_ciphers_are_refused(self):
        for version in "TLSv1", "TLSv1_1":
            terms = tls.context(version=version)
            terms.set_ciphers("ALL:@SECLEVEL=0")
            with self.assertRaisesRegex(ssl.SSLError, "(?i)protocol.version"):
                tls.connect(self.url, terms)
        for ciphers in "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256":
            terms = tls.context(version="TLSv1_2")
            terms.set_ciphers(ciphers)
            with self.subTest(ciphers=ciphers), self.assertRaisesRegex(ssl.SSLError, "(?i)handshake.failure"):
                tls.connect(self.url, terms)

    def test_alpn(self):
        self.assertEqual(self.welcomed().sock.tls.selected_alpn_protocol(), "mps/1")
        self.assertEqual(self.welcomed(alpn=("h2", "mps/1")).sock.tls.selected_alpn_protocol(), "mps/1")
        self.assertIsNone(self.welcomed(alpn=()).sock.tls.selected_alpn_protocol())
        for alpn in ("h2",), ("mps/10", "mps/"), ("xmps/1",):
            with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
                self.peer(alpn=alpn)

    def test_openssl_s_client(self):
        for version in "-tls1_2", "-tls1_3":
            process = subprocess.Popen(
                ["openssl", "s_client", "-connect", self.url[len("tls://"):], "-quiet", "-alpn", "mps/1", version, "-CAfile",
                 self.ca.path, "-verify_return_error", "-verify_ip", "127.0.0.1"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            with process:
                self.addCleanup(process.kill)
                process.stdin.write(hello() + frame(SUB, 1, "s_client", {}) + frame(MSG, "s_client", None, b"hello") + frame(BYE, 0))
                process.stdin.flush()
                frames = list(msgpack.Unpacker(io.BytesIO(process.stdout.read()), strict_map_key=False))
            self.assertEqual(process.returncode, 0)
            self.assertEqual(frames[0][0], WELCOME)
            self.assertIn([MSG, "s_client", None, b"hello"], frames)
            self.assertEqual(frames[-1][:2], [BYE, 0])

    def test_renegotiation_is_refused(self):
        """s_client asks for one when a line begins with R."""
        with subprocess.Popen(["openssl", "s_client", "-connect", self.url[len("tls://"):], "-tls1_2"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            self.addCleanup(process.kill)
            self.read_until(process, b"Extended master secret")
            process.stdin.write(b"R\n")
            process.stdin.flush()
            said = process.stdout.read()
        self.assertIn(b"RENEGOTIATING", said)
        self.assertIn(b"no renegotiation", said)

    def test_large_messages_both_ways(self):
        for version in "TLSv1_2", "TLSv1_3":
            subscriber, publisher = self.welcomed(version=version), self.welcomed(version=version)
            self.subscribe(subscriber, "large/#")
            for number in range(20):
                payload = os.urandom(MIB - 64 - number)
                publisher.send(frame(MSG, f"large/{number}", None, payload) + frame(MSG, "large/small", None, b"s"))
                self.assertEqual(subscriber.answer(MSG), [MSG, f"large/{number}", None, payload])
                self.assertEqual(subscriber.answer(MSG), [MSG, "large/small", None, b"s"])

    def test_many_messages(self):
        subscriber, publisher = self.welcomed(), self.welcomed()
        self.subscribe(subscriber, "many")
        count = 5000 if SANITIZED else 30000
        publisher.send(b"".join(frame(MSG, "many", None, b"%d" % n) for n in range(count)))
        self.assertEqual([subscriber.answer(MSG)[3] for _ in range(count)], [b"%d" % n for n in range(count)])

    def test_byte_by_byte(self):
        peer = self.peer(piece=1)  # of what is encrypted
        peer.sock.send(hello(id="slow"))
        self.assertEqual(peer.next()[2]["id"], "slow")
        self.assert_echo(peer, "pieces")
        peer = self.peer()
        for byte in hello(id="records") + frame(SUB, 1, "bytes", {}) + frame(MSG, "bytes", None, b"x"):
            peer.sock.send(bytes([byte]))  # a record each
        self.assertEqual(peer.answer(MSG), [MSG, "bytes", None, b"x"])

    def test_hello_together_with_the_end_of_the_handshake(self):
        """The first bytes come with the handshake's last ones, so that polling doesn't tell of them."""
        for version in "TLSv1_2", "TLSv1_3":
            sock = tls.Socket(self.plain_socket(), tls.context(self.ca, version=version))
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    sock.tls.do_handshake()
                    sock.tls.write(hello())
                    sock._flush()
                    break
                sock._flush()
                sock._feed()
            self.assertEqual(raw.Peer(sock=sock).next()[0], WELCOME)

    def test_half_close(self):
        peer = self.welcomed(options={"half": True})
        self.subscribe(peer, "half")
        peer.finish()
        publisher = self.plain_peer()
        for number in range(3):
            publisher.tell(MSG, "half", None, b"%d" % number)
            self.assertEqual(peer.answer(MSG)[3], b"%d" % number)
        peer.close()
        peer = self.welcomed()
        peer.finish()
        self.assertEqual(self.assert_orderly_end(peer), [])

    def test_what_is_queued_comes_whole_after_the_peer_has_ended(self):
        """Then the broker closes as soon as the kernel has all, and not when OpenSSL has it."""
        counts = range(4000, 4008)
        peers = [self.welcomed(sock=tls.small_socket(self.url)) for _ in counts]
        publisher = self.plain_peer()
        for peer, count in zip(peers, counts):
            self.subscribe(peer, f"rest/{count}")
            publisher.send(frame(MSG, f"rest/{count}", None, bytes(1000)) * count)
        publisher.ping()
        for peer in peers:
            peer.finish()
        for peer, count in zip(peers, counts):
            self.assertEqual(sum(got[0] == MSG for got in self.assert_orderly_end(peer)), count)

    def test_a_stream_that_is_cut_off_is_broken(self):
        """The end of the connection alone is not the end of what the peer has to say: anybody could have made it."""
        peer = self.welcomed(options={"half": True, "will": ["tls/will", b"cut", 0, 0]})
        watcher = self.plain_peer()
        self.subscribe(watcher, "tls/will")
        peer.sock.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(watcher.answer(MSG)[3], b"cut")
        with self.assertRaisesRegex(ssl.SSLError, "(?i)unexpected.eof"):
            peer.rest()

    def test_a_record_that_was_changed_is_broken(self):
        peer = self.welcomed()
        peer.sock.tls.write(frame(raw.PING, b"x"))
        data = bytearray(peer.sock.outgoing.read())
        data[-1] ^= 1
        peer.sock.sock.sendall(data)
        with self.assertRaisesRegex(ssl.SSLError, "(?i)bad.record.mac"):
            peer.rest()

    def test_new_keys_in_the_middle(self):
        """1.3 has no renegotiation, but keys change: s_client asks for that when a line begins with K."""
        with subprocess.Popen(["openssl", "s_client", "-connect", self.url[len("tls://"):], "-tls1_3", "-msg"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            self.addCleanup(process.kill)
            self.read_until(process, b"read R BLOCK")
            process.stdin.write(b"K\n")
            process.stdin.flush()
            self.read_until(process, b">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
            process.stdin.write(hello())
            process.stdin.flush()
            self.read_until(process, b"<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
            self.read_until(process, b"<<< TLS 1.3, InnerContent [length 0001]\n    17")  # the WELCOME
            process.kill()

    def read_until(self, process, text):
        said = b""
        while text not in said:
            self.assertTrue(select.select([process.stdout], [], [], raw.ANSWER_S)[0], said[-1000:])
            more = process.stdout.read1(1 if text.startswith(b"<<<") else 4096)
            self.assertTrue(more, said[-1000:])
            said += more
        return said

    def test_a_slow_reader_is_told_exactly_what_it_lost(self):
        messages, queue = 3000, 40
        for policy in "drop_old", "drop_new", "latest":
            base = f"slow/{policy}"
            reader = Reader(self.url, base + "/#", {"policy": policy, "max_msgs": queue},
                            sock=tls.Socket(tls.small_socket(self.url), tls.context(self.ca)).handshake())
            self.addCleanup(reader.close)
            publisher = Publisher(self.plain)
            self.addCleanup(publisher.close)
            for begin in range(1, messages + 1, 100):
                publisher.publish([numbered(f"{base}/{n % 10}", n, 1024) for n in range(begin, begin + 100)])
                publisher.wait()
            self.assertGreater(publisher.dropped if policy == "drop_new" else 1, 0)
            reader.read_to(messages)
            self.assertEqual(reader.received + reader.lost, messages)
            self.assertGreater(reader.lost, 0, "nothing was lost here: the test is wrong")
            self.assertEqual(reader.ask_stat()[:4], [messages, reader.received, reader.lost, 0])
            self.assert_echo(self.welcomed(), "others")

    def test_stopping_tells_clients(self):
        with brokers.Broker(config=listener("a", self.server), listens=False) as broker:
            peer = self.welcomed(broker.tls[0])
            stalled = self.plain_socket(broker.tls[0])
            broker.process.send_signal(signal.SIGTERM)
            self.assertEqual(self.assert_orderly_end(peer)[-1][:2], [BYE, SHUTTING_DOWN])
            peer.close()
            self.assertEqual(stalled.recv(1), b"")
            self.assertEqual(broker.process.wait(raw.ANSWER_S), 0)


class ClientCertificates(TlsTest):
    def assert_refused(self, pair, version, url=None):
        """In 1.3 the client hears of it only when it reads."""
        with self.subTest(version=version), self.assertRaises((ssl.SSLError, ConnectionError)):
            peer = self.peer(url or self.required, pair=pair, version=version)
            peer.send(hello())
            peer.rest()
            if peer.was_reset:
                raise ConnectionError

    def test_off(self):
        self.assert_echo(self.welcomed(self.url, pair=self.others.issue("unasked")), "off")

    def test_good_ones(self):
        good = self.clients.issue("good", alternative="URI:spiffe://x/y,DNS:client.example")
        for url in self.optional, self.required:
            for version in "TLSv1_2", "TLSv1_3":
                self.assert_echo(self.welcomed(url, pair=good, version=version), "good")
        self.assert_echo(self.welcomed(self.optional), "none")

    def test_who_it_is(self):
        """Users are found by what the certificate says, and may then what their groups may."""
        shown = self.clients.issue("robot", alternative="URI:spiffe://site/robot")
        users = ("[access]\ndefault_group = none\n[group none]\n[group robots]\npublish = robots/%u/#\nsubscribe = robots/#\n"
                 "[user r2]\ngroups = robots\ncertificate = uri:spiffe://site/robot\n")
        ask = f"client_ca = {self.clients.path}", "client_certificate = optional"
        with brokers.Broker(config=users + listener("a", self.server, *ask), listens=False) as broker:
            robot = self.welcomed(broker.tls[0], pair=shown, options={"auth": "cert"})
            self.assert_echo(robot, "robots/r2/here")
            stranger = self.peer(broker.tls[0], pair=self.clients.issue("nobody", alternative=""))
            stranger.send(hello(auth="cert"))
            self.assertEqual(stranger.next()[:2], [BYE, AUTH_FAILED])
            for peer in robot, stranger:
                peer.close()

    def test_bad_ones(self):
        stranger, of_servers, old = self.others.issue("stranger"), self.ca.issue("of-servers"), self.clients.issue("old", begins_days=-2, ends_days=-1)
        for version in "TLSv1_2", "TLSv1_3":
            before = self.said_so_far()
            self.assert_refused(None, version)
            self.said_since(before, "peer did not return a certificate")
            for url in self.optional, self.required:
                for pair, reason in ((stranger, "unable to get local issuer certificate"),
                                     (of_servers, "self-signed certificate in certificate chain"),
                                     (old, "certificate has expired")):
                    before = len(self.broker.said())
                    self.assert_refused(pair, version, url)
                    self.said_since(before, "the client's certificate is not accepted: " + reason)


class Files(TlsTest):
    def setUp(self):
        self.file = os.path.join(self.directory, "pubsubd.conf")

    def write(self, pair, *more):
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(listener("a", pair, *more))

    def refusal(self, *arguments):
        done = subprocess.run([brokers.PUBSUBD, "-c", self.file, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout), (2 if arguments else 1, ""))
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, lines)
        return lines[0]

    def assert_refused(self, sentence):
        for arguments in (), ("--check-config",):
            self.assertEqual(self.refusal(*arguments), f"pubsubd: [listener a]: {sentence}")

    def test_wrong_files(self):
        good = self.ca.issue("files")
        other = types.SimpleNamespace(**self.ca.issue("other")._asdict())
        self.write(good)
        os.chmod(good.key, 0o644)
        self.assert_refused(f"key '{good.key}' is not private: its mode is 0644, and 0640 is the most that it may be; "
                            f"chmod 600 '{good.key}'")
        os.chmod(good.key, 0o640)
        other.path = good.path
        self.write(other)
        self.assert_refused(f"key '{other.key}' does not belong to the certificate '{good.path}': key values mismatch")
        other.key = good.path
        os.chmod(other.key, 0o600)
        self.write(other)
        self.assert_refused(f"key '{other.key}' holds no private key in PEM form")
        other.key = os.path.join(self.directory, "none")
        self.write(other)
        self.assert_refused(f"key '{other.key}' cannot be opened: No such file or directory")
        openssl("ec", "-in", good.key, "-aes128", "-passout", "pass:secret", "-out", other.key)
        os.chmod(other.key, 0o600)
        self.assert_refused(f"key '{other.key}' is encrypted with a passphrase, which a broker can't be asked for")
        other.path = os.path.join(self.directory, "missing")
        self.write(other)
        self.assert_refused(f"certificate '{other.path}' cannot be opened: No such file or directory")
        other.path = good.key
        self.write(other)
        self.assert_refused(f"certificate '{good.key}' cannot be used: no start line")
        self.write(good, f"client_ca = {good.key}", "client_certificate = optional")
        self.assert_refused(f"client_ca '{good.key}' cannot be used: no start line")

    def test_a_key_that_cannot_be_read(self):
        if os.geteuid() == 0:
            self.skipTest("root can read everything")
        pair = self.ca.issue("unreadable")
        self.write(pair)
        os.chmod(pair.key, 0)
        self.assert_refused(f"key '{pair.key}' cannot be opened: Permission denied")

    def test_listen_needs_the_configuration(self):
        self.write(self.server)
        self.assertEqual(self.refusal("--listen", "tls://127.0.0.1:0"),
                         "pubsubd: --listen can't serve 'tls://127.0.0.1:0': TLS needs a certificate, which a [listener NAME] "
                         "of the configuration has")

    def test_an_expired_certificate_is_said(self):
        old = self.ca.issue("expired", begins_days=-2, ends_days=-1)
        with brokers.Broker(config=listener("a", old), listens=False) as broker:
            self.assertRegex(broker.said(), rf"warning: \[listener a\]: certificate '{old.path}' expired on .* GMT: "
                             "clients will refuse it")
            with self.assertRaisesRegex(ssl.SSLError, "expired"):
                self.peer(broker.tls[0])
            with raw.Peer(sock=tls.connect(broker.tls[0], tls.context())) as peer:
                peer.send(hello())
                self.assertEqual(peer.next()[0], WELCOME)


class Reloading(TlsTest):
    LIMITS = "[limits]\nhandshake_timeout = 1m\n"

    @classmethod
    def server_pair(cls):
        return Made.ca.issue("changing")  # and signed again by the tests

    def reload(self):
        before = len(self.broker.said())
        self.broker.process.send_signal(signal.SIGHUP)
        self.said_since(before, "loaded again")
        return self.broker.said()[before:]

    def certificate(self, url):
        peer = self.welcomed(url)
        return peer.sock.tls.getpeercert(binary_form=True), peer

    def test_new_certificates_for_new_connections(self):
        before, old_peer = self.certificate(self.url)
        self.subscribe(old_peer, "reload")
        half = self.plain_socket()  # has its handshake before it, and is accepted
        again = self.ca.issue("changing")
        self.assertEqual(again.path, self.server.path)
        self.assertIn("from now on holds: certificates\n", self.reload())
        after, new_peer = self.certificate(self.url)
        self.assertNotEqual(before, after)
        new_peer.tell(MSG, "reload", None, b"still there")
        self.assertEqual(old_peer.answer(MSG)[3], b"still there")
        self.peer(sock=half)

        self.assertEqual(self.reload_broken(self.server.key, "not PEM"), after)
        self.ca.issue("changing")
        os.chmod(self.server.key, 0o644)
        self.assertIn("is not private", self.reload())
        self.assertEqual(self.certificate(self.url)[0], after)
        os.chmod(self.server.key, 0o600)
        self.reload()
        self.assertNotEqual(self.certificate(self.url)[0], after)
        old_peer.ping()

    def reload_broken(self, path, text):
        """Returns the certificate that is used afterwards."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.assertIn("the configuration was not loaded again, what was loaded before holds: [listener ", self.reload())
        return self.certificate(self.url)[0]

    def test_who_is_asked_for_a_certificate_changes(self):
        path = os.path.join(self.broker.dir, "pubsubd.conf")
        peer = self.welcomed(self.optional)
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.config.replace("= optional", "= required"))
        self.reload()
        peer.ping()
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            peer = self.peer(self.optional, version="TLSv1_2")
            peer.send(hello())
            peer.rest()
        self.welcomed(self.optional, pair=self.clients.issue("shown"))
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.config)
        self.reload()
        self.welcomed(self.optional)


if __name__ == "__main__":
    unittest.main(verbosity=2)
