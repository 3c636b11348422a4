"""The bound of a float64 step's error (theory T9) against steps that torch takes, measured in Arb.

A case is one step from a float point w of the ball: |G - grad f(w)| + |w+ - (w - lr G)| / lr is at
most the bound, with G and w+ as torch computed them and the gradient at 256 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from flint import arb, arb_mat
from tests.soundness.chain_reference import exact
from tests.soundness.containment.draws import threads
from tests.soundness.containment.lipschitz_attack import Floats, random_directions, start_of
from tests.soundness.containment.network_draws import (
    Drawn,
    Rng,
    drawn,
    hexadecimal,
    precisions,
    scaled_rows,
)
from tests.soundness.containment.network_norms import exact_matrix
from tests.soundness.shard import Shard, Tally
from torch import Tensor, nn

from talweg.enclosure import Interval
from talweg.network import (
    GradientError,
    build_module,
    linearize,
    rounding_not_covered,
)

RADII = (0.0, 1e-9, 1e-3, 0.1, 1.0, 10.0, 1e3)
STEPS = (1e-8, 1e-3, 0.125, 0.1, 1.0, 10.0, 1e-300)
REACHED = (1e-3, 1e-2, 0.1, 0.5)
"""Shares of the bound that are counted."""


@dataclass(frozen=True)
class _Program:
    """The loss of one run.

    Attributes:
        scaling: "mean", "sum" or "half_sum".
        targets: ``(m, k)`` of the merged rows.
        step_size: lr.
    """

    scaling: str
    targets: Tensor
    step_size: float

    def curvature(self, entries: int) -> Interval:
        """2c."""
        if self.scaling == "mean":
            return Interval.ratio(2, entries)
        return Interval.point(2.0 if self.scaling == "sum" else 1.0)

    def factor(self, entries: int) -> arb:
        """2c, in Arb."""
        if self.scaling == "mean":
            return arb(2) / entries
        return arb(2 if self.scaling == "sum" else 1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What is differentiated."""
        if self.scaling == "mean":
            return nn.functional.mse_loss(outputs, targets)
        total = nn.functional.mse_loss(outputs, targets, reduction="sum")
        return total if self.scaling == "sum" else 0.5 * total


class _Run:
    """A module whose steps torch takes."""

    def __init__(self, case: Drawn, program: _Program) -> None:
        self._model = build_module(case.network)
        self._moving = [p for p in self._model.parameters() if p.requires_grad]
        self._inputs = case.inputs.repeat_interleave(case.multiplicity, 0)
        self._targets = program.targets.repeat_interleave(case.multiplicity, 0)
        self._program = program

    def residual_norm_approx(self, w: Floats) -> float:
        """|r(w)| in plain float64."""
        self._put(w)
        with torch.no_grad():
            return float((self._model(self._inputs) - self._targets).norm())

    def step(self, w: Floats) -> tuple[Floats, Floats]:
        """Gradient and next weights as torch computes them, in the order of the parameters."""
        self._put(w)
        optimizer = torch.optim.SGD(self._moving, lr=self._program.step_size)
        optimizer.zero_grad()
        loss = self._program.loss(self._model(self._inputs), self._targets)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = torch.cat([p.grad.reshape(-1) for p in self._moving if p.grad is not None])
        optimizer.step()
        after = torch.cat([p.detach().reshape(-1) for p in self._moving])
        return np.array(gradient.numpy()), np.array(after.numpy())

    def _put(self, w: Floats) -> None:
        parts = torch.split(torch.from_numpy(w), [p.numel() for p in self._moving])
        with torch.no_grad():
            for p, part in zip(self._moving, parts, strict=True):
                p.copy_(part.reshape(p.shape))


def _norm(entries: list[arb]) -> arb:
    # The sum of squares of balls may reach below zero.
    return sum((x * x for x in entries), arb(0)).nonnegative_part().sqrt()


def _inside(start: Floats, w: Floats, radius: float) -> bool:
    pairs = zip(w.tolist(), start.tolist(), strict=True)
    square = sum(((arb(a) - b) ** 2 for a, b in pairs), arb(0))
    return bool(square <= arb(radius) ** 2)


def _points(case: Drawn, rng: Rng, radius: float) -> list[Floats]:
    """Float points of the ball, most of them near its boundary."""
    start = start_of(case)
    found = [start]
    for direction in random_directions(rng, len(start)) * 12 if radius > 0.0 else []:
        shrink = float(rng.choice([1.0 - 1e-9, 1.0 - 1e-9, 0.5, 1e-3]))
        w = start + radius * shrink * direction
        if np.isfinite(w).all() and _inside(start, w, radius):
            found.append(w)
    return found


def _drawn(rng: Rng) -> Drawn:
    rows = 20 if rng.random() < 0.02 else int(rng.integers(1, 5))
    return drawn(
        rng,
        functions=("tanh", "sigmoid", "identity"),
        scales=False,
        wild=0.03,
        most=8 if rng.random() < 0.05 else 3,
        rows=rows,
    )


def _targets(rng: Rng, case: Drawn) -> Tensor:
    shape = (len(case.inputs), case.network.output_dim)
    size = float(rng.choice([1.0, 1.0, 1.0, 1e-12, 1e100, 0.0, 1e-300]))
    return torch.from_numpy(rng.standard_normal(shape) * size)


def _ask(case: Drawn, rng: Rng) -> Tally:
    reason = rounding_not_covered(case.network, case.inputs)
    if reason is not None:
        return Tally(violations=(f"rounding_not_covered says {reason} for {case.line()}",))
    scaling = str(rng.choice(["mean", "sum", "half_sum"]))
    program = _Program(scaling, _targets(rng, case), float(rng.choice(STEPS)))
    samples = int(case.multiplicity.sum())
    entries = samples * case.network.output_dim
    state = linearize(case.network, case.inputs, case.multiplicity)
    run = _Run(case, program)
    total = Tally()
    radius = float(rng.choice(RADII))
    points = _points(case, rng, radius)
    # The bound is about points whose residual is at most what it was told.
    told = 1.000001 * max(run.residual_norm_approx(w) for w in points) + 1e-300
    bound = (
        GradientError(
            state,
            samples=samples,
            residual_norm_upper=told,
            curvature=program.curvature(entries),
            step_size=program.step_size,
        ).upper(radius)
        if told < np.inf
        else np.inf
    )
    if bound == np.inf:
        return Tally(counts={"unbounded": 1})
    for w in points:
        total += _decided(case, program, w, run.step(w), (told, bound), entries)
    return total


def _decided(
    case: Drawn,
    program: _Program,
    w: Floats,
    step: tuple[Floats, Floats],
    limits: tuple[float, float],
    entries: int,
) -> Tally:
    computed, after = step
    told, bound = limits
    line = f"told={told.hex()} lr={program.step_size.hex()} {program.scaling} w={w.tolist()}"
    if not (bound >= 0.0 and np.isfinite(computed).all() and np.isfinite(after).all()):
        return Tally(1, (f"GradientError = {bound} with a step {step}: {line} {case.line()}",))
    inputs, targets = exact_matrix(case.inputs), exact_matrix(program.targets)
    for _ in precisions():
        chain = case.reference.with_parameters(w.tolist())
        states = chain.states(inputs)
        residual = states[-1] - targets
        weighted = scaled_rows(residual, case.weights)
        size = sum(
            (x * y for x, y in zip(residual.entries(), weighted.entries(), strict=True)), arb(0)
        )
        if size > exact(told) ** 2:
            return Tally(counts={"larger residual": 1})
        top: arb_mat = weighted * program.factor(entries)
        true = chain.pulled_back_from(states, top)
        lr = arb(program.step_size)
        g = [arb(x) for x in computed.tolist()]
        off = [x - y for x, y in zip(g, true, strict=True)]
        moved = [
            arb(b) - arb(a) + lr * x for a, b, x in zip(w.tolist(), after.tolist(), g, strict=True)
        ]
        error = _norm(off) + _norm(moved) / lr
        if error <= bound and size <= exact(told) ** 2:
            counts = {f"above {x}": int(bool(error > x * arb(bound))) for x in REACHED}
            return Tally(1, counts=counts)
        if error > bound and size <= exact(told) ** 2:
            line += f" y={hexadecimal(program.targets)} {case.line()}"
            return Tally(1, (f"GradientError = {bound.hex()} below {error}: {line}",))
    return Tally(counts={"undecided": 1})


def rounding_batch(seed: int, count: int = 3) -> Tally:
    """Steps from points of a ball around each of `count` chains."""
    rng = np.random.default_rng([seed, 41])
    total = Tally()
    with threads(int(seed % 16 == 15)):
        for _ in range(count):
            case = _drawn(rng)
            try:
                total += _ask(case, rng)
            except Exception as error:
                total += Tally(tracebacks=(f"GradientError: {error!r} for {case.line()}",))
    return total


SHARDS = (
    Shard(
        "containment/network.GradientError",
        ("talweg.network._gradient_error",),
        100_000,
        rounding_batch,
    ),
)
