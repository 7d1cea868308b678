"""Computes the constants of vectors_test.go from the text of FORMAT.md, without the Go code.

Needs Python 3.8 and the package "cryptography" (44 or later) for Argon2id and ChaCha20-Poly1305.
"""

import base64
import hashlib
import hmac
import json
import struct

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id


def hchacha20(key, nonce):
    s = list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key) + struct.unpack("<4I", nonce))

    def quarter(a, b, c, d):
        for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = (s[x] + s[y]) & 0xFFFFFFFF
            v = s[z] ^ s[x]
            s[z] = ((v << n) | (v >> (32 - n))) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8I", *s[:4], *s[12:])


def xchacha20poly1305(key, nonce, plain, ad):
    """draft-irtf-cfrg-xchacha-03, section 2.3"""
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], plain, ad)


def hkdf(key, salt, info):
    """RFC 5869 for 32 bytes: one block"""
    prk = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()


def frame(*parts):
    return b"".join(struct.pack(">I", len(p.encode())) + p.encode() for p in parts)


def b64(b):
    return base64.b64encode(b).decode()


# The example of the draft, section 2.2.1, so that hchacha20 can be trusted.
assert hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927")).hex() == (
    "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
)

key = bytes(range(32))
id = b64(bytes(range(0x10, 0x20)))
value_key = hkdf(key, base64.b64decode(id), b"tomo-project/backup 1.0 values")
header_key = hkdf(key, base64.b64decode(id), b"tomo-project/backup 1.0 header")
nonce = bytes(range(0x40, 0x58))

for plain, place in [
    ('"hunter2"', ("servers", "a1", "/password")),
    ("null", ("settings", "smtp/password", "/smtp~1password")),
    ('{"a":[1,2.50]}', ("größe", "7", "/env/0/ключ")),
]:
    sealed = xchacha20poly1305(value_key, nonce, plain.encode(), frame("tomo-project/backup 1.0", id, *place))
    print("value  ", *place, b64(nonce + sealed))

fields = {
    "settings": {"secrets": ["/smtp_password"]},
    "servers": {"key": "/id", "secrets": ["/password", "/env/*"]},
}
parts = ["tomo", "3"]
for name in sorted(fields, key=str.encode):
    f = fields[name]
    parts += [name, f.get("key", ""), str(len(f["secrets"])), *f["secrets"]]
print("check  ", b64(hmac.new(header_key, frame(*parts), hashlib.sha256).digest()))
print("nothing", b64(hmac.new(header_key, frame("", "1"), hashlib.sha256).digest()))

salt = bytes(range(0x60, 0x70))
for time, memory, threads in [(3, 65536, 4), (1, 8192, 1)]:
    kdf = Argon2id(salt=salt, length=32, iterations=time, lanes=threads, memory_cost=memory)
    kek = kdf.derive("correct horse ∞".encode())
    wrapped = nonce + xchacha20poly1305(kek, nonce, key, b"tomo-project/backup 1.0 key")
    wrapped_key = {"type": "argon2id", "salt": b64(salt), "time": time, "memory": memory, "threads": threads}
    print("wrapped", json.dumps({**wrapped_key, "wrapped": b64(wrapped)}, separators=(",", ":")))
