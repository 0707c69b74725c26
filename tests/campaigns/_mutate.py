"""Files spoilt on purpose: bytes, and with knowledge of the format what a careless reader trips on.

Every function takes the content of a file and a generator and gives another content. All are pure,
so that a spoilt file can be made again from its seed.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Random = random.Random
Change = Callable[[bytes, Random], bytes]

_NESTED = 100_000
_BOMB = 1 << 26  # unpacked bytes: far above what any file here holds, packed to 65 KB

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 1.5, -0.0, 1e308, 2**31, 2**63, -(2**63), 10**30,
    float("nan"), float("inf"), float("-inf"), "", " ", "\0", "a", "1", "NaN", "-1", "1e999",
    "../../outside/secret.txt", "/etc/hostname", "..", ".", "x" * 5000, "é\u202e",
    "%s%n", "{0}",
    "<script>", "=cmd()", "a\nb", "a\rb", "con", [], {}, [[]], [None], {"": None}, [0] * 50,
)  # fmt: skip
"""Values of other types, other ranges and other places than a reader expects."""


class Hostile:
    """Unpickles to a shell command that writes the canary."""

    def __init__(self, canary: Path, way: int) -> None:
        self._canary, self._way = canary, way

    def __reduce__(self) -> tuple[Any, ...]:
        import os
        import subprocess

        code = f"open({str(self._canary)!r}, 'w').close()"
        return (
            (os.system, (f"touch '{self._canary}'",)),
            (exec, (code,)),
            (eval, (code,)),
            (subprocess.call, (["touch", str(self._canary)],)),
        )[self._way % 4]


def hostile_pickle(canary: Path, rng: Random) -> bytes:
    """A pickle that runs code where it is read without care."""
    inside = Hostile(canary, rng.randrange(4))
    content: Any = rng.choice([inside, {"state_dict": {"a": inside}}, [inside], {"epochs": inside}])
    return pickle.dumps(content, protocol=rng.choice([0, 2, 4]))


def spoilt_bytes(data: bytes, rng: Random) -> bytes:
    """Flips, cuts, splices, repetitions and foreign bytes."""
    if not data:
        return rng.randbytes(rng.randrange(64))
    made = bytearray(data)
    at, length = rng.randrange(len(made)), rng.randrange(1, 33)
    way = rng.randrange(9)
    if way == 0:
        for _ in range(rng.randrange(1, 9)):
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    elif way == 1:
        del made[at:]
    elif way == 2:
        del made[at : at + length]
    elif way == 3:
        made[at:at] = made[(start := rng.randrange(len(made))) : start + 8 * length]
    elif way == 4:
        made[at : at + length] = rng.randbytes(length)
    elif way == 5:
        made[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
    elif way == 6:
        made += rng.choice([b"\0" * 100, bytes(made[:200]), rng.randbytes(50)])
    elif way == 7:
        made[at:at] = rng.choice([b"\xef\xbb\xbf", b"\0", b'"', b"\r", b"\xff\xfe", b"\n\n", b","])
    else:
        made[:0] = rng.choice(
            [b"\xef\xbb\xbf", b"\xff\xfe", b"PK\x03\x04", b"\x1f\x8b", b"\x80\x02"]
        )
    return bytes(made)


def spoilt_json(data: bytes, rng: Random) -> bytes:
    """A value of another type, a key that is gone or there twice, numbers that are none, depth."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return spoilt_bytes(data, rng)
    if rng.random() < 0.1:
        return _odd_text(data.decode(errors="replace"), rng).encode(errors="replace")
    return json.dumps(spoilt_tree(tree, rng), indent=1).encode()


def spoilt_tree(tree: Any, rng: Random) -> Any:
    """A copy of a tree of dicts and lists with one change somewhere in it."""
    holder = {"": json.loads(json.dumps(tree))}
    parent: Any = holder
    key: Any = ""
    while isinstance(parent[key], dict | list) and parent[key] and rng.random() < 0.85:
        parent = parent[key]
        key = rng.choice(list(parent)) if isinstance(parent, dict) else rng.randrange(len(parent))
    way = rng.randrange(6)
    value = parent[key]
    if way == 0 and parent is not holder:
        del parent[key]
    elif way == 1 and isinstance(parent, dict) and parent is not holder:
        parent[str(rng.choice(ODD))[:50]] = parent.pop(key)
    elif way == 2 and isinstance(parent, list):
        parent.insert(key, value)
    elif way == 3 and isinstance(value, int | float) and not isinstance(value, bool):
        parent[key] = rng.choice(
            [-value, value + 1, value * 1000, value + 0.5, str(value), [value]]
        )
    elif way == 4 and isinstance(value, str):
        parent[key] = rng.choice([value + "x", value[:-1], value.upper(), [value], {value: value}])
    else:
        parent[key] = rng.choice(ODD)
    return holder[""]


def _odd_text(text: str, rng: Random) -> str:
    opened = rng.choice("[{")
    return rng.choice(
        [
            lambda: "[" * _NESTED + "]" * _NESTED,
            lambda: '{"a":' * _NESTED + "1" + "}" * _NESTED,
            lambda: text.replace(opened, opened + ('"schema": 2, ' if opened == "{" else ""), 1),
            lambda: re.sub(r"\d+", "9" * 5000, text, count=1),
            lambda: re.sub(r": \d+", ": NaN", text, count=2),
            lambda: text + text,
            lambda: "\ufeff" + text,
            lambda: "null",
        ]
    )()


def spoilt_csv(data: bytes, rng: Random) -> bytes:
    """Cells of another kind, columns and rows gone or there twice, quotes, and huge fields."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode(errors="replace"), newline="")))
    except csv.Error:  # it was spoilt before
        return spoilt_bytes(data, rng)
    if not rows or not rows[0] or rng.random() < 0.15:
        return spoilt_bytes(data, rng)
    row = rng.randrange(len(rows))
    column = rng.randrange(max(1, len(rows[row])))
    way = rng.randrange(9)
    if way <= 3 and rows[row]:
        rows[row][column] = str(rng.choice(ODD))
    elif way == 4:
        rows = [r[:column] + r[column + 1 :] for r in rows]
    elif way == 5:
        rows = [[*r, r[column] if column < len(r) else ""] for r in rows]
    elif way == 6:
        rows.insert(rng.randrange(len(rows)), list(rows[row]))
    elif way == 7:
        value = str(rng.choice(ODD))
        rows = [rows[0], *([*r[:column], value, *r[column + 1 :]] for r in rows[1:])]
    else:
        rows[row] = rng.choice([[], ["x" * 200_000], rows[row] * 40, ['"']])
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=rng.choice(["\n", "\n", "\r\n", "\r"])).writerows(rows)
    return text.getvalue().encode(rng.choice(["utf-8"] * 6 + ["utf-16"]), errors="replace")


def spoilt_text(data: bytes, rng: Random) -> bytes:
    """TOML, XML or plain text: a word or value replaced, a line repeated or gone."""
    text = data.decode(errors="replace")
    lines = text.splitlines()
    way = rng.randrange(6)
    if way == 0 or not lines:
        return spoilt_bytes(data, rng)
    at = rng.randrange(len(lines))
    if way == 1:
        lines.insert(rng.randrange(len(lines)), lines[at])
    elif way == 2:
        del lines[at]
    elif way == 3:  # a value of TOML or an attribute
        odd = rng.choice([json.dumps(value)[:6000] for value in ODD] + ["[" * 5000, "1979-05-27"])
        lines[at] = re.sub(r"=\s*.*", lambda _: f"= {odd}", lines[at])
    elif way == 4 and text.lstrip().startswith("<"):
        bomb = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
        outer = rng.choice([bomb, '<!ENTITY e9 SYSTEM "file:///etc/hostname">'])
        lines[0:1] = [lines[0], f'<!DOCTYPE x [<!ENTITY e0 "ha">{outer}]>']
        return "\n".join(lines).replace("<AbstractText", "<a>&e9;</a><AbstractText", 1).encode()
    else:
        words = lines[at].split(" ")
        words[rng.randrange(len(words))] = str(rng.choice(ODD))
        lines[at] = " ".join(words)
    return "\n".join(lines).encode(errors="replace")


def spoilt_npy(data: bytes, rng: Random, canary: Path) -> bytes:
    """An array of another shape, type or size than its header says, or one of pickled objects."""
    way = rng.randrange(5)
    if way == 0:
        return spoilt_bytes(data, rng)
    if way == 1:
        return _npy("|O", (1,), hostile_pickle(canary, rng))
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError):
        return spoilt_bytes(data, rng)
    content, kind = array.tobytes(), array.dtype.str
    if way == 2:
        shape = rng.choice([(2**40,), (2**62, 4), (0,), (-1,), (), (1, *array.shape), (3,)])
        return _npy(kind, shape, content)
    if way == 3:
        kind = rng.choice(["<f8", ">i4", "|S3", "<U4", "<c16", "|b1", "<M8[s]", "|V2", "bad"])
        return _npy(kind, array.shape, content)
    made = io.BytesIO()
    values = rng.choice([np.nan, np.inf, -1, 255, 2**31 - 1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spoilt = array.copy()
        if spoilt.size and spoilt.dtype.kind in "iufb":
            part = spoilt.reshape(-1)[rng.randrange(spoilt.size) :]
            part[...] = np.float64(values).astype(spoilt.dtype)
    cut = [spoilt, spoilt[:-1], spoilt.T, spoilt.astype(np.float64)] if spoilt.ndim else [spoilt]
    np.save(made, rng.choice(cut))
    return made.getvalue()


def _npy(kind: str, shape: tuple[int, ...], content: bytes) -> bytes:
    head = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


def spoilt_zip(data: bytes, rng: Random, canary: Path) -> bytes:
    """Members with names that lead out, there twice, gone, enormous, or spoilt themselves."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            members = [(name, old.read(name)) for name in old.namelist()]
    except Exception:  # it was spoilt before
        return spoilt_bytes(data, rng)
    way = rng.randrange(9)
    if way == 0 or not members:
        return spoilt_bytes(data, rng)
    at = rng.randrange(len(members))
    name, content = members[at]
    packed = zipfile.ZIP_STORED
    if way == 1:
        lead = rng.choice(["../../outside/", "/tmp/torture-absolute/", "..\\", "a/../../"])
        members[at] = (lead + name, content)
    elif way == 2:
        members.append((name, members[rng.randrange(len(members))][1]))
    elif way == 3:
        del members[at]
    elif way == 4:
        members[at], packed = (name, b"\0" * _BOMB), zipfile.ZIP_DEFLATED
    elif way == 5:
        members[at] = (name + rng.choice(["x", "\0", "/", " "]), content)
    else:
        members[at] = (name, spoilt(name, content, rng, canary))
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", packed, compresslevel=1) as new:
        warnings.simplefilter("ignore")  # of names that are there twice
        for member, inside in members:
            new.writestr(member, inside)
    return _wrong_sizes(made.getvalue(), rng) if way == 8 else made.getvalue()


def _wrong_sizes(data: bytes, rng: Random) -> bytes:
    """The sizes of a member in the table of contents are another's."""
    at = data.rfind(b"PK\x01\x02")
    made = bytearray(data)
    made[at + 20 : at + 28] = struct.pack("<II", *rng.choice([(0, 0), (1, 2**32 - 2), (2**31, 9)]))
    return bytes(made)


def spoilt_gzip(data: bytes, rng: Random) -> bytes:
    """A packed table, spoilt inside or outside, or of a size nobody expects."""
    if rng.random() < 0.3:
        return spoilt_bytes(data, rng)
    if rng.random() < 0.05:
        return gzip.compress(b"a," * (_BOMB // 2), compresslevel=1)
    try:
        return gzip.compress(spoilt_csv(gzip.decompress(data), rng), compresslevel=1)
    except (OSError, EOFError, zlib.error):
        return spoilt_bytes(data, rng)


def spoilt_safetensors(data: bytes, rng: Random) -> bytes:
    """Offsets, shapes and types in the header that do not fit, or a length of header that lies."""
    if rng.random() < 0.3:
        return spoilt_bytes(data, rng)
    size = int.from_bytes(data[:8], "little")
    head = spoilt_json(data[8 : 8 + size], rng)
    told = rng.choice([len(head)] * 6 + [0, 2**63 - 1, len(head) // 2])
    return struct.pack("<Q", told) + head + data[8 + size :]


def spoilt_image(data: bytes, rng: Random) -> bytes:
    """Bytes, or a PNG whose header promises a size (with its checksum right)."""
    if not data.startswith(b"\x89PNG") or rng.random() < 0.6:
        return spoilt_bytes(data, rng)
    sides = rng.choice([(0, 0), (1, 1), (2**31 - 1, 2**31 - 1), (50_000, 50_000), (2**31, 1)])
    head = b"IHDR" + struct.pack(">II", *sides) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def spoilt(name: str, data: bytes, rng: Random, canary: Path) -> bytes:
    """The content of a file of that name, spoilt in a way of its format or of any."""
    suffix = Path(name.rstrip("/ \0") or "x").suffix.lower()
    if suffix in (".pkl", ".pt", ".pth", ".bin") and rng.random() < 0.1:
        return hostile_pickle(canary, rng)
    if suffix == ".npy":
        return spoilt_npy(data, rng, canary)
    if data.startswith(b"PK"):
        return spoilt_zip(data, rng, canary)
    return _BY_SUFFIX.get(suffix, spoilt_bytes)(data, rng)


_BY_SUFFIX: Mapping[str, Change] = {
    ".json": spoilt_json,
    ".jsonl": spoilt_text,
    ".csv": spoilt_csv,
    ".gz": spoilt_gzip,
    ".toml": spoilt_text,
    ".xml": spoilt_text,
    ".txt": spoilt_text,
    ".safetensors": spoilt_safetensors,
    ".png": spoilt_image,
}
