"""Speed of `cxrcml.StudentTMixture` beside scikit-learn and `studenttmixture`, in one run.

    python -m tests.perf.mixture                 # everything, some ten minutes on one core
    python -m tests.perf.mixture step linear     # some of: step fit floor oracle wide linear memory

All parties get one thread, the same float32 data and the same initial labels. A step's time is
the difference between a long and a short fit, per step, so what happens once cancels; rounds
alternate between the parties and the median ratio is printed with its range.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

# Read once, when the libraries below are loaded.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.mixture import GaussianMixture  # noqa: E402

from cxrcml import StudentTMixture  # noqa: E402

K = 40
ROUNDS = 3
RIDGE = 1e-6


def long_tailed(n: int, d: int, seed: int = 0) -> np.ndarray:
    """(n, d) float32 rows of 40 t-distributed clusters, the smallest 1/40 of the largest."""
    rng = np.random.default_rng((seed, n, d))
    weight = 1.0 / np.arange(1, K + 1)
    label = rng.choice(K, n, p=weight / weight.sum())
    mean = rng.normal(size=(K, d)) * 1.5
    mix = rng.normal(size=(K, d, d)) / np.sqrt(d) + 0.5 * np.eye(d)
    x = rng.normal(size=(n, d))
    for k in range(K):
        x[label == k] = x[label == k] @ mix[k]
    x /= np.sqrt(rng.chisquare(6, size=n) / 6)[:, None]
    return (mean[label] + x).astype(np.float32)


def start_of(x: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """k-means labels, and the weights, means and covariances of their groups."""
    labels = KMeans(K, n_init=1, max_iter=20, random_state=0).fit(x).labels_
    ours = mixture(labels, max_iter=0).fit(x)
    return labels, (ours.weights_, ours.means_, ours.covariances_)


def mixture(
    init: object, max_iter: int, *, nu: float = np.inf, tol: float = 0.0, ridge: float = RIDGE
) -> StudentTMixture:
    return StudentTMixture(
        K, nu=nu, init=init, tol=tol, max_iter=max_iter, shrinkage=0.0, ridge=ridge
    )


def sklearn_mixture(
    x: np.ndarray, start: tuple, max_iter: int, tol: float = 0.0, ridge: float = RIDGE
) -> GaussianMixture:
    weights, means, covariances = (part.astype(x.dtype) for part in start)
    return GaussianMixture(
        K,
        tol=tol,
        max_iter=max_iter,
        reg_covar=ridge * float(x.var(0).mean()),
        weights_init=weights / weights.sum(),
        means_init=means,
        precisions_init=np.linalg.inv(covariances),
    )


def seconds(work: Callable[[], object]) -> float:
    """Processor time, in one thread: what else runs on the machine hardly counts."""
    began = time.process_time()
    work()
    return time.process_time() - began


def step_time(fit: Callable[[int], object], short: int, long: int) -> float:
    """Seconds a step, from two fits."""
    return (seconds(lambda: fit(long)) - seconds(lambda: fit(short))) / (long - short)


def compare(
    title: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int = ROUNDS
) -> None:
    """Print the median ratio of their time to ours over alternating rounds."""
    pairs = [(theirs(), ours()) for _ in range(rounds)]
    ratios = sorted(a / b for a, b in pairs)
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{title}: {statistics.median(ratios):.1f}x ({ratios[0]:.1f}-{ratios[-1]:.1f}), "
        f"theirs {a:.3f} s, ours {b:.3f} s",
        flush=True,
    )


def step() -> None:
    x = long_tailed(50_000, 64)
    _, start = start_of(x)
    for name, nu in (("Gaussian", np.inf), ("Student-t nu=4", 4.0)):
        compare(
            f"step, full, n=50,000 d=64, {name} against GaussianMixture float32",
            lambda nu=nu: step_time(lambda m: mixture(start, m, nu=nu).fit(x), 2, 12),
            lambda: step_time(lambda m: sklearn_mixture(x, start, m).fit(x), 1, 3),
        )


def fit() -> None:
    x = long_tailed(50_000, 64)
    labels, start = start_of(x)
    theirs = sklearn_mixture(x, start, 200, tol=1e-3)
    ours = mixture(labels, 200, tol=1e-3)
    t_theirs, t_ours = seconds(lambda: theirs.fit(x)), seconds(lambda: ours.fit(x))
    print(
        f"fit to tol 1e-3 from the same labels: log-likelihood theirs {theirs.score(x):.4f}, ours "
        f"{ours.score(x):.4f}; iterations {theirs.n_iter_} and {ours.n_iter_}; "
        f"{t_theirs:.1f} s and {t_ours:.1f} s = {t_theirs / t_ours:.1f}x",
        flush=True,
    )


def floor() -> None:
    x = long_tailed(50_000, 64)
    _, start = start_of(x)
    n, d = x.shape
    rows = torch.from_numpy(x)
    whiten, out = torch.randn(d, K * d), torch.empty(4096, K * d)

    def products() -> None:
        """The 4 n d^2 K operations of a plain step, as E-shaped products in cache-sized blocks."""
        for _ in range(2):
            for block in rows.split(512):
                torch.mm(block, whiten, out=out[: len(block)])

    products()
    gemm = statistics.median(seconds(products) for _ in range(5))
    ours = statistics.median(
        step_time(lambda m: mixture(start, m, nu=4.0).fit(x), 2, 12) for _ in range(ROUNDS)
    )
    rate = 4 * n * d * d * K / gemm / 1e9
    print(f"GEMM floor {gemm:.3f} s ({rate:.0f} GFLOP/s), a step {ours:.3f} s = {ours / gemm:.2f}x")


def oracle() -> None:
    from studenttmixture import EMStudentMixture

    x = long_tailed(10_000, 64)
    _, start = start_of(x)

    def theirs(m: int) -> None:
        model = EMStudentMixture(
            n_components=K, fixed_df=True, df=4.0, max_iter=m, tol=1e-30, n_init=1
        )
        model.fit(x.astype(np.float64))

    compare(
        "step, full t nu=4, n=10,000 d=64, against studenttmixture",
        lambda: step_time(lambda m: mixture(start, m, nu=4.0).fit(x), 2, 22),
        lambda: step_time(theirs, 1, 4),
    )


def wide() -> None:
    x = long_tailed(20_000, 512)
    labels = KMeans(K, n_init=1, max_iter=10, random_state=0).fit(x).labels_
    ours = StudentTMixture(K, init=labels, max_iter=0).fit(x)
    start = (ours.weights_, ours.means_, ours.covariances_)
    # Clusters of fewer rows than dimensions: with less, scikit-learn stops at a singular one.
    ridge = 2e-2
    for dtype in (np.float32, np.float64):
        data = x.astype(dtype)
        compare(
            f"step, full, n=20,000 d=512, float32 against GaussianMixture {np.dtype(dtype).name}",
            lambda: step_time(lambda m: mixture(start, m, ridge=ridge).fit(x), 1, 4),
            lambda data=data: step_time(
                lambda m: sklearn_mixture(data, start, m, ridge=ridge).fit(data), 1, 2
            ),
            rounds=1,
        )


def linear() -> None:
    for n in (25_000, 50_000, 100_000, 200_000):
        x = long_tailed(n, 64)
        labels = KMeans(K, n_init=1, max_iter=3, random_state=0).fit(x[:25_000]).predict(x)
        took = step_time(lambda m, x=x, labels=labels: mixture(labels, m, nu=4.0).fit(x), 1, 6)
        print(
            f"step, full t, d=64: n={n:>7,} {took:.3f} s, {took / n * 1e6:.2f} us a row", flush=True
        )


def memory() -> None:
    """Peak memory of a fit beyond the data, in a process of its own."""
    for n, d in ((200_000, 64), (50_000, 512)):
        command = [sys.executable, "-m", "tests.perf.mixture", "_peak", str(n), str(d)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def peak(n: int, d: int) -> None:
    # What libraries keep from their first use on is not the fit's.
    for width in (64, 80):
        mixture(np.arange(2000) % K, 1, nu=4.0).fit(
            np.random.default_rng(0).normal(size=(2000, width)).astype(np.float32)
        )
    x = np.empty((n, d), np.float32)
    rng = np.random.default_rng(0)
    for start in range(0, n, 10_000):
        x[start : start + 10_000] = rng.normal(size=x[start : start + 10_000].shape)
    labels = np.arange(n) % K
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    StudentTMixture(K, init=labels, max_iter=3, tol=0.0).fit(x)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    above, parameters = after - before, K * (d * d + d + 2) * 8
    print(
        f"memory, full t, n={n:,} d={d}: data {x.nbytes / 1e6:.0f} MB, parameters (float64) "
        f"{parameters / 1e6:.0f} MB, peak above data {above / 1e6:.0f} MB; in all "
        f"{(x.nbytes + above) / (2 * x.nbytes + parameters):.2f} of twice the data plus parameters"
    )


PARTS = {part.__name__: part for part in (step, fit, floor, oracle, wide, linear, memory)}


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if arguments[:1] == ["_peak"]:
        peak(int(arguments[1]), int(arguments[2]))
        return
    for name in arguments or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
