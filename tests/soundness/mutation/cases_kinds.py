"""Every operation of a graph alone, from both sides against theory page B6 in NumPy."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from flint import arb
from tests.soundness.mutation import kind_numbers as page
from tests.soundness.mutation.comparison import bound, close, instead
from tests.soundness.mutation.kind_examples import KINDS
from tests.soundness.mutation.materials import apply
from tests.soundness.mutation.registry import Checker, add, case, demand, precision, refused

Array = Any
SAMPLES, OUTPUTS, COLUMNS = 3, 2, 4


_data: dict[str, SimpleNamespace] = {}


def prepare() -> None:
    """Random inputs, and everything that the page says of them."""
    for seed, (name, (item, shapes, arrays, trains, _, _)) in enumerate(KINDS.items()):
        _data[name] = _numbers(np.random.default_rng(seed), item, shapes, arrays, trains)


def _is_curved(item: Any) -> bool:
    curved = (*page.BILINEAR, "softmax", "normalize", "elementwise")
    return item["kind"] in curved and item.get("function") != "identity"


def _numbers(rng: Any, item: Any, shapes: Any, arrays: Any, trains: Any) -> SimpleNamespace:
    weights = {key: rng.uniform(0.3, 1.5, size) for key, size in arrays.items()}
    if item["kind"] != "standardize":
        weights = {key: w * rng.choice([-1, 1], w.shape) for key, w in weights.items()}
    bound = item | {key: key for key in arrays}
    if item["kind"] == "embedding":
        xs = [rng.integers(0, arrays["weight"][0], size=(SAMPLES, *shapes[0])).astype(float)]
        xs[0][0].ravel()[:2] = xs[0][0].ravel()[1]  # one of them twice
    else:
        xs = [rng.normal(size=(SAMPLES, *shape)) for shape in shapes]
    value = apply(bound, xs, weights)
    at = SimpleNamespace(item=bound, xs=xs, weights=weights, value=value, shape=value.shape[1:])
    at.g = rng.normal(size=(SAMPLES, OUTPUTS, *at.shape))
    at.tangents = [rng.normal(size=(SAMPLES, COLUMNS, *shape)) for shape in shapes]
    at.d = page.derivatives(bound, xs, weights)
    at.etas = [rng.uniform(0.05, 0.1, SAMPLES) for _ in shapes]
    at.tau, at.gamma = rng.uniform(0.3, 3, SAMPLES), rng.uniform(0.1, 1, SAMPLES)
    at.radius = 0.375
    at.moved = page.motion(bound, xs, weights, trains, at.etas, at.radius)
    if _is_curved(item):
        at.curved = page.curvature(
            bound, xs, at.g, at.tau, at.tangents, at.gamma, at.moved, at.etas
        )
        tensor = page.second(bound, xs, weights)
        form = np.einsum("ikt,itab->ikab", at.g.reshape(SAMPLES, OUTPUTS, -1), tensor)
        at.bends, at.roots = [], []
        for absent in (None, 0, 1) if len(shapes) > 1 else (None,):
            given = [None if slot == absent else x for slot, x in enumerate(at.tangents)]
            found = page.curvature(bound, xs, at.g, at.tau, given, at.gamma, at.moved, at.etas)
            at.roots.append((given, found.root))
            flat = [
                x.reshape(SAMPLES, COLUMNS, -1) * (slot != absent)
                for slot, x in enumerate(at.tangents)
            ]
            bent = np.einsum("ikab,ima->ikmb", form, np.concatenate(flat, axis=2))
            ends = np.cumsum([x.shape[2] for x in flat])[:-1]
            parts = [
                part.reshape(SAMPLES, OUTPUTS, COLUMNS, *shape)
                for part, shape in zip(np.split(bent, ends, axis=3), shapes, strict=True)
            ]
            at.bends.append((absent, parts))
    if arrays and item["kind"] != "standardize":
        _parametric(at, bound, trains)
    return at


def _parametric(at: SimpleNamespace, item: Any, trains: Any) -> None:
    x, weights = at.xs[0], at.weights
    at.overlap = page.overlap(item, x, weights)
    at.patches = page.patches(item, x, weights)
    at.unfolded = page.unfolded(item, at.g, weights)
    flat = at.g.reshape(SAMPLES, OUTPUTS, -1)
    at.gradients = {key: flat @ page.by_weight(item, x, weights, key) for key in weights}
    blocks = np.moveaxis(at.unfolded, 2, 1)  # (n, groups, k, o, P)
    at.alpha = np.array([max(map(page.least_unfolding, one)) for one in blocks])
    merged = blocks.reshape(*blocks.shape[:2], -1, blocks.shape[-1])
    at.coupling = np.swapaxes(merged, 2, 3) @ merged
    at.lines = min(merged.shape[2:])
    if any(trains.values()):
        at.rows = page.rows(item, x, weights, trains)
        at.each = np.array([max(map(page.op, one)) for one in at.rows])
        at.weightings = [np.array([0.5, 2.0, 1.25]), np.array([1.0, 0.0, 3.0])]
        at.norms = [
            max(
                page.op((w[:, None, None] * at.rows[:, g]).reshape(-1, at.rows.shape[3]))
                for g in range(at.rows.shape[1])
            )
            for w in at.weightings
        ]  # fmt: skip


def built(checker: Checker, name: str) -> tuple[Any, SimpleNamespace]:
    """The operation as the checker makes it, with its weights, and the numbers."""
    item, shapes, arrays, trains, _, _ = KINDS[name]
    at, exact = _data[name], checker.arrays.exact
    stated = {
        key: value.hex() if isinstance(value, float) else value for key, value in item.items()
    }
    if "parameters" in item:
        stated["parameters"] = {key: x.hex() for key, x in item["parameters"].items()}
    kind = checker.kinds().KINDS[item["kind"]](stated, shapes, arrays)
    if arrays:
        kind.assign({key: f"array {key}" for key in arrays}, trains, [])
        kind.load({f"array {key}": exact(value) for key, value in at.weights.items()})
    return kind, at


def _facts(name: str, checker: Checker) -> None:
    item, shapes, arrays, _, words, work = KINDS[name]
    kind, at = built(checker, name)
    demand(kind.words() == words, kind.words())
    demand(kind.shape == at.shape and kind.shapes == list(shapes), (kind.shape, kind.shapes))
    demand(kind.work == work, f"work {kind.work}, not {work}")
    demand(kind.curved is hasattr(at, "curved"), "whether it is curved")
    keys = {"kind", *arrays, *(f"{key}_trainable" for key in arrays)}
    if item["kind"] in ("linear", "convolution", "affine"):
        keys |= {"bias", "bias_trainable"}
    if item["kind"] == "standardize":
        keys -= {"weight_trainable", "bias_trainable"}
    demand({"kind", *kind.keys} == keys | set(item), kind.keys)
    stored = {"weight"} if item["kind"] in ("shift", "embedding") else {"weight", "bias"}
    demand(set(kind.stored) == (stored if arrays else set()), kind.stored)
    several = item["kind"] in ("sum", "concatenate")
    demand(kind.slots == (None if several else len(shapes)), kind.slots)


def _first_order(name: str, checker: Checker) -> None:
    """Values, derivatives in both directions, and how far they move."""
    exact, close_ = checker.arrays.exact, partial(close, checker)
    with precision():
        kind, at = built(checker, name)
        value, state = kind.run([exact(x) for x in at.xs])
        close_(value, at.value, "value")
        for slot, (x, d) in enumerate(zip(at.tangents, at.d, strict=True)):
            if at.item["kind"] == "embedding":
                break
            flat = x.reshape(SAMPLES, COLUMNS, -1) @ np.swapaxes(d, 1, 2)
            found = kind.push(state, slot, exact(x))
            close_(found, flat.reshape(SAMPLES, COLUMNS, *at.shape), "push")
            found = kind.pull(state, slot, exact(at.g))
            flat = at.g.reshape(SAMPLES, OUTPUTS, -1) @ d
            close_(found, flat.reshape(SAMPLES, OUTPUTS, *at.xs[slot].shape[1:]), "pull")
        stretches = kind.stretches(state)
        demand(len(stretches) == len(at.xs), "one stretch for each slot")
        for found, wanted in zip(stretches, at.moved.stretch, strict=True):
            bound(checker, found, wanted, "stretch")
        _moves(checker, kind, at, state)


def _moves(checker: Checker, kind: Any, at: SimpleNamespace, state: Any) -> None:
    exact = checker.arrays.exact
    trains = getattr(kind, "trained", [])
    above = 1e-5 if at.item["kind"] == "elementwise" else 1e-7
    below = 1e-9 if at.item["kind"] == "elementwise" else 1e-12
    eta, deltas, _ = kind.drift(state, [exact(eta) for eta in at.etas], arb(at.radius))
    bound(checker, eta, at.moved.eta, "eta", above, below)
    demand(len(deltas) == len(at.etas), "one Delta for each slot")
    for found, wanted in zip(deltas, at.moved.delta, strict=True):
        still = kind.__class__.__name__ == "Standardize" or (at.weights and not trains)
        bound(checker, found, wanted, "Delta", above, below if not still else 1.0)
    if at.item["kind"] not in (*page.BILINEAR, "concatenate"):  # some samples may stand still
        for still in (0, 1):
            share = np.array([still, 1, 1 - still])
            moved, _, _ = kind.drift(state, [exact(share * eta) for eta in at.etas], arb(0))
            whole, _, _ = kind.drift(state, [exact(eta) for eta in at.etas], arb(0))
            close(checker, moved, share * checker.arrays.approx(whole), "with samples at rest")
    zero = [exact(0 * eta) for eta in at.etas]
    eta, deltas, _ = kind.drift(state, zero, arb(at.radius))
    wanted = at.radius * at.each if trains else np.zeros(SAMPLES)
    bound(checker, eta, wanted, "eta of the weights alone")


def _second_order(name: str, checker: Checker) -> None:
    exact = checker.arrays.exact
    with precision():
        kind, at = built(checker, name)
        _, state = kind.run([exact(x) for x in at.xs])
        form = kind.form(state, exact(at.g))
        tangents = [exact(x) for x in at.tangents]
        slope = 1e-7 if at.item["kind"] not in ("elementwise",) else 1e-5
        for given, wanted in at.roots:
            given = [None if x is None else exact(x) for x in given]
            found = kind.root(state, form, exact(at.tau), given)
            close(checker, found, wanted, "root", slope)
        below, above = (1e-7, 1e-5) if at.item["kind"] == "elementwise" else (1e-12, 1e-7)
        bound(checker, kind.size(state, form), at.curved.size, "size", above, below)
        _, _, ball = kind.drift(state, [exact(eta) for eta in at.etas], arb(0))
        found = kind.growth(state, form, exact(at.gamma), ball)
        bound(checker, found, at.curved.growth, "growth", above, below)
        for absent, parts in at.bends:
            given = [None if slot == absent else x for slot, x in enumerate(tangents)]
            bends = kind.bend(state, exact(at.g), given)
            demand(len(bends) == len(parts), "one bend for each slot")
            for found, part in zip(bends, parts, strict=True):
                if found is None:
                    demand(np.abs(part).max() < 1e-6, "a bend is missing")
                else:
                    close(checker, found, part, "bend", 1e-6)
                    demand(np.abs(part).max() > 1e-6, "a bend is zero")


def _of_weights(name: str, checker: Checker) -> None:
    """What trained arrays multiply, and what the products need of their cotangents."""
    exact, approx = checker.arrays.exact, checker.arrays.approx
    with precision():
        kind, at = built(checker, name)
        x, g = exact(at.xs[0]), exact(at.g)
        demand(kind.overlap == at.overlap, f"overlap {kind.overlap}, not {at.overlap}")
        close(checker, kind.patches(x), at.patches, "patches")
        close(checker, kind.unfolded(g), at.unfolded, "unfolded cotangents")
        for key, wanted in at.gradients.items():
            close(checker, kind.gradient(key, x, g), wanted, f"gradient by the {key}")
        bound(checker, kind.sensitivities(g), at.alpha, "alpha")
        slack = math.sqrt(at.overlap) * kind.trains["weight"]
        bound(checker, np.array(kind.slack), np.array(slack), "t^W m")
        _, state = kind.run([x])
        if kind.trained:
            close(checker, kind.extended(x), at.rows, "rows")
            rows = kind.rows(x)
            if at.item["kind"] != "embedding":
                demand(rows.few is (at.rows.shape[3] <= 2), "whether Gram matrices are enough")
            for each in (rows.each(), kind.remembered(x)[0], state[0]):
                bound(checker, each, at.each, "norms of the rows")
            norms = rows.norms_upper([exact(w) for w in at.weightings])
            bound(checker, np.array(norms, dtype=object), np.array(at.norms), "weighted rows")
            demand(all(isinstance(norm, arb) for norm in norms), "no numbers")
        else:
            demand(state == () and kind.remembered(x) == (), "nothing trains")
        coupling = kind.coupling(g)
        if at.unfolded.shape[4] == 1:
            demand(coupling is None, "one position")
            return
        left, missed = coupling
        demand(left.shape == (*at.coupling.shape[:2], at.lines, at.coupling.shape[3]), left.shape)
        square = np.swapaxes(approx(left), 2, 3) @ approx(left)
        error = np.abs(square - at.coupling).max()
        demand(error <= 1e-12 * np.abs(at.coupling).max(), f"coupling differs by {error}")
        if OUTPUTS * at.unfolded.shape[3] <= at.unfolded.shape[4]:  # as it is, without a factor
            demand(all(m == 0 for m in missed), "nothing is missed")
        demand(missed.shape == (SAMPLES,) and (approx(missed) < 1e-12).all(), "what is missed")
        rest = at.coupling - square  # the factor is that of binary64: its rounding is enclosed
        norms = np.linalg.norm(rest.reshape(SAMPLES, -1), axis=1)
        demand(all(bool(m >= 0) for m in missed) and norms.max() < 1e-11, "what is missed")


@case
def entrywise_ranges_in_parts(checker: Checker) -> None:
    """As many samples at a time as one likes."""
    with precision():
        kind, at = built(checker, "tanh")
        module = checker.kinds("pointwise")
        _, state = kind.run([checker.arrays.exact(x) for x in at.xs])
        demand(module.ROWS == checker.activations.ROWS, "rows at a time")
        for rows in (1, 2, 3, 4):
            with instead(module, ROWS=rows):
                _moves(checker, kind, at, state)


@case
def slopes_that_are_negative(checker: Checker) -> None:
    """Their magnitude counts."""
    item = {"kind": "elementwise", "function": "sin", "parameters": {}}
    z = np.array([[3.0, 1.0, 2.0], [0.5, 2.875, 1.0]])
    with precision():
        kind = checker.kinds().KINDS["elementwise"](item, [(3,)], {})
        _, state = kind.run([checker.arrays.exact(z)])
        bound(checker, kind.stretches(state)[0], abs(np.cos(z)).max(1), "stretch")
        eta, _, _ = kind.drift(state, [checker.arrays.exact(np.array([0.0625, 0.125]))], arb(0))
        wanted = np.array([0.0625 * abs(np.cos(3.0625)), 0.125 * abs(np.cos(3.0))])
        bound(checker, eta, wanted, "eta")


@case
def convolutions_as_matrices(checker: Checker) -> None:
    """Their size is limited, and the norm is not made where nothing moves."""
    module, incomplete = checker.kinds("convolution"), checker.verdict.Incomplete
    demand(module.DENSE == 50_000_000, module.DENSE)
    words = "a convolution, written as a matrix, needs more than {} numbers"
    with precision():
        for name, most in (("convolution, one axis", 10 * 28), ("convolution, wide", 4 * 24)):
            for limit in (most, most - 1):
                kind, at = built(checker, name)
                with instead(module, DENSE=limit):
                    _, state = kind.run([checker.arrays.exact(x) for x in at.xs])
                    zero = [checker.arrays.exact(0 * at.etas[0])]
                    eta, _, _ = kind.drift(state, zero, arb(at.radius))
                    bound(checker, eta, at.radius * at.each, "eta of the weights alone")
                    if limit == most:
                        bound(checker, kind.stretch(), np.array(at.moved.stretch[0][0]), "stretch")
                    else:
                        refused(kind.stretch, incomplete, words.format(limit))


for _name, _entry in KINDS.items():
    add(f"kind: {_name}", partial(_facts, _name))
    add(f"kind, first order: {_name}", partial(_first_order, _name))
    if _entry[2] and _entry[0]["kind"] != "standardize":
        add(f"kind, weights: {_name}", partial(_of_weights, _name))
    elif _is_curved(_entry[0]):
        add(f"kind, second order: {_name}", partial(_second_order, _name))
