#!/usr/bin/env python3
"""Reads a snapshot of format 1.0, which FORMAT.md describes, and prints it as JSON with its secrets opened.
    python3 read_snapshot.py FILE > opened.json                    (FILE as it is, or compressed with gzip)
    age -d -i KEYFILE FILE | zstd -d | python3 read_snapshot.py - > opened.json      (encrypted, compressed)
Secrets need PyNaCl and argon2-cffi (in Debian: python3-nacl, python3-argon2) and a passphrase: it asks, or takes
SNAPSHOT_PASSPHRASE of the environment (if empty, all stays sealed). For a key of age, put the data key, which the
command in FORMAT.md prints, into SNAPSHOT_DATA_KEY. Exit status: 0 accepted, 1 refused, 2 missing, 3 wrong passphrase.
NOT checked: signatures, limits, most forms, keys of records, references, the application's rules. Memory: 10 times FILE."""
import base64, getpass, gzip, hashlib, hmac, json, os, re, sys
REQUIRED = set("version created_at application_version data".split())
OPTIONAL = set("format application schema_version origin partial metadata encryption salvaged left_out proof integrity".split())
def need(condition, otherwise, status=1):
    if not condition: sys.exit(print("REFUSED: " + otherwise, file=sys.stderr) or status)
class Number(str): "The text of a number, so that 1.50 and 1e400 stay as they are."
def parse(text):
    def unique(pairs): return need(len(dict(pairs)) == len(pairs), "a name stands twice in an object") or dict(pairs)
    def constant(name): need(False, name + " is not JSON")
    return json.loads(text, object_pairs_hook=unique, parse_int=Number, parse_float=Number, parse_constant=constant)
def to_json(value):
    if isinstance(value, Number): return str(value)
    if isinstance(value, list): return "[" + ",".join(map(to_json, value)) + "]"
    if isinstance(value, dict): return "{" + ",".join(to_json(k) + ":" + to_json(v) for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
def start(raw, name): return [m.start() for m in re.finditer(b'"%s"\\s*:\\s*{' % name, raw)][-1]
def check_integrity(document, raw):
    integrity, digest = document["integrity"], hashlib.sha256(raw[:start(raw, b"integrity")]).hexdigest()
    counts = {name: str(len(records)) for name, records in document["data"].items()}
    need(digest == integrity["sha256"] and integrity["records"] == counts, "it is damaged: the digest or a count differs")
    need(raw.endswith(b"}\n}\n") and list(document)[-1] == "integrity", "it is damaged: something follows integrity")
def unbase64(text): return base64.b64decode(text, validate=True)
def frame(*parts): return b"".join(len(p).to_bytes(4, "big") + p for p in parts)
def mac(key, message): return hmac.new(key, message, hashlib.sha256).digest()
def hkdf(key, salt, use): return mac(mac(unbase64(salt), key), b"tomo-project/backup 1.0 " + use + b"\x01")
def decrypt(box, associated, key):  # the box is nonce, ciphertext and tag
    from nacl import bindings, exceptions
    try: return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(box[24:], associated, box[:24], key)
    except exceptions.CryptoError: return None
def find_data_key(wrapped_keys):
    if "SNAPSHOT_DATA_KEY" in os.environ: return bytes.fromhex(os.environ["SNAPSHOT_DATA_KEY"])
    passphrase = os.environ["SNAPSHOT_PASSPHRASE"] if "SNAPSHOT_PASSPHRASE" in os.environ else getpass.getpass()
    for w in [w for w in wrapped_keys if passphrase and w["type"] == "argon2id"]:
        from argon2.low_level import hash_secret_raw, Type
        cost = int(w["time"]), int(w["memory"]), int(w["threads"])
        need(cost[0] <= 16 and 8192 <= cost[1] <= 2**20 and cost[2] <= 16, "a wrapped key is out of bounds")
        wrapping_key = hash_secret_raw(os.fsencode(passphrase), unbase64(w["salt"]), *cost, 32, Type.ID)
        if data_key := decrypt(unbase64(w["wrapped"]), b"tomo-project/backup 1.0 key", wrapping_key): return data_key
    need(not passphrase, "the passphrase opens no wrapped key of type argon2id", status=3)
def check_header(document, encryption, header_key):
    parts = [document.get("application", ""), document.get("schema_version", "1")]
    for name, field in sorted(encryption["fields"].items()):
        parts += [name, field.get("key", ""), str(len(field["secrets"])), *field["secrets"]]
    need(mac(header_key, frame(*map(str.encode, parts))) == unbase64(encryption["check"]), "its header was altered")
def check_mac(document, raw, proof_key):
    message = frame(b"tomo-project/backup 1.0 proof", hashlib.sha256(raw[:start(raw, b"proof")]).digest())
    need(mac(proof_key, message) == unbase64(document["proof"]["mac"]), "it was altered: the mac differs")
def escape(name): return str(name).replace("~", "~0").replace("/", "~1")
def places(value, pointer, path=(), holder=None):  # each place that exists: what holds it, its path, the value there
    if not pointer: yield holder, path, value
    token, slash, rest = pointer[1:].partition("/")
    for name in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        if pointer and token in ("*", escape(name)): yield from places(value[name], slash + rest, (*path, name), value)
def record_key(record, declared):
    parts = [value for pointer in declared.split(",") for _, _, value in places(record, pointer)]
    return parts[0] if "," not in declared else json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
def open_secrets(data, encryption, value_key):
    for collection, field in encryption["fields"].items():
        for root in data.get(collection, []) if "key" in field else [data.get(collection, {})]:
            for holder, path, sealed in [place for secret in field["secrets"] for place in places(root, secret)]:
                key = record_key(root, field["key"]) if "key" in field else path[0]
                where = collection, key, "".join("/" + escape(name) for name in path)
                need(isinstance(sealed, dict) and list(sealed) == ["$sealed"], "a secret is in clear: %s %s %s" % where)
                associated = frame(*map(str.encode, ("tomo-project/backup 1.0", encryption["id"], *where)))
                plain = decrypt(unbase64(sealed["$sealed"]), associated, value_key)
                need(plain, "a secret was altered or moved: %s %s %s" % where)
                holder[path[-1]] = parse(plain.decode())
def read(raw):
    need(raw.lstrip()[:1] == b"{", "no snapshot begins so. Decrypt .age with age -d, and expand .zst with zstd -d")
    version = (re.match(rb'\s*{\s*"version"\s*:\s*"([^"]*)"', raw) or [raw, b"1.0"])[1].decode()
    need(version == "1.0", "its format is %r, and this program reads '1.0'" % version)
    document = parse(raw.decode())
    fits = REQUIRED <= set(document) <= REQUIRED | OPTIONAL and [*document.items()][0] == ("version", "1.0")
    need(fits and all(isinstance(c, (list, dict)) for c in document["data"].values()), "it lacks the form of a snapshot")
    if "integrity" in document: check_integrity(document, raw)
    encryption, has_mac = document.get("encryption"), "mac" in document.get("proof", {})
    need(not encryption or encryption["cipher"] == "xchacha20-poly1305", "it is sealed with another cipher")
    if data_key := encryption and find_data_key(encryption["keys"]):
        check_header(document, encryption, hkdf(data_key, encryption["id"], b"header"))
        if has_mac: check_mac(document, raw, hkdf(data_key, encryption["id"], b"proof"))
        open_secrets(document["data"], document.pop("encryption"), hkdf(data_key, encryption["id"], b"values"))
    facts = ["digest and counts fit" if "integrity" in document else "NO DIGEST", "SALVAGED" * ("salvaged" in document),
        "secrets opened, mac " + ("fits" if has_mac else "MISSING") if data_key else "nothing opened, NOTHING PROVEN"]
    rest = lambda *hidden: to_json({n: v for n, v in document.items() if n not in ("proof", "integrity", *hidden)})
    sys.stdout.buffer.write(rest().encode() + b"\n")
    print("ACCEPTED: " + ", ".join(filter(None, facts)), rest("data", "encryption"), sep="\n", file=sys.stderr)
try:
    need(len(sys.argv) == 2, "one argument is needed: FILE, or - for standard input\n" + __doc__, 2)
    with sys.stdin.buffer if sys.argv[1] == "-" else open(sys.argv[1], "rb") as file: raw = file.read()
    read(gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw)
except Exception as error:
    need(False, "%s %s" % (type(error).__name__, error), 2 if isinstance(error, (ImportError, FileNotFoundError)) else 1)
