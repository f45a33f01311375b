"""The library's examples of devices and what serves them: programs of which nothing may be lost, whatever ends meanwhile."""
import collections
import json
import os
import random
import signal
import threading
import time
import unittest

from examples_test import Examples
from programs import eventually, run_without_broker, scaled

DURABLE = ["--durable", "sensors/#", "--durable", "commands/#"]


class Device(Examples):
    """The tests of an example with durable topics: `url` is the broker's, `path()` a file in its directory."""
    BROKER = {"arguments": DURABLE}

    def path(self, name, text=None):
        path = os.path.join(self.broker.dir, name)
        if text is not None:
            with open(path, "w") as file:
                file.write(text)
        return path

    def text(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def restart(self):
        self.broker.kill()
        self.broker.start()

    def end(self, example, code=0):
        example.process.send_signal(signal.SIGTERM)
        self.assertEqual(example.wait(), code, example.stderr())
        return example.stdout().splitlines()[-1]


class SensorTest(Device):
    def setUp(self):
        super().setUp()
        self.path("source", "21500\n")

    def sensor(self, name, *arguments):
        return self.start("sensor", name, self.path("source"), self.path(f"{name}.outbox"), *map(str, arguments))

    def kept(self, name):
        """The readings in their stream, in its order, as the sensor prints them."""
        lines = self.ok("sub", "--all", "--until-live", "-o", "payload", f"sensors/{name}").splitlines()
        return ["{at} {value}".format(**json.loads(line)) for line in lines]

    def places(self, readings):
        """What the stream has of them now, with all that is known of each."""
        lines = self.ok("sub", "--all", "--until-live", "-o", "json", "sensors/#").splitlines() if readings else []
        return [line for line in lines if any(reading.split()[0] in line for reading in readings)]

    def printed(self, sensor):
        return [line for line in sensor.stdout().split("\n")[:-1] if "stored" not in line]


class Sensor(SensorTest):
    def test_all_are_kept(self):
        sensor = self.sensor("cellar", 5, 20)
        self.assertEqual((sensor.wait(), sensor.stderr()), (0, ""))
        self.assertEqual(sensor.stdout().splitlines()[-1],
                         f"20 stored, 0 lost, 0 wait in {self.path('cellar.outbox')}")
        readings = self.printed(sensor)
        self.assertEqual(len(readings), 20)
        self.assertTrue(all(reading.endswith(" 21500") for reading in readings))
        self.restart()
        self.assertEqual(self.kept("cellar"), readings)

    def test_it_waits_for_its_broker(self):
        self.broker.kill()
        sensor = self.sensor("shed", 5)
        self.assertTrue(eventually(lambda: len(self.printed(sensor)) >= 10))
        waiting = self.end(sensor)
        readings = self.printed(sensor)
        self.assertEqual(waiting, f"0 stored, 0 lost, {len(readings)} wait in {self.path('shed.outbox')}")
        self.broker.start()
        self.assertEqual(self.kept("shed"), [])
        again = self.sensor("shed", 5, 3)
        self.assertEqual(again.wait(), 0, again.stderr())
        self.assertEqual(self.kept("shed"), readings + self.printed(again))

    def test_everything_is_killed(self):
        """The sensor and the broker, at any moment, again and again."""
        chance = random.Random(7)
        readings = []
        for turn in range(scaled(25, 5)):
            sensor = self.sensor("attic", 2)
            self.assertTrue(eventually(lambda: self.printed(sensor)), sensor.stderr())
            if turn % 3 == 1:
                self.broker.kill()
            time.sleep(chance.uniform(0, 0.1))  # any moment: nothing depends on which
            sensor.process.kill()
            sensor.wait()
            readings += self.printed(sensor)
            if self.broker.process.poll() is not None:
                self.broker.start()
        sensor = self.sensor("attic", 2, 1)
        self.assertEqual(sensor.wait(), 0, sensor.stderr())
        kept = self.kept("attic")
        self.assertEqual(set(readings) - set(kept), set(), "something that was printed is lost")
        doubled = [reading for reading, count in collections.Counter(kept).items() if count > 1]
        self.assertEqual(doubled, [], f"something is stored twice; what is there: {self.places(doubled)}")
        self.assertEqual(kept, sorted(kept, key=lambda reading: int(reading.split()[0])))

    def test_a_source_that_goes_away(self):
        sensor = self.sensor("barn", 5)
        self.assertTrue(eventually(lambda: self.printed(sensor)))
        os.unlink(self.path("source"))
        self.assertTrue(eventually(lambda: "cannot read a number" in sensor.stderr()))
        self.path("source", "-7\n")
        self.assertTrue(eventually(lambda: self.printed(sensor)[-1].endswith(" -7")))
        self.end(sensor)
        self.assertEqual(self.kept("barn"), self.printed(sensor))

    def test_usage(self):
        for arguments in ("a", "b"), ("a", "b", "c", "1", "0"), ("n" * 65, "b", "c"), ("a", "b", "c", "9999999"):
            self.assertEqual(self.run_example("sensor", *arguments)[2], 2, arguments)
        out, err, code = self.run_example("sensor", "a", "b", "/nowhere/outbox")
        self.assertEqual((out, code), ("", 3))
        self.assertRegex(err, r"^sensor: cannot use the outbox file '/nowhere/outbox': .*\n$")


class FullBroker(SensorTest):
    """One without room: the stream takes so many messages and no more."""
    BROKER = {"config": "[stream sensors]\ntopics = sensors/#\nmax_messages = 30\non_full = refuse\n"}

    def refused(self, name, at_least):
        """A sensor of 50 readings, when it has been refused so often; and the 30 that are kept."""
        sensor = self.sensor(name, 10, 50)
        self.assertTrue(eventually(lambda: sensor.stderr().count("refused for now: ") > at_least), sensor.stderr())
        kept = self.kept(name)
        self.assertEqual(kept, self.printed(sensor)[:30])
        return sensor, kept

    def make_room(self):
        self.ok("stream", "rm", "--yes", "--below", "1000000", "sensors")

    def test_what_was_refused_is_stored_when_there_is_room(self):
        sensor, kept = self.refused("silo", 30)
        self.make_room()
        self.assertEqual(sensor.wait(), 0, sensor.stderr())
        self.assertEqual(sensor.stdout().splitlines()[-1],
                         f"50 stored, 0 lost, 0 wait in {self.path('silo.outbox')}")
        self.assertEqual(sorted(kept + self.kept("silo")), self.printed(sensor))
        self.make_room()

    def test_what_is_refused_to_the_end_is_told(self):
        sensor, _ = self.refused("loft", 1)
        told = self.end(sensor, code=1)
        self.assertRegex(told, r"^30 stored, \d+ lost, 0 wait in ")
        self.assertEqual(30 + int(told.split()[2]), len(self.printed(sensor)))
        self.make_room()


class Actuator(Device):
    def actuator(self, name, output=None, again=False):
        return self.start("actuator", name, self.path(output or f"{name}.output"), self.path(f"{name}.state"),
                          until=f"{name} waits{' again' if again else ''}")

    def command(self, name, value):
        self.ok("pub", "-j", "--ack", "stored", f"commands/{name}", str(value))

    def said(self, actuator):
        """What became of the commands: the words, without positions."""
        return [line.split(" ", 1)[1] for line in actuator.stdout().splitlines() if line.split()[0].isdigit()]

    def wait_said(self, actuator, count):
        self.assertTrue(eventually(lambda: len(self.said(actuator)) >= count), actuator.stdout() + actuator.stderr())

    def stop_well(self, actuator):
        actuator.process.send_signal(signal.SIGTERM)
        self.assertEqual((actuator.wait(), actuator.stderr()), (0, ""))

    def test_commands_are_done(self):
        dead = self.subscriber("-o", "topic", "$dead/commands/valve", "ready", ready="ready")
        actuator = self.actuator("valve")
        for value in 40, '"open"', 101, 60:
            self.command("valve", value)
        self.wait_said(actuator, 4)
        self.stop_well(actuator)
        self.assertEqual(self.said(actuator), ["done", "no command", "no command", "done"])
        self.assertEqual(self.text("valve.output"), "60\n")
        self.assertTrue(eventually(lambda: dead.stdout().count(b"$dead/commands/valve\n") == 2), dead.stdout())

    def test_commands_wait_while_it_is_away(self):
        self.stop_well(self.actuator("pump"))
        for value in 1, 2, 3:
            self.command("pump", value)
        self.restart()
        actuator = self.actuator("pump", again=True)
        self.wait_said(actuator, 3)
        self.stop_well(actuator)
        self.assertEqual((self.said(actuator), self.text("pump.output")), (["done"] * 3, "3\n"))
        actuator = self.actuator("pump", again=True)  # it has nothing to do any more
        self.command("pump", 4)
        self.wait_said(actuator, 1)
        self.stop_well(actuator)
        self.assertEqual((self.said(actuator), self.text("pump.output")), (["done"], "4\n"))

    def test_what_goes_wrong_comes_again_but_not_over_younger_ones(self):
        os.mkdir(self.path("lamp.output"))  # nothing can be written there
        actuator = self.actuator("lamp")
        self.command("lamp", 10)
        self.wait_said(actuator, 1)
        os.rmdir(self.path("lamp.output"))
        self.command("lamp", 20)

        def others():
            return [word for word in self.said(actuator) if word != "went wrong"]
        self.assertTrue(eventually(lambda: len(others()) == 2), actuator.stdout())
        self.end(actuator)
        self.assertEqual(self.said(actuator)[0], "went wrong")  # more often, if we took our time
        self.assertIn(others(), (["done", "past"], ["done", "done"]))
        self.assertEqual(self.text("lamp.output"), "20\n")
        self.assertIn("cannot write", actuator.stderr())

    def die_between(self, name, value):
        """It does a command, and dies before it can write that down or acknowledge it."""
        for hangs in f"{name}.output", f"{name}.state.new":
            os.mkfifo(self.path(hangs))
        actuator = self.actuator(name, again=os.path.exists(self.path(f"{name}.state")))
        self.command(name, value)
        with open(self.path(f"{name}.output")) as output:
            self.assertEqual(output.readline(), f"{value}\n")
        actuator.process.kill()
        actuator.wait()
        for hung in f"{name}.output", f"{name}.state.new":
            os.unlink(self.path(hung))

    def test_it_dies_before_it_writes_down_what_it_did(self):
        self.die_between("door", 50)
        actuator = self.actuator("door", again=True)
        self.wait_said(actuator, 1)
        self.stop_well(actuator)
        self.assertEqual((self.said(actuator), self.text("door.output")), (["done"], "50\n"))

    def test_it_dies_after_it_wrote_down_what_it_did(self):
        actuator = self.actuator("gate")
        self.command("gate", 10)
        self.wait_said(actuator, 1)
        self.stop_well(actuator)
        stream, position = map(int, self.text("gate.state").split())
        os.unlink(self.path("gate.output"))
        self.die_between("gate", 50)
        self.path("gate.state", f"{stream} {position + 1}\n")
        actuator = self.actuator("gate", again=True)
        self.wait_said(actuator, 1)
        self.stop_well(actuator)
        self.assertEqual(self.said(actuator), ["past"])
        self.assertFalse(os.path.exists(self.path("gate.output")))

    def test_the_broker_dies(self):
        actuator = self.actuator("fan")
        for turn in range(1, 6):
            self.command("fan", turn)
            self.wait_said(actuator, turn)
            self.restart()
            self.assertTrue(eventually(lambda: actuator.stdout().count("fan waits again") >= turn))
        self.stop_well(actuator)
        self.assertEqual(self.said(actuator), ["done"] * 5)

    def test_usage(self):
        self.assertEqual(self.run_example("actuator", "a", "b")[2], 2)


class RequestServer(Examples):
    def serve(self, lines):
        path = os.path.join(self.broker.dir, "answers")
        with open(path, "w") as file:
            file.write(lines)
        return self.start("request_server", "settings", path, until="serving")

    def ends_with(self, server, line):
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual((server.wait(), server.stderr()), (0, ""))
        self.assertEqual(server.stdout().splitlines()[-1], line)

    def ask(self, *arguments):
        return run_without_broker("req", "--timeout", "100s", "-s", self.url, "settings", *arguments)

    def test_answers(self):
        long = "k" * 200
        server = self.serve(f"interval 5\ninterval2 6\nempty \nname a name of words\n{long} long\n")
        for key, value in (("interval", "5"), ("interval2", "6"), ("empty", ""), ("name", "a name of words"), (long, "long")):
            self.assertEqual(self.ask(key), (f"{value}\n".encode(), "", 0), key)
        for arguments, text in ((["nothing"], "there is no such key"), ([""], "there is no such key"),
                                (["-j", "7"], "a key is a text"), (["--bin", ""], "a key is a text"),
                                (["k" * 300], "a key is a text")):
            done = self.ask(*arguments)
            self.assertEqual(done.code, 1, arguments)
            self.assertIn(text, done.stderr)
        self.ok("pub", "settings", "interval")  # asks for nothing
        self.ends_with(server, "10 answered, 0 in vain")
        self.assertEqual(self.ask("interval").code, 6)

    def test_several_ask_and_it_is_told_to_end(self):
        servers = [self.serve("".join(f"key{n} {n * n}\n" for n in range(20))) for _ in range(2)]
        answered, unanswered, over = [], [], threading.Event()

        def ask(number):
            while not over.is_set():
                done = self.ask("--timeout", "10s", f"key{number}")  # whoever asks too late for one waits so long
                (answered if done.code == 0 else unanswered).append((number, done.stdout, done))
        askers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for asker in askers:
            asker.start()
        try:
            self.assertTrue(eventually(lambda: len(answered) > scaled(100, 30)))
            servers[0].process.send_signal(signal.SIGTERM)
            self.assertEqual((servers[0].wait(), servers[0].stderr()), (0, ""))
            before = len(answered)
            self.assertTrue(eventually(lambda: len(answered) > before + 20))  # the other one goes on
        finally:
            over.set()
            for asker in askers:
                asker.join()
        servers[1].process.send_signal(signal.SIGTERM)
        self.assertEqual((servers[1].wait(), servers[1].stderr()), (0, ""))
        told = [server.stdout().splitlines()[-1].split()[0] for server in servers]
        self.assertGreater(min(map(int, told)), 0)
        self.assertEqual(sum(map(int, told)), len(answered))
        self.assertEqual([one for one in answered if one[1] != f"{one[0] ** 2}\n".encode()], [])
        self.assertLessEqual(len(unanswered), len(askers), unanswered)  # who asked in that very moment

    def test_nobody_waits_for_the_answer(self):
        server = self.serve("a b\n")
        server.process.send_signal(signal.SIGSTOP)
        self.assertEqual(self.ask("--timeout", "1s", "a").code, 124)
        server.process.send_signal(signal.SIGCONT)
        self.assertEqual(self.ask("a").stdout, b"b\n")
        self.ends_with(server, "1 answered, 1 in vain")

    def test_the_broker_comes_later(self):
        self.broker.kill()
        server = self.start("request_server", "settings", "/nonexistent")
        self.broker.start()
        self.wait_for(server, "serving")
        self.assertIn("there is no such key", self.ask("a").stderr)
        self.broker.kill()
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 1)  # it could not say goodbye
        self.broker.start()

    def test_usage(self):
        self.assertEqual(self.run_example("request_server", "a")[2], 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
