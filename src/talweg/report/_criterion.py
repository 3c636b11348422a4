"""The criterion of a certificate as pictures: the profile s, and what its integral has to reach.

s(rho) = sigma_min - int_0^rho beta bounds the smallest singular value of the Jacobian at distance
rho from the start. All bounds here are rationals computed exactly; only the drawing is in floats.
"""

# ruff: noqa: RUF001 - Greek letters and signs of the theory pages stand for themselves.

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from talweg.report._claim import Claim
from talweg.report._curves import curve, leftward, together, upright
from talweg.report._directed import DIGITS, lower, near, nearest, upper
from talweg.report._pieces import Figure, Paragraph, Part, Table
from talweg.report._plot import layout

POINTS = 160
ROWS = 12
MOST_DIGITS = 8


@dataclass(frozen=True)
class Profile:
    """s and its integral at the listed radii, exact.

    Attributes:
        knots: ``(rho, beta up to the next knot, s(rho), int_0^rho)``; the last one closes.
    """

    knots: tuple[tuple[Fraction, Fraction, Fraction, Fraction], ...]

    def at(self, rho: Fraction) -> tuple[Fraction, Fraction]:
        """``s(rho)`` and ``int_0^rho s``.

        Args:
            rho: From 0 to the last listed radius.
        """
        low, high = 0, len(self.knots) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.knots[middle][0] <= rho else (low, middle - 1)
        start, beta, s, area = self.knots[low]
        step = rho - start
        return s - beta * step, area + s * step - beta * step**2 / 2


def profile_of(claim: Claim) -> Profile:
    """The profile that the theorem of the file integrates: for T9 what the rounding leaves of s."""
    s, area, at = claim.numbers["sigma_min_lower"] - lost(claim), Fraction(0), Fraction(0)
    knots = []
    for end, beta in claim.profile:
        knots.append((at, beta, s, area))
        step = end - at
        s, area, at = s - beta * step, area + s * step - beta * step**2 / 2, end
    knots.append((at, Fraction(0), s, area))
    return Profile(tuple(knots))


def lost(claim: Claim) -> Fraction:
    """What the error of the gradient takes from s (T9); 0 for the other theorems."""
    theta = claim.numbers.get("theta", Fraction(0))
    return claim.numbers["sigma_min_lower"] * 2 * theta / (1 + theta)


def budget(claim: Claim) -> tuple[Fraction | None, bool, str]:
    """What the integral has to reach.

    Returns:
        The number (None where it is no finite float), whether it is exact, and its formula.
    """
    known = claim.numbers
    share = 1 - known.get("epsilon", Fraction(0))
    try:
        if claim.kind == "squared":
            r0 = known["residual_norm_upper"]
            if claim.theorem == "T7":
                rho = Fraction(math.sqrt(known["target_loss"] / claim.unit))
                return r0 - rho, False, "|r₀| - ρ with ρ the residual norm at the target"
            return r0 / share, True, "|r₀| / (1 - ε)" if "epsilon" in known else "|r₀|"
        if claim.theorem == "T4":
            gap = math.sqrt(2 * known["initial_gap_upper"] / known["pl_lower"])
            return Fraction(gap) / share, False, "√(2 G / μ) / (1 - ε)"
        n, k = claim.samples, claim.outputs
        root = math.sqrt(n)
        ratio = math.log(
            math.expm1(known["initial_loss_upper"] / root)
            / math.expm1(known["target_loss"] / claim.unit / root)
        )
        gap = math.sqrt((k - 1) * n / k) * ratio
        return Fraction(gap) / share, False, "∫ du / ψ(u) from the loss to the target, / (1 - ε)"
    except (ArithmeticError, ValueError):
        return None, False, "no finite number"


def criterion_parts(claim: Claim) -> tuple[Part, ...]:
    """The profile, its integral beside the budget, and both in numbers."""
    profile, radius = profile_of(claim), claim.numbers["radius"]
    need, exact, formula = budget(claim)
    _, area = profile.at(radius)
    end = min(claim.profile[-1][0], 2 * radius)
    where = [end * i / POINTS for i in range(POINTS + 1)]
    where = sorted({*where, radius, *(r for r, _ in claim.profile[:POINTS] if r < end)})
    values = [profile.at(rho) for rho in where]
    x = [near(rho) for rho in where]
    name = "s̃" if "theta" in claim.numbers else "s"
    here = upright(near(radius), "R*", left=radius * 2 > end)
    axis = {"title": {"text": "distance ρ from the start"}, "exponentformat": "power"}
    limits = [] if need is None else [(near(need), "needed")]
    told = _told(area, need, exact, radius)
    told += f" What is needed: {formula}."
    inside = [(a, b) for a, b in zip(where, values, strict=True) if a <= radius]
    first = Figure(
        "profile", "The profile: smallest singular value over the distance",
        ("s(ρ) = σ_min - ∫β" if name == "s" else
           "s̃(ρ) = σ_min - ∫β, less the part of σ_min that the error of the gradient may take")
        + ": no gradient is too small within R* as long as this is positive. The shaded area is "
        "the integral up to R*.",
        f"{name} falls from {nearest(profile.at(Fraction(0))[0])} at the start to "
        f"{nearest(profile.at(radius)[0])} at R*. {told}",
        (
            curve([near(a) for a, _ in inside], [near(b[0]) for _, b in inside],
                  f"{name}, area up to R*", 1, what="ρ", filled=True),
            curve([a for a, r in zip(x, where, strict=True) if r >= radius],
                  [near(b[0]) for b, r in zip(values, where, strict=True) if r >= radius],
                  f"{name} beyond R*", 1, what="ρ", dash="dash"),
        ),
        together(layout("", xaxis=axis), _from_zero(f"{name}(ρ)"), here),
        _numbers(claim, profile, name),
    )  # fmt: skip
    second = Figure(
        "criterion", "The criterion: integral against what is needed",
        "The path can be no longer than the ρ at which the integral reaches what "
        "is needed, and that must happen where the profile is still positive. " + told,
        told,
        (curve(x, [near(b[1]) for b in values], f"∫ of {name} from 0 to ρ", 3, what="ρ"),),
        together(leftward(layout("", limits=limits, xaxis=axis)), _from_zero("integral"), here),
        _numbers(claim, profile, name),
    )  # fmt: skip
    return first, second, Paragraph(
        "The numbers in sentences and tables are the file's, or computed from them exactly, and "
        "rounded to the safe side; those called \"about\" and the curves are floating point."
    )  # fmt: skip


def _from_zero(title: str) -> dict[str, Any]:
    return {"yaxis": {"title": {"text": title}, "rangemode": "tozero", "exponentformat": "power"}}


def _told(area: Fraction, need: Fraction | None, exact: bool, radius: Fraction) -> str:
    """Integral and need in a sentence, in enough digits that rounding does not turn them round."""
    here = f"The integral up to R* = {upper(radius)} is at least "
    if need is None:
        return f"{here}{lower(area)}; what is needed is no finite float."
    if exact and area < need:
        return f"{here}{lower(area)}, by the numbers of the file short of what is needed."
    printed = upper if exact else nearest
    for digits in range(DIGITS, MOST_DIGITS):
        have, want = lower(area, digits), printed(need, digits)
        if Fraction(have) >= Fraction(want):
            return f"{here}{have}; needed is {'at most' if exact else 'about'} {want}."
    just = "no less than what is needed" if exact else "as far as floats tell what is needed"
    return f"{here}{lower(area)}, {just}."


def _numbers(claim: Claim, profile: Profile, name: str) -> Table:
    radius = claim.numbers["radius"]
    listed = [at for at, _ in claim.profile if at < radius]
    if len(listed) > ROWS:
        listed = [listed[i * (len(listed) - 1) // (ROWS - 1)] for i in range(ROWS)]
    if len(listed) < 3:
        listed = sorted({*listed, radius / 4, radius / 2, 3 * radius / 4})
    # At decimals as they are printed, so that a row is true as it stands.
    shown = [text for text in dict.fromkeys(nearest(at, 3) for at in listed)
             if Fraction(text) < radius]  # fmt: skip
    points = [("0", Fraction(0)), *((t, Fraction(t)) for t in shown), ("R*", radius)]
    rows = tuple(
        (text, lower(s), lower(area)) for text, at in points for s, area in [profile.at(at)]
    )
    return Table("At some distances, rounded down", ("ρ", f"{name}(ρ)", "integral"), rows)
