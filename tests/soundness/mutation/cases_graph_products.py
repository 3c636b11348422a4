"""What products of weights need of w0: balances, omega, and norms of coupled patches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from tests.soundness.mutation.cases_kinds import built
from tests.soundness.mutation.comparison import bound, instead, lying
from tests.soundness.mutation.kind_numbers import patches
from tests.soundness.mutation.registry import Checker, case, demand, precision


@case
def balance_of_two_factors(checker: Checker) -> None:
    """|P_Y| / |P_X| over all that reach them; 1 where that is no positive number."""
    rng = np.random.default_rng(8)
    one, two, more = rng.normal(size=(3, 4, 2, 2, 3))
    one[1], more[1], two[2], one[3], more[3], two[3] = 0, 0, 0, 0, 0, 0
    found = [{1: one, 2: two}, {1: more}, {7: one}]
    exact = [{t: checker.arrays.exact(x) for t, x in part.items()} for part in found]
    start = SimpleNamespace(net=SimpleNamespace(reads={5: (1, 2), 6: (1,)}))
    tau = checker.graph_start.Start._tau(start, 5, exact, np.s_[2:6])
    x = np.sqrt((one**2).sum((1, 2, 3)) + (more**2).sum((1, 2, 3)))
    y = np.linalg.norm(two.reshape(4, -1), axis=1)
    near = checker.arrays.approx(tau)
    demand(abs(near[0] - y[0] / x[0]) < 1e-14 and near[1:].tolist() == [1, 1, 1], tau)
    demand(all(t.is_exact() for t in tau), "a factor is exact")
    tau = checker.graph_start.Start._tau(start, 6, exact, np.s_[2:6])
    demand(checker.arrays.approx(tau).tolist() == [1, 1, 1, 1], tau)


@case
def weights_of_products(checker: Checker) -> None:
    """omega: the smaller one of two bounds, with what their factors leave over."""
    module, exact = checker.graph_start, checker.arrays.exact
    alpha, norms = np.array([0.5, 2.0, 1.0, 1.5]), np.array([3.0, 0.25, 2.0, 1.25])
    missed, more = np.array([0.25, 0.5, 0.0, 0.125]), np.array([0.0, 0.75, 0.5, 0.25])
    moved, part = np.array([0.5, 0.25, 9.0, 1.0]), np.s_[1:5]
    pad = lambda x: exact(np.concatenate([[7.0], x, [7.0]]))  # noqa: E731
    left = exact(np.ones((6, 2, 3, 4)))
    given: list[Any] = []

    def coupled(kind: Any, of: Any, tangents: Any) -> Any:
        given.append((kind, of, tangents))
        return exact(moved), exact(more)

    for overlap in (1, 3):
        kind = SimpleNamespace(overlap=overlap)
        start = SimpleNamespace(
            net=SimpleNamespace(parametric={5: kind}.__getitem__), alpha={5: pad(alpha)},
            coupling={5: (left, pad(missed))},
        )  # fmt: skip
        first = overlap**0.5 * alpha * norms
        second = np.sqrt(moved**2 + (missed * overlap + more) * norms**2)
        demand((first < second).any() and (second < first).any(), "both are the smaller one once")
        with precision(), instead(module, coupled_norms_upper=coupled):
            found = module.Start._product(start, 5, "tangents", exact(norms), part)
            bound(checker, found, np.minimum(first, second), "omega")
            demand(given[-1][0] is kind and given[-1][1].shape == (4, 2, 3, 4), "the part")
            start.coupling = {5: None}
            found = module.Start._product(start, 5, "tangents", exact(norms), part)
            bound(checker, found, first, "omega by alpha")


@case
def norms_of_coupled_patches(checker: Checker) -> None:
    """|(L_g q_g(P x))_g|, row by row and by the matrix Phi; its factor may be a bad one."""
    module, exact = checker.graph_start, checker.arrays.exact
    approx, rng = checker.arrays.approx, np.random.default_rng(9)
    ways, equal = set(), False
    for name in ("convolution", "convolution, sparse", "convolution, one axis", "linear, rows",
                 "affine, inside", "affine, two axes"):  # fmt: skip
        with precision():
            kind, at = built(checker, name)
            shape = at.xs[0].shape[1:]
            for r in (1, 2, 4, 9, 40):
                x = rng.normal(size=(2, 3, *shape))
                q = np.stack([patches(at.item, one, at.weights) for one in x])
                groups, positions = q.shape[2:4]  # (m, columns, groups, P, c)
                left = rng.normal(size=(2, groups, r, positions))
                seen = np.einsum("mgrp,mkgpc->mkgrc", left, q).reshape(2, 3, -1)
                wanted = np.linalg.norm(seen, 2, axis=(1, 2))
                size = np.linalg.norm(x.reshape(2, 3, -1), 2, axis=(1, 2))
                width = x[0, 0].size
                rows = groups * r * q.shape[4]
                ways.add(rows <= 2 * width)
                equal = equal or rows == 2 * width
                for scale in (1.0, 0.25):
                    counted: list[int] = []
                    with instead(module, bounded=counted.append):
                        one, two = lying(
                            "eigh", lambda true, f=scale: (f * true[0], true[1]),  # type: ignore[misc]
                            lambda k=kind, t=x, of=left: module.coupled_norms_upper(  # type: ignore[misc]
                                k, exact(of), exact(t)
                            ),
                        )  # fmt: skip
                    demand(counted == ([] if rows <= 2 * width else [width**2]), counted)
                    demand(one.shape == two.shape == (2,), "one number for each")
                    found = np.sqrt(approx(one) ** 2 + approx(two) * size**2)
                    demand((found >= wanted * (1 - 1e-9)).all(), f"{name}: {found} < {wanted}")
                    if scale == 1:
                        demand((found <= wanted * (1 + 1e-6)).all(), f"{name}: {found} > {wanted}")
    demand(ways == {True, False} and equal, "both ways, and where they meet")
