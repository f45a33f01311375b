"""Certificates for tests, made with the `openssl` program."""
import collections
import datetime
import os
import subprocess

Certificate = collections.namedtuple("Certificate", "path key")

CONFIG = """
[ca]
default_ca = here
[here]
database = {dir}/index.txt
serial = {dir}/serial
crlnumber = {dir}/crlnumber
new_certs_dir = {dir}
certificate = {dir}/{name}.pem
private_key = {dir}/{name}.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = supplied
"""


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120)
    if done.returncode != 0:
        raise AssertionError(f"openssl {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def stamp(days):
    """The moment that many days from now, as `openssl ca` wants it."""
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return moment.strftime("%Y%m%d%H%M%SZ")


ALGORITHMS = {"EC": "ec_paramgen_curve:P-256", "RSA": "rsa_keygen_bits:2048"}


def new_key(path, algorithm="EC"):
    openssl("genpkey", "-algorithm", algorithm, "-pkeyopt", ALGORITHMS[algorithm], "-out", path)
    os.chmod(path, 0o600)
    return path


class Authority:
    """One that issues certificates, in a directory of its own below `directory`."""

    def __init__(self, directory, name="authority"):
        self.dir = os.path.join(directory, name)
        self.name = name
        os.mkdir(self.dir)
        self.config = self._write("openssl.cnf", CONFIG.format(dir=self.dir, name=name))
        self._write("index.txt", "")
        self._write("serial", "1000\n")
        self._write("crlnumber", "01\n")
        self.key = new_key(os.path.join(self.dir, name + ".key"))
        self.path = os.path.join(self.dir, name + ".pem")
        openssl("req", "-new", "-x509", "-key", self.key, "-subj", f"/CN={name}", "-days", "30", "-out", self.path,
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def _write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def issue(self, name, alternative="DNS:localhost,IP:127.0.0.1", begins_days=-1, ends_days=30, algorithm="EC"):
        """A certificate for /CN=name, with these subject alternative names ("": none)."""
        key = new_key(os.path.join(self.dir, name + ".key"), algorithm)
        request, path = os.path.join(self.dir, name + ".csr"), os.path.join(self.dir, name + ".pem")
        openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        extensions = "basicConstraints=CA:FALSE\n" + (f"subjectAltName={alternative}\n" if alternative else "")
        extfile = self._write(name + ".ext", extensions)
        openssl("ca", "-batch", "-notext", "-config", self.config, "-in", request, "-out", path, "-extfile", extfile,
                "-startdate", stamp(begins_days), "-enddate", stamp(ends_days))
        return Certificate(path, key)

    def revocation_list(self, *revoked):
        """The path of a list of what was revoked, these now and others before."""
        for certificate in revoked:
            openssl("ca", "-config", self.config, "-revoke", certificate.path)
        path = os.path.join(self.dir, "revocation-list")
        openssl("ca", "-config", self.config, "-gencrl", "-out", path)
        return path


def self_signed(directory, name="self-signed", alternative="DNS:localhost,IP:127.0.0.1"):
    key, path = new_key(os.path.join(directory, name + ".key")), os.path.join(directory, name + ".pem")
    openssl("req", "-new", "-x509", "-key", key, "-subj", f"/CN={name}", "-days", "30", "-out", path,
            "-addext", f"subjectAltName={alternative}")
    return Certificate(path, key)
