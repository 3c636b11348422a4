"""The closed list of layers and functions that the reading understands, and what to use instead."""

from __future__ import annotations

import math

from torch import nn

from talweg._errors import UnsupportedModelError
from talweg.network._rebuilt import GraphModule
from talweg.nn import Scale, Sin, SmoothLeakyReLU

SUPPORTED = (
    "Linear, Conv1d, Conv2d, average pooling, LayerNorm, GroupNorm, BatchNorm in eval mode, "
    "Embedding, Bilinear, MultiheadAttention, TransformerEncoderLayer, Softmax, Tanh, Sigmoid, "
    "Softplus, SiLU, GELU, talweg.nn.SmoothLeakyReLU, talweg.nn.Sin, talweg.nn.Scale, Identity, "
    "Flatten, Dropout in eval mode, their functional forms (torch.tanh, F.softplus, F.linear, "
    "...), sums, differences, products and matrix products of activations, views, slices and "
    "joins that leave the batch alone, means, shifts and factors by parameters, and products and "
    "quotients with Python numbers"
)

ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.SiLU,
    nn.GELU,
    SmoothLeakyReLU,
    Sin,
)
LEAVES: tuple[type[nn.Module], ...] = (
    *ACTIVATIONS,
    nn.Linear,
    Scale,
    nn.Identity,
    nn.Flatten,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Unflatten,
    nn.Softmax,
    nn.Conv1d,
    nn.Conv2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.Embedding,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
    nn.TransformerEncoder,
    GraphModule,
)

_SMOOTH_RECTIFIER = (
    "It has a kink, where no gradient exists; use talweg.nn.SmoothLeakyReLU(slope), "
    "torch.nn.Softplus(beta), SiLU or GELU."
)
_SMOOTH_SIGMOID = "It has a kink; use torch.nn.Tanh or torch.nn.Sigmoid."
_NORMALISATION = "Use LayerNorm, GroupNorm, or BatchNorm1d or BatchNorm2d in eval mode."
_BATCH_NORM = "In eval mode, BatchNorm1d and BatchNorm2d are supported."
_CONVOLUTION = "Use Conv1d or Conv2d."
_POOLING = "It is not smooth; use AvgPool1d, AvgPool2d or the adaptive ones."
_DROPOUT = "Use torch.nn.Dropout, in eval mode, or leave it out."
_SOFTMAX = "Use Softmax, or let the model return logits and put it into the loss."
_ATTENTION = "Use MultiheadAttention or TransformerEncoderLayer with batch_first=True."

# Lower-case names of classes, functions and methods alike, without underscores.
_ADVICE: dict[str, str] = {
    **dict.fromkeys(
        ("relu", "leakyrelu", "prelu", "rrelu", "elu", "selu", "celu", "threshold", "hardswish"),
        _SMOOTH_RECTIFIER,
    ),
    **dict.fromkeys(("abs", "maximum", "minimum", "max", "min", "where"), _SMOOTH_RECTIFIER),
    **dict.fromkeys(
        ("relu6", "hardtanh", "hardsigmoid", "clamp", "clip", "hardshrink", "softshrink", "sign"),
        _SMOOTH_SIGMOID,
    ),
    "softsign": "Its second derivative jumps at 0; use torch.nn.Tanh.",
    **dict.fromkeys(("rmsnorm", "localresponsenorm", "normalize"), _NORMALISATION),
    **dict.fromkeys(("instancenorm1d", "instancenorm2d", "instancenorm3d"), _NORMALISATION),
    **dict.fromkeys(
        ("batchnorm1d", "batchnorm2d", "batchnorm3d", "syncbatchnorm", "batchnorm"), _BATCH_NORM
    ),
    **dict.fromkeys(("conv3d", "unfold", "pixelshuffle"), _CONVOLUTION),
    **dict.fromkeys(("convtranspose1d", "convtranspose2d", "convtranspose3d"), _CONVOLUTION),
    **dict.fromkeys(
        (
            "maxpool1d",
            "maxpool2d",
            "maxpool3d",
            "lppool1d",
            "lppool2d",
            "adaptivemaxpool1d",
            "adaptivemaxpool2d",
            "amax",
            "amin",
        ),
        _POOLING,
    ),
    **dict.fromkeys(("dropout3d", "alphadropout", "featurealphadropout"), _DROPOUT),
    **dict.fromkeys(("logsoftmax", "softmin", "softmax2d"), _SOFTMAX),
    **dict.fromkeys(("mish", "logsigmoid", "tanhshrink", "glu"), "Use SiLU or GELU."),
    **dict.fromkeys(
        ("mm", "rmatmul", "addmm", "einsum", "imatmul", "baddbmm", "tensordot"),
        "Write products with weights as torch.nn.Linear or torch.nn.functional.linear(x, "
        "self.weight), products of activations by @.",
    ),
    **dict.fromkeys(("iadd", "isub", "imul", "addcmul"), "Write it as x = x + y or x = x * y."),
    **dict.fromkeys(("transformer", "transformerdecoder", "transformerdecoderlayer"), _ATTENTION),
    **dict.fromkeys(
        ("expand", "expandas", "repeat", "tile", "broadcastto"),
        "Nothing is broadcast; give every value its own entries.",
    ),
    **dict.fromkeys(
        ("rnn", "lstm", "gru", "rnncell", "lstmcell", "grucell"),
        "Write the recurrence out, with Linear layers used several times.",
    ),
    **dict.fromkeys(("embeddingbag",), "Use Embedding and x.mean(1)."),
    **dict.fromkeys(("detach", "data"), "It hides the gradient; freeze with requires_grad=False."),
    "to": "Convert model and data to one dtype and device before the call.",
    "registerhook": "A hook on an activation may change the gradient; remove it.",
}


def advice(name: str) -> str:
    """What to use in place of a class, function or method of this name."""
    if name.endswith("_") and not name.endswith("__"):
        return f"It acts in place; use {name.rstrip('_')}, if that is supported."
    key = name.lower().replace("_", "").removeprefix("lazy")
    return _ADVICE.get(key, "Replace it by supported layers, or leave it out.")


def unsupported(what: str, todo: str) -> UnsupportedModelError:
    """The error for one thing in the model: what it is and where, what is supported, what to do."""
    return UnsupportedModelError(
        f"talweg cannot read the model: {what}. {todo} Supported is a network of {SUPPORTED}."
    )


def place(path: str) -> str:
    """A module path in words."""
    return f"module {path!r}" if path else "the model itself"


def activation_of(module: nn.Module, path: str) -> tuple[str, dict[str, float]]:
    """Name and constants of an activation module (exact type in `ACTIVATIONS`).

    Raises:
        UnsupportedModelError: The module's settings are outside the grammar.
    """
    if isinstance(module, nn.Softplus):
        return "softplus", softplus_parameters(module.beta, module.threshold, path)
    if isinstance(module, nn.GELU):
        return gelu_name(module.approximate, path), {}
    if isinstance(module, SmoothLeakyReLU):
        if not 0.0 < module.slope < 1.0:
            raise unsupported(
                f"{place(path)} is a SmoothLeakyReLU of slope {module.slope!r}",
                "Give a slope strictly between 0 and 1.",
            )
        return "smooth_leaky_relu", {"slope": float(module.slope)}
    if isinstance(module, nn.SiLU):
        refuse_inplace(module.inplace, "SiLU", path)
        return "silu", {}
    return {nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", Sin: "sin"}[type(module)], {}


def softplus_parameters(beta: object, threshold: object, path: str) -> dict[str, float]:
    """``beta`` and ``threshold`` of a softplus as exact binary64 numbers."""
    b, t = exact_float(beta), exact_float(threshold)
    if b is None or t is None or not 0.0 < b < math.inf or math.isnan(t):
        raise unsupported(
            f"{place(path)} is a softplus with beta={beta!r}, threshold={threshold!r}",
            "Give a positive finite beta and a threshold, both Python numbers.",
        )
    return {"beta": b, "threshold": t}


def gelu_name(approximate: object, path: str) -> str:
    """Which of the two GELUs this is."""
    if approximate not in ("none", "tanh"):
        raise unsupported(
            f"{place(path)} is a GELU with approximate={approximate!r}", "Use 'none' or 'tanh'."
        )
    return "gelu" if approximate == "none" else "gelu_tanh"


def refuse_inplace(inplace: object, name: str, path: str) -> None:
    """Refuse ``inplace=True``, which overwrites values the gradient may still need."""
    if inplace is not False:
        raise unsupported(f"{place(path)} is {name} with inplace={inplace!r}", "Use inplace=False.")


def exact_float(value: object) -> float | None:
    """A Python number as binary64, or None where it is no number or would have to be rounded."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if converted == value or math.isnan(converted) else None
