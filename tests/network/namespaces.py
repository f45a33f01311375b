"""Two network namespaces with a link between them that can be made bad. The broker is in that of the test itself, which
enters one of its own before anything else; the clients are in the other."""
import os
import shutil
import subprocess
import sys

SKIPPED = 77
HERE, THERE = "10.77.0.1", "10.77.0.2"
INSIDE = "PUBSUB_OWN_NETWORK"
os.environ["PATH"] += ":/usr/sbin:/sbin"


def enter_own():
    """Begins this program anew in a network namespace of its own; as root, or as a user with a user namespace. Where that
    is not permitted it ends as skipped."""
    if INSIDE in os.environ:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    for options in ["-n"], ["-r", "-n"]:
        if subprocess.run(["unshare", *options, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            os.environ[INSIDE] = "1"
            os.execvp("unshare", ["unshare", *options, sys.executable, *sys.argv])
    print("skipped: network namespaces are not permitted here")
    sys.exit(SKIPPED)


class Link:
    """The other namespace, and the link to it: a pair of virtual Ethernet devices, `near` here and `far` there."""

    def __init__(self):
        for tool in "ip", "nft", "tc", "nsenter":
            if not shutil.which(tool):
                raise AssertionError(f"there is no '{tool}' (deploy/install-packages test)")
        # It lives as long as its standard input, so it ends with this program however that ends.
        self.holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.there = ["nsenter", "-t", str(self.holder.pid), "-n"]
        self.ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(self.holder.pid))
        self.ip("address", "add", f"{HERE}/24", "dev", "near")
        self.ip("link", "set", "near", "up")
        for words in ("address", "add", f"{THERE}/24", "dev", "far"), ("link", "set", "far", "up"), ("link", "set", "lo", "up"):
            subprocess.run([*self.there, "ip", *words], check=True)
        self.nft("add table inet bad",
                 "add chain inet bad in { type filter hook input priority 0; }",
                 "add chain inet bad out { type filter hook output priority 0; }")

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    @staticmethod
    def nft(*commands):
        subprocess.run(["nft", "-f", "-"], input="\n".join(commands), text=True, check=True)

    def lose(self, percent):
        """Of the packets each way."""
        self.nft(f"add rule inet bad in iifname near numgen random mod 100 < {percent} drop",
                 f"add rule inet bad out oifname near numgen random mod 100 < {percent} drop")

    def slow_down(self, rate):
        """To so many bits a second, each way."""
        limit = ["root", "tbf", "rate", rate, "burst", "4kb", "latency", "300ms"]
        subprocess.run(["tc", "qdisc", "add", "dev", "near", *limit], check=True)
        subprocess.run([*self.there, "tc", "qdisc", "add", "dev", "far", *limit], check=True)

    def cut(self, how):
        if how == "silent":
            self.nft("add rule inet bad in iifname near drop", "add rule inet bad out oifname near drop")
        elif how == "deaf":     # what the broker sends still arrives
            self.nft("add rule inet bad in iifname near drop")
        elif how == "mute":     # and what the clients send
            self.nft("add rule inet bad out oifname near drop")
        elif how == "reset":    # the clients' connections break at once, the broker's are half open
            self.nft("add rule inet bad in iifname near meta l4proto tcp reject with tcp reset",
                     "add rule inet bad out oifname near tcp flags & rst == 0 drop")
        elif how == "down":
            self.ip("link", "set", "near", "down")
        else:
            raise ValueError(how)

    def heal(self):
        self.nft("flush chain inet bad in", "flush chain inet bad out")
        self.ip("link", "set", "near", "up")

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()
        self.holder.stdout.close()
        subprocess.run(["ip", "link", "delete", "near"], stderr=subprocess.DEVNULL)
        self.nft("delete table inet bad")
