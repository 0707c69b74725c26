"""Other data scored beside the test folds: what is asked, refused, kept apart and unchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.data import Dataset
from bench.errors import ResultsError, UsageError
from bench.protocol.conformance import planted_dataset
from bench.report.options import Options
from bench.report.tables import make_table
from bench.runs import external as external_module
from bench.runs.external import open_external
from bench.runs.launch import _refuse_other_data, launch
from bench.runs.layout import specs_of, study_name
from bench.runs.perform import perform
from bench.runs.plan import Planned, plan
from bench.runs.record import read_record, read_scores, write_record
from bench.runs.rows import Request, resolve_rows
from bench.runs.trial import ExternalSet, TrialSpec, identity_of
from bench.stats.metrics import stratified_auroc
from tests.conftest import CsvFolder
from tests.runs.test_rows import OLD_ID
from tests.runs.test_trial import SPEC
from tests.test_readme import adapter

LETTERS = str(Path(__file__).with_name("letters.py"))
REQUEST = Request(
    methods=(LETTERS,),
    folds=2,
    runs=1,
    settings={"epochs": "1", "text": "meta", "batch_size": "16"},
)
UNSEEN = "Pleural Effusion"
NIH = ExternalSet("nih", "nih:DIR", "g", ("Edema",), ("Goiter",), "p")


@pytest.fixture(scope="module")
def trained_on() -> Dataset:
    """Two of the planted classes; the third is in the pictures and in no label."""
    planted = planted_dataset()
    captions = tuple(text.replace("pleural effusion is present", "") for text in planted.findings)
    return replace(
        planted,
        classes=planted.classes[:2],
        labels=planted.labels[:, :2],
        mask=planted.mask[:, :2],
        findings=captions,
        impressions=captions,
        fingerprint="two classes",
    )


@pytest.fixture(scope="module")
def other() -> Dataset:
    """All three and one more, in two hospitals; ten images without a label, one by one."""
    planted = planted_dataset()
    labels = np.column_stack([planted.labels, planted.labels[:, 0]])
    mask = np.ones(labels.shape, bool)
    mask[::10] = False
    mask[5, 0] = False
    return replace(
        planted,
        name="elsewhere",
        classes=(*planted.classes, "Mass"),
        pixels=planted.pixels[:, ::-1],
        labels=labels,
        mask=mask,
        sources=np.array(["north", "south"])[np.arange(len(planted)) % 2],
        fingerprint="elsewhere",
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, other: Dataset) -> Dataset:
    """Whatever is opened is `other`."""
    monkeypatch.setattr(external_module, "prepare_dataset", lambda *_, **__: (Path("store"), other))
    return other


def _asked(dataset: Dataset, wanted: tuple[str, ...], data: str = "csv:elsewhere") -> ExternalSet:
    (found,) = open_external([data], wanted, dataset, 64, lambda line: None)
    return found.spec


def _spec(dataset: Dataset, *external: ExternalSet, method: str = LETTERS) -> TrialSpec:
    request = replace(REQUEST, methods=(method,))
    rows = resolve_rows(request, print)
    return next(specs_of(request, rows, "planted", dataset, "s", external))


def _record(spec: TrialSpec, results: Path) -> dict[str, Any]:
    record = read_record(spec.folder(results))
    assert record is not None
    return record


def test_every_image_with_a_label_is_scored_and_measured_apart(
    trained_on: Dataset, opened: Dataset, tmp_path: Path
) -> None:
    spec = _spec(trained_on, _asked(trained_on, (UNSEEN,)))
    assert perform(spec, trained_on, "cpu", tmp_path, [opened]).error is None
    record = _record(spec, tmp_path)
    told = record["external"]["elsewhere"]
    arrays = read_scores(spec.folder(tmp_path), "external-elsewhere.npz")
    labelled = np.flatnonzero(opened.mask[:, :3].any(axis=1))
    assert arrays["rows"].tolist() == labelled.tolist()
    assert arrays["pair"].shape == (len(labelled), 3) == (86, 3)
    assert arrays["pair"].dtype == np.float32
    assert told["scored"] == 86
    seen, unseen = told["metrics"]["pair"], told["unseen_metrics"]["pair"]
    assert [entry["class"] for entry in seen["classes"]] == list(trained_on.classes)
    assert [entry["class"] for entry in unseen["classes"]] == [UNSEEN]
    assert seen["total"]["classes"] == 2  # an unseen class is in no mean of the others
    for c, entry in enumerate([*seen["classes"], *unseen["classes"]]):
        columns = (arrays[key][:, c] for key in ("pair", "labels"))
        sources = opened.sources[labelled]
        expected = stratified_auroc(*columns, sources, arrays["mask"][:, c])
        assert entry["auroc"] == expected is not None
    assert record["metrics"]["pair"]["total"]["classes"] == 2
    assert told["data"]["name"] == "elsewhere"
    assert told["unseen_in_texts"] == {UNSEEN: 0}
    assert told["patient_ids_in_both"] == 96  # the same ids; the record cannot say whose


def test_what_was_scored_before_there_was_external_data_stays_the_same_to_the_bit(
    trained_on: Dataset, opened: Dataset, tmp_path: Path
) -> None:
    alone, beside = _spec(trained_on), _spec(trained_on, _asked(trained_on, (UNSEEN,)))
    records = []
    for spec, results in ((alone, tmp_path / "alone"), (beside, tmp_path / "beside")):
        assert perform(spec, trained_on, "cpu", results, [opened]).error is None
        records.append(_record(spec, results))
    first, second = records
    assert first["scores_sha256"] == second["scores_sha256"]
    assert first["metrics"] == second["metrics"]
    assert first["training"] == second["training"]
    assert not [key for key in first if "external" in key] + [
        key for key in first["spec"] if "external" in key
    ]


def test_identities_from_before_stay_and_names_are_no_part_of_one() -> None:
    assert SPEC.id == OLD_ID
    one = replace(SPEC, external=(NIH,))
    renamed = replace(SPEC, external=(replace(NIH, name="x", data="nih:ELSEWHERE"),))
    assert one.id == renamed.id
    changed = [{"fingerprint": "h"}, {"shared": ()}, {"unseen": ()}, {"prompts": "q"}]
    ids = {replace(SPEC, external=(replace(NIH, **change),)).id for change in changed}
    assert len({SPEC.id, one.id, *ids}) == 6
    assert identity_of(one.as_dict()) == one.identity()


def test_arrays_of_external_data_are_trusted_by_checksum_only(tmp_path: Path) -> None:
    spec = replace(SPEC, external=(NIH,))
    folder = spec.folder(tmp_path)
    content = {"status": "done", "id": spec.id, "spec": spec.as_dict()}
    arrays = {"pair": np.zeros((2, 1), np.float32)}
    write_record(folder, content, scores=arrays, log=[], external={"nih": arrays})
    assert [item.state for item in plan([spec], tmp_path)] == ["done"]
    (missing,) = plan([SPEC], tmp_path)
    assert (missing.state, missing.why) == ("stale", "test data or their classes changed")
    (folder / "external-nih.npz").write_bytes(b"other")
    assert read_record(folder) is None
    write_record(folder, content | {"id": SPEC.id}, scores=arrays, log=[])
    assert not list(folder.glob("external-*"))


def test_a_method_with_a_fixed_list_of_classes_is_refused_before_it_trains(
    trained_on: Dataset, opened: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "prototypes.py").write_text(adapter())
    method = str(tmp_path / "prototypes.py")
    spec = _spec(trained_on, _asked(trained_on, (UNSEEN,)), method=method)
    error = perform(spec, trained_on, "cpu", tmp_path, [opened]).error
    assert error is not None
    assert f"prototypes cannot be asked for classes that were not trained on ({UNSEEN})" in error
    assert "leave out --classes" in error
    assert not (spec.folder(tmp_path) / "log.jsonl").read_text()
    shared = _spec(trained_on, _asked(trained_on, ()), method=method)
    assert perform(shared, trained_on, "cpu", tmp_path, [opened]).error is None


def test_a_class_that_texts_name_is_counted(
    trained_on: Dataset, opened: Dataset, tmp_path: Path
) -> None:
    said = ("Mass in the left lung, no massive one.", "Massive.", "mass") * 32
    read = replace(trained_on, findings=said, impressions=said, fingerprint="read")
    spec = _spec(read, _asked(read, ("Mass",)))
    spec = replace(spec, config=spec.config | {"text": "reports"})
    assert perform(spec, read, "cpu", tmp_path, [opened]).error is None
    record = _record(spec, tmp_path)
    named = record["external"]["elsewhere"]["unseen_in_texts"]["Mass"]
    trained = record["split"]["train"] + record["split"]["validation"]
    assert 0.5 * trained < named < 0.8 * trained


def test_what_cannot_be_meant_is_refused(
    trained_on: Dataset, opened: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(
        said: str, asked: list[str], wanted: list[str], dataset: Dataset, size: int
    ) -> None:
        with pytest.raises(UsageError, match=said):
            open_external(asked, wanted, dataset, size, lambda line: None)

    b = ["csv:elsewhere"]
    refused("give these with --test-data", [], ["Mass"], trained_on, 64)
    refused("Did you mean 'Mass'", b, ["Mas"], trained_on, 64)
    refused("two sets are called elsewhere", b * 2, [], trained_on, 64)
    refused("is what is trained on", b, [], opened, 64)
    silent = replace(trained_on, mask=np.zeros_like(trained_on.mask))
    refused("labels no class that planted labels. It labels Cardiomegaly", b, [], silent, 64)
    larger = replace(trained_on, pixels=np.zeros((2, 128, 128), np.uint8))
    refused("stored at 64 pixels, and the models are trained at 128", b, [], larger, 128)
    unlabelled = replace(opened, mask=opened.mask & (np.arange(4) < 3))
    monkeypatch.setattr(external_module, "prepare_dataset", lambda *_, **__: (Path(), unlabelled))
    refused("class of --test-data 'Mass'", b, ["Mass"], trained_on, 64)
    # A class that the training data name and never label is not a shared one.
    assert _asked(silent, ("Hernia",)).unseen == ("Hernia",)


def test_other_test_data_do_not_cost_finished_trials() -> None:
    before = replace(SPEC, external=(NIH,))
    forgotten = Planned(SPEC, "stale", "", before.identity())
    with pytest.raises(ResultsError, match="other --test-data or --classes"):
        _refuse_other_data([forgotten], Path("results/s"))
    _refuse_other_data([replace(forgotten, spec=before)], Path("results/s"))


def test_a_study_with_external_data_has_a_name_of_its_own(trained_on: Dataset) -> None:
    assert study_name(REQUEST, trained_on, "x", (NIH,)) == "planted-tiny-folds2-on-nih"


def test_a_wrong_name_of_test_data_is_told_at_once() -> None:
    said = CliRunner().invoke(main, ["run", "--method", "m", "--test-data", "phantm"]).output
    assert "Did you mean 'phantom'" in said


def test_from_two_data_sets_to_both_tables(csv_folder: CsvFolder, tmp_path: Path) -> None:
    said: list[str] = []
    request = replace(
        REQUEST,
        data=csv_folder.spec,
        test_data=("phantom:n=120,size=32,seed=1",),
        classes=("Mass", "Lung Opacity", "Edema"),
        settings={"epochs": "1", "image_size": "32", "batch_size": "4", "text": "meta"},
        results=tmp_path / "results",
    )
    summary = launch(request, said.append)
    assert summary.failed == 0
    assert summary.study == "scans-tiny-folds2-on-phantom-n120-size32-seed1"
    (told,) = (line for line in said if line.startswith("Also scored"))
    assert "3 classes shared with scans; unseen, asked by prompts: Lung Opacity, Mass" in told
    assert "not unseen, since scans labels them: Edema" in told
    assert "not asked (--classes): Adenopathy" in told
    assert launch(request, said.append).skipped == 2
    on = "phantom-n120-size32-seed1"
    own, away = (
        make_table(request.results, summary.study, "2", Options(min_patients=1, on=name))
        for name in (None, on)
    )
    assert "scans (real images), 12 images" in own.notes[0]
    assert f"bench table --on {on}" in "\n".join(own.notes)
    assert "phantom (synthetic data, not X-rays), 120 images" in away.notes[0]
    assert away.records()[0]["unseen_classes"] == 2
    assert away.records()[0]["total_classes"] == 3
