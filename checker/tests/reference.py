"""Naive floating-point twins: the explicit Jacobian, its derivative, and the formulas of B3."""

from __future__ import annotations

from typing import Any

import numpy as np
from generator import Array, Problem, activation


def flat_weights(problem: Problem) -> Array:
    return np.concatenate([array.ravel() for array in _trained(problem).values()])


def _trained(problem: Problem) -> dict[str, Array]:
    names = []
    for operation in problem.linear():
        names += [operation["weight"]] * operation["weight_trainable"]
        names += [operation["bias"]] * operation["bias_trainable"]
    return {name: problem.weights[name] for name in names}


def at(problem: Problem, flat: Array) -> Problem:
    """The same problem with other trained weights."""
    weights, position = dict(problem.weights), 0
    for name, array in _trained(problem).items():
        weights[name] = flat[position : position + array.size].reshape(array.shape)
        position += array.size
    return Problem(problem.operations, weights, problem.inputs, problem.targets)


def jacobian(problem: Problem) -> Array:
    """(n k, p)."""
    taken, cotangents = problem.forward()
    parts = []
    for operation, h, g in zip(problem.linear(), taken, cotangents, strict=True):
        n, k, d = g.shape
        if operation["weight_trainable"]:
            parts.append(np.einsum("ikd,ij->ikdj", g, h).reshape(n * k, -1))
        if operation["bias_trainable"]:
            parts.append(g.reshape(n * k, d))
    return np.concatenate(parts, axis=1)


def second_derivative(problem: Problem, step: float = 1e-4) -> Array:
    """(n k, p, p) by central differences of the Jacobian."""
    w = flat_weights(problem)
    columns = []
    for direction in np.eye(len(w)):
        ahead = jacobian(at(problem, w + step * direction))
        behind = jacobian(at(problem, w - step * direction))
        columns.append((ahead - behind) / (2 * step))
    return np.stack(columns, axis=1)


def attack(tensor: Array, rng: np.random.Generator, starts: int = 6) -> float:
    """The largest u^T D2F[delta, v] found by alternating maximisation."""
    best = 0.0
    if abs(tensor).max() < 1e-6:  # no curvature: only the noise of the differences
        return best
    for _ in range(starts):
        u, v = rng.normal(size=tensor.shape[0]), rng.normal(size=tensor.shape[2])
        for _ in range(60):
            u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
            delta = np.einsum("i,ijk,k->j", u, tensor, v)
            delta /= np.linalg.norm(delta)
            v = np.einsum("i,ijk,j->k", u, tensor, delta)
            u = np.einsum("ijk,j,k->i", tensor, delta, v / np.linalg.norm(v))
        best = max(best, float(np.linalg.norm(u)))
    return best


def _second(name: str, x: Array, p: dict[str, float]) -> Array:
    h = 1e-5
    return (activation(name, x + h, p)[1] - activation(name, x - h, p)[1]) / (2 * h)


def lipschitz(problem: Problem, multiplicity: Array, radius: float) -> float:
    """B3 for chains linear, activation, ..., linear: every norm dense, every range sampled."""
    linear = problem.linear()
    depth, n = len(linear), len(problem.inputs)
    names: list[tuple[str, dict[str, float]] | None] = [None] * (depth + 1)
    stage = 0
    for operation in problem.operations:
        stage += operation["kind"] == "linear"
        if operation["kind"] == "elementwise":
            names[stage] = (operation["function"], operation["parameters"])
    curved = [name is not None and name[0] != "identity" for name in names]
    op = lambda matrix: np.linalg.norm(matrix, 2)  # noqa: E731

    w: list[Any] = [None] + [problem.weights[o["weight"]] for o in linear]
    tw = [0] + [int(o["weight_trainable"]) for o in linear]
    tb = [0] + [int(o["bias_trainable"]) for o in linear]
    omega = [0.0] + [op(m) for m in w[1:]]
    grid = np.linspace(-1, 1, 801) if radius else np.zeros(1)
    h, d1, d2, top1, top2 = [problem.inputs], [0], [0], [0], [0]
    rows, zeta, eta, hat, eps = [0], [0], [np.zeros(n)], [0], [0]
    for c in range(1, depth + 1):
        bias = linear[c - 1]["bias"]
        z = h[-1] @ w[c].T + (problem.weights[bias] if bias else 0)
        ones = np.ones((n, 1))
        rows.append(np.concatenate([h[-1]] * tw[c] + [ones] * tb[c] or [ones * 0], axis=1))
        hat.append(np.sqrt(tw[c] * (np.linalg.norm(h[-1], axis=1) + eta[-1]) ** 2 + tb[c]))
        zeta.append(omega[c] * eta[-1] + radius * hat[c])
        wide = z[None] + grid[:, None, None] * zeta[c][None, :, None]
        if names[c] is None:
            value, slope, bend = z, np.ones_like(z), np.zeros_like(z)
            far1, far2 = slope, bend
        else:
            name, p = names[c]  # type: ignore[misc]
            (value, slope), bend = activation(name, z, p), _second(name, z, p)
            far1 = abs(activation(name, wide, p)[1]).max(0)
            far2 = abs(_second(name, wide, p)).max(0)
        h.append(value)
        d1.append(slope)
        d2.append(bend)
        top1.append(far1)
        top2.append(far2)
        eta.append(far1.max(1) * zeta[c])
        eps.append(far2.max(1) * zeta[c])
    k = h[-1].shape[1]
    gh: list[Any] = [None] * depth + [np.sqrt(multiplicity)[:, None, None] * np.eye(k)]
    g: list[Any] = [None] * (depth + 1)
    for c in range(depth, 0, -1):
        g[c] = gh[c] * d1[c][:, None, :]
        gh[c - 1] = g[c] @ w[c]
    gamma: list[Any] = [None] * (depth + 1)
    gammah: list[Any] = [None] * depth + [np.zeros(n)]
    for c in range(depth, 0, -1):
        gamma[c] = gammah[c] * top1[c].max(1) + np.array([op(m) for m in gh[c]]) * eps[c]
        gammah[c - 1] = gamma[c] * (omega[c] + radius * tw[c])
        gammah[c - 1] = gammah[c - 1] + np.array([op(m) for m in g[c]]) * radius * tw[c]
    s0 = [None] + [abs(d2[c]) * np.linalg.norm(gh[c], axis=1) for c in range(1, depth + 1)]
    s = [None] + [
        top2[c] * (np.linalg.norm(gh[c], axis=1) + gammah[c][:, None]) for c in range(1, depth + 1)
    ]

    def p0(c: int, a: int, i: int) -> Array:
        if c == a:
            return np.eye(len(w[a]))
        return w[c] @ (d1[c - 1][i][:, None] * p0(c - 1, a, i))

    b0 = {(c, a): np.array([op(d1[c][i][:, None] * p0(c, a, i)) for i in range(n)])
          for c in range(1, depth + 1) for a in range(1, c + 1)}  # fmt: skip
    q, p, pi = {}, {}, {}
    for a in range(1, depth + 1):
        for c in range(a, depth + 1):
            if c == a:
                p[c, a], pi[c, a] = np.zeros(n), np.ones(n)
            else:
                move = radius * tw[c]
                p[c, a] = (omega[c] + move) * q[c - 1, a] + move * b0[c - 1, a]
                pi[c, a] = omega[c] * b0[c - 1, a]
            q[c, a] = top1[c].max(1) * p[c, a] + eps[c] * pi[c, a]

    def nu(a: int, b: int) -> Array:
        if a == b and not any(curved[b + 1 :]):
            return np.sqrt(s[b].max(1))
        result = np.zeros(n)
        for i in range(n):
            gram = sum(
                p0(c, a, i).T @ (s0[c][i][:, None] * p0(c, a, i)) for c in range(b, depth + 1)
            )
            grown = np.linalg.eigvalsh(gram)[-1] + sum(
                np.maximum(s[c][i] - s0[c][i], 0).max() * pi[c, a][i] ** 2
                for c in range(b, depth + 1)
            )
            moved = sum(s[c][i].max() * p[c, a][i] ** 2 for c in range(b, depth + 1))
            result[i] = np.sqrt(max(grown, 0)) + np.sqrt(moved)
        return result

    def norm(weights: Array, a: int) -> float:
        return op(weights[:, None] * rows[a]) + tw[a] * np.sqrt(
            (weights**2 * eta[a - 1] ** 2).sum()
        )

    gn = [None] + [np.array([op(m) for m in g[c]]) + gamma[c] for c in range(1, depth + 1)]

    def sigma(a: int) -> Array:
        return np.array([norm(gn[a + 1] * top1[a][:, j], a) for j in range(len(w[a]))])

    def tau(a: int) -> Array:
        change, size = tw[a] * eta[a - 1], np.linalg.norm(rows[a], axis=1)
        crossed = np.outer(change, size)
        theta = (abs(rows[a] @ rows[a].T) + crossed + crossed.T + np.outer(change, change)) ** 2
        return np.array([
            min(
                norm(s[a][:, j] * hat[a], a),
                np.sqrt(op(s[a][:, j, None] * theta * s[a][:, j])),
            )
            for j in range(len(w[a]))
        ])  # fmt: skip

    trained = [c for c in range(1, depth + 1) if tw[c] or tb[c]]
    if len(trained) == 2 and trained[1] == trained[0] + 1:
        a, b = trained
        if tw[b] and not any(curved[b:]):
            return float(((tau(a) + np.sqrt(tau(a) ** 2 + 4 * sigma(a) ** 2)) / 2).max())
    table = np.zeros((depth + 1, depth + 1))
    for b in trained:
        for a in (c for c in trained if c <= b):
            entry = 0.0
            if a < b and tw[b]:
                entry = max(sigma(a)) if a == b - 1 else norm(
                    gn[b] * (b0[b - 1, a] + q[b - 1, a]), a
                )  # fmt: skip
            if a == b and not any(curved[b + 1 :]):
                entry += max(tau(b))
            else:
                both = nu(b, b) * nu(a, b)
                entry += min(norm(both * hat[b], a), norm(both * hat[a], b))
            table[a, b] = table[b, a] = entry
    return float(op(table))
