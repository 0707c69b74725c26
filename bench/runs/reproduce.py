"""Trials run once more, somewhere else, and compared with what there was.

"Identical" is said of scores that are the same to the bit. Where they are not, or are not there to
compare, six digits of what the tables print decide; of an imported trial the digits that its bundle
has, in the classes that it tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import ResultsError, TrialError, UsageError
from bench.protocol.prompts import HEADLINE
from bench.runs.executors import Work, find_executor
from bench.runs.keep import method_of
from bench.runs.layout import Layout, lay_out
from bench.runs.record import read_record
from bench.runs.rows import Request
from bench.runs.trial import TrialSpec, differences, identity_of

if TYPE_CHECKING:
    from bench.runs.perform import Outcome

Trial = tuple[int, int]
"""Run and fold."""
Verdict = Literal["identical", "equal to printed precision", "differs", "not comparable"]
_GROUPS = ("total", "base", "rare")


@dataclass(frozen=True)
class Compared:
    """How a value or trial came out the second time."""

    what: str
    verdict: Verdict
    detail: str = ""

    @property
    def same(self) -> bool:
        """Whether it came out the same, as far as can be seen."""
        return self.verdict in ("identical", "equal to printed precision")

    def __str__(self) -> str:
        return f"{self.what}: {self.verdict}{self.detail and f': {self.detail}'}"


def request_of(
    record: Mapping[str, Any],
    data: str | None,
    weights: tuple[str, ...],
    method: str | None,
    request: Request,
) -> Request:
    """What to ask for to run a record's row again.

    Args:
        data: where the data lie here; None takes what the record was made with.
        weights: files of the weights that the row scores or starts from.
        method: the file of its method, where it is one.
        request: how and where to run.

    Raises:
        UsageError: the row has weights, or a file as its method, and none are given.
    """
    spec = record["spec"]
    if spec.get("weights") and not weights:
        names = ", ".join(spec.get("weights_names", ())) or "weights"
        raise UsageError(f"{spec['title']} was made with {names}: give them with --weights FILE.")
    settings = {k: str(v) for k, v in spec["config"].items() if k != "preset"}
    return replace(
        request,
        methods=(method_of(spec, method),),
        settings=settings,
        data=data or spec["data"],
        preset=spec["config"]["preset"],
        track=spec["track"],
        weights=weights,
        folds=spec["folds"],
        seed=spec["seed"],
    )


def redo(
    request: Request,
    chosen: Collection[Trial],
    fits: Callable[[Layout], None],
    say: Callable[[str], None],
) -> dict[Trial, dict[str, Any]]:
    """Runs the chosen trials of the request's one row and returns their records.

    Args:
        fits: raises where the data are not those of the results.

    Raises:
        TrialError: a trial failed.
        BenchError: as `bench.runs.launch.launch` does.
    """
    execute = find_executor(request.executor)
    layout = lay_out(request, say)
    fits(layout)
    specs = [spec for spec in layout.specs if (spec.run, spec.fold) in chosen]
    work = Work(
        stores=tuple(store.resolve() for store in layout.stores),
        device=layout.device,
        results=request.results.resolve(),
        jobs=layout.jobs,
    )
    done = 0

    def ended(spec: TrialSpec, outcome: Outcome) -> None:
        nonlocal done
        if outcome.error is not None:
            raise TrialError(f"Run {spec.run} fold {spec.fold} failed: {outcome.error}")
        done += 1
        say(f"[{done}/{len(specs)}] run {spec.run} fold {spec.fold} ({outcome.seconds:.0f} s)")

    say(f"Trials of {specs[0].title} to run: {len(specs)}.")
    execute(specs, work, ended)
    return {(s.run, s.fold): _record(s.folder(request.results)) for s in specs}


def _record(folder: Path) -> dict[str, Any]:
    record = read_record(folder)
    if record is None:
        raise ResultsError(f"The trial that was just run is not in {folder}.")
    return record


def refuse_other_data(record: Mapping[str, Any]) -> Callable[[Layout], None]:
    """A check that the data laid out are those of a record."""

    def fits(layout: Layout) -> None:
        if layout.specs[0].fingerprint != record["spec"]["fingerprint"]:
            raise ResultsError(
                f"These are not the data that {record['spec']['title']} was made with: their "
                "fingerprints differ. Give the same data with --data."
            )

    return fits


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> Compared:
    """A record and the one of the same trial that was made now."""
    spec = new["spec"]
    what = f"run {spec['run']} fold {spec['fold']}"
    changed = _changed(old, new)
    scores = old.get("scores_sha256") or old.get("origin", {}).get("scores")
    if scores is not None and scores == new["scores_sha256"]:
        return Compared(what, "identical", changed)
    decimals = old.get("origin", {}).get("decimals")
    all_gaps = list(_gaps(old["metrics"][HEADLINE], new["metrics"][HEADLINE]))
    # A bundle that rounds also withholds, so that of its classes without a value nothing is known.
    gaps = [gap for gap in all_gaps if decimals is None or gap[1] is not None]
    withheld = len(all_gaps) - len(gaps)
    hidden = f"of {withheld} classes the bundle tells nothing" if withheld else ""

    def found(verdict: Verdict, detail: str) -> Compared:
        return Compared(what, verdict, "; ".join(filter(None, (changed, detail, hidden))))

    if not gaps:
        return found("not comparable", "scores differ, and no AUC is there to compare")
    apart = [gap for gap in gaps if not _alike(gap[1], gap[2], decimals)]
    if not apart:
        digits = "" if decimals is None else f", and the bundle has {decimals} decimals"
        detail = f"scores differ, or are not there to compare{digits}"
        return found("equal to printed precision", detail)
    name, a, b = max(apart, key=lambda gap: abs((gap[1] or 0.0) - (gap[2] or 0.0)))
    return found("differs", f"AUC of {name} was {_auc(a)}, is {_auc(b)}")


def _alike(then: float | None, now: float | None, decimals: int | None) -> bool:
    """Whether two values are printed alike, or one can be what the other was rounded from."""
    if decimals is None or then is None or now is None:
        return settled(then) == settled(now)
    # What lies between two digits is rounded to either by a difference that no table prints.
    return abs(then - now) <= 0.5 * 10**-decimals + 1e-6


def settled(value: float | None) -> float | None:
    """Six significant digits, as the tables print them."""
    return None if value is None else float(f"{value:.6g}")


def _auc(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.6g}"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What of the trials' identities is not the same; a bundle may have withheld settings."""
    then, now = identity_of(old["spec"]), identity_of(new["spec"])
    for identity in (then, now):
        identity.pop("external", None)
    if "origin" in old:
        now["config"] = {k: v for k, v in now["config"].items() if k in then["config"]}
    return "" if then == now else differences(then, now)


def _gaps(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, float | None, float | None]]:
    """Of each class, and of the groups where they are told, the AUC then and now."""
    for then, now in zip(old["classes"], new["classes"], strict=True):
        yield then["class"], then["auroc"], now["auroc"]
    for group in _GROUPS:
        if group in old:
            yield group, old[group]["auroc"], new[group]["auroc"]


def made_otherwise(old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[str]:
    """What of program, versions and machine was not the same; empty where all that is told was."""
    then, now = old.get("provenance") or {}, new["provenance"]
    pairs = {name: (then.get(name), now.get(name)) for name in ("python", "processor", "device")}
    packages = then.get("packages") or {}
    pairs |= {name: (packages.get(name), v) for name, v in now["packages"].items()}
    commits = [(made.get("git") or {}).get("commit") for made in (then, now)]
    pairs["commit"] = (commits[0] and commits[0][:12], commits[1] and commits[1][:12])
    return [
        f"{name} was {before}, is {after}"
        for name, (before, after) in pairs.items()
        if before is not None and before != after
    ]
