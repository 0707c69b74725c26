"""Which store was made from what is asked for, and from its files as they are now.

A store is found again by its request: reader and its version, root, options and size. It is of
today while the tables that were read are unchanged and the images that could not be read are no
better; where a reader says that its folder is a user's own, while no image changed at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.data import decode
from bench.data.build import WORK
from bench.data.columns import unpack
from bench.data.dataset import DataSpec, Reader, cache_folder
from bench.data.paths import shown, states
from bench.data.store import CONTENT, OTHERS, packed_rows, read_left_out, read_manifest
from bench.errors import UsageError

CROPPED = "cropped"
"""In a manifest: the store holds central squares, not whole pictures."""

_PLACES = {"labels", "reports"}  # options that are paths
_OURS = {WORK, ".lock", "manifest.json.new", *CONTENT, *OTHERS}  # of an unfinished preparation


def request_of(reader: Reader, spec: DataSpec, size: int, cropped: bool) -> dict[str, Any]:
    """All that decides what a store holds, but for the files themselves."""
    module: Any = import_module(reader.module)
    request = {
        "reader": reader.name,
        "version": [module.VERSION, decode.VERSION],
        "root": os.path.realpath(os.path.expanduser(str(spec.path))),
        "options": _options(spec),
        "size": size,
    }
    return request | {CROPPED: True} if cropped else request


def latest_store(reader: Reader, spec: DataSpec, size: int) -> Path:
    """The store in the cache that was prepared last from a source that is given by name alone.

    One of `size` pixels, or the next larger one: the protocol shrinks what is larger.

    Raises:
        UsageError: there is none, or they are of several folders.
    """
    found: dict[int, dict[str, Path]] = {}
    given = _options(spec).items()
    folders = cache_folder().glob(f"{reader.name}-*/manifest.json")
    for file in sorted(folders, key=lambda file: file.stat().st_mtime_ns):
        made_from = (read_manifest(file.parent) or {}).get("made_from", {})
        if made_from.get("reader") == reader.name and given <= made_from["options"].items():
            found.setdefault(made_from["size"], {})[_said(made_from)] = file.parent
    enough = min((there for there in found if there >= size), default=None)
    if enough is None:
        there = f" (there is one of {', '.join(map(str, sorted(found)))})" if found else ""
        raise UsageError(
            f"'{reader.name}' has not been prepared at {size} pixels{there}. Give its folder, "
            f"{reader.name}:PATH, or run: bench data prepare {reader.name} --root PATH "
            f"--size {size}"
        )
    if len(found[enough]) > 1:
        raise UsageError(
            f"'{reader.name}' was prepared in several ways: {' and '.join(sorted(found[enough]))}. "
            f"Say which, or name the store: --data {next(iter(found[enough].values()))}"
        )
    return found[enough].popitem()[1]


def _said(made_from: Mapping[str, Any]) -> str:
    """The path and options as --data takes them."""
    options = "".join(f",{key}={value}" for key, value in sorted(made_from["options"].items()))
    cropped = " (centres)" if made_from.get(CROPPED) else ""
    return f"{made_from['reader']}:{made_from['root']}{options}{cropped}"


def finished_store(request: Mapping[str, Any], reader: Reader, out: Path | None) -> Path | None:
    """A store that was made from the same request and files as they are now, in `out` or the cache.

    Raises:
        UsageError: `out` holds something that is neither that nor its unfinished preparation.
    """
    if out is None:
        places: Iterable[Path] = sorted(cache_folder().glob(f"{stem(request)}-*"))
        return next((folder for folder in places if _is_of(folder, request, reader)), None)
    if _is_of(out, request, reader):
        return out
    names = {path.name for path in _entries(out)}
    foreign = names - (_OURS if (out / WORK / "plan").is_file() else set())
    if foreign or (out.exists() and not out.is_dir()):
        raise UsageError(
            f"{out} holds something else already"
            f"{' (' + shown(sorted(foreign), 3) + ')' if foreign else ''}. Name another folder "
            "with --out; nothing there was touched."
        )
    return None


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _is_of(folder: Path, request: Mapping[str, Any], reader: Reader) -> bool:
    manifest = read_manifest(folder)
    if manifest is None:
        return False
    made_from = manifest["made_from"]
    asked = {CROPPED: False, **request}
    if {key: {CROPPED: False, **made_from}.get(key) for key in asked} != asked:
        return False
    tables = [list(state) for state in states(path for path, _, _ in made_from["tables"])]
    if tables != made_from["tables"]:
        return False
    left_out, unreadable = read_left_out(folder)
    names: Iterable[str] = unreadable
    if reader.watched:
        names = [*_images(folder), *left_out, *unreadable]
    return watched_state(Path(made_from["images"]), names) == made_from["watched"]


def _images(folder: Path) -> list[str]:
    return unpack(packed_rows(folder), "image")


def watched_state(root: Path, names: Iterable[str]) -> str:
    """Changes when one of the named images below `root` does."""
    found = states(os.path.join(root, name) for name in sorted(names))
    return digest([state[1:] for state in found])


def _options(spec: DataSpec) -> dict[str, str]:
    """The options, with places as they are wherever the command is run."""
    return {
        key: os.path.realpath(os.path.expanduser(value)) if key in _PLACES else value
        for key, value in spec.options.items()
    }


def stem(request: Mapping[str, Any]) -> str:
    path = Path(request["root"])
    folder = path.parent if path.is_file() else path
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.name)[:40]
    return f"{request['reader']}-{name}-{digest(request)[:12]}"


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
