"""`bench new-method NAME`: an adapter that runs, for somebody to replace by theirs."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from bench.errors import UsageError


def write_adapter(name: str, folder: Path) -> Path:
    """Writes `folder/NAME.py`, a copy of `bench/protocol/template.py` under the new name.

    Raises:
        UsageError: the name is no Python module's, or the file exists or cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"'{name}' cannot name a method: use a small letter, then small letters, digits and _, "
            "for example my_method."
        )
    title = "".join(part.capitalize() for part in name.split("_"))
    template = Path(__file__).with_name("template.py").read_text(encoding="utf-8")
    file = folder / f"{name}.py"
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(template.replace("NewMethod", title))
    except FileExistsError:
        raise UsageError(f"{file} exists; give another name or move it away.") from None
    except OSError as error:
        raise UsageError(f"Cannot write {file}: {error.strerror}.") from error
    return file
