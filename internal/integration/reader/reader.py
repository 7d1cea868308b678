#!/usr/bin/env python3
"""A second implementation of a reader of the snapshot format, written from schema/FORMAT.md alone.

It reads everything that the text says a reader accepts, and refuses everything else, so that the tests beside
it can hold the library against it. It shares no code and no author's mistake with the library.

It answers requests until its input ends. A request is two
frames on standard input, each a length of four bytes (big-endian) and so many bytes: a JSON object, and a file.
The object has the members passphrase, identities, require_proof and trusted, as an entry of vectors.json has
them, and app, the declaration in vectors.json, if it is not that of the request before. The answer is one frame,
a JSON object: expect, and manifest and records if it is "ok", as vectors.json has them, and error if it is not.

It needs Debian's python3-nacl, python3-argon2 and python3-jsonschema, and in PATH the commands zstd, age (1.3 or
later, for post-quantum keys) and age-plugin-batchpass, which gives age a passphrase. It holds a document in memory.
"""
import base64
import calendar
import datetime
import functools
import hashlib
import hmac
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import zlib
from decimal import Decimal

import argon2.low_level
import jsonschema
import nacl.bindings
import nacl.exceptions

FORMAT = "1.0"
DOMAIN = "tomo-project/backup 1.0"

MIB = 1 << 20
MAX_DOCUMENT = 256 * MIB  # the default is 16 GiB, which is more than this reader can hold
MAX_RECORDS = 10_000_000
MAX_RECORD = 16 * MIB
MAX_DEPTH = 100
MAX_VALUES = 100_000
MAX_MEMBER = MIB
MAX_MEMBER_DEPTH = 32
MAX_MEMBERS = 16
MAX_COLLECTIONS = 1000
MAX_NAME = 256
MAX_KEY = 4096
MAX_MAP_KEYS = 64 * MIB
LEAST_MAP_KEY = 32
MAX_NUMBER = 1024
MAX_EXPONENT = 4
MAX_KEYS = 16
MAX_POINTERS = 1000
MAX_ALL_POINTERS = 10_000
MAX_WINDOW = 8 * MIB
MAX_AGE_HEADER = MIB
MAX_WORK_FACTOR = 20
MAX_AGE_KEY_FILE = 64 * 1024
MAX_COST = 16_777_216  # KiB, of all wrapped keys together
MAX_INTEGER = (1 << 53) - 1


class Refused(Exception):
    """Why a document is refused: a kind of the README of the vectors, and what is the matter."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


def damaged(text):
    return Refused("damaged", text)


def malformed(text):
    return Refused("format", text)


def limit(text):
    return Refused("limit", text)


# JSON. Values keep the text that they have in the file.

class Str(str):
    """A string, with its text as it stands in the file."""
    __slots__ = ("raw",)


class Num(str):
    """A number: its text as it stands in the file."""
    __slots__ = ()


class Obj(dict):
    """An object; raw has the text of each name as it stands in the file."""
    __slots__ = ("raw",)

    def __init__(self):
        super().__init__()
        self.raw = {}


SPACE = re.compile(r"[ \t\n\r]*")
PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
ESCAPE = re.compile(r'\\(?:(["\\/bfnrt])|u([0-9a-fA-F]{4}))')
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?([0-9]+))?")
NUMBER_CHARACTERS = re.compile(r"[-+0-9.eE]+")
ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Parser:
    """A strict parser of RFC 8259. It keeps count of depth and values, for the limits."""

    def __init__(self, text):
        self.text = text
        self.at = 0
        self.values = 1

    def space(self):
        self.at = SPACE.match(self.text, self.at).end()

    def peek(self):
        return self.text[self.at:self.at + 1]

    def expect(self, character):
        self.space()
        if self.peek() != character:
            raise damaged("%r is missing at character %d" % (character, self.at))
        self.at += 1

    def string(self):
        if self.peek() != '"':
            raise damaged("a string is missing at character %d" % self.at)
        start = self.at
        self.at += 1
        parts = []
        while True:
            end = PLAIN.match(self.text, self.at).end()
            parts.append(self.text[self.at:end])
            self.at = end
            here = self.peek()
            if here == '"':
                self.at += 1
                break
            if here != "\\":
                raise damaged("a string does not end, or holds a control character, at character %d" % self.at)
            parts.append(self.escape())
        value = Str("".join(parts))
        value.raw = self.text[start:self.at]
        return value

    def escape(self):
        unit = self.unit()
        if not 0xD800 <= unit < 0xE000:
            return chr(unit)
        low = self.unit() if unit < 0xDC00 and self.text.startswith("\\u", self.at) else 0
        if not 0xDC00 <= low < 0xE000:
            raise damaged("a surrogate stands alone before character %d" % self.at)
        return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))

    def unit(self):
        m = ESCAPE.match(self.text, self.at)
        if not m:
            raise damaged("an escape is malformed at character %d" % self.at)
        self.at = m.end()
        return ord(ESCAPED[m[1]]) if m[1] else int(m[2], 16)

    def number(self):
        m = NUMBER.match(self.text, self.at)
        if not m or NUMBER_CHARACTERS.match(self.text, self.at).end() != m.end():
            raise damaged("a value is malformed at character %d" % self.at)
        if len(m[0]) > MAX_NUMBER or m[1] and len(m[1].lstrip("0")) > MAX_EXPONENT:
            raise limit("the number at character %d is too long" % self.at)
        self.at = m.end()
        return Num(m[0])

    def value(self, depth, levels):
        """Reads a value; if it is a container, it stands at this depth, of so many levels that there may be."""
        self.space()
        here = self.peek()
        if here == '"':
            return self.string()
        if here == "{" or here == "[":
            if depth > levels:
                raise limit("the nesting at character %d is too deep" % self.at)
            return self.object(depth, levels) if here == "{" else self.array(depth, levels)
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        if here == "":
            raise damaged("the document ends early")
        return self.number()

    def object(self, depth, levels):
        result = Obj()
        for name in self.members():
            if name in result:
                raise damaged("the name %r stands twice before character %d" % (name, self.at))
            self.count()
            result[name] = self.value(depth + 1, levels)
            result.raw[name] = name.raw
        return result

    def array(self, depth, levels):
        result = []
        for _ in self.elements():
            self.count()
            result.append(self.value(depth + 1, levels))
        return result

    def members(self):
        """Yields the name of each member of an object; the caller reads the value."""
        self.expect("{")
        self.space()
        if self.peek() == "}":
            self.at += 1
            return
        while True:
            self.space()
            name = self.string()
            self.expect(":")
            yield name
            self.space()
            if self.peek() == "}":
                self.at += 1
                return
            self.expect(",")

    def elements(self):
        """Yields for each element of an array; the caller reads it."""
        self.expect("[")
        self.space()
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            yield
            self.space()
            if self.peek() == "]":
                self.at += 1
                return
            self.expect(",")

    def count(self):
        self.values += 1
        if self.values > MAX_VALUES:
            raise limit("the value at character %d is of too many values" % self.at)


def json_text(value):
    """The text of a value without insignificant white space, in all else as it stands in the file."""
    if isinstance(value, Num):
        return str(value)
    if isinstance(value, str):
        return value.raw
    if isinstance(value, Obj):
        return "{" + ",".join(value.raw[n] + ":" + json_text(v) for n, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    return {True: "true", False: "false", None: "null"}[value]


def python_value(value):
    """A value as the JSON Schema validator takes it. A number with an integral value is an int."""
    if isinstance(value, Num):
        number = Decimal(value)
        return int(number) if number == number.to_integral_value() else number
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Obj):
        return {str(n): python_value(v) for n, v in value.items()}
    if isinstance(value, list):
        return [python_value(v) for v in value]
    return value


def is_integer(value, most=MAX_INTEGER):
    """Whether a value is an integer as members other than data have them."""
    return isinstance(value, Num) and re.fullmatch("0|[1-9][0-9]*", value) is not None and int(value) <= most


def is_string(value):
    return isinstance(value, str) and not isinstance(value, Num)


def has_null(value):
    if isinstance(value, dict):
        return any(map(has_null, value.values()))
    if isinstance(value, list):
        return any(map(has_null, value))
    return value is None


def from_base64(text, length=None):
    """The bytes, or None if the text is not their one base64 text, or they are not so many."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        return None
    if base64.b64encode(data).decode() != text or length not in (None, len(data)):
        return None
    return data


# Files: decrypt, expand.

AGE_INTRO = b"age-encryption.org/v1\n"
AGE_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"


class Keys:
    """What the user has given to open a file with."""

    def __init__(self, request):
        self.passphrase = (request.get("passphrase") or "").encode()
        self.identities = request.get("identities") or ""
        self.require_proof = bool(request.get("require_proof"))
        self.trusted = [from_base64(k, 32) for k in request.get("trusted") or []]

    def none(self):
        return not self.passphrase and not self.identities


def age_stanzas(data):
    """The stanzas of the header of a binary age file, as lists of their arguments."""
    if re.match(rb"age-encryption\.org/v([2-9]|[1-9][0-9]+)\n", data):
        raise Refused("too-new", "it is of a later version of age")
    if not data.startswith(AGE_INTRO):
        raise damaged("it does not begin as a file of age")
    end = data.find(b"\n---", 0, MAX_AGE_HEADER)
    if end < 0:
        raise damaged("the header of the encrypted file does not end")
    lines = data[len(AGE_INTRO):end].split(b"\n")
    stanzas = [line.split(b" ")[1:] for line in lines if line.startswith(b"-> ")]
    if not stanzas:
        raise damaged("the encrypted file names nobody who could open it")
    return stanzas


def dearmor(data):
    lines = data.strip(b" \t\r\n").split(b"\n")
    return base64.b64decode(b"".join(lines[1:-1]).replace(b"\r", b""))


@functools.lru_cache(maxsize=4096)
def age_decrypt(data, passphrase, identities):
    """Decrypts with the command age. The answer is the plaintext, or the kind of the error and its text."""
    armored = data.startswith(AGE_ARMOR)
    try:
        stanzas = age_stanzas(dearmor(data) if armored else data)
    except ValueError as error:
        return "damaged", str(error)
    except Refused as error:
        return error.kind, str(error)
    with_scrypt = [s for s in stanzas if s[0] == b"scrypt"]
    if with_scrypt and passphrase:
        factor = with_scrypt[0][2] if len(with_scrypt[0]) == 3 else b""
        if not re.fullmatch(rb"[1-9][0-9]*", factor):
            return "damaged", "the work factor is malformed"
        if len(factor) > 2 or int(factor) > MAX_WORK_FACTOR:
            return "limit", "the work factor is 2^%s" % factor.decode()
    arguments, environment = ["age", "-d"], dict(os.environ)
    with tempfile.NamedTemporaryFile("w") as file:
        if with_scrypt and passphrase:
            environment["AGE_PASSPHRASE"] = os.fsdecode(passphrase)
            arguments += ["-j", "batchpass"]
        elif identities:
            file.write(identities)
            file.flush()
            arguments += ["-i", file.name]
        else:
            return "wrong-key", "it is not encrypted with a passphrase"
        run = subprocess.run(arguments, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    if run.returncode == 0:
        return "ok", run.stdout
    text = run.stderr.decode(errors="replace")
    wrong = re.search("no identity matched|incorrect passphrase|did not match any|incorrect identity", text)
    return "wrong-key" if wrong else "damaged", text


def decrypt_file(data, keys):
    try:
        age_stanzas(dearmor(data) if data.startswith(AGE_ARMOR) else data)
    except (ValueError, Refused) as error:
        if getattr(error, "kind", "") == "too-new":
            raise
    if keys.none():
        raise Refused("no-key", "the file is encrypted")
    kind, result = age_decrypt(data, keys.passphrase, keys.identities)
    if kind != "ok":
        raise Refused(kind, result)
    return result


def gunzip(data):
    parts, size = [], 0
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            part = member.decompress(data, MAX_DOCUMENT + 1 - size)
        except zlib.error as error:
            raise damaged("gzip: %s" % error)
        size += len(part)
        if size > MAX_DOCUMENT:
            raise limit("the document is too large")
        if not member.eof:
            raise damaged("the compressed file ends early")
        parts.append(part)
        data = member.unused_data
    return b"".join(parts)


def check_zstd_frames(data):
    """Walks over the frames, and holds the window of each against the limit."""
    at = 0

    def take(n):
        nonlocal at
        if at + n > len(data):
            raise damaged("the compressed file ends early")
        at += n
        return int.from_bytes(data[at - n:at], "little")

    while at < len(data):
        magic = take(4)
        if 0x184D2A50 <= magic <= 0x184D2A5F:
            take(take(4))
            continue
        if magic != 0xFD2FB528:
            raise damaged("something that is not Zstandard stands behind a frame")
        descriptor = take(1)
        if descriptor & 0x08:
            raise damaged("a reserved bit of a frame is set")
        single = descriptor & 0x20
        window = 0
        if not single:
            w = take(1)
            base = 1 << (10 + (w >> 3))
            window = base + base // 8 * (w & 7)
        if take((0, 1, 2, 4)[descriptor & 3]) != 0:
            raise damaged("a frame asks for a dictionary")
        size_bytes = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
        size = take(size_bytes) + (256 if size_bytes == 2 else 0)
        if single:
            window = size
        if window > MAX_WINDOW:
            raise limit("a frame asks for a window of %d bytes" % window)
        last = 0
        while not last:
            block = take(3)
            last, kind, length = block & 1, block >> 1 & 3, block >> 3
            if kind == 3:
                raise damaged("a block is of a reserved type")
            take(1 if kind == 1 else length)
        if descriptor & 4:
            take(4)


def unzstd(data):
    check_zstd_frames(data)
    with subprocess.Popen(["zstd", "-d", "-c", "-q", "--memory=%dMB" % (MAX_WINDOW // MIB)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(data)
    if process.returncode != 0:
        raise damaged("zstd: " + err.decode(errors="replace"))
    if len(out) > MAX_DOCUMENT:
        raise limit("the document is too large")
    return out


def document_of(data, keys):
    """The document in a file, and what the manifest says of the file."""
    about = {}
    if data.startswith(AGE_ARMOR) or re.match(rb"age-encryption\.org/v[1-9][0-9]*\n", data):
        data = decrypt_file(data, keys)
        about["encrypted"] = True
    for name, magic, expand in (("gzip", b"\x1f\x8b", gunzip), ("zstd", b"\x28\xb5\x2f\xfd", unzstd)):
        if data.startswith(magic):
            data = expand(data)
            about["compressed"] = name
            break
    return data, about


# The document.

TYPES = {
    "version": str, "format": str, "created_at": str, "application": str, "application_version": str,
    "schema_version": Num, "origin": Obj, "partial": bool, "metadata": Obj, "encryption": Obj, "salvaged": Obj, "data": Obj, "left_out": Obj, "proof": Obj,
    "integrity": Obj,
}
REQUIRED = ("version", "created_at", "application_version", "data")


class Document:
    """A document that was parsed, with the places where its proof and its integrity begin."""

    def __init__(self, data):
        self.data = data
        self.members = {}
        self.raw_names = {}
        self.begins = {}
        self.parse()

    def parse(self):
        if not self.data.strip(b" \t\r\n"):
            raise damaged("it is empty")
        self.check_version()
        try:
            self.text = self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise damaged("it is not UTF-8 at byte %d" % error.start)
        parser = Parser(self.text)
        parser.space()
        if re.match(r'[-0-9"\[tfn]', parser.peek()):
            raise malformed("it begins as a JSON value that is not an object")
        for name in parser.members():
            self.member(parser, name)
        self.end = parser.at
        parser.space()
        if parser.at != len(self.text):
            raise damaged("something follows the document at character %d" % parser.at)

    def check_version(self):
        """Looks at the version before all else: what stands behind another version may be of any form."""
        head = self.data[:4096].decode("utf-8", errors="replace")
        parser = Parser(head)
        try:
            parser.expect("{")
            parser.space()
            name = parser.string()
            parser.expect(":")
            parser.space()
            version = parser.string()
        except Refused:
            return
        if name != "version" or version == FORMAT:
            return
        order = version_key(version)
        if order and order > version_key(FORMAT):
            raise Refused("too-new", "the version of the format is %s, and this reader reads %s" % (version, FORMAT))
        raise malformed("the version of the format is %r, and this reader reads %s" % (version, FORMAT))

    def member(self, parser, name):
        if name in self.members:
            raise damaged("the member %s stands twice" % name)
        if len(name.encode()) > MAX_NAME:
            raise limit("the name of a member is too long")
        if len(self.members) == MAX_MEMBERS:
            raise limit("there are too many members")
        if name not in TYPES:
            raise malformed("the member %r is unknown" % name)
        if not self.members and name != "version":
            raise malformed("version is not the first member")
        if "integrity" in self.members:
            raise malformed("%s stands behind integrity" % name)
        if "proof" in self.members and name != "integrity":
            raise malformed("%s stands behind proof" % name)
        if name in ("proof", "integrity"):
            if name.raw != '"%s"' % name:
                raise damaged("the name %s is written with an escape" % name)
            if "data" not in self.members:
                raise malformed("%s stands before data" % name)
            before = self.text.rindex('"%s"' % name, 0, parser.at)
            self.begins[name] = len(self.text[:before].encode())
        if name == "data":
            self.members[name] = self.collections(parser)
            return
        parser.space()
        start, parser.values = parser.at, 1
        value = parser.value(1, MAX_MEMBER_DEPTH)
        if len(self.text[start:parser.at].encode()) > MAX_MEMBER:
            raise limit("the member %s is too large" % name)
        if has_null(value):
            raise malformed("there is a null in %s" % name)
        wanted = TYPES[name]
        if not isinstance(value, wanted) or wanted is str and isinstance(value, Num):
            raise malformed("the member %s is of another type" % name)
        self.members[name] = value

    def collections(self, parser):
        """Reads data: a dict of lists and Objs."""
        parser.space()
        if parser.peek() != "{":
            parser.value(1, MAX_MEMBER_DEPTH)
            raise malformed("data is not an object")
        result, records, map_keys = {}, 0, 0
        for name in parser.members():
            if name in result:
                raise damaged("the collection %s stands twice" % name)
            if len(name.encode()) > MAX_NAME:
                raise limit("the name of a collection is too long")
            if len(result) == MAX_COLLECTIONS:
                raise limit("there are too many collections")
            parser.space()
            here = parser.peek()
            if here == "[":
                collection = []
                for _ in parser.elements():
                    record = self.record(parser)
                    if not isinstance(record, Obj):
                        raise malformed("a record of %s is not an object" % name)
                    collection.append(record)
            elif here == "{":
                collection = Obj()
                for key in parser.members():
                    if key in collection:
                        raise damaged("the key %r stands twice in %s" % (key, name))
                    if len(key.encode()) > MAX_KEY:
                        raise limit("a key of %s is too long" % name)
                    map_keys += max(len(key.encode()), LEAST_MAP_KEY)
                    if map_keys > MAX_MAP_KEYS:
                        raise limit("the keys of maps are too large together")
                    collection[key] = self.record(parser)
                    collection.raw[key] = key.raw
            else:
                parser.value(1, MAX_MEMBER_DEPTH)
                raise malformed("the collection %s is neither an array nor an object" % name)
            records += len(collection)
            if records > MAX_RECORDS:
                raise limit("there are too many records")
            result[name] = collection
        return result

    def record(self, parser):
        parser.space()
        start, parser.values = parser.at, 1
        value = parser.value(1, MAX_DEPTH)
        if parser.at - start > MAX_RECORD or len(self.text[start:parser.at].encode()) > MAX_RECORD:
            raise limit("a record is too large")
        return value

    def get(self, name, default=None):
        return self.members.get(name, default)


DATE_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)
SEMVER = re.compile(
    r"(0|[1-9]\d*)(?:\.(0|[1-9]\d*)(?:\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?)?", re.ASCII)


def utc(text):
    """The time in UTC, as RFC 3339 text; None if the text is not a time."""
    m = DATE_TIME.fullmatch(text)
    if not m:
        return None
    year, month, day, hour, minute, second = map(int, m.groups()[:6])
    if not 1 <= month <= 12 or not 1 <= day or hour > 23 or minute > 59 or second > 59:
        return None
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > (29 if leap and month == 2 else calendar.mdays[month]):
        return None
    offset = 0
    if m[8]:
        if int(m[9]) > 23 or int(m[10]) > 59:
            return None
        offset = (int(m[9]) * 60 + int(m[10])) * (1 if m[8] == "+" else -1)
    # 400 years have the same days as any other 400 years, and Python knows no year 0.
    moved = datetime.datetime(year % 400 + 2000, month, day, hour, minute, second) - datetime.timedelta(minutes=offset)
    in_utc = moved.year - 2000 - year % 400 + year
    if not 0 <= in_utc <= 9999:
        return None
    fraction = (m[7] or "").rstrip("0").rstrip(".")
    return "%04d-%s%sZ" % (in_utc, moved.strftime("%m-%dT%H:%M:%S"), fraction)


def version_key(text):
    """What versions are ordered by (Semantic Versioning, section 11); None if the text is not a version."""
    m = SEMVER.fullmatch(text)
    if not m:
        return None
    before = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in m[4].split(".")] if m[4] else None
    return int(m[1]), int(m[2] or 0), int(m[3] or 0), before is None, before or []


def need_members(name, value, required, optional=()):
    for n in required:
        if n not in value:
            raise malformed("%s lacks %s" % (name, n))
    for n in value:
        if n not in required and n not in optional:
            raise malformed("%s has the unknown member %r" % (name, n))


def need_counts(name, value, least):
    if not isinstance(value, Obj) or not all(is_integer(v) and int(v) >= least for v in value.values()):
        raise malformed("%s is not an object of integers from %d" % (name, least))


def check_header(doc, app):
    for name in REQUIRED:
        if name not in doc.members:
            raise malformed("the member %s is missing" % name)
    if doc.get("version") != FORMAT:
        raise malformed("the version of the format is %r" % doc.get("version"))
    if utc(doc.get("created_at")) is None:
        raise malformed("created_at is not a time")
    application = doc.get("application")
    if application is not None and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", application):
        raise Refused("foreign" if application != app["name"] else "format", "application is malformed")
    if version_key(doc.get("application_version")) is None:
        raise malformed("application_version is not a version")
    schema = doc.get("schema_version", Num("1"))
    if not is_integer(schema, math.inf) or int(schema) < 1:
        raise malformed("schema_version is not an integer from 1")
    if not all(map(is_string, doc.get("metadata", {}).values())):
        raise malformed("metadata is not an object of strings")
    address = doc.get("format", "-")
    if not 1 <= len(address.encode()) <= 1024 or re.search(r"[\x00-\x1f\x7f-\x9f]", address):
        raise malformed("format is not an address")
    if "origin" in doc.members:
        check_origin(doc.get("origin"))
    if doc.get("partial") is False:
        raise malformed("partial is false")
    if "left_out" in doc.members:
        need_counts("left_out", doc.get("left_out"), 0)
    if "salvaged" in doc.members:
        check_salvaged(doc.get("salvaged"))
    if "proof" in doc.members:
        check_proof_form(doc.get("proof"))
    if "encryption" in doc.members:
        check_encryption(doc.get("encryption"), doc.get("data"))


def check_salvaged(salvaged):
    need_members("salvaged", salvaged, ["lost_bytes"], ["records", "digest", "counts", "lost_collections"])
    if not is_integer(salvaged["lost_bytes"]) or int(salvaged["lost_bytes"]) < 0:
        raise malformed("lost_bytes is not a number of bytes")
    if "records" in salvaged:
        need_counts("records of salvaged", salvaged["records"], 1)
    for name, words in (("digest", ("fits", "differs", "lost")), ("counts", ("known", "lost"))):
        if name in salvaged and not (is_string(salvaged[name]) and salvaged[name] in words):
            raise malformed("%s of salvaged is not one of %s" % (name, words))
    lost = salvaged.get("lost_collections", [])
    if not isinstance(lost, list) or not all(is_string(n) and n != "" for n in lost) or len(set(lost)) != len(lost):
        raise malformed("lost_collections is not an array of different names")


def check_origin(origin):
    need_members("origin", origin, ["installation", "serial"])
    installation, serial = origin["installation"], origin["serial"]
    if not is_string(installation) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", installation):
        raise malformed("installation is malformed")
    if not is_integer(serial) or int(serial) < 1:
        raise malformed("serial is out of bounds")


def check_proof_form(proof):
    need_members("proof", proof, [], ["mac", "ed25519"])
    if not proof:
        raise malformed("proof has no member")
    if "mac" in proof and (not is_string(proof["mac"]) or proof["mac"] == ""):
        raise malformed("mac is not a string of base64")
    if "ed25519" in proof:
        signature = proof["ed25519"]
        if not isinstance(signature, Obj):
            raise malformed("ed25519 is not an object")
        need_members("ed25519", signature, ["key", "signature"])
        if not all(is_string(v) and v != "" for v in signature.values()):
            raise malformed("a member of ed25519 is not a string of base64")
        if from_base64(signature["key"], 32) is None or from_base64(signature["signature"], 64) is None:
            raise Refused("unauthentic", "a member of ed25519 is malformed")
    if "mac" in proof and from_base64(proof["mac"], 32) is None:
        raise Refused("unauthentic", "the mac is malformed")


def check_integrity(doc):
    if "integrity" not in doc.members:
        return
    integrity = doc.get("integrity")
    need_members("integrity", {n: 0 for n in integrity}, [], ["sha256", "records"])
    digest, counts = integrity.get("sha256"), integrity.get("records")
    if not is_string(digest) or digest != hashlib.sha256(doc.data[:doc.begins["integrity"]]).hexdigest():
        raise damaged("the digest does not fit")
    if counts is not None:
        need_counts("records of integrity", counts, 0)
    have = {str(name): str(len(records)) for name, records in doc.get("data").items()}
    if counts != have:
        raise damaged("the counts do not fit")
    if doc.text[doc.end - 1:] != "}\n" or doc.text[doc.end - 3:doc.end] != "}\n}":
        raise damaged("something else than the end follows the integrity")


# Sealing.

def frame(*parts):
    parts = [p.encode() if isinstance(p, str) else p for p in parts]
    return b"".join(len(p).to_bytes(4, "big") + p for p in parts)


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def derive(data_key, salt, purpose):
    return mac(mac(salt, data_key), (DOMAIN + " " + purpose).encode() + b"\x01")


def tokens(pointer):
    """The tokens of a JSON Pointer; None if it is not one of at least one token."""
    if not re.fullmatch(r"(/([^~/]|~[01])*)+", pointer, re.DOTALL):
        return None
    return [t.replace("~1", "/").replace("~0", "~") for t in pointer.split("/")[1:]]


def escape(token):
    return token.replace("~", "~0").replace("/", "~1")


def pointer_of(path):
    return "".join("/" + escape(t) for t in path)


def meet(a, b):
    return all(x == y or "*" in (x, y) for x, y in zip(a, b))


def check_encryption(encryption, data):
    need_members("encryption", encryption, ["cipher", "id", "fields", "keys", "check"])
    if encryption["cipher"] != "xchacha20-poly1305" or not is_string(encryption["cipher"]):
        raise malformed("the cipher is unknown")
    if not is_string(encryption["id"]) or not is_string(encryption["check"]) or encryption["check"] == "":
        raise malformed("id or check is not a string of base64")
    if not isinstance(encryption["fields"], Obj):
        raise malformed("fields is not an object")
    pointers = list(map(count_pointers, encryption["fields"].values()))
    if max(pointers, default=0) > MAX_POINTERS or sum(pointers) > MAX_ALL_POINTERS:
        raise limit("fields has too many pointers")
    for name, field in encryption["fields"].items():
        check_field(name, field, data.get(name))
    if not isinstance(encryption["keys"], list):
        raise malformed("keys is not an array")
    if len(encryption["keys"]) > MAX_KEYS:
        raise limit("there are too many wrapped keys")
    if from_base64(encryption["id"], 16) is None or from_base64(encryption["check"], 32) is None:
        raise damaged("id or check is malformed")
    for key in encryption["keys"]:
        if not isinstance(key, Obj) or not is_string(key.get("type", Num())):
            raise damaged("a wrapped key has no type")
        if key["type"] == "argon2id":
            check_argon2id(key)
        elif key["type"] == "age":
            check_age(key)
    if sum(map(cost, encryption["keys"])) > MAX_COST:
        raise limit("the wrapped keys cost too much together")


def count_pointers(field):
    """The pointers of a member of fields, as far as it has the form of one."""
    if not isinstance(field, Obj) or not isinstance(field.get("secrets"), list):
        return 0
    key = field.get("key", "")
    return len(field["secrets"]) + (key.count(",") if is_string(key) else 0)


def cost(key):
    """What a try of a wrapped key costs, in KiB."""
    if key["type"] == "argon2id":
        return int(key["memory"]) * int(key["time"])
    if key["type"] == "age":
        try:
            stanzas = age_stanzas(from_base64(key["file"]))
        except Refused:
            return 0  # it is of no age that can be tried
        factors = [s[2] for s in stanzas if s[0] == b"scrypt" and len(s) == 3 and re.fullmatch(rb"[1-9][0-9]*", s[2])]
        if any(int(f) > MAX_WORK_FACTOR for f in factors):
            raise limit("the work factor of a wrapped key is too high")
        return sum(2 << int(f) for f in factors)
    return 0


def check_field(name, field, collection):
    if not isinstance(field, Obj):
        raise malformed("a member of fields is not an object")
    need_members("fields", field, ["secrets"], ["key"])
    secrets = field["secrets"]
    if not isinstance(secrets, list) or not secrets or not all(map(is_string, secrets)):
        raise malformed("the secrets of %s are not an array of strings" % name)
    paths = [tokens(s) for s in secrets]
    if None in paths:
        raise malformed("a secret of %s is not a pointer" % name)
    if any(meet(a, b) for i, a in enumerate(paths) for b in paths[:i]):
        raise malformed("secrets of %s overlap" % name)
    if "key" in field:
        if not is_string(field["key"]):
            raise malformed("the key of %s is not a string" % name)
        keys = [tokens(k) for k in field["key"].split(",")]
        if None in keys:
            raise malformed("the key of %s is not a pointer" % name)
        if any(len(s) <= len(k) and meet(s, k) for s in paths for k in keys):
            raise malformed("a secret of %s contains the key" % name)
    if collection is not None and isinstance(collection, Obj) == ("key" in field):
        raise malformed("the key of %s does not fit its shape" % name)


def check_argon2id(key):
    if set(key) != {"type", "salt", "time", "memory", "threads", "wrapped"}:
        raise damaged("a wrapped key lacks a member, or has an unknown one")
    if not is_string(key["salt"]) or from_base64(key["salt"], 16) is None:
        raise damaged("the salt of a wrapped key is malformed")
    if not is_string(key["wrapped"]) or from_base64(key["wrapped"], 72) is None:
        raise damaged("a wrapped key is malformed")
    for name, least, most in (("time", 1, 16), ("memory", 8192, 1048576), ("threads", 1, 16)):
        if not is_integer(key[name], math.inf):
            raise damaged("%s of a wrapped key is not an integer" % name)
        if not least <= int(key[name]) <= most:
            raise limit("%s of a wrapped key is out of bounds" % name)


def check_age(key):
    if "file" not in key or not set(key) <= {"type", "file", "ids"}:
        raise damaged("a wrapped key of age lacks its file, or has an unknown member")
    ids = key.get("ids", [])
    if not isinstance(ids, list) or not all(map(is_string, ids)):
        raise damaged("ids of a wrapped key is not an array of strings")
    if len(ids) > 64 or any(len(i.encode()) > 200 for i in ids):
        raise damaged("ids of a wrapped key are too many or too long")
    file = from_base64(key["file"]) if is_string(key["file"]) else None
    if file is None or len(file) > MAX_AGE_KEY_FILE:
        raise damaged("the file of a wrapped key is malformed or too large")


def xchacha_open(box, associated, key):
    if len(box) < 40:
        return None
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(box[24:], associated, box[:24], key)
    except nacl.exceptions.CryptoError:
        return None


@functools.lru_cache(maxsize=4096)
def argon2id(passphrase, salt, time, memory, threads):
    return argon2.low_level.hash_secret_raw(passphrase, salt, time, memory, threads, 32, argon2.low_level.Type.ID, 0x13)


def unwrap(encryption, keys):
    """The data key, and whether a passphrase and argon2id gave it."""
    failed = Refused("wrong-key", "nothing that was given opens the data key")
    for key in sorted(encryption["keys"], key=lambda k: (keys.require_proof and k["type"] != "argon2id", cost(k))):
        if key["type"] == "argon2id" and keys.passphrase:
            wrapping = argon2id(keys.passphrase, from_base64(key["salt"]), *(int(key[n]) for n in ("time", "memory", "threads")))
            data_key = xchacha_open(from_base64(key["wrapped"]), (DOMAIN + " key").encode(), wrapping)
            if data_key is not None:
                return data_key, True
        if key["type"] == "age":
            file = from_base64(key["file"])
            kind, result = ("damaged", "armored") if file.startswith(AGE_ARMOR) else age_decrypt(file, keys.passphrase, keys.identities)
            if kind == "ok" and len(result) == 32:
                return result, False
            if kind != "wrong-key":
                failed = Refused("damaged" if kind == "ok" else kind, "a wrapped key of age: %s" % kind)
    raise failed


def find_places(value, pattern, path=()):
    """Yields each place that exists: what holds it, its name there, and its path."""
    names = list(value) if isinstance(value, Obj) else range(len(value)) if isinstance(value, list) else ()
    for name in names:
        if pattern[0] not in ("*", str(name)):
            continue
        here = (*path, str(name))
        if len(pattern) == 1:
            yield value, name, here
        else:
            yield from find_places(value[name], pattern[1:], here)


def look_up(value, path):
    """The value at a path without *: a tuple of it, or () if there is none."""
    for token in path:
        if isinstance(value, Obj) and token in value:
            value = value[token]
        elif isinstance(value, list) and re.fullmatch("0|[1-9][0-9]*", token) and int(token) < len(value):
            value = value[int(token)]
        else:
            return ()
    return (value,)


def key_text(value):
    """The text of a key or of a part of one; None if the value cannot be one."""
    if isinstance(value, Num):
        return str(value) if re.fullmatch("-?(0|[1-9][0-9]*)", value) else None
    return str(value) if isinstance(value, str) else None


def join_parts(parts):
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))


def record_key(record, declared):
    """The key of a record of a list; None if it has none."""
    parts = []
    for pointer in declared.split(","):
        found = look_up(record, tokens(pointer))
        text = key_text(found[0]) if found else None
        if text is None:
            return None
        parts.append(text)
    if len(parts) > 1:
        return join_parts(parts)
    return parts[0] or None


def check_sealed(doc):
    """Looks without a key whether a sealed value stands at each place."""
    for name, field in doc.get("encryption")["fields"].items():
        collection = doc.get("data").get(name, [])
        for root in [collection] if isinstance(collection, Obj) else collection:
            for holder, place, path in (p for secret in field["secrets"] for p in find_places(root, tokens(secret))):
                box = sealed_box(holder[place], (name, pointer_of(path)))
                if isinstance(collection, list) and record_key(root, field["key"]) is None:
                    raise damaged("a record of %s with secrets has no key" % name)
                if len(box) < 41:
                    raise damaged("a sealed value of %s is too short" % name)


def open_secrets(doc, value_key):
    encryption = doc.get("encryption")
    for name, field in encryption["fields"].items():
        collection = doc.get("data").get(name)
        if collection is None:
            continue
        for root in [collection] if isinstance(collection, Obj) else collection:
            for secret in field["secrets"]:
                for holder, place, path in list(find_places(root, tokens(secret))):
                    key = path[0] if isinstance(collection, Obj) else record_key(root, field["key"])
                    if key is None:
                        raise damaged("a record of %s with secrets has no key" % name)
                    where = (encryption["id"], name, key, pointer_of(path))
                    holder[place] = open_value(holder[place], frame(DOMAIN, *where), value_key, where[1:])


def sealed_box(sealed, where):
    if not isinstance(sealed, Obj) or list(sealed) != ["$sealed"] or not is_string(sealed["$sealed"]):
        raise damaged("a secret is in clear: %s" % (where,))
    box = from_base64(sealed["$sealed"])
    if box is None:
        raise damaged("a sealed value is malformed: %s" % (where,))
    return box


def open_value(sealed, associated, value_key, where):
    plain = xchacha_open(sealed_box(sealed, where), associated, value_key)
    if plain is None:
        raise damaged("a secret does not open: %s %s %s" % where)
    try:
        parser = Parser(plain.decode("utf-8"))
        value = parser.value(1, MAX_DEPTH)
    except (UnicodeDecodeError, Refused) as error:
        raise damaged("a secret is not JSON within the limits: %s %s %s" % where) from error
    parser.space()
    if parser.at != len(parser.text):
        raise damaged("a secret is not one value: %s %s %s" % where)
    return value


def check_value(doc, header_key):
    parts = [doc.get("application", ""), doc.get("schema_version", "1")]
    fields = doc.get("encryption")["fields"]
    for name in sorted(fields, key=lambda n: n.encode()):
        secrets = fields[name]["secrets"]
        parts += [name, fields[name].get("key", ""), str(len(secrets)), *secrets]
    return mac(header_key, frame(*parts))


def proof_message(doc):
    return frame(DOMAIN + " proof", hashlib.sha256(doc.data[:doc.begins["proof"]]).digest())


def unseal(doc, keys):
    """Opens what is sealed and checks the proof. The answer is by what the document is authentic, or None."""
    encryption, proof, by = doc.get("encryption"), doc.get("proof", {}), None
    if encryption is not None and not keys.none():
        data_key, by_passphrase = unwrap(encryption, keys)
        salt = from_base64(encryption["id"])
        if not hmac.compare_digest(check_value(doc, derive(data_key, salt, "header")), from_base64(encryption["check"])):
            raise damaged("the check value does not fit")
        if "mac" in proof:
            said = from_base64(proof["mac"], 32)
            if said is None or not hmac.compare_digest(said, mac(derive(data_key, salt, "proof"), proof_message(doc))):
                raise Refused("unauthentic", "the mac does not fit")
            by = "passphrase" if by_passphrase else None
    if "ed25519" in proof and keys.trusted:
        by = check_signature(doc, proof["ed25519"], keys.trusted) or by
    if encryption is not None and keys.none():
        if not encryption["keys"]:
            raise malformed("there are no wrapped keys")
        check_sealed(doc)
        if any(name in doc.get("data") for name in encryption["fields"]):
            raise Refused("no-key", "it has secrets, and no key was given")
    if keys.require_proof and by is None:
        if "mac" in proof and encryption is not None and keys.none() and any(k["type"] == "argon2id" for k in encryption["keys"]):
            raise Refused("no-key", "it takes the passphrase to check the proof")
        raise Refused("unauthentic", "a proof is required, and there is none that can be checked")
    if encryption is not None and not keys.none():
        open_secrets(doc, derive(data_key, salt, "values"))
    return by


def check_signature(doc, ed25519, trusted):
    key, signature = from_base64(ed25519["key"], 32), from_base64(ed25519["signature"], 64)
    if key is None:
        raise Refused("unauthentic", "the key of the signature is malformed")
    if key not in trusted:
        return None
    try:
        nacl.bindings.crypto_sign_open((signature or b"") + proof_message(doc), key)
    except (nacl.exceptions.CryptoError, ValueError):
        raise Refused("unauthentic", "the signature does not fit")
    return "ed25519 " + ed25519["key"]


# Restore.

def declared(app, name):
    return next((c for c in app["collections"] if c["name"] == name), None)


def check_restorable(doc, app):
    application = doc.get("application")
    if application is not None and application != app["name"]:
        raise Refused("foreign", "it is of the application %s" % application)
    if int(doc.get("schema_version", "1")) > app["schema_version"]:
        raise Refused("too-new", "its schema version is newer")
    if version_key(doc.get("application_version")) > version_key(app["version"]):
        raise Refused("too-new", "its application version is newer")
    fields = doc.get("encryption", {}).get("fields", {})
    for name, collection in doc.get("data").items():
        of_app = declared(app, name)
        for secret in of_app.get("secrets") or [] if of_app and name not in fields else []:
            for root in [collection] if isinstance(collection, Obj) else collection:
                for holder, place, _ in find_places(root, tokens(secret)):
                    value = holder[place]
                    if isinstance(value, Obj) and list(value) == ["$sealed"] and is_string(value["$sealed"]):
                        raise damaged("a value of %s is sealed, and nothing says how to open it" % name)


def migrate(name, record):
    """The one migration that the vectors have."""
    if name == "servers" and isinstance(record, Obj) and "title" in record:
        migrated = Obj()
        for n, value in record.items():
            if n == "title":
                migrated["name"], migrated.raw["name"] = value, '"name"'
            elif n != "name":
                migrated[n], migrated.raw[n] = value, record.raw[n]
        return migrated
    return record


def keyed_records(name, collection, of_app):
    """Yields the key of each record, and the record."""
    if of_app is None:
        raise Refused("invalid", "the collection %s is unknown" % name)
    if isinstance(collection, Obj) != (of_app["shape"] == "map"):
        raise Refused("invalid", "the collection %s is of another shape" % name)
    if isinstance(collection, Obj):
        yield from collection.items()
        return
    for record in collection:
        yield record_key(record, of_app["key"]), record


def in_map(of_app, key, record):
    """A record as schemas and references see it: one of a map is an object of one member."""
    if of_app["shape"] != "map":
        return record
    seen = Obj()
    seen[key] = record
    return seen


def restore(doc, app):
    """The records by collection and key, as a host would have them."""
    check_restorable(doc, app)
    restored = {}
    for name, collection in doc.get("data").items():
        if int(doc.get("schema_version", "1")) < app["schema_version"]:
            if isinstance(collection, list):
                collection = [migrate(name, record) for record in collection]
        records, of_app = {}, declared(app, name)
        schema = validator(app, name)
        for key, record in keyed_records(name, collection, of_app):
            if not key:
                raise Refused("invalid", "a record of %s has no key" % name)
            if len(str(key).encode()) > MAX_KEY:
                raise limit("the key of a record of %s is too long" % name)
            if key in records:
                raise Refused("invalid", "two records of %s have the key %r" % (name, key))
            if schema is not None and not schema.is_valid(python_value(in_map(of_app, key, record))):
                raise Refused("invalid", "the record %r of %s does not satisfy its schema" % (key, name))
            records[str(key)] = record
        restored[str(name)] = records
    check_references(restored, app)
    return restored


def validator(app, name):
    of_app = declared(app, name)
    if of_app is None or not of_app.get("schema"):
        return None
    if "validator" not in of_app:
        of_app["validator"] = jsonschema.Draft202012Validator(of_app["schema"], format_checker=jsonschema.FormatChecker())
    return of_app["validator"]


def check_references(restored, app):
    for of_app in app["collections"]:
        for ref in of_app.get("refs") or []:
            target = restored.get(ref["collection"], {})
            for key, record in restored.get(of_app["name"], {}).items():
                for to in referred(in_map(of_app, key, record), ref["pointer"]):
                    if to not in target:
                        raise Refused("dangling", "the record %r of %s refers to a missing record of %s" % (key, of_app["name"], ref["collection"]))


def referred(record, pointer):
    """Yields the keys that a record refers to."""
    if "," in pointer:
        found = [look_up(record, tokens(p)) for p in pointer.split(",")]
        if any(f in ((), (None,)) for f in found):
            return
        parts = [key_text(f[0]) for f in found]
        if None in parts:
            raise Refused("invalid", "a part of a reference is not a key")
        yield join_parts(parts)
        return
    for holder, place, _ in find_places(record, tokens(pointer)):
        value = holder[place]
        if value is None:
            continue
        text = key_text(value)
        if text is None:
            raise Refused("invalid", "a reference is not a key")
        yield text


def manifest_of(doc, about, by):
    encryption = doc.get("encryption")
    manifest = {
        "version": doc.get("version"), "created_at": utc(doc.get("created_at")),
        "application_version": doc.get("application_version"), "schema_version": int(doc.get("schema_version", "1")),
        "sealed": bool(encryption and encryption["fields"]),
        "records": {n: len(c) for n, c in doc.get("data").items()},
        **about,
    }
    for name, value in (("application", doc.get("application")), ("metadata", doc.get("metadata")), ("authentic", by), ("format", doc.get("format")),
                        ("partial", doc.get("partial"))):
        if value:
            manifest[name] = value
    if "origin" in doc.members:
        manifest.update(python_value(doc.get("origin")))
    if "integrity" in doc.members:
        manifest["sha256"] = doc.get("integrity")["sha256"]
    if "salvaged" in doc.members:
        manifest["salvaged"] = python_value(doc.get("salvaged"))
    if doc.get("left_out"):
        manifest["missing"] = python_value(doc.get("left_out"))
    if encryption:
        manifest["keys"] = key_names(encryption)
    manifest["bytes"] = len(doc.data)
    return manifest


def key_names(encryption):
    names = {}
    for key in encryption["keys"]:
        for name in ["passphrase"] if key["type"] == "argon2id" else key.get("ids", []) if key["type"] == "age" else []:
            names[str(name)] = True
    return list(names)


def read(data, keys, app):
    document, about = document_of(data, keys)
    if len(document) > MAX_DOCUMENT:
        raise limit("the document is too large")
    doc = Document(document)
    if "integrity" in doc.members and "data" in doc.members:
        check_integrity(doc)
    check_header(doc, app)
    by = unseal(doc, keys)
    records = restore(doc, app)
    return {
        "expect": "ok",
        "manifest": manifest_of(doc, about, by),
        "records": {n: {k: json_text(r) for k, r in c.items()} for n, c in records.items()},
    }


def main():
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)  # the limit on numbers bounds them, and the validator prints them
    requests, answers, app = sys.stdin.buffer, sys.stdout.buffer, None

    def receive():
        length = requests.read(4)
        return requests.read(int.from_bytes(length, "big")) if length else None

    while (head := receive()) is not None:
        request, data = json.loads(head), receive()
        app = request.get("app") or app
        try:
            answer = read(data, Keys(request), app)
        except Refused as error:
            answer = {"expect": error.kind, "error": str(error)}
        except RecursionError:
            answer = {"expect": "limit", "error": "the nesting is too deep"}
        text = json.dumps(answer).encode()
        answers.write(len(text).to_bytes(4, "big") + text)
        answers.flush()


if __name__ == "__main__":
    main()
