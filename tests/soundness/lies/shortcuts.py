"""Certificates by a program that takes a wrong shortcut from the right Jacobian to a bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from flint import ctx
from generator import Draft, Problem
from reference import attack, jacobian, second_derivative
from tests.soundness.lies.drafts import concluded, copied
from tests.soundness.lies.planted import INCOMPLETE, INVALID, Group
from tests.soundness.lies.programs import SHOWN, AtStart, found, network, planted

from talweg_check._arrays import PRECISION, exact
from talweg_check._lipschitz import JacobianLipschitz
from talweg_check._network import Network, merged, stages_of

Array = np.ndarray[Any, Any]


class Measured:
    """The scaled Jacobian and residual of the merged rows, explicitly."""

    def __init__(self, problem: Problem) -> None:
        inputs, targets, self.counts = merged(problem.inputs, problem.targets)
        self.small = Problem(problem.operations, problem.weights, inputs, targets)
        self.root = np.repeat(np.sqrt(self.counts), targets.shape[1])
        self.plain = jacobian(self.small)  # (n k, p)
        self.scaled = self.root[:, None] * self.plain
        self.kernel = self.scaled @ self.scaled.T
        self.spectrum = np.linalg.eigvalsh(self.kernel)
        self.residual = problem.residual()
        self.k = targets.shape[1]


@cache
def _measured() -> Measured:
    return Measured(network().problem)


SIGMA: dict[str, Callable[[Measured], float]] = {
    "second smallest eigenvalue": lambda m: math.sqrt(m.spectrum[1]),
    "median eigenvalue": lambda m: math.sqrt(np.median(m.spectrum)),
    "geometric mean of the eigenvalues": lambda m: math.exp(np.log(m.spectrum).mean() / 2),
    "mean eigenvalue": lambda m: math.sqrt(m.spectrum.mean()),
    "smallest diagonal entry": lambda m: math.sqrt(m.kernel.diagonal().min()),
    "largest row sum": lambda m: math.sqrt(abs(m.kernel).sum(1).max()),
    "n x n kernel of the first output": lambda m: math.sqrt(
        np.linalg.eigvalsh(m.kernel[:: m.k, :: m.k])[0]),
    "n x n kernel of the last output": lambda m: math.sqrt(
        np.linalg.eigvalsh(m.kernel[m.k - 1 :: m.k, m.k - 1 :: m.k])[0]),
    "smallest over the samples": lambda m: min(
        math.sqrt(np.linalg.eigvalsh(m.kernel[i : i + m.k, i : i + m.k])[0])
        for i in range(0, len(m.kernel), m.k)),
    "smallest over pairs of samples": lambda m: min(
        math.sqrt(np.linalg.eigvalsh(m.kernel[np.ix_(ij, ij)])[0])
        for a in range(0, len(m.kernel), m.k) for b in range(0, a, m.k)
        for ij in [[*range(a, a + m.k), *range(b, b + m.k)]]),
    "multiplicities instead of their roots": lambda m: math.sqrt(
        np.linalg.eigvalsh(m.root[:, None] * m.kernel * m.root)[0]),
    "Rayleigh quotient of a random vector": lambda m: float(np.linalg.norm(
        m.scaled.T @ (v := np.random.default_rng(0).normal(size=len(m.kernel))))
        / np.linalg.norm(v)),
    "inverse iteration stopped early": lambda m: _inverse(m, 1),
    "Rayleigh quotient of the last residual": lambda m: float(np.linalg.norm(
        m.scaled.T @ (v := m.small.residual().ravel())) / np.linalg.norm(v)),
    "fourth root": lambda m: m.spectrum[0] ** 0.25,
    "kernel with a ridge": lambda m: math.sqrt(m.spectrum[0] + 1e-3),
    "kernel with its trace added": lambda m: math.sqrt(m.spectrum[0] + m.spectrum.mean()),
    "determinant": lambda m: math.exp(np.log(m.spectrum).sum() / len(m.spectrum) / 2),
    "rounded up in the fifth digit": lambda m: math.ceil(math.sqrt(m.spectrum[0]) * 1e4) / 1e4,
    "gradient of the summed outputs only": lambda m: math.sqrt(np.linalg.eigvalsh(
        sum(m.kernel[a :: m.k, b :: m.k] for a in range(m.k) for b in range(m.k)))[0]),
    "block diagonal kernel": lambda m: math.sqrt(np.linalg.eigvalsh(
        m.kernel * np.kron(np.eye(len(m.kernel) // m.k), np.ones((m.k, m.k))))[0]),
    "rows of J scaled to one length": lambda m: 3 * float(np.linalg.svd(
        m.scaled / np.linalg.norm(m.scaled, axis=1, keepdims=True))[1].min()),
    "error of the residual added, not taken off": lambda m: math.sqrt(m.spectrum[0] * (1 + 1e-4)),
}  # fmt: skip
LARGEST: dict[str, Callable[[Measured], float]] = {
    "Frobenius norm over root N": lambda m: math.sqrt(m.spectrum.mean()),
    "largest diagonal entry": lambda m: math.sqrt(m.kernel.diagonal().max()),
    "largest row norm of J": lambda m: float(np.linalg.norm(m.scaled, axis=1).max()),
    "largest entry of J": lambda m: float(abs(m.scaled).max()),
    "second largest eigenvalue": lambda m: math.sqrt(m.spectrum[-2]),
    "power iteration stopped early": lambda m: _power(m, 2),
    "largest over the samples": lambda m: max(
        math.sqrt(np.linalg.eigvalsh(m.kernel[i : i + m.k, i : i + m.k])[-1])
        for i in range(0, len(m.kernel), m.k)),
    "n x n kernel of one output": lambda m: math.sqrt(
        np.linalg.eigvalsh(m.kernel[:: m.k, :: m.k])[-1]),
    "multiplicities ignored": lambda m: float(np.linalg.norm(m.plain, 2)),
    "smallest singular value": lambda m: math.sqrt(m.spectrum[0]),
    "mean singular value": lambda m: float(np.sqrt(m.spectrum).mean()),
    "infinity norm of J over root p": lambda m: float(
        abs(m.scaled).sum(1).max() / math.sqrt(m.scaled.shape[1])),
    "half of the parameters": lambda m: float(np.linalg.norm(m.scaled[:, ::2], 2)),
    "largest block of one layer": lambda m: float(max(
        np.linalg.norm(part, 2) for part in np.array_split(m.scaled, 3, axis=1))),
    "rounded down in the fifth digit": lambda m: math.floor(m.spectrum[-1] ** 0.5 * 1e4) / 1e4,
    "root of the root": lambda m: m.spectrum[-1] ** 0.25,
    "mean over the samples": lambda m: float(
        np.linalg.norm(m.scaled, 2) / math.sqrt(m.counts.sum())),
    "outputs averaged": lambda m: float(np.linalg.norm(
        m.scaled.reshape(-1, m.k, m.scaled.shape[1]).mean(axis=1), 2)),
}  # fmt: skip
RESIDUAL: dict[str, Callable[[Measured], float]] = {
    "root mean square": lambda m: float(np.sqrt((m.residual**2).mean())),
    "mean over the samples": lambda m: float(
        np.linalg.norm(m.residual) / math.sqrt(len(m.residual))),
    "mean over the outputs": lambda m: float(np.linalg.norm(m.residual) / math.sqrt(m.k)),
    "largest entry": lambda m: float(abs(m.residual).max()),
    "largest row": lambda m: float(np.linalg.norm(m.residual, axis=1).max()),
    "mean of the absolute values": lambda m: float(abs(m.residual).mean()),
    "squared": lambda m: float((m.residual**2).sum()),
    "half of the square": lambda m: float((m.residual**2).sum() / 2),
    "first output": lambda m: float(np.linalg.norm(m.residual[:, 0])),
    "distinct rows": lambda m: float(np.linalg.norm(m.small.residual())),
    "operator norm": lambda m: float(np.linalg.norm(m.residual, 2)) * (1 - 1e-4),
    "rounded down in the second digit": lambda m: float(
        f"{float(np.linalg.norm(m.residual)) * 0.99:.1e}"),
    "spread about its mean": lambda m: float(np.linalg.norm(m.residual - m.residual.mean(0) / 2)),
    "over two": lambda m: float(np.linalg.norm(m.residual)) / math.sqrt(2),
    "zero": lambda m: 0.0,
}  # fmt: skip


def _power(m: Measured, steps: int) -> float:
    v = np.random.default_rng(1).normal(size=len(m.kernel))
    for _ in range(steps):
        v = m.kernel @ v / np.linalg.norm(m.kernel @ v)
    return math.sqrt(v @ m.kernel @ v)


def _inverse(m: Measured, steps: int) -> float:
    v = np.random.default_rng(1).normal(size=len(m.kernel))
    for _ in range(steps):
        v = np.linalg.solve(m.kernel, v)
    return math.sqrt(v @ m.kernel @ v / (v @ v))


def _bound(radius: float, samples: slice = slice(None), ones: bool = False) -> float:
    """The honest upper bound for some of the rows, or without multiplicities."""
    problem = network().problem
    inputs, _, counts = merged(problem.inputs, problem.targets)
    counts = np.ones_like(counts) if ones else counts
    with ctx.workprec(PRECISION):
        net = Network(stages_of(problem.operations, problem.weights), exact(inputs[samples]),
                      counts[samples])  # fmt: skip
        return float(JacobianLipschitz(net).upper(radius).upper())


@cache
def _attacked() -> float:
    """A lower bound of the Lipschitz constant: the largest second derivative found."""
    m = _measured()
    tensor = m.root[:, None, None] * second_derivative(m.small)
    return attack(tensor, np.random.default_rng(0))


def _entrywise() -> float:
    m = _measured()
    return float(abs(second_derivative(m.small)).max())


def _along_a_line() -> float:
    m, step = _measured(), 1e-4
    rng = np.random.default_rng(2)
    moved = Problem(m.small.operations, dict(m.small.weights), m.small.inputs, m.small.targets)
    length = 0.0
    for operation in m.small.linear():
        for key in ("weight", "bias"):
            if operation[f"{key}_trainable"]:
                shift = step * rng.normal(size=m.small.weights[operation[key]].shape)
                moved.weights[operation[key]] = m.small.weights[operation[key]] + shift
                length += float((shift**2).sum())
    difference = m.root[:, None] * (jacobian(moved) - m.plain)
    return float(np.linalg.norm(difference, 2)) / math.sqrt(length)


BETAS: dict[str, Callable[[list[float], tuple[float, ...]], list[float]]] = {
    "one unit in the last place": lambda radii, b: [math.nextafter(x, 0) for x in b],
    "rounded down to single precision": lambda radii, b: [
        float(np.nextafter(np.float32(x), np.float32(0))) for x in b],
    "at the weights only, and rounded": lambda radii, b: [_bound(0.0) * (1 - 1e-12)] * len(b),
    "at half of the radius": lambda radii, b: [
        math.nextafter(_bound(x / 2), 0) for x in radii],
    "the strongest attack": lambda radii, b: [_attacked()] * len(b),
    "the largest entry of the second derivative": lambda radii, b: [_entrywise()] * len(b),
    "a difference quotient": lambda radii, b: [_along_a_line()] * len(b),
    "without multiplicities": lambda radii, b: [_bound(x, ones=True) for x in radii],
    "the first sample": lambda radii, b: [_bound(x, slice(0, 1)) for x in radii],
    "the last sample": lambda radii, b: [_bound(x, slice(-1, None)) for x in radii],
    "over root N": lambda radii, b: [x / math.sqrt(10) for x in b],
    "half": lambda radii, b: [x / 2 for x in b],
    "its root": lambda radii, b: [math.sqrt(x) for x in b],
    "the first radius is free": lambda radii, b: [b[0] * 1e-3, *b[1:]],
    "nearly zero": lambda radii, b: [1e-300] * len(b),
    "zero": lambda radii, b: [0.0] * len(b),
}  # fmt: skip


@cache
def _truth() -> AtStart:
    draft = network()
    return found(draft.problem, [radius for radius, _ in draft.profile])


def _told(claim: str, name: str) -> AtStart:
    truth = _truth()
    if claim == "sigma_min_lower":
        told = replace(truth, sigma=SIGMA[name](_measured()))
        genuine = told.sigma > truth.sigma * (1 + 1e-6)
    elif claim == "jacobian_norm_upper":
        told = replace(truth, jacobian=LARGEST[name](_measured()))
        genuine = told.jacobian < truth.jacobian * (1 - 1e-6)
    elif claim == "residual_norm_upper":
        told = replace(truth, r=RESIDUAL[name](_measured()))
        genuine = told.r < truth.r * (1 - 1e-6)
    else:
        radii = [radius for radius, _ in network().profile]
        told = replace(truth, betas=tuple(BETAS[name](radii, truth.betas)))
        genuine = any(a < b for a, b in zip(told.betas, truth.betas, strict=True))
    if not genuine:
        raise ValueError(f"the shortcut {name!r} is no lie")
    return told


def shortcuts(seed: int) -> Group:
    """One shortcut for one claim; the seed is not used."""
    del seed
    group = Group("shortcuts", {"": lambda: concluded(copied(network()))})
    tables: dict[str, dict[str, Any]] = {
        "sigma_min_lower": SIGMA, "jacobian_norm_upper": LARGEST,
        "residual_norm_upper": RESIDUAL, "jacobian_lipschitz_upper": BETAS,
    }  # fmt: skip
    for claim, table in tables.items():
        verdict = INCOMPLETE if claim == "jacobian_lipschitz_upper" else INVALID
        for name in table:
            make: Callable[[], Draft] = partial(
                planted, network, partial(_told, claim, name), claim
            )
            group.add(f"{claim}: {name}", make, SHOWN[claim], verdict)
    return group
