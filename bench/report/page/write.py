"""The page as a file: template, style and script in one, which asks for nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from bench.errors import ResultsError, UsageError
from bench.report.options import Options
from bench.runs.record import replacing

PAGE = "report.html"


def write_page(results: Path, study: str, options: Options) -> Path:
    """Writes `report.html` into the study's folder and returns its path.

    Raises:
        ResultsError: no finished trial, or the folder cannot be written.
        UsageError: the packages of the extra `report` are not there.
    """
    text = page(results, study, options)
    path = results / study / PAGE
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
            temporary.chmod(0o644)
    except OSError as error:
        raise ResultsError(f"Cannot write {path}: {error.strerror}.") from error
    return path


def page(results: Path, study: str, options: Options) -> str:
    """The whole page of a study: the same records, the same bytes."""
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"The page needs {error.name}. Run: pip install 'cxr-bench[report]'"
        ) from error
    from bench.report.page.content import gather

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    folder = resources.files("bench.report.page") / "templates"
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        page=gather(results, study, options), style=style, script=script, script_hash=allowed
    )
