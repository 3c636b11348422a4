"""The tables of extrema, suprema and constants are proved with Arb.

Completeness of the turns of f^(k): near each listed point (within 2^-10) f^(k+2) does not vanish,
so f^(k+1) has at most one zero there; elsewhere in [-tail, tail] f^(k+1) does not vanish, by
subdivision with the mean value form.
"""

import itertools

import pytest
from enclosure.activation_reference import derivative, derivatives
from flint import arb, ctx

from talweg.enclosure import _elementwise as elementwise_module
from talweg.enclosure import _pointwise as pointwise
from talweg.enclosure._pointwise import STANDARD

NEAR = 2.0**-10
CASES = [(kind, k) for kind in STANDARD for k in range(3)]


def over(kind, order, a, b):
    """f^(order) over [a, b] by the mean value form and directly, intersected."""
    middle = arb(0.5 * (a + b))
    wide = middle.union(arb(a)).union(arb(b))
    direct, slope = derivatives(kind, order + 1, wide)[order:]
    centred = derivative(kind, order, middle) + slope * (wide - middle)
    return direct, centred


def pieces(kind, order, a, b, settled, depth=0):
    """Subdivide [a, b] until `settled` holds for one of the two enclosures on every piece."""
    assert depth < 60, (kind, order, a, b)
    if any(settled(image) for image in over(kind, order, a, b)):
        return
    middle = 0.5 * (a + b)
    pieces(kind, order, a, middle, settled, depth + 1)
    pieces(kind, order, middle, b, settled, depth + 1)


def nonzero(image):
    return image > 0 or image < 0


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_turns_are_where_the_table_says(kind, k):
    for point_from, point_to, value_from, value_to in STANDARD[kind].turns[k]:
        with ctx.workprec(300):
            if point_from == point_to:
                assert derivative(kind, k + 1, arb(point_from)).contains(0)
            else:
                ends = [derivative(kind, k + 1, arb(x)) for x in (point_from, point_to)]
                assert ends[0] * ends[1] < 0
            assert point_to - point_from <= 4e-15
            # f^(k) is stationary: it moves by at most |f^(k+2)| (4e-15)^2 < 1e-28 between the ends.
            value = derivative(kind, k, arb(point_from))
            if value_from == value_to:
                assert value.contains(arb(value_from))
            else:
                assert arb(value_from) < value - arb(1e-28)
                assert value + arb(1e-28) < arb(value_to)
                assert value_to - value_from <= 2e-15


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_no_turn_is_missing(kind, k):
    tail = STANDARD[kind].tail
    points = [0.5 * (turn[0] + turn[1]) for turn in STANDARD[kind].turns[k]]
    with ctx.workprec(200):
        start = -tail
        for point in points:
            pieces(kind, k + 2, point - NEAR, point + NEAR, nonzero)
            subdivide(kind, k + 1, start, point - NEAR, nonzero)
            start = point + NEAR
        subdivide(kind, k + 1, start, tail, nonzero)


def subdivide(kind, order, a, b, settled):
    """`pieces` on a mesh fine near the origin, where the activations turn."""
    marks = sorted({a, b, *(x for x in (-45.0, -9.0, 9.0, 45.0) if a < x < b)})
    for left, right in itertools.pairwise(marks):
        step = 0.25 if max(abs(left), abs(right)) <= 9.0 else 1.0
        count = max(1, round((right - left) / step))
        mesh = [left + (right - left) * i / count for i in range(count)] + [right]
        for x, y in itertools.pairwise(mesh):
            pieces(kind, order, x, y, settled)


@pytest.mark.parametrize("kind", STANDARD)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_suprema_hold(kind, order):
    bound = arb(STANDARD[kind].sup[order - 1])
    tail = STANDARD[kind].tail
    with ctx.workprec(100):
        subdivide(kind, order, -tail, tail, lambda image: abs(image) < bound)


@pytest.mark.parametrize("kind", STANDARD)
def test_tails_are_flat(kind):
    standard = STANDARD[kind]
    with ctx.workprec(6000):
        for factor in (1.0, 1.5, 4.0):
            x = arb(standard.tail * factor)
            for k in range(3):
                left, right = standard.left[k], standard.right[k]
                limit = x if right is None else arb(right)
                assert abs(derivative(kind, k, -x) - arb(left)) < arb(1e-300)
                assert abs(derivative(kind, k, x) - limit) < arb(1e-300)


def test_constants_are_enclosed():
    with ctx.workprec(200):
        for interval, exact in (
            (pointwise.INV_SQRT2, 1 / arb(2).sqrt()),
            (pointwise.INV_SQRT_2PI, 1 / (2 * arb.pi()).sqrt()),
            (pointwise.TWO_SQRT_2_OVER_PI, 2 * (2 / arb.pi()).sqrt()),
            (pointwise.GELU_CUBIC, arb(44715) / 1000000),
            (elementwise_module.LOG_2, arb(2).log()),
        ):
            assert arb(interval.lo) < exact < arb(interval.hi)
            assert interval.width() <= 4e-16 * interval.hi
