"""Gradient descent at the step that a certificate proves."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.certificate import Certificate
from talweg.enclosure import Interval
from talweg.network import Network
from talweg.theory import SquaredLoss

SCALINGS: dict[str, Literal["mean", "sum", "half_sum"]] = {
    "mse": "mean",
    "sse": "sum",
    "half_sse": "half_sum",
}
ONE_STEP_SIZE = ("T7", "T9", "T13")
"""Theorems whose claim is about exactly one step size; T11 and T4 cover every smaller one too."""

Named = list[tuple[str, Tensor]]


class CertifiedGD(torch.optim.Optimizer):
    """Plain full-batch gradient descent at the certified step, from the certified weights.

        w <- w - lr grad f(w),      lr = cert.step_size or a smaller one that the claim covers.

    The parameters must hold the certified numbers exactly when the optimiser is made, because the
    claim speaks of those alone, and between two steps nothing else may move them. A claim about
    real arithmetic (T11, T4, T7, T13) is about the ideal run; a T9 claim is about this run, in
    float64 on the CPU. What is not passed in (frozen tensors that are left out, the data, the loss
    behind the gradients) is not seen and remains the caller's to keep.

    Args:
        params: ``model.named_parameters()`` or ``model.parameters()`` of the certified model: all
            tensors that the certificate trains, and none beside them but those that it freezes.
            All groups must have one step size.
        cert: A certificate with status PROVED.
        lr: A step in (0, cert.step_size]; None is cert.step_size. T7, T9 and T13 cover that one
            only.

    Raises:
        InputError: Nothing is proved, a parameter differs from the certified one (call
            ``cert.load_into_(model)`` first), or the step is not covered.
    """

    _complete = False

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]],
        cert: Certificate,
        *,
        lr: float | None = None,
    ) -> None:
        if cert.status != "PROVED" or cert.network is None or cert.step_size is None:
            raise InputError(
                f"`cert` of CertifiedGD(params, cert) must have status PROVED; got {cert.status}: "
                f"{cert.reason} Certify with polish=True, or use torch.optim.SGD without a claim."
            )
        step = cert.step_size if lr is None else _covered_step(float(lr), cert)
        super().__init__(params, {"lr": step})
        self._cert = cert
        self._step_size(self.param_groups)
        self._trained, self._frozen = _matched(self.param_groups, cert.network)
        self._run = [parameter.detach().clone() for _, parameter in self._trained]
        self._fixed = [tensor.detach().clone() for _, tensor in self._frozen]
        self._require_binary64()
        self._steps = 0
        self._full_steps = 0
        self._complete = True

    def __getstate__(self) -> dict[str, Any]:
        """As in torch, with the certificate and the run: a copy goes on where this one is."""
        keys = ("cert", "trained", "frozen", "run", "fixed", "steps", "full_steps", "complete")
        own = {f"_{key}": getattr(self, f"_{key}") for key in keys}
        return {**super().__getstate__(), **own}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refused: all that the certificate trains is there from the start.

        Args:
            param_group: As in torch.

        Raises:
            InputError: Always, once the optimiser is made.
        """
        if self._complete:
            raise InputError(
                "CertifiedGD.add_param_group(param_group) requires parameters that the certificate "
                "trains, and the optimiser holds all of them; got one more group. Certify the "
                "larger model, and make a new CertifiedGD."
            )
        super().add_param_group(param_group)

    @property
    def steps(self) -> int:
        """Steps taken since the certified weights."""
        return self._steps

    def loss_envelope(self, k: int | None = None) -> float:
        """Upper bound of the loss after k steps: ``rate^m`` times the bound at the start.

        m counts the steps at the certified size from the start up to the first smaller one, k when
        there is none (for steps to come: when they are taken at the lr that is set now). A smaller
        step is covered, so the loss does not go up, but ``rate`` is not proved for it. Known for
        squared losses, inf for others. With a floor (T9) or a target (T7) the bound holds until the
        loss is there, and is never below it; from the step after which it surely was, inf.

        Args:
            k: Number of steps; None is the number taken.

        Raises:
            InputError: The parameters are not where the last step left them.
        """
        self._require_untouched()
        cert, count = self._cert, self._steps if k is None else k
        if cert.loss not in SCALINGS or cert.residual_norm is None or cert.one_minus_rate is None:
            return math.inf
        if cert.theorem in ONE_STEP_SIZE and (cert.steps is None or count > cert.steps):
            return math.inf
        loss = SquaredLoss(SCALINGS[cert.loss], cert.samples * cert.outputs)
        start = loss.loss_upper(cert.residual_norm)
        full = self._full_steps == self._steps
        if not (full and all(group["lr"] == cert.step_size for group in self.param_groups)):
            count = min(count, self._full_steps)
        least = max(cert.floor or 0.0, cert.target or 0.0)
        return max(_power_upper(1.0 - Interval.point(cert.one_minus_rate), count, start), least)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; gradients must come from the loss that was certified, on all of the data.

        Args:
            closure: Evaluates the loss again and returns it; not needed.

        Raises:
            InputError: A certified parameter has no finite gradient, a group's lr is not covered or
                not that of the others, or the parameters are not where the last step left them.
                Nothing has moved then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._require_untouched()
        lr = self._step_size(self.param_groups)
        gradients = [_gradient(name, parameter) for name, parameter in self._trained]
        # Parameters that share memory will differ from the copies, which do not.
        self._run = [parameter.detach().clone() for _, parameter in self._trained]
        for (_, parameter), own, gradient in zip(self._trained, self._run, gradients, strict=True):
            own.add_(gradient, alpha=-lr)
            parameter.copy_(own)
        if self._full_steps == self._steps and lr == self._cert.step_size:
            self._full_steps += 1
        self._steps += 1
        return loss

    def state_dict(self) -> dict[str, Any]:
        """As in torch, with the count of steps, sealed to the weights that they reached."""
        steps = {"steps": self._steps, "full_steps": self._full_steps}
        seal = _seal(self._cert, self._steps, self._full_steps, self._trained, self._run)
        return {**super().state_dict(), "certified": {**steps, "seal": seal}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch, into the run that was saved: restore the weights of the model first.

        Args:
            state_dict: What `state_dict` gave.

        Raises:
            InputError: It comes from another optimiser or certificate, holds a step that the claim
                does not cover, or the parameters are not those with which it was saved.
        """
        plain = dict(state_dict)
        saved = plain.pop("certified", None)
        if not isinstance(saved, dict) or not {"steps", "full_steps", "seal"} <= set(saved):
            raise InputError(
                "`state_dict` of CertifiedGD.load_state_dict() must come from "
                f"CertifiedGD.state_dict(); got one with {', '.join(sorted(map(str, state_dict)))}."
                " Start from the certified weights without loading it."
            )
        self._step_size(plain["param_groups"])
        self._require_binary64()
        steps, full = int(saved["steps"]), int(saved["full_steps"])
        here = [parameter.detach().clone() for _, parameter in self._trained]
        if _seal(self._cert, steps, full, self._trained, here) != saved["seal"]:
            raise InputError(
                "`state_dict` of CertifiedGD.load_state_dict() must belong to this certificate and "
                f"to the weights that the parameters hold; after {steps} steps it was saved with "
                "others. Load the state of the model that was saved with it first."
            )
        super().load_state_dict(plain)
        self._run, self._steps, self._full_steps = here, steps, full

    def _step_size(self, groups: Sequence[dict[str, Any]]) -> float:
        """The lr of all groups: one number, which the claim covers."""
        sizes = [float(group.get("lr", math.nan)) for group in groups]
        for size in sizes:
            if size != sizes[0]:
                raise InputError(
                    "`lr` of CertifiedGD must be the same in all parameter groups, because the "
                    f"claim is about one step along the gradient; got {sizes}. Use one group."
                )
        return _covered_step(sizes[0], self._cert)

    def _require_binary64(self) -> None:
        if self._cert.theorem != "T9":
            return
        for name, tensor in (*self._trained, *self._frozen):
            if tensor.dtype != torch.float64 or tensor.device.type != "cpu":
                raise InputError(
                    f"`params` of CertifiedGD(params, cert) must be float64 on the CPU, where the "
                    f"program of a T9 claim runs; {name!r} is {tensor.dtype} on {tensor.device}. "
                    "Call model.double().cpu(), then cert.load_into_(model)."
                )

    def _require_untouched(self) -> None:
        """The claim is about one run; other weights on the way would begin another."""
        self._require_binary64()
        held = ((*self._trained, *self._frozen), (*self._run, *self._fixed))
        for (name, tensor), own in zip(*held, strict=True):
            if not _same(tensor, own):
                raise InputError(
                    f"{name!r} must stay where CertifiedGD left it, after {self._steps} steps from "
                    "the certified weights; it has other values. Call cert.load_into_(model) and "
                    "make a new CertifiedGD, or restore the model and this optimiser together."
                )


def _covered_step(lr: float, cert: Certificate) -> float:
    step = cert.step_size if cert.step_size is not None else 0.0
    only = cert.theorem in ONE_STEP_SIZE
    if not (lr == step if only else 0.0 < lr <= step):
        covered = f"exactly {step!r}" if only else f"in (0, {step!r}]"
        raise InputError(
            f"`lr` of CertifiedGD(params, cert) must be {covered}, which the {cert.theorem} claim "
            f"covers; got {lr!r}. Leave it out, in parameter groups too, and use no scheduler that "
            "raises it."
        )
    return lr


def _gradient(name: str, parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    if gradient is None or not bool(torch.isfinite(gradient).all()):
        came = "none" if gradient is None else "NaN or an infinity"
        raise InputError(
            f"CertifiedGD.step() requires a finite gradient of {name!r}; got {came}. Call "
            "loss.backward() on the certified loss before every step."
        )
    return gradient


def _matched(groups: Sequence[dict[str, Any]], network: Network) -> tuple[Named, Named]:
    """The parameters under the certified names: those trained, in order, and those frozen."""
    trained, frozen = _tensors(network)
    held = [p for group in groups for p in group["params"]]
    names = [name for group in groups for name in group.get("param_names", ())]
    if sum(p.requires_grad for p in held) < len(trained):
        raise InputError(
            f"`params` of CertifiedGD(params, cert) must hold all {len(trained)} trained tensors "
            f"of the certificate; got {sum(p.requires_grad for p in held)}. Pass "
            "model.named_parameters()."
        )
    if not names:
        _refuse_interchangeable(trained, frozen)
    left = list(zip(names or [None] * len(held), held, strict=True))
    found: tuple[Named, Named] = [], []
    for expected, moves, into in ((trained, True, found[0]), (frozen, False, found[1])):
        for name, tensor in expected:
            match = next(
                (
                    i
                    for i, (given, p) in enumerate(left)
                    if given in (None, name) and p.requires_grad == moves and _same(p, tensor)
                ),
                None,
            )
            if match is not None:
                into.append((name, left.pop(match)[1]))
            elif moves:
                raise InputError(
                    f"`params` of CertifiedGD(params, cert) must hold the certified values of "
                    f"{name!r}, shape {tuple(tensor.shape)}, exactly; no parameter that requires a "
                    "gradient does. Call cert.load_into_(model) first (after model.double() if the "
                    "dtype is narrower)."
                )
    for given, p in left:
        _refuse(given, p, frozen)
    return found


def _refuse_interchangeable(trained: Named, frozen: Named) -> None:
    """Without names, values alone tell a trained tensor from a frozen one."""
    for name, tensor in trained:
        for other, constant in frozen:
            if _same(tensor, constant):
                raise InputError(
                    f"`params` of CertifiedGD(params, cert) must come with names here, because "
                    f"{name!r}, which is trained, and {other!r}, which is frozen, hold equal "
                    "values; got tensors alone. Pass model.named_parameters()."
                )


def _refuse(given: str | None, tensor: Tensor, frozen: Named) -> None:
    """A tensor that is left over when all certified ones are matched."""
    equal = next((name for name, t in frozen if given in (None, name) and _same(tensor, t)), None)
    what = "a tensor" if given is None else repr(given)
    if tensor.requires_grad:
        held = "" if equal is None else f" ({equal!r}, by its values, is frozen in it)"
        raise InputError(
            f"`params` of CertifiedGD(params, cert) must train what the certificate trains and no "
            f"more; got {what} of shape {tuple(tensor.shape)} that requires a gradient besides"
            f"{held}. Call requires_grad_(False) on it, or leave it out if the model does not use "
            "it."
        )
    raise InputError(
        f"`params` of CertifiedGD(params, cert) must hold tensors of the certificate, frozen ones "
        f"with the certified values; got {what} of shape {tuple(tensor.shape)} that matches none. "
        "Call cert.load_into_(model) first, or leave it out if the model does not use it."
    )


def _tensors(network: Network) -> tuple[Named, Named]:
    """Name and value of the trained tensors, and of the frozen ones, each once."""
    found = {slot.name: slot for slot in network.slots()}.values()
    trained = [(slot.name, slot.tensor) for slot in found if slot.trainable]
    return trained, [(slot.name, slot.tensor) for slot in found if not slot.trainable]


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two floating tensors hold the same numbers."""
    if one.shape != other.shape or not (one.is_floating_point() and other.is_floating_point()):
        return False
    if one.dtype == other.dtype and one.device == other.device:
        return torch.equal(one, other)
    return torch.equal(one.to("cpu", torch.float64), other.to("cpu", torch.float64))


def _seal(
    cert: Certificate, steps: int, full_steps: int, trained: Named, values: Sequence[Tensor]
) -> str:
    """Ties a count of steps to the claim, its start and the weights that were reached."""
    numbers = (cert.step_size, cert.one_minus_rate, cert.residual_norm, cert.radius, cert.floor)
    claim = (cert.theorem, cert.loss, cert.samples, *numbers, cert.target, steps, full_steps)
    digest = hashlib.sha256(repr(claim).encode())
    start = () if cert.network is None else (*_tensors(cert.network)[0], *_tensors(cert.network)[1])
    reached = ((name, value) for (name, _), value in zip(trained, values, strict=True))
    for name, value in (*start, *reached):
        digest.update(repr((name, tuple(value.shape))).encode())
        digest.update(value.detach().to("cpu", torch.float64).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _power_upper(base: Interval, exponent: int, factor: float) -> float:
    """``factor base^exponent`` rounded up, by repeated squaring; base in [0, 1]."""
    result, square = Interval.point(factor), base.clip_nonnegative()
    while exponent > 0:
        if exponent & 1:
            result = result * square
        square = square.square()
        exponent >>= 1
    return result.hi
