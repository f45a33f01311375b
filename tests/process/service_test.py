"""The broker under a service manager: what it tells (sd_notify(3)), and the sockets that it is given."""
import os
import shutil
import signal
import subprocess
import time
import unittest

import brokers
import raw
import tls
from issuer import Authority
from manager import Manager
from raw import welcomed

class ServiceTest(unittest.TestCase):
    def setUp(self):
        self.manager = self.new_manager()

    def new_manager(self, **how):
        manager = Manager(**how)
        self.addCleanup(manager.close)
        return manager

    def configure(self, text):
        self.config = self.manager.dir / "pubsubd.conf"
        self.config.write_text(text)
        return "--config", self.config

    def ends_well(self):
        self.assertEqual(self.manager.end(), 0, self.manager.said())

class Told(ServiceTest):
    def test_ready_and_stopping(self):
        for abstract in False, True:
            with self.subTest(abstract=abstract):
                self.manager = self.new_manager(abstract=abstract)
                url = self.manager.tcp()
                self.assertEqual(self.manager.start(), f"Serving {url}")
                welcomed(url).close()
                self.manager.process.send_signal(signal.SIGTERM)
                self.assertEqual(self.manager.next("STOPPING")["STOPPING"], "1")
                self.assertEqual(self.manager.process.wait(30), 0)

    def test_not_ready_before_its_data_and_addresses_are(self):
        """What can't start never says that it is ready."""
        with self.assertRaisesRegex(AssertionError, "ended with 1 and never told"):
            self.manager.start("--listen", f"unix:{self.manager.dir}/no/s")

    def test_reloads(self):
        arguments = self.configure(f"[listener local]\nurl = {self.manager.tcp()}\n")
        serving = self.manager.start(*arguments)
        self.config.write_text("[limits]\nmax_connections = 5\n")
        before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.manager.process.send_signal(signal.SIGHUP)
        reloading = self.manager.next("RELOADING")
        self.assertEqual(reloading["RELOADING"], "1")
        self.assertLessEqual(before_us, int(reloading["MONOTONIC_USEC"]))
        self.assertLessEqual(int(reloading["MONOTONIC_USEC"]), time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        self.assertEqual(self.manager.next("READY", "RELOADING"), {"READY": "1", "STATUS": serving})

        self.config.write_text("[limits]\nmax_connections = none\n")
        self.manager.process.send_signal(signal.SIGHUP)
        self.manager.next("RELOADING")
        refused = self.manager.next("READY", "RELOADING")
        self.assertEqual(refused["READY"], "1")
        self.assertTrue(refused["STATUS"].startswith(serving + "; "), refused)
        self.assertIn("max_connections", refused["STATUS"])
        self.ends_well()

    def test_reload_without_a_file(self):
        serving = self.manager.start("--listen", "tcp://127.0.0.1:0")
        self.manager.process.send_signal(signal.SIGHUP)
        self.manager.next("RELOADING")
        self.assertEqual(self.manager.next("READY"), {"READY": "1", "STATUS": serving})

    def test_watchdog(self):
        self.manager.start("--listen", "tcp://127.0.0.1:0", WATCHDOG_USEC="200000")
        for _ in range(3):
            self.assertEqual(self.manager.next("WATCHDOG"), {"WATCHDOG": "1"})
        self.manager.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.manager.process.pid, os.WSTOPPED | os.WNOWAIT)
        self.manager.told.settimeout(0)
        with self.assertRaises(BlockingIOError):  # it has told nothing more than what was on its way
            while True:
                self.manager.told.recv(1 << 16)
        self.manager.told.settimeout(1)
        with self.assertRaises(TimeoutError, msg="a broker that stands still must not tell that it turns"):
            self.manager.told.recv(1 << 16)
        self.manager.process.send_signal(signal.SIGCONT)
        self.manager.next("WATCHDOG")
        self.ends_well()

    def test_watchdog_of_another_process(self):
        """No process may say for another one that it is well."""
        self.manager.spawn("--listen", "tcp://127.0.0.1:0", WATCHDOG_USEC="2000")
        self.manager.next("WATCHDOG")
        other = self.new_manager()
        os.environ["WATCHDOG_USEC"] = "2000"
        self.addCleanup(os.environ.pop, "WATCHDOG_USEC")

        with brokers.Broker(environment={"NOTIFY_SOCKET": other.notify_name, "WATCHDOG_PID": "1"}) as broker:
            other.process = broker.process
            self.assertIn("Serving", other.next("READY", "WATCHDOG").get("STATUS", ""))
            other.told.settimeout(0.3)
            with self.assertRaises(TimeoutError):
                other.told.recv(1 << 16)
            other.process = None

    def test_a_manager_that_does_not_listen(self):
        """It is said, and the broker serves all the same."""
        for name, why in (f"{self.manager.dir}/nobody", "No such file"), ("relative", "$NOTIFY_SOCKET"), \
                ("/" + "x" * 200, "$NOTIFY_SOCKET"):
            with self.subTest(name=name):

                with brokers.Broker(environment={"NOTIFY_SOCKET": name}) as broker:
                    welcomed(broker.tcp).close()
                    self.assertIn("cannot tell the service manager", broker.said())
                    self.assertIn(why, broker.said())

class Given(ServiceTest):
    """Sockets that the manager has opened, of addresses that are configured."""

    def test_configured_addresses_take_what_is_given(self):
        unix, local, third = self.manager.unix(), self.manager.tcp(), self.manager.tcp()
        status = self.manager.start(*self.configure(
            f"[listener socket]\nurl = {unix}\nallow_anonymous = no\n[listener local]\nurl = {local}\n"))
        self.assertEqual(sorted(status.split(" ")[1:]), sorted((unix, local, third)))
        for url in local, third:
            welcomed(url).close()
        nobody = raw.Peer(unix)
        self.addCleanup(nobody.close)
        nobody.send(raw.hello())
        self.assertEqual(nobody.next()[0], raw.BYE)  # what the configuration says of that address holds
        nobody.close()
        self.assertTrue(raw.eventually(lambda: "listener=\"local\"" in self.manager.said()), self.manager.said())
        self.ends_well()
        self.assertTrue(os.path.exists(unix[len("unix:"):]), "the socket's file is the manager's")

    def test_tls(self):
        ca = Authority(str(self.manager.dir))
        pair = ca.issue("server")
        url = self.manager.tcp().replace("tcp:", "tls:")
        status = self.manager.start(*self.configure(
            f"[listener public]\nurl = {url}\ncertificate = {pair.path}\nkey = {pair.key}\n"))
        self.assertEqual(status, f"Serving {url}")
        peer = raw.Peer(sock=tls.connect(url, tls.context(ca)))
        self.addCleanup(peer.close)
        peer.send(raw.hello())
        self.assertEqual(peer.next()[0], raw.WELCOME)
        peer.close()
        self.ends_well()

    def test_one_in_the_way(self):
        """The same port at another host can't be bound beside it: then it says what is in the way."""
        given = self.manager.tcp()
        self.manager.spawn(*self.configure(
            f"[listener all]\nurl = {given.replace('127.0.0.1', '0.0.0.0')}\nallow_anonymous = yes\n"))
        self.assertEqual(self.manager.process.wait(60), 1)
        said = self.manager.said().splitlines()[-1]
        self.assertIn("0.0.0.0", said)
        self.assertIn(f"{given} was handed over by the service manager", said)

    def test_a_count_that_makes_no_sense(self):
        """It serves nothing else instead."""
        for count in "65", "-1", "2x", "":
            with self.subTest(count=count):
                done = subprocess.run(["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=$1 exec "$2"', "sh", count,
                                       shutil.which(brokers.PUBSUBD)], capture_output=True, text=True, timeout=60,
                                      env={**os.environ, "XDG_RUNTIME_DIR": str(self.manager.dir)})
                self.assertEqual((done.returncode, done.stderr),
                                 (1, f"pubsubd: cannot take the inherited sockets: $LISTEN_FDS is '{count}', not a number "
                                     "from 0 to 64\n"))

    def test_those_of_another_process(self):
        """LISTEN_PID is somebody else: they are not for us."""

        with brokers.Broker(environment={"LISTEN_FDS": "1", "LISTEN_PID": "1"}) as broker:
            self.assertEqual(len(broker.ready_line.split()), 3)
            welcomed(broker.tcp).close()

if __name__ == "__main__":
    unittest.main()
