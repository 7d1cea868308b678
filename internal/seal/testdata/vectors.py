"""Computes the constants of seal_test.go and passphrase_test.go, and the worked example of FORMAT.md, from the text of FORMAT.md and without the Go code.

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
    parts = [p.encode() if isinstance(p, str) else p for p in parts]
    return b"".join(struct.pack(">I", len(p)) + p for p in parts)


def proof_message(digest):
    return frame("tomo-project/backup 1.0 proof", digest)


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


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
proof_key = hkdf(key, base64.b64decode(id), b"tomo-project/backup 1.0 proof")
nonce = bytes(range(0x40, 0x58))

for plain, place in [
    ('"hunter2"', ("servers", "a1", "/password")),
    ("null", ("settings", "smtp/password", "/smtp~1password")),
    ('{"a":[1,2.50]}', ("größe", "7", "/env/0/ключ")),
]:
    sealed = xchacha20poly1305(value_key, nonce, plain.encode(), frame("tomo-project/backup 1.0", id, *place))
    print("value  ", *place, b64(nonce + sealed))


def check_frame(application, schema_version, fields):
    parts = [application, str(schema_version)]
    for name in sorted(fields, key=str.encode):
        f = fields[name]
        parts += [name, f.get("key", ""), str(len(f["secrets"])), *f["secrets"]]
    return frame(*parts)


fields = {
    "settings": {"secrets": ["/smtp_password"]},
    "servers": {"key": "/id", "secrets": ["/password", "/env/*"]},
}
print("check  ", b64(mac(header_key, check_frame("tomo", 3, fields))))
print("nothing", b64(mac(header_key, check_frame("", 1, {}))))
print("proof  ", b64(mac(proof_key, proof_message(bytes(range(0x80, 0xA0))))))

salt = bytes(range(0x60, 0x70))


def wrap(passphrase, nonce, time, memory, threads):
    kdf = Argon2id(salt=salt, length=32, iterations=time, lanes=threads, memory_cost=memory)
    kek = kdf.derive(passphrase.encode())
    wrapped = nonce + xchacha20poly1305(kek, nonce, key, b"tomo-project/backup 1.0 key")
    wrapped_key = {"type": "argon2id", "salt": b64(salt), "time": time, "memory": memory, "threads": threads}
    return kek, {**wrapped_key, "wrapped": b64(wrapped)}


for cost in [(3, 65536, 4), (1, 8192, 1)]:
    print("wrapped", compact(wrap("correct horse ∞", nonce, *cost)[1]))

# The worked example of FORMAT.md.


def seal(nonce, plain, *place):
    return {"$sealed": b64(nonce + xchacha20poly1305(value_key, nonce, plain, frame("tomo-project/backup 1.0", id, *place)))}


wrapping_key, wrapped_key = wrap("correct horse", bytes(range(0x70, 0x88)), 3, 65536, 4)
fields = {
    "servers": {"key": "/id", "secrets": ["/password"]},
    "settings": {"secrets": ["/smtp_password"]},
}
check = check_frame("tomo", 3, fields)
encryption = {"cipher": "xchacha20-poly1305", "id": id, "fields": fields, "keys": [wrapped_key], "check": b64(mac(header_key, check))}
password = seal(bytes(range(0x40, 0x58)), b'"hunter2"', "servers", "a1", "/password")
smtp_password = seal(bytes(range(0x58, 0x70)), b"null", "settings", "smtp_password", "/smtp_password")
text = (
    '{"version":"1.0",\n"created_at":"2024-01-15T10:30:00Z",\n"application":"tomo",\n"application_version":"2.1.0",\n"schema_version":3,\n'
    f'"metadata":{{"trigger":"manual"}},\n"encryption":{compact(encryption)},\n"data":{{\n'
    f'"servers":[\n{{"id":"a1","name":"nas","password":{compact(password)}}},\n{{"id":"b2","name":"pi"}}\n],\n'
    f'"settings":{{\n"theme":"dark",\n"smtp_password":{compact(smtp_password)}\n}},\n'
    '"users":[\n]\n},\n'
)
message = proof_message(hashlib.sha256(text.encode()).digest())
text += f'"proof":{compact({"mac": b64(mac(proof_key, message))})},\n'
integrity = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "records": {"servers": 2, "settings": 2, "users": 0}}
print(text + f'"integrity":{compact(integrity)}\n}}')
print("wrapping key", wrapping_key.hex())
print("value key", value_key.hex())
print("header key", header_key.hex())
print("proof key", proof_key.hex())
print("frame of the check value", check.hex())
print("associated data", frame("tomo-project/backup 1.0", id, "servers", "a1", "/password").hex())
print("M", message.hex())
