"""How far a float64 training step may be from exact gradient descent (theory T9).

The program: forward, loss gradient, backward and update of full-batch gradient descent in binary64,

    ^z_l = fl(W_l ^h_{l-1} + b_l),  ^h_l = fl(phi_l(^z_l)),  ^p = fl(2c (^h_L - y)),
    ^delta_l = fl(^g_l phi_l'),  ^G_l = fl(sum_i ^delta_l ^h_{l-1}^T),
    ^g_{l-1} = fl(W_l^T ^delta_l),  w+ = fl(w - lr ^G),

inner products in any order, with or without FMA. Its step is w+ = w - lr (grad f(w) + e), and for
every float iterate w in B(w0, R) with |F(w) - y| <= |r_0|

    |e| <= |^G - grad f(w)| + (u |w| + gamma_3 lr |^G| + 2 p tau) / lr.

All quantities are maxima over the samples; errors are kept as  const + slope |r_i|.  The program
line by line, the recursion and its proof: docs/theory/T9.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from talweg._errors import InputError
from talweg.enclosure import Interval, gamma, norm_upper
from talweg.network._graph import Elementwise, Linear, Network
from talweg.network._linearization import Linearization
from talweg.network.layers import linear

ELEMENTARY_ERROR = 2.0**-50
"""Assumed: a library function is off by at most 4 units of 2^-52 of its value, plus `TINY`."""

TINY = 2.0**-1000
"""Above everything that underflow adds to one entry of one product, gradual or flushed."""

LARGEST_MAGNITUDE = 2.0**400
"""Magnitudes beyond this count as unbounded: far below overflow of any sum in the program."""

LOSS_ROUNDINGS = 6
"""Roundings between ``^h_L - y`` and the output cotangent, the difference included."""

SLOPES = {"tanh": 1.0, "sigmoid": 0.25, "identity": 1.0}
"""sup |phi'| of the activations whose backward formula is bounded here."""

_UNIT = 2.0**-53


@dataclass(frozen=True, slots=True)
class _Layer:
    """One stage at w0: what of it does not depend on the radius."""

    function: str
    d_in: int
    d_out: int
    spectral: float
    frobenius: float
    bias: float | None
    moves_weight: bool
    moves_bias: bool
    hidden: float  # max over samples of |h_l| at w0


@dataclass(frozen=True, slots=True)
class _Affine:
    """An error bounded by ``const + slope |r_i|`` for sample i."""

    const: Interval
    slope: Interval

    def times(self, factor: Interval) -> _Affine:
        return _Affine(self.const * factor, self.slope * factor)

    def plus(self, const: Interval, slope: Interval) -> _Affine:
        return _Affine(self.const + const, self.slope + slope)


@dataclass(frozen=True, slots=True)
class _Forward:
    """On the ball: ``size[l] >= |h_l|``, ``error[l] >= |^h_l - h_l|``; index 0 is the input.

    ``largest`` bounds every partial sum of the forward pass.
    """

    size: tuple[Interval, ...]
    error: tuple[Interval, ...]
    largest: float


class GradientError:
    """Bounds on the error of one float64 step, as a function of the radius.

    Args:
        state: The linearization at w0. Merged rows will do: only maxima over rows are used.
        samples: Rows n that the program sums over, not merged.
        residual_norm_upper: Bounds |F(w) - y| at every iterate that is asked about.
        curvature: 2c, for the loss c |F - y|^2.
        step_size: lr of the program, a float.

    Raises:
        InputError: `rounding_not_covered` gives a reason for this network.
    """

    def __init__(
        self,
        state: Linearization,
        *,
        samples: int,
        residual_norm_upper: float,
        curvature: Interval,
        step_size: float,
    ) -> None:
        self._samples = samples
        self._residual = Interval.point(residual_norm_upper)
        self._curvature = curvature
        self._lr = Interval.point(step_size)
        self._layers = tuple(
            _layer(state, position) for position in range(1, state.depth + 1)
        )  # fmt: skip
        self._input = float(norm_upper(state.h[0].magnitude_upper(), 1).amax())
        squares = Interval.point(0.0)
        self._count = 0
        for stage in state.form.stages:
            for tensor, moves in (
                (stage.linear.weight, stage.linear.weight_trainable),
                (stage.linear.bias, stage.linear.bias_trainable),
            ):
                if tensor is not None and moves:
                    self._count += tensor.numel()
                    squares = squares + Interval.point(_norm(tensor)).square()
        self._weights = squares.sqrt()

    def upper(self, radius: float) -> float:
        """Bounds |e| for every iterate in B(w0, radius) with |r| <= residual_norm_upper.

        Args:
            radius: >= 0.

        Returns:
            A float on the scale of the gradient of the loss; inf when nothing finite came out.
        """
        if not 0.0 <= radius < math.inf:
            return math.inf
        gradient, size, largest = self._gradient(radius)  # over 2c
        scales = (self._curvature.hi, (1.0 / self._curvature).hi, self._lr.hi)
        if not max(largest, *scales) < LARGEST_MAGNITUDE:
            return math.inf
        gradient, size = gradient * self._curvature, size * self._curvature
        moved = self._weights + radius
        stored = (moved * _UNIT + 2.0 * self._count * TINY) / self._lr
        total = (gradient + stored + (size + gradient) * gamma(3)).hi
        return total if total < LARGEST_MAGNITUDE else math.inf

    def _forward(self, radius: float) -> _Forward:
        """Values and forward errors, layer by layer."""
        zero = Interval.point(0.0)
        size, error, drift = [Interval.point(self._input)], [zero], zero
        largest = self._input
        for layer in self._layers:
            h, a = size[-1], error[-1]
            moved_w = radius if layer.moves_weight else 0.0
            moved_b = radius if layer.moves_bias else 0.0
            reach = ((h.square() if layer.moves_weight else zero) + float(layer.moves_bias)).sqrt()
            slope = SLOPES[layer.function]
            drift = slope * (layer.spectral * drift + radius * reach)
            terms = layer.d_in + (layer.bias is not None)
            products = (Interval.point(layer.frobenius) + moved_w) * (h + a)
            if layer.bias is not None:
                products = products + (Interval.point(layer.bias) + moved_b)
            largest = max(largest, products.hi)
            rounding = gamma(terms) * products + float(terms * layer.d_out) * TINY
            before = (Interval.point(layer.spectral) + moved_w) * a + rounding
            size.append(Interval.point(layer.hidden) + drift)
            after = slope * before
            if layer.function != "identity":
                after = after + (size[-1] + after) * ELEMENTARY_ERROR + layer.d_out * TINY
            error.append(after)
        return _Forward(tuple(size), tuple(error), largest)

    def _gradient(self, radius: float) -> tuple[Interval, Interval, float]:
        """Bounds of |^G - grad f|, of |grad f| and of every magnitude, divided by 2c."""
        forward = self._forward(radius)
        n = float(self._samples)
        root = Interval.point(n).sqrt() * self._residual  # >= sum_i |r_i|
        tiny = Interval.point(TINY) * (1.0 + 1.0 / self._curvature)
        outputs = self._layers[-1].d_out
        scale = Interval.point(1.0)  # |g_l| <= scale |r_i|
        g6 = gamma(LOSS_ROUNDINGS)
        error = _Affine(
            forward.error[-1] * (1.0 + Interval.point(g6)) + float(outputs) * tiny,
            Interval.point(g6),
        )
        errors, sizes, largest = Interval.point(0.0), Interval.point(0.0), forward.largest
        for position in range(len(self._layers), 0, -1):
            layer = self._layers[position - 1]
            error, scale = self._through_activation(
                layer, error, scale, forward.error[position], tiny
            )
            h, a = forward.size[position - 1], forward.error[position - 1]
            entries = float(layer.d_in * layer.d_out)
            if layer.moves_weight:
                grown = (h + a) * (1.0 + Interval.point(gamma(self._samples)))
                each = error.times(grown).plus(
                    tiny * entries, scale * (a + gamma(self._samples) * (h + a))
                )
                errors = errors + (n * each.const + root * each.slope).square()
                sizes = sizes + (root * scale * h).square()
            if layer.moves_bias:
                each = error.times(1.0 + Interval.point(gamma(self._samples))).plus(
                    Interval.point(0.0), scale * gamma(self._samples)
                )
                errors = errors + (n * each.const + root * each.slope).square()
                sizes = sizes + (root * scale).square()
            moved = radius if layer.moves_weight else 0.0
            spectral = Interval.point(layer.spectral) + moved
            mixed = (Interval.point(layer.frobenius) + moved) * gamma(layer.d_out)
            error = error.times(spectral + mixed).plus(tiny * entries, mixed * scale)
            scale = spectral * scale
            most = (Interval.point(layer.frobenius) + moved + 1.0) * (
                error.const + (error.slope + scale + 1.0) * self._residual
            )
            largest = max(largest, most.hi)
        return errors.sqrt(), sizes.sqrt(), largest

    @staticmethod
    def _through_activation(
        layer: _Layer, error: _Affine, scale: Interval, a: Interval, tiny: Interval
    ) -> tuple[_Affine, Interval]:
        """From ``g = dF/dh`` to ``delta = g phi'``."""
        if layer.function == "identity":
            return error, scale
        slope = SLOPES[layer.function]
        if layer.function == "tanh":  # s = 1 - h^2, computed as fl(1 - fl(h^2))
            off = a * (2.0 + a) + gamma(2) * (1.0 + (1.0 + a).square()) + TINY
        else:  # s = h (1 - h); its roundings are among the three of the product
            off = a * (1.0 + a)
        product = off + gamma(3) * (slope + off)
        return (
            error.times(slope + product).plus(float(layer.d_out) * tiny, product * scale),
            slope * scale,
        )


def rounding_not_covered(network: Network, *tensors: torch.Tensor) -> str | None:
    """Why the rounding of a float64 run on this network is not bounded here; None when it is.

    Args:
        network: Any network.
        *tensors: Inputs and targets.
    """
    if not network.is_chain:
        return "the network is a graph, and T9 speaks of chains of linear layers and activations"
    last: str | None = None
    seen_linear = False
    for op in network.chain_operations:
        if isinstance(op, Linear):
            seen_linear, last = True, None
            for name, value in ((op.weight_name, op.weight), (op.bias_name, op.bias)):
                if value is not None and value.dtype != torch.float64:
                    return f"the parameter {name!r} is {value.dtype}, and the program is float64"
        elif not isinstance(op, Elementwise):
            return f"the rounding of the constant factor at {op.path!r} is not bounded"
        elif op.function not in SLOPES:
            return (
                f"the backward formula of {op.function} at {op.path!r} is not bounded; "
                f"{' and '.join(name for name in SLOPES if name != 'identity')} are"
            )
        elif not seen_linear:
            return "an activation before the first linear layer is not bounded"
        elif op.function != "identity":
            if last is not None:
                return f"two activations in a row ({last}, then {op.function}) are not bounded"
            last = op.function
    for tensor in tensors:
        if tensor.dtype != torch.float64:
            return f"the data are {tensor.dtype}, and the program is float64"
    return None


def _layer(state: Linearization, position: int) -> _Layer:
    stage = state.form.stages[position - 1]
    functions = [
        op.function if isinstance(op, Elementwise) else "scale" for op in stage.pointwise.operations
    ]
    named = [name for name in functions if name != "identity"] or ["identity"]
    if len(named) > 1 or named[0] not in SLOPES or state.form.entry.operations:
        raise InputError(
            "`state` of GradientError() must belong to a chain of linear layers with at most one "
            f"activation out of {', '.join(SLOPES)} behind each; got {functions} at stage "
            f"{position}. Ask rounding_not_covered(network) first."
        )
    op = stage.linear
    return _Layer(
        function=named[0],
        d_in=op.weight.shape[1],
        d_out=op.weight.shape[0],
        spectral=linear.weight_norm_upper(op),
        frobenius=_norm(op.weight),
        bias=None if op.bias is None else _norm(op.bias),
        moves_weight=op.weight_trainable,
        moves_bias=op.bias is not None and op.bias_trainable,
        hidden=float(norm_upper(state.h[position].magnitude_upper(), 1).amax()),
    )


def _norm(tensor: torch.Tensor) -> float:
    return float(norm_upper(tensor.detach().to(torch.float64)))
