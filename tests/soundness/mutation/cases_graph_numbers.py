"""Whole graphs, number by number, from both sides against theory page B6 in NumPy."""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from flint import arb
from tests.soundness.mutation.comparison import bound, close, instead
from tests.soundness.mutation.graph_models import MODELS, flat
from tests.soundness.mutation.graph_numbers import COLUMN_DIRECTIONS, ORDER, ROW_DIRECTIONS, Page
from tests.soundness.mutation.materials import Model, table
from tests.soundness.mutation.registry import Checker, add, demand, precision

RADII = {"norms": 0.01, "tokens": 0.002, "words": 0.001, "unit": 1.0}
COUNTS = np.array([1, 3, 2, 1])
FRAMES = {  # rows are orthonormal
    "gated_by_data": np.array([[0.6, -0.8]]),
    "scenes": np.array([[2.0, -1.0, 2.0], [1.0, -2.0, -2.0]]) / 3,
    "attention": np.array([[0.6, -0.8]]),
}
_pages: dict[str, SimpleNamespace] = {}


def prepare() -> None:
    """The references."""
    for name, make in MODELS.items():
        model = make()
        counts, radius = COUNTS[: len(model.inputs)], RADII.get(name, 0.05)
        start = Page(model, counts)
        tables = [(x, table(model, counts, x)) for x in (0.0, radius)]
        _pages[name] = _page(model, counts, radius, start, tables)
    for name, frame in FRAMES.items():
        of = _pages[name]
        start = Page(of.model, of.counts, frame)
        _pages[f"{name}, frame"] = _page(of.model, of.counts, of.radius, start, [])


def _page(model: Model, counts: Any, radius: float, start: Page, tables: Any) -> SimpleNamespace:
    start.motion(0.0)
    moved = copy.copy(start)
    moved.motion(radius)
    return SimpleNamespace(
        model=model, counts=counts, radius=radius, start=start, moved=moved, tables=tables,
        frame=None if len(start.frame) == start.k else start.frame,
    )  # fmt: skip


def page_of(name: str) -> SimpleNamespace:
    """The references of a graph, made by `prepare`."""
    return _pages[name]


def network(checker: Checker, at: SimpleNamespace) -> Any:
    """As the checker builds it from the file."""
    model, frame = at.model, at.frame
    stored = checker.file.StoredArray
    arrays = {
        name: stored("F64", array.shape, array.astype("<f8").tobytes())
        for name, array in model.weights.items()
    }
    stated = {"samples": len(model.inputs), "outputs": model.targets.shape[1],
              "parameters": model.parameters()}  # fmt: skip
    made = checker.graph_grammar.graph(model.tree(), arrays, stated)
    frame = None if frame is None else checker.arrays.exact(frame)
    return checker.graph.GraphNetwork(made, model.weights, flat(model), at.counts, frame)


def _start(name: str, checker: Checker) -> None:
    """Values, cotangents, the kernel, and who reaches whom."""
    at = _pages[name]
    with precision():
        net = network(checker, at)
        page, dense = at.start, at.start.net
        demand((net.at, net.reached) == (dense.at, dense.reached), "what is reached")
        demand(net.moves == dense.moves and net.samples == page.n, "what moves")
        for t, (found, wanted) in enumerate(zip(net.values, dense.values, strict=True)):
            close(checker, found, wanted.astype(float), f"value {t}")
        demand(set(net.g) == dense.moves, "cotangents")
        for t, found in net.g.items():
            close(checker, found.reshape(page.g[t].shape), page.g[t], f"cotangent {t}", 1e-11)
            demand(found.shape[2:] == net.values[t].shape[1:], "shape of a cotangent")
        wanted = page.kernel()
        for step in (None, 1, 2 * page.k):
            again = network(checker, at)  # parts of blocks are kept
            found = again.kernel() if step is None else again.kernel(step)
            close(checker, found, wanted, f"kernel, block {step}", 1e-11)
        for a in net.at:
            for kept in (sorted(net.reached[a]), [net.last], [a], []):
                found = net.tangents(a, np.s_[0 : page.n], kept)
                demand(list(found) == [t for t in kept if t in net.reached[a]], "kept tangents")
                for t, x in found.items():
                    x = np.swapaxes(x.reshape(*x.shape[:2], -1), 1, 2)
                    close(checker, x, np.array(dense.p[a][t]), f"tangents {t} from {a}", 1e-11)


def _ball(name: str, checker: Checker) -> None:
    """Norms at w0, and what moves on the ball."""
    at = _pages[name]
    with precision():
        net = network(checker, at)
        base = checker.graph_lipschitz.GraphLipschitz(net)
        start, sizes = base.start, base.sizes
        page = at.start
        demand(start.weighted == page.weighted and start.curved == page.curved, "pairs")
        demand(sizes.order == page.order, "order")
        for b, wanted in page.alpha.items():
            bound(checker, start.alpha[b], wanted, f"alpha {b}")
        for c, wanted in page.bend.items():
            bound(checker, start.sizes[c], wanted.size, f"size {c}", 1e-6, 1e-7)
        for a, hats in page.hat.items():
            demand(set(sizes.hat[a]) == set(hats), "hats")
            for t, wanted in hats.items():
                bound(checker, sizes.hat[a][t], wanted, f"hat {t} from {a}")
        for t in page.order:
            reads = any(e in page.net.moves for e in page.net.reads[t])
            demand(len(sizes.stretch[t]) == len(page.net.reads[t]) * reads, "stretches")
            norm = page.each(lambda i, t=t: np.linalg.norm(page.g[t][i], 2))
            bound(checker, sizes.g_norm(t), norm, f"|G| {t}")
        for page, radius in ((at.start, 0.0), (at.moved, at.radius)):
            _motions(checker, checker.graph_lipschitz._OnBall(base, arb(radius)), page)
            for _ in page.limits(checker.graph_pairs):
                again = checker.graph_lipschitz.GraphLipschitz(net)
                _pairs(checker, checker.graph_lipschitz._OnBall(again, arb(radius)), page)


def _motions(checker: Checker, ball: Any, page: Page) -> None:
    close_ = partial(bound, checker, above=1e-4, below=1e-7, tiny=1e-10)
    for t in page.order:
        close_(ball.eta[t], page.eta[t], f"eta {t}")
        for found, wanted in zip(ball.delta[t], page.delta[t], strict=True):
            close_(found, wanted, f"Delta {t}")
        close_(ball.gamma[t], page.gamma[t], f"gamma {t}")
    for a, pis in page.pi.items():
        demand(set(ball.pi[a]) == set(pis), "pi")
        for t, wanted in pis.items():
            close_(ball.pi[a][t], wanted, f"pi {t} from {a}")
        close_(ball._size(a), page.size(a), f"rows {a}")
        for c in page.curved:
            if c in page.net.reached[a]:
                hat, pi = ball._at(c, a)
                close_(hat, page.at_curved(page.hat[a], c), f"hat of {c} from {a}")
                close_(pi, page.at_curved(pis, c), f"pi of {c} from {a}")
    demand(set(ball.growth) == set(page.curved), "growths")
    for c in page.curved:
        close_(ball.growth[c], page.bend[c].growth, f"growth {c}")


def _pairs(checker: Checker, ball: Any, page: Page) -> None:
    """What pairs of operations gain on the ball."""
    close_ = partial(bound, checker, above=1e-4, below=1e-7, tiny=1e-10)
    weights = np.array([0.5, 2.0, 1.25, 1.0])[: page.n]
    for a in page.net.at:
        found = ball._drift(a, checker.arrays.exact(weights))
        close_(np.array(found), np.array(page.drift(a, weights)), f"drift {a}")
        for b in page.net.at:
            close_(ball._growth(a, b), page.growth(a, b), f"growth {a}, {b}")
            close_(ball._bent(a, b), page.bent(a, b), f"curvature {a}, {b}")
            close_(ball._rough(a, b), page.rough(a, b), f"rough size {a}, {b}")
            close_(ball._change(a, b), page.change(a, b), f"change {a}, {b}")
            if page.multiplied(a, b):
                close_(ball._turned(b, a), page.turned(b, a), f"product {a}, {b}")
            if page.factored(min(a, b), max(a, b)) and page.both(a, b):
                s = page.both(a, b)
                wanted = page.nu[a, s] * page.nu[b, s] + page.growth(a, b)
                close_(ball._curvature(a, b), wanted, f"curvature of {a}, {b}")


def _maps(name: str, checker: Checker) -> None:
    """omega, nu and the maps, with fewer and fewer of these."""
    at = _pages[name]
    page = at.start
    with precision():
        net = network(checker, at)
        for _ in page.limits(checker.graph_pairs):
            start = checker.graph_start.Start(net)
            demand((set(start.omega), set(start.nu)) == page.products(), "omega and nu")
            for key, found in start.omega.items():
                bound(checker, found, page.omega[key], f"omega {key}", 1e-6, 1e-9)
            for key, found in start.nu.items():
                bound(checker, found, page.nu[key], f"nu {key}", 1e-6, 1e-7)
            by_weight = {pair for pair in page.maps if page.by_weight(pair[0])}
            demand(set(start.maps.by_weight) == by_weight, "maps by weight")
            demand(set(start.maps.by_value) == set(page.maps) - by_weight, "maps by value")
            _by_rows(checker, start.maps.by_rows, page, ROW_DIRECTIONS)
            _by_columns(checker, start.maps.by_columns, page, COLUMN_DIRECTIONS, ORDER)
            for found in (start.maps.by_weight, start.maps.by_value):
                for key, value in found.items():
                    wanted = page.maps[key]
                    if wanted.max() < 1e-7:  # a form that is zero
                        wanted = 0 * wanted
                        demand(all(x < 1e-7 for x in np.atleast_1d(value)), f"map {key}")
                    else:
                        value = np.asarray(value, dtype=object)
                        bound(checker, value, wanted, f"map {key}", 1e-5, 1e-5)


def _by_rows(checker: Checker, found: Any, page: Page, most: int) -> None:
    """Whole forms by directions of the rows."""
    demand(set(found) == {pair for pair in page.maps if page.split(pair[0])}, "maps by rows")
    for (a, b), value in found.items():
        wanted = page.by_rows(a, b, most)
        if wanted < 1e-7:
            demand(value < 1e-7, f"rows {a}, {b}")
        else:
            value = np.asarray(value, dtype=object)
            bound(checker, value, np.array(wanted), f"rows {a}, {b}", 1e-5, 1e-5)


def _by_columns(checker: Checker, found: Any, page: Page, most: int, order: int) -> None:
    """Forms of pairs by directions of the columns."""
    wanted = {pair for pair in page.maps if page.columned(*pair, order)}
    demand(set(found) == wanted, "maps by columns")
    for (a, b), value in found.items():
        bounded = page.by_columns(a, b, most, order)
        if bounded < 1e-7:
            demand(value < 1e-7, f"columns {a}, {b}")
        else:
            value = np.asarray(value, dtype=object)
            bound(checker, value, np.array(bounded), f"columns {a}, {b}", 1e-5, 1e-5)


def _columns(name: str, checker: Checker) -> None:
    """The same with fewer directions than there are, and with samples in parts."""
    at = _pages[name]
    with precision():
        net = network(checker, at)
        for most, order, chunk in ((1, 256, 2_000_000), (2, 256, 1), (3, 256, 3000), (9, 4, 1)):
            with (
                instead(checker.graph_columns, DIRECTIONS=most, ORDER=order),
                instead(checker.graph_pairs, ORDER=order),
                instead(checker.graph_forms, CHUNK=chunk),
            ):
                start = checker.graph_start.Start(net)
            _by_columns(checker, start.maps.by_columns, at.start, most, order)


def _rows(name: str, checker: Checker) -> None:
    """The same with fewer directions than the rows have, and with samples in parts."""
    at = _pages[name]
    with precision():
        net = network(checker, at)
        for most, chunk in ((1, 2_000_000), (2, 1), (3, 3000)):
            with (
                instead(checker.graph_rows, DIRECTIONS=most),
                instead(checker.graph_forms, CHUNK=chunk),
            ):
                start = checker.graph_start.Start(net)
            _by_rows(checker, start.maps.by_rows, at.start, most)


def _tables(name: str, checker: Checker) -> None:
    at = _pages[name]
    with precision():
        base = checker.graph_lipschitz.GraphLipschitz(network(checker, at))
        for radius, wanted in at.tables:
            ball = checker.graph_lipschitz._OnBall(base, arb(radius))
            found = checker.arrays.approx(ball.table())
            demand(found.shape == wanted.shape, "shape of the table")
            demand((found >= wanted * (1 - 1e-6) - 1e-8).all(), f"T too small: {found}, {wanted}")
            demand((found <= wanted * (1 + 1e-4) + 1e-8).all(), f"T too large: {found}, {wanted}")
            norm = np.linalg.norm(wanted, 2)
            for beta in (float(ball.beta()), float(base.upper(radius))):
                demand(norm * (1 - 1e-6) <= beta <= norm * (1 + 1e-4) + 1e-8, (beta, norm))


for _name in (*MODELS, *(f"{_name}, frame" for _name in FRAMES)):
    add(f"graph, start: {_name}", partial(_start, _name))
    add(f"graph, ball: {_name}", partial(_ball, _name))
    add(f"graph, maps: {_name}", partial(_maps, _name))
    add(f"graph, rows: {_name}", partial(_rows, _name))
    add(f"graph, columns: {_name}", partial(_columns, _name))
    if _name in MODELS:
        add(f"graph, table: {_name}", partial(_tables, _name))
