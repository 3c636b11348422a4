"""The initialisations of chatterjee2022 and its figures, in place on an `nn.Sequential`."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.prescribe._gaussian import truncated_normal
from talweg.prescribe._output_layer import LossName, PositiveStart, certified_output_scale_
from talweg.prescribe._sequential import linear_layers, random_source, write_


def lecun_(
    model: nn.Module, *, seed: int = 0, generator: torch.Generator | None = None
) -> nn.Module:
    """LeCun's Gaussian weights N(0, 1/fan_in) in every layer, zero biases (P2).

    Source: the baseline of the figures of chatterjee2022.

    Args:
        model: `nn.Sequential` of Linear layers and activations; changed in place.
        seed: Of the draws, when no generator is given.
        generator: CPU generator to draw from.

    Returns:
        The model.

    Raises:
        InputError: The model is no such chain, or the seed or generator is malformed.
    """
    layers = linear_layers(model, "lecun_")
    source = random_source(seed, generator, "lecun_")
    write_(layers, [_lecun(layer, source) for layer in layers])
    return model


def lecun_abs_(
    model: nn.Module, *, seed: int = 0, generator: torch.Generator | None = None
) -> nn.Module:
    """The entrywise absolute value of `lecun_` with the same seed, zero biases (P2).

    Positive in every layer, the first included, but the output entries are not large: P1 does not
    apply.

    Source: the figures of chatterjee2022.

    Args:
        model: `nn.Sequential` of Linear layers and activations; changed in place.
        seed: Of the draws, when no generator is given.
        generator: CPU generator to draw from.

    Returns:
        The model.

    Raises:
        InputError: The model is no such chain, or the seed or generator is malformed.
    """
    layers = linear_layers(model, "lecun_abs_")
    source = random_source(seed, generator, "lecun_abs_")
    write_(layers, [_lecun(layer, source).abs() for layer in layers])
    return model


def conditional_positive_(
    model: nn.Module,
    *,
    box: tuple[float, float] = (0.5, 3.0),
    output_box: tuple[float, float] | None = None,
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """LeCun's weights conditioned to be positive: W_1 = 0, later layers in a positive box (P2).

    Entries of layer l >= 2 are N(0, 1/fan_in) conditioned on [low, high] / sqrt(fan_in).

    Source: the event of chatterjee2022 theorem 2.8, on which P1's proof rests.

    Args:
        model: `nn.Sequential` of Linear layers and activations; changed in place.
        box: (low, high) in standard deviations, 0 < low < high, for layers 2..L. The default is
            talweg's: it keeps three fifths of the positive half-line's mass away from zero.
        output_box: The same for the last layer; None takes `box`. high may be inf.
        seed: Of the draws, when no generator is given.
        generator: CPU generator to draw from.

    Returns:
        The model.

    Raises:
        InputError: The model is no such chain, a box is not 0 < low < high, or the seed or
            generator is malformed.
    """
    call = "conditional_positive_"
    layers = linear_layers(model, call)
    source = random_source(seed, generator, call)
    hidden = _checked_box(box, "box", call)
    last = hidden if output_box is None else _checked_box(output_box, "output_box", call)
    weights = [torch.zeros(layers[0].weight.shape, dtype=torch.float64)]
    for layer in layers[1:]:
        low, high = last if layer is layers[-1] else hidden
        draws = truncated_normal(layer.weight.shape, low, high, source)
        weights.append(draws / math.sqrt(layer.in_features))
    write_(layers, weights)
    return model


def positive_(
    model: nn.Module,
    *,
    output_scale: float | Literal["certified"] = 1.0,
    data: tuple[Tensor, Tensor] | None = None,
    hidden: tuple[float, float] | None = None,
    loss: LossName = "mse",
    tolerance: float = 0.01,
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> PositiveStart:
    """Chatterjee's positive initialisation: zero first layer and biases, the rest positive (P1).

    Hidden entries are uniform in [low, high], every entry of the last weight is the output scale
    A. For A large enough training converges, for every width and depth, if the inputs are linearly
    independent. With ``output_scale="certified"`` A is the smallest for which `talweg.certify`
    proves it before any training, up to `tolerance`.

    Source: chatterjee2022 theorem 2.1; A by T11 in place of the theorem's constants.

    Args:
        model: `nn.Sequential` of Linear layers and activations; changed in place.
        output_scale: A > 0, or "certified".
        data: ``(X, y)`` for "certified"; also used for the explicit formula.
        hidden: (low, high), 0 < low <= high, for the entries of W_2..W_{L-1}. None is
            (1/2, 3/2) / fan_in, for which each layer passes on the mean of the one before.
        loss: Of the certificate, "mse", "sse" or "half_sse".
        tolerance: Relative, on A: the search ends when a refused A is within this of a proved one.
        seed: Of the draws, when no generator is given.
        generator: CPU generator to draw from.

    Returns:
        A as it stands in the model; with data also the explicit formula's A; with "certified" the
        certificate of exactly these weights. Where no A is found its status is not PROVED, and the
        weights of the last attempt are left in the model.

    Raises:
        InputError: The model is no such chain, `hidden` is not positive, A is not positive, or
            "certified" without data or with more than one output.
    """
    call = "positive_"
    layers = linear_layers(model, call)
    source = random_source(seed, generator, call)
    certified = output_scale == "certified"
    scale = 1.0 if certified else _positive(output_scale, "output_scale", call)
    if certified and data is None:
        raise InputError(
            '`data` of positive_() must be given with output_scale="certified", because the '
            "certificate speaks of a training set; got None. Pass data=(X, y)."
        )
    ends = None if hidden is None else _checked_box(hidden, "hidden", call, width=False)
    weights = [torch.zeros(layers[0].weight.shape, dtype=torch.float64)]
    for layer in layers[1:-1]:
        low, high = ends or (0.5 / layer.in_features, 1.5 / layer.in_features)
        share = torch.rand(layer.weight.shape, generator=source, dtype=torch.float64)
        weights.append((low + (high - low) * share).clamp(min=low, max=high))
    weights.append(torch.full(layers[-1].weight.shape, scale, dtype=torch.float64))
    write_(layers, weights)
    if certified and data is not None:
        return certified_output_scale_(model, data, loss=loss, tolerance=tolerance)
    return PositiveStart.of(model, data)


def _lecun(layer: nn.Linear, source: torch.Generator) -> Tensor:
    draws = torch.randn(layer.weight.shape, generator=source, dtype=torch.float64)
    return draws / math.sqrt(layer.in_features)


def _positive(value: object, name: str, call: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(
            f'`{name}` of {call}() must be a finite number > 0 or "certified"; got {value!r}. '
            "Positive output weights are what the theorem rests on."
        )
    return float(value)


def _checked_box(
    box: tuple[float, float], name: str, call: str, *, width: bool = True
) -> tuple[float, float]:
    wanted = "0 < low < high" if width else "0 < low <= high < inf"
    try:
        low, high = (float(end) for end in box)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    sound = 0.0 < low < high if width else 0.0 < low <= high < math.inf
    if not sound:
        raise InputError(
            f"`{name}` of {call}() must be a pair (low, high) with {wanted}; got {box!r}. "
            "Both ends positive, the smaller first."
        )
    return low, high
