"""Where the broker keeps its streams: the data directory, who may have it, what in it is refused, and what is salvaged."""
import contextlib
import os
import pathlib
import pwd
import signal
import sqlite3
import stat
import subprocess
import tempfile
import unittest

import brokers
import msgpack
from raw import MARK, MSG, PUB, PUBACK, ROUTED, STORED, SUB, eventually, frame, welcomed

END_S = 60
FIRST_STREAM = 64
CAUGHT_UP = 2
NOT_AUTHORISED = 211
STORE = "streams.db"


class StoreTest(unittest.TestCase):
    def setUp(self):
        self.dir = self.directory()
        self.data = self.dir / "data"

    def directory(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-", dir="/tmp")  # others must be able to reach it
        self.addCleanup(directory.cleanup)
        return pathlib.Path(directory.name)

    def broker(self, *arguments, **how):
        """One that is ready, with these arguments."""
        broker = brokers.Broker(arguments=list(map(str, arguments)), **how)
        self.addCleanup(broker.stop)
        return broker

    def durable(self, *arguments, **how):
        """One that keeps everything in self.data."""
        return self.broker("--durable", "#", "--data", self.data, *arguments, **how)

    def start(self, *arguments, environment=(), **how):
        """A pubsubd that is expected to end by itself."""
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.dir), **dict(environment)}
        environment = {key: value for key, value in environment.items() if value is not None}
        return subprocess.run([brokers.PUBSUBD, "--listen", f"unix:{self.dir}/refused", *map(str, arguments)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=END_S, env=environment, **how)

    def assert_refuses(self, texts, *arguments, **how):
        """It ends with one line that says all of these texts, before it serves anything."""
        done = self.start(*arguments, **how)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertRegex(done.stderr, r"\Apubsubd: [^\n]+\n\Z")
        for text in texts:
            self.assertIn(str(text), done.stderr)
        self.assertFalse((self.dir / "refused").exists())

    def peer(self, broker):
        peer = welcomed(broker.unix)
        self.addCleanup(peer.close)
        return peer

    def publish(self, broker, topic, payloads, level=STORED):
        """Publishes, waits for the last answer and returns its stream and position."""
        peer = self.peer(broker)
        peer.tell(PUB, 1, level)
        peer.send(b"".join(frame(MSG, topic, None, payload) for payload in payloads))
        while (answer := peer.answer(PUBACK))[1] < len(payloads):
            self.assertEqual(answer[2], 0, answer)
        peer.goodbye()
        return answer[5:7]

    def kept(self, broker, pattern="#"):
        """What the streams hold for a pattern, as (topic, payload)."""
        peer = self.peer(broker)
        peer.tell(SUB, 1, pattern, {"from": "all", "retained": 2})
        frames = peer.until(MARK)
        while frames[-1][:3] != [MARK, 1, CAUGHT_UP]:
            frames += peer.until(MARK)
        peer.goodbye()
        return [(f[1], f[3]) for f in frames if f[0] == MSG]


class DataDirectory(StoreTest):
    def assert_private(self, directory):
        self.assertEqual(stat.S_IMODE(directory.stat().st_mode), 0o700, directory)
        self.assertTrue((directory / STORE).exists())

    def test_it_is_made_with_those_above_it(self):
        data = self.dir / "a" / "b"
        self.broker("--durable", "#", "--data", data)
        self.assert_private(data)

    def test_it_is_the_configurations(self):
        self.broker(config=f"[broker]\ndata = {self.data}\n[stream all]\ntopics = #\n")
        self.assert_private(self.data)

    def test_the_command_line_goes_before_the_configuration(self):
        self.broker("--data", self.data, config=f"[broker]\ndata = {self.dir}/other\n[stream all]\ntopics = #\n")
        self.assert_private(self.data)
        self.assertFalse((self.dir / "other").exists())

    def test_it_is_the_users_state_by_default(self):
        broker = self.broker("--durable", "#")  # with $XDG_STATE_HOME set
        self.assert_private(pathlib.Path(broker.dir) / "pubsub")

    def test_it_is_in_the_home_of_a_user_without_a_state_directory(self):
        user, how = os.getuid(), {}
        if user == 0:  # root's place is elsewhere
            user = pwd.getpwnam("nobody").pw_uid
            how = {"user": user}
            os.chown(self.dir, user, -1)
        home = self.dir / "home"
        self.file = self.dir / "file"
        self.file.write_text("in the way")
        home.mkdir()
        os.chown(home, user, -1)
        (home / ".local").symlink_to(self.file)
        try:
            self.assert_refuses([home / ".local/state"], "--durable", "#",
                                environment={"XDG_STATE_HOME": None, "HOME": str(home)}, **how)
        except PermissionError:
            self.skipTest("only root may run what was built here")

    def test_nothing_is_made_without_a_stream(self):
        broker = self.broker("--data", self.data)
        self.assertFalse(self.data.exists())
        self.assertFalse((pathlib.Path(broker.dir) / "pubsub").exists())

    # Hostile 56.
    def test_it_has_one_broker(self):
        first = self.durable()
        self.assert_refuses([self.data, "another broker"], "--durable", "x", "--data", self.data)
        self.assert_refuses([self.data, "another broker"], "--durable", "x", "--data", self.data, "--salvage")
        self.assertEqual(self.publish(first, "a", [b"1"]), [FIRST_STREAM, 1])
        first.kill()
        second = self.durable()
        self.assertEqual(self.kept(second), [("a", b"1")])

    def test_a_file_in_its_place(self):
        self.data.write_text("precious")
        self.assert_refuses([self.data], "--durable", "#", "--data", self.data)
        self.assertEqual(self.data.read_text(), "precious")

    # Hostile 56.
    def test_it_can_not_be_written(self):
        user, how = os.getuid(), {}
        self.durable().stop()
        if user == 0:  # whom nothing stops
            user = pwd.getpwnam("nobody").pw_uid
            how = {"user": user}
            os.chown(self.dir, user, -1)
            for path in self.data, *self.data.iterdir():
                os.chown(path, user, -1)
        try:
            self.data.chmod(0o500)
            self.assert_refuses([self.data], "--durable", "#", "--data", self.data, **how)
        except PermissionError:
            self.skipTest("only root may run what was built here")
        finally:
            self.data.chmod(0o700)


class Durable(StoreTest):
    def test_streams_without_a_file(self):
        broker = self.broker("--durable", "orders/#, invoices/+", "--durable", "#")
        self.assertEqual(self.publish(broker, "invoices/1", [b"1", b"2"]), [FIRST_STREAM, 2])
        self.assertEqual(self.publish(broker, "orders", [b"3"]), [FIRST_STREAM, 3])
        self.assertEqual(self.publish(broker, "other", [b"4"]), [FIRST_STREAM + 1, 1])
        broker.kill()
        broker.start()
        kept = self.kept(broker, "+/#")  # each stream in its order; none comes before another one
        kept.remove(("other", b"4"))
        self.assertEqual(kept, [("invoices/1", b"1"), ("invoices/1", b"2"), ("orders", b"3")])

    def test_what_was_taken_is_stored_before_it_ends(self):
        """Also what nobody asked to be stored: SIGTERM loses nothing, unless it says that the disk was late."""
        first = self.durable()
        peer = self.peer(first)
        count = 3000
        peer.send(b"".join(frame(MSG, "a", None, b"%d" % n) for n in range(count)))
        peer.ping()
        peer.close()
        is_all = first.end()
        kept = self.kept(self.durable())
        self.assertEqual(kept, [("a", b"%d" % n) for n in range(count if is_all else len(kept))])

    def test_it_ends_while_sessions_are_kept(self):
        broker = self.durable()
        peer = welcomed(broker.unix, id="away", sess=1000)
        peer.close()
        broker.end()

    @unittest.skipIf(os.environ.get("PUBSUB_SANITIZED") == "1", "a sanitizer's library has to be loaded before all others")
    # Hostile 53.
    def test_a_disk_that_takes_nothing_more(self):
        """Nothing is acknowledged that isn't stored, what needs no disk goes on, and it ends in spite of it, and says so."""
        stuck = self.dir / "stuck"
        broker = self.broker("--durable", "a/#", "--data", self.data,
                             environment={"LD_PRELOAD": os.environ["PUBSUB_STUCK_DISK"], "STUCK_DISK": str(stuck)})
        self.assertEqual(self.publish(broker, "a", [b"1"]), [FIRST_STREAM, 1])
        stuck.touch()
        peer = self.peer(broker)
        peer.tell(SUB, 1, "b", {"retained": 2})
        peer.tell(PUB, 1, STORED)
        peer.tell(MSG, "a", None, b"2")
        peer.tell(PUB, 0, 0)
        peer.tell(MSG, "b", None, b"3")
        frames = peer.until(MSG) + peer.ping()
        self.assertEqual([f for f in frames if f[0] in (MSG, PUBACK)], [[MSG, "b", None, b"3"]])
        peer.close()
        broker.process.send_signal(signal.SIGTERM)
        self.assertEqual(broker.process.wait(END_S), 1)
        self.assertRegex(broker.said(), r"(?m)^pubsubd: error: the disk does not take the last messages in time")
        stuck.unlink()
        broker.kill()
        broker.start()
        self.assertIn(self.kept(broker), ([("a", b"1")], [("a", b"1"), ("a", b"2")]))

    def test_a_stream_that_is_full_refuses(self):
        broker = self.broker("--data", self.data, config="[stream few]\ntopics = #\nmax_messages = 2\non_full = refuse\n")
        self.assertEqual(self.publish(broker, "a", [b"1", b"2"]), [FIRST_STREAM, 2])
        peer = self.peer(broker)
        peer.tell(PUB, 1, STORED)
        peer.tell(MSG, "a", None, b"3")
        self.assertEqual(peer.answer(PUBACK)[1:3], [1, 225])
        self.assertEqual(self.kept(broker), [("a", b"1"), ("a", b"2")])

    def test_a_stream_that_is_full_drops_the_oldest(self):
        broker = self.broker("--data", self.data, config="[stream few]\ntopics = #\nmax_messages = 100\n")
        for n in range(20):
            self.publish(broker, "a", [b"%d" % m for m in range(20 * n, 20 * n + 20)])
        self.assertTrue(eventually(lambda: len(self.kept(broker)) <= 120), "it keeps more than it may")
        kept = self.kept(broker)
        self.assertEqual(kept, [("a", b"%d" % m) for m in range(400 - len(kept), 400)])
        self.assertGreaterEqual(len(kept), 80)


class Operator(StoreTest):
    """Who may remove what a stream keeps."""

    def setUp(self):
        super().setUp()
        self.served = self.durable()
        for payload in b"1", b"2", b"3":  # a commit each, and only whole ones are removed
            self.publish(self.served, "a", [payload])

    def ask(self, peer, **request):
        """Returns the code of the request's acknowledgement."""
        self.addCleanup(peer.close)
        peer.tell(PUB, 1, ROUTED)
        peer.tell(MSG, "$SYS/request/stream/remove", {1: peer.welcome["inbox"] + "/1"}, msgpack.packb(request))
        return peer.answer(PUBACK)[2]

    def assert_may_not(self, peer):
        self.assertEqual(self.ask(peer, stream="durable"), NOT_AUTHORISED)
        self.assertEqual(len(self.kept(self.served)), 3)

    def test_the_brokers_own_user_may(self):
        peer = welcomed(self.served.unix)
        self.assertEqual(self.ask(peer, stream="durable", below=3), 0)
        self.assertEqual(msgpack.unpackb(peer.answer(MSG)[3]), {"removed": 2})
        self.assertEqual(self.kept(self.served), [("a", b"3")])

    def test_nobody_may_over_tcp(self):
        self.assert_may_not(welcomed(self.served.tcp))

    @unittest.skipIf(os.getuid() != 0, "only root can be somebody else")
    def test_another_user_may_not(self):
        os.chmod(self.served.dir, 0o755)
        os.chmod(self.served.unix[len("unix:"):], 0o777)
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
        try:
            peer = welcomed(self.served.unix)
        finally:
            os.seteuid(0)
        self.assert_may_not(peer)


class Files(StoreTest):
    """What is found in the data directory instead of the broker's own store."""

    def setUp(self):
        super().setUp()
        self.data.mkdir(0o700)
        self.file = self.data / STORE

    def assert_left_alone(self, *texts):
        before = self.file.read_bytes()
        self.assert_refuses([self.file, *texts], "--durable", "#", "--data", self.data)
        self.assertEqual(self.file.read_bytes(), before)

    def execute(self, *statements):
        """Returns what the last one gives."""
        with contextlib.closing(sqlite3.connect(self.file, isolation_level=None)) as database:
            return [database.execute(statement).fetchall() for statement in statements][-1]

    def test_some_other_file(self):
        self.file.write_text("this is not a database\n" * 1000)
        self.assert_left_alone()

    def test_another_programs_database(self):
        self.execute("CREATE TABLE addresses (name TEXT)", "INSERT INTO addresses VALUES ('me')")
        self.assert_left_alone()

    def test_it_is_kept_aside_when_the_operator_says_so(self):
        self.file.write_text("this is not a database\n" * 1000)
        before = self.file.read_bytes()
        broker = self.durable("--salvage")
        self.assertEqual((self.data / f"{STORE}.damaged-1").read_bytes(), before)
        self.assertEqual(self.publish(broker, "a", [b"1"]), [FIRST_STREAM, 1])

    def test_a_directory(self):
        self.file.mkdir()
        self.assert_refuses([self.file], "--durable", "#", "--data", self.data)

    def test_a_lock_that_is_not_the_brokers(self):
        (self.data / "lock").mkdir()
        self.assert_refuses([f"can't write {self.data / 'lock'}: "], "--durable", "#", "--data", self.data)

    def test_a_format_of_the_future(self):
        self.durable().stop()
        (version,), = self.execute("PRAGMA user_version")
        self.execute(f"PRAGMA user_version = {version + 1}")
        self.assert_left_alone(f"format is {version + 1}")


class Salvage(StoreTest):
    def setUp(self):
        super().setUp()
        self.file = self.data / STORE
        self.messages = [("a/%d" % (n % 7), b"%d " % n + bytes(300)) for n in range(2000)]
        broker = self.durable()
        peer = self.peer(broker)
        peer.tell(PUB, 1, STORED)
        for first in range(0, len(self.messages), 50):  # so that there are many rows
            peer.send(b"".join(frame(MSG, topic, None, payload) for topic, payload in self.messages[first:first + 50]))
            while peer.answer(PUBACK)[1] < first + 50:
                pass
        peer.goodbye()
        broker.stop()

    def damage(self):
        """Overwrites the roots of the trees: SQLite can't find a table any more."""
        with open(self.file, "r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * 3 * 4096)

    # Hostile 56.
    def test_a_damaged_store_is_refused_and_says_what_to_do(self):
        self.damage()
        before = self.file.read_bytes()
        self.assert_refuses([self.file, "--salvage"], "--durable", "#", "--data", self.data)
        self.assertEqual(self.file.read_bytes(), before)

    def test_what_can_be_read_is_taken_over(self):
        self.damage()
        before = self.file.read_bytes()
        broker = self.durable("--salvage")
        self.assertEqual((self.data / f"{STORE}.damaged-1").read_bytes(), before)
        kept = self.kept(broker)
        self.assertEqual(kept, [m for m in self.messages if m in set(kept)], "altered, doubled, or out of order")
        self.publish(broker, "b", [b"new"])
        broker.stop()
        self.assertEqual(self.kept(self.durable()), kept + [("b", b"new")])

    def test_a_whole_one_is_left_alone(self):
        broker = self.durable("--salvage")
        self.assertEqual(self.kept(broker), self.messages)
        self.assertEqual([path for path in self.data.iterdir() if "damaged" in path.name], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
