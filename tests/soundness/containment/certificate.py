"""Containment: what a certificate measures of losses, kernels and data for its theorem."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import torch
from flint import arb, fmpq, fmpq_mat
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_judge import Claim, Routine, at_most, shard
from tests.soundness.containment.theory_squared import t11_claims
from torch import Tensor

from talweg.certificate._bounds import MeasuredBounds
from talweg.certificate._cross_entropy import CrossEntropyObjective
from talweg.certificate._padding import padded_down, padded_up
from talweg.certificate._search import Outcome, evaluate_theorem
from talweg.certificate._softmax import (
    cross_entropy_upper,
    kullback_leibler_upper,
    smallest_label_lower,
    smoothed_labels,
)
from talweg.certificate._squared import _conflicting
from talweg.certificate._theorems import SquaredConvergence, SquaredTarget
from talweg.enclosure import Ball
from talweg.network import ConflictingRows, JacobianLipschitz, MergedRows, merge_duplicates
from talweg.theory import CrossEntropy, SquaredLoss, TargetReached, singular_value_profile

Draw = random.Random
Arguments = dict[str, Any]
PAD = arb(1e-6)


def _pad_claims(x: float, found: tuple[float, float]) -> Iterator[Claim]:
    yield "up", at_most(arb(x) * (1 + PAD), found[0]) if x < math.inf else found[0] == math.inf
    yield "down", at_most(found[1], arb(min(x, draws.LARGEST)) * (1 - PAD))


# -- softmax ---------------------------------------------------------------------------------------


def _outputs(rng: Draw) -> Arguments:
    n, k = rng.randint(1, 3), rng.randint(2, 5)
    scale = rng.choice((0.0, 1e-12, 1.0, 1.0, 30.0, 800.0, 1e6, 1e300))
    mid = [[rng.choice((0.0, scale, -scale, scale * rng.gauss(0.0, 1.0))) for _ in range(k)]
           for _ in range(n)]  # fmt: skip
    width = rng.choice((0.0, 0.0, 1e-15, 1e-6, 0.5, 100.0))
    rad = [[width * rng.random() for _ in range(k)] for _ in range(n)]
    smoothing = rng.choice((0.0, 0.1, 0.5, 1.0, draws.share(rng)))
    if smoothing > 0.0 and rng.random() < 0.5:  # near the minimiser, where everything cancels
        shift = rng.choice((0.0, 1e-9, 1e-3))
        low, high = smoothing / k, 1.0 - smoothing + smoothing / k
        mid = [[math.log(max(high if j == 0 else low, 1e-300)) + shift * rng.gauss(0.0, 1.0)
                for j in range(k)] for _ in range(n)]  # fmt: skip
    labels = [rng.choice((0, rng.randrange(k))) for _ in range(n)]
    counts = [rng.choice((1, 1, 3, 10**6, 2**53)) for _ in range(n)]
    signs = [[rng.choice((-1.0, 0.0, 1.0)) for _ in range(k)] for _ in range(n)]
    worst = rng.random() < 0.5  # the corner of the ball where the loss is largest
    return {"mid": mid, "rad": rad, "labels": labels, "counts": counts, "smoothing": smoothing,
            "signs": [[-1.0 if j == y else 1.0 for j in range(k)] for y in labels] if worst
            else signs}  # fmt: skip


def _tensor(rows: list[list[float]]) -> Tensor:
    """The matrix, at times as a transposed view."""
    t = torch.tensor(rows, dtype=torch.float64)
    return t.T.contiguous().T if len(rows) % 2 else t


def _softmax_ask(x: Arguments) -> tuple[float, float, float, Ball]:
    ball = Ball(_tensor(x["mid"]), _tensor(x["rad"]))
    labels, counts = torch.tensor(x["labels"]), torch.tensor(x["counts"])
    smoothed = smoothed_labels(labels, len(x["mid"][0]), x["smoothing"])
    positive = x["smoothing"] > 0.0
    return (
        cross_entropy_upper(ball, labels, counts),
        kullback_leibler_upper(ball, smoothed, counts) if positive else math.inf,
        smallest_label_lower(smoothed),
        smoothed,
    )


def _softmax_claims(x: Arguments, found: tuple[float, float, float, Ball]) -> Iterator[Claim]:
    a, k = arb(x["smoothing"]), len(x["mid"][0])
    entropy, divergence, least = arb(0), arb(0), arb(1)
    mids, rads = found[3].mid.tolist(), found[3].rad.tolist()
    for i, (mid, rad, signs) in enumerate(zip(x["mid"], x["rad"], x["signs"], strict=True)):
        z = [arb(m) + arb(r) * s for m, r, s in zip(mid, rad, signs, strict=True)]
        top = z[0]
        for other in z[1:]:
            top = top.max(other)
        log_sum = top + sum(((v - top).exp() for v in z), arb(0)).log()
        label = x["labels"][i]
        entropy += x["counts"][i] * (log_sum - z[label])
        for j in range(k):
            q = a / k + (1 - a if j == label else 0)
            least = least.min(q)
            yield "smoothed label", at_most(arb(mids[i][j]) - rads[i][j], q)
            yield "smoothed label", at_most(q, arb(mids[i][j]) + rads[i][j])
            if q > 0:
                divergence += x["counts"][i] * q * (q.log() - z[j] + log_sum)
    yield "cross-entropy", at_most(entropy, found[0])
    yield "divergence", at_most(divergence, found[1])
    yield "smallest label", at_most(found[2], least)


# -- kernel on zero-sum vectors --------------------------------------------------------------------


def _kernel(rng: Draw) -> Arguments:
    n, k = rng.randint(1, 3), rng.randint(2, 4)
    size = n * k
    scale = rng.choice((1.0, 1e-8, 1e8, 1e150))
    rows = [[scale * rng.choice((0.0, 1.0, rng.gauss(0.0, 1.0))) for _ in range(size)]
            for _ in range(size)]  # fmt: skip
    mid = [[rows[min(i, j)][max(i, j)] for j in range(size)] for i in range(size)]
    width = rng.choice((0.0, 1e-15, 1e-3))
    rad = [[scale * width for _ in range(size)] for _ in range(size)]
    return {"n": n, "k": k, "mid": mid, "rad": rad, "side": rng.choice((-1.0, 0.0, 1.0))}


def _objective(k: int) -> CrossEntropyObjective:
    rows = cast("MergedRows", None)
    return CrossEntropyObjective("cross_entropy", CrossEntropy("mean", 1, k), 0.1, rows,
                                 torch.zeros(1))  # fmt: skip


def _kernel_ask(x: Arguments) -> Ball:
    return _objective(x["k"]).kernel(Ball(_tensor(x["mid"]), _tensor(x["rad"])))


def _rational(x: float) -> fmpq:
    return fmpq(*x.as_integer_ratio())


def _kernel_claims(x: Arguments, found: Ball) -> Iterator[Claim]:
    n, k, size = x["n"], x["k"], x["n"] * x["k"]
    full = fmpq_mat(size, size, [
        _rational(m) + _rational(x["side"]) * _rational(r)
        for ms, rs in zip(x["mid"], x["rad"], strict=True) for m, r in zip(ms, rs, strict=True)
    ])  # fmt: skip
    mean = fmpq_mat(size, size, [
        fmpq(1, k) if i // k == j // k else fmpq(0) for i in range(size) for j in range(size)
    ])  # fmt: skip
    project = fmpq_mat(size, size, [fmpq(int(i == j)) for i in range(size) for j in range(size)])
    project = project - mean
    exact = project * full * project
    mids, rads = found.mid.tolist(), found.rad.tolist()
    # c is free, but one number: the entries with c (I - P) are a third of them at most
    shifts = []
    for i in range(size):
        for j in range(size):
            apart = _rational(mids[i][j]) - exact[i, j]
            if i // k != j // k:
                yield "entry", abs(apart) <= _rational(rads[i][j])
            else:
                reach = _rational(rads[i][j])
                shifts.append((k * (apart - reach), k * (apart + reach)))
    yield "one c for all", max(s[0] for s in shifts) <= min(s[1] for s in shifts)
    yield "blocks", n * k == len(found)


# -- conflicting rows: REFUTED needs a proof -------------------------------------------------------


def _rows(rng: Draw) -> Arguments:
    n, k = rng.randint(2, 5), rng.randint(1, 2)
    inputs = [[rng.choice((0.0, -0.0, 1.0)), rng.choice((0.0, 1.0))] for _ in range(n)]
    base = [draws.signed(rng) if rng.random() < 0.3 else rng.gauss(0.0, 1.0) for _ in range(k)]
    targets = [[v if rng.random() < 0.5 else draws.neighbour(rng, v) if rng.random() < 0.5
                else rng.gauss(0.0, 1.0) for v in base] for _ in range(n)]  # fmt: skip
    targets = [[min(max(v, -1e150), 1e150) for v in row] for row in targets]
    scaling = rng.choice(("mean", "sum", "half_sum"))
    squares = _within(inputs, targets)
    c = {"mean": Fraction(1, n * k), "sum": Fraction(1), "half_sum": Fraction(1, 2)}[scaling]
    edge = float(squares * c) if squares * c < Fraction(1e308) else 1e308
    target = rng.choice((None, draws.near(rng, edge)))
    return {"X": inputs, "y": targets, "scaling": scaling, "target": target}


def _within(inputs: list[list[float]], targets: list[list[float]]) -> Fraction:
    """The sum of squares within groups of equal inputs, exactly."""
    groups: dict[tuple[float, ...], list[list[float]]] = {}
    for x, y in zip(inputs, targets, strict=True):
        groups.setdefault(tuple(v + 0.0 for v in x), []).append(y)
    total = Fraction(0)
    for rows in groups.values():
        for column in zip(*rows, strict=True):
            values = [Fraction(v) for v in column]
            mean = sum(values, Fraction(0)) / len(values)
            total += sum(((v - mean) ** 2 for v in values), Fraction(0))
    return total


def _rows_ask(x: Arguments) -> tuple[bool, str | None]:
    X, y = (torch.tensor(x[name], dtype=torch.float64) for name in ("X", "y"))
    rows = merge_duplicates(X, y)
    if not isinstance(rows, ConflictingRows):
        return False, None
    loss = SquaredLoss(x["scaling"], y.numel())
    return True, _conflicting(rows, loss, x["target"]).status


def _rows_claims(x: Arguments, found: tuple[bool, str | None]) -> Iterator[Claim]:
    squares = _within(x["X"], x["y"])
    yield "conflict exactly where targets differ", found[0] == (squares > 0)
    if found[1] == "REFUTED":
        n = len(x["y"]) * len(x["y"][0])
        c = {"mean": Fraction(1, n), "sum": Fraction(1), "half_sum": Fraction(1, 2)}[x["scaling"]]
        floor = squares * c
        yield "refuted", floor > (0 if x["target"] is None else Fraction(x["target"]))


# -- the search for radii --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Growing:
    """A Lipschitz bound that grows with the radius, in place of a network's."""

    start: float
    slope: float

    def upper(self, radius: float) -> float:
        return self.start + self.slope * radius


def _search(rng: Draw) -> Arguments:
    sigma = draws.moderate(rng) if rng.random() < 0.95 else rng.choice((0.0, 1e-160, 1e150))
    beta = rng.choice((0.0, draws.moderate(rng), draws.moderate(rng), math.inf))
    edge = sigma * sigma / (2.0 * beta) if 0.0 < beta < math.inf else 1.0
    return {"sigma": sigma, "beta": beta, "slope": rng.choice((0.0, draws.size(rng))),
            "r0": draws.near(rng, edge), "j0": sigma * (1.0 + rng.random()),
            "loss": SquaredLoss(rng.choice(("mean", "sum", "half_sum")), draws.whole(rng, 10**4)),
            "step": None}  # fmt: skip


def _search_ask(x: Arguments) -> Outcome:
    lipschitz = cast("JacobianLipschitz", _Growing(x["beta"], x["slope"]))
    bounds = MeasuredBounds({"residual_norm_upper": x["r0"]}, x["sigma"], x["j0"], lipschitz,
                            cast("Any", None))  # fmt: skip
    return evaluate_theorem(bounds, SquaredConvergence(x["loss"]))


def _search_claims(x: Arguments, found: Outcome) -> Iterator[Claim]:
    true = _Growing(x["beta"], x["slope"])
    for radius, beta in found.lipschitz:
        yield "a beta of that very ball", at_most(true.upper(radius), beta)
    profile = singular_value_profile(x["sigma"], found.lipschitz)
    yield from t11_claims({**x, "profile": profile}, found.verdict)


def _reached(rng: Draw) -> TargetReached:
    rate = rng.choice((draws.share(rng), draws.share(rng), 0.0, 1.0))
    return TargetReached(1.0, 2.0, 0.5, rate, 10.0)


def _reached_claims(x: TargetReached, found: Any) -> Iterator[Claim]:
    r = arb(x.one_minus_rate_lower)
    yield "one minus", at_most(found.common["one_minus_rate"], r * (2 - r))
    yield "rate", at_most((1 - r) ** 2, found.common["rate"])
    yield "rate of the claim", at_most(1 - arb(found.common["one_minus_rate"]),
                                       found.common["rate"])  # fmt: skip


CERTIFICATE = "talweg.certificate."
SHARDS = (
    shard("certificate.padding",
          Routine(draws.nonnegative, lambda x: (padded_up(x), padded_down(min(x, draws.LARGEST))),
                  _pad_claims, 1000), (CERTIFICATE + "_padding",)),
    shard("certificate.softmax",
          Routine(_outputs, _softmax_ask, _softmax_claims, 30, count_numbers=True),
          (CERTIFICATE + "_softmax",), goal=100_000),
    shard("certificate.zero_sum_kernel",
          Routine(_kernel, _kernel_ask, _kernel_claims, 30, count_numbers=True),
          (CERTIFICATE + "_cross_entropy",)),
    shard("certificate.conflicting_rows",
          Routine(_rows, _rows_ask, _rows_claims, 80, count_numbers=True),
          (CERTIFICATE + "_squared", "talweg.network._merge"), goal=100_000),
    shard("certificate.search",
          Routine(_search, _search_ask, _search_claims, 30, count_numbers=True),
          (CERTIFICATE + "_search",)),
    shard("certificate.target_numbers",
          Routine(_reached, SquaredTarget(SquaredLoss("half_sum"), 1.0).numbers,
                  _reached_claims, 300), (CERTIFICATE + "_theorems",)),
)  # fmt: skip
