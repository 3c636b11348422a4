"""What the checker says of the outputs at w0, for claims beside the exact value.

The outputs are given numbers: a linear layer on the rows of a unit matrix. The squared residual is
then rational; a cross-entropy is evaluated in Arb at 2000 bits from q, log q and the outputs.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq
from tests.soundness.containment import draws
from tests.soundness.containment.record import Record, shard

from talweg_check._arrays import PRECISION, exact
from talweg_check._losses import loss
from talweg_check._network import Network, stages_of
from talweg_check._verdict import Invalid

UNDER_TEST = ("talweg_check._losses", "talweg_check._network")
BITS = 2000
Floats = np.ndarray[Any, np.dtype[np.float64]]


def network(outputs: Floats, counts: Any, frame: Any) -> Network:
    """A network whose outputs are these numbers."""
    operation = {
        "kind": "linear", "weight": "weights/0.weight", "bias": None, "weight_trainable": True,
        "bias_trainable": False,
    }  # fmt: skip
    stages = stages_of([operation], {"weights/0.weight": outputs.T})
    return Network(stages, exact(np.eye(len(outputs))), counts, frame)


def beside(rng: np.random.Generator, value: float) -> list[float]:
    """Claims around a value: the float itself, its neighbours, and some further away."""
    up, down = math.nextafter(value, math.inf), math.nextafter(value, 0.0)
    further = value * (1 + 10.0 ** float(rng.uniform(-15, 1)))
    closer = value * float(rng.uniform(0, 1))
    claims = [value, up, down, further, closer, math.nextafter(up, math.inf)]
    return [x for x in claims if math.isfinite(x)]


def judged(record: Record, confirmed: bool | None, truth: bool | None, *parts: object) -> None:
    """`confirmed`: True without doubts, False where it is disproved, None in doubt."""
    if truth is None:
        record.undecided()
    elif confirmed is None:
        record.counts["doubted"] += 1
        record.check(True)
    else:
        record.check(confirmed == truth, *parts)


def asked(of: Any, net: Network, targets: Any, claims: dict[str, float]) -> bool | None:
    """Whether the claims are confirmed (True), disproved (False) or doubted (None)."""
    with ctx.workprec(PRECISION):
        try:
            return None if of.doubts(net, targets, claims) else True
        except Invalid:
            return False


def squared(rng: np.random.Generator, record: Record) -> None:
    n, k = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    outputs = np.clip(draws.numbers_like(rng, n * k).reshape(n, k), -1e150, 1e150)
    counts = rng.choice([1, 1, 2, 7], n)
    kind = int(rng.integers(3))
    targets = outputs * (1 + rng.integers(-2, 3, (n, k)) * 2.0**-52)
    if kind == 1:
        targets = np.clip(draws.numbers_like(rng, n * k).reshape(n, k), -1e150, 1e150)
    elif kind == 2 and rng.random() < 0.1:
        targets = outputs.copy()
    of = loss({"kind": "squared", "scaling": "sum"}, {"samples": n, "outputs": k})
    with ctx.workprec(PRECISION):
        net = network(outputs, counts, None)
    square = Fraction(0)
    for row, other, count in zip(outputs.tolist(), targets.tolist(), counts.tolist(), strict=True):
        for x, y in zip(row, other, strict=True):
            square += count * (Fraction(x) - Fraction(y)) ** 2
    with ctx.workprec(BITS):
        root = float(arb(fmpq(square.numerator, square.denominator)).sqrt().mid())
    for claim in beside(rng, root):
        truth = Fraction(claim) ** 2 >= square
        confirmed = asked(of, net, targets, {"residual_norm_upper": claim})
        judged(record, confirmed, truth, "squared", outputs.tolist(), targets.tolist(), counts,
               "claim", claim)  # fmt: skip


def entropies(outputs: Floats, labels: list[int], counts: list[int], smoothing: float) -> arb:
    """sum_i m_i (sum_j q_ij log q_ij - sum_j q_ij log p_ij); 0 log 0 = 0."""
    k, total = outputs.shape[1], arb(0)
    a = fmpq(*smoothing.as_integer_ratio())
    for row, label, count in zip(outputs.tolist(), labels, counts, strict=True):
        top = max(row)
        mass = sum(((arb(z) - arb(top)).exp() for z in row), arb(0))
        for j, z in enumerate(row):
            q = (1 - a) * int(j == label) + a / k
            if q > 0:
                log_p = arb(z) - arb(top) - mass.log()
                total += count * arb(q) * (arb(q).log() - log_p)
    return total


def cross_entropy(rng: np.random.Generator, record: Record) -> None:
    n, k = int(rng.integers(1, 5)), int(rng.integers(2, 5))
    outputs = rng.standard_normal((n, k)) * float(rng.choice([0.0, 1e-9, 1.0, 5.0, 100.0, 1e4]))
    if rng.random() < 0.2:
        outputs = np.clip(draws.numbers_like(rng, n * k).reshape(n, k), -1e5, 1e5)
    labels = rng.integers(0, k, n)
    counts = rng.choice([1, 1, 2, 7], n)
    smoothing = float(rng.choice([0.0, 0.0, 1.0, 0.5, 0.1, 1e-12, 5e-324, 1.0 - 2.0**-53]))
    if smoothing > 0.0 and rng.random() < 0.3:  # outputs at the minimum: the gap nearly vanishes
        q = np.full((n, k), smoothing / k)
        q[np.arange(n), labels] += 1 - smoothing
        outputs = np.maximum(np.log(np.maximum(q, 1e-300)), -700.0)
    stated = {"kind": "cross_entropy", "scaling": "sum", "label_smoothing": smoothing.hex()}
    of: Any = loss(stated, {"samples": n, "outputs": k})
    with ctx.workprec(PRECISION):
        net = network(outputs, counts, of.frame)
    with ctx.workprec(BITS):
        true = entropies(outputs, labels.tolist(), counts.tolist(), smoothing)
    name = "initial_gap_upper" if smoothing else "initial_loss_upper"
    for claim in beside(rng, max(float(true.mid()), 0.0)):
        with ctx.workprec(BITS):
            truth = True if arb(claim) >= true else False if arb(claim) < true else None
        confirmed = asked(of, net, labels, {name: claim})
        judged(record, confirmed, truth, "cross-entropy", outputs.tolist(), labels, counts,
               smoothing, "claim", claim)  # fmt: skip


def units(rng: np.random.Generator, record: Record) -> None:
    """The step on the named loss in the terms of the rules, and the frame of sum zero."""
    for _ in range(20):
        n, k = int(rng.integers(1, 10**6)), int(rng.integers(1, 30))
        counts = {"samples": n, "outputs": k}
        for scaling, unit in (("mean", Fraction(2, n * k)), ("sum", 2), ("half_sum", 1)):
            of = loss({"kind": "squared", "scaling": scaling}, counts)
            record.check(of.unit == unit and of.frame is None, scaling, n, k, of.unit)
    k = int(rng.integers(2, 7))
    stated = {"kind": "cross_entropy", "scaling": "mean", "label_smoothing": (0.25).hex()}
    of = loss(stated, {"samples": n, "outputs": k})
    record.check(of.unit == Fraction(1, n), "mean", n, of.unit)
    with ctx.workprec(PRECISION):
        frame: Any = of.frame
        record.check(frame.shape == (k - 1, k), "frame", k, frame.shape)
        for i in range(k - 1):
            record.check(sum(frame[i], arb(0)).contains(0), "sum of row", i, k)
            for j in range(k - 1):
                product = (frame[i] * frame[j]).sum()
                good = product.contains(int(i == j)) and product.rad() < arb(2) ** -100
                record.check(good, "product of rows", i, j, k, product)


SHARDS = (
    shard("checker.squared_residual", UNDER_TEST, squared, 150),
    shard("checker.cross_entropy", UNDER_TEST, cross_entropy, 100),
    shard("checker.loss_units", UNDER_TEST, units, 40),
)
