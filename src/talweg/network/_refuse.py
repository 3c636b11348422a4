"""Refusals before a model is traced: everything that a trace would not show.

A trace records which layers ran in which order. Hooks, parametrizations, ties of memory, replaced
methods and ambient modes change what is computed, or which parameters move, without appearing in
it; each is refused here by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from talweg._errors import InputError
from talweg.network._genuine import refuse_replaced_functions, refuse_replaced_methods
from talweg.network._grammar import place, unsupported
from talweg.network._storage import overlapping_pairs, overlaps_itself

FLOAT_DTYPES: tuple[torch.dtype, ...] = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
)
_HOOK_TABLES = {
    "_forward_hooks": "a forward hook",
    "_forward_pre_hooks": "a forward pre-hook",
    "_backward_hooks": "a backward hook",
    "_backward_pre_hooks": "a backward pre-hook",
}
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}


def refuse_hidden(model: object) -> nn.Module:
    """Check everything that tracing would not show; return the model.

    Reads only: no module, parameter, flag or random state is touched.

    Raises:
        InputError: ``model`` is no module, or a weight is NaN or infinite.
        UnsupportedModelError: The model, or torch's global state, hides something.
    """
    if not isinstance(model, nn.Module):
        came = f"the class {model.__name__}" if isinstance(model, type) else f"{type(model)}"
        raise InputError(
            f"the model must be a torch.nn.Module instance; got {came}. "
            "Construct the model and pass the object."
        )
    _refuse_wrapper(model)
    refuse_ambient_state()
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise unsupported(
                f"parameter {name!r} belongs to a lazy layer that was not initialised",
                "Run the model once on a batch, model(X), to give it its shape.",
            )
    for path, module in model.named_modules():
        _refuse_parametrization(module, path)
        _refuse_hooks(module, path)
        refuse_replaced_methods(module, path)
    for name, parameter in model.named_parameters():
        _refuse_parameter(parameter, f"parameter {name!r}")
    _refuse_overlap(model)
    for name, parameter in model.named_parameters():
        refuse_nonfinite(parameter, f"parameter {name!r} of the model")
    return model


def _refuse_wrapper(model: nn.Module) -> None:
    name = type(model).__name__
    home = type(model).__module__
    if isinstance(model, torch.jit.ScriptModule):
        raise unsupported(f"the model is a TorchScript {name}", "Pass the original nn.Module.")
    library = home.startswith(("torch.nn.parallel", "torch.distributed", "torch._dynamo"))
    if library and name in _WRAPPERS:
        raise unsupported(
            f"the model is wrapped in {name}",
            f"Pass the original model: model.{_WRAPPERS[name]}.",
        )


def refuse_ambient_state() -> None:
    """Refuse autocast, global module hooks, and replaced torch functions.

    Raises:
        UnsupportedModelError: Names what is active.
    """
    for device in ("cpu", "cuda", "mps", "xpu"):
        if torch.is_autocast_enabled(device):
            raise unsupported(
                f"autocast is active for {device}, which runs the layers in another dtype",
                "Make the call outside torch.autocast.",
            )
    tables = vars(torch.nn.modules.module)
    for table in _HOOK_TABLES:
        if tables.get(f"_global{table}"):
            raise unsupported(
                f"a global module hook is registered (torch.nn.modules.module._global{table})",
                "Remove it (handle.remove()) before the call.",
            )
    refuse_replaced_functions()


def _refuse_parametrization(module: nn.Module, path: str) -> None:
    if parametrize.is_parametrized(module):
        names = sorted(getattr(module, "parametrizations", {}))
        raise unsupported(
            f"{place(path)} computes {', '.join(names)} by torch.nn.utils.parametrize "
            "(weight_norm, spectral_norm, orthogonal, ...), so the stored tensors are not the "
            "weights of its layer",
            f"Call torch.nn.utils.parametrize.remove_parametrizations(module, {names[0]!r}), "
            "then train the plain layer.",
        )


def _refuse_hooks(module: nn.Module, path: str) -> None:
    for table, words in _HOOK_TABLES.items():
        hooks: Any = vars(module).get(table)
        for hook in (hooks or {}).values():
            if isinstance(hook, WeightNorm):
                what, todo = "weight_norm", "Call torch.nn.utils.remove_weight_norm(module)."
            elif isinstance(hook, SpectralNorm):
                what, todo = "spectral_norm", "Call torch.nn.utils.remove_spectral_norm(module)."
            elif isinstance(hook, prune.BasePruningMethod):
                what = "pruning (torch.nn.utils.prune)"
                todo = "Call torch.nn.utils.prune.remove(module, name) to make it permanent."
            else:
                name = getattr(hook, "__qualname__", type(hook).__qualname__)
                what, todo = f"{words} ({name})", "Remove it (handle.remove()) before the call."
            raise unsupported(
                f"{place(path)} ({type(module).__name__}) has {what}, which may change what the "
                "layer computes",
                todo,
            )


def _refuse_parameter(parameter: Tensor, what: str) -> None:
    if type(parameter) is not nn.Parameter:
        raise unsupported(
            f"{what} is a {type(parameter).__name__}, a tensor subclass with its own arithmetic",
            "Store plain torch.nn.Parameter tensors.",
        )
    refuse_storage(parameter, what)
    for table in ("_backward_hooks", "_post_accumulate_grad_hooks"):
        if getattr(parameter, table, None):
            raise unsupported(
                f"{what} has a tensor hook, which may change its gradient",
                "Remove it (handle.remove()) before the call.",
            )


def refuse_storage(tensor: Tensor, what: str) -> None:
    """Refuse a tensor that is not a plain dense floating tensor with values.

    Raises:
        UnsupportedModelError: Names the tensor and what it is.
    """
    if tensor.is_meta:
        raise unsupported(f"{what} is on the meta device and has no values", "Load its values.")
    if tensor.is_quantized:
        raise unsupported(f"{what} is quantized ({tensor.dtype})", "Pass the float model.")
    if tensor.layout != torch.strided:
        raise unsupported(f"{what} is sparse ({tensor.layout})", "Call .to_dense() on it.")
    if tensor.is_complex():
        raise unsupported(f"{what} is complex ({tensor.dtype})", "Only real weights are supported.")
    if tensor.dtype not in FLOAT_DTYPES:
        raise unsupported(
            f"{what} has dtype {tensor.dtype}",
            "Convert it to float16, bfloat16, float32 or float64.",
        )
    if tensor.is_inference():
        raise unsupported(
            f"{what} was created in torch.inference_mode, where no gradient exists",
            "Build or load the model outside inference_mode.",
        )


def refuse_nonfinite(tensor: Tensor, what: str) -> None:
    """Refuse NaN and infinities.

    Raises:
        InputError: Names the tensor, the first bad entry and its index.
    """
    bad = ~torch.isfinite(tensor.detach())
    if bool(bad.any()):
        index = tuple(int(i) for i in bad.nonzero()[0])
        raise InputError(
            f"{what} must be finite; entry {index} is {float(tensor.detach()[index])} "
            f"(shape {tuple(tensor.shape)}, dtype {tensor.dtype}). Restore a checkpoint from "
            "before the training diverged."
        )


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    for name, buffer in model.named_buffers():
        plain = buffer.layout == torch.strided and not buffer.is_meta and not buffer.is_quantized
        if plain:
            yield name, buffer


def _refuse_overlap(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and overlaps_itself(parameter):
            raise unsupported(
                f"parameter {name!r} has entries that share memory (shape "
                f"{tuple(parameter.shape)}, stride {parameter.stride()}, an expanded view?)",
                "Store parameter.detach().clone() instead.",
            )
    for first, second in overlapping_pairs(list(_named_tensors(model))):
        raise unsupported(
            f"{first!r} and {second!r} share memory, so a step on one moves the other",
            "Give each its own storage: nn.Parameter(tensor.detach().clone()).",
        )
