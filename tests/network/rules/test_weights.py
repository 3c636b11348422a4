"""Layers with weights: one form for all, against its definition and automatic differentiation."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.network.rules.cases import SAMPLES, Case, cases, trilinear
from torch import Tensor
from torch.func import jacrev

from talweg._errors import InputError
from talweg.enclosure import Ball
from talweg.network._graph import Embedding
from talweg.network.rules import RULES, SharedRule

COUNT = 8
NOISE = 1e-10

KINDS = sorted(kind for kind, rule in RULES.items() if issubclass(rule, SharedRule))
MULTIPLYING = [kind for kind in KINDS if kind not in ("shift", "embedding")]
FLAGS = ((True, True), (True, False), (False, True))
"""Whether weight and bias train."""


def test_all_of_them_are_here() -> None:
    assert KINDS == ["affine", "convolution", "embedding", "linear", "shift"]


def _trained(case: Case, weight: bool, bias: bool) -> Case | None:
    """The case with these parts trained; None where nothing would be."""
    has_bias = case.operation.bias is not None
    if not (weight or (bias and has_bias)):
        return None
    operation = dataclasses.replace(
        case.operation, weight_trainable=weight, bias_trainable=bias and has_bias
    )
    return Case(operation, case.shapes, case.shape, case.inputs, case.generator)


def _variants(kind: str) -> list[Case]:
    found = [_trained(case, *flags) for case in cases(kind, COUNT) for flags in FLAGS]
    return [case for case in found if case is not None]


def _patches(case: Case, x: Tensor) -> Tensor:
    return case.rule.patches(Ball.exact(x)).mid


def _slopes_by_parameters(case: Case) -> Tensor:
    """``(n, d_out, p)`` by the trained parts, weight first."""
    weight, bias = case.parameters
    parts = []
    for i in range(SAMPLES):
        x = [t[i : i + 1] for t in case.inputs]
        own = []
        if case.operation.weight_trainable:
            own.append(jacrev(lambda w, x=x: case.value(x, w, bias)[0].reshape(-1))(weight))
        if case.operation.bias_trainable:
            own.append(jacrev(lambda b, x=x: case.value(x, weight, b)[0].reshape(-1))(bias))
        parts.append(torch.cat([j.flatten(1) for j in own], 1))
    return torch.stack(parts)


@pytest.mark.parametrize("kind", KINDS)
def test_arrangements_and_their_inverses(kind: str) -> None:
    for case in cases(kind, COUNT):
        g = case.normal(SAMPLES, 2, *case.shape)
        arranged = case.rule.arranged(Ball.exact(g))
        assert torch.equal(case.rule.unarranged(arranged).mid, g)
        rows = case.rule.rows(case.visit)
        assert rows.shape[1:3] == (arranged.shape[2], arranged.shape[4])


@pytest.mark.parametrize("kind", MULTIPLYING)
def test_values_are_weights_times_patches(kind: str) -> None:
    for case in cases(kind, COUNT):
        (x,) = case.inputs
        patches = _patches(case, x)  # (n, g, P, c)
        groups, o = case.rule.arranged(Ball.exact(case.visit.value.mid[:, None])).shape[2:4]
        matrices = case.operation.weight.reshape(groups, o, -1)
        value = torch.einsum("goc,ngpc->ngop", matrices, patches)[:, None]
        expected = case.value(case.inputs, case.operation.weight, None)
        found = case.rule.unarranged(Ball.exact(value)).mid[:, 0]
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", MULTIPLYING)
def test_sources_and_windows_give_the_patches(kind: str) -> None:
    for case in cases(kind, COUNT):
        (x,) = case.inputs
        patches = _patches(case, x)
        sources = case.rule.sources(Ball.exact(x[:, None])).mid[:, 0]  # (n, g, ch, S)
        n, groups, channels, _ = sources.shape
        count = patches.shape[2]
        windows = case.rule.windows()
        rebuilt = torch.zeros(n, groups, channels, len(windows), count, dtype=torch.float64)
        for t, window in enumerate(windows):
            rebuilt[:, :, :, t, window.positions] = sources[..., window.sources]
        assert torch.equal(rebuilt.flatten(2, 3).mT, patches)


@pytest.mark.parametrize("kind", MULTIPLYING)
def test_the_overlap_is_the_norm_of_taking_patches(kind: str) -> None:
    for case in cases(kind, COUNT):
        size = case.sizes[0]
        eye = torch.eye(size, dtype=torch.float64).reshape(size, *case.shapes[0])
        norm = float(torch.linalg.matrix_norm(_patches(case, eye).flatten(1), 2))
        assert norm <= case.rule.overlap <= norm * (1.0 + NOISE)


@pytest.mark.parametrize("kind", ["shift", "embedding"])
def test_what_multiplies_nothing_has_no_overlap(kind: str) -> None:
    for case in cases(kind, COUNT):
        assert case.rule.overlap == 0.0
        assert not case.rule.multiplies


@pytest.mark.parametrize("kind", KINDS)
def test_rows_give_the_slopes_by_the_parameters(kind: str) -> None:
    for case in _variants(kind):
        slopes = _slopes_by_parameters(case)
        rows = case.rule.rows(case.visit).mid
        norm = torch.linalg.matrix_norm(rows, 2).amax(1)
        assert torch.allclose(torch.linalg.matrix_norm(slopes, 2), norm, rtol=1e-10)
        known = case.rule.row_norms(case.visit)
        assert bool((known >= norm * (1.0 - 1e-13)).all())
        assert torch.allclose(known, norm, rtol=1e-6)
        # The Gram matrix of all entries of the value: E E^T.
        o = case.rule.arranged(case.visit.value.reshape(SAMPLES, 1, *case.shape)).shape[3]
        n, groups, count, _ = rows.shape
        gram = torch.zeros(n, groups, o, count, groups, o, count, dtype=torch.float64)
        for g in range(groups):
            for j in range(o):
                gram[:, g, j, :, g, j, :] = rows[:, g] @ rows[:, g].mT
        gram = gram.reshape(n, groups * o * count, -1)
        eye = torch.eye(gram.shape[1], dtype=torch.float64).reshape(1, -1, groups, o, count)
        order = case.rule.unarranged(Ball.exact(eye)).mid.reshape(gram.shape[1], -1)
        assert torch.allclose(order.mT @ gram @ order, slopes @ slopes.mT, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", MULTIPLYING)
@pytest.mark.parametrize("k", [1, 3])
def test_products_of_cotangents_and_tangents(kind: str, k: int) -> None:
    for case in cases(kind, COUNT):
        if not case.rule.multiplies:
            continue
        size = case.sizes[0]
        g = Ball.exact(case.normal(SAMPLES, k, *case.shape))
        arranged = case.rule.arranged(g).mid  # (n, k, g, o, P)
        eye = torch.eye(size, dtype=torch.float64).reshape(size, *case.shapes[0])
        patches = _patches(case, eye)  # (d, g, P, c)
        # M(u, x)_g = sum_p A_p q_p(x)^T
        form = torch.einsum("nkgop,dgpc->nkdgoc", arranged, patches).flatten(3)
        stacked = form.transpose(1, 2).flatten(2)
        gram = case.rule.product_gram(g, Ball.exact(eye.expand(SAMPLES, *eye.shape)))
        assert torch.allclose(gram.mid, stacked @ stacked.mT, rtol=1e-10, atol=1e-12)
        alpha = case.rule.cotangent_sizes(g)
        m = 3
        tangent = case.normal(SAMPLES, m, *case.shapes[0])
        weights = case.rule.product_weights(g, alpha, Ball.exact(tangent))
        pushed = torch.einsum("nkdz,nmd->nkmz", form, tangent.flatten(2))
        for i in range(SAMPLES):
            by_group = [
                trilinear(arranged[i, :, t], case.generator) for t in range(arranged.shape[2])
            ]
            assert max(by_group) <= float(alpha[i]) * (1.0 + NOISE)
            if k == 1:
                assert max(by_group) >= float(alpha[i]) * (1.0 - 1e-4)
            found = trilinear(pushed[i], case.generator)
            assert found <= float(weights[i]) * (1.0 + NOISE)
            if k == 1 and arranged.shape[4] > 1:
                assert found >= float(weights[i]) * (1.0 - 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_operator_norm_is_that_of_the_slopes(kind: str) -> None:
    for case in cases(kind, COUNT):
        norm = case.rule.operator_norm()
        if kind == "embedding":
            assert norm == 0.0
            continue
        slopes = case.slopes_at(case.inputs, case.parameters[0])
        exact = float(torch.linalg.matrix_norm(slopes, 2).amax())
        assert exact * (1.0 - 1e-12) <= norm <= exact * (1.0 + 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_motion_without_anything_trained_is_that_of_a_fixed_map(kind: str) -> None:
    for case in cases(kind, COUNT):
        operation = dataclasses.replace(
            case.operation, weight_trainable=False, bias_trainable=False
        )
        frozen = Case(operation, case.shapes, case.shape, case.inputs, case.generator)
        eta = torch.full((SAMPLES,), 0.5, dtype=torch.float64)
        motion = frozen.rule.motion(frozen.visit, [eta], 3.0)
        assert torch.allclose(motion.value, 0.5 * frozen.rule.slope_norms(frozen.visit)[0])
        assert float(motion.slopes[0].amax()) == 0.0


@pytest.mark.parametrize("entry", [7.0, -1.0, 0.5, 1e20])
def test_an_embedding_refuses_what_is_no_row(entry: float) -> None:
    weight = torch.zeros(7, 2, dtype=torch.float64)
    operation = Embedding(weight, None, True, False, "0", "0.weight", None)
    rule = RULES["embedding"](operation, ((2,),), (2, 2))
    X = torch.tensor([[0.0, entry]], dtype=torch.float64)
    with pytest.raises(InputError, match="whole numbers from 0 to 6"):
        rule.visit((Ball.exact(X),))
