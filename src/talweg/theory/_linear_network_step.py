"""D2: what one gradient step of a two-layer linear network is sure to gain.

Along the step the product moves on a parabola, W(eta) = W - eta A + eta^2 B with
A = g1 W2 + W1 g2 and B = g1 g2, g1 = G W2^T, g2 = W1^T G, G = grad l(W), <G, A> = |grad f|^2. For
any symmetric form q with l(W + E) <= l(W) + <G, E> + q(E, E) / 2 (q = K <., .> for a K-smooth l)

    f(eta) - f <= -eta |grad f|^2 + eta^2 (<G, B> + q(A, A)/2) - eta^3 q(A, B) + eta^4 q(B, B)/2,

with equality when l is quadratic and q its Hessian.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, lower_bound, positive, upper_bound
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "D2 (sharpens xu2025, local descent lemma)"
SOURCE_OBSERVED = "D2, observed decrease (T12's condition, one step)"


@dataclass(frozen=True, slots=True)
class StepQuartic:
    """The quartic above -eta slope + eta^2 second + eta^3 third + eta^4 fourth, in intervals.

    Args:
        slope: |grad f|^2.
        second: <G, B> + q(A, A) / 2.
        third: -q(A, B).
        fourth: q(B, B) / 2.
    """

    slope: Interval
    second: Interval
    third: Interval
    fourth: Interval

    @classmethod
    def along_gradient(
        cls,
        gradient_square: Interval,
        gradient_dot_b: Interval,
        a_square: Interval,
        a_dot_b: Interval,
        b_square: Interval,
    ) -> StepQuartic:
        """The quartic from the inner products of A and B.

        Args:
            gradient_square: |grad f|^2 = <G, A>.
            gradient_dot_b: <G, B>.
            a_square: q(A, A).
            a_dot_b: q(A, B).
            b_square: q(B, B).
        """
        return cls(gradient_square, gradient_dot_b + a_square / 2.0, -a_dot_b, b_square / 2.0)

    def change(self, step_size: float) -> Interval:
        """An interval that holds the quartic at the step.

        Args:
            step_size: eta.
        """
        x = Interval.point(step_size)
        return x * (x * (self.second + x * (self.third + x * self.fourth)) - self.slope)

    def minimiser_approx(self) -> float:
        """The first stationary point eta > 0 of the midpoint quartic, a hint; inf if none.

        The derivative -slope + 2 second eta + 3 third eta^2 + 4 fourth eta^3 starts negative.
        """
        slope, second, third, fourth = (
            part.mid for part in (self.slope, self.second, self.third, self.fourth)
        )
        if not slope > 0.0:
            return 0.0

        def derivative(x: float) -> float:
            return -slope + x * (2.0 * second + x * (3.0 * third + x * 4.0 * fourth))

        # The coefficients are brought to one scale: eta = unit x with the largest term equal 1.
        unit = 1.0 / max(
            2.0 * abs(second) / slope,
            (3.0 * abs(third) / slope) ** 0.5,
            (4.0 * abs(fourth) / slope) ** (1.0 / 3.0),
            1e-300,
        )
        low, high = 0.0, 0.125 * unit
        for _ in range(2000):
            if derivative(high) >= 0.0:
                break
            low, high = high, high + 0.125 * unit
        else:
            return float("inf")
        for _ in range(200):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            low, high = (middle, high) if derivative(middle) < 0.0 else (low, middle)
        return low if low > 0.0 else high


@dataclass(frozen=True, slots=True)
class GuaranteedStep:
    """What D2 proves of one step w+ = w - eta grad f(w).

    Attributes:
        step_size: eta.
        decrease_lower: f(w) - f(w+) >= this > 0.
        descent_constant_lower: c with f(w) - f(w+) >= c |grad f| |w+ - w| (T12's condition).
        one_minus_contraction_lower: f(w+) - l* <= (1 - this) (f(w) - l*).
        contraction_upper: 1 - the above, rounded up.
    """

    step_size: float
    decrease_lower: float
    descent_constant_lower: float
    one_minus_contraction_lower: float
    contraction_upper: float


@dataclass(frozen=True, slots=True)
class ObservedStep:
    """What an observed decrease proves: f(w+) - l* <= contraction (f(w) - l*).

    Attributes:
        decrease_lower: f(w) - f(w+) >= this > 0.
        gap_upper: bounds f(w) - l*.
        one_minus_contraction_lower: decrease / gap, rounded down.
        contraction_upper: 1 - the above, rounded up.
        next_gap_upper: bounds f(w+) - l*.
    """

    decrease_lower: float
    gap_upper: float
    one_minus_contraction_lower: float
    contraction_upper: float
    next_gap_upper: float


def linear_network_step_decreases(
    quartic: StepQuartic, step_size: float, *, local_pl_lower: float, assumed: Iterable[str] = ()
) -> Verdict[GuaranteedStep]:
    """One gradient step of a two-layer linear network decreases the loss by a known amount (D2).

        f(w) - f(w - eta grad f) >= -quartic(eta) =: d > 0,
        f(w+) - l* <= (1 - 2 mu_t d / |grad f|^2) (f(w) - l*).

    Source: D2; xu2025's local descent lemma bounds the quartic by norms; docs/theory/D2.md.

    Args:
        quartic: `StepQuartic.along_gradient(...)`.
        step_size: eta > 0.
        local_pl_lower: mu_t of D1 at w; 0 leaves the contraction at 1.
        assumed: premises only assumed, out of `quartic`, `local_pl_lower`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming `quartic` (not finite), `local_pl_lower`
        (negative) or `decrease`.

    Raises:
        InputError: NaN, a step that is not finite and positive, a slope that is negative.
    """
    call = "linear_network_step_decreases"
    eta = positive(step_size, "step_size", call)
    mu = lower_bound(local_pl_lower, "local_pl_lower", call)
    trusted = assumed_names(assumed, ("quartic", "local_pl_lower"), call)
    if quartic.slope.hi < 0.0:
        raise InputError(
            f"`quartic` of {call}() must have a slope |grad f|^2 >= 0; got {quartic.slope!r}. "
            "The sign of the linear term is part of the quartic, not of the slope."
        )
    change = quartic.change(eta)
    # a step along a gradient that is 0 gains nothing, whatever the other coefficients say
    gain = -change.hi if quartic.slope.hi > 0.0 else min(-change.hi, 0.0)
    hypotheses = [
        Hypothesis.known("quartic", "the quartic at eta <= value < inf", max(change.hi, 0.0)),
        Hypothesis("local_pl_lower", "1/2 |grad f|^2 >= value (f - l*), value >= 0", mu, 0.0, mu,
                   bool(mu >= 0.0)),
    ]  # fmt: skip
    if all(h.holds for h in hypotheses):
        hypotheses.append(Hypothesis.above("decrease", "-quartic(eta) > 0", gain, 0.0))

    def conclusion() -> GuaranteedStep:
        square = Interval.point(quartic.slope.hi)  # > 0, or the gain would be 0
        c = (Interval.point(gain) / (Interval.point(eta) * square)).lo
        one_minus = (2.0 * Interval.point(mu) * Interval.point(gain) / square).lo
        x = min(max(one_minus, 0.0), 1.0)
        contraction = min((1.0 - Interval.point(x)).hi, 1.0)  # f(w+) < f(w)
        return GuaranteedStep(eta, gain, max(c, 0.0), x, contraction)

    return decide(SOURCE, hypotheses, trusted, conclusion)


def observed_step_contracts(
    decrease_lower: float, gap_upper: float, *, assumed: Iterable[str] = ()
) -> Verdict[ObservedStep]:
    """A decrease that was enclosed after the step contracts the gap by a known factor (D2).

        f(w) - f(w+) >= d > 0 and f(w) - l* <= u   imply   f(w+) - l* <= (1 - d/u) (f(w) - l*).

    The direction of the step and its rounding play no part.

    Source: D2, with T12's idea of checking a step as it happens; docs/theory/D2.md.

    Args:
        decrease_lower: d, lower bound of f(w) - f(w+).
        gap_upper: u, upper bound of f(w) - l*, for instance |G|^2 / (2 mu).
        assumed: premises only assumed, out of `decrease`, `gap_upper`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming `decrease` or `gap_upper`.

    Raises:
        InputError: NaN, a negative gap, or a decrease above the gap (f(w+) < l*: impossible).
    """
    call = "observed_step_contracts"
    d = lower_bound(decrease_lower, "decrease_lower", call)
    u = upper_bound(gap_upper, "gap_upper", call)
    trusted = assumed_names(assumed, ("decrease", "gap_upper"), call)
    if d > u:
        raise InputError(
            f"`decrease_lower` of {call}() must be at most gap_upper, because f(w+) >= l*; got "
            f"{d!r} against {u!r}. One of the two is not the bound its name promises."
        )
    hypotheses = [
        Hypothesis.known("gap_upper", "f(w) - l* <= value < inf", u),
        Hypothesis.above("decrease", "f(w) - f(w+) >= value > 0", d, 0.0),
    ]

    def conclusion() -> ObservedStep:
        x = min(max((Interval.point(d) / Interval.point(u)).lo, 0.0), 1.0)
        after = max((Interval.point(u) - Interval.point(d)).hi, 0.0)
        return ObservedStep(d, u, x, min((1.0 - Interval.point(x)).hi, 1.0), after)

    return decide(SOURCE_OBSERVED, hypotheses, trusted, conclusion)


def linear_network_smoothness_upper(
    jacobian_norm_upper: float,
    gradient_norm_upper: float,
    output_gradient_norm_upper: float,
    smoothness_upper: float,
    step_size: float,
) -> float:
    """The local descent constant L(eta), f(eta) <= f - eta |grad f|^2 (1 - eta L(eta) / 2).

        L(eta) = |G| + K (|J| + eta |grad f| / 2)^2,   |J|^2 = |W1|^2 + |W2|^2,

    the quartic with every coefficient replaced by its bound in norms.

    Source: D2; the same terms as xu2025's local smoothness constant; docs/theory/D2.md.

    Args:
        jacobian_norm_upper: |J|, from above.
        gradient_norm_upper: |grad f|, from above.
        output_gradient_norm_upper: |G|, from above.
        smoothness_upper: K, from above.
        step_size: eta >= 0.

    Returns:
        An upper bound of L(eta).

    Raises:
        InputError: NaN or a negative argument.
    """
    call = "linear_network_smoothness_upper"
    j = upper_bound(jacobian_norm_upper, "jacobian_norm_upper", call)
    g = upper_bound(gradient_norm_upper, "gradient_norm_upper", call)
    out = upper_bound(output_gradient_norm_upper, "output_gradient_norm_upper", call)
    k = upper_bound(smoothness_upper, "smoothness_upper", call)
    eta = upper_bound(step_size, "step_size", call)
    reach = Interval.point(j) + Interval.point(eta) * Interval.point(g) / 2.0
    return (Interval.point(out) + Interval.point(k) * reach.square()).hi
