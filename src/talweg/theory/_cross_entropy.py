"""Softmax cross-entropy: its constants with smoothed labels (T4), and a target without (T13).

Summed over n samples of k classes, with p_i the softmax of the outputs of sample i and q_i the
(smoothed) label, l = sum_i -<q_i, log p_i>, grad l = (p_i - q_i)_i, which sums to zero within
each sample. A loss that is the mean over n samples is l / n.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from flint import arb

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arb import float_above, float_below
from talweg.theory._arguments import (
    assumed_names,
    fraction,
    lower_bound,
    positive,
    upper_bound,
)
from talweg.theory._ball import descent_step_lower
from talweg.theory._bounds import RadiusBound
from talweg.theory._composite import CompositeGradientBound, CompositeSmoothness
from talweg.theory._losses import largest_below
from talweg.theory._profile import LowerProfile
from talweg.theory._target import (
    TargetReached,
    _last_radius_upper,
    _step_with_overshoot,
    met_at_start,
)
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T13"
SOFTMAX_SMOOTHNESS = 0.5
"""K_l: diag(p) - p p^T has no eigenvalue above 1/2."""
PREMISES = (
    "initial_loss_upper", "target_loss_lower", "profile", "jacobian_norm", "jacobian_lipschitz",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """A softmax cross-entropy over n samples of k classes, summed or averaged.

    Args:
        scaling: "mean" (`torch.nn.CrossEntropyLoss()`) or "sum".
        samples: n >= 1, repeated samples counted as often as they occur.
        classes: k >= 2.

    Raises:
        InputError: unknown scaling, counts that are too small or no ints.
    """

    scaling: Literal["mean", "sum"]
    samples: int
    classes: int

    def __post_init__(self) -> None:
        if self.scaling not in ("mean", "sum"):
            raise InputError(
                f"`scaling` of CrossEntropy() must be 'mean' or 'sum'; got {self.scaling!r}. "
                "'mean' is torch's default."
            )
        for name, least in (("samples", 1), ("classes", 2)):
            n = getattr(self, name)
            if isinstance(n, bool) or not isinstance(n, int) or not least <= n <= 2**53:
                raise InputError(
                    f"`{name}` of CrossEntropy() must be an int from {least} to 2**53; got {n!r}. "
                    f"Pass how many {name} the loss is over."
                )

    @property
    def unit(self) -> Interval:
        """This loss over the summed one; also the step on the summed one over the learning rate."""
        return Interval.ratio(1, self.samples if self.scaling == "mean" else 1)

    def learning_rate_lower(self, summed_step_upper: float) -> float:
        """The largest learning rate found whose step on the summed loss is at most the given one.

        Args:
            summed_step_upper: >= 0, finite.
        """
        lr = (Interval.point(summed_step_upper) / self.unit).lo
        return largest_below(lr, lambda x: (self.unit * x).hi <= summed_step_upper)


def cross_entropy_pl_lower(smallest_label_lower: float, initial_gap_upper: float) -> float:
    """mu_l of the summed cross-entropy where l - l* <= G: a lower bound of all probabilities there.

    On zero-sum vectors diag(p) - p p^T >= min_j p_j, and KL(q_i || p_i) <= G bounds p_j from below:

        mu_l = min { x : q log(q/x) + (1-q) log((1-q)/(1-x)) <= G },   q = min_ij q_ij,

    found from x = q - sqrt(2 q G), which always does, upward.

    Source: T4 (docs/theory/T4.md, smoothed labels).

    Args:
        smallest_label_lower: q, in [0, 1].
        initial_gap_upper: G, upper bound of l(F(w0)) - l*.

    Returns:
        The bound, 0 where none is shown.

    Raises:
        InputError: NaN, a negative gap, a label outside [0, 1].
    """
    call = "cross_entropy_pl_lower"
    q = lower_bound(smallest_label_lower, "smallest_label_lower", call)
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    if not q <= 1.0:
        raise InputError(
            f"`smallest_label_lower` of {call}() must be a probability; got {q!r}. Pass the "
            "smallest entry of the smoothed labels."
        )
    if not (q > 0.0 and gap < float("inf")):
        return 0.0
    spread = (2.0 * Interval.point(q) * gap).clip_nonnegative().sqrt()
    best = max((Interval.point(q) - spread).lo, 0.0)
    low, high = best, q
    for _ in range(60):
        x = 0.5 * (low + high)
        if low < x < high and float_below(_binary_divergence(q, x)) >= gap:
            best = low = x
        else:
            high = x
    return best


def cross_entropy_target_reached(
    initial_loss_upper: float,
    target_loss_lower: float,
    profile: LowerProfile,
    jacobian_norm: RadiusBound,
    jacobian_lipschitz: RadiusBound,
    *,
    loss: CrossEntropy,
    epsilon: float,
    step_size: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[TargetReached]:
    """Gradient descent brings a summed cross-entropy down to a target (T13).

    With |grad l| >= psi(l), psi(u) = sqrt(k/(k-1)) (1 - e^{-u/sqrt n}), and s(rho) below
    sigma_min(J) on the vectors that sum to zero within each sample: if

        (1 - eps) int_0^R s > sqrt((k-1) n / k) log((e^{f(w0)/sqrt n} - 1) / (e^{t/sqrt n} - 1)),
        eta <= 2 eps / M,   M = sigma_max^2 / 2 + sqrt(f(w0)) beta on B(w0, R_t + eta G),

    R_t the radius of equality, G = sigma_max(R_t) sqrt(f(w0)), eta the step on the summed loss,
    the first k with f(w_k) <= t obeys

        k <= ceil( (k-1)/k sqrt(n) [log(e^v - 1) - 1/(e^v - 1)]_{t/sqrt n}^{f(w0)/sqrt n} / c ),
        c = (1 - eps) eta s(R_t)^2.

    Source: T13; proof in docs/theory/T13.md.

    Args:
        initial_loss_upper: upper bound of f(w0), the sum over the samples.
        target_loss_lower: lower bound of t on the same scale; must be positive to be reached.
        profile: s.
        jacobian_norm: sigma_max(R), of J on those vectors.
        jacobian_lipschitz: beta(R).
        loss: n, k, and the scaling of the loss that the step speaks of.
        epsilon: in (0, 1), the share of the descent given up to the step.
        step_size: the learning rate on `loss` to verify; None asks for a certified one near the
            largest.
        assumed: premises only assumed: names of the arguments above.

    Returns:
        PROVED with the numbers of T7 (f* = 0), or UNDECIDED naming the hypothesis: a premise,
        `target_loss_lower`, `criterion`, `rate_positive` or `step_size`.

    Raises:
        InputError: NaN, a negative loss, epsilon outside (0, 1), a step that is not positive.
    """
    call = "cross_entropy_target_reached"
    f0 = upper_bound(initial_loss_upper, "initial_loss_upper", call)
    target = lower_bound(target_loss_lower, "target_loss_lower", call)
    if not isinstance(loss, CrossEntropy):
        raise InputError(
            f"`loss` of {call}() must be a CrossEntropy; got {type(loss).__name__}. Pass "
            "CrossEntropy(scaling, samples, classes)."
        )
    share = 1.0 - Interval.point(fraction(epsilon, "epsilon", call))
    lr = None if step_size is None else positive(step_size, "step_size", call)
    trusted = assumed_names(assumed, PREMISES, call)

    hypotheses = [
        Hypothesis.above("target_loss_lower", "t >= value > 0", target, 0.0),
        Hypothesis.known("initial_loss_upper", "f(w0) <= value < inf", f0),
    ]
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)
    if f0 <= target:
        start = Hypothesis.below("initial_loss_upper", "f(w0) <= t", f0, target, strict=False)
        return decide(SOURCE, [hypotheses[0], start], trusted, lambda: met_at_start(lr))

    budget = cross_entropy_budget(f0, target, loss) / share
    statement = "int_t^{f(w0)} du / psi(u) / (1 - eps) < int_0^R s"
    available = profile.integral_lower(profile.radius)
    hypotheses += [
        Hypothesis.above("profile", "sigma_min(J) >= s on B(w0, R), s(0) = value > 0",
                         profile.value_lower(0.0), 0.0),
        Hypothesis.below("criterion", statement, budget.hi, available),
    ]  # fmt: skip
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    radius = profile.first_radius_upper(budget.hi)  # >= R_t
    s = profile.value_lower(radius)
    smoothness = CompositeSmoothness(jacobian_norm, jacobian_lipschitz, SOFTMAX_SMOOTHNESS, f0)
    g = CompositeGradientBound(jacobian_norm, SOFTMAX_SMOOTHNESS, f0).upper(radius)
    hypotheses += [
        Hypothesis.known("jacobian_norm", "|J| <= value < inf on B(w0, R_t)",
                         jacobian_norm.upper(radius)),
        Hypothesis.known("jacobian_lipschitz", "J is value-Lipschitz on B(w0, R_t)",
                         jacobian_lipschitz.upper(radius)),
    ]  # fmt: skip
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    if lr is None:
        lr = loss.learning_rate_lower(_largest_step(epsilon, smoothness, radius, g))
    eta, learning_rate = loss.unit * lr, lr  # eta: the step on the summed loss
    last = _last_radius_upper(radius, eta.hi, g)
    gain = max((share * eta * Interval.point(s).square()).lo, 0.0)  # c
    hypotheses += [
        Hypothesis.above("rate_positive", "(1 - eps) eta s(R_t)^2 > 0", gain, 0.0),
        Hypothesis.below("step_size", "0 < eta <= 2 eps / M, M on B(w0, R_t + eta G)",
                         eta.hi, descent_step_lower(epsilon, smoothness.upper(last)),
                         strict=False),
    ]  # fmt: skip

    def conclusion() -> TargetReached:
        return TargetReached(
            radius_upper=radius,
            final_radius_upper=last,
            step_size=learning_rate,
            one_minus_rate_lower=_relative_descent_lower(f0, target, loss, gain),
            steps_upper=_steps_upper(f0, target, loss, gain),
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)


def cross_entropy_budget(
    initial_loss_upper: float, target_loss_lower: float, loss: CrossEntropy
) -> Interval:
    """int_t^{f0} du/psi(u) = sqrt((k-1) n / k) log((e^{f0/sqrt n} - 1) / (e^{t/sqrt n} - 1)).

    With b = t / sqrt n and d = (f0 - t) / sqrt n the logarithm is log1p(expm1(d) / (1 - e^{-b})):
    nothing overflows and nothing cancels, however close or far apart f0 and t are.

    Args:
        initial_loss_upper: f0, finite.
        target_loss_lower: t > 0.
        loss: n and k.

    Returns:
        An enclosure for exactly these numbers; its upper end is what the criterion needs.
    """
    if initial_loss_upper <= target_loss_lower:
        return Interval.point(0.0)
    n, k = loss.samples, loss.classes
    root = arb(n).sqrt()
    spread, base = _spread(initial_loss_upper, target_loss_lower, root)
    factor = (arb(k - 1) * arb(n) / arb(k)).sqrt()
    value = factor * (spread.expm1() / base).log1p()
    return Interval(max(float_below(value), 0.0), float_above(value))


def _spread(f0: float, t: float, root: arb) -> tuple[arb, arb]:
    """(f0 - t) / sqrt n and 1 - e^{-t / sqrt n}."""
    return (arb(f0) - arb(t)) / root, -(-arb(t) / root).expm1()


def _steps_upper(f0: float, t: float, loss: CrossEntropy, gain: float) -> float:
    """ceil(int_t^{f0} du / psi^2 / c) as a float; at least 1, inf when none is proved.

    The two fractions in the bracket differ by expm1(d) / ((1 - e^{-b}) expm1(a)), a = f0 / sqrt n.
    """
    k, root = loss.classes, arb(loss.samples).sqrt()
    spread, base = _spread(f0, t, root)
    growth = spread.expm1() / base
    bracket = growth.log1p() + growth / (arb(f0) / root).expm1()
    steps = float_above(arb(k - 1) / arb(k) * root * bracket / arb(gain))
    return max(1.0, float(int(steps) + 1)) if steps < 2.0**53 else float("inf")


def _relative_descent_lower(f0: float, t: float, loss: CrossEntropy, gain: float) -> float:
    """A lower bound of (f_k - f_{k+1}) / f_k while t < f_k <= f0.

    psi(u)^2 / u rises and then falls, so it is least at an end of [t, f0].
    """
    k, root, least = loss.classes, arb(loss.samples).sqrt(), float("inf")
    for u in (f0, t):
        slope = -(-arb(u) / root).expm1()
        least = min(least, float_below(arb(k) / arb(k - 1) * slope * slope / arb(u)))
    return min(max((Interval.point(gain) * max(least, 0.0)).lo, 0.0), 1.0)


def _binary_divergence(q: float, x: float) -> arb:
    """q log(q/x) + (1-q) log((1-q)/(1-x)), 0 < x < q < 1, from q - x."""
    d = arb(q) - arb(x)
    rest = 1 - arb(q)
    return -arb(q) * (-d / arb(q)).log1p() - rest * (d / rest).log1p()


def _largest_step(epsilon: float, smoothness: RadiusBound, radius: float, g: float) -> float:
    """A step with eta <= 2 eps / M(R_t + eta G) that a slightly larger one would break."""
    low = _step_with_overshoot(epsilon, smoothness, radius, g)
    high = descent_step_lower(epsilon, smoothness.upper(radius))
    for _ in range(60):
        eta = 0.5 * (low + high)
        last = _last_radius_upper(radius, eta, g)
        if eta <= descent_step_lower(epsilon, smoothness.upper(last)):
            low = eta
        else:
            high = eta
    return low
