"""Pairs of trained operations: which bounds they have, the least of them, and the rows of T."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from flint import arb
from tests.soundness.mutation.cases_graph_numbers import network, page_of
from tests.soundness.mutation.comparison import bound, instead
from tests.soundness.mutation.graph_models import MODELS
from tests.soundness.mutation.graph_numbers import COLUMN_DIRECTIONS, ORDER, ROW_DIRECTIONS, Page
from tests.soundness.mutation.materials import Build
from tests.soundness.mutation.registry import Checker, add, case, demand, precision, refused

Array = Any


def _pairs(name: str, checker: Checker) -> None:
    """Which maps are made, and along which directions."""
    module = checker.graph_pairs
    with precision():
        page: Page = page_of(name).start
        pairs = module.Pairs(network(checker, page_of(name)))
        net = page.net
        demand(pairs.weighted == page.weighted and pairs.curved == page.curved, name)
        sizes = {a: net.size(a) for a in net.at}
        for a in net.at:
            demand(pairs.positions(a) == page.positions(a), f"positions {a}")
            demand(pairs.trained_numbers(a) == net.e[a].shape[2], f"numbers of {a}")
            demand(pairs.by_weight(a) == page.by_weight(a), f"directions {a}")
            demand(pairs.narrow(a) is page.narrow(a), f"tangents {a}")
            most = page.k * page.columns(a) * max(sizes.values())
            for limit, formed in ((most, True), (most - 1, page.k == 1)):
                with instead(module, FORMED=limit):
                    demand(pairs.formed(a) is formed, f"formed {a}")
            few = -(-net.e[a].shape[2] // sizes[a])
            for limit, enough in ((few, True), (few - 1, False)):
                with instead(module, DIRECTIONS=limit):
                    holds = enough and page.positions(a) > 1
                    demand(pairs.by_weight(a) is holds, f"directions {a}")
            for b in net.at:
                demand(pairs.both(a, b) == page.both(a, b), f"S {a}, {b}")
                multiplied = page.multiplied(a, b)
                demand(pairs.multiplied(a, b) == multiplied, f"product {a}, {b}")
                joined = bool(page.both(a, b)) or multiplied or page.multiplied(b, a)
                demand(pairs.joined(a, b) == joined, f"joined {a}, {b}")
                height = net.size(b) // page.positions(b)
                for limit in (ORDER, height, height - 1):
                    with instead(module, ORDER=limit):
                        holds = page.columned(a, b, limit)
                        demand(pairs.columned(a, b) is holds, f"columns {a}, {b}, {limit}")
        for _ in page.limits(module):
            for place, a in enumerate(net.at):
                for b in net.at[place:]:
                    demand(pairs.factored(a, b) is page.factored(a, b), f"products {a}, {b}")
        made = [
            pair for place, a in enumerate(net.at) for b in net.at[place:]
            for pair in pairs.maps(a, b)
        ]  # fmt: skip
        demand(made == page.pairs(), f"maps of {name}: {made}")
        for c in range(net.last + 1):
            kind = pairs.net.kinds[c]
            if kind is not None and hasattr(kind, "form"):
                demand(pairs.kind(c) is kind, c)
            else:
                refused(lambda p=pairs, t=c: p.kind(t), TypeError,  # type: ignore[misc]
                        "the operation has no second derivative")  # fmt: skip


for _name in MODELS:
    add(f"graph, pairs: {_name}", partial(_pairs, _name))


@case
def operations_by_index(checker: Checker) -> None:
    with precision():
        net = network(checker, page_of("residual"))
        demand(net.kind(1).words().startswith("linear") and net.parametric(1) is net.kind(1), "1")
        refused(lambda: net.kind(0), IndexError, "index 0 is the input")
        for t in (0, 3):
            refused(lambda x=t: net.parametric(x), TypeError, "the operation has no weights")  # type: ignore[misc]
        demand(all(x == 0 for x in checker.graph.zeros(3)), "zeros")
        demand(checker.graph.zeros(3).shape == (3,), "zeros")


@case
def few_maps_for_large_values(checker: Checker) -> None:
    """2 * 190 * 190 > 2^16, were that the limit: the first bound alone, and the table is that."""
    b = Build(np.random.default_rng(0), [3])
    b.linear(b.act(b.linear(0, 3, 190, bias=False)), 190, 2, bias=False)
    model = b.model(1, 2)
    at = SimpleNamespace(model=model, counts=np.array([2]), frame=None)
    with precision(), instead(checker.graph_pairs, FORMED=2**16):
        base = checker.graph_lipschitz.GraphLipschitz(network(checker, at))
        demand(base.start.pairs.maps(1, 3) == [] and base.start.pairs.maps(3, 3) == [], "no maps")
        demand(base.start.maps.by_value == {} and base.start.maps.by_weight == {}, "no maps")
        found = checker.arrays.approx(checker.graph_lipschitz._OnBall(base, arb(0)).table())
    x, w, v = model.inputs[0], model.weights["weights/0.weight"], model.weights["weights/2.weight"]
    t = np.tanh(w @ x)
    root = 2**0.5
    curved = root * (np.linalg.norm(v, axis=0) * abs(2 * t * (1 - t**2))).max() * (x @ x)
    product = root * np.linalg.norm(x) * abs(1 - t**2).max()
    wanted = np.array([[curved, product], [product, 0]])
    demand((found >= wanted * (1 - 1e-9)).all(), f"{found} below {wanted}")
    demand((found <= wanted * (1 + 1e-6)).all(), f"{found} above {wanted}")


@case
def rows_that_are_split(checker: Checker) -> None:
    """As many entries as the limit, no embedding, one position in one group."""
    module = checker.graph_pairs
    with precision():
        for name in ("residual", "pictures", "words"):
            at = page_of(name)
            pairs = module.Pairs(network(checker, at))
            for a in at.start.net.at:
                size, split = at.start.net.size(a), at.start.split(a)
                demand(pairs.split(a) is split, f"{name} {a}")
                for limit, few in ((size, True), (size - 1, False)):
                    with instead(module, COLUMNS=limit):
                        demand(pairs.split(a) is (split and few), f"{name} {a}, {limit}")
                plain = at.start.items[a]["kind"] != "embedding"
                for positions, groups in ((1, 1), (1, 2), (2, 1), (2, 2)):
                    with instead(
                        pairs, positions=lambda _, p=positions: p, groups=lambda _, g=groups: g
                    ):
                        one = positions == groups == 1
                        demand(pairs.split(a) is (plain and one), f"{positions}, {groups}")


@case
def first_bounds_of_pairs(checker: Checker) -> None:
    """What is asked of the rows, and the least of what comes back."""
    rng = np.random.default_rng(6)
    with precision():
        for name in ("residual", "pictures", "two_gates", "images", "words", "partly", "bridged"):
            at = page_of(name)
            page: Page = at.moved
            net = network(checker, at)
            for _ in page.limits(checker.graph_pairs):
                base = checker.graph_lipschitz.GraphLipschitz(net)
                ball = checker.graph_lipschitz._OnBall(base, arb(at.radius))
                for place, a in enumerate(page.net.at):
                    for b in page.net.at[place:]:
                        _first(checker, ball, page, a, b)
                        _entry(checker, ball, page, a, b, rng)


def _first(checker: Checker, ball: Any, page: Page, a: int, b: int) -> None:
    jobs: dict[int, list[Any]] = {t: [] for t in page.net.at}
    ball._first(a, b, jobs)
    wanted: dict[tuple[str, int, int], Array] = {}
    if page.factored(a, b):
        if page.multiplied(a, b):
            wanted["product", a, b] = page.omega[b, a] + page.turned(b, a)
        if page.both(a, b):
            s = page.both(a, b)
            curvature = page.nu[a, s] * page.nu[b, s] + page.growth(a, b)
            wanted["curvature", a, b] = curvature * page.size(b)
            wanted["curvature", b, a] = curvature * page.size(a)
    found = {key: (of, weights) for of, listed in jobs.items() for weights, key in listed}
    demand(sum(map(len, jobs.values())) == len(found) and set(found) == set(wanted), found.keys())
    for key, (of, weights) in found.items():
        demand(of == key[1], "the rows of another operation")
        bound(checker, weights, wanted[key], str(key), 1e-4, 1e-7, 1e-10)


def _wholes(page: Page, a: int, b: int) -> list[float]:
    """The bounds at w0 of all samples together."""
    found = [float(page.maps[a, b])] if page.by_weight(a) else []
    if page.split(a):
        found.append(page.by_rows(a, b, ROW_DIRECTIONS))
    if page.columned(a, b):
        found.append(page.by_columns(a, b, COLUMN_DIRECTIONS))
    return found


def _entry(checker: Checker, ball: Any, page: Page, a: int, b: int, rng: Any) -> None:
    """The least of several bounds, each of them the least one once."""
    maps = [pair for pair in page.pairs() if pair in ((a, b), (b, a))]
    keys = [("map", *pair) for pair in maps if not page.by_weight(pair[0])]
    keys += [("rest", *pair) for pair in maps if _wholes(page, *pair)]
    curved, product = bool(page.both(a, b)), page.multiplied(a, b)
    factored = page.factored(a, b)
    if factored and curved:
        keys += [("curvature", a, b), *([("curvature", b, a)] if a != b else [])]
    if factored and product:
        keys.append(("product", a, b))
    for large in (None, *keys):
        given = {key: rng.uniform(1, 2) + (9 if key == large else 0) for key in keys}
        bounds = []
        for one, two in maps:
            if not page.by_weight(one):
                bounds.append(given["map", one, two])
            for whole in _wholes(page, one, two):
                drift = page.drift(one, page.rough(one, two))
                bounds.append(given["rest", one, two] + whole + drift)
        if factored:
            ends = [given[key] for key in keys if key[0] == "curvature"]
            bounds.append(min(ends, default=0.0) + given.get(("product", a, b), 0.0))
        wanted = min(bounds, default=0.0)
        found = float(ball._entry(a, b, {key: arb(x) for key, x in given.items()}))
        demand(wanted * (1 - 1e-5) - 1e-7 <= found <= wanted * (1 + 1e-4) + 1e-7,
               (a, b, large, found, wanted))  # fmt: skip


@case
def rows_of_the_table(checker: Checker) -> None:
    """One row for all that are linked by trained arrays, however late the link."""
    for layers in (
        [["a"], ["b"], ["c"]], [["a", "b"], ["a", "c"], ["d"]], [["a"], ["b"], ["a", "b"]],
        [["a"], ["b"], ["c"], ["b", "c"], ["a", "d"], ["d", "c"]], [["a"], ["b"], ["b"], ["a"]],
        [["a"], ["b"], ["c"], ["d"], ["a", "c"], ["e"], ["b", "d"], ["d", "c"]],
        [["a"], ["a"], ["a"], ["b"], ["b", "c"], ["c"]],
    ):  # fmt: skip
        at = [2 * t + 1 for t in range(len(layers))]
        kinds = {
            t: SimpleNamespace(
                names={"weight": names[0], "bias": names[-1], "more": "frozen"},
                trained=["weight", "bias"],
            )
            for t, names in zip(at, layers, strict=True)
        }  # fmt: skip
        net = SimpleNamespace(at=at, parametric=kinds.__getitem__)
        found = checker.graph_lipschitz._rows_of_table(net)
        groups = [{t} | set(names) for t, names in zip(at, layers, strict=True)]
        for _ in groups:  # until nothing is linked any more
            for one in groups:
                for two in groups:
                    if one & two:
                        one |= two
        wanted = [frozenset(x for x in one if isinstance(x, int)) for one in groups]
        made: dict[int, set[int]] = {}
        for t, row in found.items():
            made.setdefault(row, set()).add(t)
        demand({frozenset(s) for s in made.values()} == set(wanted), (layers, found))
        demand(list(found) == at, found)
        demand(all(row == max(at.index(t) for t in s) for row, s in made.items()), found)
