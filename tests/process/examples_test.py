"""The library's example programs, each with a real broker, as somebody who tries them out would see them."""
import os
import re
import signal
import subprocess
import unittest

import brokers
from programs import CliTest, Program, eventually, scaled
from serial_line import SerialLine

EXAMPLES = os.environ.get("PUBSUB_EXAMPLES", ".")


class Example(Program):
    """A running example program, with its input open."""

    def __init__(self, url, name, *arguments):
        super().__init__([os.path.join(EXAMPLES, f"example_{name}"), *arguments], stdin=subprocess.PIPE,
                         env={**os.environ, "PUBSUB_URL": url})

    def stdout(self):
        return super().stdout().decode(errors="replace")

    def type(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def end_input(self):
        self.process.stdin.close()


class Examples(CliTest):
    def start(self, name, *arguments, until=None):
        """Starts an example, and waits until it has printed the line."""
        example = Example(self.url, name, *arguments)
        self.addCleanup(example.stop)
        if until:
            self.wait_for(example, until)
        return example

    def wait_for(self, example, line):
        found = eventually(lambda: line in example.stdout().splitlines() or example.process.poll() is not None)
        self.assertTrue(found and line in example.stdout().splitlines(),
                        f"not printed: {line!r}; but {example.stdout()!r} and {example.stderr()!r}")

    def run_example(self, name, *arguments):
        example = self.start(name, *arguments)
        example.end_input()
        code = example.wait()
        return example.stdout(), example.stderr(), code


class Chat(Examples):
    def test_a_conversation(self):
        ann = self.start("chat", "lobby", "ann", until="(you are in lobby)")
        bob = self.start("chat", "lobby", "bob", until="(you are in lobby)")
        ann.type("hello\n")
        self.wait_for(bob, "ann: hello")
        bob.type("hi ann\n\x1b[2Jhow\x07are\nyou?\n")
        self.wait_for(ann, "bob: you?")
        self.assertEqual(ann.stdout(), "(you are in lobby)\nbob: hi ann\nbob: ?[2Jhow?are\nbob: you?\n")

        carol = self.start("chat", "lobby", "carol", until="bob: you? (earlier)")
        self.wait_for(carol, "ann: hello (earlier)")
        ann.end_input()
        self.assertEqual((ann.wait(), ann.stderr()), (0, ""))
        self.wait_for(bob, "ann: (left)")
        carol.type("am I\nlate")  # the last line has no end
        self.wait_for(bob, "carol: am I")
        carol.process.kill()
        self.wait_for(bob, "carol: (gone)")
        self.assertEqual(bob.stdout(), "(you are in lobby)\nann: hello\nann: (left)\ncarol: am I\ncarol: (gone)\n")
        bob.end_input()
        self.assertEqual((bob.wait(), bob.stderr()), (0, ""))

    def test_wrong_names(self):
        self.assertEqual(self.run_example("chat", "lobby", "#")[2], 2)
        self.assertEqual(self.run_example("chat", "r" * 200, "n" * 100)[2], 2)


class WorkerPool(Examples):
    def worker(self, name):
        return self.start("worker_pool", "work", name, until=f"{name} waits for work")

    def jobs_done(self, worker, name):
        """Ends a worker, which says how many jobs it did."""
        worker.process.send_signal(signal.SIGTERM)
        self.assertEqual((worker.wait(), worker.stderr()), (0, ""))
        return int(re.search(rf"^{name} did (\d+) jobs$", worker.stdout(), re.MULTILINE)[1])

    def check_squares(self, printed, count):
        found = re.findall(r"^(\d+) squared is (\d+), says (ann|bob)$", printed, re.MULTILINE)
        self.assertEqual(len(printed.splitlines()), len(found), printed)
        self.assertEqual(sorted((int(n), int(square)) for n, square, _ in found),
                         [(n, n * n) for n in range(1, count + 1)])

    def test_jobs_are_shared(self):
        count = scaled(1000, 50)
        ann, bob = self.worker("ann"), self.worker("bob")
        out, err, code = self.run_example("worker_pool", "dispatch", str(count))
        self.assertEqual((err, code), ("", 0))
        self.check_squares(out, count)
        done = self.jobs_done(ann, "ann"), self.jobs_done(bob, "bob")
        self.assertEqual(sum(done), count)
        self.assertGreater(min(done), 0)

    def test_a_worker_that_hangs_holds_one_job_only(self):
        ann, bob = self.worker("ann"), self.worker("bob")
        ann.process.send_signal(signal.SIGSTOP)
        dispatcher = self.start("worker_pool", "dispatch", "10")
        self.assertTrue(eventually(lambda: dispatcher.stdout().count("says bob") == 9), dispatcher.stderr())
        ann.process.send_signal(signal.SIGCONT)
        self.assertEqual((dispatcher.wait(), dispatcher.stderr()), (0, ""))
        self.check_squares(dispatcher.stdout(), 10)
        self.assertEqual((self.jobs_done(ann, "ann"), self.jobs_done(bob, "bob")), (1, 9))

    def test_the_broker_dies(self):
        """Jobs that were given out may be done or not: they are told as failed, and not given out again."""
        ann = self.worker("ann")
        ann.process.send_signal(signal.SIGSTOP)
        watcher = self.subscriber("-o", "payload", "pool/square", "pool/ready", ready="pool/ready")
        dispatcher = self.start("worker_pool", "dispatch", "5")
        self.assertTrue(eventually(lambda: watcher.stdout().count(b"\n") == 6), watcher.stdout())
        watcher.stop()
        self.broker.kill()
        self.assertEqual((dispatcher.wait(), dispatcher.stdout()), (1, ""))
        for job in range(1, 6):
            self.assertRegex(dispatcher.stderr(), rf"job {job}: the (broker closed the connection|connection broke)")
        self.broker.start()
        ann.process.send_signal(signal.SIGCONT)
        self.assertTrue(eventually(lambda: ann.stdout().count("ann waits for work") == 2))
        out, err, code = self.run_example("worker_pool", "dispatch", "3")
        self.assertEqual((err, code), ("", 0))
        self.check_squares(out, 3)
        self.assertIn(self.jobs_done(ann, "ann"), (3, 4))  # it may have got one before the broker died

    def test_nobody_works(self):
        out, err, code = self.run_example("worker_pool", "dispatch", "2")
        self.assertEqual((out, code), ("", 1))
        self.assertRegex(err, r"(?s)job 1: .*nobody.*job 2: .*nobody")


class GameState(Examples):
    def test_a_slow_viewer_sees_the_newest(self):
        viewer = self.start("game_state", "view", "3", until="watching game/positions")
        self.assertEqual(self.run_example("game_state", "serve", "3", "100", "0"), ("", "", 0))
        viewer.type("\n")
        self.wait_for(viewer, "frame 1: [player1 100,100] [player2 100,200] [player3 100,300] "
                              "(297 older positions skipped)")
        viewer.type("\n")  # nobody has moved
        self.wait_for(viewer, "frame 2: [player1 100,100] [player2 100,200] [player3 100,300] "
                              "(0 older positions skipped)")
        self.assertEqual(self.run_example("game_state", "serve", "2", "50", "0"), ("", "", 0))
        viewer.type("\n")
        self.assertTrue(eventually(lambda: viewer.stdout().count("\n") == 4))
        self.assertIn("frame 3: [player1 50,50] [player2 50,100] [player3 100,300] ", viewer.stdout())
        viewer.end_input()
        self.assertEqual((viewer.wait(), viewer.stderr()), (0, ""))

    def test_usage(self):
        for arguments in ("view", "0"), ("view", "65"), ("serve", "3", "x"), ("serve", "3", "1", "-5"), ("look", "3"):
            self.assertEqual(self.run_example("game_state", *arguments)[2], 2, arguments)


class SensorAlarm(Examples):
    FILTER = 'temp > 30 and site == "a"'

    def measure(self, topic, document):
        self.ok("pub", "-j", topic, document)

    def test_only_what_matches_arrives(self):
        alarm = self.start("sensor_alarm", self.FILTER, "2", until="watching")
        self.measure("sensors/1", '{"temp": 30, "site": "a"}')
        self.measure("sensors/2", '{"temp": 30.5, "site": "a"}')
        self.measure("sensors/3", '{"temp": 99, "site": "b"}')
        self.measure("sensors/4", '{"temp": "hot", "site": "a"}')
        self.ok("pub", "sensors/5", "temp 31")
        self.measure("sensors/6/x", '{"site": "a", "temp": 31}')
        self.assertEqual((alarm.wait(), alarm.stderr()), (0, ""))
        self.assertEqual(alarm.stdout(), "watching\nalarm: sensors/2\nalarm: sensors/6/x\n")

    def test_a_bad_filter_is_explained(self):
        out, err, code = self.run_example("sensor_alarm", "temp >")
        self.assertEqual((out, code), ("", 1))
        self.assertRegex(err, r"^sensor_alarm: .*column 7.*\n$")

    def test_lost_alarms_are_counted(self):
        count = scaled(500_000, 200_000)
        alarm = self.start("sensor_alarm", self.FILTER, until="watching")
        alarm.process.send_signal(signal.SIGSTOP)
        self.ok("pub", "-l", "-j", "sensors/1", stdin=b'{"temp": 40, "site": "a"}\n{"temp": 20, "site": "a"}\n' * count)
        self.measure("sensors/last", '{"temp": 40, "site": "a"}')
        alarm.process.send_signal(signal.SIGCONT)
        self.wait_for(alarm, "alarm: sensors/last")
        lines = alarm.stdout().splitlines()[1:]
        lost = sum(int(match[1]) for match in map(re.compile(r"lost: (\d+) alarms \(drop_old\)").fullmatch, lines)
                   if match)
        came = sum(line.startswith("alarm: sensors/") for line in lines)
        self.assertGreater(lost, 0)
        self.assertEqual(came + lost, count + 1)


class NothingIsKept(Examples):
    """Examples of durable streams, with a broker that has none."""

    def test_there_is_no_history(self):
        out, err, code = self.run_example("replay", "sensors/#")
        self.assertEqual((out, code), ("", 1))
        self.assertRegex(err, r"^replay: .*no stream.*\n$")

    def test_usage(self):
        self.assertEqual(self.run_example("replay")[2], 2)


class BareMetal(Examples):
    """A device on a serial line, with the core as firmware takes it."""

    def line(self, cuts=()):
        line = SerialLine(self.url, cuts)
        self.addCleanup(line.stop)
        return line

    def device(self, line, name, count, period_ms=0):
        return self.start("bare_metal", line.path, name, str(count), str(period_ms))

    def values_of(self, name):
        """A subscriber of what it measures; its output are numbers."""
        return self.subscriber("-o", "payload", f"devices/{name}/value", "ready", ready="ready")

    def wait_until_subscribed(self, device, name):
        self.assertTrue(eventually(lambda: self.run_cli("pub", "--require", "1", f"devices/{name}/firmware", "x").code == 0),
                        device.stderr())

    def test_each_value_arrives_once_although_the_line_is_cut(self):
        line, values, count = self.line(cuts=[700, 1000, 1300, 1600, 1900]), self.values_of("cut"), 400
        device = self.device(line, "cut", count)
        self.assertEqual((device.wait(), device.stdout()), (0, f"{count} values were published\n"))
        self.assertTrue(eventually(lambda: values.lines().count(b"\n") >= count))
        self.assertEqual(values.lines().split(), [str(n).encode() for n in range(1, count + 1)])
        self.assertEqual(line.connections, 6)
        self.assertEqual(device.stderr(), "bare_metal: connected as cut\n" * 6)

    def test_the_broker_is_away(self):
        broker = brokers.Broker(start=False)
        self.addCleanup(broker.stop)
        line = SerialLine(broker.unix)
        self.addCleanup(line.stop)
        device = self.device(line, "away", 300, 20)
        for _ in range(3):
            connected = device.stderr().count("connected as away")
            broker.start()
            self.assertTrue(eventually(lambda: device.stderr().count("connected as away") > connected), device.stderr())
            broker.kill()
        broker.start()
        self.assertEqual((device.wait(), device.stdout()), (0, "300 values were published\n"))

    def test_the_light_is_switched(self):
        device = self.device(self.line(), "lamp", 60000, 1000)
        self.wait_until_subscribed(device, "lamp")
        self.ok("pub", "-j", "devices/lamp/led", "true")
        self.wait_for(device, "the light is on")
        self.ok("pub", "-j", "devices/lamp/led", "false")
        self.wait_for(device, "the light is off")

    def test_an_image_far_larger_than_its_memory(self):
        device = self.device(self.line(), "image", 60000, 20)  # it goes on publishing meanwhile
        self.wait_until_subscribed(device, "image")
        for size in 1, 255, 256, 257, 5000, 300_000:
            image = bytes(n * 11 >> 3 & 0xff for n in range(size))
            total = 0
            for byte in image:
                total = (total * 31 + byte) & 0xffffffff
            self.ok("pub", "--bin", "devices/image/firmware", stdin=image)
            self.wait_for(device, f"an image of {size} bytes, sum {total}")
        self.assertEqual(device.stderr(), "bare_metal: connected as image\n")

    def test_usage(self):
        for arguments in ("line", "name"), ("line", "name", "0"), ("line", "#", "1"), ("line", "n" * 65, "1"):
            self.assertEqual(self.run_example("bare_metal", *arguments)[2], 2, arguments)


if __name__ == "__main__":
    unittest.main(verbosity=2)
