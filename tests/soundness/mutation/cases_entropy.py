"""The theorems about cross-entropies at equality, with numbers of my own."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from flint import arb
from tests.soundness.mutation.cases_rules import (
    COMMON,
    DOWN,
    HAIR,
    PIECES,
    UP,
    Claims,
    area_to,
    ball,
    beta_to,
    near,
    posed,
    settle,
    squared,
    t11,
    told,
)
from tests.soundness.mutation.registry import Checker, case, precision, refused

SIGMA, N, K, X = Fraction(17, 2), 7, 5, Fraction(1)
EPSILON = Fraction(2, 7)


def entropy(checker: Checker, unit: Fraction, smoothing: Fraction) -> Any:
    return checker.losses.CrossEntropy(unit, "mean", "words", N, K, smoothing)


def exactly(value: Callable[[], arb], factor: Fraction = Fraction(1)) -> Fraction:
    """The value, up to 2^-300, times a factor."""
    with precision(400):
        return near(value()) * factor


def step_for(root: Fraction, radius: Fraction, beta: int, jacobian: Fraction) -> Fraction:
    """The largest eta with eta (Sigma^2 / 2 + root beta) <= 2 epsilon; root^2 is the gap."""
    return 2 * EPSILON / ((jacobian + beta_to(radius)) ** 2 / 2 + root * beta)


def smoothed_with(unit: Fraction, mu: Fraction, root: Fraction) -> Claims:
    eta, gap = step_for(root, X, 3, Fraction(9)), root**2
    gain = 2 * (1 - EPSILON) * eta * mu * (SIGMA - beta_to(X)) ** 2
    claims = {
        "radius": X, "sigma_min_lower": SIGMA, "jacobian_norm_upper": Fraction(9),
        "initial_gap_upper": gap, "pl_lower": mu, "epsilon": EPSILON, "step_size": eta / unit,
    }  # fmt: skip
    return told(claims, gain)


def divergence(q: Fraction, x: Fraction) -> arb:
    """KL of (q, 1 - q) from (x, 1 - x)."""
    one, two = ball(q), ball(x)
    return one * (one.log() - two.log()) + (1 - one) * ((1 - one).log() - (1 - two).log())


CRITERION = "(1 - epsilon) int_0^radius s >= sqrt(2 initial_gap_upper / pl_lower)"
DIVERGENCE = "the binary divergence of smallest label and pl_lower is >= initial_gap_upper"


@case
def rule_t4_entropy(checker: Checker) -> None:
    """The criterion and the step at equality; mu and G are chosen for the divergence below."""
    unit, smoothing = Fraction(1, 7), Fraction(3, 4)
    mu = Fraction(1, 20)  # the divergence of 3/20 and 1/20 is about 0.07
    claims = smoothed_with(unit, mu, Fraction(1, 4))
    problem = posed("T4", entropy(checker, unit, smoothing), claims)
    settle(checker, problem, COMMON | {
        "step_size": (UP, "eta M <= 2 epsilon"),
        "step_size,huge": (10**4, "eta M <= 2 epsilon"),
        "jacobian_norm_upper": (UP, "eta M <= 2 epsilon"),
        "epsilon": (DOWN, "eta M <= 2 epsilon"),
        "epsilon,up": (UP, "one_minus_rate <= 2 (1 - epsilon) eta pl_lower s(radius)^2"),
        "epsilon,one": (lambda e: Fraction(1), "epsilon < 1"),
        "epsilon,two": (lambda e: Fraction(2), "epsilon < 1"),
        "one_minus_rate": (UP, "one_minus_rate <= 2 (1 - epsilon) eta pl_lower s(radius)^2"),
        "pl_lower": (DOWN, "one_minus_rate <= 2 (1 - epsilon) eta pl_lower s(radius)^2"),
        "pl_lower,up": (lambda m: Fraction(3, 20) * UP, "pl_lower <= the smallest smoothed label"),
        "pl_lower,equal": (lambda m: Fraction(3, 20), DIVERGENCE),
        "sigma_min_lower": (lambda s: beta_to(X) + HAIR, CRITERION),
    })  # fmt: skip


@case
def rule_t4_entropy_tight(checker: Checker) -> None:
    """The criterion at equality, then the divergence; both with G a square."""
    unit, smoothing = Fraction(1), Fraction(3, 4)
    gap, mu = Fraction(1, 16), Fraction(1, 72)
    need = 3 / (1 - EPSILON)  # sqrt(2 gap / mu) = 3, so that equality is exact
    sigma = (need + area_to(X, Fraction(0)) * -1) / X  # area_to is affine in sigma
    eta = step_for(Fraction(1, 4), X, 3, Fraction(9))
    gain = 2 * (1 - EPSILON) * eta * mu * (sigma - beta_to(X)) ** 2
    claims = told({
        "radius": X, "sigma_min_lower": sigma, "jacobian_norm_upper": Fraction(9),
        "initial_gap_upper": gap, "pl_lower": mu, "epsilon": EPSILON, "step_size": eta / unit,
    }, gain)  # fmt: skip
    loss = entropy(checker, unit, smoothing)
    settle(checker, posed("T4", loss, claims), {
        "sigma_min_lower": (DOWN, CRITERION),
        "epsilon": (UP, CRITERION),
        "initial_gap_upper": (UP, CRITERION),
        "pl_lower": (DOWN, CRITERION),
        "radius": (DOWN, CRITERION),
    })  # fmt: skip
    mu = Fraction(1, 20)  # here the criterion leaves room for a larger gap
    root = exactly(lambda: divergence(Fraction(3, 20), mu).sqrt())
    for change, fine in ((1 - HAIR, True), (1 + HAIR, False)):
        problem = posed("T4", loss, smoothed_with(unit, mu, root * change))
        if fine:
            checker.theorems.require_theorem(problem)
        else:
            refused(lambda p=problem: checker.theorems.require_theorem(p),  # type: ignore[misc]
                    checker.verdict.Invalid, DIVERGENCE)  # fmt: skip


@case
def rule_t4_entropy_corners(checker: Checker) -> None:
    """No gap; s that is so negative that its square would do; other losses."""
    invalid = checker.verdict.Invalid
    require = checker.theorems.require_theorem
    label = Fraction(3, 20)
    loss = entropy(checker, Fraction(1), Fraction(3, 4))
    require(posed("T4", loss, smoothed_with(Fraction(1), label, Fraction(0))))
    none = entropy(checker, Fraction(1), Fraction(0))
    claims = smoothed_with(Fraction(1), Fraction(1, 20), Fraction(1, 4))
    refused(lambda: require(posed("T4", none, claims)), invalid,
            "the claims do not satisfy: label_smoothing > 0")  # fmt: skip
    for key in (("cross_entropy", "T4"), ("cross_entropy", "T13")):
        other = squared(Fraction(1))
        other.kind = "cross_entropy"
        refused(lambda k=key, o=other: require(posed(k[1], o, claims)), invalid,  # type: ignore[misc]
                "the theorem is about cross-entropies")  # fmt: skip
    # At a radius whose integral is negative; s itself is read at that radius, so the rule is called
    # alone.
    low = claims | {"sigma_min_lower": Fraction(-50)}
    numbers = checker.claims.Numbers(posed("T4", loss, low))
    refused(lambda: checker.entropy_rules.t4_entropy(numbers), invalid, CRITERION)


def psi_squared(u: Fraction) -> arb:
    """k/(k-1) (1 - e^(-u / sqrt n))^2."""
    return arb(K) / (K - 1) * (1 - (-ball(u) / arb(N).sqrt()).exp()) ** 2


def reach_between(low: Fraction, high: Fraction) -> arb:
    """sqrt((k-1) n / k) log((e^(high/sqrt n) - 1) / (e^(low/sqrt n) - 1))."""
    root = arb(N).sqrt()
    ratio = ((ball(high) / root).exp() - 1) / ((ball(low) / root).exp() - 1)
    return (arb(K - 1) * N / K).sqrt() * ratio.log()


def steps_between(low: Fraction, high: Fraction) -> arb:
    """(k-1)/k sqrt n [log(e^v - 1) - 1/(e^v - 1)] between the two ends."""

    def primitive(u: Fraction) -> arb:
        e = (ball(u) / arb(N).sqrt()).exp() - 1
        return e.log() - 1 / e

    return arb(K - 1) / K * arb(N).sqrt() * (primitive(high) - primitive(low))


def target_claims(unit: Fraction, start: Fraction, target: Fraction, jacobian: Fraction) -> Claims:
    """T13 with everything at equality but the number of steps, which is the least."""
    need = exactly(lambda: reach_between(target, start), 1 + HAIR / 64) / (1 - EPSILON)
    sigma = (need - area_to(X, Fraction(0))) / X
    over, bottom, top = Fraction(5, 2), sigma - beta_to(X), jacobian + beta_to(X)
    root = exactly(lambda: ball(start).sqrt())  # of a square
    eta = step_for(root, over, 4, jacobian)
    c = (1 - EPSILON) * eta * bottom**2
    leap = eta * top * root
    if not leap <= over - X:
        raise ValueError("the leap goes too far")
    least = min((target, start), key=lambda u: float(psi_squared(u) / ball(u)))
    gain = exactly(lambda: ball(c) * psi_squared(least) / ball(least), 1 - HAIR / 64)
    count = exactly(lambda: steps_between(target, start) / ball(c))
    claims = {
        "radius": X, "sigma_min_lower": sigma, "jacobian_norm_upper": jacobian,
        "initial_loss_upper": start, "epsilon": EPSILON, "step_size": eta / unit,
        "target_loss": target * unit, "overshoot_radius": over,
        "steps_upper": Fraction(count.__ceil__()),
    }  # fmt: skip
    return told(claims, gain)


REACH = "(1 - epsilon) int_0^radius s >= int du / psi from the target to initial_loss_upper"
GAIN = "one_minus_rate <= c psi(u)^2 / u at the target and at initial_loss_upper"
STEPS = "c steps_upper >= int du / psi^2 from the target to initial_loss_upper"


@case
def rule_t13(checker: Checker) -> None:
    leap = "overshoot_radius >= radius + eta sup|J| sqrt(initial_loss_upper)"
    for unit, start, target in (
        (Fraction(1, 7), Fraction(9, 4), Fraction(1, 5)),  # least gain at the target
        (Fraction(1), Fraction(49), Fraction(10)),  # least gain at the start
    ):
        claims = target_claims(unit, start, target, Fraction(30))
        settle(checker, posed("T13", entropy(checker, unit, Fraction(0)), claims), COMMON | {
            "initial_loss_upper": (UP, REACH),
            "target_loss": (DOWN, REACH),
            "target_loss,start": (lambda t, u=unit, s=start: s * u,
                                  "initial_loss_upper exceeds the target"),
            "sigma_min_lower": (DOWN, REACH),
            "epsilon": (UP, REACH),
            "epsilon,down": (DOWN, "eta M <= 2 epsilon"),
            "epsilon,one": (lambda e: Fraction(1), "epsilon < 1"),
            "radius": (DOWN, REACH),
            "step_size": (UP, "eta M <= 2 epsilon"),
            "step_size,down": (DOWN, GAIN),
            "jacobian_norm_upper": (UP, "eta M <= 2 epsilon"),
            "one_minus_rate": (UP, GAIN),
            "overshoot_radius": (lambda o: X, leap),
            "overshoot_radius,in": (lambda o: -o, leap),
            "overshoot_radius,far": (UP, "overshoot_radius lies within the listed radii"),
            "steps_upper": (lambda m: m - 1, STEPS),
            "steps_upper,half": (lambda m: m + Fraction(1, 2), "steps_upper is an integer"),
        })  # fmt: skip


@case
def rule_t13_leap(checker: Checker) -> None:
    """The radius of the last step at equality: then the step is smaller than it might be."""
    unit, start = Fraction(1), Fraction(9, 4)
    claims = target_claims(unit, start, Fraction(1, 5), Fraction(30))
    eta = claims["step_size"]
    claims["overshoot_radius"] = X + eta * (30 + beta_to(X)) * Fraction(3, 2)
    loss = entropy(checker, unit, Fraction(0))
    leap = "overshoot_radius >= radius + eta sup|J| sqrt(initial_loss_upper)"
    settle(checker, posed("T13", loss, claims), {"overshoot_radius": (DOWN, leap)})
    smoothing = entropy(checker, unit, Fraction(1, 2))
    refused(lambda: checker.theorems.require_theorem(posed("T13", smoothing, claims)),
            checker.verdict.Invalid,
            "the claims do not satisfy: label_smoothing = 0")  # fmt: skip


@case
def rules_are_found_by_kind_and_theorem(checker: Checker) -> None:
    """A squared loss does not meet the rule of a cross-entropy of the same name."""
    claims = t11(X, SIGMA, Fraction(1))
    problem = posed("T11", squared(Fraction(1)), claims, PIECES)
    checker.theorems.require_theorem(problem)
    for key in (("squared", "T13"), ("cross_entropy", "T11"), ("cross_entropy", "T7")):
        if key in checker.theorems.RULES:
            raise AssertionError(f"{key} has a rule")
