"""What leaves in a bundle, what is let in, and what a table says of it.

The record is one fold of a real run (`tests/fixtures/record-v1`), told as of real images where the
rules for these are tested.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.classes import CLASSES
from bench.cli import main
from bench.errors import BenchError, ResultsError
from bench.protocol.public_names import public_names
from bench.report.bundle import make_bundle, write_bundle
from bench.report.bundle_import import import_bundles
from bench.report.bundle_names import Names, public_words
from bench.report.bundle_schema import allowed, canonical, digest_of, read_bundle
from bench.report.options import TABLES, Options
from bench.report.tables import make_table
from bench.runs.hold import held
from bench.runs.record import digest, read_record, read_scores, write_record
from bench.runs.reproduce import compare
from bench.runs.trial import place_of
from tests.conftest import REPOSITORY
from tests.report.studies import scored_study

STUDY = "phantom-v1"
OLD = REPOSITORY / "tests" / "fixtures" / "record-v1" / STUDY / "trials"
TRIALS = ("chexzero-default", "chexzero-text=meta")
SECRET = "st-marys-p10000032"

# The whole of what a bundle may hold. A line more is a decision about patients' privacy.
FIELDS = """
format schema program study folds seed
data.fingerprint data.name data.synthetic data.images data.patients data.sources[]
data.classes[].class data.classes[].positive_patients
withheld_below.patients_a_cell withheld_below.patients_a_class decimals
rows[].method rows[].label rows[].title rows[].code rows[].track rows[].protocol rows[].prompts
rows[].config.* rows[].settings_withheld
rows[].weights[].sha256 rows[].weights[].name
rows[].weights_seen_known rows[].weights_seen[] rows[].weights_seen_by
rows[].trials[].id rows[].trials[].run rows[].trials[].fold
rows[].trials[].record rows[].trials[].scores rows[].trials[].partition
rows[].trials[].train rows[].trials[].validation rows[].trials[].test
rows[].trials[].train_patients rows[].trials[].test_patients
rows[].trials[].n_pos[] rows[].trials[].n_neg[]
rows[].trials[].metrics.*.auroc[] rows[].trials[].metrics.*.auroc_pooled[]
rows[].trials[].metrics.*.ap[]
rows[].trials[].python rows[].trials[].device rows[].trials[].commit rows[].trials[].digest
rows[].trials[].packages.cxr-bench rows[].trials[].packages.torch
rows[].trials[].packages.open_clip_torch rows[].trials[].packages.timm
rows[].trials[].packages.transformers rows[].trials[].packages.numpy
digest
"""


@cache
def public() -> frozenset[str]:
    return public_words() | public_names()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two rows of one trial each."""
    shutil.copytree(OLD, tmp_path / "results" / STUDY / "trials")
    return tmp_path / "results"


def _folder(results: Path, row: str = TRIALS[0]) -> Path:
    return results / STUDY / "trials" / row / "run-00_fold-2"


def change(folder: Path, how: Callable[[dict[str, Any]], None]) -> None:
    """A record rewritten as another one that can be trusted."""
    record = json.loads((folder / "record.json").read_text())
    how(record)
    record["digest"] = digest(record)
    (folder / "record.json").write_text(json.dumps(record))


def make_real(results: Path) -> None:
    for row in TRIALS:
        change(_folder(results, row), lambda record: record["data"].update(synthetic=False))


def bundled(results: Path, **how: Any) -> dict[str, Any]:
    return make_bundle(results, STUDY, Names(public(), **how))


def written(results: Path, out: str = "b.json", **how: Any) -> Path:
    return write_bundle(bundled(results, **how), results.parent / out)


def brought(file: Path, results: Path, name: str | None = None) -> Path:
    (done, *_) = import_bundles([file], results, name, print)
    return done.folder


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in pairs:
            yield from leaves(entry, (*path, key))
    else:
        yield path, value


def place(record: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        record = record[key]
    record[path[-1]] = value


def _shape(path: tuple[Any, ...]) -> str:
    """A leaf's path as the list of fields has it."""
    told = ""
    for key in path:
        after = told.rsplit(".", 1)[-1]
        name = "*" if after in ("config", "metrics") else str(key)
        told += "[]" if isinstance(key, int) else f".{name}"
    return told.removeprefix(".")


def test_the_fields_of_a_bundle_are_those_that_were_agreed_on() -> None:
    assert sorted(allowed()) == sorted(FIELDS.split())


@pytest.mark.parametrize("real", [False, True])
def test_a_bundle_holds_nothing_but_these_fields(results: Path, real: bool) -> None:
    if real:
        make_real(results)
    told = json.loads(written(results).read_text())
    assert {_shape(path) for path, _ in leaves(told)} <= set(FIELDS.split())


def _replaced(value: Any, old: str, new: str) -> Any:
    """A record in which a text is another one, wherever it stands."""
    if isinstance(value, dict):
        return {new if k == old else k: _replaced(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced(entry, old, new) for entry in value]
    return new if value == old else value


def _with_more(value: Any, secret: str) -> Any:
    """A record in which every object says something more."""
    if isinstance(value, dict):
        return {k: _with_more(v, secret) for k, v in value.items()} | {f"{secret}0": secret}
    return [_with_more(entry, secret) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("secret", [SECRET, f"/home/jane/{SECRET}", "10000032", f"a@{SECRET}:b"])
def test_no_text_that_is_planted_in_a_record_comes_out(results: Path, secret: str) -> None:
    trials = results / STUDY / "trials"
    originals = [json.loads((_folder(results, row) / "record.json").read_text()) for row in TRIALS]
    texts = {value for _, value in leaves(originals) if isinstance(value, str)} - {"done"}
    texts -= set(CLASSES) - {"Edema"}  # one stands for the others
    made, came_out = 0, []
    for text in sorted(texts):
        shutil.rmtree(trials, ignore_errors=True)
        for original in originals:
            spoilt = _replaced(original, text, secret)
            folder = trials / str(place_of(spoilt["spec"])).lstrip("/")
            folder.mkdir(parents=True)
            spoilt["digest"] = digest(spoilt)
            (folder / "record.json").write_text(json.dumps(spoilt))
        try:
            told = canonical(bundled(results))
        except BenchError:
            continue
        made += 1
        came_out += [text] if secret in told else []
    # The others are refused: what has to be a checksum or one of a few words was none.
    assert made > len(texts) * 0.7
    assert not came_out


def test_nothing_leaves_that_a_later_version_adds_to_records(results: Path) -> None:
    before = canonical(bundled(results) | {"rows": []})
    for row in TRIALS:
        folder = _folder(results, row)
        spoilt = _with_more(json.loads((folder / "record.json").read_text()), SECRET)
        spoilt["data"]["positive_patients"].pop(f"{SECRET}0")
        change(folder, lambda record, spoilt=spoilt: record.update(spoilt))  # type: ignore[misc]
    told = bundled(results)
    assert SECRET not in canonical(told)
    assert len(canonical(told | {"rows": []})) == len(before)


def test_names_of_ones_own_leave_when_they_are_let_and_paths_never(results: Path) -> None:
    for row in TRIALS:
        change(_folder(results, row), lambda record: record["data"].update(name="st-marys"))
        change(
            _folder(results, row), lambda record: record["data"].update(sources=["north", "/a/b"])
        )
    names = Names(public())
    told = make_bundle(results, STUDY, names)
    assert told["data"]["name"] == "data-1"
    assert told["study"] == "data-1-tiny-folds3"
    assert names.stand_ins["data", "st-marys"] == "data-1"
    told = bundled(results, with_names=True)
    assert told["data"]["name"] == "st-marys"
    assert told["data"]["sources"] == ["north", "source-1"]
    assert told["study"] == STUDY


def test_a_known_data_set_keeps_its_name(results: Path) -> None:
    for row in TRIALS:
        change(_folder(results, row), lambda record: record["data"].update(name="chexpert-small"))
    assert bundled(results)["data"]["name"] == "CheXpert"


def test_the_same_study_gives_the_same_bytes(results: Path) -> None:
    assert written(results, "a.json").read_bytes() == written(results, "b.json").read_bytes()


def test_real_cells_over_few_patients_are_withheld_and_the_others_rounded(tmp_path: Path) -> None:
    scored_study(tmp_path, {"chexzero": 0.3, "cxrcml": 1.0}, runs=3)
    for path in tmp_path.rglob("record.json"):
        change(path.parent, lambda record: record["data"].update(synthetic=False))
        change(
            path.parent,
            lambda record: record["spec"].update(fingerprint="ab" * 32, prompts="ab" * 6),
        )
    told = make_bundle(tmp_path, "s", Names(public()))
    withheld: dict[int, list[bool]] = {0: [], 1: []}
    for row, trial in [(r, trial) for r in told["rows"] for trial in r["trials"]]:
        trial_folder = f"run-{trial['run']:02d}_fold-{trial['fold']}"
        folder = tmp_path / "s" / "trials" / f"{row['method']}-default" / trial_folder
        arrays = read_scores(folder)
        entries = json.loads((folder / "record.json").read_text())["metrics"]["pair"]["classes"]
        for c in withheld:
            labels, patients = arrays["labels"][:, c], arrays["patients"]
            few = min(len(set(patients[labels == present])) for present in (0, 1)) < 5
            withheld[c].append(few)
            value = trial["metrics"]["pair"]["auroc"][c]
            assert value == (None if few else round(entries[c]["auroc"], 4))
        # Of the class that no patient has nothing is told.
        assert (trial["n_pos"][2], trial["metrics"]["pair"]["auroc"][2]) == (None, None)
    assert not any(withheld[0])
    assert any(withheld[1])
    assert not all(withheld[1])
    # One cell withheld: else the counts of another run's folds would add up to what is missing.
    counts = [trial["n_pos"] for row in told["rows"] for trial in row["trials"]]
    assert all(count[0] is not None and count[1] is None for count in counts)


def test_a_class_with_few_patients_is_not_told_at_all(results: Path) -> None:
    make_real(results)

    def rarely(record: dict[str, Any]) -> None:
        record["data"]["positive_patients"] |= {"Pneumonia": 9, "Edema": 10}

    for row in TRIALS:
        change(_folder(results, row), rarely)
    told = bundled(results)
    c = [entry["class"] for entry in told["data"]["classes"]].index("Pneumonia")
    assert told["data"]["classes"][c]["positive_patients"] is None
    for row in told["rows"]:
        columns = [row["trials"][0][key] for key in ("n_pos", "n_neg")]
        columns += [v for policy in row["trials"][0]["metrics"].values() for v in policy.values()]
        assert {column[c] for column in columns} == {None}
    assert [entry for entry in told["data"]["classes"] if entry["class"] == "Edema"] == [
        {"class": "Edema", "positive_patients": 10}
    ]


def test_real_records_without_their_scores_do_not_leave(results: Path) -> None:
    make_real(results)
    (_folder(results) / "scores.npz").unlink()
    with pytest.raises(ResultsError, match=r"no scores\.npz, by which the patients"):
        bundled(results)


@pytest.mark.parametrize("which", TABLES)
def test_an_imported_table_is_the_original_less_what_needs_scores(
    results: Path, which: str
) -> None:
    folder = brought(written(results), results, "elsewhere")
    options = Options(min_patients=1)
    ours = make_table(results, STUDY, which, options)
    theirs = make_table(results, folder.name, which, options)
    assert len(ours.rows) == len(theirs.rows) > 0
    for mine, other in zip(ours.records(), theirs.records(), strict=True):
        drawn = {key for key in mine if "_patients_" in key or key.startswith("patients_")}
        assert {k: v for k, v in mine.items() if k not in drawn} == {
            k: v for k, v in other.items() if k not in drawn
        }
    notes = "\n".join(theirs.notes)
    assert "Trials imported, not run here: 2 (" in notes
    assert "not who wrote it" in notes
    assert not any("imported" in note for note in ours.notes)


@pytest.mark.parametrize("which", TABLES)
def test_tables_are_made_of_what_is_left_of_real_results(results: Path, which: str) -> None:
    make_real(results)
    folder = brought(written(results), results, "elsewhere")
    table = make_table(results, folder.name, which, Options())
    assert "withhold cells over few patients" in "\n".join(table.notes)


def test_what_was_imported_counts_as_done(results: Path) -> None:
    folder = brought(written(results), results, "elsewhere")
    record = read_record(folder / "trials" / TRIALS[0] / "run-00_fold-2")
    assert record is not None
    assert record["id"] == json.loads((_folder(results) / "record.json").read_text())["id"]


def test_importing_twice_changes_nothing(results: Path, tmp_path: Path) -> None:
    file, there = written(results), tmp_path / "there"
    folder = brought(file, there)

    def state() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    before = state()
    (again,) = import_bundles([file], there, None, print)
    assert (again.written, again.there) == (0, 2)
    assert state() == before


def test_a_study_of_that_name_is_left_alone(results: Path, tmp_path: Path) -> None:
    file = written(results, with_names=True)
    before = sorted(results.rglob("*"))
    with pytest.raises(ResultsError, match=r"is there already.*--as NAME"):
        brought(file, results)
    assert sorted(results.rglob("*")) == before


def test_the_half_that_was_run_elsewhere_is_merged(results: Path, tmp_path: Path) -> None:
    file = written(results)
    shutil.rmtree(_folder(results, TRIALS[1]).parent)
    brought(file, results, STUDY)
    table = make_table(results, STUDY, "2", Options(min_patients=1))
    assert len(table.rows) == 2
    assert "Trials imported, not run here: 1 (CheXzero + meta labels)" in "\n".join(table.notes)
    assert (_folder(results) / "scores.npz").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda spec: spec.update(fingerprint="ab" * 32), "differ in data"),
        (lambda spec: spec["config"].update(epochs=99), "differ in settings"),
        (lambda spec: spec.update(method_code="v7"), "differ in method code"),
        (lambda spec: spec.update(seed=5), "differ in seed"),
    ],
)
def test_trials_that_contradict_the_study_are_refused(
    results: Path, changed: Callable[[dict[str, Any]], None], said: str
) -> None:
    file = written(results)
    shutil.rmtree(_folder(results, TRIALS[1]).parent)
    change(_folder(results), lambda record: changed(record["spec"]))
    change(_folder(results), lambda record: record.update(id="0" * 16))
    with pytest.raises(ResultsError, match=said):
        brought(file, results, STUDY)
    assert not _folder(results, TRIALS[1]).exists()


def test_what_failed_in_the_place_of_a_trial_is_named_and_nothing_is_imported(
    results: Path,
) -> None:
    file = written(results)
    failed = _folder(results, TRIALS[1])
    record = json.loads((failed / "record.json").read_text())
    shutil.rmtree(results / STUDY / "trials")
    failed_record = {"status": "failed", "id": record["id"], "spec": record["spec"], "error": "x"}
    write_record(failed, failed_record, scores=None, log=[])
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    with pytest.raises(
        ResultsError, match=rf"1 of its trials .*{TRIALS[1]}/run-00_fold-2\. Finish"
    ):
        brought(file, results, STUDY)
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    shutil.rmtree(failed)
    brought(file, results, STUDY)
    assert all(read_record(_folder(results, row)) for row in TRIALS)


def test_trials_that_come_while_an_import_waits_to_begin_are_not_overlooked(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another `bench run` ends between the first look and the hold."""
    file = written(results)
    folder = _folder(results)
    aside = folder.rename(results / "aside")
    shutil.rmtree(_folder(results, TRIALS[1]).parent)

    def late(study: Path, say: Callable[[str], None]) -> Any:
        aside.rename(folder)
        change(folder, lambda record: record["spec"].update(seed=5))
        change(folder, lambda record: record.update(id="0" * 16))
        return held(study, say)

    monkeypatch.setattr("bench.report.bundle_import.held", late)
    with pytest.raises(ResultsError, match="differ in seed"):
        brought(file, results, STUDY)
    assert not _folder(results, TRIALS[1]).exists()


def test_what_a_killed_import_left_is_swept(results: Path, tmp_path: Path) -> None:
    left = tmp_path / "there" / "elsewhere" / ".import-x" / "row"
    left.mkdir(parents=True)
    folder = brought(written(results), tmp_path / "there", "elsewhere")
    assert not left.parent.exists()
    assert not list(folder.glob(".*import*"))


@pytest.mark.parametrize("path", [".slurm/7.sh", ".import-x/row/record.json", "trials/r/x.json"])
def test_git_ignores_what_stays_on_the_users_machine(path: str) -> None:
    if not (REPOSITORY / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no git checkout")
    asked = ["git", "check-ignore", "--no-index", "-q", f"results/any/{path}"]
    assert subprocess.run(asked, cwd=REPOSITORY, check=False).returncode == 0


def test_an_imported_real_trial_that_is_run_again_is_not_said_to_differ(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_real(results)
    monkeypatch.setattr("bench.report.few.PATIENTS_A_CELL", 2)
    monkeypatch.setattr("bench.report.bundle.PATIENTS_A_CLASS", 2)
    theirs = brought(written(results), results, "elsewhere") / "trials" / TRIALS[0]
    old = read_record(theirs / "run-00_fold-2")
    new = json.loads((_folder(results) / "record.json").read_text())
    assert old is not None
    assert compare(old, new).verdict == "identical"
    new["scores_sha256"] = "0" * 64  # as on a machine of another kind
    values = [entry["auroc"] for entry in old["metrics"]["pair"]["classes"]]
    withheld = sum(value is None for value in values)
    assert 0 < withheld < len(values)
    found = compare(old, new)
    assert found.verdict == "equal to printed precision"
    assert f"the bundle has 4 decimals; of {withheld} classes the bundle tells nothing" in str(
        found
    )
    told = [c for c, value in enumerate(values) if value is not None]
    new["metrics"]["pair"]["classes"][told[0]]["auroc"] += 1e-3
    found = compare(old, new)
    assert (found.verdict, found.same) == ("differs", False)
    for c in told:
        old["metrics"]["pair"]["classes"][c]["auroc"] = None
    found = compare(old, new)
    assert (found.verdict, found.same) == ("not comparable", False)


def test_an_imported_study_is_not_exported_again(results: Path) -> None:
    folder = brought(written(results), results, "elsewhere")
    with pytest.raises(ResultsError, match="Pass on the bundle"):
        make_bundle(results, folder.name, Names(public()))


def test_every_single_change_of_a_number_or_word_is_noticed(results: Path) -> None:
    told = json.loads(written(results).read_text())
    shapes = {_shape(path): path for path, _ in leaves(told)}
    for path in shapes.values():
        spoilt = copy.deepcopy(told)
        old = dict(leaves(spoilt))[path]
        new = not old if isinstance(old, bool) else 0.5 if isinstance(old, float) else None
        new = old + 1 if type(old) is int else new
        place(
            spoilt, path, f"{old[:-1]}{'1' if old[-1] != '1' else '2'}" if type(old) is str else new
        )
        if spoilt == told:
            continue
        file = results.parent / "spoilt.json"
        file.write_text(canonical(spoilt))
        with pytest.raises(ResultsError):
            read_bundle(file)


def test_the_trial_that_was_changed_is_named(results: Path) -> None:
    told = json.loads(written(results).read_text())
    values = told["rows"][1]["trials"][0]["metrics"]["pair"]["auroc"]
    values[next(c for c, v in enumerate(values) if v is not None)] = 0.999
    told["digest"] = digest_of(told)
    (results / "x.json").write_text(canonical(told))
    with pytest.raises(ResultsError, match="CheXzero \\+ meta labels, run 0 fold 2, does not fit"):
        read_bundle(results / "x.json")


def _sealed(told: dict[str, Any]) -> str:
    """A bundle whose digests somebody who means harm has made fit."""
    for row in told["rows"]:
        for trial in row["trials"]:
            trial["digest"] = digest_of(trial)
    told["digest"] = digest_of(told)
    return canonical(told)


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    return lambda told: place(told, path, to)


_TRIAL = ("rows", 0, "trials", 0)


@pytest.mark.parametrize(
    "harm",
    [
        _set("study", to="../../outside"),
        _set("study", to=".."),
        _set("rows", 0, "method", to="../../../outside"),
        _set("rows", 0, "method", to="evil.py"),
        _set("rows", 0, "label", to="a/b"),
        _set("rows", 0, "title", to="<script>alert(1)</script>"),
        _set("rows", 0, "title", to="\x1b[2J"),
        _set("rows", 0, "config", "x", to={"deep": 1}),
        _set("rows", 0, "config", "a/b", to=1),
        _set("rows", 0, "trials", to=[]),
        _set("rows", to=[]),
        _set("rows", 0, "label", to="text=meta"),
        _set(*_TRIAL, "run", to=-1),
        _set(*_TRIAL, "run", to=True),
        _set(*_TRIAL, "run", to=1.0),
        _set(*_TRIAL, "fold", to=3),
        _set(*_TRIAL, "run", to=10**6),
        _set(*_TRIAL, "test", to=10**6),
        _set(*_TRIAL, "n_pos", to=[]),
        _set(*_TRIAL, "n_pos", 0, to=10**5),
        _set(*_TRIAL, "metrics", to={}),
        _set(*_TRIAL, "metrics", "pair", "auroc", 0, to=1.5),
        _set(*_TRIAL, "metrics", "pair", "auroc", 0, to="0.5"),
        _set(*_TRIAL, "scores", to="../x.npz"),
        _set("data", "classes", 0, "class", to="Edema"),
        _set("data", "images", to=10**30),
        _set("folds", to=1),
        _set("extra", to=1),
        lambda told: told.pop("seed"),
        lambda told: told["rows"][0]["config"].pop("preset"),
    ],
)
def test_a_bundle_made_to_do_harm_is_refused_and_nothing_written(
    results: Path, tmp_path: Path, harm: Callable[[dict[str, Any]], None]
) -> None:
    told = json.loads(written(results).read_text())
    harm(told)
    file = tmp_path / "harm.json"
    file.write_text(_sealed(told))
    before = sorted(tmp_path.rglob("*"))
    done = bench("import", str(file), "--results", str(tmp_path / "there"))
    assert done.exit_code == 1, done.output
    assert done.output.startswith(f"Error: {file}: ")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no results bundle"),
        (b"PK\x03\x04 a zip", "no results bundle"),
        (b"\xff\xfe", "no results bundle"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        (b'{"format":' * 100_000, "nested too deeply"),
        (b'{"format": NaN}', "NaN is no JSON number"),
        (b'{"a": 1, "a": 2}', "a key stands twice"),
        (b"9" * 10_000, "no results bundle"),
        (b"[]", "no results bundle"),
        (b"null", "no results bundle"),
        (b'{"format": "cxr-bench results bundle", "schema": 2}', "another version of the format"),
    ],
)
def test_another_file_is_refused_in_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "f.json"
    file.write_bytes(content)
    done = bench("import", str(file))
    assert done.exit_code == 1
    assert said in done.output
    assert len(done.output) < 500
    assert not (tmp_path / "results").exists()


def test_a_file_beyond_measure_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    with file.open("wb") as out:
        out.truncate(10 * 2**30)
    assert "more than 32 MiB" in bench("import", str(file)).output


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "none.json"):
        assert "is not a file that is there" in bench("import", name).output


def test_one_bad_bundle_of_two_keeps_both_out(results: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    done = bench("import", str(written(results)), str(tmp_path / "bad.json"), "--results", "there")
    assert done.exit_code == 1
    assert not (tmp_path / "there").exists()


def test_the_commands_export_and_import_a_study(results: Path, tmp_path: Path) -> None:
    done = bench("export", STUDY)
    assert done.exit_code == 0, done.output
    (file,) = tmp_path.glob("*.bundle.json")
    told = read_bundle(file)
    assert told["digest"] in done.output
    assert told["rows"][1]["title"] == "CheXzero + meta labels"
    assert told["rows"][0]["settings_withheld"] == 0
    done = bench("import", file.name, "--as", "st-marys")
    assert done.exit_code == 0, done.output
    assert "2 trials imported" in done.output
    assert "Trials imported" in bench("table", "st-marys").output
    assert bench("import", file.name, "--as", "../x").exit_code == 1
