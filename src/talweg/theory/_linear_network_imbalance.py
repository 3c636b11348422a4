"""D3: an imbalanced two-layer linear network converges however far its weights travel.

D = W1^T W1 - W2 W2^T (h x h) changes in one step of gradient descent by exactly
eta^2 (g1^T g1 - g2 g2^T), so along a run D_k = D_0 + P - N with P, N >= 0 and

    tr P + tr N <= Delta = eta (f_0 - f*) / (1 - eps).

Imbalance that is larger than Delta is therefore still there at the end, and keeps a factor away
from rank loss; imbalance that is not much larger cannot let the factors grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, fraction, lower_bound, positive, upper_bound
from talweg.theory._ball import descent_step_lower
from talweg.theory._logarithm import steps_to_shrink_upper
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "D3 (sharpens xu2025)"
PREMISES = (
    "initial_gap_upper", "imbalance", "product_norm_upper", "pl_lower", "smoothness_upper",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Imbalance:
    """Eigenvalue bounds of D_0 = W1^T W1 - W2 W2^T; eigenvalues are counted from the largest.

    Args:
        largest_upper: upper bound of lambda_1(D_0); any sign.
        negative_largest_upper: upper bound of lambda_1(-D_0) = -lambda_h(D_0).
        first_lower: lower bound of lambda_d(D_0); -inf where h < d.
        second_lower: lower bound of lambda_m(-D_0); -inf where h < m.

    Raises:
        InputError: NaN, +inf for a lower or -inf for an upper bound, or first_lower above
            largest_upper, second_lower above negative_largest_upper.
    """

    largest_upper: float
    negative_largest_upper: float
    first_lower: float
    second_lower: float

    def __post_init__(self) -> None:
        call = "Imbalance"
        pairs = (("largest_upper", "first_lower"), ("negative_largest_upper", "second_lower"))
        for top, bottom in pairs:
            low = lower_bound(getattr(self, bottom), bottom, call)
            high = -lower_bound(-getattr(self, top), top, call)
            if low > high:
                raise InputError(
                    f"`{top}` of {call}() must be at least {bottom}, both bounding eigenvalues of "
                    f"one matrix from the largest on; got {high!r} against {low!r}. "
                    "One of the two is not the bound its name promises."
                )


@dataclass(frozen=True, slots=True)
class NotLazyConvergence:
    """What D3 proves: f(w_k) - f* <= rate^k (f_0 - f*) for the step `step_size`.

    The rate and the halving time are those of this step: a smaller step eta has the rate
    1 - 2 (1 - eps) eta mu c. All other bounds hold for every step in (0, step_size].

    Attributes:
        step_size: the step that the rate speaks of.
        drift_upper: Delta, bounds the trace norm of D_k - D_0 for all k.
        kernel_lower: c <= sigma_d(W1)^2 + sigma_m(W2)^2 at every iterate.
        jacobian_norm_upper: bounds sqrt(|W1|^2 + |W2|^2) at every iterate and between them.
        smoothness_upper: M, the Lipschitz modulus of grad f along the run.
        one_minus_rate_lower: 2 (1 - eps) eta mu c.
        loss_rate_upper: 1 - the above, rounded up.
        halving_steps_upper: after so many steps f - f* is at most half; whole, may be inf.
        path_length_upper: bounds the length of the whole path; may exceed sigma_min(J(w0)).
    """

    step_size: float
    drift_upper: float
    kernel_lower: float
    jacobian_norm_upper: float
    smoothness_upper: float
    one_minus_rate_lower: float
    loss_rate_upper: float
    halving_steps_upper: float
    path_length_upper: float


@dataclass(frozen=True, slots=True)
class _Constants:
    """Everything of D3 that depends on the step."""

    drift: float
    kernel: float
    norm_square: float
    smoothness: float


def linear_network_converges_not_lazy(
    initial_gap_upper: float,
    imbalance: Imbalance,
    product_norm_upper: float,
    *,
    pl_lower: float,
    smoothness_upper: float,
    epsilon: float,
    step_size: float | None = None,
    product_sigma_first_lower: float = 0.0,
    product_sigma_second_lower: float = 0.0,
    assumed: Iterable[str] = (),
) -> Verdict[NotLazyConvergence]:
    """Gradient descent on l(W1 W2) converges linearly, with no ball around the start (D3).

    With Delta = eta (f_0 - f*) / (1 - eps), P >= |W| and s_1 <= sigma_d(W), s_2 <= sigma_m(W)
    wherever l(W) <= f_0, and phi(x, y) = (x + sqrt(x^2 + 4 y^2)) / 2:

        |W1|^2 + |W2|^2 <= max over (a, b) in {(Delta, 0), (0, Delta)} of
                           phi(lambda_1(D_0) + a, P) + phi(lambda_1(-D_0) + b, P),
        M = K (|W1|^2 + |W2|^2) + sqrt(2 K (f_0 - f*)),            eta <= 2 eps / M,
        c = max( [lambda_d(D_0)]_+ + [lambda_m(-D_0)]_+ - Delta,
                 max([lambda_d(D_0) - Delta]_+, phi(lambda_h(D_0) - Delta, s_1))
                 + max([lambda_m(-D_0) - Delta]_+, phi(lambda_h(-D_0) - Delta, s_2)) ) > 0

    imply f(w_k) - f* <= (1 - 2 (1 - eps) eta mu c)^k (f_0 - f*). The step enters Delta, so a
    smaller step allows a smaller imbalance.

    Source: D3; xu2025 with the exact change of D and no condition tying the step to the whole
    run; proof in docs/theory/D3.md.

    Args:
        initial_gap_upper: upper bound of f_0 - f*, f* = inf l.
        imbalance: eigenvalue bounds of D_0.
        product_norm_upper: P, the operator norm of W wherever l(W) <= f_0.
        pl_lower: mu of l as a function of W, from below.
        smoothness_upper: K of l on all matrices, from above.
        epsilon: in (0, 1), the share of the descent given up to the step.
        step_size: the step to verify; None asks for the largest certified one.
        product_sigma_first_lower: s_1, the d-th singular value of W (0 when m < d).
        product_sigma_second_lower: s_2, the m-th singular value of W (0 when d < m).
        assumed: premises only assumed, out of `initial_gap_upper`, `imbalance`,
            `product_norm_upper`, `pl_lower`, `smoothness_upper`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming a premise, `step_size`, `criterion` (c > 0)
        or `rate_positive`.

    Raises:
        InputError: NaN, a negative bound, epsilon outside (0, 1), a step that is not positive, or
            a singular value of the product above its norm.
    """
    call = "linear_network_converges_not_lazy"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    p = upper_bound(product_norm_upper, "product_norm_upper", call)
    mu = lower_bound(pl_lower, "pl_lower", call)
    k = upper_bound(smoothness_upper, "smoothness_upper", call)
    eps = fraction(epsilon, "epsilon", call)
    step = None if step_size is None else positive(step_size, "step_size", call)
    s1 = lower_bound(product_sigma_first_lower, "product_sigma_first_lower", call)
    s2 = lower_bound(product_sigma_second_lower, "product_sigma_second_lower", call)
    trusted = assumed_names(assumed, PREMISES, call)
    if max(s1, s2) > p:
        raise InputError(
            f"`product_norm_upper` of {call}() must be at least the product's singular values; got "
            f"{p!r} against {max(s1, s2)!r}. One of them is not the bound its name promises."
        )
    share = 1.0 - Interval.point(eps)
    spread = max(imbalance.largest_upper, imbalance.negative_largest_upper)
    hypotheses = [
        Hypothesis.known("initial_gap_upper", "0 <= f(w0) - f* <= value < inf", gap),
        Hypothesis.known("imbalance", "lambda_1(D_0), lambda_1(-D_0) <= value < inf",
                         max(spread, 0.0)),
        Hypothesis.known("product_norm_upper", "|W| <= value < inf where l(W) <= f(w0)", p),
        Hypothesis.above("pl_lower", "1/2 |grad l|^2 >= value (l - l*), value > 0", mu, 0.0),
        Hypothesis.known("smoothness_upper", "grad l is value-Lipschitz, value < inf", k),
    ]  # fmt: skip
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    def constants(eta: float) -> _Constants:
        drift = (Interval.point(eta) * Interval.point(gap) / share).hi
        square = _norm_square_upper(imbalance, drift, p)
        slope = (2.0 * Interval.point(k) * gap).clip_nonnegative().sqrt()  # it may underflow
        curvature = Interval.point(k) * square + slope
        return _Constants(drift, _kernel_lower(imbalance, drift, s1, s2), square, curvature.hi)

    eta = _largest_step(eps, constants) if step is None else step
    found = constants(eta)
    allowed = descent_step_lower(eps, found.smoothness)
    hypotheses += [
        Hypothesis.below("step_size", "0 < eta <= 2 eps / M", eta, allowed, strict=False),
        Hypothesis.above("criterion", "c > 0: rank survives the drift of the imbalance",
                         found.kernel, 0.0),
    ]  # fmt: skip
    rate = (
        (2.0 * share * eta * Interval.point(mu) * Interval.point(max(found.kernel, 0.0))).lo
        if eta > 0.0
        else 0.0
    )
    rate = min(max(rate, 0.0), 1.0)
    if all(h.holds for h in hypotheses):
        hypotheses.append(Hypothesis.above("rate_positive", "2 (1 - eps) eta mu c > 0", rate, 0.0))

    def conclusion() -> NotLazyConvergence:
        # sum of |steps| <= 2 sqrt(D_0) / ((1 - eps) sqrt(2 mu c)), T1's argument with constant a
        twice = 2.0 * Interval.point(mu) * Interval.point(found.kernel)
        slope = twice.clip_nonnegative().sqrt()
        return NotLazyConvergence(
            step_size=eta,
            drift_upper=found.drift,
            kernel_lower=found.kernel,
            jacobian_norm_upper=Interval.point(found.norm_square).sqrt().hi,
            smoothness_upper=found.smoothness,
            one_minus_rate_lower=rate,
            loss_rate_upper=(1.0 - Interval.point(rate)).hi,
            halving_steps_upper=steps_to_shrink_upper(2.0, rate),
            path_length_upper=(2.0 * Interval.point(gap).sqrt() / (share * slope)).hi,
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)


def _norm_square_upper(d: Imbalance, drift: float, p: float) -> float:
    """|W1|^2 + |W2|^2 from above: the convex sum is largest at an end of tr P + tr N <= Delta."""
    first, second = Interval.point(d.largest_upper), Interval.point(d.negative_largest_upper)
    one = _root(first + drift, p) + _root(second, p)
    other = _root(first, p) + _root(second + drift, p)
    return max(one.hi, other.hi)


def _kernel_lower(d: Imbalance, drift: float, s1: float, s2: float) -> float:
    """c from below."""
    lower = Interval.point(max(d.first_lower, 0.0)) + Interval.point(max(d.second_lower, 0.0))
    jointly = (lower - drift).lo
    first = _factor_lower(d.first_lower, -d.negative_largest_upper, drift, s1)
    second = _factor_lower(d.second_lower, -d.largest_upper, drift, s2)
    return max(jointly, (Interval.point(first) + Interval.point(second)).lo)


def _factor_lower(eigenvalue: float, smallest: float, drift: float, sigma: float) -> float:
    """max([eigenvalue - Delta]_+, phi(smallest - Delta, sigma)) from below."""
    plain = max((Interval.point(eigenvalue) - drift).lo, 0.0)
    if not sigma > 0.0:
        return plain
    return max(plain, _root(Interval.point((Interval.point(smallest) - drift).lo), sigma).lo)


def _root(x: Interval, y: float) -> Interval:
    """phi(x, y) = (x + sqrt(x^2 + 4 y^2)) / 2, the positive root of t^2 - x t - y^2."""
    square = Interval.point(y).square()
    root = (x.square() + 4.0 * square).clip_nonnegative().sqrt()
    if x.hi < 0.0 and (root - x).lo > 0.0:  # the same number without cancellation
        return (2.0 * square / (root - x)).clip_nonnegative()
    return ((x + root) / 2.0).clip_nonnegative()


def _largest_step(eps: float, constants: Callable[[float], _Constants]) -> float:
    """A step with eta <= 2 eps / M(eta), next to the largest, by bisection; 0 if none is found."""

    def allowed(eta: float) -> bool:
        return eta <= descent_step_lower(eps, constants(eta).smoothness)

    high = descent_step_lower(eps, constants(0.0).smoothness)
    if not high > 0.0:
        return 0.0
    if allowed(high):
        return high
    low = high
    for _ in range(200):
        low *= 0.5
        if allowed(low):
            break
    else:
        return 0.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low
