from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.runs.trial import TrialSpec, differences, row_label

SPEC = TrialSpec(
    study="s",
    row="default",
    title="CXR-CML",
    method="m",
    method_reference="m",
    method_code="v1",
    track="trained",
    data="phantom",
    fingerprint="f",
    config={"lr": 1e-3},
    classes=("Edema",),
    prompts="p",
    seed=0,
    folds=5,
    run=3,
    fold=1,
)


def test_the_id_ignores_what_cannot_change_scores() -> None:
    same = replace(
        SPEC, study="t", title="other", row="r", data="phantom:n=2400", method_reference="./m.py"
    )
    assert same.id == SPEC.id


def test_the_id_changes_with_everything_that_can() -> None:
    changes = [
        {"fingerprint": "g"},
        {"config": {"lr": 2e-3}},
        {"prompts": "q"},
        {"method_code": "v2"},
        {"seed": 1},
        {"folds": 4},
        {"run": 4},
        {"fold": 2},
        {"classes": ("Mass",)},
        {"track": "released"},
    ]
    ids = {replace(SPEC, **change).id for change in changes}
    assert len(ids | {SPEC.id}) == len(changes) + 1


def test_what_changed_is_said_in_words() -> None:
    new = replace(SPEC, prompts="q", config={"lr": 2e-3})
    assert differences(SPEC.identity(), new.identity()) == "prompts changed; lr 0.001 -> 0.002"


def test_methods_share_partitions_and_differ_in_nothing_else() -> None:
    other = replace(SPEC, method="n")
    assert other.partition_seed == SPEC.partition_seed
    assert replace(SPEC, run=4).partition_seed != SPEC.partition_seed
    assert replace(SPEC, fold=2).trial_seed != SPEC.trial_seed


def test_a_trial_has_one_place() -> None:
    assert SPEC.folder(Path("results")) == Path("results/s/trials/m-default/run-03_fold-1")


def test_a_row_is_named_by_what_differs_from_its_preset() -> None:
    preset = {"nu": 4.0, "text": "meta", "lr": 1.0}
    assert row_label(preset, preset) == "default"
    assert row_label({**preset, "nu": 2.0, "text": "a/b"}, preset) == "nu=2.0,text=a_b"


def test_a_long_row_name_stays_a_file_name_and_unique() -> None:
    preset = {f"key{i}": 0 for i in range(40)}
    first = row_label(dict.fromkeys(preset, 1), preset)
    second = row_label(dict.fromkeys(preset, 2), preset)
    assert len(first) <= 80
    assert first != second
