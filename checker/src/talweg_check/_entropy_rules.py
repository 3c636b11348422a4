"""The theorems about softmax cross-entropies; the claims and eta speak of the sum over samples.

grad l sums to zero within each sample, l has a gradient of modulus 1/2, hence |grad l|^2 <= l - l*,
and grad f = J^T grad l a modulus of at most M = |J|^2 / 2 + sqrt(l - l*) beta.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial

from flint import arb

from talweg_check._arrays import rational
from talweg_check._claims import Numbers, require, require_at_least
from talweg_check._losses import CrossEntropy
from talweg_check._squared_rules import beta_at
from talweg_check._verdict import Invalid


def _loss(n: Numbers) -> CrossEntropy:
    if not isinstance(n.loss, CrossEntropy):
        raise Invalid("the theorem is about cross-entropies")
    return n.loss


def t4_entropy(n: Numbers) -> None:
    """Smoothed labels: l - l* is a sum of divergences, PL with mu where it is at most G.

    On zero-sum vectors diag(p) - p p^T >= min p, and KL(q || p) <= G keeps every p_j above the
    x < q_j with binary divergence G from q_j, which increases with q_j.
    """
    loss, epsilon, gap = _loss(n), n.claims["epsilon"], n.claims["initial_gap_upper"]
    mu, least = n.claims["pl_lower"], loss.smallest_label
    require(loss.smoothing > 0, "label_smoothing > 0")
    require(mu <= least, "pl_lower <= the smallest smoothed label")
    if gap > 0:
        require_at_least(
            lambda: _divergence(least, mu),
            lambda: rational(gap),
            "the binary divergence of smallest label and pl_lower is >= initial_gap_upper",
        )
    require(epsilon < 1, "epsilon < 1")
    reach = (1 - epsilon) * n.s_integral(n.radius)
    require(
        reach >= 0 and reach**2 * mu >= 2 * gap,
        "(1 - epsilon) int_0^radius s >= sqrt(2 initial_gap_upper / pl_lower)",
    )
    _step(n, gap, n.radius)
    delta = 2 * (1 - epsilon) * n.eta * mu * n.s(n.radius) ** 2
    require(
        n.claims["one_minus_rate"] <= delta,
        "one_minus_rate <= 2 (1 - epsilon) eta pl_lower s(radius)^2",
    )


def t13(n: Numbers) -> None:
    """No smoothing, down to t: |grad l| >= psi(l), psi(u) = sqrt(k/(k-1)) (1 - e^(-u / sqrt n)).

    Above t a step gains at least c psi(f)^2, c = (1 - epsilon) eta s(radius)^2; the last one may
    leave the ball, but not the ball of radius overshoot_radius.
    """
    loss, epsilon, start = _loss(n), n.claims["epsilon"], n.claims["initial_loss_upper"]
    overshoot, steps = n.claims["overshoot_radius"], n.claims["steps_upper"]
    target = n.claims["target_loss"] / n.unit
    require(loss.smoothing == 0, "label_smoothing = 0")
    require(start > target, "initial_loss_upper exceeds the target")
    require(epsilon < 1, "epsilon < 1")
    require(overshoot <= n.pieces[-1][0], "overshoot_radius lies within the listed radii")
    share = Fraction(loss.classes - 1, loss.classes)
    require_at_least(
        lambda: rational((1 - epsilon) * n.s_integral(n.radius)),
        lambda: _between(
            n, target, start, lambda e: rational(share * loss.samples).sqrt() * e.log()
        ),
        "(1 - epsilon) int_0^radius s >= int du / psi from the target to initial_loss_upper",
    )
    leap = overshoot - n.radius
    require(
        leap >= 0 and leap**2 >= (n.eta * n.jacobian(n.radius)) ** 2 * start,
        "overshoot_radius >= radius + eta sup|J| sqrt(initial_loss_upper)",
    )
    _step(n, start, overshoot)
    c = (1 - epsilon) * n.eta * n.s(n.radius) ** 2
    for u in (target, start):  # psi(u)^2 / u rises, then falls
        require_at_least(
            partial(_relative_gain, n, c / share, u),
            lambda: rational(n.claims["one_minus_rate"]),
            "one_minus_rate <= c psi(u)^2 / u at the target and at initial_loss_upper",
        )
    require(steps.denominator == 1, "steps_upper is an integer")
    require_at_least(
        lambda: rational(steps * c),
        lambda: _between(
            n, target, start,
            lambda e: rational(share) * arb(loss.samples).sqrt() * (e.log() - 1 / e),
        ),
        "c steps_upper >= int du / psi^2 from the target to initial_loss_upper",
    )  # fmt: skip


def _step(n: Numbers, gap: Fraction, radius: Fraction) -> None:
    """eta (|J|^2 / 2 + sqrt(gap) beta) <= 2 epsilon on the ball, without the root."""
    room = 2 * n.claims["epsilon"] - n.eta * n.jacobian(radius) ** 2 / 2
    bend = n.eta * beta_at(n, radius)
    require(room >= 0 and room**2 >= bend**2 * gap, "eta M <= 2 epsilon")


def _divergence(q: Fraction, x: Fraction) -> arb:
    """q log(q/x) + (1-q) log((1-q)/(1-x)), 0 < x <= q < 1."""
    rest = rational(1 - q) * rational((1 - q) / (1 - x)).log()
    divergence: arb = rational(q) * rational(q / x).log() + rest
    return divergence


def _relative_gain(n: Numbers, factor: Fraction, u: Fraction) -> arb:
    """factor (1 - e^(-u / sqrt n))^2 / u."""
    gain: arb = rational(factor / u) * (-_per_root(n, u)).expm1() ** 2
    return gain


def _per_root(n: Numbers, u: Fraction) -> arb:
    """u / sqrt(n)."""
    return rational(u) / arb(_loss(n).samples).sqrt()


def _between(n: Numbers, low: Fraction, high: Fraction, primitive: Callable[[arb], arb]) -> arb:
    """The difference of a primitive, a function of e^(u / sqrt n) - 1, at the two ends."""
    at_high, at_low = (primitive(_per_root(n, u).expm1()) for u in (high, low))
    return at_high - at_low
