"""The broker's log: forms, levels, where it goes, what is left out, and what is never in it. Of the audit log's events there is
more in audit_test."""
import fcntl
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import brokers
import raw
from raw import BYE, MSG, SUB, SUBACK, UNSUB, hello, welcomed

END_S = 60
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^\s"]+)'
ROOT = pathlib.Path(__file__).resolve().parents[2]


def from_logfmt(line):
    if not re.fullmatch(rf"[a-z_]+={VALUE}(?: [a-z_]+={VALUE})*", line):
        raise AssertionError(f"this is no logfmt: {line}")
    pairs = re.findall(rf"([a-z_]+)=({VALUE})", line)
    return {key: re.sub(r'\\(["\\])', r"\1", value[1:-1]) if value.startswith('"') else value for key, value in pairs}


def from_json(line):
    pairs = json.loads(line, object_pairs_hook=list)
    if len(dict(pairs)) != len(pairs):
        raise AssertionError(f"a key is there twice: {line}")
    return {key: str(value) for key, value in pairs}


PARSERS = {"logfmt": from_logfmt, "json": from_json}


class LogTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)
        self.file = self.dir / "pubsubd.log"

    def start(self, log, rest="", **how):
        """log: the section [log]."""
        self.broker = brokers.Broker(config=f"[log]\n{log}\n{rest}", **how)
        self.addCleanup(self.broker.stop)
        self.config = pathlib.Path(self.broker.dir) / "pubsubd.conf"

    def reload(self, config):
        self.config.write_text(config)
        self.broker.process.send_signal(signal.SIGHUP)

    def welcomed(self, **options):
        peer = welcomed(self.broker.unix, **options)
        self.addCleanup(peer.close)
        return peer

    def subscribed(self, peer, pattern, sid=1):
        peer.tell(SUB, sid, pattern, {})
        self.assertEqual(peer.answer(SUBACK)[2], 0)

    def lines(self):
        """The whole ones: another may just be written."""
        return self.file.read_text().rpartition("\n")[0].splitlines()

    def records(self, form="json"):
        return [PARSERS[form](line) for line in self.lines()]

    def of(self, event, form="json"):
        return [record for record in self.records(form) if record["event"] == event]


class Forms(LogTest):
    def talk(self):
        """Somebody comes, does something that is forbidden, and something wrong."""
        peer = self.welcomed(id='it\'s"me"')
        self.subscribed(peer, "site/ä/#")
        peer.tell(UNSUB, 1)
        peer.tell(SUB, 2, "$inbox/#", {})
        peer.ping()
        self.welcomed(id="leaving").goodbye()
        peer.send(b"\xc1")
        self.assertEqual(peer.rest()[-1][:2], [BYE, 101])

    def test_events_and_fields_for_programs(self):
        for form in PARSERS:
            with self.subTest(form):
                self.start(f"format = {form}\nfile = {self.file}\nlevel = debug")
                self.talk()
                records = self.records(form)
                for record in records:
                    self.assertRegex(record.pop("time"), f"^{TIME}$")
                text = {record["event"]: record.get("text") for record in records}
                place = {"peer": f"unix,uid:{os.geteuid()}", "listener": self.broker.unix}
                me = {"client": 'it\'s"me"'}
                self.assertEqual([{key: value for key, value in record.items() if key != "text"} for record in records], [
                    {"level": "info", "event": "ready"},
                    {"level": "audit", "event": "connect", **me, **place},
                    {"level": "debug", "event": "subscribe", **me, "pattern": "site/ä/#"},
                    {"level": "debug", "event": "unsubscribe", **me, "pattern": "site/ä/#"},
                    {"level": "audit", "event": "deny", **me, **place, "code": "211"},
                    {"level": "audit", "event": "connect", "client": "leaving", **place},
                    {"level": "debug", "event": "disconnect", "client": "leaving", **place},
                    {"level": "audit", "event": "close", **me, **place, "code": "101"}])
                self.assertEqual(text["ready"], self.broker.ready_line)
                self.assertIn("'$inbox/#'", text["deny"])
                self.assertIsNone(text["connect"])
                self.file.unlink()

    def test_sentences_for_people(self):
        self.start(f"file = {self.file}\nlevel = debug")
        self.talk()
        self.reload("[log]\nlevl = debug\n")
        self.assertTrue(raw.eventually(lambda: "not loaded again" in self.lines()[-1]))
        lines = self.lines()
        for line in lines:
            self.assertRegex(line, rf"^{TIME} pubsubd: (audit|debug|info|error): \S")
        self.assertEqual(lines[0].split(" ", 1)[1], f"pubsubd: info: {self.broker.ready_line}")
        self.assertIn('pubsubd: debug: event=subscribe client="it\'s\\"me\\"" pattern="site/ä/#"', lines[2])
        self.assertTrue(lines[-1].endswith(f"pubsubd: error: the configuration was not loaded again, what was loaded before holds: "
                                           f"{self.config}:2: unknown key 'levl' in [log]; did you mean 'level'?"))

    def test_on_stderr_people_need_no_time_and_programs_do(self):
        for form, begin in (("text", 'pubsubd: audit: event=connect client="x"'), ("logfmt", f"time={TIME} level=audit "),
                            ("json", f'{{"time":"{TIME}","level":"audit",')):
            with self.subTest(form):
                self.start(f"format = {form}")
                self.welcomed(id="x")
                ready, connect = self.broker.said().splitlines()
                self.assertRegex(connect, "^" + begin)
                if form == "text":
                    self.assertEqual(ready, self.broker.ready_line)
                else:
                    self.assertEqual(PARSERS[form](ready)["text"], self.broker.ready_line)

    def test_nothing_can_be_forged(self):
        evil = ("line\nevent=forged", "\"} {\"event\":\"forged\"", "\x1b[2J\u202eesrever", "\\\" event=forged x=\"",
                "a\x00b", "\x85\u2028\x7f")
        for form in PARSERS:
            with self.subTest(form):
                self.start(f"format = {form}\nfile = {self.file}\nlevel = debug")
                for text in evil:
                    with raw.Peer(self.broker.unix) as peer:
                        peer.send(hello(id=text))
                        self.assertEqual(peer.rest()[-1][0], BYE)
                peer = self.welcomed(id="x")
                for sid, text in enumerate(evil, 1):
                    peer.tell(SUB, sid, text, {})
                    peer.answer(SUBACK)
                    peer.tell(SUB, sid, "$inbox/" + text + "/#", {})
                    peer.answer(SUBACK)
                self.assertTrue(self.file.read_text().replace("\n", "").isprintable())
                events = {record["event"] for record in self.records(form)}
                self.assertLessEqual({"ready", "refuse", "connect", "subscribe", "deny"}, events)
                self.assertNotIn("forged", events)
                patterns = [record["pattern"] for record in self.of("subscribe", form)]
                self.assertIn(evil[1], patterns)
                if form == "json": # it is exact
                    self.assertIn(evil[2], patterns)
                self.file.unlink()

    def test_secrets_and_payloads_are_never_in_it(self):
        users = self.dir / "passwords"
        tokens = self.dir / "tokens"
        subprocess.run([brokers.PUBSUBD, "passwd", users, "ann"], input="hunter2hunter2\n", text=True, check=True, timeout=END_S,
                       capture_output=True)
        token = subprocess.run([brokers.PUBSUBD, "token", "new", "bob", "--file", tokens], text=True, check=True, timeout=END_S,
                               capture_output=True).stdout.strip()
        for form in ("text", *PARSERS):
            with self.subTest(form):
                self.start(f"format = {form}\nfile = {self.file}\nlevel = debug",
                           "[limits]\nhandshake_timeout = 1m\n"  # a busy machine checks a password in some seconds
                           f"[access]\npasswords = {users}\ntokens = {tokens}\nuser_group = all\n[group all]\npublish = t\n"
                           "subscribe = t\n")
                ways = (("password", ["ann", "hunter2hunter2"]), ("password", ["ann", "wrong-secret"]),
                        ("token", token.encode()), ("token", b"wrong-secret"))
                for method, data in ways:
                    with raw.Peer(self.broker.tcp) as peer:
                        peer.send(hello(auth=method, data=data, will=["t", b"will-secret", 0, 0]))
                        if peer.next()[0] != BYE:
                            self.subscribed(peer, "t")
                            for topic in ("t", "forbidden", "bad/+/topic"):
                                peer.tell(MSG, topic, {"header-name": "header-secret"}, b"payload-secret")
                            peer.ping()
                            peer.send(b"\xa6\xc1secret")
                            peer.rest()
                said = self.file.read_text() + self.broker.said()
                self.assertGreaterEqual(said.count("ann") + said.count("bob"), 2, said)
                for secret in ("hunter2", token, token.split("_")[-1], "secret", b"secret".hex(), "argon2"):
                    self.assertNotIn(secret, said)
                self.broker.stop()
                self.file.unlink()


class Levels(LogTest):
    def events(self, level, audit):
        """What is written while somebody comes, does something wrong, and goes."""
        self.start(f"level = {level}\nformat = json\nfile = {self.file}\naudit = {audit}")
        peer = self.welcomed()
        self.subscribed(peer, "t")
        peer.send(b"\xc1")
        peer.rest()
        peer.close() # which the broker would wait for at its end
        self.welcomed().goodbye()
        self.reload("[lgo]\n")
        self.assertTrue(raw.eventually(lambda: self.of("config_refused")))
        self.broker.process.send_signal(signal.SIGTERM)
        self.broker.process.wait(END_S)
        events = {record["event"] for record in self.records()}
        self.file.unlink()
        return events

    def test_each_takes_in_those_before_it(self):
        error = {"config_refused"}
        info = error | {"ready", "peer_closed", "stop"}
        self.assertEqual(self.events("error", "no"), error)
        self.assertEqual(self.events("warning", "no"), error)
        self.assertEqual(self.events("info", "no"), info)
        self.assertEqual(self.events("debug", "no"), info | {"subscribe", "disconnect"})

    def test_the_audit_log_has_a_switch_of_its_own(self):
        self.assertEqual(self.events("error", "yes"), {"config_refused", "connect", "close", "reload"})

    def test_a_reload_changes_level_and_form(self):
        self.start(f"level = info\nfile = {self.file}")
        peer = self.welcomed(id="x")
        self.subscribed(peer, "before")
        self.reload(f"[log]\nlevel = debug\nformat = json\nfile = {self.file}\n")
        self.assertTrue(raw.eventually(lambda: '"config_loaded"' in self.file.read_text()))
        self.subscribed(peer, "behind", 2)
        *_, loaded, subscribe = [from_json(line) for line in self.lines() if line.startswith("{")]
        self.assertEqual(loaded["text"], "the configuration was loaded again; from now on holds: [log] level, [log] format")
        self.assertEqual(subscribe["pattern"], "behind")
        self.assertNotIn("before", self.file.read_text())


class Files(LogTest):
    def test_it_is_opened_again_and_nothing_is_lost(self):
        """As logrotate does it: the file is renamed, then the broker told."""
        self.file.write_text("what was there\n")
        log = f"[log]\nformat = json\nfile = {self.file}\n"
        self.start(log[len("[log]\n"):])
        peer = self.welcomed(id="first")
        old = self.dir / "pubsubd.log.1"
        self.file.rename(old)
        self.welcomed(id="second")
        self.assertFalse(self.file.exists())
        self.reload(log)
        self.assertTrue(raw.eventually(lambda: self.file.exists() and self.of("config_loaded")))
        self.welcomed(id="third")
        was_there, *before = old.read_text().splitlines()
        self.assertEqual(was_there, "what was there")
        self.assertEqual([record["client"] for record in map(from_json, before) if record["event"] == "connect"],
                         ["first", "second"])
        self.assertEqual([record["client"] for record in self.of("connect")], ["third"])
        self.assertEqual(self.broker.said(), self.broker.ready_line + "\n")
        peer.ping()

    def test_it_is_opened_again_even_if_the_configuration_is_wrong(self):
        self.start(f"format = json\nfile = {self.file}")
        self.file.rename(self.dir / "old")
        self.reload("[log]\nfile = /elsewhere\nlevel = none\n")
        self.assertTrue(raw.eventually(lambda: self.file.exists() and self.of("config_refused")))

    def test_another_file_and_back_to_stderr(self):
        self.start("format = json")
        self.reload(f"[log]\nformat = json\nfile = {self.file}\n")
        self.assertTrue(raw.eventually(lambda: self.file.exists() and self.of("config_loaded")))
        self.assertEqual(self.of("config_loaded")[0]["text"], "the configuration was loaded again; from now on holds: [log] file")
        descriptors = self.broker.descriptors()
        other = self.dir / "other"
        self.reload(f"[log]\nformat = json\nfile = {other}\n")
        self.assertTrue(raw.eventually(lambda: other.exists() and "config_loaded" in other.read_text()))
        self.assertEqual(self.broker.descriptors(), descriptors)
        self.reload("[log]\nformat = json\n")
        self.assertTrue(raw.eventually(lambda: "config_loaded" in self.broker.said()))
        self.assertEqual(self.broker.descriptors(), descriptors - 1)

    def test_a_file_that_can_not_be_opened(self):
        nowhere = self.dir / "none" / "log"
        pipe = self.dir / "pipe"
        os.mkfifo(pipe)
        cases = [(nowhere, "No such file or directory"), (self.dir, "Is a directory"), (self.file / "x", "Not a directory")]
        self.start(f"format = json\nfile = {self.file}")
        for path, why in cases + [(pipe, "No such device or address")]: # nobody reads that one
            with self.subTest(why):
                refused = len(self.of("config_refused"))
                self.reload(f"[log]\nformat = json\nfile = {path}\n[limits]\nmax_sessions = 5\n")
                self.assertTrue(raw.eventually(lambda: len(self.of("config_refused")) > refused))
                self.assertEqual(self.of("config_refused")[-1]["text"],
                                 "the configuration was not loaded again, what was loaded before holds: "
                                 f"[log] file '{path}' cannot be opened: {why}")
                start = self.dir / "conf"
                start.write_text(f"[log]\nfile = {path}\n[listener s]\nurl = unix:{self.dir / 's'}\n")
                for code, how in ((1, ()), (2, ("--check-config",))):
                    if path == pipe and how:
                        continue # somebody may read it when the time has come
                    done = subprocess.run([brokers.PUBSUBD, "-c", start, *how], capture_output=True, text=True, timeout=END_S)
                    self.assertEqual((done.returncode, done.stderr, done.stdout),
                                     (code, f"pubsubd: [log] file '{path}' cannot be opened: {why}\n", ""))
                self.assertFalse((self.dir / "s").exists())

    def test_checking_makes_no_file(self):
        path = self.dir / "conf"
        path.write_text(f"[log]\nfile = {self.file}\n")
        done = subprocess.run([brokers.PUBSUBD, "-c", path, "--check-config"], capture_output=True, text=True, timeout=END_S)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertFalse(self.file.exists())

    def test_only_its_user_may_read_it(self):
        self.start(f"file = {self.file}")
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)

    @unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
    def test_it_belongs_to_the_user_that_the_broker_goes_on_as(self):
        """Who can open it again, then."""
        nobody = pwd.getpwnam("nobody").pw_uid
        os.chown(self.dir, nobody, -1)
        self.start(f"file = {self.file}", "[broker]\nuser = nobody\n")
        self.file.rename(self.dir / "old")
        self.broker.process.send_signal(signal.SIGHUP)
        self.assertTrue(raw.eventually(lambda: self.file.exists() and "loaded again" in self.file.read_text()))
        self.assertEqual([path.stat().st_uid for path in (self.dir / "old", self.file)], [nobody, nobody])

    def test_a_line_of_which_the_disk_took_a_part_spoils_no_other(self):
        """The file was opened again since then, by a reload or by the next broker."""
        torn = '{"event":"torn'
        self.file.write_text("whole\n" + torn)
        self.start(f"format = json\nfile = {self.file}")
        whole, first, *lines = self.lines()
        self.assertEqual((whole, first), ("whole", torn))
        self.assertEqual([from_json(line)["event"] for line in lines], ["ready"])
        with self.file.open("a") as file:
            file.write(torn)
        self.reload(f"[log]\nformat = json\nfile = {self.file}\n")
        self.assertTrue(raw.eventually(lambda: any("config_loaded" in line for line in self.lines())))
        second, loaded = [line for line in self.lines()[3:] if "reload" not in line]
        self.assertEqual((second, from_json(loaded)["event"]), (torn, "config_loaded"))

    def test_no_room_on_the_disk_is_told_when_there_is(self):
        self.start("format = json\nfile = /dev/full")
        for _ in range(3):
            self.welcomed().goodbye()
        self.reload(f"[log]\nformat = json\nfile = {self.file}\n")
        self.assertTrue(raw.eventually(lambda: self.file.exists() and self.of("config_loaded")))
        lost = self.of("lines_lost")[0]
        self.assertEqual(lost, self.records()[0])
        self.assertEqual(lost["count"], "4") # with the ready line
        self.assertEqual(lost["text"], "4 lines of the log could not be written: No space left on device")


class Bounds(LogTest):
    def test_of_too_many_lines_the_rest_is_counted(self):
        self.start(f"level = debug\nformat = json\nfile = {self.file}\naudit = no")
        peer = self.welcomed()
        subscribes = 300
        for sid in range(1, subscribes + 1):
            peer.tell(SUB, sid, f"t/{sid}", {})
        peer.ping()

        def all_are_told():
            """Whatever is written in a later second says what was left out before."""
            self.welcomed().goodbye()
            told = sum(int(record["count"]) for record in self.of("left_out") if record["of"] == "subscribe")
            return told > 0 and len(self.of("subscribe")) + told == subscribes

        self.assertTrue(raw.eventually(all_are_told))
        left_out = next(record for record in self.of("left_out") if record["of"] == "subscribe")
        self.assertEqual(left_out["level"], "debug")
        self.assertEqual(left_out["text"], f"{left_out['count']} more lines of the event 'subscribe' were left out")

    def test_at_the_end_it_is_told_too(self):
        self.start(f"level = debug\nformat = json\nfile = {self.file}\naudit = no")
        peer = self.welcomed()
        subscribes = 5000 # more than the seconds that this takes have room for, and the last is not the first of one
        peer.send(b"".join(raw.frame(SUB, sid, f"t/{sid}", {}) for sid in range(1, subscribes + 1)))
        peer.ping()
        peer.close() # which the broker would wait for at its end
        self.broker.process.send_signal(signal.SIGTERM)
        self.broker.process.wait(END_S)
        told = sum(int(record["count"]) for record in self.of("left_out") if record["of"] == "subscribe")
        self.assertEqual(len(self.of("subscribe")) + told, subscribes)

    def test_whoever_stops_reading_stderr_stops_nobody(self):
        reads, writes = os.pipe()
        fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
        config, unix = self.dir / "conf", f"unix:{self.dir / 's'}"
        config.write_text("[log]\nformat = json\n")
        process = subprocess.Popen([brokers.PUBSUBD, "-c", config, "--listen", unix], stdin=subprocess.DEVNULL, stderr=writes)
        os.close(writes)
        self.addCleanup(process.wait, END_S)
        self.addCleanup(process.send_signal, signal.SIGTERM)
        with open(reads, encoding="utf-8") as stderr:
            self.assertIn("ready ", stderr.readline())
            for _ in range(45):
                welcomed(unix).goodbye()
            seen, count = [], 0

            def lines_are_told_as_lost():
                nonlocal count
                count += 1
                welcomed(unix).goodbye()
                record = from_json(stderr.readline())
                seen.append(record)
                return record["event"] == "lines_lost"

            self.assertTrue(raw.eventually(lines_are_told_as_lost))
        self.assertIn("whoever reads them did not", seen[-1]["text"])
        self.assertGreater(int(seen[-1]["count"]), 0)
        self.assertLess(int(seen[-1]["count"]), 45 + count)


class NoStandardDescriptors(LogTest):
    def test_nothing_else_takes_their_numbers(self):
        """Else what the log says would go to a client, or into a file."""
        ready, ready_end = os.pipe()
        process = subprocess.Popen(["/bin/sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", shutil.which(brokers.PUBSUBD), "--listen",
                                    f"unix:{self.dir / 's'}", "--ready-fd", str(ready_end)], pass_fds=(ready_end,))
        self.addCleanup(process.wait, END_S)
        self.addCleanup(process.send_signal, signal.SIGTERM)
        os.close(ready_end)
        with open(ready, "rb") as pipe:
            self.assertTrue(pipe.readline().startswith(b"ready "))
        self.assertEqual([os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)], ["/dev/null"] * 3)


class Journal(LogTest):
    def start_with_journal(self, log, same):
        """stderr is a file that JOURNAL_STREAM names, or that it doesn't."""
        path, unix = self.dir / "journal", f"unix:{self.dir / 's'}"
        config = self.dir / "conf"
        config.write_text(f"[log]\n{log}\n")
        ready, ready_end = os.pipe()
        with open(path, "wb") as stderr:
            status = os.fstat(stderr.fileno())
            process = subprocess.Popen([brokers.PUBSUBD, "-c", config, "--listen", unix, "--ready-fd", str(ready_end)],
                                       stdin=subprocess.DEVNULL, stderr=stderr, pass_fds=(ready_end,),
                                       env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + (not same)}"})
        os.close(ready_end)
        with open(ready, "rb") as pipe:
            self.assertTrue(pipe.readline().startswith(b"ready "))
        peer = welcomed(unix, id="x")
        peer.tell(SUB, 1, "t", {})
        peer.goodbye()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(END_S), 0)
        return path.read_text().splitlines()

    def test_each_line_says_how_grave_it_is(self):
        ready, connect, subscribe, disconnect, stop = self.start_with_journal("level = debug", same=True)
        self.assertTrue(ready.startswith("<6>ready unix:"), ready)
        self.assertTrue(connect.startswith('<5>pubsubd: audit: event=connect client="x"'), connect)
        self.assertTrue(subscribe.startswith("<7>pubsubd: debug: event=subscribe"), subscribe)
        self.assertTrue(disconnect.startswith("<7>pubsubd: debug: event=disconnect"), disconnect)
        self.assertTrue(stop.startswith("<6>pubsubd: info: told to stop"), stop)

    def test_also_for_programs(self):
        lines = self.start_with_journal("format = json\nlevel = warning", same=True)
        self.assertEqual([line[:3] for line in lines], ["<5>"])
        self.assertEqual(from_json(lines[0][3:])["event"], "connect")

    def test_elsewhere_no_line_does(self):
        for line in self.start_with_journal("level = debug", same=False):
            self.assertRegex(line, "^(ready|pubsubd:) ")
        self.assertEqual([line[:6] for line in self.start_with_journal(f"file = {self.file}", same=True)], ["<6>rea"])
        for line in self.lines():
            self.assertRegex(line, f"^{TIME} pubsubd: ")


class Documented(unittest.TestCase):
    def test_every_event_is_in_the_list_with_its_level(self):
        names = {"LOG_AUDIT": "audit", "LOG_ERROR": "error", "LOG_WARN": "warning", "LOG_INFO": "info", "LOG_DEBUG": "debug"}
        table = (ROOT / "broker" / "core" / "events.def").read_text()
        events = {name: names[level] for name, level in re.findall(r'^EVENT\(\w+, "(\w+)", (\w+), \d+\)$', table, re.MULTILINE)}
        self.assertEqual(len(events), table.count("\nEVENT("))
        listed = re.findall(r"^\| `(\w+)` \| (\w+) \|", (ROOT / "docs" / "logs.md").read_text(), re.MULTILINE)
        self.assertEqual(len(dict(listed)), len(listed))
        self.assertEqual(dict(listed), events)


if __name__ == "__main__":
    unittest.main(verbosity=2)
