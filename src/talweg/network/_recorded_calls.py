"""One forward pass that writes down every call in which a trainable parameter takes part.

A `Recorder` sees each torch function that a module calls (a ``TorchFunctionMode``, so no hook is
put on the module). A parameter may only appear as the weight or bias of a function listed here;
then the call's input H and the place of its output in the autograd graph are kept, from which

    dF / dW = sum over positions p of  G[:, p] (x) H[:, p],      G = dF / dz

follows for each sample. Anything else a forward pass can do with a parameter, or with the values of
a batch outside of autograd's sight (``if x.sum() > 0``), raises `NotRecorded`, and the caller takes
another route. Nothing is guessed.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode


class NotRecorded(Exception):
    """The forward pass does something whose per-layer gradients are not known here."""


@dataclass(frozen=True, eq=False)
class Call:
    """One use of trainable parameters.

    Attributes:
        kind: ``linear``, ``conv``, ``embedding`` or ``scale`` (``z = w * h + b``, broadcast).
        weight: Name of the trainable weight, None if it is frozen or absent.
        bias: Name of the trainable bias, None if it is frozen or absent.
        inputs: H as the call saw it, detached: the input of a linear layer or convolution (an outer
            product for a bilinear one), the tokens of an embedding, h of a scale.
        options: What else the rule needs: the `Window` of a convolution, the shape in which a scale
            broadcasts its parameters, rows and padding row of an embedding.
        edge: The call's output in the autograd graph; taken at once, because a later operation in
            place gives the tensor another one.
        shape: Shape of the output.
        version: Version counter of `inputs` at the call.
    """

    kind: str
    weight: str | None
    bias: str | None
    inputs: Tensor
    options: Any
    edge: GradientEdge
    shape: torch.Size
    version: int

    @property
    def signature(self) -> tuple[Any, ...]:
        """What must agree between two passes for their calls to be the same."""
        return self.kind, self.weight, self.bias, self.options, self.inputs.dim(), len(self.shape)


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution, one entry per spatial dimension."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class Recorder(TorchFunctionMode):
    """Context in which calls with trainable parameters are kept, in order.

    `functions` are all torch functions called, with or without parameters.

    Args:
        parameters: The trainable tensors by name, as the forward pass will meet them.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self._names = {id(t): name for name, t in parameters.items()}
        self.calls: list[Call] = []
        self.functions: list[Callable[..., Any]] = []
        self.refused: str | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a torch function; keep it if a trainable parameter is among its arguments."""
        kwargs = kwargs or {}
        self.functions.append(func)
        named: list[str] = []
        self._collect(args, named)
        if kwargs:
            self._collect(kwargs.values(), named)
        reader = _READERS.get(func) if named else None
        if reader is not None:
            return self._kept(func, reader, args, kwargs, named)
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor) and next(_tensors(result), None) is None:
            if not _is_metadata(func):
                self._refuse(f"{_name(func)} takes values out of the graph")
        elif named:
            self._refuse(f"{_name(func)} uses {named[0]}")
        return result

    def _collect(self, values: Iterable[Any], named: list[str]) -> None:
        """Add the names of trainable parameters among the values, at any depth."""
        for value in values:
            if isinstance(value, Tensor):
                if id(value) in self._names:
                    named.append(self._names[id(value)])
            elif isinstance(value, tuple | list):
                self._collect(value, named)
            elif isinstance(value, dict):
                self._collect(value.values(), named)

    def _refuse(self, reason: str) -> NoReturn:
        # Kept as well, because the module may catch what is raised inside it.
        self.refused = reason
        raise NotRecorded(reason)

    def _kept(
        self,
        func: Callable[..., Any],
        reader: tuple[tuple[str, ...], Callable[..., Read]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        named: list[str],
    ) -> Tensor:
        names, read = reader
        arguments = dict(zip(names, args, strict=False)) | kwargs
        output: Tensor = func(*args, **kwargs)
        if not torch.is_grad_enabled() or not output.requires_grad:
            self._refuse(f"{_name(func)} runs without gradients")
        try:
            kind, weight, bias, inputs, options = read(func, arguments)
        except NotRecorded as refusal:
            self._refuse(str(refusal))
        held = [self._names.get(id(t)) for t in (weight, bias)]
        if sorted(named) != sorted(name for name in held if name is not None):
            self._refuse(f"{_name(func)} takes {named} as data")
        self.calls.append(
            Call(
                kind, held[0], held[1], inputs.detach(), options,
                get_gradient_edge(output), output.shape, inputs._version,
            )
        )  # fmt: skip
        return output


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _name(func: Callable[..., Any]) -> str:
    return str(getattr(func, "__name__", func))


# Functions without a tensor in their result that tell nothing of a tensor's values.
_METADATA = frozenset(
    {
        "size", "dim", "ndimension", "numel", "nelement", "stride", "storage_offset",
        "element_size", "is_contiguous", "is_floating_point", "is_complex", "is_signed",
        "is_tensor", "get_device",
        "__len__", "__iter__", "__hash__", "__setitem__", "type", "result_type", "can_cast",
        "dim_order", "is_pinned", "is_inference", "is_conj", "is_neg", "is_same_size",
        "has_names", "iinfo", "finfo", "is_grad_enabled", "_set_grad_enabled",
    }
)  # fmt: skip


def _is_metadata(func: Callable[..., Any]) -> bool:
    # A property is read through its __get__; none of those without a tensor looks at values.
    return _name(func) == "__get__" or _name(func) in _METADATA


# kind, weight, bias, H, options
Read = tuple[str, Tensor | None, Tensor | None, Tensor, Any]


def _linear(_: Callable[..., Any], a: dict[str, Any]) -> Read:
    return "linear", a["weight"], a.get("bias"), a["input"], None


def _bilinear(_: Callable[..., Any], a: dict[str, Any]) -> Read:
    first, second = a["input1"], a["input2"]
    with torch.no_grad():
        pairs = (first[..., :, None] * second[..., None, :]).flatten(-2)
    return "linear", a["weight"], a.get("bias"), pairs, None


def _conv(_: Callable[..., Any], a: dict[str, Any]) -> Read:
    size = tuple(a["weight"].shape[2:])
    dims = len(size)
    if a["input"].dim() != dims + 2:
        raise NotRecorded("convolution of a single sample without a batch")
    stride, dilation = (_each(a.get(key, 1), dims) for key in ("stride", "dilation"))
    padding = a.get("padding", 0)
    if padding == "same":
        total = [d * (s - 1) for d, s in zip(dilation, size, strict=True)]
        before = tuple(t // 2 for t in total)
        after = tuple(t - b for t, b in zip(total, before, strict=True))
    else:
        before = after = _each(0 if padding == "valid" else padding, dims)
    window = Window(size, stride, before, after, dilation, int(a.get("groups", 1)))
    return "conv", a["weight"], a.get("bias"), a["input"], window


def _each(value: Any, dims: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return tuple(int(v) for v in (values * dims if len(values) == 1 else values))


def _embedding(_: Callable[..., Any], a: dict[str, Any]) -> Read:
    if a.get("max_norm") is not None or a.get("scale_grad_by_freq") or a.get("sparse"):
        raise NotRecorded("embedding with max_norm, scale_grad_by_freq or sparse gradients")
    padding = a.get("padding_idx")
    if padding is not None and padding < 0:
        padding += len(a["weight"])
    return "embedding", a["weight"], None, a["input"], (len(a["weight"]), padding)


def _norm(func: Callable[..., Any], a: dict[str, Any]) -> Read:
    """A normalisation is ``z = w * x_hat + b``; calling it without w and b gives x_hat."""
    if a.get("training"):
        raise NotRecorded("normalisation with the statistics of the batch")
    plain = {key: value for key, value in a.items() if key not in ("weight", "bias")}
    with torch.no_grad():
        normalised: Tensor = func(**plain)
    if func in (F.layer_norm, F.rms_norm):
        placed = tuple(int(d) for d in a["normalized_shape"])
    else:
        placed = (normalised.shape[1], *(1 for _ in normalised.shape[2:]))  # the channels
    return "scale", a.get("weight"), a.get("bias"), normalised, placed


def _sum(_: Callable[..., Any], a: dict[str, Any]) -> Read:
    if a.keys() != {"input", "other"}:
        raise NotRecorded("a sum with a factor")
    parameter, other = _parameter_first(a)
    return "scale", None, parameter, other, tuple(parameter.shape)


def _product(_: Callable[..., Any], a: dict[str, Any]) -> Read:
    parameter, other = _parameter_first(a)
    with torch.no_grad():
        spread = other.expand_as(parameter + other)
    return "scale", parameter, None, spread, tuple(parameter.shape)


def _parameter_first(a: dict[str, Any]) -> tuple[Tensor, Tensor]:
    pair = a["input"], a["other"]
    leaves = [t for t in pair if isinstance(t, Tensor) and t.requires_grad and t.is_leaf]
    if len(leaves) != 1 or not all(isinstance(t, Tensor) for t in pair):
        raise NotRecorded("sum or product that is not one parameter with data")
    return leaves[0], pair[1] if leaves[0] is pair[0] else pair[0]


_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_READERS: dict[Callable[..., Any], tuple[tuple[str, ...], Callable[..., Read]]] = {
    F.linear: (("input", "weight", "bias"), _linear),
    F.bilinear: (("input1", "input2", "weight", "bias"), _bilinear),
    F.conv1d: (_CONVOLUTION, _conv),
    F.conv2d: (_CONVOLUTION, _conv),
    F.conv3d: (_CONVOLUTION, _conv),
    F.embedding: (
        (
            "input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq",
            "sparse",
        ),
        _embedding,
    ),
    F.layer_norm: (("input", "normalized_shape", "weight", "bias", "eps"), _norm),
    F.rms_norm: (("input", "normalized_shape", "weight", "eps"), _norm),
    F.group_norm: (("input", "num_groups", "weight", "bias", "eps"), _norm),
    F.batch_norm: (
        (
            "input", "running_mean", "running_var", "weight", "bias", "training", "momentum",
            "eps",
        ),
        _norm,
    ),
    F.instance_norm: (
        (
            "input", "running_mean", "running_var", "weight", "bias", "use_input_stats",
            "momentum", "eps",
        ),
        _norm,
    ),
    **dict.fromkeys(
        (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__), (("input", "other"), _sum)
    ),
    **dict.fromkeys(
        (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__), (("input", "other"), _product)
    ),
}  # fmt: skip
