"""The profile of the smallest singular value of the Jacobian, piecewise linear.

    sigma_min(J(w)) >= s(|w - w0|),    s(rho) = sigma_0 - int_0^rho beta,

by Weyl's inequality: beta(t) bounds the Lipschitz constant of J on B(w0, t). With beta a step
function s is linear on each step and its integral quadratic, so both are evaluated in closed form:
nothing is lost to Riemann sums, only to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import lower_bound
from talweg.theory._bounds import JacobianNormBound, NestedBallBound
from talweg.theory._profile import verified_radius


@dataclass(frozen=True, slots=True)
class _Piece:
    """One linear stretch: s(start + d) >= value - slope d and int_0^start s >= integral."""

    start: float
    end: float
    value: float
    slope: float
    integral: float

    def value_at(self, radius: float) -> float:
        """Lower bound of s(radius), start <= radius <= end."""
        if self.slope == 0.0:
            return self.value
        d = Interval.point(radius) - self.start
        return max((self.value - d * self.slope).lo, 0.0)  # s >= 0 up to the end of the piece

    def integral_at(self, radius: float) -> float:
        """Lower bound of int_0^radius s, start <= radius <= end."""
        if math.isinf(radius):
            return math.inf if self.value > 0.0 else self.integral
        d = Interval.point(radius) - self.start
        mean = Interval.point(self.value) - d * self.slope / 2.0
        return max((self.integral + d * mean).lo, self.integral)


@dataclass(frozen=True)
class SingularValueProfile:
    """s(rho) = sigma_0 - int_0^rho beta as a lower profile, cut where it would turn negative.

    Args:
        sigma_min_lower: sigma_0, lower bound of sigma_min(J(w0)). Nothing is left of the profile
            (radius 0) when it is not positive.
        lipschitz: Lipschitz constants of w -> J(w) in the operator norm, on nested balls.

    Raises:
        InputError: sigma_min_lower is NaN or +inf.
    """

    sigma_min_lower: float
    lipschitz: NestedBallBound
    _pieces: tuple[_Piece, ...] = field(init=False, repr=False, compare=False, default=())
    _end: tuple[float, float, float] = field(
        init=False, repr=False, compare=False, default=(0.0, 0.0, 0.0)
    )

    def __post_init__(self) -> None:
        value = lower_bound(self.sigma_min_lower, "sigma_min_lower", "SingularValueProfile")
        start, integral = 0.0, 0.0
        pieces = []
        for limit, slope in zip(self.lipschitz.radii, self.lipschitz.values, strict=True):
            end = _positive_until(start, value, slope, limit)
            if not (value > 0.0 and end > start):
                break
            piece = _Piece(start, end, value, slope, integral)
            pieces.append(piece)
            start, value, integral = end, piece.value_at(end), piece.integral_at(end)
            if end < limit:
                break
        object.__setattr__(self, "_pieces", tuple(pieces))
        object.__setattr__(self, "_end", (start, value, integral))

    @property
    def radius(self) -> float:
        """Where the profile ends: the last ball of `lipschitz`, or where s reaches 0."""
        return self._end[0]

    def value_lower(self, radius: float) -> float:
        """Lower bound of s(radius); 0 beyond the end, because sigma_min >= 0 always holds.

        Args:
            radius: >= 0.
        """
        if radius == 0.0:
            return max(self.sigma_min_lower, 0.0)
        piece = self._piece_at(radius)
        if piece is not None:
            return piece.value_at(radius)
        return max(self._end[1], 0.0) if radius == self.radius else 0.0

    def integral_lower(self, radius: float) -> float:
        """Lower bound of ``int_0^radius s``; beyond the end, of the integral up to the end.

        Args:
            radius: >= 0.
        """
        piece = self._piece_at(radius)
        return self._end[2] if piece is None else piece.integral_at(radius)

    def first_radius_upper(self, budget: float) -> float:
        """A radius R with ``integral_lower(R) >= budget``, next to the smallest; inf if none.

        On the piece where it happens, ``integral + s d - beta d^2 / 2 = budget`` is solved by
        ``d = 2 c / (s + sqrt(s^2 - 2 beta c))``, c = budget - integral; the float found is then
        verified, and moved up until it verifies.

        Args:
            budget: what the integral has to reach.
        """
        if budget <= 0.0:
            return 0.0
        for i, piece in enumerate(self._pieces):
            last = i + 1 == len(self._pieces)
            reached = self._end[2] if last else self._pieces[i + 1].integral
            if reached >= budget:
                c = budget - piece.integral
                bend = 2.0 * (piece.slope / piece.value) * (c / piece.value)
                step = 2.0 * (c / piece.value) / (1.0 + math.sqrt(max(1.0 - bend, 0.0)))
                return verified_radius(self, piece.start + step, piece.end, budget)
        return math.inf

    def jacobian_norm(self, at_start_upper: float) -> JacobianNormBound:
        """``sup_{B(w0,R)} |J| <= |J(w0)| + int_0^R beta`` from the same Lipschitz constants.

        Args:
            at_start_upper: upper bound of the operator norm of J(w0).
        """
        return JacobianNormBound(at_start_upper, self.lipschitz)

    def _piece_at(self, radius: float) -> _Piece | None:
        """The piece with start <= radius < end, None from the end of the profile on."""
        if not radius >= 0.0:
            raise InputError(
                f"`radius` of SingularValueProfile must be a number >= 0; got {radius!r}. "
                "Distances from the starting point are not negative."
            )
        return next((p for p in self._pieces if radius < p.end), None)


def singular_value_profile(
    sigma_min_lower: float, lipschitz: NestedBallBound | Iterable[tuple[float, float]]
) -> SingularValueProfile:
    """The profile ``s(rho) = sigma_0 - int_0^rho beta`` of T11 and T4.

    Args:
        sigma_min_lower: lower bound of sigma_min(J(w0)).
        lipschitz: pairs (radius, beta_upper) in increasing order of radius, beta_upper a Lipschitz
            constant of J on B(w0, radius); or such a bound already built.

    Returns:
        The profile; its radius is 0 when sigma_min_lower <= 0.

    Raises:
        InputError: NaN anywhere, sigma_min_lower = inf, radii not increasing, beta_upper < 0.
    """
    if not isinstance(lipschitz, NestedBallBound):
        lipschitz = NestedBallBound.of(lipschitz)
    return SingularValueProfile(sigma_min_lower, lipschitz)


def _positive_until(start: float, value: float, slope: float, limit: float) -> float:
    """The largest end <= limit with value - slope (end - start) >= 0, rounded down."""
    if not value > 0.0:
        return start
    if slope == 0.0:
        return limit
    zero = (Interval.point(start) + Interval.point(value) / Interval.point(slope)).lo
    return max(min(limit, zero), start)
