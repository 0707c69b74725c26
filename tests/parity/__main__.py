"""`python -m tests.parity NAME FILE.npz`: the worst difference of every array; 1 when one fails."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from zipfile import BadZipFile

from tests.parity import compare_file, read


def main(arguments: list[str]) -> int:
    """The exit status: 0 all reproduced, 1 not, 2 wrong usage."""
    if len(arguments) != 2:
        print("Usage: python -m tests.parity NAME FILE.npz", file=sys.stderr)
        return 2
    name, path = arguments[0], Path(arguments[1])
    if not name.isidentifier() or find_spec(f"tests.parity.{name}") is None:
        print(f"No tests/parity/{name}.py.", file=sys.stderr)
        return 2
    try:
        arrays, _ = read(path)
        found = compare_file(name, path)
    except (OSError, BadZipFile) as error:
        print(f"{path} cannot be read: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # whatever an adapter makes of a strange file is a failure of parity
        print(f"FAIL  {path}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    for comparison in found:
        print(comparison)
    failed = sum(not comparison.passed for comparison in found)
    if not found:
        print(f"{len(arrays)} arrays, all inputs or weights; the adapter loads them.")
    else:
        print(f"{len(found) - failed} of {len(found)} arrays within tolerance.")
    return 1 if failed or not arrays else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
