"""What makes it hard to turn a mistake into an intrusion: how the programs are built, and what the broker gives up."""
import glob
import os
import pathlib
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest

import brokers
import programs
from issuer import Authority
from raw import MSG, PUB, PUBACK, STORED, eventually, welcomed

SANITIZED = os.environ.get("PUBSUB_SANITIZED") == "1"


def readelf(option, path):
    return subprocess.run(["readelf", option, "--wide", path], check=True, capture_output=True, text=True).stdout


@unittest.skipIf(SANITIZED, "the sanitizer does its own")
class Built(unittest.TestCase):
    MODULES = glob.glob(os.path.join(os.path.dirname(brokers.PUBSUBD), "pubsubd_*.so"))
    PROGRAMS = (brokers.PUBSUBD, programs.PUBSUB)

    def each(self, option):
        for path in (*self.PROGRAMS, *self.MODULES):
            with self.subTest(program=path, shown=option):
                yield readelf(option, path)

    def test_position_independent(self):
        for text in self.each("--file-header"):
            self.assertRegex(text, r"Type: +DYN ")
        for path in self.PROGRAMS:
            self.assertRegex(readelf("--dynamic", path), r"\(FLAGS_1\) +Flags:.* PIE")

    def test_full_relro(self):
        for text in self.each("--program-headers"):
            self.assertIn("GNU_RELRO", text)
        for text in self.each("--dynamic"):
            self.assertRegex(text, r"\(FLAGS\) +.*BIND_NOW")
            self.assertNotIn("TEXTREL", text)
            self.assertNotRegex(text, r"\((RPATH|RUNPATH)\)")

    def test_no_memory_is_written_and_executed(self):
        for text in self.each("--program-headers"):
            flags = {match[1]: match[2] for match in re.finditer(r"^ +(\w+) +(?:0x\w+ +){5}([RWE ]{3}) ", text, re.M)}
            self.assertEqual(flags["GNU_STACK"].strip(), "RW")
            for line in re.findall(r"^ +LOAD .*$", text, re.M):
                self.assertNotRegex(line, r" RWE | WE ")

    def test_stack_protector_and_checked_calls(self):
        for text in self.each("--dyn-syms"):
            self.assertIn("__stack_chk_fail@", text)
            self.assertRegex(text, r"__(v?snprintf|memcpy|fprintf|printf)_chk@")


class Broker(unittest.TestCase):
    def status(self, broker):
        text = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    def test_no_new_privileges(self):
        with brokers.Broker() as broker:
            self.assertEqual(self.status(broker)["NoNewPrivs"], "1")

    def test_its_files_are_nobody_elses(self):
        with brokers.Broker(arguments=["--durable", "kept/#"]) as broker:
            self.assertEqual(self.status(broker)["Umask"], "0077")
            data = pathlib.Path(broker.dir, "pubsub")
            made = [data, *data.iterdir()]
            self.assertGreater(len(made), 1)
            for path in made:
                self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)

    def refused(self, *arguments):
        done = subprocess.run([brokers.PUBSUBD, "--listen", "tcp://127.0.0.1:0", *arguments], capture_output=True, text=True,
                              timeout=30, stdin=subprocess.DEVNULL)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done.returncode, done.stderr

    def test_users_who_are_not_there(self):
        code, said = self.refused("--user", "no-such-user-here")
        self.assertEqual(code, 1)
        self.assertIn("cannot run as user 'no-such-user-here': there is none", said)
        code, said = self.refused("--user", "")
        self.assertEqual(code, 2)
        self.assertIn("'' is not a user's name", said)

    @unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
    def test_root_goes_on_as_another_user(self):
        """Once its addresses are open. What it keeps, and its socket, are that user's."""
        nobody = pwd.getpwnam("nobody")
        with brokers.Broker(arguments=["--durable", "kept/#"], config="[broker]\nuser = nobody\n",
                            start=False) as broker:
            os.chmod(broker.dir, 0o711)
            broker.start()
            status = self.status(broker)
            self.assertEqual(status["Uid"].split(), [str(nobody.pw_uid)] * 4)
            self.assertEqual(status["Gid"].split(), [str(nobody.pw_gid)] * 4)
            self.assertNotIn("0", status["Groups"].split())
            self.assertEqual(int(status["CapEff"], 16), 0)
            self.assertEqual(os.stat(broker.unix[len("unix:"):]).st_uid, nobody.pw_uid)
            for path in pathlib.Path(broker.dir, "pubsub").iterdir():
                self.assertEqual(path.stat().st_uid, nobody.pw_uid, path)
            with welcomed(broker.tcp) as peer:
                peer.tell(PUB, 1, STORED)
                peer.tell(MSG, "kept/1", None, b"x")
                self.assertEqual(peer.answer(PUBACK)[1:3], [1, 1])

    @unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
    def test_what_root_could_do_and_the_other_user_cannot_is_said(self):
        """At the start, and when a reload fails by it. What is left of it does not keep the next start from serving."""
        with tempfile.TemporaryDirectory(prefix="pubsub-test-") as directory:
            os.chmod(directory, 0o755)
            pair = Authority(directory).issue("server")
            os.chmod(os.path.dirname(pair.key), 0o755)
            config = (f"[broker]\nuser = nobody\n[listener a]\nurl = tls://127.0.0.1:0\ncertificate = {pair.path}\n"
                      f"key = {pair.key}\n[listener b]\nurl = unix:{directory}/s\n")
            with brokers.Broker(config=config, listens=False, start=False) as broker:
                os.chmod(broker.dir, 0o755)
                file = pathlib.Path(broker.dir, "pubsubd.conf")
                file.chmod(0o644)
                broker.start()
                self.assertEqual(broker.said().splitlines()[:-1], [
                    f"pubsubd: warning: user 'nobody' can't read '{pair.key}', which root has read now: a reload (SIGHUP) "
                    "will be refused",
                    f"pubsubd: warning: user 'nobody' can't remove the socket '{directory}/s' at the end, as its directory "
                    "is not his: the next start replaces it"])
                broker.process.send_signal(signal.SIGHUP)
                why = f"can't read '{pair.key}'"
                self.assertTrue(eventually(lambda: broker.said().endswith(why + "\n")), broker.said())
                self.assertRegex(broker.said().splitlines()[-1], "was not loaded again, .*: Permission denied; the broker goes "
                                 "on as user 'nobody', who " + re.escape(why) + "$")
                shutil.chown(pair.key, "nobody")
                broker.process.send_signal(signal.SIGHUP)
                self.assertTrue(eventually(lambda: "the configuration was loaded again; " in broker.said()), broker.said())
                broker.process.send_signal(signal.SIGTERM)
                self.assertEqual(broker.process.wait(brokers.STOP_S), 0)
                self.assertTrue(os.path.exists(f"{directory}/s"))
                broker.start()
                welcomed(f"unix:{directory}/s").close()

    def test_only_root_becomes_somebody_else(self):
        how = {}
        with tempfile.TemporaryDirectory(prefix="pubsub-test-") as directory:
            program = shutil.copy(brokers.PUBSUBD, directory)  # where it is built, another user may not get at it
            if os.geteuid() == 0:
                os.chmod(directory, 0o755)
                how = {"user": pwd.getpwnam("nobody").pw_uid}
            done = subprocess.run([program, "--listen", "tcp://127.0.0.1:0", "--user", "root"], capture_output=True,
                                  text=True, timeout=30, stdin=subprocess.DEVNULL, cwd="/", **how)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot run as user 'root': only root can become another user", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
