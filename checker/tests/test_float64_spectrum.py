"""Kernel, eigenvalues and operator norms in binary64 against Arb and exact rationals."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx
from generator import chain

from talweg_check import _float64_norms as norms
from talweg_check import _float64_spectrum as spectrum
from talweg_check._arrays import PRECISION, exact
from talweg_check._float64 import MidRad
from talweg_check._float64_check import spectrum_doubts
from talweg_check._float64_network import Network64
from talweg_check._float64_network import stages_of as stages64
from talweg_check._float64_spectrum import Kernel64
from talweg_check._network import Network, stages_of

CASES: dict[str, tuple[list[int], dict[str, Any]]] = {
    "one output": ([3, 6, 1], {}),
    "three outputs": ([3, 5, 3], {}),
    "no bias": ([3, 6, 1], {"bias": False}),
    "first layer only": ([3, 6, 2], {"frozen": ("2.weight", "2.bias")}),
    "last bias only": ([3, 6, 2], {"frozen": ("0.weight", "0.bias", "2.weight")}),
    "three layers": ([3, 4, 5, 2], {}),
}
COUNTS = np.array([1, 3, 1, 2, 4, 1, 1])


@pytest.fixture(autouse=True)
def _precision():  # type: ignore[no-untyped-def]
    with ctx.workprec(PRECISION):
        yield


def _networks(name: str, scale: float = 2.0, inner: int = 1) -> tuple[Network64, Network]:
    widths, options = CASES[name]
    widths = [width * inner for width in widths[:-1]] + widths[-1:]
    rng = np.random.default_rng(0)
    operations, weights = chain(rng, widths, "tanh", **options)
    weights = {key: scale * value for key, value in weights.items()}
    inputs = rng.normal(size=(len(COUNTS), widths[0]))
    mine = Network64(stages64(operations, weights), inputs, COUNTS)
    return mine, Network(stages_of(operations, weights), exact(inputs), COUNTS)


def _encloses(ball: MidRad, balls: Any) -> bool:
    items = zip(ball.mid.ravel(), ball.radii.ravel(), balls.ravel(), strict=True)
    return all(arb(float(mid), float(rad)).contains(value) for mid, rad, value in items)


@pytest.mark.parametrize("name", CASES)
def test_the_network_at_w0(name: str) -> None:
    mine, other = _networks(name)
    for c in range(1, mine.depth + 1):
        for ball, balls in ((mine.z[c], other.z[c]), (mine.h[c], other.h[c]),
                            (mine.d1[c], other.d1[c])):  # fmt: skip
            assert _encloses(ball, balls)
            assert ball.radii.max() <= 1e-14
        if (g := mine.g[c]) is not None:
            assert _encloses(g, other.g[c].reshape(g.mid.shape))
            assert g.radii.max() <= 1e-13
        columns = (other.gh[c] * other.gh[c]).sum(axis=1)
        assert all(arb(float(x)) ** 2 >= y.mid() for x, y in
                   zip(mine.column_norms[c].ravel(), columns.ravel(), strict=True))  # fmt: skip
        assert _encloses(mine.extended(c), other.rows[c])
        if c > 1:
            true = np.array([np.linalg.norm(m.astype(float), 2) for m in other.g[c]])
            assert (mine.g_norm[c] >= true * (1 - 1e-15)).all()
            assert (mine.g_norm[c] <= true * (1 + 1e-12)).all()


def test_roots_of_multiplicities() -> None:
    """G of a linear output is sqrt(m_i): the radius is zero for squares, and for nothing else."""
    operations, weights = chain(np.random.default_rng(0), [2, 1], "tanh")
    counts = np.arange(1, 200)
    net = Network64(stages64(operations, weights), np.ones((len(counts), 2)), counts)
    g = net.g[1]
    assert g is not None
    with ctx.workprec(300):
        assert _encloses(g, np.array([arb(int(m)).sqrt() for m in counts], dtype=object))
    assert g.radii.max() <= 1e-14


@pytest.mark.parametrize("name", CASES)
def test_overlaps(name: str) -> None:
    mine, other = _networks(name)
    for c in mine.trained:
        found = mine.overlaps(c)
        wanted = other.squared_overlaps(c, exact(np.zeros(len(COUNTS))))
        assert (found >= wanted * (1 - 1e-7)).all()  # that bound was rounded up itself
        assert (found <= wanted * (1 + 1e-12) + 1e-12).all()
        rows = other.rows[c].astype(float)
        assert (found >= (rows @ rows.T) ** 2 * (1 - 1e-14)).all()


@pytest.mark.parametrize("which", [0, 1])
def test_radii_of_rows_enter_the_overlaps(which: int) -> None:
    """Rows moved to the ends of their radii, alone and together."""
    mine, _ = _networks("one output")
    h = mine.h[1]
    radii = np.full(h.mid.shape, 1e-3)
    radii[which::2] = 0
    mine.h[1] = MidRad(h.mid, radii)
    found = mine.overlaps(2)
    for sign in (1, -1):
        for other in (1, -1):
            left = np.concatenate([h.mid + sign * radii * np.sign(h.mid), np.ones((7, 1))], 1)
            right = np.concatenate([h.mid + other * radii * np.sign(h.mid), np.ones((7, 1))], 1)
            assert (np.triu((left @ right.T) ** 2 - found) <= 0).all()
            assert (np.tril((left @ right.T) ** 2 - found) <= 0).all()


def test_overlaps_that_cancel() -> None:
    """Nearly orthogonal rows: what rounding leaves is larger than their product."""
    rng = np.random.default_rng(4)
    operations, weights = chain(rng, [80, 1], "tanh", bias=False)
    a, b = rng.normal(size=(2, 12, 40))
    rows = np.concatenate([np.concatenate([a, b], 1),
                           np.concatenate([b, -a * (1 + 2.0**-51)], 1)])  # fmt: skip
    net = Network64(stages64(operations, weights), rows, np.ones(24, dtype=int))
    found = net.overlaps(1)
    exact_rows = [[Fraction(x) for x in row] for row in rows.tolist()]
    for i in range(12):
        inner = sum(x * y for x, y in zip(exact_rows[i], exact_rows[12 + i], strict=True))
        assert Fraction(float(found[i, 12 + i])) >= inner**2
        assert Fraction(float(found[12 + i, i])) >= inner**2


@pytest.mark.parametrize("which", ["rows", "cotangents"])
def test_rounding_of_long_products_enters_the_kernel(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal numbers, whose sums drift: the error is near the bound, not far below it."""
    monkeypatch.setattr(spectrum, "PANEL", 10**6)
    inner, rng = 20000, np.random.default_rng(5)
    values = rng.random(6)
    if which == "rows":
        operations, weights = chain(rng, [inner, 1], "tanh")
        inputs = np.repeat(values[:, None], inner, axis=1)
        exact_values = [Fraction(x) for x in values.tolist()]
        true = [[inner * x * y + 1 for y in exact_values] for x in exact_values]
    else:
        frozen = ("2.weight", "2.bias")
        operations, weights = chain(rng, [1, inner, 1], "identity", frozen=frozen)
        weights["weights/2.weight"] = np.full((1, inner), values[0])
        inputs = np.arange(6.0)[:, None]
        square = inner * Fraction(values[0]) ** 2
        true = [[square * (i * j + 1) for j in range(6)] for i in range(6)]
    kernel = Kernel64(Network64(stages64(operations, weights), inputs, np.ones(6, dtype=int)))
    for i in range(6):
        entries = [kernel.blocks[max(i, j), min(i, j)] for j in range(6)]
        off = sum(abs(Fraction(float(x)) - y) for x, y in zip(entries, true[i], strict=True))
        assert Fraction(float(kernel.radius_rows[i])) >= off
        assert off > 0


@pytest.mark.parametrize("panel", [2, 256])
@pytest.mark.parametrize("name", CASES)
def test_the_radius_of_the_kernel(name: str, panel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "PANEL", panel)
    monkeypatch.setattr(spectrum, "STEP", 4)
    mine, other = _networks(name, inner=4)
    kernel, true = Kernel64(mine), other.kernel()
    stored = np.tril(kernel.blocks) + np.tril(kernel.blocks, -1).T
    off = abs(true - exact(stored))
    assert all(total <= arb(float(bound)) for total, bound in
               zip(off.sum(axis=1), kernel.radius_rows, strict=True))  # fmt: skip
    assert (kernel.radius_rows <= 1e-12 * np.abs(stored).sum() + 1e-12).all()


def test_every_radius_enters_the_kernel() -> None:
    """Radii made large: both factors of both products are felt in each row."""
    for part in ("g", "h"):
        mine, _ = _networks("one output")
        before = Kernel64(mine).radius_rows
        ball = mine.g[1] if part == "g" else mine.h[1]
        assert ball is not None
        radii = np.zeros(ball.mid.shape)
        radii[2] = 1e-3  # of one sample
        if part == "g":
            mine.g[1] = MidRad(ball.mid, radii)
        else:
            mine.h[1] = MidRad(ball.mid, radii)
        middle = Kernel64(mine)
        for sign in (1, -1):
            moved = MidRad(ball.mid + sign * radii)
            if part == "g":
                mine.g[1] = moved
            else:
                mine.h[1] = moved
            off = np.abs(np.tril(Kernel64(mine).blocks - middle.blocks))
            rows = off.sum(axis=1) + off.sum(axis=0) - off.diagonal()
            assert (rows > 1e-5).all()
            assert (rows <= middle.radius_rows).all()
        assert (before < 1e-10).all()


class _Given(Kernel64):
    """A kernel of given entries."""

    def __init__(self, matrix: np.ndarray, step: int) -> None:
        self.size, self.step, self.blocks = len(matrix), step, np.tril(matrix)
        self.radius_rows = np.zeros(len(matrix))


def _matrix(size: int, condition: float) -> np.ndarray:
    rng = np.random.default_rng(size)
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    matrix = (basis * np.geomspace(1, condition, size)) @ basis.T
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize("step", [3, 8, 512])
@pytest.mark.parametrize("condition", [10.0, 1e6])
def test_eigenvalues(step: int, condition: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "ROWS", 7)
    monkeypatch.setattr(spectrum, "PANEL", 5)
    matrix = _matrix(29, condition)
    kernel = _Given(matrix, step)
    least, *_, most = np.linalg.eigvalsh(matrix)
    for sign, true in ((1.0, least), (-1.0, -most)):
        shift = true - 1e-6 * abs(true)
        bound, cost = kernel.smallest_eigenvalue_lower(shift, sign)
        assert bound <= true + 1e-13 * most
        assert bound >= shift - 1e-11 * most
        assert cost <= 1e-11 * most
        kernel.radius_rows[4] = 0.25  # of some row
        lower, _ = kernel.smallest_eigenvalue_lower(shift, sign)
        assert shift - 0.26 <= lower <= shift - 0.25
        kernel.radius_rows[4] = 0
    assert kernel.smallest_eigenvalue_lower(1.01 * least, 1.0) == (-np.inf, np.inf)  # no factor


def _exact_rows(matrix: np.ndarray, factor: np.ndarray, shift: float) -> list[Fraction]:
    size = len(matrix)
    low = [[Fraction(x) for x in row] for row in factor.tolist()]
    rows = []
    for i in range(size):
        total = Fraction(0)
        for j in range(size):
            entry = Fraction(float(matrix[i, j])) - (Fraction(shift) if i == j else 0)
            total += abs(entry - sum(a * b for a, b in zip(low[i], low[j], strict=True)))
        rows.append(total)
    return rows


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [3, 512])
def test_the_defect_is_above_the_exact_one(
    seed: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the factor is so good that the defect is nothing but rounding."""
    monkeypatch.setattr(spectrum, "PANEL", 4)
    monkeypatch.setattr(spectrum, "ROWS", 5)
    rng = np.random.default_rng(seed)
    matrix = _matrix(13, 10.0**seed)
    shift = 0.5
    noise = rng.normal(size=(13, 13)) * 10.0 ** rng.integers(-8, 8, (13, 13))
    for factor in (np.linalg.cholesky(matrix - shift * np.eye(13)), np.tril(noise)):
        found = _Given(matrix, step)._defect_rows(factor, shift, 1.0)
        wanted = _exact_rows(matrix, factor, shift)
        assert all(Fraction(x) >= y for x, y in zip(found.tolist(), wanted, strict=True))
        assert (found <= np.array([float(x) for x in wanted]) * 1.001
                + 1e-13 * (np.abs(factor) @ np.abs(factor.T)).sum(axis=1)).all()  # fmt: skip


def test_what_the_shift_swallows_is_counted() -> None:
    """fl(x^2 - 1) + 1 is zero for a small x: the first rounding is lost from sight."""
    factor = np.eye(3) * (1e-9 / 3)
    found = _Given(np.eye(3), 512)._defect_rows(factor, 1.0, 1.0)
    assert all(Fraction(x) >= Fraction(1e-9 / 3) ** 2 for x in found.tolist())


def test_the_rounding_of_the_product_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its gamma the computed defect lies below the exact one somewhere."""
    matrix = _matrix(13, 100.0)
    factor = np.linalg.cholesky(matrix - 0.5 * np.eye(13))
    monkeypatch.setattr(spectrum, "gamma", lambda _: 0.0)
    found = _Given(matrix, 512)._defect_rows(factor, 0.5, 1.0)
    wanted = _exact_rows(matrix, factor, 0.5)
    assert not all(Fraction(x) >= y for x, y in zip(found.tolist(), wanted, strict=True))


@pytest.mark.parametrize("kind", ["nothing", "zeros", "noise", "nan", "inf", "huge"])
def test_a_wrong_factor_confirms_nothing_false(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    matrix = _matrix(12, 100.0)
    factors: dict[str, np.ndarray | None] = {
        "nothing": None, "zeros": np.zeros((12, 12)), "noise": np.tril(rng.normal(size=(12, 12))),
        "nan": np.full((12, 12), np.nan), "inf": np.full((12, 12), np.inf),
        "huge": np.full((12, 12), 1e200),
    }  # fmt: skip
    if kind == "nan":
        factors["nan"] = np.linalg.cholesky(matrix)
        factors["nan"][11, 3] = np.nan
    monkeypatch.setattr(Kernel64, "_factor", lambda *_: factors[kind])
    kernel = _Given(matrix, 4)
    claims = {"sigma_min_lower": 0.99, "jacobian_norm_upper": 10.1}
    with np.errstate(all="ignore"):
        assert len(spectrum_doubts(kernel, claims)) == 2
        assert kernel.smallest_eigenvalue_lower(0.98, 1.0)[0] <= 1


def test_claims_about_the_spectrum() -> None:
    kernel = _Given(_matrix(40, 1e4), 8)
    good = {"sigma_min_lower": 1 - 1e-6, "jacobian_norm_upper": 100 * (1 + 1e-6)}
    assert spectrum_doubts(kernel, good) == []
    close = {"sigma_min_lower": 1 - 1e-9, "jacobian_norm_upper": 100 * (1 + 1e-9)}
    assert spectrum_doubts(kernel, close) == []
    for name, value in (("sigma_min_lower", 1 + 1e-6), ("jacobian_norm_upper", 100 * (1 - 1e-6))):
        assert spectrum_doubts(kernel, good | {name: value}) == [f"{name} is not confirmed"]
    for value in (1e-170, 1e170):  # squares beyond binary64
        with np.errstate(all="ignore"):
            spectrum_doubts(kernel, {"sigma_min_lower": value, "jacobian_norm_upper": value})


def test_a_dear_defect_moves_the_shift() -> None:
    """The first shift leaves too little room for the radius; the next one takes its size."""
    kernel = _Given(_matrix(10, 4.0), 4)
    kernel.radius_rows[:] = 1e-3
    claims = {"sigma_min_lower": 0.998, "jacobian_norm_upper": 2.002}
    assert spectrum_doubts(kernel, claims) == []
    kernel.radius_rows[:] = 1e-2
    assert len(spectrum_doubts(kernel, claims)) == 2


SHAPES = [(1, 1), (1, 7), (7, 1), (5, 9), (9, 5), (30, 30)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_operator_norms(shape: tuple[int, int], size: float) -> None:
    rng = np.random.default_rng(2)
    matrices = rng.normal(size=(4, *shape))
    matrices[1] = 1.0
    matrices[2] = 0.0
    matrices[2, 0, 0] = 1e-9
    true = np.linalg.norm(matrices, 2, axis=(1, 2))
    found = norms.operator_norms_above(MidRad(matrices * size)) / size
    assert (found >= true * (1 - 1e-14)).all()
    assert (found <= true * (1 + 1e-6)).all()
    thick = norms.operator_norms_above(MidRad(matrices, np.ones(matrices.shape)))
    assert (thick >= np.linalg.norm(matrices + np.ones(shape), 2, axis=(1, 2)) * (1 - 1e-14)).all()
    assert (thick <= found + np.sqrt(shape[0] * shape[1]) * (1 + 1e-9) + (size != 1) * 1e300).all()


def test_operator_norms_of_nothing_known() -> None:
    with np.errstate(all="ignore"):
        for value in (np.nan, np.inf):
            matrices = np.array([[[1.0, value], [0.0, 1.0]]])
            assert not (norms.operator_norms_above(MidRad(matrices)) <= 1e308).any()
        wide = MidRad(np.ones((1, 2, 2)), np.full((1, 2, 2), np.inf))
        assert not (norms.operator_norms_above(wide) <= 1e308).any()


@pytest.mark.parametrize("kind", ["identity", "tilted", "noise", "zeros", "nan"])
def test_any_answer_of_lapack_leaves_a_bound(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    eigh = np.linalg.eigh
    rng = np.random.default_rng(3)

    def answer(grams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = eigh(grams)
        wrong = {"identity": np.broadcast_to(np.eye(grams.shape[-1]), grams.shape),
                 "tilted": vectors * 0.9, "noise": 0.3 * rng.normal(size=grams.shape),
                 "zeros": 0 * grams, "nan": np.nan * grams}  # fmt: skip
        return values, wrong[kind]

    monkeypatch.setattr(np.linalg, "eigh", answer)
    matrices = rng.normal(size=(6, 5, 8))
    with np.errstate(all="ignore"):
        found = norms.operator_norms_above(MidRad(matrices))
    true = np.linalg.norm(matrices, 2, axis=(1, 2))
    assert (~(found < true * (1 - 1e-14))).all()
    if kind in ("zeros", "nan"):
        assert (found == np.inf).all()
    if kind == "tilted":
        assert (found <= true * 1.3).all()


def test_rounding_of_eigenvalues_is_counted() -> None:
    """An exact eigenvalue with exact vectors: the bound may not lie below by any rounding."""
    grams = np.array([[[2.0, 1.0], [1.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.1, 0.0], [0.0, 0.7]]])
    found = norms.largest_eigenvalues_above(grams, np.zeros(3))
    assert (found >= [3.0, 2.0, 0.7]).all()
    assert (found <= np.array([3.0, 2.0, 0.7]) * (1 + 1e-13)).all()
    off = norms.largest_eigenvalues_above(grams, np.array([0.5, 0.0, 0.25]))
    assert (off >= [3.5, 2.0, 0.95]).all()
    negative = norms.largest_eigenvalues_above(-grams, np.array([0.5, 0.0, 0.0]))
    assert (negative >= 0).all()
    assert (negative <= [0.51, 1e-12, 1e-12]).all()
