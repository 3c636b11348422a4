"""Sums, products, quotients and roots rounded in a chosen direction, for tensors and floats.

Model of arithmetic: IEEE 754 binary64, round to nearest, gradual underflow, with

    u = 2^-53 (unit roundoff),   eta = 2^-1074 (smallest subnormal),   gamma_k = k u / (1 - k u).

For + - * / the computed float is the float nearest to the exact value, so one step of `nextafter`
in the wanted direction passes the exact value. (On tensors the step is always taken; on floats it
is left out where the float is known to be exact.) The same holds for `math.sqrt`. `torch.sqrt` may
come from a vector library that promises an error below one unit in the last place, and misses the
nearest float for one number in seventy: two steps, because below a power of two that unit holds two
floats.

A quotient is always one of two tensors on one device: for a divisor that is a Python number, or a
single number on the CPU, torch multiplies by a rounded reciprocal on an accelerator.

For sums, norms and products of many terms no order of summation is assumed and an FMA may be used
anywhere. Each term then meets at most k roundings, and each underflow adds at most eta / 2, itself
enlarged by at most k roundings:

    |fl(sum_i a_i b_i) - sum_i a_i b_i| <= gamma_k sum_i |a_i b_i| + k eta        for k u <= 1/2,

because (1 + u)^k <= 1 / (1 - k u) <= 2. Sums without products do not underflow. For terms >= 0
the same count gives  exact <= (fl + k eta) / (1 - k u). (Source: Jeannerod and Rump, "Improved
error bounds for inner products in floating-point arithmetic", 2013, prove the sharper constant
k u; the classical gamma_k of Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
section 3.1, is used here because its proof covers every order and every use of FMA.)

An upper bound that overflows is inf. NaN in gives NaN out: consumers must compare so that it fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, overload

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import _scalar

UNIT_ROUNDOFF = 2.0**-53
SMALLEST_SUBNORMAL = 2.0**-1074
INF = math.inf


class DirectedBinary(Protocol):
    """A rounded operation on two floats, or on tensors (float64) with tensors or floats."""

    @overload
    def __call__(self, a: float, b: float) -> float: ...
    @overload
    def __call__(self, a: Tensor, b: Tensor | float) -> Tensor: ...
    @overload
    def __call__(self, a: float, b: Tensor) -> Tensor: ...


class DirectedUnary(Protocol):
    """A rounded function of one float or one float64 tensor."""

    @overload
    def __call__(self, a: float) -> float: ...
    @overload
    def __call__(self, a: Tensor) -> Tensor: ...


def _binary(
    name: str, on_floats: Callable[[float, float], float], raw: str, toward: float
) -> DirectedBinary:
    operation: Callable[[Tensor | float, Tensor | float], Tensor] = getattr(torch, raw)

    def directed(a: Tensor | float, b: Tensor | float) -> Tensor | float:
        if isinstance(a, Tensor):
            x, y = a, _beside(b, a, name)
        elif isinstance(b, Tensor):
            x, y = _beside(a, b, name), b
        else:
            return on_floats(exact_float(a, name), exact_float(b, name))
        _require_float64(x, name)
        _require_float64(y, name)
        return step_(operation(x, y), toward)

    directed.__name__ = directed.__qualname__ = name
    side = "Upper" if toward > 0 else "Lower"
    directed.__doc__ = f"{side} bound of torch.{raw}(a, b), elementwise; floats give a float."
    return directed  # type: ignore[return-value]


def _unary(
    name: str, on_floats: Callable[[float], float], raw: str, toward: float
) -> DirectedUnary:
    operation: Callable[[Tensor], Tensor] = getattr(torch, raw)

    def directed(a: Tensor | float) -> Tensor | float:
        if not isinstance(a, Tensor):
            return on_floats(exact_float(a, name))
        _require_float64(a, name)
        root = operation(a)
        stepped = step_(step_(root.clone(), toward), toward)
        return torch.where(root == 0.0, root, stepped)

    directed.__name__ = directed.__qualname__ = name
    side = "Upper" if toward > 0 else "Lower"
    directed.__doc__ = f"{side} bound of torch.{raw}(a), elementwise; a float gives a float."
    return directed  # type: ignore[return-value]


def step_(x: Tensor, toward: float) -> Tensor:
    """Replace x in place by the next float toward +inf or -inf, and return it."""
    return x.nextafter_(torch.full((), toward, dtype=torch.float64, device=x.device))


def _beside(x: Tensor | float, other: Tensor, call: str) -> Tensor:
    """x as a tensor; a single number goes to the device of the other operand."""
    if isinstance(x, Tensor):
        return x if x.ndim else x.to(other.device)
    return torch.tensor(exact_float(x, call), dtype=torch.float64, device=other.device)


def exact_float(x: float, call: str) -> float:
    """x as a float without rounding; NaN passes, because NaN in gives NaN out."""
    try:
        value = float(x)
    except OverflowError:
        value = INF
    if value != x and not math.isnan(value):
        raise InputError(
            f"The numbers of {call} must be floats; got {x!r} of type {type(x).__name__}, which no "
            "float equals. Build the number from smaller exact parts."
        )
    return value


def _require_float64(x: Tensor, call: str) -> None:
    if x.dtype != torch.float64:
        raise InputError(
            f"The tensors of {call} must be float64; got {x.dtype} of shape {tuple(x.shape)}. "
            "Convert with exact_float64(t) first."
        )


add_up = _binary("add_up", _scalar.add_up_float, "add", INF)
add_down = _binary("add_down", _scalar.add_down_float, "add", -INF)
sub_up = _binary("sub_up", _scalar.sub_up_float, "sub", INF)
sub_down = _binary("sub_down", _scalar.sub_down_float, "sub", -INF)
mul_up = _binary("mul_up", _scalar.mul_up_float, "mul", INF)
mul_down = _binary("mul_down", _scalar.mul_down_float, "mul", -INF)
div_up = _binary("div_up", _scalar.div_up_float, "div", INF)
div_down = _binary("div_down", _scalar.div_down_float, "div", -INF)
sqrt_up = _unary("sqrt_up", _scalar.sqrt_up_float, "sqrt", INF)
sqrt_down = _unary("sqrt_down", _scalar.sqrt_down_float, "sqrt", -INF)


def gamma(k: int) -> float:
    """gamma_k = k u / (1 - k u), rounded up; inf when k u > 1/2.

    Args:
        k: number of roundings, >= 0.
    """
    if k < 0:
        raise InputError(f"`k` of gamma(k) must be >= 0; got {k}. Pass a number of roundings.")
    if k > 2**52:
        return INF
    ku = k * UNIT_ROUNDOFF  # exact: a power of two times an integer below 2^53
    return _scalar.div_up_float(ku, _scalar.sub_down_float(1.0, ku))


def growth(k: int) -> float:
    """1 / (1 - k u) >= (1 + u)^k and >= (1 - u)^-k, rounded up; inf when k u > 1/2."""
    return _scalar.add_up_float(1.0, gamma(k))


def underflow(k: int) -> float:
    """k eta: what k underflows, each enlarged by at most k <= 2^52 roundings, can add."""
    return float(k) * SMALLEST_SUBNORMAL if k <= 2**52 else INF


def sum_upper(x: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Upper bound of the exact sum of x along dim (all entries if None), any signs.

    exact <= fl(sum x) + gamma_{n-1} sum |x|  and  sum |x| <= fl(sum |x|) / (1 - (n-1) u).

    Args:
        x: float64 tensor; +inf entries are allowed (the bound is then inf).
        dim: reduced dimension or dimensions.

    Returns:
        float64 tensor of the reduced shape; inf where the float sum overflows; NaN for NaN.
    """
    _require_float64(x, "sum_upper")
    dims = tuple(range(x.ndim)) if dim is None else dim
    if x.ndim == 0:
        return x.clone()
    total = x.sum(dims)
    n = x.numel() // max(total.numel(), 1)
    if n <= 1:
        return total
    absolute = x.abs().sum(dims)
    bound = add_up(total, mul_up(mul_up(absolute, growth(n)), gamma(n)))
    # A sum that is not finite overflowed or met an infinity: only +inf is then an upper bound.
    # NaN entries show up in the sum of absolute values, where infinities cannot cancel.
    bound = torch.where(total.isfinite(), bound, INF)
    bound = torch.where(absolute == 0.0, total, bound)
    return torch.where(absolute.isnan(), absolute, bound)


def sum_lower(x: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Lower bound of the exact sum of x along dim (all entries if None), any signs."""
    return -sum_upper(-x, dim)


def sum_nonnegative_upper(x: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Upper bound of the exact sum of x >= 0 along dim: fl(sum) / (1 - n u), one pass."""
    _require_float64(x, "sum_nonnegative_upper")
    if x.ndim == 0:
        return x.clone()
    total = x.sum(tuple(range(x.ndim)) if dim is None else dim)
    n = x.numel() // max(total.numel(), 1)
    # Sums are exact below 2^-1021, and a product by growth >= 1 stepped up is an upper bound.
    return torch.where(total == 0.0, total, mul_up(total, growth(n)))


def norm_upper(x: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Upper bound of the Euclidean norm of x along dim (all entries if None).

    |x|^2 <= (S + n eta) / (1 - n u) with S = fl(sum x_i^2), in any order. `vector_norm` returns r,
    less than one unit in the last place from sqrt(S), so sqrt(S) <= r / (1 - 2u) and

        |x| <= (r / (1 - 2u) + sqrt(n eta)) / sqrt(1 - n u)
            <= (r (1 + 2u) + sqrt(n eta)) growth_{n+4}.

    (The growth factor is the square of the needed one and counts four roundings too many: room for
    (1 - 4 u^2)^-1, and for a library that scales the entries before squaring.)

    Where r lies outside [2^-500, 2^500] the entries are first scaled by a power of two, so that
    neither underflow nor overflow spoils the bound. Zero vectors give exactly 0.

    Args:
        x: float64 tensor.
        dim: reduced dimension or dimensions.

    Returns:
        float64 tensor of the reduced shape, >= the exact norm; NaN for NaN, inf for infinities.
    """
    _require_float64(x, "norm_upper")
    if x.ndim == 0:
        return x.abs()
    dims = tuple(range(x.ndim)) if dim is None else dim
    bound, r = _norm_unscaled(x, dims)
    if x.numel() == 0:
        return r  # zeros
    if bool(((r >= 2.0**-500) & (r <= 2.0**500)).all()):
        return bound
    largest = x.abs().amax(dims, keepdim=True)
    scale = power_of_two(-torch.frexp(largest).exponent.clamp(-1000, 1000))
    # |x| scale is exact, or underflows and is stepped up.
    scaled = x.abs() * scale
    scaled = torch.where((scaled < 2.0**-1000) & (x != 0.0), mul_up(x.abs(), scale), scaled)
    rescaled, _ = _norm_unscaled(scaled, dims)
    shape = rescaled.shape
    careful = div_up(rescaled, scale.reshape(shape))
    largest = largest.reshape(shape)
    careful = torch.where(largest == 0.0, largest, careful)
    careful = torch.where(largest.isfinite(), careful, largest)
    return torch.where((r >= 2.0**-500) & (r <= 2.0**500), bound, careful)


def _norm_unscaled(x: Tensor, dims: int | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    r = torch.linalg.vector_norm(x, dim=dims)
    n = x.numel() // max(r.numel(), 1)
    floor = _scalar.sqrt_up_float(underflow(max(n, 1)))
    bound = mul_up(r, _scalar.add_up_float(1.0, 2 * UNIT_ROUNDOFF))
    return mul_up(add_up(bound, floor), growth(n + 4)), r


def row_norms_upper(x: Tensor) -> Tensor:
    """Upper bounds of the Euclidean norms of the rows: (..., m, k) -> (..., m)."""
    return norm_upper(x, -1)


def matmul_upper(a: Tensor, b: Tensor) -> Tensor:
    """Upper bound of the exact product of two entrywise nonnegative tensors.

    exact <= (fl(A B) + k eta) / (1 - k u), k the inner dimension, any order of summation.

    Args:
        a: float64, (..., m, k), entries >= 0.
        b: float64, (..., k, n) or (k,), entries >= 0.

    Returns:
        float64 tensor of the shape of ``a @ b``.
    """
    _require_float64(a, "matmul_upper")
    _require_float64(b, "matmul_upper")
    k = a.shape[-1]
    product = torch.matmul(a, b)
    return step_(step_(product.add_(underflow(k)), INF).mul_(growth(k)), INF)


def power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent, exactly, built from the bits; exponent an integer tensor in [-1022, 1023]."""
    return ((exponent.to(torch.int64) + 1023) << 52).view(torch.float64)


def exact_float64(t: Tensor) -> Tensor:
    """t as float64, every value kept exactly.

    Args:
        t: float64, float32, float16 or bfloat16 tensor, or an integer tensor of at most 32 bits.

    Raises:
        InputError: another dtype (int64 and complex do not fit), or a sparse tensor.
    """
    if t.layout != torch.strided:
        raise InputError(
            f"`t` of exact_float64(t) must be a dense tensor; got the layout {t.layout}. Call "
            "t.to_dense() first."
        )
    if t.dtype == torch.float64:
        return t.detach()
    if t.dtype not in _EXACT_DTYPES:
        raise InputError(
            f"`t` of exact_float64(t) must have a dtype that float64 holds exactly "
            f"({', '.join(str(d).removeprefix('torch.') for d in _EXACT_DTYPES)}, float64); got "
            f"{t.dtype}. Convert it yourself, so that the rounding is yours."
        )
    return t.detach().to(torch.float64)


_EXACT_DTYPES = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)
