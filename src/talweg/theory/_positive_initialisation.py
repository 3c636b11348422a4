"""P1: zero first layer, positive hidden layers, large output layer: the loss goes to zero.

The proof bounds |grad S|^2 / S from below on the ball B(w0, R) by the gradient with respect to the
first weight matrix alone. On that ball every pre-activation is bounded, so every slope is at least
some c_l > 0; every path from a first-layer unit to the output is a product of positive factors; so
every entry of every dF/dz_1 is at least (A - R) P. Derivation: docs/theory/P1.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, fraction, lower_bound, positive, upper_bound
from talweg.theory._ball import (
    DescentConvergence,
    FlowConvergence,
    gradient_descent_converges_in_ball,
    gradient_flow_converges_in_ball,
)
from talweg.theory._bounds import RadiusBound
from talweg.theory._increasing_activation import IncreasingActivation
from talweg.theory._profile import Profile
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "P1 (chatterjee2022, thm 2.1)"
PREMISES = (
    "gram_eigenvalue_lower", "input_entry_upper", "hidden_low", "hidden_high",
    "output_entry_lower", "initial_loss_upper",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PositiveNetwork:
    """A network of depth L >= 2 with one output, W_1 = 0, zero biases and positive W_2..W_{L-1}.

        F(x) = W_L h_{L-1},   h_l = sigma_l(W_l h_{l-1} + b_l),   sigma_l(0) = 0,   sigma_l' > 0,

    and S(w) = mean of (F(x_i) - y_i)^2 over n samples, whose value at the start is mean y_i^2.
    W_1 is trained; other parameters may be frozen. Networks without biases are covered.

    Args:
        inputs: d, the number of features.
        widths: d_1, ..., d_{L-1}.
        activations: sigma_1, ..., sigma_{L-1}.
        gram_eigenvalue_lower: lower bound of lambda, the smallest eigenvalue of the n x n matrix
            <x_i, x_j> / n. Where b_1 is trained, of (<x_i, x_j> + 1) / n.
        initial_loss_upper: upper bound of S(w0).
        input_entry_upper: x_max, upper bound of every |entry| of the inputs.
        hidden_low: lower bound of every entry of W_2..W_{L-1}; None for L = 2.
        hidden_high: upper bound of the same entries; None for L = 2.

    Raises:
        InputError: lengths that do not fit, sizes below 1, NaN, negative upper bounds,
            hidden_low > hidden_high, or hidden bounds given (or missing) at the wrong depth.
    """

    inputs: int
    widths: tuple[int, ...]
    activations: tuple[IncreasingActivation, ...]
    gram_eigenvalue_lower: float
    initial_loss_upper: float
    input_entry_upper: float
    hidden_low: float | None = None
    hidden_high: float | None = None

    def __post_init__(self) -> None:
        call = "PositiveNetwork"
        sizes = (self.inputs, *self.widths)
        counted = all(isinstance(s, int) and not isinstance(s, bool) and s >= 1 for s in sizes)
        if not (counted and len(sizes) > 1 and len(self.activations) == len(self.widths)):
            raise InputError(
                f"`inputs`, `widths` and `activations` of {call}() must be an int >= 1, at least "
                f"one int >= 1, and one activation for each; got {self.inputs!r}, {self.widths!r} "
                f"and {len(self.activations)} activations. Leave the output layer out of `widths`."
            )
        lower_bound(self.gram_eigenvalue_lower, "gram_eigenvalue_lower", call)
        upper_bound(self.initial_loss_upper, "initial_loss_upper", call)
        upper_bound(self.input_entry_upper, "input_entry_upper", call)
        given = self.hidden_low is not None and self.hidden_high is not None
        absent = self.hidden_low is None and self.hidden_high is None
        if not (absent if len(self.widths) == 1 else given):
            raise InputError(
                f"`hidden_low` and `hidden_high` of {call}() must be given exactly when there are "
                f"hidden matrices W_2..W_(L-1); got {self.hidden_low!r} and {self.hidden_high!r} "
                f"at depth {len(self.widths) + 1}. Pass both, or neither for two layers."
            )
        if self.hidden_low is not None and self.hidden_high is not None:
            low = lower_bound(self.hidden_low, "hidden_low", call)
            high = upper_bound(self.hidden_high, "hidden_high", call)
            if low > high:
                raise InputError(
                    f"`hidden_low` of {call}() must be at most hidden_high; got {low!r} > {high!r}."
                    " They bound the same entries from below and above."
                )


@dataclass(frozen=True, slots=True)
class ExplicitOutputEntry:
    """The explicit A of P1 and what it is made of.

    Attributes:
        output_entry_upper: A rounded up: entries of W_L above it suffice; inf where none is shown.
        radius: R of the ball.
        downstream_lower: P; on the ball every entry of dF/dz_1 is at least (A - R) P.
        preactivation_upper: k_1, ..., k_{L-1}.
        slope_lower: c_1, ..., c_{L-1}.
    """

    output_entry_upper: float
    radius: float
    downstream_lower: float
    preactivation_upper: tuple[float, ...]
    slope_lower: tuple[float, ...]


def explicit_output_entry(
    network: PositiveNetwork, *, epsilon: float = 0.0, radius: float | None = None
) -> ExplicitOutputEntry:
    """The explicit output scale A of P1: entries of W_L above A bring the loss to zero.

        A = max{ 2R,  2 sqrt(S(w0) / (lambda d_1)) / ((1 - eps) R P) },
        P = c_1 prod_{l=2}^{L-1} d_l (b_min - R) c_l,     c_l = min_{|u| <= k_l} sigma_l'(u),
        k_1 = R (d x_max + 1),   k_l = (b_max + R) d_{l-1} max_{|u| <= k_{l-1}} |sigma_{l-1}| + R.

    Source: P1, read off the proof of chatterjee2022 theorem 2.1, which states that some A exists.

    Args:
        network: the ingredients.
        epsilon: 0 for gradient flow, in (0, 1) for descent with steps that T1 allows.
        radius: R > 0, below b_min for L >= 3. None: the R that makes A nearly smallest (a search;
            any R gives a valid A).

    Returns:
        A, rounded up, with R, P, k and c.

    Raises:
        InputError: epsilon outside [0, 1), a radius that is not positive or not below b_min.
    """
    call = "explicit_output_entry"
    share = _share(epsilon, call)
    if radius is None:
        return _smallest_entry(network, share)
    return _entry(network, share, _radius(network, radius, call))


def positive_initialisation_flow_converges(
    network: PositiveNetwork,
    output_entry_lower: float,
    *,
    radius: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[FlowConvergence]:
    """Gradient flow on S from a positive initialisation converges to zero loss (P1 with T2).

        alpha = inf over B(w0, R) of |grad S|^2 / S >= 4 lambda d_1 ((A - R) P)^2,
        and the criterion is 4 S(w0) < R^2 alpha.

    Source: chatterjee2022 theorem 2.1. The entries of W_L enter as A - R, which is at least the A/2
    of the explicit formula; so entries above `explicit_output_entry` always suffice. The start has
    W_1 = 0 and biases 0, and W_1 is trained.

    Args:
        network: the ingredients.
        output_entry_lower: A, lower bound of every entry of W_L.
        radius: as in `explicit_output_entry`.
        assumed: premises only assumed, out of `gram_eigenvalue_lower`, `input_entry_upper`,
            `hidden_low`, `hidden_high`, `output_entry_lower`, `initial_loss_upper`.

    Returns:
        PROVED with the numbers of T2 on S, or UNDECIDED naming a premise, `downstream`, or a
        hypothesis of T2.

    Raises:
        InputError: NaN, an output entry of +inf, a radius that is not positive or not below b_min.
    """
    call = "positive_initialisation_flow_converges"
    hypotheses, profile = _steepness(network, output_entry_lower, radius, 0.0, call)
    trusted = assumed_names(assumed, PREMISES, call)
    if profile is None:
        return decide(SOURCE, hypotheses, trusted)
    inner = gradient_flow_converges_in_ball(network.initial_loss_upper, profile)
    found = inner.conclusion
    hypotheses += _named_for_the_loss(inner.hypotheses)
    return decide(SOURCE, hypotheses, trusted, None if found is None else lambda: found)


def positive_initialisation_descends(
    network: PositiveNetwork,
    output_entry_lower: float,
    smoothness: RadiusBound,
    *,
    epsilon: float,
    step_size: float | None = None,
    radius: float | None = None,
    assumed: Iterable[str] = (),
) -> Verdict[DescentConvergence]:
    """Gradient descent on S from a positive initialisation converges to zero loss (P1 with T1).

    The criterion is ``4 S(w0) < (1 - eps)^2 R^2 alpha`` with the alpha of the flow, the step
    ``eta <= 2 eps / M``. Some such M always exists, because S is C^2 on a compact ball; its value
    is the caller's. The start has W_1 = 0 and biases 0, and W_1 is trained.

    Source: chatterjee2022 theorem 2.1; T1 in place of its theorem 1.2.

    Args:
        network: the ingredients.
        output_entry_lower: A, lower bound of every entry of W_L.
        smoothness: M as a function of the radius, for S.
        epsilon: in (0, 1).
        step_size: the step on S to verify; None asks for the largest certified one.
        radius: as in `explicit_output_entry`.
        assumed: premises only assumed, out of `gram_eigenvalue_lower`, `input_entry_upper`,
            `hidden_low`, `hidden_high`, `output_entry_lower`, `initial_loss_upper`, `smoothness`.

    Returns:
        PROVED with the numbers of T1 on S, or UNDECIDED naming a premise, `downstream`, or a
        hypothesis of T1.

    Raises:
        InputError: NaN, an output entry of +inf, epsilon outside (0, 1), a radius that is not
            positive or not below b_min, a step that is not positive.
    """
    call = "positive_initialisation_descends"
    fraction(epsilon, "epsilon", call)
    hypotheses, profile = _steepness(network, output_entry_lower, radius, epsilon, call)
    trusted = assumed_names(assumed, (*PREMISES, "smoothness"), call)
    inner = gradient_descent_converges_in_ball(
        network.initial_loss_upper,
        Profile.constant(0.0, 1.0) if profile is None else profile,
        smoothness,
        epsilon=epsilon,
        step_size=step_size,
    )
    if profile is None:
        return decide(SOURCE, hypotheses, trusted)
    found = inner.conclusion
    hypotheses += _named_for_the_loss(inner.hypotheses)
    return decide(SOURCE, hypotheses, trusted, None if found is None else lambda: found)


def _steepness(
    network: PositiveNetwork, entry: float, radius: float | None, epsilon: float, call: str
) -> tuple[list[Hypothesis], Profile | None]:
    """The hypotheses of P1 itself, and the constant profile sqrt(alpha) on [0, R]."""
    a = lower_bound(entry, "output_entry_lower", call)
    share = _share(epsilon, call)
    low = network.hidden_low
    hypotheses = input_premises(network)
    if low is not None and network.hidden_high is not None:
        hypotheses += [
            Hypothesis.above("hidden_low", "entries of W_2..W_(L-1) >= value > 0", low, 0.0),
            Hypothesis.known("hidden_high", "entries of W_2..W_(L-1) <= value < inf",
                             network.hidden_high),
        ]  # fmt: skip
    if not all(h.holds for h in hypotheses):
        return hypotheses, None
    if radius is None:
        # the ball of the explicit A also serves smaller entries, unless they are below R
        best = _smallest_entry(network, share).radius
        r = min(best, a / 2.0) if a > 0.0 else best
        r = r if r > 0.0 else best
    else:
        r = _radius(network, radius, call)
    explicit = _entry(network, share, r)
    p = explicit.downstream_lower
    hypotheses += [
        Hypothesis.above("output_entry_lower", "entries of W_L >= value > R", a, r),
        Hypothesis.above("downstream", "P = c_1 prod_l d_l (b_min - R) c_l >= value > 0", p, 0.0),
    ]
    if not all(h.holds for h in hypotheses):
        return hypotheses, None
    units = Interval.point(network.gram_eigenvalue_lower) * network.widths[0]
    steepness = 2.0 * units.sqrt() * (Interval.point(a) - r) * p
    return hypotheses, Profile.constant(max(steepness.lo, 0.0), r)


def input_premises(network: PositiveNetwork) -> list[Hypothesis]:
    """The premises of P1 on the inputs and on the layer that reads them.

    Args:
        network: the ingredients.
    """
    return [
        Hypothesis.above("gram_eigenvalue_lower",
                         "W_1 is trained, lambda_min(<x_i, x_j> / n) >= value > 0 (with b_1 "
                         "trained: of (<x_i, x_j> + 1) / n)", network.gram_eigenvalue_lower, 0.0),
        Hypothesis.known("input_entry_upper",
                         "W_1 = 0 and biases 0 at w0, |entries of the inputs| <= value < inf",
                         network.input_entry_upper),
    ]  # fmt: skip


def _named_for_the_loss(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    """Those of T1 or T2 on S >= 0, where the gap to f* = 0 is the loss, under P1's own name."""
    return [
        replace(h, name="initial_loss_upper", statement="0 <= S(w0) <= value < inf")
        if h.name == "initial_gap_upper" else h
        for h in hypotheses
    ]  # fmt: skip


def _entry(network: PositiveNetwork, share: Interval, radius: float) -> ExplicitOutputEntry:
    r = Interval.point(radius)
    low, high = network.hidden_low, network.hidden_high
    k = (r * (Interval.point(network.inputs) * network.input_entry_upper + 1.0)).hi
    reach, slopes = [k], [network.activations[0].slope_lower(k)]
    product = Interval.point(slopes[0])
    if low is not None and high is not None:
        for l in range(1, len(network.widths)):  # noqa: E741 - the layer, as in the proof
            magnitude = network.activations[l - 1].magnitude_upper(k)
            k = ((Interval.point(high) + r) * network.widths[l - 1] * magnitude + r).hi
            slope = network.activations[l].slope_lower(k)
            reach.append(k)
            slopes.append(slope)
            # clipped: two nonpositive factors must not make a positive product
            least = (Interval.point(low) - r).clip_nonnegative()
            product = product * network.widths[l] * least * slope
    p = max(product.lo, 0.0)
    return ExplicitOutputEntry(
        _sufficient_entry_upper(network, share, radius, p), radius, p, tuple(reach), tuple(slopes)
    )


def _sufficient_entry_upper(
    network: PositiveNetwork, share: Interval, radius: float, downstream: float
) -> float:
    """``max{2R, 2 sqrt(S(w0) / (lambda d_1)) / (share R P)}`` rounded up."""
    units = Interval.point(network.gram_eigenvalue_lower) * network.widths[0]
    slope = share * radius * downstream
    if not (units.lo > 0.0 and slope.lo > 0.0 and network.initial_loss_upper < math.inf):
        return math.inf
    square = (Interval.point(network.initial_loss_upper) / units).clip_nonnegative()
    wanted = 2.0 * square.sqrt() / slope
    return max((2.0 * Interval.point(radius)).hi, wanted.hi)


_GRID = 64
_ROUNDS = 4
_NEAR_ZERO, _HUGE = 1e-300, 1e300  # no radius outside is tried


def _smallest_entry(network: PositiveNetwork, share: Interval) -> ExplicitOutputEntry:
    """The smallest A over a grid of radii, refined; every A seen is valid.

    P decreases in R, so A >= need / (R P(0)): radii outside [need / (A P(0)), A / 2] cannot beat
    an A already found.
    """
    low_entry = network.hidden_low
    at_zero = _entry(network, share, _NEAR_ZERO).downstream_lower
    units = network.gram_eigenvalue_lower * network.widths[0]
    solvable = at_zero > 0.0 and units > 0.0 and 0.0 < network.initial_loss_upper < math.inf
    need = 2.0 * math.sqrt(network.initial_loss_upper / units) / share.lo if solvable else 0.0
    radius = math.sqrt(need / (2.0 * at_zero)) if solvable else 1.0
    if low_entry is not None:
        radius = low_entry / 2.0 if low_entry > 0.0 else 1.0
    best = _entry(network, share, min(max(radius, _NEAR_ZERO), _HUGE))
    if not solvable:
        return best
    while best.output_entry_upper == math.inf and best.radius > _NEAR_ZERO:
        best = _entry(network, share, best.radius / 2.0)
    if best.output_entry_upper == math.inf:
        return best
    product = max(at_zero * best.output_entry_upper, 5e-324)
    lowest, highest = need / product, best.output_entry_upper / 2.0
    highest = highest if low_entry is None else min(highest, low_entry)
    low, high = (math.log(min(max(x, _NEAR_ZERO), _HUGE)) for x in (lowest, highest))
    for _ in range(_ROUNDS):
        width = (high - low) / _GRID
        for i in range(_GRID + 1):
            found = _entry(network, share, min(math.exp(min(low + i * width, 700.0)), _HUGE))
            if found.output_entry_upper < best.output_entry_upper:
                best = found
        middle = math.log(best.radius)
        low, high = middle - 2.0 * width, middle + 2.0 * width
    return best


def _radius(network: PositiveNetwork, radius: float, call: str) -> float:
    """R as given, below b_min where that is positive."""
    low = network.hidden_low
    r = positive(radius, "radius", call)
    if low is not None and 0.0 < low <= r:
        raise InputError(
            f"`radius` of {call}() must be below hidden_low = {low!r}, so that the hidden entries "
            f"stay positive on the ball; got {radius!r}. Leave it out for the best one."
        )
    return r


def _share(epsilon: float, call: str) -> Interval:
    value = upper_bound(epsilon, "epsilon", call)
    if not value < 1.0:
        raise InputError(
            f"`epsilon` of {call}() must lie in [0, 1); got {epsilon!r}. Use 0 for gradient flow."
        )
    return 1.0 - Interval.point(value)
