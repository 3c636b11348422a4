"""Enclosures of what D1 to D3 ask about a two-layer linear network at float64 weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from talweg.enclosure import Ball, Interval, elementwise, gram, norm_upper, sum_upper
from talweg.optim._linear_model_loss import LinearModelLoss
from talweg.theory import LINEAR_LOSS_CURVATURE, Imbalance, LinearNetworkBounds, StepQuartic
from talweg.verified import smallest_eigenvalue_lower, spectral_norm_upper


@dataclass(frozen=True, eq=False)
class Enclosed:
    """A point (W1, W2), exact, with what is derived from it enclosed.

    Args:
        first: W1, (d, h).
        second: W2, (h, m).
        product: W1 W2.
        outputs: X W.
        gradient: G = grad l(W).
    """

    first: Tensor
    second: Tensor
    product: Ball
    outputs: Ball
    gradient: Ball

    @property
    def output_gradient_square(self) -> Interval:
        """|G|^2."""
        return interval(self.gradient.square().sum())

    @cached_property
    def factor_gradients(self) -> tuple[Ball, Ball]:
        """G W2^T and W1^T G."""
        first = self.gradient @ Ball.exact(self.second.T.contiguous())
        return first, Ball.exact(self.first.T.contiguous()) @ self.gradient

    @cached_property
    def gradient_square(self) -> Interval:
        """|grad f|^2."""
        first, second = self.factor_gradients
        return interval(first.square().sum()) + interval(second.square().sum())


def enclosed_point(loss: LinearModelLoss, first: Tensor, second: Tensor) -> Enclosed:
    """The point with its product, outputs and gradient.

    Args:
        loss: l.
        first: W1, float64.
        second: W2, float64.
    """
    w1, w2 = first.detach().clone(), second.detach().clone()
    product = Ball.exact(w1) @ Ball.exact(w2)
    x = Ball.exact(loss.inputs)
    outputs = x @ product
    y = Ball.exact(loss.targets)
    if loss.kind == "squared":
        slope = outputs - y
    elif loss.kind == "huber":
        r = outputs - y
        slope = Ball.from_bounds(r.lower().clamp(-1.0, 1.0), r.upper().clamp(-1.0, 1.0))
    elif loss.kind == "logistic":
        slope = -y * elementwise("sigmoid", 0, -y * outputs)
    else:
        slope = _softmax(outputs) - y
    gradient = loss.weight * (Ball.exact(loss.inputs.T.contiguous()) @ slope)
    if loss.ridge > 0.0:
        gradient = gradient + loss.ridge * product
    return Enclosed(w1, w2, product, outputs, gradient)


def decrease_lower(loss: LinearModelLoss, before: Enclosed, after: Enclosed) -> float:
    """Lower bound of l(W) - l(W+) between two points, whatever step led from one to the other.

    The better of two bounds: with E = W+ - W = (W1+ - W1) W2+ + W1 (W2+ - W2),

        l(W) - l(W+) >= -<G, E> - rest,   rest >= l(W + E) - l(W) - <G, E>,

    which keeps its digits when the step is tiny, and the difference of the enclosed values, which
    knows the loss far away.

    Args:
        loss: l.
        before: the point before the step.
        after: the point after it.
    """
    e = (Ball.exact(after.first) - Ball.exact(before.first)) @ Ball.exact(after.second)
    e = e + Ball.exact(before.first) @ (Ball.exact(after.second) - Ball.exact(before.second))
    t = Ball.exact(loss.inputs) @ e
    linear = interval((before.gradient * e).sum())
    rest = Interval.point(loss.weight) * interval(_rest(loss, before.outputs, t))
    rest = rest + Interval.point(loss.ridge) / 2.0 * interval(e.square().sum())
    along = (-(linear + rest)).lo
    near = bool((t.magnitude_upper() < 0.05).all())
    if loss.kind == "squared" or near:
        return along  # exact up to rounding, or (self-concordance) to 2 per cent of the rest
    values = interval(_phi(loss, before.outputs)) - interval(_phi(loss, after.outputs))
    norms = interval(before.product.square().sum()) - interval(after.product.square().sum())
    total = Interval.point(loss.weight) * values + Interval.point(loss.ridge) / 2.0 * norms
    return max(along, total.lo)


def step_quartic(loss: LinearModelLoss, at: Enclosed) -> StepQuartic:
    """D2's quartic in intervals: exact for the squared loss, a majorant for the others.

    Args:
        loss: l.
        at: the point.
    """
    g1, g2 = at.factor_gradients
    a = g1 @ Ball.exact(at.second) + Ball.exact(at.first) @ g2
    b = g1 @ g2
    x = Ball.exact(loss.inputs)
    xa, xb = x @ a, x @ b
    w = Interval.point(loss.weight) * LINEAR_LOSS_CURVATURE[loss.kind]
    r = Interval.point(loss.ridge)

    def form(zu: Ball, zv: Ball, u: Ball, v: Ball) -> Interval:
        return w * interval((zu * zv).sum()) + r * interval((u * v).sum())

    return StepQuartic.along_gradient(
        at.gradient_square,
        interval((at.gradient * b).sum()),
        form(xa, xa, a, a),
        form(xa, xb, a, b),
        form(xb, xb, b, b),
    )


def linear_network_bounds(
    first: Tensor, second: Tensor, *, tight_norms: bool = True
) -> LinearNetworkBounds:
    """Verified singular values of the two factors (D1).

    Args:
        first: W1, (d, h), float64.
        second: W2, (h, m), float64.
        tight_norms: spectral norms; otherwise Frobenius norms, which cost next to nothing.
    """
    d, h = first.shape
    m = second.shape[1]
    norm = spectral_norm_upper if tight_norms else norm_upper
    return LinearNetworkBounds(
        _root_lower(first) if h >= d else 0.0,
        _root_lower(second.T.contiguous()) if h >= m else 0.0,
        float(norm(first)),
        float(norm(second)),
    )


def imbalance(first: Tensor, second: Tensor) -> Imbalance:
    """Verified eigenvalue bounds of D_0 = W1^T W1 - W2 W2^T (D3).

    Args:
        first: W1, (d, h), float64.
        second: W2, (h, m), float64.
    """
    d, h = first.shape
    m = second.shape[1]
    matrix = gram(Ball.exact(first.T.contiguous())) - gram(Ball.exact(second))
    lower, upper = eigenvalue_bounds(matrix)
    return Imbalance(
        upper[-1], -lower[0],
        lower[h - d] if h >= d else -float("inf"),
        -upper[m - 1] if h >= m else -float("inf"),
    )  # fmt: skip


def eigenvalue_bounds(matrix: Ball) -> tuple[list[float], list[float]]:
    """Lower and upper bounds of every eigenvalue, ascending, of the symmetric matrices in a ball.

    For any V (LAPACK's eigenvectors, untrusted) and diagonal L: with |V^T V - I| <= t < 1, by
    Ostrowski lambda_k(V L V^T) is L_k times a number in [1 - t, 1 + t], and by Weyl the eigenvalues
    of the matrix lie within |matrix - V L V^T| of those.

    Args:
        matrix: (n, n) with symmetric midpoint.
    """
    values, vectors = torch.linalg.eigh(matrix.mid)
    v = Ball.exact(vectors.contiguous())
    vt = Ball.exact(vectors.T.contiguous())
    eye = torch.eye(len(values), dtype=torch.float64)
    tilt = (vt @ v - Ball.exact(eye)).magnitude_upper()
    defect = (matrix - (v * Ball.exact(values)) @ vt).magnitude_upper()
    t, shift = float(norm_upper(tilt)), float(norm_upper(defect))
    if not t < 0.5:
        return [-float("inf")] * len(values), [float("inf")] * len(values)
    around = Interval(-shift, shift)
    scale = Interval((1.0 - Interval.point(t)).lo, (1.0 + Interval.point(t)).hi)
    found = [scale * Interval.point(float(x)) + around for x in values]
    return [x.lo for x in found], [x.hi for x in found]


def interval(ball: Ball) -> Interval:
    """A ball of one number as an interval."""
    return Interval(float(ball.lower()), float(ball.upper()))


def _root_lower(matrix: Tensor) -> float:
    """The last singular value of a wide matrix (rows <= columns), from below; 0 if unknown."""
    square = smallest_eigenvalue_lower(gram(Ball.exact(matrix)))
    return Interval.point(square).sqrt().lo if square > 0.0 else 0.0


def _softmax(z: Ball) -> Ball:
    """Rows of softmax: p_j = exp(z_j - log-sum-exp), with e^t = sigmoid(t) / sigmoid(-t)."""
    t = z - _log_sum_exp(z).reshape(-1, 1)
    p = elementwise("sigmoid", 0, t) / elementwise("sigmoid", 0, -t)
    return Ball.from_bounds(p.lower().clamp(0.0, 1.0), p.upper().clamp(0.0, 1.0))


def _log_sum_exp(z: Ball) -> Ball:
    """log sum_j e^(z_j) by rows, (n,): log(e^a + e^b) = b + log(1 + e^(a - b)), class by class."""
    total = z[:, 0]
    for j in range(1, z.shape[1]):
        total = z[:, j] + elementwise("softplus", 0, total - z[:, j])
    return total


def _phi(loss: LinearModelLoss, z: Ball) -> Ball:
    """sum_i phi(z_i; y_i) of the losses that are not squared."""
    y = Ball.exact(loss.targets)
    if loss.kind == "logistic":
        return elementwise("softplus", 0, -y * z).sum()
    if loss.kind == "cross_entropy":
        return _log_sum_exp(z).sum() - (y * z).sum()
    a = z - y
    large, small = a.magnitude_upper(), a.magnitude_lower()

    def huber(t: Tensor) -> Ball:
        point = Ball.exact(t)
        quadratic, linear = 0.5 * point.square(), point - 0.5
        chosen = t <= 1.0
        return Ball(
            torch.where(chosen, quadratic.mid, linear.mid),
            torch.where(chosen, quadratic.rad, linear.rad),
        )

    return Ball.from_bounds(huber(small).lower(), huber(large).upper()).sum()


def _rest(loss: LinearModelLoss, z: Ball, t: Ball) -> Ball:
    """sum_i of phi(z_i + t_i) - phi(z_i) - <grad phi(z_i), t_i>, enclosed from above.

    Squared: |t|^2 / 2. Huber: the same, and 0 where the segment stays beyond the threshold.
    Logistic and cross-entropy are self-concordant: D^2 phi grows at most by e^r along the segment,
    r = |t| or max_j t_j - min_j t_j, so

        rest <= (e^r - 1 - r) / r^2 H <= (1/2 + r/6 + r^2/8) H,   H = D^2 phi(z)[t, t], r <= 1,

    beside the global kappa |t|^2 / 2.
    """
    half = 0.5 * t.square()
    if loss.kind == "squared":
        return half.sum()
    if loss.kind == "huber":
        a = z - Ball.exact(loss.targets)
        b = a + t
        beyond = ((a.lower() >= 1.0) & (b.lower() >= 1.0)) | (
            (a.upper() <= -1.0) & (b.upper() <= -1.0)
        )
        zero = torch.zeros_like(half.mid)
        # a segment with both ends beyond the same threshold stays there
        return Ball(torch.where(beyond, zero, half.mid), torch.where(beyond, zero, half.rad)).sum()
    kappa = LINEAR_LOSS_CURVATURE[loss.kind]
    if loss.kind == "logistic":
        local = elementwise("sigmoid", 1, z) * t.square()
        r = t.magnitude_upper()
        cap = kappa * half
    else:
        p = _softmax(z)
        c = Ball.exact(
            (p * t).sum(1).mid.reshape(-1, 1)
        )  # any centre bounds the variance from above
        local = (p * (t - c).square()).sum(1)
        r = _range_upper(t)
        cap = kappa * half.sum(1)
    factor = Ball.exact(r) / 6.0 + 0.5 + Ball.exact(r).square() / 8.0
    local = factor * local
    far = r > 1.0
    upper = torch.where(far, cap.upper(), torch.minimum(local.upper(), cap.upper())).clamp(min=0.0)
    return Ball.exact(sum_upper(upper))


def _range_upper(t: Ball) -> Tensor:
    """Upper bounds of max_j t_j - min_j t_j by rows."""
    spread = Ball.exact(t.upper().amax(1)) - Ball.exact(t.lower().amin(1))
    return spread.upper().clamp(min=0.0)
