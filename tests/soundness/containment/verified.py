"""Eigenvalue and norm bounds against exact elimination.

A bound b of the smallest eigenvalue is right exactly if S - b I is positive semidefinite, one of
the largest if b I - S is, one of the norm if b^2 I - S S^T is: decided without rounding for
matrices S of the ball, among them the vertices with the sign pattern of an extreme eigenvector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from flint import arb, ctx
from tests.soundness.containment.draws import threads
from tests.soundness.containment.verified_draws import (
    Floats,
    Rng,
    dominant,
    mirrored,
    radius,
    rectangular,
    scaled,
    symmetric,
)
from tests.soundness.semidefinite import EXACT, is_positive_semidefinite
from tests.soundness.shard import Shard, Tally

from talweg.enclosure import Ball
from talweg.verified import (
    psd_largest_eigenvalue_upper,
    smallest_eigenvalue_lower,
    spectral_norm_upper,
)

Exact = list[list[arb]]

ORDERS = (1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12)
LARGE_ORDERS = (30, 40, 60)


def _order(rng: Rng) -> int:
    return int(rng.choice(LARGE_ORDERS if rng.random() < 0.005 else ORDERS))


def _ball(mid: Floats, rad: Floats | None) -> Ball:
    if rad is None:
        return Ball.exact(torch.from_numpy(mid))
    return Ball(torch.from_numpy(mid), torch.from_numpy(rad))


# -- members of a ball, exactly --------------------------------------------------------------------


def symmetric_members(rng: Rng, mid: Floats, rad: Floats | None, towards: int) -> list[Exact]:
    """Symmetric matrices of the ball: the midpoint, and vertices pushed by an eigenvector.

    Args:
        rng: For random vertices.
        mid: The midpoint.
        rad: Finite radii, or None.
        towards: -1 pushes the smallest eigenvalue down, 1 the largest up.
    """
    if rad is None:
        return [_exact(mid)]
    both = np.minimum(rad, rad.T)
    signs = rng.choice([-1.0, 1.0], mid.shape)
    extreme = _eigenvector_signs(mid, 0 if towards < 0 else -1)
    pushed = towards * np.outer(extreme, extreme)
    return [_exact(mid, both, pushed), _exact(mid, both, mirrored(signs))]


def _eigenvector_signs(mid: Floats, index: int) -> Floats:
    largest = float(np.abs(mid).max(initial=0.0))
    try:
        vectors = np.linalg.eigh(mid / largest if largest > 0.0 else mid)[1]
    except np.linalg.LinAlgError:
        return np.ones(len(mid))
    return np.where(vectors[:, index] < 0.0, -1.0, 1.0)


def _exact(mid: Floats, rad: Floats | None = None, signs: Floats | None = None) -> Exact:
    """mid + signs rad without rounding."""
    if rad is None or signs is None:
        return [[arb(x) for x in row] for row in mid.tolist()]
    with ctx.workprec(EXACT):
        return [
            [arb(m) + (arb(r) if s > 0.0 else -arb(r)) for m, r, s in zip(*rows, strict=True)]
            for rows in zip(mid.tolist(), rad.tolist(), signs.tolist(), strict=True)
        ]


def _shifted(matrix: Exact, bound: float, sign: int) -> Exact:
    """sign (S - bound I), exactly."""
    with ctx.workprec(EXACT):
        b = arb(bound)
        return [
            [sign * (x - b) if i == j else sign * x for j, x in enumerate(row)]
            for i, row in enumerate(matrix)
        ]


def _squared_deficit(matrix: Exact, bound: float) -> Exact:
    """bound^2 I - S S^T for the shorter side, exactly."""
    rows = matrix if len(matrix) <= len(matrix[0]) else [list(c) for c in zip(*matrix, strict=True)]
    with ctx.workprec(EXACT):
        square = arb(bound) ** 2
        return [
            [
                (square if i == j else 0) - sum(map(arb.__mul__, a, rows[j]), arb(0))
                for j in range(i + 1)
            ]
            for i, a in enumerate(rows)
        ]


# -- batches ---------------------------------------------------------------------------------------


def smallest_batch(seed: int, count: int = 100) -> Tally:
    """`smallest_eigenvalue_lower` on `count` matrices."""
    rng = np.random.default_rng([seed, 1])
    tally = _Counting("smallest_eigenvalue_lower")
    with threads(int(seed % 32 == 31)):  # two threads cost small matrices ten times the time
        for _ in range(count):
            n = _order(rng) if rng.random() > 0.003 else 0
            mid = scaled(rng, symmetric(rng, n)) if n else np.zeros((0, 0))
            rad = radius(rng, mid)
            guess = _guess(rng, mid)
            bound = tally.called(
                lambda b, g: smallest_eigenvalue_lower(b, guess=g), _ball(mid, rad), guess
            )
            if bound is None:
                continue
            inputs = partial(_line, mid, rad, guess)
            if n == 0 or bound == -math.inf:
                tally.decide(True if n else bound == -math.inf, bound, inputs)
            elif rad is not None and not np.isfinite(np.minimum(rad, rad.T)).all():
                tally.decide(False, bound, inputs)
            else:
                for member in symmetric_members(rng, mid, rad, -1):
                    right = bound < math.inf and is_positive_semidefinite(
                        _shifted(member, bound, 1)
                    )
                    tally.decide(right, bound, inputs)
    return tally.result()


def largest_batch(seed: int, count: int = 100) -> Tally:
    """`psd_largest_eigenvalue_upper` on `count` balls, against their semidefinite members."""
    rng = np.random.default_rng([seed, 2])
    tally = _Counting("psd_largest_eigenvalue_upper")
    with threads(int(seed % 32 == 31)):  # two threads cost small matrices ten times the time
        for _ in range(count):
            n = _order(rng)
            mid = scaled(rng, symmetric(rng, n))
            rad = radius(rng, mid)
            if rng.random() < 0.8:  # most characters become semidefinite by dominance
                mid = dominant(mid, rad)
            bound = tally.called(lambda b, _: psd_largest_eigenvalue_upper(b), _ball(mid, rad))
            if bound is None:
                continue
            inputs = partial(_line, mid, rad)
            if bound == math.inf:
                tally.decide(True, bound, inputs)
            elif rad is not None and not np.isfinite(np.minimum(rad, rad.T).diagonal()).all():
                tally.decide(False, bound, inputs)
            else:
                usable = None if rad is None else np.where(np.isfinite(rad), rad, 1e300)
                for member in symmetric_members(rng, mid, usable, 1):
                    if is_positive_semidefinite(member) is not True:
                        tally.count("not semidefinite")
                        continue
                    tally.decide(
                        is_positive_semidefinite(_shifted(member, bound, -1)), bound, inputs
                    )
    return tally.result()


def norm_batch(seed: int, count: int = 10) -> Tally:
    """`spectral_norm_upper` on `count` stacks of up to 40 matrices."""
    rng = np.random.default_rng([seed, 3])
    tally = _Counting("spectral_norm_upper")
    with threads(int(seed % 32 == 31)):  # two threads cost small matrices ten times the time
        for _ in range(count):
            m, n = (int(x) for x in rng.choice([1, 2, 3, 4, 5, 6, 8, 11], 2))
            stack = 40 if max(m, n) < 8 else 15
            if rng.random() < 0.02:
                m, n, stack = int(rng.choice([30, 100])), int(rng.choice([1, 30])), 1
            if rng.random() < 0.02:
                m = 0
            mid = np.zeros((stack, m, n))
            rad = np.zeros_like(mid)
            for b in range(stack if m else 0):
                mid[b] = scaled(rng, rectangular(rng, m, n))
                part = radius(rng, mid[b])
                rad[b] = 0.0 if part is None else part
            if rng.random() < 0.5:
                rad[:] = 0.0
            ball = Ball(torch.from_numpy(mid), torch.from_numpy(rad))
            if rng.random() < 0.3:  # another layout of the same matrices
                ball = Ball(ball.mid.mT.contiguous().mT, ball.rad.mT.contiguous().mT)
            bounds = tally.called(lambda b, _: spectral_norm_upper(b), ball)
            for b in range(0 if bounds is None else stack):
                bound, inputs = float(bounds[b]), partial(_line, mid[b], rad[b])
                if m == 0 or bound == math.inf:
                    tally.decide(bound >= 0.0, bound, inputs)
                elif not np.isfinite(rad[b]).all():
                    tally.decide(False, bound, inputs)
                else:
                    member = _exact(mid[b], rad[b], _norm_signs(rng, mid[b]))
                    right = bound >= 0.0 and is_positive_semidefinite(
                        _squared_deficit(member, bound)
                    )
                    tally.decide(right, bound, inputs)
    return tally.result()


def _norm_signs(rng: Rng, mid: Floats) -> Floats:
    if rng.random() < 0.3:
        return rng.choice([-1.0, 1.0], mid.shape)
    largest = float(np.abs(mid).max())
    try:
        u, _, v = np.linalg.svd(mid / largest if largest > 0.0 else mid)
    except np.linalg.LinAlgError:
        return np.ones(mid.shape)
    return np.where(np.outer(u[:, 0], v[0]) < 0.0, -1.0, 1.0)


def _guess(rng: Rng, mid: Floats) -> float | None:
    kind = int(rng.integers(8))
    if kind < 5 or not len(mid):
        return None
    try:
        value = float(np.linalg.eigvalsh(mid)[0])
    except np.linalg.LinAlgError:
        value = 1.0
    if kind == 5:
        return value * (1.0 + float(rng.choice([-1e-2, -1e-5, 0.0, 1e-9, 1e-4, 1e-3])))
    return float(rng.choice([0.0, 1.0, -1.0, 1e300, -1e300, np.inf, -np.inf, np.nan, 5e-324]))


class _Counting:
    """What one batch found so far."""

    def __init__(self, routine: str) -> None:
        self._routine = routine
        self._cases = 0
        self._violations: list[str] = []
        self._tracebacks: list[str] = []
        self._counts: dict[str, int] = {}

    def called(self, routine: Callable[[Any, Any], Any], ball: Ball, extra: Any = None) -> Any:
        """The routine's answer; None and a traceback where it raised."""
        try:
            return routine(ball, extra)
        except Exception as error:
            inputs = _line(ball.mid.numpy(), ball.rad.numpy()) if ball.ndim == 2 else ball.shape
            self._tracebacks.append(f"{self._routine}: {error!r} for {inputs} {extra!r}")
            return None

    def count(self, name: str) -> None:
        """One more of something that is no case."""
        self._counts[name] = self._counts.get(name, 0) + 1

    def decide(self, right: bool | None, bound: float, inputs: Callable[[], str]) -> None:
        """One case, or an undecided question."""
        if right is None:
            self.count("undecided")
            return
        self._cases += 1
        if math.isinf(bound):
            self.count("unbounded")
        if not right:
            self._violations.append(f"{self._routine} = {bound!r} for {inputs()}")

    def result(self) -> Tally:
        """The tally."""
        return Tally(
            self._cases, tuple(self._violations), tuple(self._tracebacks), dict(self._counts)
        )


def _line(mid: Floats, rad: Floats | None, guess: float | None = None) -> str:
    parts = [f"mid={[[x.hex() for x in row] for row in mid.tolist()]}"]
    if rad is not None and np.any(rad):
        parts.append(f"rad={[[x.hex() for x in row] for row in rad.tolist()]}")
    if guess is not None:
        parts.append(f"guess={guess.hex()}")
    return " ".join(parts)


SHARDS = (
    Shard(
        "containment/verified.smallest_eigenvalue_lower",
        ("talweg.verified._smallest",),
        100_000,
        smallest_batch,
    ),
    Shard(
        "containment/verified.psd_largest_eigenvalue_upper",
        ("talweg.verified._largest",),
        100_000,
        largest_batch,
    ),
    Shard(
        "containment/verified.spectral_norm_upper",
        ("talweg.verified._spectral_norm",),
        100_000,
        norm_batch,
    ),
)
