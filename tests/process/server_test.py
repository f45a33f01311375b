"""The broker's command line, its listeners, and how connections and the broker itself begin and end."""
import os
import pathlib
import pwd
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import brokers
import raw
from raw import BYE, CREDIT, GAP, INFO, MSG, PUB, PUBACK, ROUTED, STORED, SUB, SUBACK, frame, hello, welcomed

END_S = 60
TAKEN_OVER, KEEPALIVE, SHUTTING_DOWN = 109, 110, 113


class ServerTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)
        self.socket = self.dir / "s"

    def spawn(self, *arguments, environment=(), **how):
        """A pubsubd with exactly these arguments, ended with the test."""
        env = {**os.environ, "XDG_RUNTIME_DIR": str(self.dir), "XDG_STATE_HOME": str(self.dir), **dict(environment)}
        env = {key: value for key, value in env.items() if value is not None}
        process = subprocess.Popen([brokers.PUBSUBD, *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   stdout=subprocess.PIPE, env=env, text=True, **how)
        self.addCleanup(self.end, process)
        return process

    def welcomed(self, url, **options):
        peer = welcomed(url, **options)
        self.addCleanup(peer.close)
        return peer

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.communicate()

    def ready(self, process):
        """The line on stderr that says that it is ready, as its URLs."""
        for line in process.stderr:
            if line.startswith("ready "):
                return line.rstrip("\n").split(" ")[1:]
        self.fail("it ended before it was ready")

    def assert_refuses(self, process, code, *texts):
        out, error = process.communicate(timeout=END_S)
        self.assertEqual((process.returncode, out), (code, ""), error)
        self.assertEqual(len(error.splitlines()), 1, error)
        for text in texts:
            self.assertIn(str(text), error)

    def assert_ended_well(self, process):
        """With 0; or with 1 if its disk took no commit for as long as it waits, and it says so. Returns what it said."""
        _, said = process.communicate(timeout=END_S)
        self.assertIn((process.returncode, brokers.DISK_IS_LATE in said), ((0, False), (1, True)), said)
        return said

    def assert_stops(self, process, number=signal.SIGTERM):
        """Whoever is connected; closing connections have five seconds."""
        process.send_signal(number)
        process.communicate(timeout=END_S)
        self.assertEqual(process.returncode, 0)


class CommandLine(ServerTest):
    def test_version_and_help(self):
        out, error = self.spawn("--version").communicate(timeout=END_S)
        self.assertRegex(out, r"^pubsubd \d+\.\d+\.\d+\n$")
        self.assertEqual(error, "")
        process = self.spawn("--help")
        out, error = process.communicate(timeout=END_S)
        self.assertEqual((process.returncode, error), (0, ""))
        for option in "--listen", "--ready-fd", "--version":
            self.assertIn(option, out)

    def test_wrong_arguments(self):
        self.assert_refuses(self.spawn("--nonsense"), 2, "--nonsense")
        self.assert_refuses(self.spawn("--lisen=tcp://x:1"), 2, "'--lisen=tcp://x:1'", "did you mean '--listen'?")
        self.assert_refuses(self.spawn("argument"), 2, "argument")
        self.assert_refuses(self.spawn("--listen"), 2, "--listen")
        self.assert_refuses(self.spawn("--ready-fd", "x"), 2, "x")
        self.assert_refuses(self.spawn("--ready-fd", "77"), 2, "77")
        for url in "http://x:1", "tcp://127.0.0.1", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:x", "unix:", "fd:x", "":
            with self.subTest(url=url):
                self.assert_refuses(self.spawn("--listen", url), 2, url)
        self.assert_refuses(self.spawn("--listen", "unix:/" + "x" * 200), 2, "unix:/x")

    def test_ready_line(self):
        process = self.spawn("--listen", f"unix:{self.socket}", "--listen", "tcp://127.0.0.1:0")
        unix, tcp = self.ready(process)
        self.assertEqual(unix, f"unix:{self.socket}")
        self.assertRegex(tcp, r"^tcp://127\.0\.0\.1:[1-9]\d*$")
        for url in unix, tcp:
            welcomed(url).close()
        self.assert_stops(process)
        self.assertFalse(self.socket.exists(), "the socket's file is left")

    def test_ready_descriptor(self):
        ours, its = os.pipe()
        process = self.spawn("--listen", "tcp://127.0.0.1:0", "--ready-fd", str(its), pass_fds=(its,))
        os.close(its)
        with open(ours) as pipe:  # it ends: the descriptor was closed after the line
            self.assertEqual(pipe.read().rstrip("\n").split(" "), ["ready", *self.ready(process)])

    def assert_default_addresses(self, path, environment, **how):
        process = self.spawn(environment=environment, **how)
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("ready "):
                self.assertEqual(line, f"ready unix:{path} tcp://127.0.0.1:7717\n")
                self.assertTrue(path.is_socket())
                self.assert_stops(process)
                return
        # Somebody else on this machine has the port: then that is what it must say.
        self.assertEqual((process.wait(END_S), len(said)), (1, 1), said)
        self.assertIn("127.0.0.1:7717", said[0])

    def test_addresses_without_arguments(self):
        self.assert_default_addresses(self.dir / "pubsub.sock", {})

    def test_addresses_of_a_user_without_a_runtime_directory(self):
        user, directory, how = os.getuid(), self.dir, {}
        if user == 0:  # root's place is elsewhere: be somebody else, in a directory that everybody can reach
            user = pwd.getpwnam("nobody").pw_uid
            public = tempfile.TemporaryDirectory(prefix="pubsub-test-", dir="/tmp")
            self.addCleanup(public.cleanup)
            directory, how = pathlib.Path(public.name), {"user": user}
            os.chown(directory, user, -1)
        environment = {"XDG_RUNTIME_DIR": None, "TMPDIR": str(directory)}
        private = directory / f"pubsub-{user}"
        try:
            self.assert_default_addresses(private / "pubsub.sock", environment, **how)
        except PermissionError:
            self.skipTest("only root may run what was built here")
        self.assertEqual(private.stat().st_mode & 0o777, 0o700)

        private.chmod(0o777)
        self.assert_refuses(self.spawn(environment=environment, **how), 1, private)

    def test_address_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            self.assert_refuses(self.spawn("--listen", f"tcp://127.0.0.1:{port}"), 1, port, "in use")

    def test_a_descriptor_that_is_not_open(self):
        self.assert_refuses(self.spawn("--listen", "fd:77"), 1, "fd:77")

    def test_a_directory_that_is_not_there(self):
        self.assert_refuses(self.spawn("--listen", f"unix:{self.dir}/no/s"), 1, f"{self.dir}/no/s")


class UnixSocketPaths(ServerTest):
    # Hostile 52.
    def test_a_file_is_refused(self):
        self.socket.write_text("precious")
        self.assert_refuses(self.spawn("--listen", f"unix:{self.socket}"), 1, self.socket)
        self.assertEqual(self.socket.read_text(), "precious")

    # Hostile 52.
    def test_a_symlink_is_refused(self):
        target = self.dir / "target"
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(target))
        stale.close()
        self.socket.symlink_to(target)
        self.assert_refuses(self.spawn("--listen", f"unix:{self.socket}"), 1, self.socket)
        self.assertTrue(self.socket.is_symlink() and target.exists())

    # Hostile 52.
    def test_a_live_socket_is_refused(self):
        with socket.socket(socket.AF_UNIX) as live:
            live.bind(str(self.socket))
            live.listen()
            self.assert_refuses(self.spawn("--listen", f"unix:{self.socket}"), 1, self.socket)
            self.assertTrue(self.socket.is_socket())

    # Hostile 52.
    def test_a_stale_socket_is_replaced(self):
        with brokers.Broker() as first:
            first.kill()
            self.assertTrue(os.path.exists(first.unix[len("unix:"):]))
            first.start()
            welcomed(first.unix).close()


class Handed(ServerTest):
    """Descriptors that somebody else opened."""

    def test_a_connected_descriptor(self):
        ours, its = socket.socketpair()
        process = self.spawn("--listen", f"fd:{its.fileno()}", pass_fds=(its.fileno(),))
        urls = self.ready(process)
        self.assertEqual(urls, [f"fd:{its.fileno()}"])
        its.close()
        peer = raw.Peer(sock=ours)
        peer.send(hello(id="inherited") + frame(SUB, 1, "a", {}) + frame(MSG, "a", None, b"x"))
        self.assertEqual(peer.answer(MSG), [MSG, "a", None, b"x"])
        peer.goodbye()
        self.assertEqual(process.wait(END_S), 0)

    def test_a_connected_descriptor_beside_a_listener(self):
        ours, its = socket.socketpair()
        process = self.spawn("--listen", f"fd:{its.fileno()}", "--listen", f"unix:{self.socket}", pass_fds=(its.fileno(),))
        urls = self.ready(process)
        its.close()
        peer, other = raw.Peer(sock=ours), self.welcomed(urls[1])
        peer.send(hello())
        peer.answer(raw.WELCOME)
        peer.goodbye()
        self.assertEqual(other.ping(), [])
        self.assertIsNone(process.poll())
        other.close()
        self.assert_stops(process)

    def test_a_listening_descriptor_given_twice(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            fd = listener.fileno()
            process = self.spawn("--listen", f"fd:{fd}", "--listen", f"fd:{fd}", pass_fds=(fd,))
            self.assert_refuses(process, 1, f"fd:{fd}")

    def test_sockets_from_systemd(self):
        """As systemd does it: LISTEN_FDS from descriptor 3 on, LISTEN_PID the process itself."""
        listener = socket.create_server(("127.0.0.1", 0))
        path = str(self.socket)
        second = socket.socket(socket.AF_UNIX)
        second.bind(path)
        second.listen()
        hand_over = ("import os, sys; first, second = int(sys.argv[1]), int(sys.argv[2]);"
                     "first, second = os.dup2(first, 30), os.dup2(second, 31); os.dup2(first, 3); os.dup2(second, 4);"
                     "os.close(30); os.close(31); os.environ.update(LISTEN_FDS='2', LISTEN_PID=str(os.getpid()));"
                     "os.execv(sys.argv[3], sys.argv[3:])")
        process = subprocess.Popen([sys.executable, "-c", hand_over, str(listener.fileno()), str(second.fileno()), brokers.PUBSUBD],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                   pass_fds=(listener.fileno(), second.fileno()))
        self.addCleanup(self.end, process)
        port = listener.getsockname()[1]
        self.assertEqual(self.ready(process), [f"tcp://127.0.0.1:{port}", f"unix:{path}"])
        listener.close()
        second.close()
        for url in f"tcp://127.0.0.1:{port}", f"unix:{path}":
            welcomed(url).goodbye()
        self.assert_stops(process)
        self.assertTrue(self.socket.exists(), "the socket's file belongs to systemd")


class Stopping(ServerTest):
    def test_clients_are_told(self):
        config = self.dir / "conf"
        config.write_text("[limits]\nclosing_timeout = 1m\n")
        for number in signal.SIGTERM, signal.SIGINT:
            with self.subTest(signal=number):
                process = self.spawn("--config", str(config), "--listen", "tcp://127.0.0.1:0")
                url, = self.ready(process)
                peers = [self.welcomed(url) for _ in range(20)]
                silent = raw.Peer(url)
                reader, = peers[:1]
                reader.tell(SUB, 1, "last/words", {"retained": 2})
                reader.ping()
                for n in range(1000):
                    peers[1].tell(MSG, "last/words", None, b"%d" % n)
                peers[1].ping()
                process.send_signal(number)
                for peer in peers:
                    frames = peer.rest()
                    messages = [f for f in frames if f[0] == MSG]
                    self.assertEqual([f[3] for f in messages], [b"%d" % n for n in range(1000)] if peer is reader else [])
                    others = [f for f in frames if f[0] in (INFO, BYE)]
                    self.assertEqual([f[:2] for f in others], [[INFO, {"lame_duck": True}], [BYE, SHUTTING_DOWN]])
                    peer.close()
                silent.close()
                process.communicate(timeout=END_S)
                self.assertEqual(process.returncode, 0)
                with self.assertRaises(ConnectionError):
                    raw.open_socket(url)

    def test_a_second_signal_ends_it_at_once(self):
        """As well as the first one would have: what was acknowledged is there, its socket is not, and it exits with 0."""
        config = self.dir / "conf"
        config.write_text(f"[limits]\nclosing_timeout = 1h\n[listener s]\nurl = unix:{self.socket}\n"
                          "[stream kept]\ntopics = kept/#\n")
        arguments = "--config", str(config), "--data", str(self.dir / "data")
        for number in signal.SIGTERM, signal.SIGINT:
            with self.subTest(signal=number):
                process = self.spawn(*arguments)
                url, = self.ready(process)
                stays, publisher = self.welcomed(url), self.welcomed(url)
                publisher.tell(PUB, 1, STORED)
                publisher.tell(MSG, f"kept/{number}", None, b"x")
                self.assertEqual(publisher.answer(PUBACK)[1], 1)
                process.send_signal(number)
                self.assertEqual(stays.until(BYE)[-1][1], SHUTTING_DOWN)
                self.assertFalse(self.socket.exists())
                self.assertIsNone(process.poll())  # the two may take an hour to close
                for _ in range(20):
                    process.send_signal(number)
                said = self.assert_ended_well(process)
                self.assertEqual(said.count("told to stop a second time: connections are closed at once"), 1, said)
        process = self.spawn(*arguments)
        url, = self.ready(process)
        reader = self.welcomed(url)
        reader.tell(SUB, 1, "kept/#", {"from": "all", "retained": 2})
        reader.tell(CREDIT, 1, 10)
        self.assertEqual([reader.answer(MSG)[1] for _ in range(2)], ["kept/15", "kept/2"])

    def test_signals_while_it_ends_do_not_change_how(self):
        for _ in range(5):
            process = self.spawn("--listen", f"unix:{self.socket}", "--durable", "kept/#")
            self.ready(process)
            process.send_signal(signal.SIGTERM)
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
                time.sleep(0.0005)
            self.assert_ended_well(process)
            self.assertFalse(self.socket.exists())

    @unittest.skipIf(os.environ.get("PUBSUB_SANITIZED") == "1", "a sanitizer's library has to be loaded before all others")
    def test_a_signal_at_its_very_end_does_not_change_how(self):
        """Also of the one that lets the configuration be loaded again, and also if it ends by itself."""
        library = {"LD_PRELOAD": os.environ["PUBSUB_LATE_SIGNAL"]}
        process = self.spawn("--listen", f"unix:{self.socket}", environment=library)
        self.ready(process)
        self.assert_stops(process)
        ours, its = socket.socketpair()
        process = self.spawn("--listen", f"fd:{its.fileno()}", pass_fds=(its.fileno(),), environment=library)
        self.ready(process)
        its.close()
        ours.close()
        _, said = process.communicate(timeout=END_S)
        self.assertEqual(process.returncode, 0, said)

    @unittest.skipIf(os.environ.get("PUBSUB_SANITIZED") == "1", "a sanitizer's library has to be loaded before all others")
    def test_the_first_signal_is_none_too_many(self):
        """The broker has begun to end by itself before, and waits for its disk."""
        stuck = self.dir / "stuck"
        library = {"LD_PRELOAD": os.environ["PUBSUB_STUCK_DISK"], "STUCK_DISK": str(stuck)}
        ours, its = socket.socketpair()
        process = self.spawn("--listen", f"fd:{its.fileno()}", "--durable", "kept/#", pass_fds=(its.fileno(),), environment=library)
        self.ready(process)
        its.close()
        peer = raw.Peer(sock=ours)
        peer.send(hello())
        peer.answer(raw.WELCOME)
        stuck.touch()
        peer.tell(PUB, 1, STORED)
        peer.tell(MSG, "kept/x", None, b"x")
        peer.ping()
        peer.close()
        time.sleep(0.3)  # it can't be seen that it ends; if it is slow the signal is all the more the first
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        stuck.unlink()
        # If the machine stood still meanwhile, the disk was stuck for longer than a broker waits for it.
        self.assertNotIn("second time", self.assert_ended_well(process))

    def test_a_client_that_does_not_read_holds_nobody_up(self):
        process = self.spawn("--listen", "tcp://127.0.0.1:0")
        url, = self.ready(process)
        stalled, publisher = self.welcomed(url), self.welcomed(url)
        stalled.tell(SUB, 1, "much", {"retained": 2})
        stalled.ping()
        for _ in range(40):
            publisher.tell(MSG, "much", None, bytes(1 << 20))
        publisher.ping()
        self.assert_stops(process)


class Connections(ServerTest):
    @classmethod
    def setUpClass(cls):
        cls.broker = brokers.Broker(config="[limits]\nclosing_timeout = 1m\n")
        cls.addClassCleanup(cls.broker.stop)

    def subscriber(self, pattern, options=(), **hello_options):
        peer = self.welcomed(self.broker.unix, **hello_options)
        peer.tell(SUB, 1, pattern, {"retained": 2, **dict(options)})
        self.assertEqual(peer.answer(SUBACK)[2], 0)
        return peer

    def test_what_is_queued_reaches_a_client_that_ended_its_side(self):
        payload = bytes(1000)
        peer = self.subscriber("half/closed")
        peer.tell(PUB, 1, ROUTED)
        peer.send(frame(MSG, "half/closed", None, payload) * 5000)
        peer.finish()
        frames = peer.rest()
        self.assertFalse(peer.was_reset)
        self.assertEqual(len([f for f in frames if f[0] == MSG]), 5000)
        self.assertEqual([f for f in frames if f[0] == PUBACK][-1][1:3], [5000, 0])

    def test_half_goes_on_delivering(self):
        peer = self.subscriber("half/open", half=True)
        other = self.welcomed(self.broker.unix)
        other.tell(MSG, "half/open", None, b"before")
        peer.finish()
        self.assertEqual(peer.answer(MSG)[3], b"before")
        other.tell(MSG, "half/open", None, b"after")
        self.assertEqual(peer.answer(MSG)[3], b"after")
        peer.close()
        other.goodbye()

    def test_a_second_connection_takes_the_id_over(self):
        first = self.subscriber("taken", id="twin")
        second = self.subscriber("taken", id="twin")
        frames = first.rest()
        self.assertEqual(frames[-1][:2], [BYE, TAKEN_OVER])
        second.tell(MSG, "taken", None, b"x")
        self.assertEqual(second.answer(MSG)[3], b"x")
        second.goodbye()

    def test_silence_beyond_the_keepalive(self):
        began = time.monotonic()  # before the broker's clock for it begins
        peer = self.welcomed(self.broker.unix, ka=1)
        self.assertEqual(peer.rest()[-1][:2], [BYE, KEEPALIVE])
        self.assertGreater(time.monotonic() - began, 1.4)
        peer.close()

    def test_pings_keep_it_alive(self):
        peer = self.welcomed(self.broker.unix, ka=6)  # so long that a pause of this process is not taken for silence
        until = time.monotonic() + 11  # longer than 1.5 times the keepalive
        while time.monotonic() < until:
            self.assertEqual(peer.ping(), [])
            select.select([peer.sock], [], [], 0.5)  # nothing is expected
        peer.goodbye()

    def test_a_slow_reader_is_told_exactly_what_it_lost(self):
        count = 5000
        peer = self.subscriber("slow", {"max_msgs": 100})
        other = self.welcomed(self.broker.unix)
        other.send(frame(MSG, "slow", None, bytes(1000)) * count)
        other.goodbye()
        peer.tell(raw.STAT, 1)
        frames = peer.until(raw.STAT)
        _, _, matched, sent, lost, queued, _ = frames[-1]
        self.assertEqual((matched, sent + lost + queued), (count, count))
        frames += peer.goodbye()
        received = len([f for f in frames if f[0] == MSG])
        gaps = sum(f[2] for f in frames if f[0] == GAP)
        self.assertEqual(received + gaps, count)
        self.assertGreater(gaps, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
