"""Containment: two-layer linear networks as float64 weights (D1 to D4), and P1's ingredients."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from flint import arb, arb_mat, fmpq, fmpq_mat
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_judge import Claim, Routine, at_most, shard
from torch import Tensor, nn

from talweg import optim
from talweg.enclosure import Ball, Interval
from talweg.network import read
from talweg.nn import SmoothLeakyReLU
from talweg.optim import _linear_network_enclosures as enclosures
from talweg.optim._certified import _power_upper
from talweg.optim._linear_model_gap import gap_upper
from talweg.prescribe._explicit_entry import _ingredients
from talweg.prescribe._gaussian import truncated_normal
from talweg.theory import PositiveNetwork

Draw = random.Random
Arguments = dict[str, Any]
Rows = list[list[float]]
KINDS = ("squared", "huber", "logistic", "cross_entropy")


def matrix(rng: Draw, rows: int, columns: int, scale: float = 1.0) -> Rows:
    """Entries of one scale: ties, zeros, equal rows at times."""
    found = [[scale * rng.choice((rng.gauss(0.0, 1.0), rng.gauss(0.0, 1.0), 1.0, 0.5, 0.0))
              for _ in range(columns)] for _ in range(rows)]  # fmt: skip
    if rng.random() < 0.1:
        found = [list(found[0]) for _ in found]
    return found


def tensor(rows: Rows) -> Tensor:
    """The matrix as float64."""
    return torch.tensor(rows, dtype=torch.float64)


def rational(rows: Rows) -> fmpq_mat:
    """The matrix, exactly."""
    return fmpq_mat(len(rows), len(rows[0]), [fraction(v) for row in rows for v in row])


def positive_eigenvalues(m: fmpq_mat) -> int:
    """How many eigenvalues of a symmetric matrix are > 0: Descartes' rule, exact for real roots."""
    signs = [c for c in m.charpoly().coeffs() if c != 0]
    return sum(1 for a, b in pairwise(signs) if (a > 0) != (b > 0))


def fraction(x: float) -> fmpq:
    """The float, exactly."""
    return fmpq(*x.as_integer_ratio())


def above(m: fmpq_mat, t: float | fmpq, *, sign: int = 1) -> int:
    """How many eigenvalues of sign * m exceed t."""
    n = m.nrows()
    shift = fraction(t) if isinstance(t, float) else t
    eye = fmpq_mat(n, n, [shift if i == j else fmpq(0) for i in range(n) for j in range(n)])
    return positive_eigenvalues(sign * m - eye)


# -- eigenvalues -----------------------------------------------------------------------------------


def _symmetric(rng: Draw) -> Arguments:
    n = rng.randint(1, 5)
    scale = 10.0 ** rng.choice((0.0, 0.0, -8.0, 8.0, -150.0, 150.0))
    a = matrix(rng, n, n, scale)
    mid = [[a[min(i, j)][max(i, j)] for j in range(n)] for i in range(n)]
    if rng.random() < 0.2:  # Hilbert: eigenvalues over many magnitudes
        mid = [[scale / (i + j + 1) for j in range(n)] for i in range(n)]
    width = scale * rng.choice((0.0, 0.0, 1e-16, 1e-3))
    return {"mid": mid, "rad": width, "side": rng.choice((-1.0, 0.0, 1.0))}


def _eigen_ask(x: Arguments) -> tuple[list[float], list[float]]:
    mid = tensor(x["mid"])
    return enclosures.eigenvalue_bounds(Ball(mid, torch.full_like(mid, x["rad"])))


def _eigen_claims(x: Arguments, found: tuple[list[float], list[float]]) -> Iterator[Claim]:
    n = len(x["mid"])
    member = rational(x["mid"]) + rational([[x["side"] * x["rad"]] * n for _ in range(n)])
    for k, (low, high) in enumerate(zip(*found, strict=True)):
        # lambda_k >= low: at most k eigenvalues below it; lambda_k <= high: at most n - 1 - k above
        if math.isfinite(low):
            yield "lower", above(member, -low, sign=-1) <= k
        if math.isfinite(high):
            yield "upper", above(member, high) <= n - 1 - k


# -- factors ---------------------------------------------------------------------------------------


def _factors(rng: Draw) -> Arguments:
    d, h, m = rng.randint(1, 3), rng.randint(1, 4), rng.randint(1, 3)
    scale = 10.0 ** rng.choice((0.0, 0.0, 0.0, -5.0, 5.0))
    return {"first": matrix(rng, d, h, scale), "second": matrix(rng, h, m),
            "tight": rng.random() < 0.5}  # fmt: skip


def _factors_ask(x: Arguments) -> tuple[Any, Any]:
    first, second = tensor(x["first"]), tensor(x["second"])
    return (
        enclosures.linear_network_bounds(first, second, tight_norms=x["tight"]),
        enclosures.imbalance(first, second),
    )


def _factors_claims(x: Arguments, found: tuple[Any, Any]) -> Iterator[Claim]:
    first, second = rational(x["first"]), rational(x["second"])
    bounds, imbalance = found
    d, h, m = first.nrows(), first.ncols(), second.ncols()
    g1, g2 = first * first.transpose(), second.transpose() * second
    for gram, sigma, norm, full in (
        (g1, bounds.first_sigma_lower, bounds.first_norm_upper, h >= d),
        (g2, bounds.second_sigma_lower, bounds.second_norm_upper, h >= m),
    ):
        yield "no rank, no bound", full or sigma == 0.0
        if sigma > 0.0:
            yield "sigma", above(gram, -(fraction(sigma) ** 2), sign=-1) == 0
        yield "norm", above(gram, fraction(norm) ** 2) == 0
    difference = first.transpose() * first - second * second.transpose()
    yield "largest", above(difference, imbalance.largest_upper) == 0
    yield "negative largest", above(difference, imbalance.negative_largest_upper, sign=-1) == 0
    if math.isfinite(imbalance.first_lower):
        yield "first", above(difference, -imbalance.first_lower, sign=-1) <= h - d
    if math.isfinite(imbalance.second_lower):
        yield "second", above(difference, -imbalance.second_lower) <= h - m


# -- loss along a step -----------------------------------------------------------------------------


def _problem(rng: Draw) -> Arguments:
    n, d, h, m = rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 3)
    kind = rng.choice(KINDS)
    if kind == "logistic":
        y = [[rng.choice((1.0, -1.0)) for _ in range(m)] for _ in range(n)]
    elif kind == "cross_entropy":
        y = [[0.0] * m for _ in range(n)]
        for row in y:
            row[rng.randrange(m)] = 1.0
    else:
        y = matrix(rng, n, m, rng.choice((1.0, 3.0)))
    w1, w2 = matrix(rng, d, h), matrix(rng, h, m)
    move = rng.choice((1e-12, 1e-6, 1e-2, 0.3, 1.0, 5.0))
    after1 = [[v + move * rng.gauss(0.0, 1.0) for v in row] for row in w1]
    after2 = [[v + move * rng.gauss(0.0, 1.0) for v in row] for row in w2]
    ridge = draws.moderate(rng)
    if kind == "squared":
        ridge = rng.choice((0.0, 0.1, ridge))
    return {"X": matrix(rng, n, d, rng.choice((1.0, 3.0, 0.1))), "y": y, "kind": kind,
            "ridge": ridge, "weight": rng.choice((1.0, 1.0 / n, draws.moderate(rng))),
            "before": (w1, w2), "after": (after1, after2),
            "eta": rng.choice((1e-6, 1e-2, 0.1, 1.0, draws.moderate(rng)))}  # fmt: skip


def _loss(x: Arguments) -> optim.LinearModelLoss:
    return optim.LinearModelLoss(
        tensor(x["X"]), tensor(x["y"]), kind=x["kind"], ridge=x["ridge"], weight=x["weight"]
    )


def _loss_ask(x: Arguments) -> tuple[Any, ...]:
    loss = _loss(x)
    before = enclosures.enclosed_point(loss, *(tensor(w) for w in x["before"]))
    after = enclosures.enclosed_point(loss, *(tensor(w) for w in x["after"]))
    quartic = enclosures.step_quartic(loss, before)
    constants = loss.constants.conclusion
    gap = None if constants is None else gap_upper(
        loss, before.outputs, before.gradient, constants
    )  # fmt: skip
    return (before, enclosures.decrease_lower(loss, before, after), quartic.change(x["eta"]), gap,
            before.gradient_square)  # fmt: skip


def _balls(rows: Rows) -> arb_mat:
    return arb_mat(len(rows), len(rows[0]), [arb(v) for row in rows for v in row])


def _huber(t: arb) -> arb:
    inside = t * t / 2
    if abs(t) <= 1:
        return inside
    return abs(t) - arb(1) / 2 if abs(t) >= 1 else arb("nan")


def _value(x: Arguments, w: arb_mat) -> arb:
    """l(W)."""
    z, y, total = _balls(x["X"]) * w, x["y"], arb(0)
    for i, row in enumerate(y):
        outputs = [z[i, j] for j in range(len(row))]
        if x["kind"] == "squared":
            total += sum(((o - t) ** 2 for o, t in zip(outputs, row, strict=True)), arb(0)) / 2
        elif x["kind"] == "huber":
            total += sum((_huber(o - t) for o, t in zip(outputs, row, strict=True)), arb(0))
        elif x["kind"] == "logistic":
            pairs = zip(outputs, row, strict=True)
            total += sum(((-t * o).exp().log1p() for o, t in pairs), arb(0))
        else:
            total += sum((o.exp() for o in outputs), arb(0)).log()
            total -= sum((t * o for o, t in zip(outputs, row, strict=True)), arb(0))
    squares = sum((v * v for v in w.entries()), arb(0))
    return arb(x["weight"]) * total + arb(x["ridge"]) / 2 * squares


def _slope(x: Arguments, w: arb_mat) -> arb_mat:
    """G = grad l(W)."""
    data = _balls(x["X"])
    z, n, m = data * w, len(x["y"]), len(x["y"][0])
    entries = []
    for i in range(n):
        row, o = x["y"][i], [z[i, j] for j in range(m)]
        if x["kind"] == "squared":
            entries += [v - t for v, t in zip(o, row, strict=True)]
        elif x["kind"] == "huber":
            entries += [(v - t).max(arb(-1)).min(arb(1)) for v, t in zip(o, row, strict=True)]
        elif x["kind"] == "logistic":
            entries += [-t / (1 + (t * v).exp()) for v, t in zip(o, row, strict=True)]
        else:
            total = sum((v.exp() for v in o), arb(0))
            entries += [v.exp() / total - t for v, t in zip(o, row, strict=True)]
    slope = arb_mat(n, m, entries)
    return arb(x["weight"]) * (data.transpose() * slope) + arb(x["ridge"]) * w


def _inside(name: str, exact: arb_mat, found: Ball) -> Iterator[Claim]:
    mids, rads = found.mid.flatten().tolist(), found.rad.flatten().tolist()
    for value, mid, rad in zip(exact.entries(), mids, rads, strict=True):
        yield name, at_most(abs(value - arb(mid)), rad)


def _loss_claims(x: Arguments, found: tuple[Any, ...]) -> Iterator[Claim]:
    at, decrease, change, gap, square = found
    w1, w2 = (_balls(w) for w in x["before"])
    after = _balls(x["after"][0]) * _balls(x["after"][1])
    w = w1 * w2
    here, g = _value(x, w), _slope(x, w)
    yield from _inside("product", w, at.product)
    yield from _inside("outputs", _balls(x["X"]) * w, at.outputs)
    yield from _inside("gradient", g, at.gradient)
    yield "decrease", at_most(decrease, here - _value(x, after))
    g1, g2 = g * w2.transpose(), w1.transpose() * g
    norm = sum((v * v for v in (*g1.entries(), *g2.entries())), arb(0))
    yield "gradient square", at_most(square.lo, norm) and at_most(norm, square.hi)
    eta = arb(x["eta"])
    stepped = _value(x, (w1 - eta * g1) * (w2 - eta * g2)) - here
    yield "quartic above", at_most(stepped, change.hi)
    if x["kind"] == "squared":
        yield "quartic below", at_most(change.lo, stepped)
    if gap is not None:
        for lower in _lower_points(x, w):
            yield "gap", at_most(here - _value(x, lower), gap)


def _lower_points(x: Arguments, w: arb_mat) -> Iterator[arb_mat]:
    """Points where l is small: the exact minimiser of the squared loss, Newton's of the others."""
    d, m = w.nrows(), w.ncols()
    v = torch.tensor([float(e.mid()) for e in w.entries()], dtype=torch.float64).reshape(d, m)
    loss, flat = _loss(x), v.flatten()

    def value(f: Tensor) -> Tensor:
        z = f.reshape(d, m)
        return loss.weight * loss._phi(loss.inputs @ z) + loss.ridge / 2 * z.square().sum()

    for _ in range(1 if x["kind"] == "squared" else 3):
        hessian = torch.autograd.functional.hessian(value, flat)
        slope = loss.gradient(flat.reshape(d, m)).flatten()
        step = torch.linalg.lstsq(hessian, slope.reshape(-1, 1), driver="gelsd").solution.flatten()
        trial = flat - step
        if bool(trial.isfinite().all()) and float(value(trial)) <= float(value(flat)):
            flat = trial
    yield _balls(flat.reshape(d, m).tolist())


# -- P1's ingredients, and the truncated Gaussian --------------------------------------------------


def _start(rng: Draw) -> Arguments:
    n, d, width = rng.randint(1, 3), rng.randint(1, 4), rng.randint(1, 3)
    return {"X": matrix(rng, n, d, rng.choice((1.0, 1e-3, 1e3))), "y": matrix(rng, n, 1),
            "width": width, "bias": rng.random() < 0.5,
            "hidden": [[rng.uniform(0.1, 1.0) for _ in range(width)] for _ in range(width)],
            "slope": rng.choice((0.5, 0.1))}  # fmt: skip


def _start_ask(x: Arguments) -> PositiveNetwork | None:
    d, width = len(x["X"][0]), x["width"]
    layers = [nn.Linear(d, width, bias=x["bias"]), nn.Linear(width, width, bias=False),
              nn.Linear(width, 1, bias=False)]  # fmt: skip
    model = nn.Sequential(layers[0], SmoothLeakyReLU(x["slope"]), layers[1], nn.Tanh(), layers[2])
    model = model.double()
    with torch.no_grad():
        layers[0].weight.zero_()
        if x["bias"]:
            layers[0].bias.zero_()
        layers[1].weight.copy_(tensor(x["hidden"]))
        layers[2].weight.fill_(1.0)
    X = tensor(x["X"])
    return _ingredients(read(model, X), X, tensor(x["y"]))


def _start_claims(x: Arguments, found: PositiveNetwork | None) -> Iterator[Claim]:
    yield "P1 applies", found is not None
    if found is None:
        return
    X, n = rational(x["X"]), len(x["X"])
    one = fmpq_mat(n, n, [fmpq(int(x["bias"]))] * (n * n))
    gram = (X * X.transpose() + one) * fmpq(1, n)
    if math.isfinite(found.gram_eigenvalue_lower):
        yield "lambda", above(gram, -found.gram_eigenvalue_lower, sign=-1) == 0
    squares = sum((arb(row[0]) ** 2 for row in x["y"]), arb(0)) / n
    yield "S", at_most(squares, found.initial_loss_upper)
    yield "x_max", found.input_entry_upper == max(abs(v) for row in x["X"] for v in row)
    entries = [v for row in x["hidden"] for v in row]
    yield "b", (found.hidden_low, found.hidden_high) == (min(entries), max(entries))


def _tail(rng: Draw) -> tuple[float, float, int]:
    low = rng.choice((rng.uniform(0.0, 30.0), 5e-324, 8.2, 30.0))
    high = low + rng.choice((math.inf, 1.0, 1e-9, draws.share(rng)))
    return low, max(high, math.nextafter(low, math.inf)), rng.randrange(2**32)


def _tail_ask(x: tuple[float, float, int]) -> list[float]:
    generator = torch.Generator().manual_seed(x[2])
    return list(truncated_normal(torch.Size((20,)), x[0], x[1], generator).tolist())


def _tail_claims(x: tuple[float, float, int], found: list[float]) -> Iterator[Claim]:
    for value in found:
        yield "inside", x[0] <= value <= x[1]


# -- the bound on the loss along a certified run ---------------------------------------------------


def _power(rng: Draw) -> tuple[float, int, float]:
    rate = rng.choice((draws.share(rng), draws.share(rng), 0.0, 1.0))
    return rate, rng.choice((0, 1, 2, rng.randint(0, 10**6))), draws.nonnegative(rng)


def _power_ask(x: tuple[float, int, float]) -> float:
    return _power_upper(1.0 - Interval.point(x[0]), x[1], x[2])


def _power_claims(x: tuple[float, int, float], found: float) -> Iterator[Claim]:
    rate, count, start = x
    if start < math.inf:
        yield "envelope", at_most((1 - arb(rate)) ** count * arb(start), found)
    else:
        yield "no number", not math.isnan(found)


OPTIM = "talweg.optim."
SHARDS = (
    shard("optim.eigenvalue_bounds",
          Routine(_symmetric, _eigen_ask, _eigen_claims, 50, count_numbers=True),
          (OPTIM + "_linear_network_enclosures",), goal=100_000),
    shard("optim.linear_network_bounds",
          Routine(_factors, _factors_ask, _factors_claims, 30, count_numbers=True),
          (OPTIM + "_linear_network_enclosures",), goal=100_000),
    shard("optim.linear_network_loss",
          Routine(_problem, _loss_ask, _loss_claims, 8, count_numbers=True),
          (OPTIM + "_linear_network_enclosures", OPTIM + "_linear_model_gap",
           OPTIM + "_linear_model_loss"), goal=100_000),
    shard("optim.loss_envelope",
          Routine(_power, _power_ask, _power_claims, 300), (OPTIM + "_certified",)),
    shard("prescribe.explicit_entry",
          Routine(_start, _start_ask, _start_claims, 8, count_numbers=True),
          ("talweg.prescribe._explicit_entry",), goal=100_000),
    shard("prescribe.truncated_normal",
          Routine(_tail, _tail_ask, _tail_claims, 200, count_numbers=True),
          ("talweg.prescribe._gaussian",)),
)  # fmt: skip
