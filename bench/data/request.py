"""What is asked for on the command line -> a store's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.data.dataset import STORE, DataSpec, find_reader
from bench.errors import UsageError, unknown


def prepare_store(
    name: str,
    *,
    root: str | None,
    labels: str | None,
    reports: str | None,
    settings: Mapping[str, str],
    size: int,
    short_side: int | None = None,
    out: Path | None,
    jobs: int,
    tell: Callable[[str], None],
) -> Path:
    """The folder of the finished store of `bench data prepare NAME --root DIR ...`.

    With `short_side` the store holds central squares of that many pixels a side, else whole
    pictures in squares of `size`.

    `name` may also be what --data takes, `NAME:PATH,key=value`, and then goes without `root`.

    Raises:
        UsageError: an unknown name or option, or one that this source does not take.
        DataError: as `bench.data.prepare.prepare_files`.
    """
    from bench.data.prepare import prepare_files

    spec = DataSpec(name, root, {}) if root is not None else DataSpec.parse(name)
    reader = find_reader(spec.reader)
    if reader.name == STORE:
        raise UsageError(f"{spec.path} is prepared already. See: bench data verify {spec.path}")
    given = {"labels": labels, "reports": reports, **settings}
    options = {**spec.options, **{key: value for key, value in given.items() if value is not None}}
    for key in options:
        if key not in reader.options:
            raise UsageError(unknown(f"option of '{reader.name}'", key, reader.options))
    spec = DataSpec(reader.name, spec.path, options)
    if not reader.takes_path:
        if (root, out, short_side) != (None, None, None):
            raise UsageError(
                f"'{reader.name}' is drawn, into the cache: no --root, --out or --short-side."
            )
        module: Any = import_module(reader.module)
        store: Path = module.prepare(spec, jobs, tell)
        return store
    if spec.path is None:
        raise UsageError(f"Where is it? bench data prepare {reader.name} --root DIR")
    side, cropped = (size, False) if short_side is None else (short_side, True)
    return prepare_files(reader, spec, side, cropped=cropped, out=out, jobs=jobs, tell=tell)
