"""Enclosed activations against Arb, with either library behind them."""

import math
from fractions import Fraction

import pytest
import torch
from enclosure.activation_reference import derivative
from flint import arb, ctx

from talweg._errors import InputError, UnsoundArithmeticError
from talweg.enclosure import (
    Ball,
    activation_names,
    arithmetic_backend,
    elementwise,
    elementwise_orders,
)
from talweg.enclosure import _elementary as elementary

INF = math.inf
KINDS = [
    *((kind, {}) for kind in activation_names() if kind != "smooth_leaky_relu"),
    ("softplus", {"beta": 3.3}),
    ("softplus", {"beta": 0.01}),
    ("smooth_leaky_relu", {"slope": 0.1}),
    ("smooth_leaky_relu", {"slope": 0.0}),
    ("smooth_leaky_relu", {"slope": 1.0}),
]
BITS = 3000
POINTS = [
    *(s * x for s in (1.0, -1.0) for x in (0.0, 5e-324, 1e-300, 1e-9, 0.1, 0.6584789484624084)),
    *(s * x for s in (1.0, -1.0) for x in (1.0, 1.2784645427610738, 2.0, 2.3994, 3.4358, 7.5)),
    *(s * x for s in (1.0, -1.0) for x in (17.0, 37.9, 40.0, 41.0, 120.0, 399.0, 801.0, 1e5)),
]
RADII = [0.0, 1e-300, 1e-15, 1e-7, 1e-3, 0.3, 2.5, 50.0]


@pytest.fixture(params=["installed", "arb"])
def library(request, monkeypatch):
    """The library found on this machine, and python-flint alone."""
    if request.param == "arb":
        monkeypatch.setattr(elementary, "_crival", lambda: None)
        assert arithmetic_backend().name == "python-flint"
    return request.param


def random_balls(count, seed):
    generator = torch.Generator().manual_seed(seed)
    mid = 3.0 * torch.randn(count, generator=generator, dtype=torch.float64)
    exponents = torch.randint(-50, 3, (count,), generator=generator)
    return torch.cat([torch.tensor(POINTS, dtype=torch.float64), mid]), exponents


@pytest.mark.parametrize(("kind", "params"), KINDS, ids=str)
def test_values_at_members_are_inside(kind, params, library):
    mid, _ = random_balls(6 if library == "arb" else 30, seed=1)
    for radius in RADII if library == "installed" else RADII[::3]:
        ball = Ball(mid, torch.full_like(mid, radius))
        lower, upper = ball.lower(), ball.upper()
        images = elementwise_orders(kind, (0, 1, 2), ball, **params)
        members = [mid.tolist()]
        if radius:
            candidates = (lower, upper, torch.nextafter(lower, mid), mid + 0.37 * (upper - mid))
            members += [inside_only(x, mid, radius) for x in candidates]
        for xs in members:
            for order, image in enumerate(images):
                assert_inside(kind, order, params, xs, image)


def inside_only(candidates, mid, radius):
    """The candidates that lie in their ball, exactly; the midpoint in place of the others."""
    return [
        x if abs(Fraction(x) - Fraction(m)) <= Fraction(radius) else m
        for x, m in zip(candidates.tolist(), mid.tolist(), strict=True)
    ]


def assert_inside(kind, order, params, xs, image):
    with ctx.workprec(BITS):
        for x, mid, rad in zip(xs, image.mid.tolist(), image.rad.tolist(), strict=True):
            if rad == INF:
                continue
            value = derivative(kind, order, arb(x), **params)
            assert abs(value - arb(mid)) <= arb(rad), (kind, order, params, x, mid, rad)


@pytest.mark.parametrize(("kind", "params"), KINDS, ids=str)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_thin_balls_stay_thin(kind, params, order):
    x = torch.linspace(-6.0, 6.0, 401, dtype=torch.float64)
    point = elementwise(kind, order, Ball.exact(x), **params)
    assert (point.rad <= 1e-13).all()
    thick = elementwise(kind, order, Ball.exact(x).inflate(1e-9), **params)
    assert (thick.rad <= 4e-9 * (1.0 + params.get("beta", 1.0) ** 2)).all()


@pytest.mark.parametrize(("kind", "params"), KINDS, ids=str)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_wide_balls_have_the_exact_range(kind, params, order):
    generator = torch.Generator().manual_seed(2)
    mid = 3.0 * torch.randn(60, generator=generator, dtype=torch.float64)
    rad = 4.0 * torch.rand(60, generator=generator, dtype=torch.float64) + 0.01
    image = elementwise(kind, order, Ball(mid, rad), **params)
    t = torch.linspace(-1.0, 1.0, 2001, dtype=torch.float64)[:, None]
    samples = elementwise(kind, order, Ball.exact(mid + t * rad), **params).mid
    assert (image.upper() - samples.amax(0)).max() <= 2e-4
    assert (samples.amin(0) - image.lower()).max() <= 2e-4


@pytest.mark.parametrize(
    ("kind", "order", "low", "high"),
    [
        ("tanh", 0, -1.0, 1.0),
        ("tanh", 1, 0.0, 1.0),
        ("tanh", 2, -0.7698003589195011, 0.7698003589195011),
        ("sigmoid", 0, 0.0, 1.0),
        ("sigmoid", 1, 0.0, 0.25),
        ("softplus", 1, 0.0, 1.0),
        ("silu", 1, -0.09983932012886694, 1.099839320128867),
        ("silu", 2, -0.0369143731998932, 0.5),
        ("gelu", 2, -0.10798193302637612, 0.7978845608028654),
        ("gelu_tanh", 1, -0.1289930686587718, 1.1289930686587719),
        ("sin", 2, -1.0, 1.0),
    ],
)
def test_infinite_radii_give_the_global_range(kind, order, low, high):
    whole = Ball(torch.zeros(3).double(), torch.full((3,), INF).double())
    image = elementwise(kind, order, whole)
    assert (image.upper() <= high + 4e-15).all()
    assert (image.upper() >= high).all()
    assert (image.lower() >= low - 4e-15).all()
    assert (image.lower() <= low).all()


@pytest.mark.parametrize(("kind", "params"), KINDS, ids=str)
def test_enormous_arguments(kind, params):
    mid = torch.tensor([1.7e308, -1.7e308, 1e300, -1e300], dtype=torch.float64)
    for rad in (0.0, 1.0, 1e308, INF):
        ball = Ball(mid, torch.full_like(mid, rad))
        for image in elementwise_orders(kind, (0, 1, 2), ball, **params):
            assert image.mid.isfinite().all()
            assert (image.rad >= 0.0).all()
    value = elementwise(kind, 0, Ball.exact(mid), **params)
    if kind in ("softplus", "silu", "gelu", "gelu_tanh"):
        assert value.upper()[0] >= 1.7e308
        assert abs(value.mid[3]) <= 1e-290


def test_pieces_layouts_and_empty_tensors():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(300, 250, generator=generator, dtype=torch.float64)[:, ::2].T
    rad = torch.rand(125, 300, generator=generator, dtype=torch.float64) * 1e-6
    whole = elementwise("tanh", 1, Ball(x, rad))
    part = elementwise("tanh", 1, Ball(x[7:9].contiguous(), rad[7:9].contiguous()))
    assert torch.equal(whole.mid[7:9], part.mid)
    assert torch.equal(whole.rad[7:9], part.rad)
    assert elementwise("gelu", 0, Ball.exact(torch.zeros(0, 3))).shape == (0, 3)
    assert elementwise("gelu", 0, Ball.exact(torch.tensor(1.0))).shape == ()


def test_threads_give_the_same_result():
    generator = torch.Generator().manual_seed(4)
    ball = Ball.exact(torch.randn(5, 40000, generator=generator, dtype=torch.float64))
    threads = torch.get_num_threads()
    try:
        images = []
        for count in (1, 3):
            torch.set_num_threads(count)
            images.append(elementwise("silu", 1, ball.inflate(1e-3)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(images[0].mid, images[1].mid)
    assert torch.equal(images[0].rad, images[1].rad)


def test_misuse_is_refused():
    ball = Ball.exact(torch.zeros(2))
    for kind, order, params, message in (
        ("relu", 0, {}, "kind"),
        ("tanh", 3, {}, "order"),
        ("tanh", True, {}, "order"),
        ("tanh", 0, {"beta": 1.0}, "beta"),
        ("softplus", 0, {"beta": 0.0}, "positive"),
        ("softplus", 0, {"beta": math.nan}, "positive"),
        ("smooth_leaky_relu", 0, {}, "slope"),
        ("smooth_leaky_relu", 0, {"slope": 1.5}, "slope"),
    ):
        with pytest.raises(InputError, match=message):
            elementwise(kind, order, ball, **params)
    with pytest.raises(InputError, match="enclose"):
        elementary.enclose("tan", torch.zeros(1).double())


def test_a_redirected_library_is_refused(monkeypatch):
    monkeypatch.setenv("IVAL_LIBRARY", "/tmp/other.so")
    with pytest.raises(UnsoundArithmeticError, match="IVAL_LIBRARY"):
        arithmetic_backend()
    elementary._crival.cache_clear()
    try:
        with pytest.raises(UnsoundArithmeticError, match="IVAL_LIBRARY"):
            elementwise("tanh", 0, Ball.exact(torch.zeros(2)))
    finally:
        elementary._crival.cache_clear()


def test_the_library_is_on_record():
    backend = arithmetic_backend()
    assert backend.name in ("crival", "python-flint")
    assert backend.version
    assert (len(backend.sha256) == 64) is (backend.name == "crival")


def test_nan_from_the_library_is_an_error(monkeypatch):
    nan = torch.full((2,), math.nan, dtype=torch.float64)
    with pytest.raises(UnsoundArithmeticError, match="NaN"):
        elementary.enclose("exp", nan)
