"""Parts of the bound for graphs: norms of blocks, pairs, tables, and how much is done at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from flint import arb
from tests.soundness.mutation import cases_graph_numbers as numbers
from tests.soundness.mutation.cases_kinds import bound, built, close
from tests.soundness.mutation.graph_models import MODELS
from tests.soundness.mutation.graph_numbers import DIRECTIONS, FORMED, Page
from tests.soundness.mutation.kind_numbers import least_unfolding, op
from tests.soundness.mutation.kind_numbers import patches as page_patches
from tests.soundness.mutation.materials import Build
from tests.soundness.mutation.registry import Checker, case, demand, precision, refused

Array = Any
REACH = "the norm of a matrix is beyond the reach of 64 bits"


@contextmanager
def instead(owner: Any, **values: Any) -> Any:
    """Other values for some names of a module, for a while."""
    kept = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(owner, name, value)


def _page(name: str) -> SimpleNamespace:
    return numbers._pages[name]


@case
def stacks_of_small_matrices(checker: Checker) -> None:
    module, exact = checker.graph_algebra, checker.arrays.exact
    rng = np.random.default_rng(0)
    with precision():
        x, y = rng.normal(size=(2, 3, 2, 4)), rng.normal(size=(2, 3, 4, 5))
        close(checker, module.products(exact(x), exact(y)), x @ y, "products")
        for some in (x, x[0], x[0, 0]):
            close(checker, module.grams(exact(some)), some @ np.swapaxes(some, -1, -2), "grams")
        for shape in ((2, 3, 3, 4), (2, 3, 4, 3), (2, 1, 5), (2, 5, 1), (3, 1, 1), (2, 2)):
            x = rng.normal(size=shape)
            found = module.operator_norms_upper(exact(x))
            wanted = np.linalg.norm(x, 2, axis=(-2, -1))
            bound(checker, found, wanted, f"norms of {shape}")
        found = module.stacked([arb(1), arb(2), arb(3), arb(4), arb(5), arb(6)], (2, 3))
        demand(checker.arrays.approx(found).tolist() == [[1, 2, 3], [4, 5, 6]], "stacked")
        demand(module.smaller(exact(np.array([1, 4])), exact(np.array([2, 3]))).tolist()
               == [arb(1), arb(3)], "smaller")  # fmt: skip
        for shape in ((2, 3, 1, 3, 4), (2, 3, 3, 1, 4), (2, 3, 3, 4, 1), (1, 2, 2, 1, 1),
                      (1, 2, 1, 1, 3), (2, 2, 2, 3, 4), (1, 2, 4, 2, 2), (1, 2, 3, 5, 2)):  # fmt: skip
            x = rng.normal(size=shape)
            found = module.unfolded_norms_upper(exact(x))
            wanted = [[least_unfolding(x[i, j]) for j in range(shape[1])] for i in range(shape[0])]
            bound(checker, found, np.array(wanted), f"unfolded {shape}")
        # Each of the three unfoldings is once by far the least.
        eye = np.eye(4)
        for axes in ("k,ab", "ka,b", "kb,a"):
            one, two = axes.split(",")
            # sum_j e_j (x) e_j over the pair of axes one: rank one in the others
            vector = np.ones((1, 1, 4))
            array = np.einsum("ij,k->ijk", eye, vector[0, 0])
            order = {"k,ab": (2, 0, 1), "ka,b": (0, 1, 2), "kb,a": (0, 2, 1)}[axes]
            x = np.transpose(array, order)[None, None]
            found = module.unfolded_norms_upper(exact(x))
            bound(checker, found, np.array([[least_unfolding(x[0, 0])]]), axes)


@case
def factors_of_semidefinite_matrices(checker: Checker) -> None:
    """S <= L L^T + missed, whatever LAPACK says."""
    module, arrays = checker.graph_algebra, checker.arrays
    rng = np.random.default_rng(1)
    with precision():
        x = rng.normal(size=(4, 3))
        for s in (x @ x.T, x.T @ x, np.zeros((2, 2)), np.diag([4.0, -1.0, 9.0])):
            root, missed = module.factor(arrays.exact(s))
            rest = s - arrays.approx(root) @ arrays.approx(root).T
            size = np.linalg.norm(rest)
            demand(float(missed) >= size * (1 - 1e-9) - 1e-14, "what is missed")
            demand(float(missed) <= size * (1 + 1e-9) + 1e-13, "what is missed")
            demand(size <= (1.001 if s.min() < 0 and len(s) == 3 and s[1, 1] < 0 else 1e-13),
                   "a bad factor")  # fmt: skip
        wide = arrays.exact(x.T @ x) + arb(0, 0.5)
        _, missed = module.factor(wide)
        demand(1.5 - 1e-9 <= float(missed.abs_upper()) <= 1.5 + 1e-7, missed)
        for odd in (arb.nan(), arb.pos_inf(), arb.neg_inf()):
            s = arrays.exact(np.eye(2))
            s[0, 0] = odd
            root, missed = module.factor(s)
            demand(not missed.is_finite(), missed)
            demand(all(entry.is_finite() for entry in root.ravel()), "the factor")
        s = x.T @ x
        for scale in (0.0, 0.25, 4.0):
            root, missed = _lying(
                "eigh", lambda true, f=scale: (f * true[0], true[1]),  # type: ignore[misc]
                lambda: module.factor(arrays.exact(s)),
            )  # fmt: skip
            rest = s - arrays.approx(root) @ arrays.approx(root).T
            size = np.linalg.norm(rest)
            demand(abs(float(missed) / size - 1) < 1e-9, "a lie of LAPACK is enclosed")


def _lying(name: str, change: Callable[[Any], Any], action: Callable[[], Any]) -> Any:
    """What an action does where LAPACK's answers are changed."""
    genuine = getattr(np.linalg, name)
    setattr(np.linalg, name, lambda *given: change(genuine(*given)))
    try:
        return action()
    finally:
        setattr(np.linalg, name, genuine)


SIZES = ((3, 3), (4, 2), (2, 5), (1, 3), (3, 1), (1, 1))


@case
def norms_of_blocks(checker: Checker) -> None:
    """One below the other, at every scale, with what the blocks themselves leave open."""
    module, arrays = checker.graph_norms, checker.arrays
    rng = np.random.default_rng(2)
    with precision():
        for scale in (1.0, 1e-200, 1e200, 3.0 * 2.0**-40, 7.0**11):
            for rows, columns in SIZES:
                parts = [scale * rng.normal(size=(rows, columns)) for _ in range(3)]
                found = module.union_norm_upper([module.block(arrays.exact(x)) for x in parts])
                wanted = op(np.concatenate(parts))
                demand(wanted * (1 - 1e-14) <= float(found) <= wanted * (1 + 1e-8), (rows, scale))
        small = np.diag([1.0, 1e-12, 1e-30])
        found = module.union_norm_upper([module.block(arrays.exact(small))])
        demand(1 <= float(found) <= 1 + 1e-8, found)
        found = module.union_norm_upper([module.block(arrays.exact(np.zeros((2, 3))))])
        demand(0 <= float(found) <= 1e-7, found)


@case
def blocks_that_are_wide(checker: Checker) -> None:
    module, arrays = checker.graph_norms, checker.arrays
    rng = np.random.default_rng(3)
    with precision():
        x, y = rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
        hint, miss = module.block(arrays.exact(x))
        demand((hint == x).all() and hint.dtype == np.float64 and miss == 0, "an exact block")
        third = arrays.exact(x) / 3
        hint, miss = module.block(third)
        demand((hint == x / 3).all() or np.abs(hint - x / 3).max() < 1e-16, "the hint")
        demand(0 < float(miss) < 1e-15, miss)
        _, miss = module.block(arrays.exact(x) + arb(0, 0.25))
        demand(abs(float(miss.abs_upper()) / (0.25 * 6**0.5) - 1) < 1e-7, miss)
        blocks = [module.block(arrays.exact(x) + arb(0, 0.25)),
                  module.block(arrays.exact(y) + arb(0, 0.5))]  # fmt: skip
        found = float(module.union_norm_upper(blocks).abs_upper())
        wanted = op(np.concatenate([x, y])) + (6 / 16 + 4 / 4) ** 0.5
        demand(wanted * (1 - 1e-9) <= found <= wanted * (1 + 1e-8), (found, wanted))
        for odd in (arb.nan(), arb.pos_inf()):
            matrix = arrays.exact(x)
            matrix[1, 1] = odd
            hint, miss = module.block(matrix)
            demand((hint == 0).all() and not miss.is_finite(), "nothing is known")


@case
def what_whole_numbers_miss(checker: Checker) -> None:
    """The digits, and a bound of what they leave over that is sound to the last part of a unit."""
    module, arrays = checker.graph_norms, checker.arrays
    rng = np.random.default_rng(7)
    seen: list[Array] = []

    def nothing(digits: Array) -> Any:
        seen.append(digits)
        return arb(0)

    whole = rng.integers(-1000, 1000, size=(5, 4)).astype(float)
    signed = rng.normal(size=(5, 4))
    full = np.full((8, 8), 1 / 3)
    with precision(), instead(module, _whole_norm_upper=nothing):
        for x in (signed, -abs(signed), whole, full, -full, np.array([[1 - 2.0**-30]]),
                  np.array([[1.0, 0.0]]), 1e-9 * rng.normal(size=(3, 3)),
                  np.array([[-1e200, -1e-150]]), np.array([[1e200, 0.0], [0.0, 1e200]]),
                  np.array([[1e-200, 0.0], [0.0, 1e-200]])):  # fmt: skip
            found = module.union_norm_upper([module.block(arrays.exact(x))])
            digits = seen.pop()
            demand(digits.dtype == np.int64, digits.dtype)
            size = op(digits.astype(float))
            demand(2**30 / 1.011 <= size < 2**31 / 1.009, f"digits of norm {size}")
            top = np.unravel_index(abs(x).argmax(), x.shape)
            exponent = round(np.log2(abs(digits[top]) / abs(x[top])))
            unit = arb(2) ** -exponent
            rest = [arb(one) / unit - int(two) for one, two in zip(x.ravel(), digits.ravel(), strict=True)]  # noqa: E501
            missed = sum((y * y for y in rest), arb(0)).sqrt()
            above = sum(((abs(y) + arb(1.5) / 65536) ** 2 for y in rest), arb(0)).sqrt()
            if all(y == 0 for y in rest):
                above = arb(x.size).sqrt() / 65536 * 1.0001
            demand(found / unit >= missed * (1 - 1e-20) and found / unit <= above, (x, found))


@case
def norms_of_blocks_and_lies(checker: Checker) -> None:
    """Whatever LAPACK says of the size, the bound holds, or there is none."""
    module, arrays, incomplete = checker.graph_norms, checker.arrays, checker.verdict.Incomplete
    x = np.random.default_rng(4).normal(size=(4, 3))
    with precision():
        block = module.block(arrays.exact(x))
        wanted = op(x)
        for factor in (1e-30, 1e-12, 1e-4, 0.5, 0.9, 1.5, 100.0, 1e8, 1e16, -1.0):
            try:
                found = _lying("eigvalsh", lambda true, f=factor: f * true,  # type: ignore[misc]
                               lambda: module.union_norm_upper([block]))  # fmt: skip
            except incomplete as error:
                demand(factor < 1 and REACH in str(error), f"{factor}: {error}")
            else:
                demand(float(found) >= wanted * (1 - 1e-14), (factor, found))
                if factor >= 1:
                    demand(float(found) <= 1.01 * wanted * factor, (factor, found))
        refused(lambda: _lying("eigvalsh", lambda true: 1e-30 * true,
                               lambda: module.union_norm_upper([block])), incomplete, REACH)  # fmt: skip


@case
def largest_eigenvalues(checker: Checker) -> None:
    module, arrays = checker.graph_norms, checker.arrays
    rng = np.random.default_rng(5)
    with precision():
        for scale in (1.0, 1e-200, 1e200, 3.0 * 2.0**-40, 7.0**11):
            for rows, columns in SIZES:
                x = rng.normal(size=(rows, columns))
                found = module.root_eigenvalue_upper(arrays.exact(x @ x.T) * arb(scale))
                wanted = op(x) * scale**0.5
                demand(wanted * (1 - 1e-14) <= float(found) <= wanted * (1 + 1e-7), (rows, scale))
        found = module.root_eigenvalue_upper(arrays.exact(np.zeros((2, 2))))
        demand(0 <= float(found) <= 1e-7, found)
        x = rng.normal(size=(3, 3))
        wide = arrays.exact(x @ x.T) + arb(0, 0.25)
        found, wanted = float(module.root_eigenvalue_upper(wide)), (op(x) ** 2 + 0.75) ** 0.5
        demand(wanted * (1 - 1e-9) <= found <= wanted * (1 + 1e-7), (found, wanted))
        # Only what is inside the balls counts, even where they hold no square.
        skew = x @ x.T + 1e-3 * np.triu(np.ones((3, 3)), 1)
        found = float(module.root_eigenvalue_upper(arrays.exact(skew)))
        demand(found >= float(np.linalg.eigvalsh(skew / 2 + skew.T / 2)[-1]) ** 0.5, found)
        # One column beside a multiple of the identity: its rows have small sums, its norm is large.
        skew = np.eye(20)
        skew[:-1, -1] += 1e-3
        found = float(module.root_eigenvalue_upper(arrays.exact(skew)))
        demand(found**2 >= float(np.linalg.eigvalsh(skew / 2 + skew.T / 2)[-1]), found)
        found = float(module.root_eigenvalue_upper(arrays.exact(np.diag([-16.0, 1.0]))))
        demand(1 <= found <= 1 + 1e-7, found)
        for odd in (arb.nan(), arb.pos_inf()):
            matrix = arrays.exact(x @ x.T)
            matrix[1, 1] = odd
            demand(not module.root_eigenvalue_upper(matrix).is_finite(), "nothing is known")
        square = x @ x.T
        for factor in (1e-30, 1e-9, 1e-4, 0.5, 0.999, 1.001, 2.0, 1e6, -1.0):
            try:
                found = _lying("eigvalsh", lambda true, f=factor: f * true,  # type: ignore[misc]
                               lambda: module.root_eigenvalue_upper(arrays.exact(square)))  # fmt: skip
            except checker.verdict.Incomplete as error:
                demand(REACH in str(error), error)
            else:
                demand(float(found) >= op(x) * (1 - 1e-14), (factor, found))


class _Probe:
    """Stands for the square of a factor, and looks at what it is taken from."""

    __array_ufunc__ = None

    def __init__(self) -> None:
        self.spread: Array = None

    def __rsub__(self, spread: Array) -> Array:
        self.spread = spread
        return spread


@case
def eigenvalues_in_whole_numbers(checker: Checker) -> None:
    module, arrays = checker.graph_norms, checker.arrays
    for x in (1.0, 3.0, 1e-5, 7.0**20):
        probe = _Probe()
        with precision(), instead(module, _gram=lambda root, p=probe: p):
            found = module.root_eigenvalue_upper(arrays.exact(np.array([[0.0, x], [x, 0.0]])))
        demand(probe.spread.dtype == np.int64, "whole numbers")
        top, digits = int(probe.spread[0, 0]), -int(probe.spread[0, 1])
        demand(2**57 < digits <= top < 2**61, (top, digits))
        unit = x / digits
        wanted = ((top + top + digits) * unit) ** 0.5
        demand(wanted * (1 - 1e-12) <= float(found) <= wanted * (1 + 1e-12), (x, found))


@case
def pairs_of_operations(checker: Checker) -> None:
    """Which maps are made, and along which directions."""
    module = checker.graph_pairs
    demand((module.FORMED, module.DIRECTIONS) == (FORMED, DIRECTIONS), "limits")
    with precision():
        for name in MODELS:
            page: Page = _page(name).start
            pairs = module.Pairs(numbers.network(checker, _page(name)))
            net = page.net
            demand(pairs.weighted == page.weighted and pairs.curved == page.curved, name)
            sizes = {a: net.size(a) for a in net.at}
            for a in net.at:
                demand(pairs.positions(a) == page.positions(a), f"positions {a}")
                demand(pairs.trained_numbers(a) == net.e[a].shape[2], f"numbers of {a}")
                demand(pairs.by_weight(a) == page.by_weight(a), f"directions {a}")
                most = page.k * sizes[a] * max(sizes.values())
                for limit, formed in ((most, True), (most - 1, page.k == 1)):
                    with instead(module, FORMED=limit):
                        demand(pairs.formed(a) is formed, f"formed {a}")
                few = -(-net.e[a].shape[2] // sizes[a])
                for limit, enough in ((few, True), (few - 1, False)):
                    with instead(module, DIRECTIONS=limit):
                        holds = enough and page.k == 1 and page.positions(a) > 1
                        demand(pairs.by_weight(a) is holds, f"directions {a}")
                for b in net.at:
                    demand(pairs.both(a, b) == page.both(a, b), f"S {a}, {b}")
                    multiplied = page.multiplied(a, b)
                    demand(pairs.multiplied(a, b) == multiplied, f"product {a}, {b}")
                    joined = bool(page.both(a, b)) or multiplied or page.multiplied(b, a)
                    demand(pairs.joined(a, b) == joined, f"joined {a}, {b}")
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
                    refused(lambda t=c: pairs.kind(t), TypeError,  # type: ignore[misc]
                            "the operation has no second derivative")  # fmt: skip


@case
def operations_by_index(checker: Checker) -> None:
    with precision():
        net = numbers.network(checker, _page("residual"))
        demand(net.kind(1).words().startswith("linear") and net.parametric(1) is net.kind(1), "1")
        refused(lambda: net.kind(0), IndexError, "index 0 is the input")
        for t in (0, 3):
            refused(lambda x=t: net.parametric(x), TypeError, "the operation has no weights")  # type: ignore[misc]
        demand(all(x == 0 for x in checker.graph.zeros(3)), "zeros")
        demand(checker.graph.zeros(3).shape == (3,), "zeros")


@case
def few_maps_for_large_values(checker: Checker) -> None:
    """2 * 190 * 190 > 2^16: the first bound alone, and the table is that bound."""
    b = Build(np.random.default_rng(0), [3])
    b.linear(b.act(b.linear(0, 3, 190, bias=False)), 190, 2, bias=False)
    model = b.model(1, 2)
    at = SimpleNamespace(model=model, counts=np.array([2]), frame=None)
    with precision():
        base = checker.graph_lipschitz.GraphLipschitz(numbers.network(checker, at))
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
def first_bounds_of_pairs(checker: Checker) -> None:
    """What is asked of the rows, and the least of what comes back."""
    rng = np.random.default_rng(6)
    with precision():
        for name in ("residual", "pictures", "two_gates", "images", "words", "partly", "bridged"):
            at = _page(name)
            page: Page = at.moved
            base = checker.graph_lipschitz.GraphLipschitz(numbers.network(checker, at))
            ball = checker.graph_lipschitz._OnBall(base, arb(at.radius))
            for place, a in enumerate(page.net.at):
                for b in page.net.at[place:]:
                    _first(checker, ball, page, a, b)
                    _entry(checker, ball, page, a, b, rng)


def _first(checker: Checker, ball: Any, page: Page, a: int, b: int) -> None:
    jobs: dict[int, list[Any]] = {t: [] for t in page.net.at}
    ball._first(a, b, jobs)
    wanted: dict[tuple[str, int, int], Array] = {}
    if page.k > 1:
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


def _entry(checker: Checker, ball: Any, page: Page, a: int, b: int, rng: Any) -> None:
    """The least of several bounds, each of them the least one once."""
    maps = [pair for pair in page.pairs() if pair in ((a, b), (b, a))]
    keys = [("map", *pair) for pair in maps]
    curved, product = bool(page.both(a, b)), page.multiplied(a, b)
    if page.k > 1 and curved:
        keys += [("curvature", a, b), *([("curvature", b, a)] if a != b else [])]
    if page.k > 1 and product:
        keys.append(("product", a, b))
    for large in (None, *keys):
        given = {key: rng.uniform(1, 2) + (9 if key == large else 0) for key in keys}
        bounds = []
        for one, two in maps:
            value = given["map", one, two]
            if page.by_weight(one):
                value += page.maps[one, two] + page.drift(one, page.rough(one, two))
            bounds.append(value)
        if page.k > 1 and (curved or product):
            ends = [given[key] for key in keys if key[0] == "curvature"]
            bounds.append(min(ends, default=0.0) + given.get(("product", a, b), 0.0))
        wanted = min(bounds, default=0.0)
        found = float(ball._entry(a, b, {key: arb(x) for key, x in given.items()}))
        demand(wanted * (1 - 1e-5) - 1e-7 <= found <= wanted * (1 + 1e-4) + 1e-7,
               (a, b, large, found, wanted))  # fmt: skip


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
                q = np.stack([page_patches(at.item, one, at.weights) for one in x])
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
                        one, two = _lying(
                            "eigh", lambda true, f=scale: (f * true[0], true[1]),  # type: ignore[misc]
                            lambda t=x, of=left: module.coupled_norms_upper(
                                kind, exact(of), exact(t)
                            ),
                        )  # fmt: skip
                    demand(counted == ([] if rows <= 2 * width else [width**2]), counted)
                    demand(one.shape == two.shape == (2,), "one number for each")
                    found = np.sqrt(approx(one) ** 2 + approx(two) * size**2)
                    demand((found >= wanted * (1 - 1e-9)).all(), f"{name}: {found} < {wanted}")
                    if scale == 1:
                        demand((found <= wanted * (1 + 1e-6)).all(), f"{name}: {found} > {wanted}")
    demand(ways == {True, False} and equal, "both ways, and where they meet")


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


@case
def samples_in_parts(checker: Checker) -> None:
    """The same numbers where only some samples are held at a time."""
    for name in ("pictures", "images", "words", "residual", "attention"):
        at = _page(name)
        page: Page = at.start
        with precision():
            net = numbers.network(checker, at)
            for chunk in (1, 3000, 200000):
                with instead(checker.graph_forms, CHUNK=chunk), instead(
                    checker.graph_start, CHUNK=chunk
                ):
                    start = checker.graph_start.Start(net)
                for key, wanted in page.maps.items():
                    by = start.maps.by_weight if page.by_weight(key[0]) else start.maps.by_value
                    found = np.asarray(by[key], dtype=object)
                    bound(checker, found, wanted, f"map {key}", 1e-5, 1e-5, 1e-7)
                for key, found in start.omega.items():
                    bound(checker, found, page.omega[key], f"omega {key}", 1e-6, 1e-9)
                for key, found in start.nu.items():
                    bound(checker, found, page.nu[key], f"nu {key}", 1e-6, 1e-7)


@case
def numbers_held_at_once(checker: Checker) -> None:
    module, incomplete = checker.graph, checker.verdict.Incomplete
    demand(module.BALLS == 50_000_000, module.BALLS)
    demand(checker.graph_forms.CHUNK == checker.graph_start.CHUNK == 2_000_000, "chunks")
    demand(checker.graph_norms.FRACTION == 65536, "parts of a unit")
    module.bounded(50_000_000)
    words = "this checker handles at most 50000000 numbers at once"
    refused(lambda: module.bounded(50_000_001), incomplete, words)
    for name in ("pictures", "images", "words", "tokens", "scenes", "two_gates", "tied"):
        for wanted, counted in _work(checker, name):
            demand(counted == wanted, f"{name}: {counted}, not {wanted}")


def _work(checker: Checker, name: str) -> list[tuple[Any, Any]]:
    """What should be counted, and what is."""
    at = _page(name)
    page: Page = at.start
    counted: dict[str, list[int]] = {"graph": [], "graph_forms": [], "graph_start": []}
    for part, found in counted.items():
        getattr(checker, part)  # imported
    with precision():
        with instead(checker.graph, bounded=counted["graph"].append):
            net = numbers.network(checker, at)
        with (
            instead(checker.graph_forms, bounded=counted["graph_forms"].append),
            instead(checker.graph_start, bounded=counted["graph_start"].append),
        ):
            checker.graph_start.Start(net)
    dense, n, k = page.net, page.n, page.k
    size, work = dense.size, [0, *(kind.work for kind in net.graph.kinds)]
    indices = range(1, dense.last + 1)
    first = [n * sum(size(t) * (1 + k) + work[t] for t in indices),
             n * len(dense.at) * (dense.last + 1)]  # fmt: skip
    uses: dict[str, list[int]] = {}
    for t in dense.at:
        for trained in dense.trains[t].values():
            uses.setdefault(trained, []).append(t)
    for trained, readers in uses.items():
        alone = all(len(uses[x]) == 1 for x in dense.trains[readers[0]].values())
        flat = dense.values[readers[0]].ndim == 2 and dense.items[readers[0]]["kind"] == "linear"
        if not (alone and flat):
            first.append(n * k * page.model.weights[trained].size)
    result = [(first, counted["graph"])]
    largest = max(size(t) + work[t] for t in indices)
    forms = []
    for a in dense.at:
        ends = sorted(two for one, two in page.maps if one == a)
        if not ends:
            continue
        numbers_of, own = dense.e[a].shape[2], size(a)
        groups = page.weights[a]["weight"].size if dense.items[a]["kind"] in (
            "affine", "shift") else dense.items[a].get("groups", 1)  # fmt: skip
        narrow = page.by_weight(a) and (numbers_of <= own or groups > 1)
        columns = numbers_of if narrow else own
        kept = {dense.reads[b][0] for b in ends if page.multiplied(a, b)}
        kept |= {e for c in page.curved if c in dense.reached[a] for e in dense.reads[c]}
        cost = columns * k * (sum(map(size, kept)) + sum(map(size, ends)) + largest)
        forms.append(max(cost, columns**2, numbers_of**2 * page.by_weight(a)))
        for b in ends:
            if page.multiplied(a, b):
                forms += n * [size(dense.reads[b][0]) ** 2]
    result.append((sorted(forms), sorted(counted["graph_forms"])))
    if k > 1:
        held = {dense.reads[b][0] for b in page.weighted}
        held |= {e for c in page.curved for e in dense.reads[c]}
        cost = sum(
            size(a) * (
                sum(size(e) for e in held if e in dense.reached[a])
                + max(size(t) + work[t] for t in dense.reached[a])
            )
            for a in dense.at
        )  # fmt: skip
        result.append((cost, counted["graph_start"][0]))
        demand(set(counted["graph_start"][1:]) <= {size(e) ** 2 for e in held}, "Phi")
    else:
        result.append(([], counted["graph_start"]))
    return result
