"""Minima below and above the interpolation threshold, on one set of data (T14, F1)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, hessian, jacrev, jvp

from talweg.experiments._record import Relation, Section
from talweg.experiments.liu2020._problems import (
    Bounds,
    bounds_of,
    generator,
    ntk_network,
    root_lower,
)
from talweg.network import (
    FlatFunction,
    JacobianLipschitz,
    build_module,
    gauss_newton_ball,
    gradient_norm_bound,
    jacobian_ball,
    linearize,
    read,
    residual_norm_bound,
)
from talweg.theory import (
    SingularValueProfile,
    ball_holds_one_critical_point,
    gradient_descent_reaches_strict_minimum,
    singular_value_profile,
    squared_loss_converges,
    squared_loss_curvature_lower,
    squared_loss_smoothness,
)
from talweg.verified import smallest_eigenvalue_lower, spectral_norm_upper

NOISE = 0.004
"""Standard deviation of the noise in the targets, whose own size is about 1."""

EPSILON = 0.5
"""T14's share of the descent: the largest rate."""

RADII = (0.001, 0.003, 0.01, 0.02, 0.1)
"""Balls on which the Lipschitz constant of J is evaluated for T14."""

ZERO = 1e-7
"""An eigenvalue below this share of the largest counts as zero in float64."""


def landscapes(section: Section) -> None:
    """One tanh neuron, then eight, on twelve noisy samples of one neuron.

    With 3 parameters the minimum is isolated: T14 proves that its ball holds no other critical
    point. With 24 the loss is zero on a manifold, and negative curvature is arbitrarily near.

    Args:
        section: Where results go.
    """
    inputs, targets = _data(section)
    under = FlatFunction(read(ntk_network((2, 1, 1), section.seed + 3), inputs), inputs)
    section.progress("under-parameterised minimum")
    start = torch.tensor([0.8, -0.5, 1.4], dtype=torch.float64)
    below = _minimum(under, targets, start)
    section.progress("over-parameterised minimum")
    wide, above = _interpolating(section, inputs, targets)
    rows = [
        _isolated(section, under, inputs, targets, below),
        _manifold(section, wide, inputs, targets, above),
    ]
    section.table("landscapes", rows)
    _spectra(section, [(under, below, "3 parameters"), (wide, above, "24 parameters")], targets)
    _slices(section, under, below, wide, above, targets)


def _interpolating(
    section: Section, inputs: Tensor, targets: Tensor
) -> tuple[FlatFunction, Tensor]:
    """The first of a few random starts from which Levenberg-Marquardt finds a zero."""
    for attempt in range(10):
        model = ntk_network((2, 8, 1), section.seed + 4 + 1000 * attempt)
        wide = FlatFunction(read(model, inputs), inputs)
        found = _minimum(wide, targets, wide.start)
        if float(_loss(wide, targets, found)) < 1e-24:
            return wide, found
    raise RuntimeError("no start led to a zero of the loss; choose another seed")


def _data(section: Section) -> tuple[Tensor, Tensor]:
    """Twelve points on a spiral (no two of them opposite: F is odd) and a noisy tanh."""
    count = torch.arange(12, dtype=torch.float64)
    angle, length = 2.4 * count + 0.2, 0.6 + 0.15 * count
    inputs = torch.stack([length * angle.cos(), length * angle.sin()], 1)
    direction = torch.tensor([[0.8], [-0.5]], dtype=torch.float64)
    noise = torch.randn(12, 1, generator=generator(section.seed + 2), dtype=torch.float64)
    return inputs, 1.4 * torch.tanh(inputs @ direction) + NOISE * noise


def _loss(function: FlatFunction, targets: Tensor, w: Tensor) -> Tensor:
    return 0.5 * (function(w) - targets).square().sum()


def _hessian(function: FlatFunction, targets: Tensor, w: Tensor) -> Tensor:
    found: Tensor = hessian(lambda v: _loss(function, targets, v))(w)
    return 0.5 * (found + found.T)


def _minimum(function: FlatFunction, targets: Tensor, w: Tensor) -> Tensor:
    """Levenberg-Marquardt, then Newton steps while they lower the gradient."""
    damping = 1e-2
    for _ in range(200):
        J = jacrev(function)(w).reshape(-1, len(w))
        r = (function(w) - targets).reshape(-1)
        eye = torch.eye(len(w), dtype=torch.float64)
        trial = w - torch.linalg.solve(J.T @ J + damping * eye, J.T @ r)
        if float(_loss(function, targets, trial)) < float(r.square().sum() / 2):
            w, damping = trial, max(0.3 * damping, 1e-14)
        elif damping > 1e6:
            break
        else:
            damping *= 10.0
    size = float(grad(lambda v: _loss(function, targets, v))(w).norm())
    for _ in range(10):
        g = grad(lambda v: _loss(function, targets, v))(w)
        trial = w - torch.linalg.pinv(_hessian(function, targets, w), rtol=ZERO) @ g
        trial_size = float(grad(lambda v: _loss(function, targets, v))(trial).norm())
        if not trial_size < size:
            break
        w, size = trial, trial_size
    return w


@dataclass(frozen=True, eq=False)
class _Columns:
    """Bounds for T14 at one point: |grad f|, |r|, |J|, and the profile of sigma_p."""

    gradient: float
    residual: float
    norm: float
    profile: SingularValueProfile

    def curvature_lower(self, radius: float) -> float:
        return squared_loss_curvature_lower(self.residual, self.profile, self.norm, radius)


def _columns(function: FlatFunction, inputs: Tensor, targets: Tensor, w: Tensor) -> _Columns:
    state = linearize(function.network_at(w), inputs)
    J = jacobian_ball(state)
    sigma = root_lower(smallest_eigenvalue_lower(gauss_newton_ball(J)))
    lipschitz = JacobianLipschitz(state)
    pairs = [(radius, lipschitz.upper(radius)) for radius in RADII]
    norm = float(spectral_norm_upper(J))
    return _Columns(
        gradient_norm_bound(state, targets, J), residual_norm_bound(state, targets), norm,
        singular_value_profile(sigma, pairs),
    )  # fmt: skip


def _isolated(
    section: Section, function: FlatFunction, inputs: Tensor, targets: Tensor, w: Tensor
) -> dict[str, Any]:
    """T14 at the minimum and from a point beside it."""
    here = _columns(function, inputs, targets, w)
    unique = [
        r
        for r in (0.1 * 0.7**k for k in range(40))
        if here.gradient < 0.999 * here.curvature_lower(r) * r
    ]
    if not unique:
        raise RuntimeError("T14 was not proved on any ball; please report")
    largest = max(unique)
    for _ in range(20):  # a larger one, still proved
        trial = 1.02 * largest
        if not here.gradient < 0.999 * here.curvature_lower(trial) * trial:
            break
        largest = trial
    m = here.curvature_lower(largest)
    verdict = ball_holds_one_critical_point(here.gradient, m, largest)
    c = verdict.conclusion
    if c is None:
        raise RuntimeError("T14 was not proved on the ball chosen for it; please report")
    eigenvalues = torch.linalg.eigvalsh(_hessian(function, targets, w))
    source = generator(section.seed + 9)
    least = float(eigenvalues[0])
    for _ in range(50 if section.quick else 400):
        u = torch.randn(len(w), generator=source, dtype=torch.float64)
        point = w + 0.999 * largest * u / u.norm()  # inside in spite of rounding
        least = min(least, float(torch.linalg.eigvalsh(_hessian(function, targets, point))[0]))
    section.compare("least eigenvalue of D^2f met in the ball, 3 parameters", predicted=m,
                    relation=">=", measured=least, source="T14",
                    note=f"radius {largest:.3g}; exactly one critical point in it")  # fmt: skip
    _descent_to_it(section, function, inputs, targets, w, 0.01 * largest)
    return {
        "parameters": len(w), "residuals": len(targets), "loss": float(_loss(function, targets, w)),
        "gradient_norm_upper": here.gradient, "sigma": here.profile.sigma_min_lower,
        "curvature_lower": m, "radius": largest, "statement": "one critical point (T14)",
        "least_eigenvalue": float(eigenvalues[0]), "largest_eigenvalue": float(eigenvalues[-1]),
    }  # fmt: skip


def _descent_to_it(
    section: Section, function: FlatFunction, inputs: Tensor, targets: Tensor, minimum: Tensor,
    offset: float,
) -> None:  # fmt: skip
    """Gradient descent from a point beside the minimum, against T14's rate and distance."""
    source = generator(section.seed + 10)
    u = torch.randn(len(minimum), generator=source, dtype=torch.float64)
    for shrink in range(10):
        start = minimum + offset * 0.5**shrink * u / u.norm()
        near = _columns(function, inputs, targets, start)
        # the smallest ball that will do has the largest curvature bound
        balls = [0.1 * 0.8**k for k in range(60, -1, -1)]
        room = 0.999 * (1.0 - EPSILON)
        proved = [r for r in balls if near.gradient < room * near.curvature_lower(r) * r]
        ball = proved[0] if proved else balls[0]
        smooth = squared_loss_smoothness(near.residual, near.profile, near.norm, ball)
        c = gradient_descent_reaches_strict_minimum(
            near.gradient, near.curvature_lower(ball), ball, smooth, epsilon=EPSILON
        ).conclusion
        if c is not None:
            break
    else:
        raise RuntimeError("T14 was not proved from any point beside the minimum; please report")
    distance = float((minimum - start).norm())
    section.compare("|w* - w_0| from a point beside the minimum", source="T14", relation="<=",
                    predicted=c.minimum.distance_upper, measured=distance)  # fmt: skip
    floor = float(_loss(function, targets, minimum))
    slope = grad(lambda v: _loss(function, targets, v))
    w, gaps = start, []
    for _ in range(200 if section.quick else 2000):
        gaps.append(float(_loss(function, targets, w)) - floor)
        if gaps[-1] < 1e-6 * gaps[0]:
            break
        w = w - c.step_size * slope(w)
    worst = max(b / a for a, b in pairwise(gaps))
    section.compare("largest (f_k+1 - f*) / (f_k - f*), 3 parameters", predicted=c.loss_rate_upper,
                    relation="<=", measured=worst, source="T14",
                    note=f"{len(gaps) - 1} steps of {c.step_size:.3g}")  # fmt: skip


def _manifold(
    section: Section, function: FlatFunction, inputs: Tensor, targets: Tensor, w: Tensor
) -> dict[str, Any]:
    """F1 at a zero of the loss, which T11 proves to exist beside the weights found."""
    bounds = _bounds_at(function, inputs, w)
    r0 = bounds.residual_norm_upper(targets)
    c = squared_loss_converges(r0, bounds.profile(), bounds.jacobian_norm_upper).conclusion
    if c is None:
        raise RuntimeError("T11 was not proved at the over-parameterised minimum; please report")
    # sigma_min(J) >= s(R*) > 0 at w*: J has full row rank there, so D^2 f = J^T J has rank N
    eigenvalues = torch.linalg.eigvalsh(_hessian(function, targets, w))
    zeros = int((eigenvalues.abs() <= ZERO * eigenvalues[-1]).sum())
    expected = len(w) - len(targets)
    relations: tuple[Relation, Relation] = ("<=", ">=")
    for relation in relations:
        section.compare("zero eigenvalues of D^2f at the minimum, 24 parameters",
                        predicted=expected, relation=relation, measured=zeros, source="F1",
                        note="p - N; full row rank of J verified (T11)")  # fmt: skip
    direction, _, q = _bent_direction(function, w)
    rows = []
    last = 4 if section.quick else 8
    for exponent in range(1, last + 1):
        t = 10.0 ** (-0.5 * exponent)
        point = w - t * direction
        least = float(torch.linalg.eigvalsh(_hessian(function, targets, point))[0])
        # F1 speaks of points near enough: only the nearest two are held to it
        section.compare(f"least eigenvalue of D^2f at distance {t * float(direction.norm()):.2g}",
                        predicted=0.0, relation="<=" if exponent > last - 2 else "reported",
                        measured=least, source="F1",
                        note=f"to first order at most {-t * q:.2g}")  # fmt: skip
        rows.append({
            "t": t, "distance": t * float(direction.norm()), "least_eigenvalue": least,
            "first_order": -t * q, "loss": float(_loss(function, targets, point)),
        })  # fmt: skip
    section.table("negative_curvature", rows)
    return {
        "parameters": len(w), "residuals": len(targets), "loss": float(_loss(function, targets, w)),
        "gradient_norm_upper": r0 * bounds.jacobian_norm_upper, "sigma": bounds.sigma_min_lower,
        "curvature_lower": 0.0, "radius": c.radius_upper,
        "statement": "a manifold of zeros (T11, F1)",
        "least_eigenvalue": float(eigenvalues[0]), "largest_eigenvalue": float(eigenvalues[-1]),
    }  # fmt: skip


def _bounds_at(function: FlatFunction, inputs: Tensor, w: Tensor) -> Bounds:
    return bounds_of(build_module(function.network_at(w)), inputs)


def _bent_direction(function: FlatFunction, w: Tensor) -> tuple[Tensor, Tensor, float]:
    """J^+ q and |q|^2 for q = D^2F[v, v], with v in ker J the one that bends F most of a few.

    F1: at w - t J^+ q the residual is -t q to first order, and D^2f[v, v] is -t |q|^2.
    """
    J = jacrev(function)(w).reshape(-1, len(w))
    kernel = torch.linalg.svd(J)[2][J.shape[0] :]  # rows span ker J

    def bend(direction: Tensor) -> Tensor:
        def derivative(point: Tensor) -> Tensor:
            return jvp(function, (point,), (direction,))[1]  # type: ignore[no-any-return]

        return jvp(derivative, (w,), (direction,))[1].reshape(-1)  # type: ignore[no-any-return]

    bends = [bend(direction) for direction in kernel]
    best = max(range(len(bends)), key=lambda i: float(bends[i].norm()))
    q = bends[best]
    return torch.linalg.pinv(J) @ q, kernel[best], float(q.square().sum())


def _spectra(
    section: Section, cases: list[tuple[FlatFunction, Tensor, str]], targets: Tensor
) -> None:
    with section.figure("hessian_spectra", width=7.0, height=3.8) as figure:
        axis = figure.subplots()
        for index, (function, w, label) in enumerate(cases):
            values = torch.linalg.eigvalsh(_hessian(function, targets, w)).flip(0).abs()
            axis.plot(range(1, len(values) + 1), values.clamp(min=1e-17).tolist(),
                      "o-" if index == 0 else "s-", label=label, zorder=3 - index)  # fmt: skip
        axis.axvline(12.5, color="k", linestyle=":", label="N = 12 residuals")
        axis.set(yscale="log", xlabel="index, largest first",
                 ylabel="|eigenvalue| of D^2f at the minimum")  # fmt: skip
        axis.legend()


def _slices(
    section: Section, under: FlatFunction, below: Tensor, wide: FlatFunction, above: Tensor,
    targets: Tensor,
) -> None:  # fmt: skip
    size = 41 if section.quick else 121
    vectors = torch.linalg.eigh(_hessian(under, targets, below))[1]
    push, v, _ = _bent_direction(wide, above)
    push = push / push.norm()
    with section.figure("landscape_slices", width=10.0, height=4.2) as figure:
        axes = figure.subplots(1, 2)
        for axis, function, w, across, along, reach, title in (
            (axes[0], under, below, vectors[:, -1], vectors[:, 0], 0.5,
             "3 parameters: an isolated minimum"),
            (axes[1], wide, above, push, v, 0.6, "24 parameters: a bent valley of zeros"),
        ):  # fmt: skip
            ticks = torch.linspace(-reach, reach, size, dtype=torch.float64)
            values = [
                [float(_loss(function, targets, w + a * along + b * across)) for a in ticks]
                for b in ticks
            ]
            logs = torch.tensor(values).clamp(min=1e-7).log10()
            image = axis.contourf(ticks, ticks, logs, levels=24, cmap="viridis")
            figure.colorbar(image, ax=axis, label="log10 of the loss")
            axis.plot(0.0, 0.0, "r+", markersize=10)
            axis.set_title(title, fontsize=10)
        axes[0].set(xlabel="flattest direction", ylabel="steepest direction")
        axes[1].set(xlabel="direction v in ker J", ylabel="direction of J^+ D^2F[v, v]")
