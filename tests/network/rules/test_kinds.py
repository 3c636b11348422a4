"""The suite that every layer kind has to pass: its rules against automatic differentiation."""

from __future__ import annotations

import pytest
import torch
from tests.network.random_graphs import ADDERS
from tests.network.rules.cases import SAMPLES, Case, cases, trilinear
from torch import Tensor

from talweg.enclosure import Ball
from talweg.network.rules import RULES

COUNT = 5
"""Random operations of each kind."""

NOISE = 1e-10
"""Float64 noise of the references, relative."""

KINDS = sorted(ADDERS)
SMOOTH = [kind for kind in KINDS if kind != "embedding"]
CURVED = [kind for kind in KINDS if RULES[kind].curved]
OUTPUTS = (1, 2)


def test_every_kind_is_here() -> None:
    assert set(ADDERS) == set(RULES)


def assert_encloses(ball: Ball, reference: Tensor) -> None:
    """Up to the noise of the reference, and not needlessly wide."""
    assert ball.shape == reference.shape
    noise = NOISE * (1.0 + reference.abs())
    assert bool(((ball.mid - reference).abs() <= ball.rad + noise).all())
    assert bool((ball.rad <= 1e-6 * (1.0 + reference.abs())).all())


@pytest.mark.parametrize("kind", KINDS)
def test_values(kind: str) -> None:
    for case in cases(kind, COUNT):
        assert_encloses(case.visit.value, case.value(case.inputs, *case.parameters))
        assert case.visit.value.shape[1:] == case.shape


@pytest.mark.parametrize("kind", SMOOTH)
def test_tangents_and_cotangents(kind: str) -> None:
    for case in cases(kind, COUNT):
        slopes = case.slopes_at(case.inputs, case.parameters[0])  # (n, d, D)
        m = 3
        tangents = [case.normal(SAMPLES, m, *s) for s in case.shapes]
        masks = [[True] * len(tangents)]
        if len(tangents) > 1:
            masks += [[t == place for t in range(len(tangents))] for place in range(len(tangents))]
        for mask in masks:
            there = [t if on else torch.zeros_like(t) for t, on in zip(tangents, mask, strict=True)]
            balls = [Ball.exact(t) if on else None for t, on in zip(tangents, mask, strict=True)]
            expected = torch.einsum("nod,nmd->nmo", slopes, case.joined(there, 2))
            pushed = case.rule.push(case.visit, balls)
            assert_encloses(pushed, expected.reshape(SAMPLES, m, *case.shape))
        g = case.normal(SAMPLES, m, *case.shape)
        expected = torch.einsum("nod,nmo->nmd", slopes, g.reshape(SAMPLES, m, -1))
        for part, reference in zip(
            case.rule.pull(case.visit, Ball.exact(g)), case.split(expected), strict=True
        ):
            assert_encloses(part, reference)


@pytest.mark.parametrize("kind", SMOOTH)
def test_slope_norms(kind: str) -> None:
    for case in cases(kind, COUNT):
        slopes = case.slopes_at(case.inputs, case.parameters[0])
        for norm, part in zip(
            case.rule.slope_norms(case.visit), torch.split(slopes, case.sizes, 2), strict=True
        ):
            assert bool((torch.linalg.matrix_norm(part, 2) <= norm * (1.0 + NOISE)).all())


@pytest.mark.parametrize("kind", CURVED)
def test_second_order_terms(kind: str) -> None:
    for case in cases(kind, COUNT):
        second = case.second_at(case.inputs)  # (n, d, D, D)
        for k in OUTPUTS:
            g = case.normal(SAMPLES, k, *case.shape)
            form = torch.einsum("nko,noab->nkab", g.reshape(SAMPLES, k, -1), second)
            tau = case.normal(SAMPLES).exp()
            curvature = case.rule.curvature(case.visit, Ball.exact(g), tau)
            _check_second(case, curvature, form)
            _check_root(case, curvature, form)
            for size, one in zip(curvature.size.tolist(), form, strict=True):
                assert trilinear(one, case.generator) <= size * (1.0 + NOISE)


def _check_second(case: Case, curvature, form: Tensor) -> None:
    n, m = len(form), 2
    tangents = [case.normal(n, m, *s) for s in case.shapes]
    masks = [[True] * len(tangents)]
    if len(tangents) > 1:
        masks += [[True, False], [False, True]]
    for mask in masks:
        there = [t if on else torch.zeros_like(t) for t, on in zip(tangents, mask, strict=True)]
        balls = [Ball.exact(t) if on else None for t, on in zip(tangents, mask, strict=True)]
        expected = torch.einsum("nkab,nma->nkmb", form, case.joined(there, 2))
        found = curvature.second(balls)
        for part, reference in zip(found, case.split(expected.flatten(1, 2)), strict=True):
            assert_encloses(part, reference)


def _check_root(case: Case, curvature, form: Tensor) -> None:
    """``|Q(u)[x, x']| <= |u| |R x| |R x'|``: the form in coordinates in which R is the identity."""
    n, size = len(form), sum(case.sizes)
    eye = torch.eye(size, dtype=torch.float64).expand(n, size, size)
    rooted = curvature.root([Ball.exact(t) for t in case.split(eye)])
    for root, one in zip(rooted.mid, form, strict=True):  # (D, r), (k, D, D)
        u, s, _ = torch.linalg.svd(root, full_matrices=True)
        rank = int((s > 1e-9 * s.amax().clamp(min=1e-300)).sum())
        lost = torch.einsum("kab,ac->kcb", one, u[:, rank:])
        assert float(lost.abs().sum()) <= 1e-7 * (1.0 + float(one.abs().sum()))
        turned = u[:, :rank] / s[:rank]
        white = torch.einsum("kab,ac,bd->kcd", one, turned, turned)
        assert trilinear(white, case.generator) <= 1.0 + 1e-7
    for place in range(len(case.shapes)):
        # Without a tangent of one input the root is that of the rest.
        parts = [t * float(e == place) for e, t in enumerate(case.split(eye))]
        whole = curvature.root([Ball.exact(t) for t in parts]).mid
        balls = [Ball.exact(t) if e == place else None for e, t in enumerate(parts)]
        some = curvature.root(balls).mid
        assert torch.allclose(whole @ whole.mT, some @ some.mT, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eta", [1e-5, 0.1, 1.0])
def test_motion_of_values_and_slopes(kind: str, eta: float) -> None:
    radius = 0.0
    for case in cases(kind, COUNT):
        weight, bias = case.parameters
        is_data = kind == "embedding"
        moved = [torch.full((SAMPLES,), 0.0 if is_data else eta * (1 + e), dtype=torch.float64)
                 for e in range(len(case.inputs))]  # fmt: skip
        for radius in (0.0, 0.5 * eta) if weight is not None else (0.0,):
            motion = case.rule.motion(case.visit, moved, radius)
            before = case.value(case.inputs, weight, bias)
            slopes = None if is_data else case.slopes_at(case.inputs, weight)
            for inputs, w, b in _perturbed(case, moved, radius):
                change = (case.value(inputs, w, b) - before).flatten(1).norm(dim=1)
                assert bool((change <= motion.value * (1.0 + NOISE) + 1e-15).all())
                if slopes is None:
                    continue
                moved_slopes = case.slopes_at(inputs, w) - slopes
                for delta, part in zip(
                    motion.slopes, torch.split(moved_slopes, case.sizes, 2), strict=True
                ):
                    norm = torch.linalg.matrix_norm(part, 2)
                    assert bool((norm <= delta * (1.0 + NOISE) + 1e-14).all())


def _perturbed(case: Case, moved: list[Tensor], radius: float):
    """Inputs and parameters that move as far as they may: anywhere, at one entry, along a slope."""
    weight, bias = case.parameters
    operation = case.operation
    slopes = None
    if case.operation.kind != "embedding":
        slopes = case.slopes_at(case.inputs, weight)
    for trial in range(10):
        inputs = []
        for place, (x, eta) in enumerate(zip(case.inputs, moved, strict=True)):
            step = case.normal(*x.shape)
            if trial % 3 == 1:
                at = (trial // 3) % x[0].numel()
                step = torch.zeros_like(x).flatten(1)
                step[:, at] = (-1.0) ** trial
                step = step.reshape(x.shape)
            if trial % 3 == 2 and slopes is not None:
                part = torch.split(slopes, case.sizes, 2)[place]
                top = torch.linalg.svd(part)[2][:, 0]
                step = top.reshape(x.shape) * (-1.0) ** trial
            length = step.flatten(1).norm(dim=1).clamp(min=1e-300)
            scale = (eta / length).reshape(-1, *(1,) * (x.ndim - 1))
            inputs.append(x + step * scale)
        w, b = weight, bias
        if weight is not None and radius:
            dw = case.normal(*weight.shape) * float(operation.weight_trainable)
            if trial % 2:
                dw = dw * (case.normal(*weight.shape).abs() > 1.0)
            db = None
            if bias is not None:
                db = case.normal(*bias.shape) * float(operation.bias_trainable)
            total = dw.square().sum() + (0.0 if db is None else db.square().sum())
            scale = radius / total.sqrt().clamp(min=1e-300)
            w = weight + dw * scale
            b = None if db is None else bias + db * scale
        yield inputs, w, b


@pytest.mark.parametrize("kind", CURVED)
@pytest.mark.parametrize(("eta", "gamma"), [(0.0, 0.3), (1e-5, 0.0), (0.1, 0.3), (0.7, 20.0)])
def test_growth_of_second_order_terms(kind: str, eta: float, gamma: float) -> None:
    for case in cases(kind, COUNT):
        moved = [torch.full((SAMPLES,), eta, dtype=torch.float64) for _ in case.inputs]
        for k in OUTPUTS:
            g = case.normal(SAMPLES, k, *case.shape).flatten(2)
            change = torch.full((SAMPLES,), gamma, dtype=torch.float64)
            curvature = case.rule.curvature(
                case.visit, Ball.exact(g.reshape(SAMPLES, k, *case.shape)), change + 1.0
            )
            growth = curvature.growth(moved, change)
            before = torch.einsum("nko,noab->nkab", g, case.second_at(case.inputs))
            for trial, (inputs, _, _) in enumerate(_perturbed(case, moved, 0.0)):
                turn = case.normal(*g.shape)
                if trial % 2:  # one entry, or the whole cotangent shorter or longer
                    turn = torch.zeros_like(g)
                    turn[:, :, trial % g.shape[2]] = g[:, :, trial % g.shape[2]]
                turn = turn * (-1.0) ** (trial // 2)
                norm = torch.linalg.matrix_norm(turn, 2).clamp(min=1e-300)
                there = g + turn * (change / norm).reshape(-1, 1, 1)
                after = torch.einsum("nko,noab->nkab", there, case.second_at(inputs))
                for bound, one in zip(growth.tolist(), after - before, strict=True):
                    found = trilinear(one, case.generator, starts=2)
                    assert found <= bound * (1.0 + NOISE) + 1e-13
