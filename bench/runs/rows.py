"""What `bench run` was asked for, as rows: a method with its code, configuration and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.errors import MethodError, UsageError, unknown
from bench.protocol.config import Config
from bench.protocol.method import Card, Found, find_method, method_names
from bench.protocol.references import name_of
from bench.runs.study import PAPER_STUDY, Row, load_study, rows_of_table
from bench.runs.trial import State, Track, row_label, weights_label

DEFAULT_FOLDS, DEFAULT_SEED = 5, 0
TRAINED_RUNS = 10
RELEASED_RUNS = 1
"""Published weights score an image alike in every run; a second run only cuts other folds."""


@dataclass(frozen=True)
class Request:
    """What `bench run` was asked for; the command line fills it and adds nothing."""

    methods: tuple[str, ...] = ()
    table: int | None = None
    track: Track = "trained"
    weights: tuple[str, ...] = ()
    """References of weights to score with (released) or to start from; several are an ensemble."""
    data: str | None = None
    test_data: tuple[str, ...] = ()
    """Other data that every model scores too."""
    classes: tuple[str, ...] = ()
    """Classes of the test data to ask for although the training data do not label them."""
    preset: str | None = None
    """None is `tiny` from scratch, `paper` from weights, and for released weights the authors' own
    recipe where the method has it."""
    folds: int = DEFAULT_FOLDS
    runs: int | None = None
    seed: int = DEFAULT_SEED
    settings: Mapping[str, str] = field(default_factory=dict)
    jobs: int | None = 1
    """Trials at a time; None is one a core, or one a GPU."""
    device: str = "auto"
    results: Path = Path("results")
    study: str | None = None
    """A name for the study's folder, or a study file of the user's."""
    fresh: bool = False
    skip_unreadable: bool = False
    keep: tuple[str, ...] = ()
    """What to keep of every trial beside its record: "model", "embeddings"."""
    executor: str = "local"
    only: tuple[State, ...] = ()
    """Run trials of these states alone."""
    limit: int | None = None
    """Run so many trials at most."""
    keep_going: bool = False
    """Try all trials of a row although its first ones failed in the same way."""
    log: tuple[str, ...] = ()
    """Where to log the epochs besides `log.jsonl`: names of `bench.runs.loggers.NAMES`."""

    @property
    def study_file(self) -> Path | None:
        """The study file to run; None runs the methods named or rows of the paper's tables."""
        return Path(self.study) if self.study is not None and self.study.endswith(".toml") else None

    @property
    def run_count(self) -> int:
        """How many cross-validations."""
        usual = RELEASED_RUNS if self.track == "released" else TRAINED_RUNS
        return usual if self.runs is None else self.runs

    @property
    def kind(self) -> str:
        """The part of a study's name that says what is in it: its preset, or `released`."""
        if self.preset is not None:
            return self.preset
        if self.track == "released":
            return "released"
        return "paper" if self.weights else "tiny"


@dataclass(frozen=True)
class Resolved:
    """A row with its method found, its configuration made and its weights looked at."""

    reference: str
    name: str
    code: str
    title: str
    label: str
    config: Config
    weights: tuple[str, ...] = ()
    """SHA-256 of each."""


def resolve_rows(request: Request, say: Callable[[str], None]) -> list[Resolved]:
    """The rows of a request: named methods with the settings, or the rows of a table.

    Raises:
        UsageError: the request cannot be meant, or names what is not there.
        MethodError: the weights cannot be read or are not the method's.
    """
    _refuse_unclear(request)
    study = load_study(request.study_file or PAPER_STUDY)
    rows = _wanted(request, study, say)
    if not rows:
        raise UsageError("Nothing to run: give --method NAME or --table 2. See: bench methods.")
    found = [find_method(row.method) for row in rows]
    if request.track == "released" and not request.weights:
        raise UsageError(_where_weights_are_had(found))
    digests = _digests(request.weights, found)
    titles = {row.key: row.title for row in study}
    resolved: list[Resolved] = []
    for row, method in zip(rows, found, strict=True):
        preset = method.cls.Config.of_preset(_preset(request, method))
        config = preset.with_settings({**row.settings, **request.settings})
        settings = row_label(asdict(config), asdict(preset))
        label = weights_label(request.track, digests, settings)
        title = _title(request, method.cls.card, settings, titles.get((method.name, settings)))
        if request.study_file is not None and not request.settings and row.label != settings:
            raise UsageError(
                f"{request.study_file}: what '{row.title}' sets reads as {settings}, not as "
                f"{row.label}; write it so, for the tables to find the row."
            )
        if any((method.name, label) == (other.name, other.label) for other in resolved):
            raise UsageError(f"'{title}' is asked for twice; every row runs once.")
        resolved.append(
            Resolved(row.method, method.name, method.code, title, label, config, digests)
        )
    return resolved


def _refuse_unclear(request: Request) -> None:
    if request.track not in ("trained", "released"):
        raise UsageError(unknown("track", request.track, ("trained", "released")))
    of_a_study = request.table is not None or request.study_file is not None
    if of_a_study and request.methods:
        raise UsageError("Give --method, or the rows of a table or study file, not both.")
    if of_a_study and request.track == "released":
        raise UsageError(
            "The rows of a table have weights of their own: give --track released with --method "
            "and --weights, a row at a time, and --study NAME to gather them in one study."
        )


def _wanted(request: Request, study: Sequence[Row], say: Callable[[str], None]) -> list[Row]:
    if request.table is None and request.study_file is None:
        return [Row(method, "", dict(request.settings)) for method in request.methods]
    wanted = tuple(study) if request.table is None else rows_of_table(request.table, tuple(study))
    if request.study_file is not None:
        return list(wanted)
    known = method_names()
    absent = [row.title for row in wanted if row.method not in known]
    if absent:
        say(f"Left out, for want of a method of that name: {', '.join(absent)}.")
    return [row for row in wanted if row.method in known]


def _preset(request: Request, method: Found) -> str:
    if request.preset is not None or request.track != "released":
        return request.kind
    try:
        method.cls.Config.upstream()
    except UsageError:
        return "paper"
    return "upstream"


def _digests(references: Sequence[str], found: Sequence[Found]) -> tuple[str, ...]:
    """SHA-256 of the weights; a state that a method would refuse is refused before any trial."""
    if not references:
        return ()
    from bench.protocol.weights import load_checkpoint, misfit

    digests = []
    for reference in references:
        checkpoint = load_checkpoint(reference)
        digests.append(checkpoint.digest)
        for method in found if checkpoint.state else ():
            fit = method.cls.fit(checkpoint.state)
            if fit is not None and not fit.exact:
                raise MethodError(
                    f"{reference} does not fit {method.name}: {misfit(fit)}. "
                    f"See what it fits: bench weights {reference}"
                )
    return tuple(digests)


def _where_weights_are_had(found: Sequence[Found]) -> str:
    """An error for `--track released` alone: which files there are and where they are had."""
    lines = []
    for method in found:
        card = method.cls.card
        files = "; ".join(f"{w.name} ({w.where})" for w in card.weights)
        lines.append(
            f"{card.title}: {files}."
            if files
            else f"{card.title}'s card names no published weights."
        )
    return f"--track released scores published weights: give --weights FILE. {' '.join(lines)}"


def _title(request: Request, card: Card, settings: str, declared: str | None) -> str:
    """What a row is called in tables: released rows and rows from weights say so.

    A method whose card knows its weights gives the row its name; where the weights are anybody's,
    they do.
    """
    set_apart = "" if settings == "default" else settings
    if not request.weights:
        return declared or card.title + (f" ({set_apart})" if set_apart else "")
    name = name_of(request.weights[0]).rpartition(":")[2].rpartition("/")[2]
    if len(request.weights) > 1:
        name = f"{len(request.weights)} checkpoints"
    anybodys = not card.weights
    if request.track == "trained":
        own = declared or card.title + (f" ({set_apart})" if set_apart else "")
        return f"{own} from {name}"
    parts = [
        *([card.title] if anybodys else []),
        "released",
        *([name] if not anybodys and len(request.weights) > 1 else []),
        *([set_apart] if set_apart else []),
    ]
    return f"{name if anybodys else card.title} ({', '.join(parts)})"
