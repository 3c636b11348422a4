"""Tensors of balls: a midpoint and a radius per entry, and arithmetic that always contains.

A `Ball` with midpoint m and radius r is the set of all real tensors x with |x - m| <= r entrywise.
For an operation o the result contains { x o y : x in X, y in Y }. With u = 2^-53, fl the computed
midpoint, and every radius rounded up:

    X + Y:  rad >= r_X + r_Y + u |fl|,
    X * Y:  rad >= |m_X| r_Y + r_X (|m_Y| + r_Y) + u |fl| + eta.

(|fl(x o y) - x o y| <= u |fl(x o y)| for a normal result, <= eta / 2 for a subnormal one.)

Radii are sums of products of nonnegative numbers, computed to nearest and lifted once at the end:
after at most 10 roundings per term and 16 underflows,

    exact <= (fl + 16 eta) (1 + 11 u) <= fl(fl(fl * (1 + 16 u)) + 64 eta),

one pass in place instead of a `nextafter` per operation.

A midpoint that overflows, or a radius that becomes NaN (inf - inf, 0 * inf), is replaced by the
whole real line, midpoint 0 and radius inf: wider, never wrong. A NaN handed in is refused.
(Source: midpoint-radius arithmetic, Rump, "Fast and parallel interval arithmetic", 1999.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import _directed as directed
from talweg.enclosure._scalar import Interval

if TYPE_CHECKING:
    from typing import TypeAlias

    Operand: TypeAlias = "Ball | Tensor | Interval | float"

_LIFT = 1.0 + 2.0**-49
_FLOOR = 2.0**-1068


def lift_(rad: Tensor) -> Tensor:
    """Raise a radius computed to nearest above the exact one (module docstring), in place."""
    return rad.mul_(_LIFT).add_(_FLOOR)


@dataclass(frozen=True, eq=False)
class Ball:
    """{x : |x - mid| <= rad, entrywise}.

    Args:
        mid: float64 tensor, finite.
        rad: float64 tensor of the same shape and device, >= 0; inf means the whole line.

    Raises:
        InputError: dtype, shape or device differ from that, a NaN, an infinite midpoint, a
            negative radius.
    """

    mid: Tensor
    rad: Tensor

    # Tensor + Ball and the like must come to the reflected methods below.
    __array_priority__ = 1000

    def __post_init__(self) -> None:
        mid, rad = self.mid, self.rad
        for name, t in (("mid", mid), ("rad", rad)):
            if not isinstance(t, Tensor) or t.dtype != torch.float64:
                came = str(t.dtype) if isinstance(t, Tensor) else type(t).__name__
                raise InputError(
                    f"`{name}` of Ball(mid, rad) must be a float64 tensor; got {came}. "
                    "Use Ball.exact(t), which converts exactly."
                )
        if mid.shape != rad.shape or mid.device != rad.device:
            raise InputError(
                "`mid` and `rad` of Ball(mid, rad) must have one shape and device; got "
                f"{tuple(mid.shape)} on {mid.device} and {tuple(rad.shape)} on {rad.device}. "
                "Expand the radius to the midpoint's shape."
            )
        if mid.numel() and not _all_finite(mid):
            raise InputError(
                "`mid` of Ball(mid, rad) must be finite; got a tensor of shape "
                f"{tuple(mid.shape)} with NaN or infinities. For an unknown number use mid 0 and "
                "rad inf."
            )
        if mid.numel() and not bool(rad.amin() >= 0.0):
            raise InputError(
                "`rad` of Ball(mid, rad) must be >= 0 and not NaN; got a tensor of shape "
                f"{tuple(rad.shape)} with minimum {float(rad.amin())}. Check where it came from."
            )

    @classmethod
    def exact(cls, t: Tensor) -> Ball:
        """The ball of radius 0 around t, converted exactly (see `exact_float64`)."""
        mid = directed.exact_float64(t)
        return cls(mid, _zero_radius(mid))

    @classmethod
    def from_bounds(cls, lo: Tensor, hi: Tensor) -> Ball:
        """The ball of all x with lo <= x <= hi; infinite bounds give the whole line.

        Args:
            lo: float64 tensor of lower bounds.
            hi: float64 tensor of upper bounds, same shape, hi >= lo.

        Raises:
            InputError: shapes differ, a NaN, or lo > hi somewhere.
        """
        directed.exact_float64(lo)
        if lo.shape != hi.shape or not bool((lo <= hi).all()):
            raise InputError(
                "`lo` and `hi` of Ball.from_bounds(lo, hi) must have one shape with lo <= hi "
                f"everywhere and no NaN; got shapes {tuple(lo.shape)}, {tuple(hi.shape)}. Check "
                "the order of the arguments."
            )
        return cls._between(lo, hi)

    @classmethod
    def _between(cls, lo: Tensor, hi: Tensor) -> Ball:
        # Halving rounds an odd subnormal, so a single point is taken as it is.
        mid = torch.where(lo == hi, lo, 0.5 * lo + 0.5 * hi)
        rad = torch.maximum(directed.sub_up(hi, mid), directed.sub_up(mid, lo))
        rad = torch.where(lo == hi, 0.0, rad)
        return cls._settled(mid, rad)

    @classmethod
    def _settled(cls, mid: Tensor, rad: Tensor) -> Ball:
        """Ball(mid, rad) after an operation: overflows and NaN become the whole line.

        The sums only detect trouble: a finite sum has finite terms, and a sum of radii (>= 0)
        is NaN exactly when a radius is. A false alarm costs one more pass.
        """
        if mid.numel() and not (
            math.isfinite(mid.sum().item()) and not math.isnan(rad.sum().item())
        ):
            bad = ~mid.isfinite() | rad.isnan()
            mid = torch.where(bad, 0.0, mid)
            rad = torch.where(bad, math.inf, rad)
        return cls._moved(mid, rad)

    @classmethod
    def _moved(cls, mid: Tensor, rad: Tensor) -> Ball:
        """Ball(mid, rad) of entries of balls and zeros, which need no look."""
        ball = object.__new__(cls)
        object.__setattr__(ball, "mid", mid)
        object.__setattr__(ball, "rad", rad)
        return ball

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor of balls."""
        return self.mid.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.mid.ndim

    @property
    def device(self) -> torch.device:
        """Device of midpoint and radius."""
        return self.mid.device

    def is_exact(self) -> bool:
        """Whether every radius is 0."""
        return is_zero(self.rad)

    def lower(self) -> Tensor:
        """Lower bounds mid - rad, rounded down; -inf where the radius is inf."""
        return self.mid if self.is_exact() else directed.sub_down(self.mid, self.rad)

    def upper(self) -> Tensor:
        """Upper bounds mid + rad, rounded up; inf where the radius is inf."""
        return self.mid if self.is_exact() else directed.add_up(self.mid, self.rad)

    def magnitude_upper(self) -> Tensor:
        """sup |x|, rounded up."""
        size = self.mid.abs()
        return size if self.is_exact() else directed.add_up(size, self.rad)

    def magnitude_lower(self) -> Tensor:
        """inf |x|, rounded down, >= 0."""
        size = self.mid.abs()
        return size if self.is_exact() else directed.sub_down(size, self.rad).clamp_(min=0.0)

    def contains(self, t: Tensor) -> bool:
        """Whether every entry of t lies in its ball; decided exactly, False for NaN.

        |t - m| <= r is decided on d = fl(t - m) and its rounding error e (TwoSum): d < r settles
        it, and for d = r the sign of e does.
        """
        x = directed.exact_float64(t)
        negated = -self.mid
        d = x + negated
        back = d - x
        e = (x - (d - back)) + (negated - back)
        inside = (d.abs() < self.rad) | ((d.abs() == self.rad) & (torch.sign(d) * e <= 0.0))
        return bool((inside | (x == self.mid) | (x.isfinite() & self.rad.isinf())).all())

    def inflate(self, r: Tensor | float) -> Ball:
        """The same midpoints with radius rad + r rounded up, r >= 0 and broadcast to the shape."""
        grown = directed.add_up(self.rad, r)
        if not bool((grown >= self.rad).all()) or grown.shape != self.shape:
            raise InputError(
                "`r` of Ball.inflate(r) must be >= 0, not NaN, and broadcast to the ball's shape "
                f"{tuple(self.shape)}; got {r!r:.80}. Pass an upper bound of the extra error."
            )
        return Ball._settled(self.mid, grown)

    def symmetrized(self) -> Ball:
        """A ball with a symmetric midpoint that holds every symmetric matrix of this one.

        |S - M| <= R and S = S^T give |S - M^T| <= R^T, hence |S - (M + M^T)/2| <= (R + R^T)/2.
        """
        self._require_square("symmetrized")
        if self.is_exact() and torch.equal(self.mid, self.mid.mT):
            return self
        mid = 0.5 * (self.mid + self.mid.mT)
        # fl(a + b) / 2 is off by u |fl| and, where halving underflows, by eta / 2.
        rad = 0.5 * (self.rad + self.rad.mT) + directed.UNIT_ROUNDOFF * mid.abs()
        return Ball._settled(mid, lift_(rad))

    def _require_square(self, call: str) -> None:
        if self.ndim < 2 or self.shape[-1] != self.shape[-2]:
            raise InputError(
                f"Ball.{call}() requires square matrices; got shape {tuple(self.shape)}. Check "
                "which tensor was passed."
            )

    def __neg__(self) -> Ball:
        return Ball._moved(-self.mid, self.rad)

    def __add__(self, other: Operand) -> Ball:
        return self._plus(as_ball(other, self.device), 1)

    def __radd__(self, other: Operand) -> Ball:
        return self + other

    def __sub__(self, other: Operand) -> Ball:
        return self._plus(as_ball(other, self.device), -1)

    def __rsub__(self, other: Operand) -> Ball:
        return as_ball(other, self.device) - self

    def _plus(self, other: Ball, sign: Literal[1, -1]) -> Ball:
        mid = torch.add(self.mid, other.mid, alpha=sign)
        rad = mid.abs().mul_(directed.UNIT_ROUNDOFF)
        for part in (self, other):
            if not part.is_exact():
                rad.add_(part.rad)
        return Ball._settled(mid, lift_(rad))

    def __mul__(self, other: Operand) -> Ball:
        y = as_ball(other, self.device)
        mid = self.mid * y.mid
        rad = mid.abs().mul_(directed.UNIT_ROUNDOFF)
        if not y.is_exact():
            rad.addcmul_(self.mid.abs(), y.rad)
        if not self.is_exact():
            rad.addcmul_(self.rad, y.mid.abs() + y.rad)
        return Ball._settled(mid, lift_(rad))

    def __rmul__(self, other: Operand) -> Ball:
        return self * other

    def __truediv__(self, other: Operand) -> Ball:
        """Quotient; the whole line where the divisor holds 0.

        |x/y - q| = |x - q y| / |y| for the computed q = fl(m_X / m_Y), and

            |x - q y| <= |m_X - q m_Y| + r_X + |q| r_Y,   |m_X - q m_Y| <= (u |q| + eta) |m_Y|,

        while |y| >= |m_Y| - r_Y rounded down.
        """
        y = as_ball(other, self.device)
        q = self.mid / y.mid
        rad = (q.abs() * directed.UNIT_ROUNDOFF + directed.SMALLEST_SUBNORMAL) * y.mid.abs()
        if not y.is_exact():
            rad.addcmul_(q.abs(), y.rad)
        if not self.is_exact():
            rad.add_(self.rad)
        least = y.magnitude_lower()
        rad = torch.where(least > 0.0, lift_(rad) / least, math.inf)
        return Ball._settled(q, lift_(rad))

    def __rtruediv__(self, other: Operand) -> Ball:
        return as_ball(other, self.device) / self

    def __matmul__(self, other: Ball | Tensor) -> Ball:
        from talweg.enclosure._matmul import matmul

        return matmul(self, other)

    def __rmatmul__(self, other: Tensor) -> Ball:
        from talweg.enclosure._matmul import matmul

        return matmul(other, self)

    def square(self) -> Ball:
        """{x^2}; never below 0 by more than a rounding of the midpoint-radius form."""
        if self.is_exact():
            return self * self
        small, large = self.magnitude_lower(), self.magnitude_upper()
        return Ball._between(
            directed.mul_down(small, small).clamp_(min=0.0), directed.mul_up(large, large)
        )

    def sqrt(self) -> Ball:
        """{sqrt(x) : x in the ball, x >= 0}.

        Raises:
            InputError: some ball holds negative numbers only.
        """
        lo, hi = self.lower(), self.upper()
        if not bool((hi >= 0.0).all()):
            raise InputError(
                "Ball.sqrt() requires balls that reach the nonnegative numbers; got an upper end "
                f"of {float(hi.amin())}. Check the sign of the quantity."
            )
        return Ball._between(directed.sqrt_down(lo.clamp(min=0.0)), directed.sqrt_up(hi))

    def sum(self, dim: int | tuple[int, ...] | None = None) -> Ball:
        """Sum along dim (all entries if None): rad >= sum rad + gamma_{n-1} sum |mid|."""
        if self.ndim == 0:
            return self
        dims = tuple(range(self.ndim)) if dim is None else dim
        mid = self.mid.sum(dims)
        n = self.mid.numel() // max(mid.numel(), 1)
        if n <= 1 and self.is_exact():
            return Ball._settled(mid, _zero_radius(mid))
        rad = directed.gamma(n) * directed.sum_nonnegative_upper(self.mid.abs(), dims)
        if not self.is_exact():
            rad = rad + directed.sum_nonnegative_upper(self.rad, dims)
        return Ball._settled(mid, lift_(rad))

    @property
    def T(self) -> Ball:
        """Transpose of a matrix (at most 2-D, as in torch)."""
        return Ball._moved(self.mid.T, self.rad.T)

    @property
    def mT(self) -> Ball:
        """Transpose of the last two dimensions."""
        return Ball._moved(self.mid.mT, self.rad.mT)

    def __getitem__(self, index: Any) -> Ball:
        return Ball._moved(self.mid[index], self.rad[index])

    def __len__(self) -> int:
        return len(self.mid)

    def reshape(self, *shape: int | Sequence[int]) -> Ball:
        """Reshape as `Tensor.reshape`."""
        return Ball._moved(self.mid.reshape(*shape), self.rad.reshape(*shape))  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"Ball(shape={tuple(self.shape)}, mid={self.mid!r}, rad={self.rad!r})"


def is_zero(t: Tensor) -> bool:
    """Whether every entry of t >= 0 is 0; one look when t is a single number expanded."""
    if t.numel() == 0:
        return True
    if not any(t.stride()):
        return bool(t[(0,) * t.ndim] == 0.0)
    return bool(t.amax() == 0.0)


def as_ball(x: Operand, device: torch.device) -> Ball:
    """x as a ball: tensors and floats are exact, an `Interval` becomes the 0-d ball around it."""
    if isinstance(x, Ball):  # a number on the CPU would divide in two roundings: `_directed.py`
        return x if x.ndim else Ball(x.mid.to(device), x.rad.to(device))
    if isinstance(x, Tensor):
        return Ball.exact(x if x.ndim else x.to(device))
    interval = x if isinstance(x, Interval) else Interval.point(x)
    ends = torch.tensor([interval.lo, interval.hi], dtype=torch.float64, device=device)
    return Ball._between(ends[0], ends[1])


def stack(balls: Sequence[Ball], dim: int = 0) -> Ball:
    """Balls of one shape stacked along a new dimension, as `torch.stack`."""
    return Ball._moved(
        torch.stack([b.mid for b in balls], dim), torch.stack([b.rad for b in balls], dim)
    )


def cat(balls: Sequence[Ball], dim: int = 0) -> Ball:
    """Balls joined along an existing dimension, as `torch.cat`."""
    return Ball._moved(
        torch.cat([b.mid for b in balls], dim), torch.cat([b.rad for b in balls], dim)
    )


def _all_finite(t: Tensor) -> bool:
    return math.isfinite(t.sum().item()) or bool(t.isfinite().all())


def _zero_radius(mid: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.float64, device=mid.device).expand(mid.shape)
