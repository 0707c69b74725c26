from __future__ import annotations

import numpy as np
import pytest

from cxrcml import cluster_order

LABELS = np.random.default_rng(0).choice(12, 500, p=np.arange(1, 13) / 78)


def _order(per_cluster: int, labels: np.ndarray = LABELS, seed: int = 0) -> np.ndarray:
    return cluster_order(labels, per_cluster, np.random.default_rng(seed))


@pytest.mark.parametrize("per_cluster", [1, 2, 4, 1000])
def test_every_row_comes_once(per_cluster: int) -> None:
    assert sorted(_order(per_cluster)) == list(range(500))


def test_rows_of_a_cluster_come_in_runs() -> None:
    labels = LABELS[_order(4)]
    changes = np.flatnonzero(np.diff(labels)) + 1
    runs = np.diff([0, *changes, len(labels)])
    # Neighbouring runs may be of one cluster; a run that is no multiple of 4 ends in a last one.
    assert (runs % 4 == 0).mean() > 0.9


def test_more_anchors_have_a_positive_than_at_random() -> None:
    def share(order: np.ndarray) -> float:
        batches = LABELS[order][:480].reshape(-1, 16)
        same = (batches[:, :, None] == batches[:, None, :]).sum(2) > 1
        return float(same.mean())

    assert share(_order(4)) > 0.95 > share(np.random.default_rng(1).permutation(500))


def test_the_seed_decides_the_order() -> None:
    assert (_order(4) == _order(4)).all()
    assert (_order(4) != _order(4, seed=1)).any()


def test_rows_without_a_label_are_mixed_in_one_by_one() -> None:
    labels = np.where(np.arange(400) < 200, -1, 0)
    runs = labels[_order(200, labels)]
    assert abs(np.flatnonzero(runs == 0).mean() - 200) < 120
    (start,) = np.flatnonzero(np.diff(runs, prepend=-1) == 1)
    assert (runs[start : start + 200] == 0).all()


def test_no_rows_have_an_empty_order() -> None:
    assert _order(2, np.empty(0, int)).tolist() == []


def test_a_run_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        _order(0)
