"""Keys and tokens of NATS' decentralised authentication, made with the `openssl` program: an operator vouches for accounts, an account for
users. A key is written as a letter's prefix, its bytes and a CRC, in base32; a token is a JWT of the algorithm
`ed25519-nkey`."""
import base64
import binascii
import json
import os
import pathlib
import struct
import time
import uuid

from issuer import openssl

SEED = 18 << 3
KINDS = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
PRIVATE = bytes.fromhex("302e020100300506032b657004220420")  # how a key of ed25519 begins in DER (RFC 8410); its seed follows
NO_LIMIT = -1


def encode(data):
    return base64.b32encode(data + struct.pack("<H", binascii.crc_hqx(data, 0))).decode().rstrip("=")


def part(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """A pair of keys: `public` is its name, `seed` the secret. Its files are in a directory."""

    def __init__(self, directory, kind):
        self.kind, self.path = kind, pathlib.Path(directory, f"{kind}-{uuid.uuid4().hex}.der")
        secret, prefix = os.urandom(32), KINDS[kind]
        self.path.write_bytes(PRIVATE + secret)
        public = self.path.with_suffix(".public")
        openssl("pkey", "-inform", "DER", "-in", self.path, "-pubout", "-outform", "DER", "-out", public)
        self.public = encode(bytes([prefix]) + public.read_bytes()[-32:])
        self.seed = encode(bytes([SEED | prefix >> 5, (prefix & 31) << 3]) + secret)

    def sign(self, data):
        plain, signed = self.path.with_suffix(".plain"), self.path.with_suffix(".signed")
        plain.write_bytes(data)
        openssl("pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", self.path, "-in", plain, "-out", signed)
        return signed.read_bytes()

    def vouch(self, key, name, nats, lives_s=None):
        """A token: this one says so of that key."""
        claims = {"jti": uuid.uuid4().hex, "iat": int(time.time()), "iss": self.public, "sub": key.public, "name": name,
                  "nats": {**nats, "type": key.kind, "version": 2}}
        if lives_s is not None:
            claims["exp"] = int(time.time()) + lives_s
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        text = ".".join(part(json.dumps(document).encode()) for document in (head, claims))
        return f"{text}.{part(self.sign(text.encode()))}"


class Account:
    """jetstream: what it may store there, in bytes; 0: it has none."""

    def __init__(self, operator, directory, name, jetstream=0):
        self.key, self.dir = Key(directory, "account"), directory
        limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), NO_LIMIT)
        if jetstream:
            limits.update(mem_storage=0, disk_storage=jetstream, streams=NO_LIMIT, consumer=NO_LIMIT)
        self.token = operator.vouch(self.key, name, {"limits": {**limits, "wildcards": True}})

    def credentials(self, name, lives_s=None, signer=None, **permissions):
        """A user's file. permissions: publish and subscribe, each {"allow": [...]} or {"deny": [...]}.
        signer: who says so, if not this account."""
        user = Key(self.dir, "user")
        nats = {"subs": NO_LIMIT, "data": NO_LIMIT, "payload": NO_LIMIT,
                "pub": permissions.get("publish", {}), "sub": permissions.get("subscribe", {})}
        if signer:
            nats["issuer_account"] = self.key.public
        token = (signer or self.key).vouch(user, name, nats, lives_s)
        path = pathlib.Path(self.dir, f"{name}.creds")
        path.write_text(f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
                        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n")
        path.chmod(0o600)
        return path


class Operator:
    """`config` is for the servers: it tells them of accounts()."""

    def __init__(self, directory):
        self.key, self.dir, self.accounts = Key(directory, "operator"), directory, []
        self.system = self.account("SYS")
        self.token = self.key.vouch(self.key, "operator", {"system_account": self.system.key.public})

    def account(self, name, **limits):
        self.accounts.append(Account(self.key, self.dir, name, **limits))
        return self.accounts[-1]

    @property
    def config(self):
        preload = "\n".join(f'  {account.key.public}: "{account.token}"' for account in self.accounts)
        return (f'operator: "{self.token}"\nsystem_account: {self.system.key.public}\nresolver: MEMORY\n'
                f"resolver_preload: {{\n{preload}\n}}\n")
