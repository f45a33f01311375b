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

    def test_a_measurement_can_not_be_stored(self):
        out, err, code = self.run_example("stored_sensor", "attic", "2")
        self.assertEqual((out, code), ("0 measurements are stored\n", 1))
        self.assertRegex(err, r"^(stored_sensor: .*sensors/attic.*\n){2}$")

    def test_there_is_no_history(self):
        out, err, code = self.run_example("replay", "sensors/#")
        self.assertEqual((out, code), ("", 1))
        self.assertRegex(err, r"^replay: .*no stream.*\n$")

    def test_there_is_no_durable_work(self):
        out, err, code = self.run_example("durable_worker", "ann")
        self.assertEqual((out, code), ("", 1))
        self.assertRegex(err, r"^durable_worker: .*no stream.*\n$")

    def test_usage(self):
        for arguments in ("stored_sensor", "a"), ("stored_sensor", "a", "0"), ("replay",), ("durable_worker",):
            self.assertEqual(self.run_example(*arguments)[2], 2, arguments)


class Durable(Examples):
    @classmethod
    def setUpClass(cls):
        cls.broker = brokers.Broker(arguments=["--durable", "sensors/#", "--durable", "jobs/#"])
        cls.addClassCleanup(cls.broker.stop)
        cls.url = cls.broker.unix

    def restart(self):
        self.broker.kill()
        self.broker.start()

    def replay(self, pattern):
        out, err, code = self.run_example("replay", pattern)
        self.assertEqual((err, code), ("", 0))
        return out.splitlines()


class StoredSensor(Durable):
    def kept(self, name):
        """The measurements that are kept, in their order."""
        lines = [re.fullmatch(rf"(\d+):(\d+) sensors/{name} (\d+)", line) for line in self.replay(f"sensors/{name}")]
        self.assertTrue(all(lines))
        positions = [int(line[2]) for line in lines]
        self.assertEqual(positions, sorted(set(positions)))
        return [int(line[3]) for line in lines]

    def test_all_are_kept(self):
        self.assertEqual(self.run_example("stored_sensor", "cellar", "5"), ("5 measurements are stored\n", "", 0))
        self.restart()
        self.assertEqual(self.kept("cellar"), [1, 2, 3, 4, 5])
        self.assertEqual(self.kept("roof"), [])

    def test_each_is_stored_once_although_the_broker_dies(self):
        count = scaled(3000, 600)
        sensor = self.start("stored_sensor", "attic", str(count), "1")
        for part in 1, 2, 3:
            self.assertTrue(eventually(lambda: len(self.kept("attic")) >= part * count // 5), sensor.stderr())
            self.restart()
        self.assertEqual((sensor.wait(), sensor.stdout()), (0, f"{count} measurements are stored\n"))
        self.assertEqual(sensor.stderr().count("connected again"), 3)
        self.assertEqual(self.kept("attic"), list(range(1, count + 1)))

    def test_it_waits_for_its_broker(self):
        self.broker.kill()
        sensor = self.start("stored_sensor", "shed", "3")
        self.broker.start()
        self.assertEqual((sensor.wait(), sensor.stdout()), (0, "3 measurements are stored\n"))
        self.assertEqual(self.kept("shed"), [1, 2, 3])


class DurableWorker(Durable):
    def worker(self, name, again=False):
        return self.start("durable_worker", name, until=f"{name} waits for work{' again' if again else ''}")

    def publish(self, topic, text):
        self.ok("pub", "--ack", "stored", topic, text)

    def done(self, worker, place):
        """What it said of the jobs under jobs/PLACE/."""
        return [line for line in worker.stdout().splitlines() if f": jobs/{place}/" in line]

    def wait_until_done(self, worker, place, count):
        self.assertTrue(eventually(lambda: len(self.done(worker, place)) >= count), worker.stdout() + worker.stderr())

    def end(self, worker):
        worker.process.send_signal(signal.SIGTERM)
        self.assertEqual((worker.wait(), worker.stderr()), (0, ""))

    def test_what_becomes_of_a_job(self):
        dead = self.subscriber("-o", "topic", "$dead/jobs/fate/#", "ready", ready="ready")
        worker = self.worker("ann")
        for number, text in enumerate(("sweep", "fail once", "never"), 1):
            self.publish(f"jobs/fate/{number}", text)
        self.wait_until_done(worker, "fate", 4)
        self.end(worker)
        self.assertEqual(self.done(worker, "fate"), ["done: jobs/fate/1", "went wrong: jobs/fate/2",
                                                     "put aside: jobs/fate/3", "done: jobs/fate/2 (again)"])
        self.assertTrue(eventually(lambda: b"$dead/jobs/fate/3\n" in dead.stdout()), dead.stdout())

    def test_jobs_wait_for_their_worker(self):
        self.end(self.worker("bob"))
        for number in range(1, 4):
            self.publish(f"jobs/wait/{number}", "sweep")
        self.restart()
        worker = self.worker("bob", again=True)
        self.wait_until_done(worker, "wait", 3)
        self.end(worker)
        self.assertEqual(self.done(worker, "wait"), [f"done: jobs/wait/{number}" for number in range(1, 4)])
        worker = self.worker("bob", again=True)  # it has nothing to do any more
        self.publish("jobs/wait/4", "sweep")
        self.wait_until_done(worker, "wait", 1)
        self.end(worker)
        self.assertEqual(self.done(worker, "wait"), ["done: jobs/wait/4"])

    def test_what_a_worker_had_when_it_died_is_done_by_the_next(self):
        worker = self.worker("carol")
        worker.process.send_signal(signal.SIGSTOP)
        self.publish("jobs/death/1", "sweep")
        worker.process.kill()
        worker = self.worker("carol", again=True)
        self.wait_until_done(worker, "death", 1)
        self.end(worker)
        self.assertIn(self.done(worker, "death"), (["done: jobs/death/1"], ["done: jobs/death/1 (again)"]))

    def test_the_broker_dies(self):
        worker = self.worker("dave")
        for number in range(1, 6):
            self.publish(f"jobs/broker/{number}", "sweep")
            self.wait_until_done(worker, "broker", number)
            self.restart()
            self.assertTrue(eventually(lambda: worker.stdout().count("dave waits for work again") >= number))
        self.end(worker)
        self.assertEqual(self.done(worker, "broker"), [f"done: jobs/broker/{number}" for number in range(1, 6)])


class BareMetal(Examples):
    """A device on a serial line, with the core as firmware takes it."""

    def line(self):
        line = SerialLine(self.url)
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
        line, values, count = self.line(), self.values_of("cut"), 400
        device = self.device(line, "cut", count, 2)
        for part in range(1, 6):
            self.assertTrue(eventually(lambda: values.lines().count(b"\n") >= part * 10), device.stderr())
            line.cut()
            self.assertTrue(eventually(lambda: line.connections > part), device.stderr())
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
        device = self.device(line, "away", 300)
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
