"""The gate: the live model and its reading must compute the same function and gradient.

Refusals close the doors that are known. The gate runs the model itself, so that a door nobody
thought of (a custom backward, a patched operator, noise, a dependence on other rows) shows as a
difference. It detects wrong readings; it is no part of a proof.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg._errors import ReadingError
from talweg.network._data import check_inputs
from talweg.network._graph import Network
from talweg.network._isolate import ModelState, plain_autograd, random_state_kept, twin_of
from talweg.network._perturbation import judged_graph
from talweg.network._refuse import refuse_ambient_state
from talweg.network._rounding import Judged, Precision, backward, forward, precision_of

# Enough rows to meet every unit in several states; one forward and backward pass stays cheap.
_ROWS = 256
_ADVICE = (
    "Something in the model is invisible to tracing (a custom backward, a changed operator, a "
    "dependence on state, on randomness or on other rows), or the model changed after it was "
    "read. Rewrite that part as plain layers, or read the model again."
)


@dataclass(frozen=True)
class _Discrepancy:
    """The worst entry of a comparison; ``excess`` above 1 breaks the tolerance."""

    excess: float
    words: str


def gate(model: nn.Module, network: Network, X: Tensor) -> None:
    """Check that the live model agrees with its reading, in values and in gradients.

    The model is called as it is, on up to 256 rows spread over ``X`` rounded to its dtype, twice,
    the second time with the rows reversed; one vector-Jacobian product with fixed random signs goes
    through autograd. The same is repeated in float64 on a copy, where the tolerances are far
    smaller. For chains the tolerances are worst-case first-order rounding bounds, spelled out in
    ``_rounding``: roughly ``8 u`` times fan-in times products of absolute values, through all
    layers. For graphs they are measured, by the ways of ``_perturbation``.

    The model is left as it was: values, attributes, ``.grad``, mode and random states.

    Args:
        model: The module that was read.
        network: Its reading.
        X: Inputs as the model takes them, ``(n, d)`` or ``(n, *shape)``, on its device.

    Raises:
        InputError: ``X`` is malformed.
        UnsupportedModelError: torch's global state hides something, or the model cannot be copied.
        ReadingError: They disagree; or a call changes the model or its input, or is random.
    """
    refuse_ambient_state()
    check_inputs(X)
    whole = X.dtype == torch.int64
    dtypes = [slot.tensor.dtype for slot in network.slots()]
    dtype = dtypes[0] if dtypes else X.dtype
    with plain_autograd():
        count = min(len(X), _ROWS)
        rows = (
            torch.linspace(0, len(X) - 1, count, dtype=torch.float64, device="cpu").round().long()
        )
        x = X.detach()[rows.to(X.device)]
        x = x if whole else x.to(dtype)
        _compare_all(model, network, x, precision_of(dtype), "the live model")
        if dtype != torch.float64:
            copy = twin_of(model).double()
            where = "a float64 copy of the model"
            exact = x if whole else x.double()
            _compare_all(copy, network, exact, precision_of(torch.float64), where)


def _compare_all(
    model: nn.Module, network: Network, x: Tensor, precision: Precision, who: str
) -> None:
    n, k = len(x), network.output_dim
    generator = torch.Generator("cpu").manual_seed(20240607)
    signs = (
        torch.randint(0, 2, (n, k), generator=generator, device="cpu").to(x.device, torch.float64)
        * 2
        - 1
    )
    output, gradients = _judged(network, x, signs, precision)
    state = ModelState.of(model)
    try:
        with random_state_kept() as use:
            live = _called(model, x, network, who)
            live_gradients = _gradients(model, live, signs)
            again = _called(model, x.flip(0), network, who).detach().flip(0)
        changes = state.changes(model)
    finally:
        state.restore(model)
    if changes:
        raise ReadingError(
            f"the model must be a fixed function; calling {who} changes "
            f"{', '.join(changes[:3])}. {_ADVICE}"
        )
    if use.drew:
        raise ReadingError(
            f"the model must be deterministic; calling {who} draws random numbers. {_ADVICE}"
        )
    found = [
        _worst(
            "two calls (the second with reversed rows): output",
            again,
            Judged(live.detach().double(), 2.0 * output.tolerance),
        ),
        _worst("output", live.detach(), output),
    ]
    for name, parameter in model.named_parameters():
        gradient = live_gradients.get(name)
        actual = torch.zeros_like(parameter) if gradient is None else gradient
        expected = gradients.pop(name, None)
        if expected is None:
            zero = torch.zeros_like(parameter, dtype=torch.float64)
            expected = Judged(zero, zero)
        found.append(_worst(f"gradient of {name!r}", actual.detach(), expected))
    if gradients:
        raise ReadingError(
            f"the model must have the parameters that were read; {who} has no "
            f"{min(gradients)!r}. {_ADVICE}"
        )
    worst = max(found, key=lambda item: item.excess)
    if not worst.excess <= 1.0:
        raise ReadingError(f"model and reading must agree; in {who}, {worst.words}. {_ADVICE}")


def _judged(
    network: Network, x: Tensor, signs: Tensor, precision: Precision
) -> tuple[Judged, dict[str, Judged]]:
    """Values and gradients of the reading, with tolerances."""
    if not network.is_chain:
        exact = x if x.dtype == torch.int64 else x.double()
        return judged_graph(network, exact, signs, precision)
    states = forward(network, x.double().reshape(len(x), -1), precision)
    return states[-1], backward(network, states, signs, precision)


def _called(model: nn.Module, x: Tensor, network: Network, who: str) -> Tensor:
    """Outputs ``(n, k)`` of one call on a copy of the rows."""
    batch = x.clone()
    try:
        output = model(batch)
    except Exception as error:
        raise ReadingError(
            f"the model must run on its data; calling {who} on {tuple(x.shape)}, {x.dtype} "
            f"raised {type(error).__name__}: {error}. Make model(X) work first."
        ) from error
    wanted = (len(x),) if network.flat_output else (len(x), network.output_dim)
    came = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if not isinstance(output, Tensor) or came != wanted:
        raise ReadingError(
            f"model and reading must agree; {who} returns {came}, the reading says {wanted}. "
            f"{_ADVICE}"
        )
    if not torch.equal(batch, x):
        raise ReadingError(
            f"the model must leave its input alone; calling {who} overwrites it. "
            "Replace in-place operations (x *= 2, x.mul_) by x = x * 2."
        )
    return output.reshape(len(x), network.output_dim)


def _gradients(model: nn.Module, output: Tensor, signs: Tensor) -> dict[str, Tensor | None]:
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable or not output.requires_grad:
        return {}
    try:
        found = torch.autograd.grad(
            output, list(trainable.values()), signs.to(output.dtype), allow_unused=True
        )
    except RuntimeError as error:
        raise ReadingError(
            "the model must have gradients; the backward pass of a call raised "
            f"{type(error).__name__}: {error}. Replace in-place operations (x += y) by x = x + y."
        ) from error
    return dict(zip(trainable, found, strict=True))


def _worst(what: str, actual: Tensor, expected: Judged) -> _Discrepancy:
    if actual.shape != expected.value.shape:
        words = f"{what} has shape {tuple(actual.shape)}, not {tuple(expected.value.shape)}"
        return _Discrepancy(float("inf"), words)
    if actual.numel() == 0:
        return _Discrepancy(0.0, what)
    difference = (actual.double() - expected.value).abs()
    # A NaN, and any difference beside a zero tolerance, counts as an infinite excess.
    excess = torch.where(difference == 0, 0.0, difference / expected.tolerance)
    excess = excess.nan_to_num(nan=float("inf"), posinf=float("inf"))
    index = tuple(int(i) for i in torch.unravel_index(excess.argmax(), excess.shape))
    words = (
        f"{what} at {index} is {float(actual[index])!r}, the reading gives "
        f"{float(expected.value[index])!r}: difference {float(difference[index]):.3g}, tolerance "
        f"{float(expected.tolerance[index]):.3g}"
    )
    if not bool(torch.isfinite(actual).all()):
        words += f" (not finite: {actual.dtype} may overflow on this data)"
    return _Discrepancy(float(excess.max()), words)
