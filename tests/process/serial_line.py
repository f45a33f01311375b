"""A serial line between a device and a broker: a pty at the device's end, a connection to the broker at the other."""
import os
import select
import shutil
import socket
import tempfile
import threading
import time
import tty

import raw


class SerialLine:
    """`path` names the device's end while the line has a carrier, that is, while it is connected to the broker; when the device
    hangs up or the broker ends the connection it is gone, and a new one comes.
    cuts: one for each of the first connections; so many bytes of the device's get through, then the line is cut, with what
    is on its way."""

    def __init__(self, url, cuts=()):
        self.url = url
        self.cuts = list(cuts)
        self.dir = tempfile.mkdtemp(prefix="pubsub-test-")
        self.path = os.path.join(self.dir, "line")
        self.wake, self.waker = socket.socketpair()
        self.ended = False
        self.connections = 0
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def stop(self):
        self.ended = True
        self.waker.send(b"x")
        self.thread.join()
        self.wake.close()
        self.waker.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _serve(self):
        while not self.ended:
            try:
                broker = raw.open_socket(self.url)
            except OSError:
                time.sleep(0.02)  # nobody tells when a broker is there
                continue
            with broker:
                self._connection(broker)

    def _connection(self, broker):
        line, device = os.openpty()
        try:
            tty.setraw(device)
            os.symlink(os.ttyname(device), self.path + ".new")
            os.rename(self.path + ".new", self.path)
            os.set_blocking(line, False)
            broker.setblocking(False)
            if self._is_picked_up(line, device):
                self.connections += 1
                self._relay(line, broker)
        finally:
            os.unlink(self.path)
            os.close(line)

    def _is_picked_up(self, line, device):
        """Waits for the device. Only then a hang-up can be told from a line that nobody has picked up."""
        os.close(device)
        poll = select.poll()
        poll.register(line, select.POLLIN)
        while any(events & select.POLLHUP for _, events in poll.poll(0)):
            if select.select([self.wake], [], [], 0.005)[0]:
                return False
        return True

    def _relay(self, line, broker):
        """Carries bytes both ways until one side ends, or the line is cut."""
        to_broker, to_device = bytearray(), bytearray()
        left = self.cuts.pop(0) if self.cuts else float("inf")
        try:
            while left > 0:
                reading = [self.wake] + [line] * (len(to_broker) < 4096) + [broker] * (len(to_device) < 4096)
                writing = [line] * bool(to_device) + [broker] * bool(to_broker)
                readable, writable, _ = select.select(reading, writing, [])
                if self.wake in readable:
                    return
                if broker in readable:
                    to_device += self._more(broker.recv(4096))
                if line in readable:
                    to_broker += self._more(os.read(line, 4096))
                if line in writable:
                    del to_device[:self._written(line, to_device)]
                if broker in writable:
                    sent = broker.send(to_broker)
                    del to_broker[:sent]
                    left -= sent
        except OSError:
            pass  # one side has gone

    @staticmethod
    def _written(line, data):
        try:
            return os.write(line, data)
        except BlockingIOError:
            return 0  # a pty says that there is room when it is not enough

    @staticmethod
    def _more(data):
        if not data:
            raise ConnectionResetError
        return data
