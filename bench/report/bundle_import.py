"""`bench import`: the trials of bundles as records without scores, in a study that says so.

Everything is checked before anything is written. A study of one name is left as it is unless the
user names it: then trials of the same data, partition and rows are merged into it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import ResultsError
from bench.report.bundle_schema import SCHEMA, canonical, read_bundle
from bench.report.origin import ORIGIN, origins
from bench.runs.hold import cannot_write, held
from bench.runs.record import read_records, replacing, write_record
from bench.runs.trial import place_of, trials_folder


@dataclass(frozen=True)
class Imported:
    """What became of one bundle."""

    folder: Path
    study: str
    """The study's name where it was exported."""
    digest: str
    written: int
    there: int
    """Trials that the study had already."""
    synthetic: bool
    withheld: int
    """Classes of which nothing left."""


def import_bundles(
    files: Sequence[Path], results: Path, name: str | None, say: Callable[[str], None]
) -> list[Imported]:
    """Writes the trials of bundles below `results`; `name` is the study they go to.

    Raises:
        ResultsError: a bundle cannot be trusted, a study of its name is there, is held by a
            `bench run`, or has trials that contradict the bundle's or stand in their way; nothing
            is written then.
    """
    if name is not None and not SCHEMA["study"].holds(name):  # type: ignore[attr-defined]
        raise ResultsError(f"--as {name}: a study's name is one folder of letters, digits, . _ -")
    bundles = [(file, read_bundle(file)) for file in files]
    by_study: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for file, bundle in bundles:
        by_study.setdefault(name or bundle["study"], []).append((file, bundle))

    def plans() -> list[tuple[str, _Planned]]:
        return [
            (study, _to_write(results, study, given, named=name is not None))
            for study, given in by_study.items()
        ]

    plans()  # refuses before there is a folder to hold
    with ExitStack() as studies:
        for study in by_study:
            studies.enter_context(held(results / study, say))
        return [done for study, planned in plans() for done in _written(results, study, planned)]


_PART = ".import-"
_Planned = list[tuple[dict[str, Any], list[dict[str, Any]]]]


def _to_write(
    results: Path, study: str, given: Sequence[tuple[Path, dict[str, Any]]], *, named: bool
) -> _Planned:
    """Of each bundle the records that the study has not yet."""
    folder = results / study
    known = {bundle["digest"] for bundle in origins(folder)}
    there = list(read_records(trials_folder(results, study)))
    before = bool(there) or trials_folder(results, study).exists()
    planned: _Planned = []
    for file, bundle in given:
        if before and not named and bundle["digest"] not in known:
            raise ResultsError(
                f"{folder} is there already, and is not of {file}. Import it under another name "
                f"with --as NAME, or merge it into this study with --as {study}."
            )
        mine = list(_records(bundle, study))
        new = []
        places = {place_of(record["spec"]): record for record in there}
        for record in mine:
            other = places.get(place_of(record["spec"]))
            if other is None:
                new.append(record)
            elif other["id"] != record["id"]:
                raise _contradiction(file, folder, record, other)
        for record in new:
            _refuse_other_row(file, folder, record, there)
        _refuse_occupied(file, trials_folder(results, study), new)
        there += new
        planned.append((bundle, new))
    return planned


def _refuse_occupied(file: Path, trials: Path, new: Sequence[Mapping[str, Any]]) -> None:
    """A trial that failed, is damaged or is being run is the user's to remove."""
    found = [trials / place_of(record["spec"]) for record in new]
    taken = [str(place) for place in found if os.path.lexists(place)]
    if taken:
        raise ResultsError(
            f"{file}: {len(taken)} of its trials have no finished one in their place, but what "
            f"failed, is damaged or is being run: {', '.join(taken)}. Finish these with `bench "
            "run`, delete them, or import it as a study of its own: --as NAME."
        )


def _refuse_other_row(
    file: Path, folder: Path, record: Mapping[str, Any], there: Iterable[Mapping[str, Any]]
) -> None:
    """Trials of one study are of one data set and partition, those of a row of one version."""
    spec = record["spec"]
    for other in there:
        theirs = other["spec"]
        common = ("fingerprint", "folds", "seed", "classes", "prompts")
        same_row = (theirs["method"], theirs["row"]) == (spec["method"], spec["row"])
        of_row = ("method_code", "track", "protocol")
        splits = (record["split"]["digest"], other["split"].get("digest"))
        same_run = theirs["run"] == spec["run"] and None not in splits
        if (
            any(theirs.get(key) != spec[key] for key in common)
            or (same_run and splits[0] != splits[1])
            or (same_row and any(theirs.get(key, spec[key]) != spec[key] for key in of_row))
            or (same_row and not _agree(spec["config"], theirs["config"]))
        ):
            raise _contradiction(file, folder, record, other)


def _agree(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether settings that both tell are the same; a bundle may withhold some."""
    return all(a[key] == b[key] for key in a.keys() & b.keys())


def _contradiction(
    file: Path, folder: Path, record: Mapping[str, Any], other: Mapping[str, Any]
) -> ResultsError:
    mine, theirs = record["spec"], other["spec"]
    words = {"fingerprint": "data", "method_code": "method code", "config": "settings"}
    keys = ("fingerprint", "folds", "seed", "classes", "prompts", "method_code", "track", "config")
    same_row = (mine["method"], mine["row"]) == (theirs["method"], theirs["row"])
    looked = [
        key
        for key in (*keys, "weights")
        if (same_row or key not in ("method_code", "track", "config", "weights"))
        and mine.get(key) != theirs.get(key)
    ]
    told = ", ".join(words.get(key, key) for key in looked) or "partition or a withheld setting"
    return ResultsError(
        f"{file}: {mine['title']}, run {mine['run']} fold {mine['fold']}, cannot stand in "
        f"{folder}, which holds {theirs['title']}, run {theirs['run']} fold {theirs['fold']}: "
        f"they differ in {told}. Import it as a study of its own: --as NAME."
    )


def _records(bundle: Mapping[str, Any], study: str) -> Iterable[dict[str, Any]]:
    """The trials of a bundle as records, which `write_record` gives a digest of their own."""
    data, names = bundle["data"], [entry["class"] for entry in bundle["data"]["classes"]]
    told = {key: data[key] for key in ("name", "synthetic", "images", "patients", "sources")}
    told["positive_patients"] = {e["class"]: e["positive_patients"] for e in data["classes"]}
    for row in bundle["rows"]:
        for trial in row["trials"]:
            yield {
                "status": "done",
                "id": trial["id"],
                "spec": _spec(bundle, row, trial, study, names),
                "data": told,
                "split": {
                    "digest": trial["partition"],
                    "train": trial["train"],
                    "validation": trial["validation"],
                    "test": trial["test"],
                    "train_patients": trial["train_patients"],
                    "test_patients": trial["test_patients"],
                },
                "metrics": {
                    policy: {"classes": _cells(names, trial, columns)}
                    for policy, columns in trial["metrics"].items()
                },
                **_checkpoints(row),
                "origin": {
                    "bundle": bundle["digest"],
                    "study": bundle["study"],
                    "record": trial["record"],
                    "scores": trial["scores"],
                    "decimals": bundle["decimals"],
                },
                "provenance": {key: trial[key] for key in ("python", "device", "packages")}
                | {"git": trial["commit"] and {"commit": trial["commit"]}},
            }


def _spec(
    bundle: Mapping[str, Any],
    row: Mapping[str, Any],
    trial: Mapping[str, Any],
    study: str,
    names: Sequence[str],
) -> dict[str, Any]:
    weights = [file["sha256"] for file in row["weights"]]
    of_weights = {"weights": weights, "weights_names": [f["name"] for f in row["weights"]]}
    return {
        "study": study,
        "row": row["label"],
        "title": row["title"],
        "method": row["method"],
        "method_reference": row["method"],
        "method_code": row["code"],
        "track": row["track"],
        "data": bundle["data"]["name"],
        "fingerprint": bundle["data"]["fingerprint"],
        "config": row["config"],
        "classes": list(names),
        "prompts": row["prompts"],
        "seed": bundle["seed"],
        "folds": bundle["folds"],
        "run": trial["run"],
        "fold": trial["fold"],
        "protocol": row["protocol"],
        **(of_weights if weights else {}),
    }


def _cells(
    names: Sequence[str], trial: Mapping[str, Any], columns: Mapping[str, Sequence[float | None]]
) -> list[dict[str, Any]]:
    return [
        {
            "class": name,
            "n_pos": trial["n_pos"][c],
            "n_neg": trial["n_neg"][c],
            **{key: values[c] for key, values in columns.items()},
        }
        for c, name in enumerate(names)
    ]


def _checkpoints(row: Mapping[str, Any]) -> dict[str, Any]:
    if not row["weights"]:
        return {}
    files = [file | {"on_card": None} for file in row["weights"]]
    seen = row["weights_seen"] if row["weights_seen_known"] else None
    return {"checkpoints": {"files": files, "seen": seen, "seen_by": row["weights_seen_by"]}}


def _written(results: Path, study: str, planned: _Planned) -> list[Imported]:
    folder, trials = results / study, trials_folder(results, study)
    found = []
    try:
        _move_in(folder, trials, planned)
    except OSError as error:
        raise cannot_write(folder, error) from error
    for bundle, records in planned:
        of_all = sum(len(row["trials"]) for row in bundle["rows"])
        classes = bundle["data"]["classes"]
        found.append(
            Imported(
                folder=folder,
                study=bundle["study"],
                digest=bundle["digest"],
                written=len(records),
                there=of_all - len(records),
                synthetic=bundle["data"]["synthetic"],
                withheld=sum(entry["positive_patients"] is None for entry in classes),
            )
        )
    return found


def _move_in(folder: Path, trials: Path, planned: _Planned) -> None:
    """Writes records beside the trials and moves them in, a folder at a time."""
    for left in folder.glob(f"{_PART}*"):  # by an import that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PART, dir=folder) as temporary:
        part = Path(temporary)
        for _, records in planned:
            for record in records:
                write_record(part / place_of(record["spec"]), record, scores=None, log=[])
        # Before the trials: a kill in between leaves a study that can be imported into again.
        known = {one["digest"]: one for one in origins(folder)}
        for bundle, _ in planned:
            known[bundle["digest"]] = {key: bundle[key] for key in ("digest", "study")}
        listed = [known[digest] for digest in sorted(known)]
        with replacing(folder / ORIGIN) as partial:
            partial.write_text(canonical({"bundles": listed}) + "\n")
        for file in sorted(part.glob("*/*/record.json")):
            target = trials / file.parent.relative_to(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file.parent, target)
