"""Reads a snapshot of format 1.0, which FORMAT.md describes, and prints it as JSON with its secrets opened.
    python3 read_snapshot.py FILE > opened.json                    (FILE as it is, or compressed with gzip)
    age -d -i KEYFILE FILE | zstd -d | python3 read_snapshot.py - > opened.json      (encrypted, compressed)
Secrets need PyNaCl and argon2-cffi (Debian: python3-nacl, python3-argon2), and SNAPSHOT_PASSPHRASE (else it asks;
empty: all stays sealed) or, for a private key, SNAPSHOT_DATA_KEY of the command in FORMAT.md. Exit: 0 accepted,
1 refused, 2 missing, 3 wrong key. NOT checked: signatures, limits, forms, keys, references. Memory: 10 times FILE."""
import base64, getpass, gzip, hashlib, hmac, json, os, re, sys
MEMBERS = ("version created_at application_version data format application schema_version origin partial metadata "
    "encryption salvaged left_out proof integrity").split()  # the first four are required
def need(condition, otherwise, status=1):
    if not condition: sys.exit(print("REFUSED: " + otherwise, file=sys.stderr) or status)
class Number(str): "The text of a number, so that 1.50 and 1e400 stay as they are."
def unique(pairs): return need(len(dict(pairs)) == len(pairs), "a name stands twice in an object") or dict(pairs)
def parse(s): return json.loads(s, object_pairs_hook=unique, parse_int=Number, parse_float=Number, parse_constant=int)
def to_json(value):
    if isinstance(value, list): return "[" + ",".join(map(to_json, value)) + "]"
    if isinstance(value, dict): return "{" + ",".join(to_json(k) + ":" + to_json(v) for k, v in value.items()) + "}"
    return value if isinstance(value, Number) else json.dumps(value, ensure_ascii=False)
def start(raw, name): return [m.start() for m in re.finditer(b'"%s"\\s*:\\s*{' % name, raw)][-1]
def check_integrity(document, raw):
    integrity, digest = document["integrity"], hashlib.sha256(raw[:start(raw, b"integrity")]).hexdigest()
    counts = {name: str(len(records)) for name, records in document["data"].items()}
    need(digest == integrity["sha256"] and integrity["records"] == counts, "it is damaged: a digest or count differs")
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
    digits, passphrase = os.environ.get("SNAPSHOT_DATA_KEY"), os.environ.get("SNAPSHOT_PASSPHRASE")
    need(not digits or re.fullmatch("[0-9A-Fa-f]{64}", digits), "wrong key: SNAPSHOT_DATA_KEY has 64 hex digits", 3)
    if digits or passphrase == "": return bytes.fromhex(digits or "")
    keys = [(w, int(w["time"]), int(w["memory"]), int(w["threads"])) for w in wrapped_keys if w["type"] == "argon2id"]
    need(keys, "no passphrase opens it, it takes a private key: see FORMAT.md, Wrapped keys, for SNAPSHOT_DATA_KEY", 3)
    fits = all(1 <= time <= 16 and 8192 <= memory <= 2**20 and 1 <= threads <= 16 for _, time, memory, threads in keys)
    need(fits and sum(key[1] * key[2] for key in keys) <= 2**24, "to try its wrapped keys costs more than is allowed")
    try: passphrase = passphrase or getpass.getpass()
    except (ValueError, EOFError): need(False, "there is no terminal to ask on: set SNAPSHOT_PASSPHRASE", status=2)
    for w, *cost in keys if passphrase else []:
        from argon2.low_level import hash_secret_raw, Type
        wrapping_key = hash_secret_raw(os.fsencode(passphrase), unbase64(w["salt"]), *cost, 32, Type.ID)
        if data_key := decrypt(unbase64(w["wrapped"]), b"tomo-project/backup 1.0 key", wrapping_key): return data_key
    need(not passphrase, "wrong key: the passphrase opens no wrapped key of type argon2id", status=3)
def check_header(document, encryption, header_key):
    parts = [document.get("application", ""), document.get("schema_version", "1")]
    for name, field in sorted(encryption["fields"].items()):
        parts += [name, field.get("key", ""), str(len(field["secrets"])), *field["secrets"]]
    why = ("wrong key, or its header was altered", 3) if os.environ.get("SNAPSHOT_DATA_KEY") else ("it was altered", 1)
    need(mac(header_key, frame(*map(str.encode, parts))) == unbase64(encryption["check"]), *why)
def at(*path): return "".join("/" + str(name).replace("~", "~0").replace("/", "~1") for name in path)
def places(value, pointer, path=(), holder=None):  # each place that exists: what holds it, its path, the value there
    if not pointer: yield holder, path, value
    token, slash, rest = pointer[1:].partition("/")
    for name in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        if pointer and token in ("*", at(name)[1:]): yield from places(value[name], slash + rest, path + (name,), value)
def record_key(record, declared):
    parts = [value for pointer in declared.split(",") for _, _, value in places(record, pointer)]
    return parts[0] if "," not in declared else json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
def open_secrets(data, encryption, value_key):
    for collection, field in encryption["fields"].items():
        for root in data.get(collection, []) if "key" in field else [data.get(collection, {})]:
            for holder, path, sealed in [place for secret in field["secrets"] for place in places(root, secret)]:
                where = collection, record_key(root, field["key"]) if "key" in field else path[0], at(*path)
                need(isinstance(sealed, dict) and list(sealed) == ["$sealed"], "a secret is in clear: %s %s %s" % where)
                parts = map(str.encode, ("tomo-project/backup 1.0", encryption["id"], *where))
                plain = decrypt(unbase64(sealed["$sealed"]), frame(*parts), value_key)
                need(plain, "a secret was altered or moved: %s %s %s" % where)
                holder[path[-1]] = parse(plain.decode())
def read(raw):
    need(raw.lstrip()[:1] == b"{", "no snapshot begins so. Decrypt .age with age -d, and expand .zst with zstd -d")
    document = parse(raw.decode())
    need([*document.items()][:1] == [("version", "1.0")], "it does not begin with version 1.0, which this reads")
    need(not (odd := {*MEMBERS[:4]} - {*document} | {*document} - {*MEMBERS}), "missing or unknown: %s" % sorted(odd))
    need(all(isinstance(c, (list, dict)) for c in document["data"].values()), "it lacks the form of a snapshot")
    if "integrity" in document: check_integrity(document, raw)
    encryption, proof = document.get("encryption"), document.get("proof", {})
    need(not encryption or encryption["cipher"] == "xchacha20-poly1305", "it is sealed with another cipher")
    if data_key := encryption and find_data_key(encryption["keys"]):
        check_header(document, encryption, hkdf(data_key, encryption["id"], b"header"))
        if "mac" in proof:
            message = frame(b"tomo-project/backup 1.0 proof", hashlib.sha256(raw[:start(raw, b"proof")]).digest())
            need(mac(hkdf(data_key, encryption["id"], b"proof"), message) == unbase64(proof["mac"]), "it was altered")
        open_secrets(document["data"], document.pop("encryption"), hkdf(data_key, encryption["id"], b"values"))
    proven = "mac fits" if "mac" in proof else "signature not checked" if "ed25519" in proof else "mac MISSING"
    facts = ["digest and counts fit" if "integrity" in document else "NO DIGEST", "SALVAGED" * ("salvaged" in document),
        "secrets opened, " + proven if data_key else "nothing opened, NOTHING PROVEN"]
    rest = lambda *hidden: to_json({n: v for n, v in document.items() if n not in ("proof", "integrity", *hidden)})
    sys.stdout.buffer.write(rest().encode() + b"\n")
    print("ACCEPTED: " + ", ".join(filter(None, facts)), rest("data", "encryption"), sep="\n", file=sys.stderr)
try:
    need(len(sys.argv) == 2, "one argument is needed: FILE, or - for standard input\n" + __doc__, 2)
    with sys.stdin.buffer if sys.argv[1] == "-" else open(sys.argv[1], "rb") as file: raw = file.read()
    read(gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw)
except Exception as error:
    missing = isinstance(error, (ImportError, OSError)) and not isinstance(error, gzip.BadGzipFile)
    need(False, "%s%s" % ("" if missing else "damaged or cut off: take another copy: ", error), 2 if missing else 1)
