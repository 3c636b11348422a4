"""The kernel with one radius for each row, in strips, against the kernel entry by entry."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from tests.network.chains import CASES, chain, inputs, reference_jacobian

from talweg.network import (
    FlatFunction,
    JacobianProducts,
    Linear,
    Network,
    Node,
    _kernel,
    kernel_ball,
    linearize,
    symmetric_kernel,
)

MULTIPLICITY = torch.tensor([1, 2, 1, 3, 1, 1, 2])


@pytest.mark.parametrize("rows", [1, 5, 512])
@pytest.mark.parametrize("name", CASES)
def test_strips_and_entries_enclose_one_kernel(
    name: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kernel, "STRIP_ROWS", rows)
    network = chain(name)
    state = linearize(network, inputs(network, 7), MULTIPLICITY)
    by_rows, by_entries = symmetric_kernel(state), kernel_ball(state)
    assert torch.equal(by_rows.mid, by_rows.mid.T)
    apart = (by_rows.mid - by_entries.mid).abs().sum(1)
    assert bool((apart <= by_rows.radius_rows + by_entries.rad.sum(1)).all())
    assert float(by_rows.radius_rows.max()) <= 1e-10


def test_the_exact_kernel_of_a_linear_network_lies_inside() -> None:
    generator = torch.Generator().manual_seed(3)
    weights = [
        torch.randn(4, 3, generator=generator, dtype=torch.float64),
        torch.randn(2, 4, generator=generator, dtype=torch.float64),
    ]
    operations = [
        Linear(weights[0], None, True, False, "0", "a", None),
        Linear(weights[1], None, True, False, "1", "b", None),
    ]
    network = Network(tuple(Node(op, (t,)) for t, op in enumerate(operations)), 3, 2)
    X = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    first, last, x = ([[Fraction(v) for v in row] for row in m.tolist()] for m in (*weights, X))

    def dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
        return sum((p * q for p, q in zip(a, b, strict=True)), Fraction(0))

    hidden = [[dot(row, w) for w in first] for row in x]
    found = symmetric_kernel(linearize(network, X))
    for i in range(5):
        for o in range(2):
            error = Fraction(0)
            for j in range(5):
                for q in range(2):
                    exact = dot(last[o], last[q]) * dot(x[i], x[j])
                    if o == q:
                        exact += dot(hidden[i], hidden[j])
                    error += abs(exact - Fraction(float(found.mid[2 * i + o, 2 * j + q])))
            assert 0 < error <= Fraction(float(found.radius_rows[2 * i + o]))


def test_a_kernel_that_overflows_says_nothing() -> None:
    network = chain("two layers", gain=1e160)
    found = symmetric_kernel(linearize(network, inputs(network, 3) * 1e160))
    assert bool(found.radius_rows.isinf().all())


@pytest.mark.parametrize("name", CASES)
def test_products_are_those_of_the_dense_jacobian(name: str) -> None:
    network = chain(name)
    X = inputs(network, 7)
    root = MULTIPLICITY.to(torch.float64).sqrt()
    function = FlatFunction(network, X, root)
    J = reference_jacobian(function, function.start)
    products = JacobianProducts(network, X, root.reshape(-1, 1))
    generator = torch.Generator().manual_seed(5)
    u = torch.randn(products.outputs.shape, generator=generator, dtype=torch.float64)
    kept = u.clone()
    pulled = torch.cat([part.reshape(-1) for part in products.pull(u)])
    assert torch.equal(u, kept)
    assert torch.allclose(products.outputs, function(function.start), rtol=1e-13)
    assert torch.allclose(pulled, J.T @ u.reshape(-1), rtol=1e-11, atol=1e-12)
    once = products.kernel_product(u)
    assert torch.allclose(once.reshape(-1), J @ (J.T @ u.reshape(-1)), rtol=1e-11, atol=1e-12)
    assert torch.equal(products.kernel_product(u), once)  # nothing is left over in the buffers
