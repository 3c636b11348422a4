"""Enclosures of activations and of their first two derivatives over tensors of balls.

For a ball m +- r and the order k two forms are used, entry by entry:

* thin, r <= 2^-20: the mean value form around one evaluation,
      f^(k)(x) in f^(k)(m) +- r D,   D >= sup |f^(k+1)| over the ball,
      D = min( |f^(k+1)(m)| + r sup_R |f^(k+2)|, sup_R |f^(k+1)| )      (only the latter for k = 2);
* wide: the exact range up to rounding, the hull of the values at both ends and of the extreme
  values in between (see `_pointwise.py`). A ball of infinite radius gives the global range.

Both never exceed the global range of f^(k) by more than the rounding of the midpoint-radius form.
Work is cut into pieces that stay in the cache, one thread per piece; tensors on an accelerator
are copied to the CPU and back, because only there the elementary functions are correctly rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure._ball import Ball, lift_
from talweg.enclosure._directed import add_up, exact_float, sub_down
from talweg.enclosure._elementary import enclose
from talweg.enclosure._pointwise import STANDARD, TAIL_RADIUS, Standard
from talweg.enclosure._scalar import Interval

PIECE = 65536  # entries: 512 KiB per tensor; fewer, and threads wait for the interpreter
THIN = 2.0**-20
LOG_2 = Interval(0.6931471805599453, 0.6931471805599454)

_PARAMETERS: dict[str, tuple[str, ...]] = {
    "tanh": (),
    "sigmoid": (),
    "softplus": ("beta",),
    "silu": (),
    "gelu": (),
    "gelu_tanh": (),
    "smooth_leaky_relu": ("slope",),
    "sin": (),
    "identity": (),
}


def activation_names() -> tuple[str, ...]:
    """The kinds that `elementwise` knows."""
    return tuple(_PARAMETERS)


def elementwise(kind: str, order: int, ball: Ball, **params: float) -> Ball:
    """Enclosure of f, f' or f'' entry by entry.

    The ideal functions: tanh; sigmoid 1/(1+e^-x); softplus log(1+e^(beta x))/beta; silu
    x sigmoid(x); gelu x Phi(x); gelu_tanh 0.5 x (1 + tanh(sqrt(2/pi)(x + 0.044715 x^3))) with the
    decimal constant taken as a real number; smooth_leaky_relu a x + (1-a)(log(1+e^x) - log 2) with
    a = slope; sin; identity.

    Args:
        kind: one of `activation_names()`.
        order: 0, 1 or 2: the function or that derivative.
        ball: arguments; any radius, inf included.
        **params: ``beta`` > 0 (softplus, default 1) and ``slope`` in [0, 1] (smooth_leaky_relu,
            required), floats taken as exact.

    Returns:
        Ball of the same shape and device.

    Raises:
        InputError: unknown kind, order or parameter, or a parameter out of range.
    """
    return elementwise_orders(kind, (order,), ball, **params)[0]


def elementwise_orders(
    kind: str, orders: Sequence[int], ball: Ball, **params: float
) -> tuple[Ball, ...]:
    """Several orders of one activation at once: the elementary functions are shared.

    Args:
        kind: one of `activation_names()`.
        orders: which of 0, 1, 2, at least one.
        ball: arguments, as in `elementwise`.
        **params: as in `elementwise`.

    Returns:
        One ball per entry of orders.
    """
    beta, slope = _checked(kind, orders, params)
    if kind == "identity":
        return tuple(_identity(order, ball) for order in orders)
    if kind == "sin":
        return tuple(_sine(order, ball) for order in orders)
    if kind == "smooth_leaky_relu":
        return _smooth_leaky_relu(orders, ball, slope)
    if kind == "softplus" and beta != 1.0:
        images = _standard(STANDARD[kind], orders, beta * ball)
        scale = (1.0 / Interval.point(beta), Interval.point(1.0), Interval.point(beta))
        return tuple(
            image if order == 1 else image * scale[order]
            for order, image in zip(orders, images, strict=True)
        )
    return _standard(STANDARD[kind], orders, ball)


def _checked(kind: str, orders: Sequence[int], params: dict[str, float]) -> tuple[float, float]:
    if kind not in _PARAMETERS:
        raise InputError(
            f"`kind` of elementwise(kind, order, ball) must be one of {', '.join(_PARAMETERS)}; "
            f"got {kind!r}. Choose one of these."
        )
    if not orders or any(isinstance(k, bool) or k not in (0, 1, 2) for k in orders):
        raise InputError(
            f"`order` of elementwise(kind, order, ball) must be 0, 1 or 2; got {orders!r}. "
            "Higher derivatives are not enclosed."
        )
    unknown = sorted(set(params) - set(_PARAMETERS[kind]))
    if unknown:
        raise InputError(
            f"elementwise({kind!r}, ...) takes the parameters {_PARAMETERS[kind]!r}; got "
            f"{', '.join(unknown)}. Remove the others."
        )
    beta = exact_float(params.get("beta", 1.0), "elementwise")
    if not 0.0 < beta < math.inf:
        raise InputError(
            f"`beta` of softplus must be positive and finite; got {beta!r}. The usual value is 1."
        )
    default = math.nan if kind == "smooth_leaky_relu" else 0.0
    slope = exact_float(params.get("slope", default), "elementwise")
    if not 0.0 <= slope <= 1.0:
        raise InputError(
            "`slope` of smooth_leaky_relu is required and must lie in [0, 1]; got "
            f"{params.get('slope')!r}. A usual value is 0.1."
        )
    return beta, slope


def _identity(order: int, ball: Ball) -> Ball:
    if order == 0:
        return ball
    return Ball.exact(torch.full_like(ball.mid, 1.0 if order == 1 else 0.0))


def _smooth_leaky_relu(orders: Sequence[int], ball: Ball, slope: float) -> tuple[Ball, ...]:
    """a x + (1-a)(softplus(x) - log 2): both terms increase, so their radii add without loss."""
    rest = 1.0 - Interval.point(slope)
    soft = dict(zip(orders, _standard(STANDARD["softplus"], orders, ball), strict=True))
    images = []
    for order in orders:
        if order == 0:
            images.append(ball * slope + (soft[0] - LOG_2) * rest)
        elif order == 1:
            images.append(soft[1] * rest + slope)
        else:
            images.append(soft[2] * rest)
    return tuple(images)


def _sine(order: int, ball: Ball) -> Ball:
    name = "cos" if order == 1 else "sin"
    lo, hi = ball.lower().reshape(-1).cpu(), ball.upper().reshape(-1).cpu()
    finite = lo.isfinite() & hi.isfinite()
    below, above = enclose(name, torch.where(finite, lo, 0.0), torch.where(finite, hi, 0.0))
    image = Ball._between(torch.where(finite, below, -1.0), torch.where(finite, above, 1.0))
    image = _to(image, ball.device).reshape(ball.shape)
    return -image if order == 2 else image


def _to(ball: Ball, device: torch.device) -> Ball:
    return ball if ball.device == device else Ball(ball.mid.to(device), ball.rad.to(device))


def _standard(standard: Standard, orders: Sequence[int], ball: Ball) -> tuple[Ball, ...]:
    """All pieces of the ball through `_piece`, in threads."""
    mid = ball.mid.detach().reshape(-1).cpu()
    rad = None if ball.is_exact() else ball.rad.detach().reshape(-1).cpu()
    count = mid.numel()
    mids = [torch.empty(count, dtype=torch.float64) for _ in orders]
    rads = [torch.empty(count, dtype=torch.float64) for _ in orders]

    def run(start: int) -> None:
        part = slice(start, start + PIECE)
        images = _piece(standard, orders, mid[part], None if rad is None else rad[part])
        for i, image in enumerate(images):
            mids[i][part] = image.mid
            rads[i][part] = image.rad

    starts = range(0, count, PIECE)
    workers = min(torch.get_num_threads(), len(starts))
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(run, starts))
    else:
        for start in starts:
            run(start)
    return tuple(
        Ball._settled(m.reshape(ball.shape).to(ball.device), r.reshape(ball.shape).to(ball.device))
        for m, r in zip(mids, rads, strict=True)
    )


def _piece(
    standard: Standard, orders: Sequence[int], mid: Tensor, rad: Tensor | None
) -> list[Ball]:
    if rad is None:
        return [Ball._settled(*image) for image in _at_points(standard, orders, mid)]
    thin = rad <= THIN
    if bool(thin.all()):
        return _thin(standard, orders, mid, rad)
    if not bool(thin.any()):
        return _wide(standard, orders, mid, rad)
    narrow = _thin(standard, orders, mid[thin], rad[thin])
    broad = _wide(standard, orders, mid[~thin], rad[~thin])
    images = []
    for a, b in zip(narrow, broad, strict=True):
        m, r = torch.empty_like(mid), torch.empty_like(rad)
        m[thin], m[~thin], r[thin], r[~thin] = a.mid, b.mid, a.rad, b.rad
        images.append(Ball._settled(m, r))
    return images


def _at_points(standard: Standard, orders: Sequence[int], x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Midpoint and radius of f^(k)(x) per order; x may be infinite (then a midpoint may be)."""
    tail = standard.tail
    inside = standard.evaluate(x.clamp(-tail, tail), min(orders), max(orders))
    left, right = x < -tail, x > tail
    outside = bool((left | right).any())
    images = []
    for order in orders:
        ball = inside[order]
        if ball is None:  # pragma: no cover - evaluate() returns every order from the first on
            raise InputError(f"order {order} of an activation was not evaluated; report this.")
        mid, rad = ball.mid, ball.rad
        if outside:
            limit = standard.right[order]
            mid = torch.where(left, standard.left[order], mid)
            mid = torch.where(right, x if limit is None else limit, mid)
            rad = torch.where(left | right, TAIL_RADIUS, rad)
        images.append((mid, rad))
    return images


def _thin(standard: Standard, orders: Sequence[int], mid: Tensor, rad: Tensor) -> list[Ball]:
    wanted = sorted({k for order in orders for k in (order, min(order + 1, 2))})
    points = dict(zip(wanted, _at_points(standard, wanted, mid), strict=True))
    images = []
    for order in orders:
        value, error = points[order]
        if order < 2:
            slope, slope_error = points[order + 1]
            # Three roundings; with the two below and one lift, see `_ball.py`.
            steepness = slope.abs().add_(slope_error).add_(rad, alpha=standard.sup[order + 1])
            change = steepness.clamp_(max=standard.sup[order]).mul_(rad)
        else:
            change = rad * standard.sup[order]
        images.append(Ball._settled(value, lift_(change.add_(error))))
    return images


def _wide(standard: Standard, orders: Sequence[int], mid: Tensor, rad: Tensor) -> list[Ball]:
    lo, hi = sub_down(mid, rad), add_up(mid, rad)
    left, right = _at_points(standard, orders, lo), _at_points(standard, orders, hi)
    images = []
    for order, (a, a_error), (b, b_error) in zip(orders, left, right, strict=True):
        bottom = torch.minimum(sub_down(a, a_error), sub_down(b, b_error))
        top = torch.maximum(add_up(a, a_error), add_up(b, b_error))
        for point_from, point_to, value_from, value_to in standard.turns[order]:
            met = (lo <= point_to) & (hi >= point_from)
            bottom = torch.where(met, bottom.clamp(max=value_from), bottom)
            top = torch.where(met, top.clamp(min=value_to), top)
        images.append(Ball._between(bottom, top))
    return images
