"""Nasty numbers for functions of numbers: ties, neighbours of ties, subnormals, huge and tiny."""

from __future__ import annotations

import math
import random
import sys

from talweg.theory import NestedBallBound, Profile, SingularValueProfile

LARGEST = sys.float_info.max
PLAIN = (1.0, 2.0, 3.0, 4.0, 8.0, 0.5, 0.25, 0.75, 0.125, 1.5, 10.0, 0.1, 1.0 / 3.0)
SHARES = (0.5, 0.25, 0.75, 0.125, 0.1, 0.9, 0.99, 1e-3, 2.0**-53, 1.0 - 2.0**-53, 5e-324)


def positive(rng: random.Random) -> float:
    """A finite float > 0."""
    u = rng.random()
    if u < 0.4:
        return 10.0 ** rng.uniform(-3.0, 3.0)
    if u < 0.65:
        return rng.choice(PLAIN)
    if u < 0.75:
        return 2.0 ** rng.randint(-40, 40)
    if u < 0.85:
        return neighbour(rng, rng.choice(PLAIN))
    if u < 0.95:
        return 10.0 ** rng.uniform(-300.0, 300.0)
    if u < 0.98:
        return rng.choice((1, 2, 3, rng.randint(1, 2**52))) * 5e-324
    return rng.choice((LARGEST, LARGEST / 2, 1e308, 2.0**1023, 2.0**-1022, 2.0**512, 2.0**-537))


def moderate(rng: random.Random) -> float:
    """A float > 0 of ordinary size, often with few digits."""
    u = rng.random()
    if u < 0.5:
        return 10.0 ** rng.uniform(-2.0, 2.0)
    return rng.choice(PLAIN) if u < 0.9 else neighbour(rng, rng.choice(PLAIN))


def size(rng: random.Random) -> float:
    """Mostly of ordinary size, at times anything."""
    return moderate(rng) if rng.random() < 0.75 else positive(rng)


def nonnegative(rng: random.Random) -> float:
    """Like `size`, at times 0 of either sign, rarely inf."""
    u = rng.random()
    if u < 0.08:
        return 0.0
    if u < 0.1:
        return -0.0
    return math.inf if u < 0.12 else size(rng)


def signed(rng: random.Random) -> float:
    """Any finite float."""
    return rng.choice((1.0, -1.0)) * (size(rng) if rng.random() < 0.95 else 0.0)


def neighbour(rng: random.Random, x: float) -> float:
    """A float at most three steps from x."""
    for _ in range(rng.randint(0, 3)):
        x = math.nextafter(x, math.inf if rng.random() < 0.5 else -math.inf)
    return x


def near(rng: random.Random, x: float) -> float:
    """A float > 0 at, just beside, below or above x: where a hypothesis turns."""
    if not 0.0 < x < math.inf:
        return size(rng)
    u = rng.random()
    if u < 0.15:
        found = x
    elif u < 0.4:
        found = neighbour(rng, x)
    elif u < 0.5:
        found = x * (1.0 + rng.choice((-1.0, 1.0)) * 10.0 ** rng.uniform(-15.0, -1.0))
    elif u < 0.85:
        found = x * rng.random()
    elif u < 0.95:
        found = x * 10.0 ** rng.uniform(-12.0, 0.0)
    else:
        found = x * (1.0 + rng.random())
    return min(max(found, 5e-324), LARGEST)


def share(rng: random.Random) -> float:
    """A float strictly between 0 and 1."""
    u = rng.random()
    if u < 0.5:
        return rng.choice(SHARES)
    return rng.uniform(0.01, 0.99) if u < 0.9 else 10.0 ** rng.uniform(-30.0, -1.0)


def whole(rng: random.Random, largest: int = 2**53) -> int:
    """An int >= 1."""
    u = rng.random()
    if u < 0.4:
        return min(rng.randint(1, 10), largest)
    if u < 0.9:
        return min(int(2.0 ** rng.uniform(0.0, 40.0)), largest)
    return rng.choice((1, 2, largest, largest - 1))


def radii(rng: random.Random, *, endless: bool = True) -> tuple[float, ...]:
    """One to six increasing radii; the last may be inf."""
    kind, count = rng.random(), rng.randint(1, 6)
    if kind < 0.4:
        unit = rng.choice((1.0, 0.5, 0.25, 2.0**-30))
        found = [unit * (i + 1) for i in range(count)]
    elif kind < 0.8:
        found = sorted({moderate(rng) for _ in range(count)})
    elif kind < 0.9:
        found = [positive(rng)]
        for _ in range(count - 1):
            found.append(math.nextafter(found[-1], math.inf))
    else:
        found = sorted({positive(rng) for _ in range(count)})
    found = [r for r in found if r < math.inf]
    if endless and rng.random() < 0.1:
        found[-1] = math.inf
    return tuple(found)


def lipschitz(rng: random.Random) -> NestedBallBound:
    """Lipschitz constants on nested balls: ties, zeros, inf, and values that decrease."""
    ends = radii(rng)
    kind = rng.random()
    if kind < 0.15:
        values = [rng.choice((0.0, 1.0, moderate(rng)))] * len(ends)
    elif kind < 0.75:
        values = sorted(rng.choice((0.0, moderate(rng), size(rng))) for _ in ends)
    else:
        values = [nonnegative(rng) for _ in ends]
    return NestedBallBound(ends, tuple(values))


def step_profile(rng: random.Random) -> Profile:
    """A nonincreasing step profile with ties and zeros."""
    ends = radii(rng)
    if rng.random() < 0.3:
        values = [rng.choice(PLAIN)] * len(ends)
    else:
        values = sorted((rng.choice((0.0, size(rng), moderate(rng))) for _ in ends), reverse=True)
    return Profile(ends, tuple(values))


def singular_profile(rng: random.Random) -> SingularValueProfile:
    """A piecewise linear profile; rarely one with nothing left of it."""
    u = rng.random()
    sigma = size(rng) if u < 0.95 else rng.choice((0.0, -0.0, -1.0, -math.inf, 5e-324))
    return SingularValueProfile(sigma, lipschitz(rng))
