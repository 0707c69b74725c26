"""Power against simulation and against its own inverse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.errors import UsageError
from bench.stats.power import patients_needed, power, runs_needed
from bench.stats.significance import corrected_resampled_ttest

DESIGN = {"folds": 5, "ratio": 0.25, "alpha": 0.05}


def test_power_is_what_a_simulation_finds() -> None:
    """Differences whose mean has exactly the variance that the correction assumes."""
    rng = np.random.default_rng(0)
    runs, sd, difference, repeats = 4, 0.05, 0.05, 2000
    # A shared part of variance rho sd^2 gives var(mean) = sd^2 (rho + (1 - rho)/J), and
    # E[s^2] = sd^2 (1 - rho); with the ratio rho/(1 - rho) the correction is exact.
    rho = 0.2
    shared = rng.normal(0, np.sqrt(rho) * sd, (repeats, 1, 1))
    own = rng.normal(0, np.sqrt(1 - rho) * sd, (repeats, runs, 5))
    tests = [corrected_resampled_ttest(d, 4, 1) for d in difference + shared + own]
    found = np.mean([test.p_value < 0.05 for test in tests])
    expected = power(difference, np.sqrt(1 - rho) * sd, runs=runs, **DESIGN)
    assert found == pytest.approx(expected, abs=4 * np.sqrt(0.25 / repeats))


def test_no_difference_is_seen_with_probability_alpha() -> None:
    assert power(0.0, 0.05, runs=10, **DESIGN) == pytest.approx(0.05)


def test_noncentral_t_equals_scipy_stats() -> None:
    shift = 0.02 / (0.02 * np.sqrt(1 / 50 + 0.25))
    critical = stats.t.ppf(0.975, 49)
    expected = stats.nct.sf(critical, 49, shift) + stats.nct.cdf(-critical, 49, shift)
    assert power(0.02, 0.02, runs=10, **DESIGN) == pytest.approx(expected)


def test_runs_needed_is_the_first_number_that_is_enough() -> None:
    runs = runs_needed(0.03, 0.02, **DESIGN)
    assert runs is not None
    assert power(0.03, 0.02, runs=runs, **DESIGN) >= 0.8
    assert power(0.03, 0.02, runs=runs - 1, **DESIGN) < 0.8


def test_more_runs_cannot_replace_patients() -> None:
    assert runs_needed(0.01, 0.02, **DESIGN) is None
    assert power(0.01, 0.02, runs=10_000, **DESIGN) < 0.2


def test_half_the_difference_takes_four_times_the_patients() -> None:
    whole = patients_needed(0.02, 0.02, 1000, alpha=0.05)
    half = patients_needed(0.01, 0.02, 1000, alpha=0.05)
    assert whole == 7849  # 1000 x (1.95996 + 0.84162)^2
    assert half == pytest.approx(4 * whole, abs=4)
    assert patients_needed(0.0, 0.02, 1000, alpha=0.05) is None


def test_one_difference_has_no_power_and_no_spread_is_refused() -> None:
    assert power(0.02, 0.02, runs=1, folds=1, ratio=0.25, alpha=0.05) is None
    with pytest.raises(UsageError, match="positive"):
        power(0.02, 0.0, runs=10, **DESIGN)
    with pytest.raises(UsageError, match="positive"):
        patients_needed(0.02, 0.0, 100, alpha=0.05)
