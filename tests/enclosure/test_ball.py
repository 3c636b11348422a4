"""Ball arithmetic: members chosen at random stay inside, exactly."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.enclosure import Ball, Interval, cat, stack

INF = math.inf
scales = st.sampled_from([1.0, 1e-300, 5e-324, 1e300, 1e-160, 1e160])
mids = st.floats(-4.0, 4.0) | st.sampled_from([0.0, 1.0, -1.0, 0.1])
radii = st.floats(0.0, 2.0) | st.sampled_from([0.0, 1e-16, 5e-324])


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@st.composite
def members(draw):
    """A one-entry ball and an exact rational in it."""
    scale = draw(scales)
    mid, rad = draw(mids) * scale, draw(radii) * scale
    t = Fraction(draw(st.integers(-8, 8)), 8)
    return Ball(tensor([mid] * 9), tensor([rad] * 9)), Fraction(mid) + t * Fraction(rad)


def holds(ball: Ball, exact: Fraction) -> bool:
    inside = True
    for mid, rad in zip(ball.mid.tolist(), ball.rad.tolist(), strict=True):
        inside &= rad == INF or abs(exact - Fraction(mid)) <= Fraction(rad)
    return inside


@settings(deadline=None)
@given(members(), members())
def test_operations_contain_exact_results(one, two):
    (x, a), (y, b) = one, two
    assert holds(x + y, a + b)
    assert holds(x - y, a - b)
    assert holds(x * y, a * b)
    assert holds(-x, -a)
    assert holds(x.square(), a * a)
    if b != 0:
        assert holds(x / y, a / b)
    assert holds(x.inflate(0.5), a)
    assert holds(x * 3.0 + 1.0, 3 * a + 1)
    assert holds(1.0 - x, 1 - a)
    lo, hi = x.lower()[0].item(), x.upper()[0].item()
    assert lo == -INF or Fraction(lo) <= a
    assert hi == INF or a <= Fraction(hi)
    assert Fraction(x.magnitude_lower()[0].item()) <= abs(a)
    top = x.magnitude_upper()[0].item()
    assert top == INF or abs(a) <= Fraction(top)
    if a >= 0:
        root = x.sqrt()
        low, high = root.lower()[0].item(), root.upper()[0].item()
        assert low < 0 or Fraction(low) ** 2 <= a
        assert high == INF or a <= Fraction(high) ** 2


@pytest.mark.parametrize("relative", [0.0, 1e-16, 1e-3, 1.0, 30.0])
def test_extreme_members_are_inside(relative):
    generator = torch.Generator().manual_seed(7)
    mid = torch.randn(2, 400, generator=generator, dtype=torch.float64)
    rad = torch.rand(2, 400, generator=generator, dtype=torch.float64) * relative
    x, y = Ball(mid[0], rad[0]), Ball(mid[1], rad[1])
    results = {"+": x + y, "-": x - y, "*": x * y, "/": x / y, "square": x.square()}
    ends = [
        [
            (Fraction(m) - Fraction(r), Fraction(m) + Fraction(r))
            for m, r in zip(ms, rs, strict=True)
        ]
        for ms, rs in zip(mid.tolist(), rad.tolist(), strict=True)
    ]
    for name, result in results.items():
        mids_, rads_ = result.mid.tolist(), result.rad.tolist()
        for i, (xs, ys) in enumerate(zip(*ends, strict=True)):
            for a in xs:
                for b in ys:
                    if rads_[i] == INF:
                        continue
                    assert abs(EXACT[name](a, b) - Fraction(mids_[i])) <= Fraction(rads_[i]), name


EXACT = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "square": lambda a, b: a * a,
}


@settings(deadline=None)
@given(st.lists(st.tuples(mids, radii), min_size=1, max_size=7), scales)
def test_sums_contain_exact_results(entries, scale):
    mid, rad = (tensor([e[i] * scale for e in entries]) for i in (0, 1))
    total = Ball(mid, rad).sum()
    exact = sum(map(Fraction, mid.tolist()))
    spread = sum(map(Fraction, rad.tolist()))
    for value in (exact - spread, exact, exact + spread):
        assert total.rad.item() == INF or abs(value - Fraction(total.mid.item())) <= Fraction(
            total.rad.item()
        )


@given(mids, radii, mids)
def test_contains_is_decided_exactly(mid, rad, x):
    ball = Ball(tensor([mid]), tensor([rad]))
    assert ball.contains(tensor([x])) is (abs(Fraction(x) - Fraction(mid)) <= Fraction(rad))
    assert not ball.contains(tensor([math.nan]))
    assert not ball.contains(tensor([INF]))


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_from_bounds_holds_the_bounds(a, b):
    lo, hi = min(a, b), max(a, b)
    ball = Ball.from_bounds(tensor([lo]), tensor([hi]))
    for x in (lo, hi):
        if math.isfinite(x):
            assert ball.contains(tensor([x]))
    if lo == hi and math.isfinite(lo):
        assert ball.rad.item() == 0.0


def test_tightness():
    x = Ball.exact(tensor([0.1, 3.0]))
    assert ((x * x).rad <= 2e-16 * (x * x).mid).all()
    assert ((x + x).rad <= 2e-16 * (x + x).mid).all()
    assert (x.lower() == x.mid).all()
    assert x.is_exact()


def test_overflow_becomes_the_whole_line():
    big = Ball.exact(tensor([1e308, 1.0]))
    product = big * 10.0
    assert product.rad.tolist()[0] == INF
    assert product.mid.tolist()[0] == 0.0
    assert product.rad.tolist()[1] < 1e-14
    whole = Ball(tensor([0.0]), tensor([INF]))
    assert (whole - whole).rad.item() == INF
    assert (whole * 0.0).rad.item() == INF
    assert (1.0 / whole).rad.item() == INF
    assert whole.lower().item() == -INF
    assert whole.upper().item() == INF


def test_operands_from_either_side_and_intervals():
    t = tensor([[1.0, 2.0], [3.0, 4.0]])
    ball = Ball.exact(t)
    for result in (t + ball, t - ball, t * ball, t @ ball, ball @ t):
        assert isinstance(result, Ball)
    assert (t - ball).contains(torch.zeros(2, 2, dtype=torch.float64))
    third = ball * Interval.ratio(1, 3)
    assert (third.mid - t / 3).abs().max() < 1e-15
    assert (third.rad > 0.0).all()


def test_shapes_views_and_joins():
    ball = Ball(torch.arange(6.0, dtype=torch.float64).reshape(2, 3), torch.ones(2, 3).double())
    assert ball.T.shape == (3, 2)
    assert ball.mT.shape == (3, 2)
    assert ball[0].shape == (3,)
    assert ball[:, 1:].shape == (2, 2)
    assert ball.reshape(3, 2).shape == (3, 2)
    assert ball.reshape((6,)).shape == (6,)
    assert stack([ball, ball]).shape == (2, 2, 3)
    assert cat([ball, ball], 1).shape == (2, 6)
    assert len(ball) == 2
    assert ball.ndim == 2
    assert ball.sum(0).shape == (3,)
    assert Ball.exact(torch.zeros(0, 3)).sum(0).shape == (3,)
    assert Ball.exact(tensor(2.0)).sum().mid.item() == 2.0


def test_symmetrized_holds_every_symmetric_member():
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    s = s + s.T
    shift = 1e-3 * torch.randn(5, 5, generator=generator, dtype=torch.float64)
    ball = Ball(s + shift, 2 * shift.abs() + 1e-12)
    assert ball.contains(s)
    result = ball.symmetrized()
    assert torch.equal(result.mid, result.mid.mT)
    assert result.contains(s)
    assert Ball.exact(s).symmetrized().is_exact()


@pytest.mark.parametrize(
    ("mid", "rad", "message"),
    [
        (torch.ones(2), torch.ones(2), "float64"),
        (tensor([1.0]), tensor([1.0, 2.0]), "shape"),
        (tensor([math.nan]), tensor([1.0]), "finite"),
        (tensor([INF]), tensor([1.0]), "finite"),
        (tensor([1.0]), tensor([math.nan]), "NaN"),
        (tensor([1.0]), tensor([-1e-300]), ">= 0"),
        (1.0, 1.0, "float64"),
    ],
)
def test_malformed_balls_are_refused(mid, rad, message):
    with pytest.raises(InputError, match=message):
        Ball(mid, rad)


def test_other_refusals():
    ball = Ball.exact(tensor([1.0, 2.0]))
    with pytest.raises(InputError, match="finite"):
        Ball.exact(tensor([math.nan]))
    with pytest.raises(InputError, match="from_bounds"):
        Ball.from_bounds(tensor([1.0]), tensor([0.0]))
    with pytest.raises(InputError, match="from_bounds"):
        Ball.from_bounds(tensor([math.nan]), tensor([0.0]))
    with pytest.raises(InputError, match="inflate"):
        ball.inflate(-1.0)
    with pytest.raises(InputError, match="inflate"):
        ball.inflate(math.nan)
    with pytest.raises(InputError, match="sqrt"):
        (-ball).sqrt()
    with pytest.raises(InputError, match="square"):
        ball.symmetrized()


def test_a_single_subnormal_point_is_held():
    t = torch.tensor([5e-324, 15e-324, -5e-324], dtype=torch.float64)
    assert Ball.from_bounds(t, t).contains(t)
