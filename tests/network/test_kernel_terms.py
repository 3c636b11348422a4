"""Tiles of the kernel against the whole one, and the radius that covers them."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.certificate.problems import problem
from tests.network.chains import CASES, chain, inputs
from tests.network.graphs import CASES as GRAPHS
from torch import Tensor

from talweg._errors import UnsupportedModelError
from talweg.certificate._cross_entropy import CrossEntropyFamily
from talweg.certificate._damped_system import kernel_at
from talweg.certificate._request import Request
from talweg.network import (
    FlatFunction,
    KernelTerms,
    enclosed_kernel_terms,
    kernel_ball,
    kernel_terms_approx,
    kernel_tile,
    linearize,
    read,
    symmetric_kernel,
)

MULTIPLICITY = torch.tensor([1, 2, 1, 3, 1, 1, 2])


def assembled(terms: KernelTerms, cuts: tuple[int, ...]) -> Tensor:
    """The whole matrix from its tiles below the diagonal; the cuts are samples."""
    k = terms.outputs
    parts = [terms.samples(a, b) for a, b in itertools.pairwise(cuts)]
    full = torch.full((len(terms), len(terms)), torch.nan, dtype=terms.factors[0][0].dtype)
    for i, rows in enumerate(parts):
        for j, columns in enumerate(parts[: i + 1]):
            tile = kernel_tile(rows, columns, on_diagonal=i == j)
            a, b = cuts[i] * k, cuts[j] * k
            full[a : a + len(rows), b : b + len(columns)] = tile
            full[b : b + len(columns), a : a + len(rows)] = tile.T
    return full


@pytest.mark.parametrize("cuts", [(0, 7), (0, 3, 6, 7), (0, 1, 2, 7)])
@pytest.mark.parametrize("name", CASES)
def test_tiles_and_entries_enclose_one_kernel(name: str, cuts: tuple[int, ...]) -> None:
    network = chain(name)
    state = linearize(network, inputs(network, 7), MULTIPLICITY)
    terms, radius = enclosed_kernel_terms(state)
    by_entries = kernel_ball(state)
    full = assembled(terms, cuts)
    assert torch.equal(full, full.T)
    apart = (full - by_entries.mid).abs().sum(1)
    assert bool((apart <= radius + by_entries.rad.sum(1)).all())
    assert torch.equal(radius, symmetric_kernel(state).radius_rows)
    scale = float(full.diagonal().max())
    assert float((terms.diagonal() - full.diagonal()).abs().max()) <= 1e-12 * scale
    x = torch.randn(len(full), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert float((terms.product(x) - full @ x).abs().max()) <= 1e-10 * scale


@pytest.mark.parametrize("cuts", [(0, 7), (0, 3, 6, 7)])
def test_a_centred_kernel_is_that_of_the_cross_entropy(cuts: tuple[int, ...]) -> None:
    model, (X, _) = problem(widths=(3, 9, 4), n=7)
    network = read(model, X)
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    request = Request("cross_entropy", None, None, 0.1)
    objective = CrossEntropyFamily().reading(request, network, X, labels).objective
    state = linearize(network, X)
    by_entries = objective.kernel(kernel_ball(state))
    terms, radius = enclosed_kernel_terms(state, centred=True)
    full = assembled(terms, cuts)
    # Any number c will do in P K P + c (I - P); the two need not have the same bits.
    k = terms.outputs
    other = float(by_entries.mid.reshape(7, k, 7, k).diagonal(dim1=0, dim2=2).sum((0, 1)).mean())
    mine = float(full.reshape(7, k, 7, k).diagonal(dim1=0, dim2=2).sum((0, 1)).mean())
    assert mine == pytest.approx(other, rel=1e-13)
    apart = (full - by_entries.mid).abs().sum(1)
    assert bool((apart <= radius + by_entries.rad.sum(1) + 1e-13 * abs(other)).all())
    assert float(radius.max()) <= 1e-11


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("widths", [(3, 12, 3), (3, 8, 8, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_terms_of_the_polish_are_those_of_its_kernel(
    widths: tuple[int, ...], dtype: torch.dtype, *, centred: bool
) -> None:
    model, (X, _) = problem(widths=widths, n=7)
    root = MULTIPLICITY.to(torch.float64).sqrt().reshape(-1, 1)
    network = read(model, X)
    function = FlatFunction(network, X, root)
    expected = kernel_at(function, function.start, dtype, centred=centred)
    terms = kernel_terms_approx(network, X, root, dtype, centred=centred)
    full = assembled(terms, (0, 2, 7))
    k = widths[-1]
    if centred:  # on the zero-sum vectors; what stands for the others is a choice
        full, expected = (
            matrix.reshape(7, k, 7 * k) - matrix.reshape(7, k, 7 * k).mean(1, keepdim=True)
            for matrix in (full, expected)
        )
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert float((full - expected).abs().max()) <= tolerance * float(expected.abs().max())


def test_a_graph_has_no_such_terms() -> None:
    build, data = (
        GRAPHS["two branches"] if "two branches" in GRAPHS else next(iter(GRAPHS.values()))
    )
    X = data()
    with pytest.raises(UnsupportedModelError, match="without a scheduler"):
        kernel_terms_approx(read(build(), X), X, None, torch.float64, centred=False)
