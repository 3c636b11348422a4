"""The theorems at equality: every claim as strong as it can be, then a hair stronger.

The numbers are rationals of my own choice, so equality is exact; the two sides of an inequality
with logarithms come as close as 2^-90.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from flint import arb
from tests.soundness.mutation.registry import Checker, case, demand, precision, refused

HAIR = Fraction(1, 2**90)
PIECES = [(Fraction(1, 3), Fraction(2)), (Fraction(1), Fraction(3)), (Fraction(5, 2), Fraction(4))]
X = Fraction(7, 5)
Claims = dict[str, Fraction]


def beta_to(x: Fraction, pieces: list[tuple[Fraction, Fraction]] = PIECES) -> Fraction:
    """int_0^x beta."""
    ends = [Fraction(0), *(end for end, _ in pieces)]
    slots = zip(pairwise(ends), pieces, strict=True)
    return sum((b * (min(x, hi) - lo) for (lo, hi), (_, b) in slots if x > lo), Fraction(0))


def area_to(x: Fraction, sigma: Fraction, pieces: Any = PIECES) -> Fraction:
    """int_0^x (sigma - int beta), by the trapezoidal rule, which is exact between two knots."""
    knots = sorted({Fraction(0), x, *(end for end, _ in pieces if end < x)})
    s = [sigma - beta_to(knot, pieces) for knot in knots]
    return sum(((b - a) * (s[i] + s[i + 1]) / 2 for i, (a, b) in enumerate(pairwise(knots))),
               Fraction(0))  # fmt: skip


def near(number: arb) -> Fraction:
    """A rational within 2^-200 or so of a number."""
    man, exp = number.mid().man_exp()
    return Fraction(int(man)) * Fraction(2) ** int(exp)


def halving(gain: Fraction) -> Fraction:
    """log 2 / -log(1 - gain), a hair above; anything where there is no such number."""
    if not 0 < gain < 1:
        return Fraction(1)
    with precision(400):
        return near(arb(2).log() / -ball(1 - gain).log()) * (1 + HAIR / 2)


def touching(number: int, sign: int = 1) -> arb:
    """A ball that ends at a number: above it, or below it with sign -1."""
    wide = arb(0, 1)
    with precision():
        return arb(number) + sign * wide.rad() + wide


def ball(x: Fraction) -> arb:
    return arb(x.numerator) / arb(x.denominator)


def told(claims: Claims, gain: Fraction) -> Claims:
    return claims | {"one_minus_rate": gain, "rate": 1 - gain, "halving_steps": halving(gain)}


def squared(unit: Fraction) -> Any:
    return SimpleNamespace(kind="squared", unit=unit)


def posed(theorem: str, loss: Any, claims: Claims, pieces: Any = PIECES) -> Any:
    return SimpleNamespace(theorem=theorem, loss=loss, claims=claims, profile=pieces)


def settle(checker: Checker, problem: Any, changes: Mapping[str, tuple[Any, str]]) -> None:
    """The claims follow; each change (a factor, or a function of the claim) is refused by name."""
    checker.theorems.require_theorem(problem)
    for label, (change, words) in changes.items():
        claims = dict(problem.claims)
        key = label.split(",")[0]
        claims[key] = change(claims[key]) if callable(change) else claims[key] * change
        spoilt = SimpleNamespace(**vars(problem) | {"claims": claims})
        refused(
            lambda spoilt=spoilt: checker.theorems.require_theorem(spoilt),
            checker.verdict.Invalid,
            f"the claims do not satisfy: {words}",
        )


UP, DOWN = 1 + HAIR, 1 - HAIR
COMMON: dict[str, tuple[Any, str]] = {
    "rate": (DOWN, "rate >= 1 - one_minus_rate"),
    "halving_steps": (DOWN, "halving_steps is large enough"),
}


def t11(x: Fraction, sigma: Fraction, unit: Fraction) -> Claims:
    top, bottom = 11 + beta_to(x), sigma - beta_to(x)
    eta = 1 / top**2
    q = eta * bottom**2
    claims = {
        "radius": x, "sigma_min_lower": sigma, "jacobian_norm_upper": Fraction(11),
        "residual_norm_upper": area_to(x, sigma), "step_size": eta / unit,
    }  # fmt: skip
    return told(claims, 2 * q - q * q)


@case
def rule_t11(checker: Checker) -> None:
    for x in (Fraction(1, 4), Fraction(1, 3), Fraction(1), X, Fraction(5, 2)):
        for unit in (Fraction(2, 7), Fraction(1)):
            claims = t11(x, Fraction(10), unit)
            settle(checker, posed("T11", squared(unit), claims), COMMON | {
                "residual_norm_upper": (UP, "int_0^radius s >= residual_norm_upper"),
                "sigma_min_lower": (DOWN, "int_0^radius s >= residual_norm_upper"),
                "jacobian_norm_upper": (UP, "eta sup|J|^2 <= 1 on the ball"),
                "step_size": (UP, "eta sup|J|^2 <= 1 on the ball"),
                "step_size,down": (DOWN, "one_minus_rate <= 2 q - q^2"),
                "one_minus_rate": (UP, "one_minus_rate <= 2 q - q^2"),
                "radius": (lambda r: r * DOWN, "int_0^radius s >= residual_norm_upper"),
                "radius,far": (lambda r: PIECES[-1][0] + HAIR,
                               "radius lies within the listed radii"),
            })  # fmt: skip


@case
def rule_of_a_last_radius(checker: Checker) -> None:
    """s vanishes at the radius, or the whole radius lies outside the list."""
    claims = t11(X, beta_to(X), Fraction(1))
    refused(
        lambda: checker.theorems.require_theorem(posed("T11", squared(Fraction(1)), claims)),
        checker.verdict.Invalid, "the claims do not satisfy: s(radius) > 0",
    )  # fmt: skip


@case
def rule_of_exact_convergence(checker: Checker) -> None:
    """s = |J|: one step is enough, and the number of halving steps does not matter."""
    pieces = [(Fraction(2), Fraction(0))]
    claims = {
        "radius": Fraction(1), "sigma_min_lower": Fraction(3), "jacobian_norm_upper": Fraction(3),
        "residual_norm_upper": Fraction(3), "step_size": Fraction(1, 9), "rate": Fraction(0),
        "one_minus_rate": Fraction(1), "halving_steps": HAIR,
    }  # fmt: skip
    problem = posed("T11", squared(Fraction(1)), claims, pieces)
    settle(checker, problem, {"one_minus_rate": (UP, "one_minus_rate <= 2 q - q^2")})
    # A rule that lets more pass still does not make more than everything go.
    checker.theorems.RULES["squared", "none"] = lambda n: None
    problem = posed("none", squared(Fraction(1)), claims, pieces)
    settle(checker, problem, {"one_minus_rate": (UP, "one_minus_rate <= 1")})


@case
def rule_t4(checker: Checker) -> None:
    epsilon, sigma, unit = Fraction(2, 7), Fraction(17, 2), Fraction(2, 5)
    for x, beta in ((Fraction(1), 3), (X, 4)):
        top, bottom = 9 + beta_to(x), sigma - beta_to(x)
        residual = (1 - epsilon) * area_to(x, sigma)
        eta = 2 * epsilon / (top**2 + residual * beta)
        claims = {
            "radius": x, "sigma_min_lower": sigma, "jacobian_norm_upper": Fraction(9),
            "residual_norm_upper": residual, "step_size": eta / unit, "epsilon": epsilon,
        }  # fmt: skip
        criterion = "(1 - epsilon) int_0^radius s >= residual_norm_upper"
        gain = 2 * (1 - epsilon) * eta * bottom**2
        settle(checker, posed("T4", squared(unit), told(claims, gain)), COMMON | {
            "residual_norm_upper": (UP, criterion),
            "sigma_min_lower": (DOWN, criterion),
            "epsilon": (UP, criterion),
            "epsilon,down": (DOWN, "eta M <= 2 epsilon"),
            "epsilon,one": (lambda e: Fraction(1), "epsilon < 1"),
            "epsilon,two": (lambda e: Fraction(2), "epsilon < 1"),
            "jacobian_norm_upper": (UP, "eta M <= 2 epsilon"),
            "step_size": (UP, "eta M <= 2 epsilon"),
            "one_minus_rate": (UP, "one_minus_rate <= 2 (1 - epsilon) eta s(radius)^2"),
            "radius": (DOWN, criterion),
        })  # fmt: skip


def least_steps(q: Fraction, ratio: Fraction) -> Fraction:
    """The smallest integer m with (1 - q)^m <= ratio."""
    with precision(400):
        return Fraction(int((-ball(ratio).log() / -ball(1 - q).log()).ceil().unique_fmpz()))


def t7(unit: Fraction) -> Claims:
    """Everything at equality: the path ends where s vanishes, at the last listed radius."""
    over, jacobian = Fraction(5, 2), Fraction(40)
    sigma = beta_to(over)
    top, bottom = jacobian + beta_to(X), sigma - beta_to(X)
    eta = 1 / top**2
    rho = (over - X) * top
    q = eta * bottom**2
    residual = area_to(X, sigma) + rho
    claims = {
        "radius": X, "sigma_min_lower": sigma, "jacobian_norm_upper": jacobian,
        "residual_norm_upper": residual, "step_size": eta / unit, "overshoot_radius": over,
        "target_loss": rho**2 * unit / 2, "steps_upper": least_steps(q, rho / residual),
    }  # fmt: skip
    return told(claims, 2 * q - q * q)


@case
def rule_t7(checker: Checker) -> None:
    leap = "overshoot_radius >= radius + eta sup|J| rho"
    for unit in (Fraction(2, 5), Fraction(1)):
        settle(checker, posed("T7", squared(unit), t7(unit)), COMMON | {
            "residual_norm_upper": (UP, "int_0^radius s >= residual_norm_upper - rho"),
            "target_loss": (DOWN, "int_0^radius s >= residual_norm_upper - rho"),
            "target_loss,up": (UP, leap),
            "jacobian_norm_upper": (UP, "eta sup|J|^2 <= 1 on the ball"),
            "step_size": (UP, "eta sup|J|^2 <= 1 on the ball"),
            "one_minus_rate": (UP, "one_minus_rate <= 2 q - q^2"),
            "overshoot_radius": (DOWN, leap),
            "overshoot_radius,in": (lambda o: 2 * X - o, leap),
            "overshoot_radius,up": (UP, "overshoot_radius lies within the listed radii"),
            "steps_upper": (lambda m: m - 1, "steps_upper is large enough"),
            "steps_upper,half": (lambda m: m + Fraction(1, 2), "steps_upper is an integer"),
        })  # fmt: skip


@case
def rule_t7_elsewhere(checker: Checker) -> None:
    """s may not be negative where the last step ends; a fit that is good enough needs no steps."""
    unit, claims = Fraction(1), t7(Fraction(1))
    wider = [*PIECES, (Fraction(3), Fraction(4))]
    claims["overshoot_radius"] += HAIR
    refused(
        lambda: checker.theorems.require_theorem(posed("T7", squared(unit), claims, wider)),
        checker.verdict.Invalid, "the claims do not satisfy: s(overshoot_radius) >= 0",
    )  # fmt: skip
    claims = t7(unit)
    claims["residual_norm_upper"] = Fraction(1, 100)  # far below rho and the integral
    claims["steps_upper"] = Fraction(1)
    checker.theorems.require_theorem(posed("T7", squared(unit), claims))


def t7_with(residual: Fraction, rho: Fraction) -> Claims:
    """Many steps, so that the least number is sharp."""
    sigma, over = Fraction(10), Fraction(5, 2)
    top, bottom = 50 + beta_to(X), sigma - beta_to(X)
    q = (bottom / top) ** 2
    steps = least_steps(q, rho / residual) if residual > rho else Fraction(1)
    claims = {
        "radius": X, "sigma_min_lower": sigma, "jacobian_norm_upper": Fraction(50),
        "residual_norm_upper": residual, "step_size": 1 / top**2, "overshoot_radius": over,
        "target_loss": rho**2 / 2, "steps_upper": steps,
    }  # fmt: skip
    return told(claims, 2 * q - q * q)


@case
def rule_t7_steps(checker: Checker) -> None:
    """The number of steps, with residuals above and below one."""
    area, rho = area_to(X, Fraction(10)), Fraction(1, 7)
    for residual, small in ((area, rho), (Fraction(1, 2), Fraction(2, 5)), (area + rho, rho)):
        claims = t7_with(residual, small)
        settle(checker, posed("T7", squared(Fraction(1)), claims), {
            "steps_upper": (lambda m: m - 1, "steps_upper is large enough"),
            "overshoot_radius": (lambda o: X, "overshoot_radius >= radius + eta sup|J| rho"),
        })  # fmt: skip
    far = t7_with(area + Fraction(1, 2), rho)
    refused(
        lambda: checker.theorems.require_theorem(posed("T7", squared(Fraction(1)), far)),
        checker.verdict.Invalid,
        "the claims do not satisfy: int_0^radius s >= residual_norm_upper - rho",
    )
    good = t7_with(Fraction(1, 100), rho)  # the integral exceeds the residual by far
    checker.theorems.require_theorem(posed("T7", squared(Fraction(1)), good))


def t9(unit: Fraction) -> Claims:
    theta, sigma, jacobian = Fraction(1, 3), Fraction(20), Fraction(40)
    lost = sigma - sigma * (1 - theta) / (1 + theta)
    top, bottom = jacobian + beta_to(X), sigma - beta_to(X)
    eta = 1 / top**2
    x = (1 + theta) * eta * bottom * (bottom - lost)
    gain = 2 * x - x * x
    residual, error = area_to(X, sigma - lost), Fraction(1, 1000)
    floor = (error / (theta * bottom)) ** 2 / (2 * unit)
    start = unit / 2 * residual**2
    claims = {
        "radius": X, "sigma_min_lower": sigma, "jacobian_norm_upper": jacobian,
        "residual_norm_upper": residual, "step_size": eta / unit, "theta": theta, "floor": floor,
        "gradient_error_upper": error, "steps_upper": least_steps(gain, floor / start),
    }  # fmt: skip
    return told(claims, gain)


@case
def rule_t9(checker: Checker) -> None:
    criterion = "int_0^radius s' >= residual_norm_upper"
    small = "floor >= (gradient_error_upper / (theta s(radius)))^2 / (4 c)"
    for unit in (Fraction(2, 5), Fraction(1)):
        claims = t9(unit)
        start = unit / 2 * claims["residual_norm_upper"] ** 2
        settle(checker, posed("T9", squared(unit), claims), COMMON | {
            "residual_norm_upper": (UP, criterion),
            "sigma_min_lower": (DOWN, criterion),
            "theta": (UP, criterion),
            "theta,down": (DOWN, small),
            "theta,one": (lambda t: Fraction(1), "theta < 1"),
            "sigma_min_lower,low": (lambda s: 2 * beta_to(X), "s'(radius) > 0"),
            "jacobian_norm_upper": (UP, "eta sup|J|^2 <= 1 on the ball"),
            "step_size": (UP, "eta sup|J|^2 <= 1 on the ball"),
            "one_minus_rate": (UP, "one_minus_rate <= 2 x - x^2"),
            "gradient_error_upper": (UP, small),
            "floor": (DOWN, small),
            "floor,start": (lambda f, s=start: s, "floor is below the loss at the start"),
            "steps_upper": (lambda m: m - 1, "steps_upper is large enough"),
            "steps_upper,half": (lambda m: m + Fraction(1, 2), "steps_upper is an integer"),
        })  # fmt: skip


@case
def rule_t9_just_positive(checker: Checker) -> None:
    """s' vanishes exactly where theta = 1/3 leaves half of sigma."""
    claims = t9(Fraction(1))
    claims["sigma_min_lower"] = 2 * beta_to(X)
    claims["residual_norm_upper"] = Fraction(1, 2**20)
    refused(
        lambda: checker.theorems.require_theorem(posed("T9", squared(Fraction(1)), claims)),
        checker.verdict.Invalid, "the claims do not satisfy: s'(radius) > 0",
    )  # fmt: skip


@case
def comparisons_in_arb(checker: Checker) -> None:
    """Decided with more digits where needed, undecided where no digits help."""
    at_least: Callable[..., None] = checker.claims.require_at_least
    invalid, incomplete = checker.verdict.Invalid, checker.verdict.Incomplete
    for digits in (10, 500, 4000):

        def tilted(sign: int, digits: int = digits) -> arb:
            return arb(2).log() + sign * arb(2) ** -digits

        at_least(lambda: tilted(1), lambda: arb(2).log(), "x")
        refused(
            lambda: at_least(lambda: tilted(-1), lambda: arb(2).log(), "x"),
            invalid, "the claims do not satisfy: x",
        )  # fmt: skip
    refused(
        lambda: at_least(lambda: arb(4).log(), lambda: 2 * arb(2).log(), "y"),
        incomplete, "not decided: y",
    )  # fmt: skip
    refused(lambda: at_least(arb.nan, arb.nan, "z"), incomplete, "not decided: z")
    at_least(lambda: arb(2), lambda: arb(2), "equal")
    checker.claims.require_power(Fraction(1, 2), Fraction(3), Fraction(1, 7), "p")
    refused(
        lambda: checker.claims.require_power(Fraction(1, 2), Fraction(3), Fraction(1, 9), "p"),
        invalid, "the claims do not satisfy: p",
    )  # fmt: skip
    above = touching(9)
    refused(lambda: at_least(lambda: arb(9), lambda: above, "t"), incomplete, "not decided: t")
    refused(
        lambda: checker.claims.require_power(Fraction(3, 2), Fraction(3), Fraction(1, 9), "q"),
        incomplete, "not decided: q",
    )  # fmt: skip
    checker.claims.require(True, "fine")
    demand(checker.claims.Numbers, "there are numbers")
