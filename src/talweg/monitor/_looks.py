"""The measurements of one moment of a run: gradient and noise, curvature, units, updates.

Each takes the model as it stands and a batch, and returns plain numbers. None of them is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.monitor._curvature import Product, extremes, hessian_product
from talweg.monitor._gradients import estimate_from_sums, gram_matrix
from talweg.monitor._optimizer import StepOperator, step_operator
from talweg.monitor._processes import Processes
from talweg.monitor._undisturbed import Loss, plain, undisturbed

Row = dict[str, Any]


def split(batch: Any, parts: int) -> list[Any]:
    """A batch cut into parts of equal size along the first dimension of its tensors.

    Args:
        batch: A tensor, or a tuple, list or dict of such batches; other values are repeated.
        parts: How many; samples that do not fill a part are left out.

    Raises:
        InputError: fewer samples than parts, or tensors of different lengths.
    """
    samples = batch_size(batch)
    if samples < parts:
        raise InputError(
            f"batch of Monitor.step: at least {parts} samples are required for {parts} parts; got "
            f"{samples}; use larger batches, or Monitor(parts=...)"
        )
    size = samples // parts
    return [_slice(batch, i * size, (i + 1) * size) for i in range(parts)]


def batch_size(batch: Any) -> int:
    """The common length of the tensors of a batch."""
    sizes = {len(t) for t in tensors(batch) if t.ndim > 0}
    if len(sizes) != 1:
        raise InputError(
            "batch of Monitor.step: tensors with one common first dimension are required; got "
            f"lengths {sorted(sizes)}; pass the batch as it goes into the model"
        )
    return sizes.pop()


def first(batch: Any, samples: int) -> Any:
    """The first samples of a batch."""
    return _slice(batch, 0, samples)


def tensors(batch: Any) -> Iterator[Tensor]:
    """All tensors of a batch, or of what a model returns.

    Args:
        batch: A tensor, or a tuple, list or mapping of such batches; other values are passed over.
    """
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from tensors(value)


def _slice(batch: Any, start: int, stop: int) -> Any:
    if isinstance(batch, Tensor):
        return batch[start:stop] if batch.ndim > 0 else batch
    if isinstance(batch, Mapping):  # also what tokenizers return, which is no dict
        return {key: _slice(value, start, stop) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_slice(value, start, stop) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(_slice(value, start, stop) for value in batch)
    return batch


def look_at_gradient(
    model: nn.Module,
    loss: Loss,
    batch: Any,
    parts: int,
    names: Sequence[str],
    processes: Processes | None = None,
) -> Row:
    """The unbiased squared gradient norm, the noise, and gradient norms layer by layer.

    Args:
        model: The model in training.
        loss: Mean loss of a batch.
        batch: Fresh samples.
        parts: Micro-batches.
        names: Names of the trained parameters, in the order of the replica's leaves.
        processes: Those that measure together, each its own batch, all of one size.
    """
    pieces = split(batch, parts)
    gradients: list[list[Tensor]] = []
    losses: list[float] = []
    with undisturbed(model) as replica:
        leaves = replica.trained
        for piece in pieces:
            value = replica.loss(loss, piece)
            own = torch.autograd.grad(value, leaves, allow_unused=True)
            gradients.append(
                [torch.zeros_like(p) if g is None else g for g, p in zip(own, leaves, strict=True)]
            )
            losses.append(float(value.detach()))
            unused = [g is None for g in own]
    gram = gram_matrix(gradients)
    squares, crosses = gram.diagonal(), gram.sum(1)
    mean = [torch.stack(same).mean(0) for same in zip(*gradients, strict=True)]
    samples = batch_size(batch) // parts * parts
    if processes is not None:
        parts, samples = parts * processes.count, samples * processes.count
        sums = [
            processes.total(torch.stack(same).to(torch.float64).sum(0))
            for same in zip(*gradients, strict=True)
        ]  # S, the sum over all parts of all processes
        crosses = torch.stack([_product(own, sums) for own in gradients])
        table = torch.stack([squares, crosses, torch.tensor(losses, dtype=torch.float64)], 1)
        squares, crosses, shared = processes.gathered(table).unbind(1)
        mean, losses = [total / parts for total in sums], shared.tolist()
        missing = processes.total(torch.tensor(unused, dtype=torch.int32, device=processes.device))
        unused = (missing == processes.count).tolist()
    found = estimate_from_sums(squares, crosses, samples)
    norms = {n: float(g.norm()) for n, g in zip(names, mean, strict=True)}
    f = sum(losses) / parts
    row: Row = {
        "loss": f,
        "loss_error": _standard_error(losses),
        "gradient_squared": found.squared_norm,
        "gradient_squared_error": found.squared_norm_error,
        "gradient_squared_batch": found.batch_squared_norm,
        "noise": found.noise,
        "noise_error": found.noise_error,
        "noise_scale": found.noise_scale,
        "batch_size": found.samples,
        "gradient_norms": norms,
        "weight_norms": {n: float(p.detach().norm()) for n, p in zip(names, leaves, strict=True)},
        "unused": [n for n, missing in zip(names, unused, strict=True) if missing],
    }
    return row


def _product(gradient: Sequence[Tensor], sums: Sequence[Tensor]) -> Tensor:
    """<g, S> in float64, on the CPU."""
    terms = [(g.to(torch.float64) * s).sum().cpu() for g, s in zip(gradient, sums, strict=True)]
    return torch.stack(terms).sum()


def look_at_curvature(
    model: nn.Module,
    loss: Loss,
    batch: Any,
    optimizer: torch.optim.Optimizer,
    samples: int,
    steps: int,
    seed: int,
    processes: Processes | None = None,
) -> Row:
    """Stability of the optimiser's step, and the sign of the curvature, on a part of the batch.

    ``stability`` is the largest eigenvalue as the optimiser sees it, divided by its limit: above 1
    the step is unstable on the local quadratic. ``gradient_scaled`` is |S^{1/2} g|^2 over the same
    limit, g the gradient of ``curvature_loss``, the loss on those samples.

    With processes, the samples are those of all of them, and the row is known to rank 0 alone.
    """
    size = min(batch_size(batch), samples)
    originals = [p for p in plain(model).parameters() if p.requires_grad]
    with undisturbed(model) as replica:
        value = replica.loss(loss, first(batch, size))
        product, gradient = hessian_product(value, replica.trained)
        value = value.detach()
        operator = step_operator(optimizer, originals)
        if processes is None:
            row = _curvature(operator, product, gradient, steps, seed, float(value))
            return {"curvature_samples": size} | row
        gradient, value = processes.total(gradient), processes.total(value)
        with processes.joint(product, gradient) as joint:
            if joint is None:
                return {}
            n = processes.count
            row = _curvature(operator, joint, gradient / n, steps, seed, float(value) / n)
            return {"curvature_samples": n * size} | row


def _curvature(
    operator: StepOperator | None,
    product: Product,
    gradient: Tensor,
    steps: int,
    seed: int,
    value: float,
) -> Row:
    if operator is None or not any(_positive(root) for root in operator.roots):
        return {}
    ends = extremes(operator.preconditioned(product), gradient, steps, seed)
    row: Row = {
        "stability": ends.largest / operator.limit,
        "stability_error": ends.largest_error / operator.limit,
        "negative": ends.smallest / operator.limit,
        "negative_error": ends.smallest_error / operator.limit,
        "limit": operator.limit,
        "rates": list(operator.rates),
        "noise_step": operator.noise_step,
        "damping": operator.damping,
        "gradient_scaled": float(operator.scaled(gradient).square().sum()) / operator.limit,
        "curvature_loss": value,
        "known_optimizer": operator.known,
    }
    if operator.uniform is not None:
        row["sharpness"] = ends.largest / operator.uniform - max(operator.decay, default=0.0)
        row["smallest_curvature"] = ends.smallest / operator.uniform
    return row


def _positive(root: Tensor | float) -> bool:
    return bool((root > 0).any()) if isinstance(root, Tensor) else root > 0


def look_at_units(model: nn.Module, loss: Loss, batch: Any, *, joint: bool = False) -> Row:
    """Shares of dead and of saturated units, by activation module, and the sizes of layer outputs.

    A unit of a ReLU is dead if its output is 0 for the whole batch; one of tanh or sigmoid is
    saturated if it lies within 1 % of its range from an end for 95 % of the batch. The pass has the
    loss of the batch as well.

    Args:
        model: The model in training.
        loss: Mean loss of a batch.
        batch: Samples.
        joint: Whether the batch is one of several processes': its loss is then not that of all.
    """
    found: dict[str, dict[str, float]] = {}

    def watch(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, inputs: Any, output: Tensor) -> None:
            del inputs
            values = output.detach().reshape(-1, output.shape[-1] if output.ndim < 4 else 1)
            if output.ndim == 4:  # images: a unit is a channel
                values = output.detach().transpose(0, 1).reshape(output.shape[1], -1).T
            if isinstance(module, DYING):
                dead = (values == 0).all(0)
                found[name] = {"dead": float(dead.double().mean()), "saturated": 0.0}
            else:
                low, high = (-1.0, 1.0) if isinstance(module, nn.Tanh) else (0.0, 1.0)
                near = (values < low + 0.01 * (high - low)) | (values > high - 0.01 * (high - low))
                full = near.double().mean(0) >= 0.95
                found[name] = {"dead": 0.0, "saturated": float(full.double().mean())}

        return hook

    def measure(name: str) -> Any:
        def hook(_: nn.Module, inputs: Any, output: Tensor) -> None:
            del inputs
            sizes[name] = float(output.detach().square().mean().sqrt())

        return hook

    sizes: dict[str, float] = {}
    kinds = (*DYING, nn.Tanh, nn.Sigmoid)
    modules = list(plain(model).named_modules())
    watched = [(n, module) for n, module in modules if type(module) in kinds]
    layers = [(n, module) for n, module in modules if isinstance(module, LAYERS)]
    handles = [module.register_forward_hook(watch(name, module)) for name, module in watched]
    handles += [module.register_forward_hook(measure(name)) for name, module in layers]
    try:
        with undisturbed(model) as replica, torch.no_grad():
            value = replica.loss(loss, batch)
    finally:
        for handle in handles:
            handle.remove()
    row: Row = {} if joint else {"batch_loss": float(value)}
    return row | {"units": found, "output_sizes": sizes}


DYING: tuple[type[nn.Module], ...] = (nn.ReLU, nn.ReLU6)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _standard_error(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    numbers = torch.tensor(values, dtype=torch.float64)  # huge losses become inf or nan, no error
    return float(numbers.std()) / math.sqrt(len(values))
