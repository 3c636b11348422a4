"""The checker's bound on the rounding of one step (T9) against steps that were run.

The step is run by torch with autograd, or in NumPy with sums in a random order; then
e = (w - w') / step - grad f(w) is evaluated in Arb, and |e| must not exceed the bound.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from flint import arb, arb_mat, ctx, fmpq
from numpy.typing import NDArray
from tests.soundness.containment.checker_chains import Drawn, drawn_chain
from tests.soundness.containment.record import Record, shard

from talweg_check._arrays import PRECISION
from talweg_check._rounding import Rounding
from talweg_check._verdict import Invalid

UNDER_TEST = ("talweg_check._rounding", "talweg_check._network")
BITS = 320
POINTS = 16  # of one network
Floats = NDArray[np.float64]
Weights = dict[str, Floats]


def trained(drawn: Drawn) -> list[str]:
    """The arrays that move."""
    return [
        item[part] for item in drawn.operations if item["kind"] == "linear"
        for part in ("weight", "bias") if item[f"{part}_trainable"]
    ]  # fmt: skip


def _matmul(rng: np.random.Generator, a: Floats, b: Floats) -> Floats:
    """a @ b, every entry summed one after the other in a random order."""
    terms = a[:, :, None] * b[None, :, :]
    terms = terms[:, rng.permutation(terms.shape[1])]
    return np.asarray(np.add.accumulate(terms, axis=1)[:, -1])


def numpy_step(
    rng: np.random.Generator, drawn: Drawn, weights: Weights, inputs: Floats, targets: Floats,
    two_c: float, step: float,
) -> Weights:  # fmt: skip
    """The weights after one step, by hand."""
    taken, shown = [], []
    h = inputs
    for item in drawn.operations:
        taken.append(h)
        if item["kind"] == "linear":
            h = _matmul(rng, h, weights[item["weight"]].T)
            h = h if item["bias"] is None else h + weights[item["bias"]]
        elif item["function"] == "tanh":
            h = np.tanh(h)
        else:
            h = 1 / (1 + np.exp(-h))
        shown.append(h)
    g = (h - targets) * two_c
    after = dict(weights)
    for item, before, value in zip(drawn.operations[::-1], taken[::-1], shown[::-1], strict=True):
        if item["kind"] == "linear":
            if item["weight_trainable"]:
                slope = _matmul(rng, g.T, before)
                after[item["weight"]] = weights[item["weight"]] - step * slope
            if item["bias_trainable"]:
                slope = _matmul(rng, np.ones((1, len(g))), g)[0]
                after[item["bias"]] = weights[item["bias"]] - step * slope
            g = _matmul(rng, g, weights[item["weight"]])
        elif item["function"] == "tanh":
            g = g * (1 - value * value)
        else:
            g = g * (1 - value) * value
    return after


def torch_step(
    drawn: Drawn, weights: Weights, inputs: Floats, targets: Floats, scaling: str, step: float
) -> Weights:
    """The weights after one step of torch.optim.SGD's arithmetic with autograd."""
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    names = trained(drawn)
    for name in names:
        tensors[name].requires_grad_(True)
    h = torch.from_numpy(inputs)
    for item in drawn.operations:
        if item["kind"] == "linear":
            bias = None if item["bias"] is None else tensors[item["bias"]]
            h = torch.nn.functional.linear(h, tensors[item["weight"]], bias)
        else:
            h = torch.tanh(h) if item["function"] == "tanh" else torch.sigmoid(h)
    y = torch.from_numpy(targets)
    reduction = "mean" if scaling == "mean" else "sum"
    loss = torch.nn.functional.mse_loss(h, y, reduction=reduction)
    if scaling == "half_sum":
        loss = loss / 2
    slopes = torch.autograd.grad(loss, [tensors[name] for name in names])
    with torch.no_grad():
        for name, slope in zip(names, slopes, strict=True):
            tensors[name].add_(slope, alpha=-step)
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def _rescaled(rng: np.random.Generator, drawn: Drawn) -> None:
    """Now and then arrays so small or so large that products underflow or grow."""
    if rng.random() < 0.25:
        for array in (*drawn.arrays.values(), drawn.inputs):
            array *= 2.0 ** float(rng.choice([0.0, 0.0, -500.0, -530.0, -60.0, 30.0]))


def steps(rng: np.random.Generator, record: Record) -> None:
    drawn = drawn_chain(rng, names=("tanh", "sigmoid"), plain=True, most_samples=2)
    _rescaled(rng, drawn)
    samples = int(drawn.counts.sum())
    inputs = np.repeat(drawn.inputs, drawn.counts, axis=0)
    scaling = str(rng.choice(["mean", "sum", "half_sum"]))
    unit = {"mean": fmpq(2, samples * drawn.outputs), "sum": fmpq(2), "half_sum": fmpq(1)}[scaling]
    with ctx.workprec(PRECISION):
        net = record.call(drawn.network)
        rounding = None
        if net is not None:
            rounding = record.call(Rounding, drawn.operations, net, samples)
    if rounding is None:
        return
    names = trained(drawn)
    for _ in range(POINTS):
        radius = float(rng.choice([0.0, 1e-9, 1e-3, 0.1, 1.0]))
        weights = dict(drawn.arrays)
        for name in names:
            shift = rng.standard_normal(weights[name].shape) / math.sqrt(weights[name].size)
            weights[name] = weights[name] + radius * shift / len(names)
        chain = Drawn(drawn.operations, weights, inputs, np.ones(samples, dtype=np.int64))
        step = float(10.0 ** rng.uniform(-12, 0.5))
        with ctx.workprec(BITS):
            reference = chain.reference()
            states = reference.states(inputs)
            outputs = np.array([float(x.mid()) for x in states[-1].entries()])
            spread = float(rng.choice([0.0, 1e-14, 1e-6, 1.0, 1.0, 1e3]))
            targets = outputs.reshape(samples, -1) + spread * rng.standard_normal(
                (samples, drawn.outputs)
            )
            residual = states[-1] - arb_mat(samples, drawn.outputs, targets.ravel().tolist())
            size = sum((r * r for r in residual.entries()), arb(0)).sqrt()
            moved = arb(0)
            for name in names:
                pairs = zip(
                    weights[name].ravel().tolist(), drawn.arrays[name].ravel().tolist(), strict=True
                )
                moved += sum(((arb(x) - arb(y)) ** 2 for x, y in pairs), arb(0))
            away = moved.sqrt().upper()
            gradient = reference.pulled_back(inputs, residual * arb(unit))
        with np.errstate(all="ignore"):
            if rng.random() < 0.5:
                after = torch_step(drawn, weights, inputs, targets, scaling, step)
            else:
                two_c = {"mean": 2.0 / (samples * drawn.outputs), "sum": 2.0, "half_sum": 1.0}
                after = numpy_step(rng, drawn, weights, inputs, targets, two_c[scaling], step)
        with ctx.workprec(PRECISION):
            try:
                bound = rounding.error(away, size.upper(), arb(unit), arb(step))
            except Invalid:
                record.counts["refused"] += 1
                continue
        if not bound.is_finite():
            record.counts["no bound"] += 1
            continue
        with ctx.workprec(BITS):
            square = _squared_error(names, weights, after, gradient, step)
            limit = bound * bound
            holds = True if square <= limit else False if square > limit else None
            if holds and square > limit / 16:
                record.counts["above a quarter"] += 1
        if holds is None and square.is_finite():
            record.undecided()
        else:
            record.check(
                holds is True, chain, targets.tolist(), scaling, step, "bound", bound, "square of "
                "the error", square,
            )  # fmt: skip


def _squared_error(
    names: list[str], before: Weights, after: Weights, gradient: list[Any], step: float
) -> arb:
    """|(w - w') / step - grad f(w)|^2."""
    total, place = arb(0), 0
    for name in names:
        ends = zip(before[name].ravel().tolist(), after[name].ravel().tolist(), strict=True)
        for x, y in ends:
            error = (arb(x) - arb(y)) / arb(step) - gradient[place]
            total += error * error  # a power of a ball about zero may be nan
            place += 1
    return total


SHARDS = (shard("checker.rounding_error", UNDER_TEST, steps, 40),)
