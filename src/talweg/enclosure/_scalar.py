"""Interval arithmetic on Python floats, rounded outward.

An `Interval(lo, hi)` is the set of real numbers ``{x : lo <= x <= hi}``. Every operation returns an
interval that holds the exact result for every choice of reals in its operands:

    X o Y  contains  { x o y : x in X, y in Y },          o in {+, -, *, /}.

How the rounding is made safe: IEEE 754 round-to-nearest returns ``fl(x o y)`` within half a unit in
the last place of ``x o y`` (or within half the smallest subnormal), so the neighbouring float,
``math.nextafter(fl, +inf)`` or ``math.nextafter(fl, -inf)``, lies beyond the exact value. Where the
float is known to be the exact result (a zero operand, a sum whose rounding error is zero) it is
returned as it is, so that exact small numbers stay exact. An overflow upward gives ``inf``;
downward it gives the largest finite float, because the exact value is a real number above it.

The comparisons are methods and return plain bools. They answer "certainly": a False says nothing.
They are written so that a NaN, could one arise, makes them False.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from talweg._errors import InputError

INF = math.inf
LARGEST = sys.float_info.max


def add_up_float(a: float, b: float) -> float:
    """Upper bound of a + b.

    The sum is exact, and returned unchanged, when Knuth's TwoSum finds a zero error; TwoSum is
    itself exact unless something overflows, and then its error is NaN or nonzero.
    """
    s = a + b
    if _sum_is_exact(a, b, s):
        return s
    return math.nextafter(s, INF)


def add_down_float(a: float, b: float) -> float:
    """Lower bound of a + b."""
    return -add_up_float(-a, -b)


def sub_up_float(a: float, b: float) -> float:
    """Upper bound of a - b."""
    return add_up_float(a, -b)


def sub_down_float(a: float, b: float) -> float:
    """Lower bound of a - b."""
    return -add_up_float(-a, b)


def mul_up_float(a: float, b: float) -> float:
    """Upper bound of a * b, with 0 * inf = 0 (an infinity is a bound, never a value)."""
    if a == 0.0 or b == 0.0:
        return _nan_of(a, b)
    return math.nextafter(a * b, INF)


def mul_down_float(a: float, b: float) -> float:
    """Lower bound of a * b."""
    return -mul_up_float(-a, b)


def div_up_float(a: float, b: float) -> float:
    """Upper bound of a / b; inf for b = 0, NaN for 0 / 0, inf / inf and NaN operands."""
    if b == 0.0:
        return math.nan if a == 0.0 or math.isnan(a) else INF
    if a == 0.0:
        return _nan_of(a, b)
    return math.nextafter(a / b, INF)


def div_down_float(a: float, b: float) -> float:
    """Lower bound of a / b; -inf for b = 0, NaN for 0 / 0, inf / inf and NaN operands."""
    return -div_up_float(-a, b)


def sqrt_up_float(a: float) -> float:
    """Upper bound of sqrt(a), a >= 0 (math.sqrt is correctly rounded by IEEE 754)."""
    if a < 0.0:
        return math.nan
    root = math.sqrt(a)
    return root if root in (0.0, INF) else math.nextafter(root, INF)


def sqrt_down_float(a: float) -> float:
    """Lower bound of sqrt(a), a >= 0."""
    if a < 0.0:
        return math.nan
    root = math.sqrt(a)
    return root if root in (0.0, INF) else math.nextafter(root, -INF)


def _sum_is_exact(a: float, b: float, s: float) -> bool:
    """Whether s = fl(a + b) equals a + b, by TwoSum; False whenever that is in doubt."""
    if a == 0.0 or b == 0.0:
        return True
    if math.isinf(a) or math.isinf(b):
        return True  # a bound at infinity absorbs every real number (inf - inf is NaN, kept)
    t = s - a
    return (a - (s - t)) + (b - t) == 0.0


def _nan_of(a: float, b: float) -> float:
    """0.0, or NaN when a or b is NaN."""
    return math.nan if math.isnan(a) or math.isnan(b) else 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """The reals between two floats, ends included; arithmetic rounds outward.

    Args:
        lo: lower end, a float below ``inf`` (an int is converted when that is exact).
        hi: upper end, a float above ``-inf``, ``hi >= lo``.

    Raises:
        InputError: an end is NaN, not a number, or not exactly a float; ``lo > hi``;
            ``lo = inf`` or ``hi = -inf`` (no real number would be inside).
    """

    lo: float
    hi: float

    def __post_init__(self) -> None:
        # Adding 0.0 turns -0.0 into 0.0 and changes nothing else.
        object.__setattr__(self, "lo", _exact_float(self.lo, "Interval(lo, hi)") + 0.0)
        object.__setattr__(self, "hi", _exact_float(self.hi, "Interval(lo, hi)") + 0.0)
        if not (self.lo <= self.hi and self.lo < INF and self.hi > -INF):
            raise InputError(
                "`lo` and `hi` of Interval(lo, hi) must be floats with lo <= hi, lo < inf and "
                f"hi > -inf; got lo={self.lo!r}, hi={self.hi!r}. A NaN usually means that an "
                "earlier step overflowed: check the scale of the data and weights."
            )

    @classmethod
    def point(cls, x: float) -> Interval:
        """The interval that holds the one number x.

        An infinite x is a bound that overflowed, and stands for the reals too large to be floats:
        ``point(inf)`` is [largest float, inf].

        Raises:
            InputError: x is NaN, not a number, or an int that is not exactly a float.
        """
        value = _exact_float(x, "Interval.point(x)")
        if math.isinf(value):
            return cls(LARGEST, INF) if value > 0.0 else cls(-INF, -LARGEST)
        return cls(value, value)

    @classmethod
    def hull(cls, *items: Interval | float) -> Interval:
        """The smallest interval that holds all of its arguments (at least one)."""
        if not items:
            raise InputError("Interval.hull() needs at least one interval or float; got none.")
        parts = [_interval(item) for item in items]
        return cls(min(p.lo for p in parts), max(p.hi for p in parts))

    @classmethod
    def ratio(cls, numerator: int, denominator: int) -> Interval:
        """The rational number numerator / denominator, enclosed."""
        return cls.point(numerator) / cls.point(denominator)

    @property
    def mid(self) -> float:
        """A float inside the interval, near its middle."""
        if self.lo == -INF:
            return 0.0 if self.hi == INF else min(self.hi, -LARGEST)
        if self.hi == INF:
            return max(self.lo, LARGEST)
        return min(max(0.5 * self.lo + 0.5 * self.hi, self.lo), self.hi)

    @property
    def magnitude(self) -> float:
        """sup |x| over the interval."""
        return max(abs(self.lo), abs(self.hi))

    @property
    def mignitude(self) -> float:
        """inf |x| over the interval."""
        if self.lo <= 0.0 <= self.hi:
            return 0.0
        return min(abs(self.lo), abs(self.hi))

    def width(self) -> float:
        """hi - lo, rounded up."""
        return sub_up_float(self.hi, self.lo)

    def is_finite(self) -> bool:
        """Whether both ends are finite."""
        return math.isfinite(self.lo) and math.isfinite(self.hi)

    def contains(self, x: Interval | float) -> bool:
        """Whether x (a number, or every number of an interval) lies inside."""
        if isinstance(x, Interval):
            return self.lo <= x.lo and x.hi <= self.hi
        return self.lo <= x <= self.hi

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __abs__(self) -> Interval:
        return Interval(self.mignitude, self.magnitude)

    def __add__(self, other: Interval | float) -> Interval:
        y = _interval(other)
        return _outward(add_down_float(self.lo, y.lo), add_up_float(self.hi, y.hi))

    def __radd__(self, other: float) -> Interval:
        return self + other

    def __sub__(self, other: Interval | float) -> Interval:
        y = _interval(other)
        return _outward(sub_down_float(self.lo, y.hi), sub_up_float(self.hi, y.lo))

    def __rsub__(self, other: float) -> Interval:
        return _interval(other) - self

    def __mul__(self, other: Interval | float) -> Interval:
        y = _interval(other)
        pairs = ((self.lo, y.lo), (self.lo, y.hi), (self.hi, y.lo), (self.hi, y.hi))
        return _outward(
            min(mul_down_float(a, b) for a, b in pairs), max(mul_up_float(a, b) for a, b in pairs)
        )

    def __rmul__(self, other: float) -> Interval:
        return self * other

    def __truediv__(self, other: Interval | float) -> Interval:
        """Quotient; a divisor that holds 0 inside gives [-inf, inf], one that ends at 0 a ray."""
        y = _interval(other)
        if y.hi < 0.0 or (y.hi == 0.0 and y.lo < 0.0):
            return (-self) / (-y)
        if not y.lo >= 0.0 or y.hi == 0.0:
            return Interval(-INF, INF)
        # 0 <= y.lo, 0 < y.hi: only positive divisors give a quotient.
        if self.lo == 0.0 == self.hi:
            return Interval(0.0, 0.0)
        lo = _ray_down(self.lo, y.lo if self.lo < 0.0 else y.hi)
        hi = -_ray_down(-self.hi, y.lo if self.hi > 0.0 else y.hi)
        return _outward(lo, hi)

    def __rtruediv__(self, other: float) -> Interval:
        return _interval(other) / self

    def square(self) -> Interval:
        """{x^2 : x in self}; tighter than self * self when the interval straddles 0."""
        small, large = self.mignitude, self.magnitude
        return _outward(max(mul_down_float(small, small), 0.0), mul_up_float(large, large))

    def sqrt(self) -> Interval:
        """{sqrt(x) : x in self}.

        Raises:
            InputError: the interval holds a negative number. Where the quantity is known to be
                nonnegative, say so first with `clip_nonnegative()`.
        """
        if not self.lo >= 0.0:
            raise InputError(
                "Interval.sqrt() requires an interval without negative numbers; got "
                f"[{self.lo!r}, {self.hi!r}]. Use clip_nonnegative() first if the quantity is "
                "known to be nonnegative."
            )
        return _outward(sqrt_down_float(self.lo), sqrt_up_float(self.hi))

    def clip_nonnegative(self) -> Interval:
        """max(x, 0) over the interval: the positive part [x]_+."""
        return Interval(max(self.lo, 0.0), max(self.hi, 0.0))

    def minimum(self, other: Interval | float) -> Interval:
        """{min(x, y)}."""
        y = _interval(other)
        return Interval(min(self.lo, y.lo), min(self.hi, y.hi))

    def maximum(self, other: Interval | float) -> Interval:
        """{max(x, y)}."""
        y = _interval(other)
        return Interval(max(self.lo, y.lo), max(self.hi, y.hi))

    def certainly_less(self, other: Interval | float) -> bool:
        """Whether x < y for every x in self and y in other."""
        return bool(self.hi < _interval(other).lo)

    def certainly_at_most(self, other: Interval | float) -> bool:
        """Whether x <= y for every x in self and y in other."""
        return bool(self.hi <= _interval(other).lo)

    def certainly_greater(self, other: Interval | float) -> bool:
        """Whether x > y for every x in self and y in other."""
        return bool(self.lo > _interval(other).hi)

    def certainly_at_least(self, other: Interval | float) -> bool:
        """Whether x >= y for every x in self and y in other."""
        return bool(self.lo >= _interval(other).hi)

    def certainly_positive(self) -> bool:
        """Whether every x in self is > 0."""
        return bool(self.lo > 0.0)

    def certainly_nonnegative(self) -> bool:
        """Whether every x in self is >= 0."""
        return bool(self.lo >= 0.0)


def certainly_less(a: Interval | float, b: Interval | float) -> bool:
    """Whether x < y for every x in a and every y in b; a plain bool, False when in doubt."""
    return _interval(a).certainly_less(b)


def certainly_at_most(a: Interval | float, b: Interval | float) -> bool:
    """Whether x <= y for every x in a and every y in b; a plain bool, False when in doubt."""
    return _interval(a).certainly_at_most(b)


def _ray_down(a: float, b: float) -> float:
    """Lower bound of a / b' as b' > 0 approaches b, which may be 0 or inf (ends are limits)."""
    if b == 0.0:
        return -INF if a < 0.0 else 0.0
    if math.isinf(b):
        return -INF if a == -INF else 0.0
    return a if math.isinf(a) else div_down_float(a, b)


def _outward(lo: float, hi: float) -> Interval:
    """Interval(lo, hi) after an operation: an overflowed inner end becomes the largest float."""
    return Interval(min(lo, LARGEST), max(hi, -LARGEST))


def _interval(x: Interval | float) -> Interval:
    return x if isinstance(x, Interval) else Interval.point(x)


def _exact_float(x: object, call: str) -> float:
    """x as a float without rounding; NaN and non-numbers are refused."""
    if isinstance(x, float):
        value = float(x)
    elif isinstance(x, int) and not isinstance(x, bool):
        value = _float_of_int(x)
        if value != x:
            raise InputError(
                f"The argument of {call} must be exactly a float; got the int {x}, which is not. "
                "Build the number from smaller exact parts."
            )
    else:
        raise InputError(
            f"The argument of {call} must be a float or int; got {x!r} of type "
            f"{type(x).__name__}. Convert tensors with `.item()` first."
        )
    if math.isnan(value):
        raise InputError(
            f"The argument of {call} must be a number; got NaN. A NaN usually means that an "
            "earlier step overflowed: check the scale of the data and weights."
        )
    return value


def _float_of_int(x: int) -> float:
    try:
        return float(x)
    except OverflowError:
        return INF if x > 0 else -INF
