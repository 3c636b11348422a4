"""The tangent kernel of any module, by per-sample Jacobians in chunks.

With ``J_A`` the Jacobian of all outputs on a chunk A of samples, ``(|A| k, p)``,

    K[A, B] = J_A J_B^T,

so two chunks of rows are held at a time, whatever n is. When the whole of J fits the budget it is
formed once; else the chunks right of A are formed again for every A, which costs about ``n / |A| /
2`` sweeps over the data.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from talweg._errors import InputError

Reduction = Literal["full", "trace", "mean_trace", "diagonal"]

# 1 GiB of Jacobian rows: small beside the memory of a machine that trains networks, and large
# enough that the products of chunks run at full speed.
DEFAULT_MEMORY_BUDGET = 2**30

# Modules whose output for one sample depends on the batch, or on a random draw, while they train.
_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
_RUNNING_NORMS = (nn.modules.instancenorm._InstanceNorm,)
_DROPOUTS = (nn.modules.dropout._DropoutNd,)


def check_samples_independent(modules: Iterable[tuple[str, nn.Module]], call: str) -> None:
    """Refuse modules that mix samples, update buffers or draw random numbers when called.

    Args:
        modules: All modules by path, in the mode they are in.
        call: Name of the public function, for the message.

    Raises:
        InputError: with the path of the offending module.
    """
    for path, module in modules:
        if isinstance(module, _BATCH_NORMS) and (module.training or module.running_mean is None):
            reason = (
                "normalises with the statistics of the batch, so that a sample has no own output"
            )
        elif isinstance(module, _RUNNING_NORMS) and module.training and module.track_running_stats:
            reason = "updates its running statistics when called"
        elif isinstance(module, _DROPOUTS) and module.training and module.p > 0:
            reason = "draws random numbers"
        else:
            continue
        name = f"{type(module).__name__} at {path or 'the top'!s}"
        raise InputError(
            f"model of {call}: the outputs must be a fixed function of one sample; {name} "
            f"{reason}; "
            "call model.eval() first"
        )


class SampleFunction:
    """A module as a pure function of its trainable parameters, on copies in one dtype.

    Attributes:
        parameters: Trainable tensors by name (shared tensors once), detached, in `dtype`.
        constants: Frozen parameters and buffers by name, detached copies in `dtype`.
        dtype: The dtype computed in.
        modes: ``training`` of all modules.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None, call: str) -> None:
        modules = list(model.named_modules())
        check_samples_independent(modules, call)
        self.modes = [module.training for _, module in modules]
        named: dict[str, Tensor] = dict(model.named_parameters())
        trainable = {name: p for name, p in named.items() if p.requires_grad}
        if not trainable:
            raise InputError(
                f"model of {call}: at least one trainable parameter is required; every parameter "
                f"has "
                "requires_grad=False; set requires_grad on those that training moves"
            )
        self.model = model
        self.call = call
        self.stored = next(iter(trainable.values())).dtype
        self.dtype = self.stored if dtype is None else dtype
        self.converts = dtype is not None
        self.parameters = {name: self._converted(p) for name, p in trainable.items()}
        named |= model.named_buffers()
        # Clones, so that a module which writes into a buffer writes into the copy.
        self.constants = {
            name: self._converted(t).clone() for name, t in named.items() if name not in trainable
        }
        names = {id(tensor): name for name, tensor in named.items()}
        # Every entry of a module that holds one of these tensors, a shared one more than once.
        self._places = [
            (table, key, names[id(tensor)])
            for _, module in modules
            for table in (module._parameters, module._buffers)
            for key, tensor in table.items()
            if tensor is not None
        ]

    def _converted(self, tensor: Tensor) -> Tensor:
        detached = tensor.detach()
        convert = self.converts and detached.is_floating_point()
        return detached.to(self.dtype) if convert else detached

    def inputs(self, data: Tensor, name: str) -> Tensor:
        """The data, checked and in the dtype computed in (integer inputs stay as they are)."""
        if data.dim() == 0 or data.numel() == 0:
            raise InputError(
                f"{name} of {self.call}: at least one sample is required, along the first "
                f"dimension; "
                f"got shape {tuple(data.shape)}; pass a batch"
            )
        data = data.detach()
        if not data.is_floating_point():
            return data
        # The sum is one cheap pass; only if it overflows or meets NaN are the entries looked at.
        if not (math.isfinite(data.sum()) or bool(torch.isfinite(data).all())):
            raise InputError(
                f"{name} of {self.call}: finite entries are required; got NaN or infinity in shape "
                f"{tuple(data.shape)}; clean the data"
            )
        if not self.converts and data.dtype != self.stored:
            raise InputError(
                f"{name} of {self.call}: the dtype of the parameters, {self.stored}, is required; "
                f"got "
                f"{data.dtype}; convert it, or name the dtype to compute in with dtype="
            )
        return self._converted(data)

    def outputs(self, parameters: dict[str, Tensor], data: Tensor) -> Tensor:
        """All outputs, ``(n, k)``, as a function of the trainable parameters."""
        values = functional_call(self.model, {**parameters, **self.constants}, (data,))
        return self.checked(values, len(data)).reshape(len(data), -1)

    @contextmanager
    def installed(self, parameters: dict[str, Tensor]) -> Iterator[nn.Module]:
        """The module with `parameters` and the constants in place of its tensors, for a while.

        What ``torch.func.functional_call`` does, with the places looked up once: that look-up
        takes longer than a small module.
        """
        tensors = {**parameters, **self.constants}
        own = [table[key] for table, key, _ in self._places]
        try:
            for table, key, name in self._places:
                table[key] = tensors[name]
            yield self.model
        finally:
            for (table, key, _), tensor in zip(self._places, own, strict=True):
                table[key] = tensor

    def checked(self, values: object, samples: int) -> Tensor:
        """What the module returned, if it is one tensor with a row per sample."""
        if not isinstance(values, Tensor) or values.dim() == 0 or len(values) != samples:
            came = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(
                f"model of {self.call}: one tensor with a row per sample is required; got {came} "
                f"for {samples} samples; wrap the model so that it returns its outputs only"
            )
        return values

    def jacobian(self, data: Tensor) -> Tensor:
        """``J`` of a chunk, ``(n, k, p)``."""
        try:
            per_sample = vmap(jacrev(self._one), in_dims=(None, 0))(self.parameters, data)
            blocks = [block.flatten(2) for block in per_sample.values()]
        except InputError:
            raise
        except (RuntimeError, ValueError, NotImplementedError):
            # An operation without a batching rule, or control flow on values: one sample at a time.
            blocks = [torch.stack([self._row_by_row(x) for x in torch.split(data, 1)])]
        return torch.cat(blocks, dim=-1)

    def _one(self, parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return self.outputs(parameters, sample[None])[0]

    def _row_by_row(self, sample: Tensor) -> Tensor:
        leaves = {name: p.clone().requires_grad_() for name, p in self.parameters.items()}
        with torch.enable_grad():
            outputs = self.outputs(leaves, sample)[0]
            rows = []
            for output in outputs:
                # Zeros for a parameter that this output does not reach.
                gradients = torch.autograd.grad(
                    output, list(leaves.values()), retain_graph=True, materialize_grads=True
                )
                rows.append(torch.cat([g.flatten() for g in gradients]))
        return torch.stack(rows)  # (k, p)


def kernel_by_sample_jacobians(
    function: SampleFunction,
    X: Tensor,
    X2: Tensor | None,
    *,
    reduction: Reduction,
    memory_budget: int,
) -> Tensor:
    """The kernel of `tangent_kernel` for any module, with inputs that `function` has checked."""
    with torch.no_grad():
        k = function.outputs(function.parameters, X[:1]).shape[1]
        # Two chunks of rows at once, and the product's working copy.
        row = k * sum(p.numel() for p in function.parameters.values()) * function.dtype.itemsize
        size = max(1, memory_budget // (3 * row))
        chunks = torch.split(X, size)
        if reduction == "diagonal":
            return torch.cat([function.jacobian(c).square().sum(-1) for c in chunks])
        # A trace is the full kernel of one output whose gradient is all outputs' gradients in a
        # row.
        joined = reduction != "full"
        if X2 is None:
            kernel = _symmetric(function, chunks, joined)
        else:
            kernel = _rectangular(function, chunks, torch.split(X2, size), joined)
        if not joined:
            return kernel
        return kernel[:, 0, :, 0] / (k if reduction == "mean_trace" else 1)


def _rows(function: SampleFunction, chunk: Tensor, joined: bool) -> Tensor:
    jacobian = function.jacobian(chunk)
    return jacobian.flatten(1)[:, None] if joined else jacobian  # (n, 1, k p) or (n, k, p)


def _product(left: Tensor, right: Tensor) -> Tensor:
    product = left.flatten(0, 1) @ right.flatten(0, 1).T
    return product.view(*left.shape[:2], *right.shape[:2])


def _rectangular(
    function: SampleFunction,
    chunks: tuple[Tensor, ...],
    others: tuple[Tensor, ...],
    joined: bool,
) -> Tensor:
    bands = []
    for chunk in chunks:
        left = _rows(function, chunk, joined)
        bands.append(torch.cat([_product(left, _rows(function, o, joined)) for o in others], dim=2))
    return torch.cat(bands)


def _symmetric(function: SampleFunction, chunks: tuple[Tensor, ...], joined: bool) -> Tensor:
    """Blocks on and right of the diagonal; their transposes left of it."""
    n = sum(len(c) for c in chunks)
    kernel = torch.empty(0)
    start = 0
    for a, chunk in enumerate(chunks):
        left = _rows(function, chunk, joined)
        if a == 0:
            kernel = left.new_empty(n, left.shape[1], n, left.shape[1])
        stop = start + len(chunk)
        own = _product(left, left).flatten(2).flatten(0, 1)
        own = own.triu() + own.triu(1).T
        kernel[start:stop, :, start:stop] = own.view(len(chunk), -1, len(chunk), left.shape[1])
        column = stop
        for other in chunks[a + 1 :]:
            block = _product(left, _rows(function, other, joined))
            kernel[start:stop, :, column : column + len(other)] = block
            kernel[column : column + len(other), :, start:stop] = block.permute(2, 3, 0, 1)
            column += len(other)
        start = stop
    return kernel
