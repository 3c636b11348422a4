"""The smallest output layer for which convergence is proved before any training, by bracketing.

The kernel and the curvature of a positive start both grow with the output entries A, the residual
does not: at W_1 = 0 the network is zero whatever A is. So beyond some A the criterion
|r_0| < int s holds. It is looked for where it is: every A tried is certified as it stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from talweg._display import Sheet, Shown
from talweg._errors import InputError
from talweg.certificate import Certificate, certify
from talweg.prescribe._explicit_entry import explicit_entry_of
from talweg.prescribe._outlook import price_rows
from talweg.prescribe._sequential import linear_layers
from talweg.theory import ExplicitOutputEntry

LossName = Literal["mse", "sse", "half_sse"]

LARGEST = 1e30
SMALLEST = 1e-30
ATTEMPTS = 200
"""Ends of the search, far beyond any scale that trains."""


@dataclass(frozen=True, eq=False, repr=False)
class PositiveStart(Shown):
    """The output entries of a positive start, and what is known of them.

    Attributes:
        output_entry: A: the smallest entry of the last weight as it stands in the model.
        explicit: P1's explicit formula for the same weights and data, epsilon = 0; None without
            data, or where P1 does not apply (other activations, nonpositive hidden weights).
        certificate: Of exactly the weights in the model; None when none was asked for.
        refused_entry: The largest A tried, below `output_entry`, that was not proved.
        attempts: How many A were tried.
    """

    output_entry: float
    explicit: ExplicitOutputEntry | None = None
    certificate: Certificate | None = None
    refused_entry: float | None = None
    attempts: int = 0

    @classmethod
    def of(cls, model: nn.Module, data: tuple[Tensor, Tensor] | None) -> PositiveStart:
        """What is known of a model as it stands, without certifying.

        Args:
            model: `nn.Sequential`.
            data: ``(X, y)`` for the explicit formula.
        """
        last = linear_layers(model, "PositiveStart.of")[-1]
        return cls(_entry(last), None if data is None else explicit_entry_of(model, data))

    @property
    def halving_steps(self) -> float | None:
        """So many steps at the certified step size surely halve the loss; None if not proved."""
        return None if self.certificate is None else self.certificate.halving_steps

    @property
    def gain(self) -> float | None:
        """How many times smaller A is than the explicit formula's."""
        if self.explicit is None:
            return None
        return self.explicit.output_entry_upper / self.output_entry

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of every line."""
        lines = [("output entries", f"{self.output_entry:.6g}")]
        if self.explicit is not None:
            text = f"{self.explicit.output_entry_upper:.6g} (chatterjee2022, theorem 2.1)"
            lines.append(("explicit formula", text))
        return lines

    def _sheet(self) -> Sheet:
        title, certificate = "a positive start", self.certificate
        if certificate is None:
            return Sheet(title, self.rows())
        rows = [("status", certificate.status), ("reason", certificate.reason), *self.rows()]
        return Sheet.of_status(title, certificate.status, rows + price_rows(certificate, None))


def certified_output_scale_(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    loss: LossName = "mse",
    tolerance: float = 0.01,
) -> PositiveStart:
    """Scale the last weight to the smallest size at which certify() proves convergence.

    The last weight W_L is replaced by A W_L / min |W_L|, so that its entries are at least A in
    absolute value; A is bracketed on a logarithmic scale, by bisection and the secant, between one
    that is not PROVED and one that is. Nothing is assumed about what lies between: the returned A
    was certified itself, last, on the weights as they are stored in the model's dtype.

    Args:
        model: `nn.Sequential` with one output; its last weight is changed in place, nothing else.
        data: ``(X, y)``.
        loss: "mse", "sse" or "half_sse".
        tolerance: Relative, > 0: the search ends when a refused A is within this of a proved one.
            The default, one per cent, moves the certified rate by less than one per cent.

    Returns:
        A, its certificate and the explicit formula's A. Where none is found (inputs that are
        linearly dependent, for example), the certificate of the last attempt, not PROVED.

    Raises:
        InputError: The model is no chain with one output and nonzero last weight, or a malformed
            tolerance.
    """
    call = "certified_output_scale_"
    last = linear_layers(model, call)[-1]
    _require_scalable(last, tolerance, call)
    with torch.no_grad():
        whole = last.weight.detach().to(torch.float64)
        pattern = whole / whole.abs().min()
    search = _Search(model, data, loss, last, pattern)
    if search.bracketed():
        search.narrow(tolerance)
        search.proves(search.proved)  # once more, on the weights that stay
    return PositiveStart(
        _entry(last), explicit_entry_of(model, data), search.certificate,
        search.refused or None, search.attempts,
    )  # fmt: skip


class _Search:
    """Attempts at one model: the last certificate, the largest refused A, the smallest proved one.

    Attributes:
        certificate: Of the last attempt, whose weights are in the model.
        refused: The largest A that was not proved; 0 before there is one.
        proved: The smallest A that was proved; inf before there is one.
        attempts: How many.
    """

    def __init__(
        self, model: nn.Module, data: tuple[Tensor, Tensor], loss: LossName, last: nn.Linear,
        pattern: Tensor,
    ) -> None:  # fmt: skip
        self.model, self.data, self.loss = model, data, loss
        self.last, self.pattern = last, pattern
        self.certificate: Certificate | None = None
        self.refused, self.proved = 0.0, math.inf
        self.attempts = 0
        self._excess: dict[float, float] = {}  # log of the missing factor, a float estimate

    def proves(self, entry: float) -> bool:
        """Whether the start with this A is certified; it is left in the model."""
        with torch.no_grad():
            self.last.weight.copy_(entry * self.pattern)
        self.attempts += 1
        found = certify(self.model, self.data, loss=self.loss, attack=False)
        self.certificate = found
        factor = found.as_given.missing_factor
        if factor is not None and 0.0 < factor < math.inf:
            self._excess[entry] = math.log(factor)
        if found.status == "PROVED":
            self.proved = min(self.proved, entry)
            return True
        self.refused = max(self.refused, entry)
        return False

    def bracketed(self) -> bool:
        """Whether some A is proved, with a refused one below it unless all down to SMALLEST are."""
        entry = 1.0
        if self.proves(entry):
            while entry > SMALLEST and self.proves(entry / 4.0):
                entry /= 4.0
            return True
        while entry < self._largest() and not self._hopeless():
            entry *= self._jump()
            if self.proves(entry):
                return True
        return False

    def narrow(self, tolerance: float) -> None:
        """Close in until the ratio of proved and refused is at most 1 + tolerance.

        Where the missing factor crosses 1 is estimated by the secant of its logarithm, and probed
        within the tolerance on both sides; every third step bisects, so that the bracket shrinks
        whatever the estimate is worth.
        """
        inside = math.log1p(0.45 * tolerance)
        while self.refused > 0.0 and self.proved > (1.0 + tolerance) * self.refused:
            low, high = math.log(self.refused), math.log(self.proved)
            if not low < high or self.attempts >= ATTEMPTS:
                break
            guess = self._secant(low, high)
            for point in (guess + inside, guess - inside, 0.5 * (low + high)):
                entry = math.exp(point)
                if self.refused < entry < self.proved:
                    self.proves(entry)
                    low, high = math.log(self.refused), math.log(self.proved)
                    if self.proved <= (1.0 + tolerance) * self.refused:
                        break

    def _secant(self, low: float, high: float) -> float:
        above, below = self._excess.get(self.refused), self._excess.get(self.proved)
        if above is None or below is None or not above > 0.0 > below:
            return 0.5 * (low + high)
        return low + (high - low) * above / (above - below)

    def _jump(self) -> float:
        # The criterion's right side grows with A at least linearly once A is not tiny, so the
        # missing factor is about the factor that A lacks.
        factor = None if self.certificate is None else self.certificate.as_given.missing_factor
        if factor is None or not math.isfinite(factor):
            return 4.0
        return min(max(1.1 * factor, 1.5), 1e3)

    def _hopeless(self) -> bool:
        found = self.certificate
        return found is None or found.status == "REFUTED" or not found.sigma_min_lower

    def _largest(self) -> float:
        return min(LARGEST, math.sqrt(torch.finfo(self.last.weight.dtype).max) / 1e3)


def _entry(last: nn.Linear) -> float:
    return float(last.weight.detach().abs().min())


def _require_scalable(last: nn.Linear, tolerance: float, call: str) -> None:
    if last.out_features != 1:
        raise InputError(
            f"`model` of {call}() must have one output, because a positive start gives several "
            f"outputs the same kernel; got {last.out_features}. Train one network per output."
        )
    least = _entry(last)
    if not 0.0 < least < math.inf:
        raise InputError(
            f"`model` of {call}() must have a last weight without zero entries; got a smallest "
            f"absolute entry of {least!r}. Call positive_(model) first."
        )
    number = isinstance(tolerance, int | float) and not isinstance(tolerance, bool)
    if not (number and 0.0 < tolerance < math.inf):
        raise InputError(
            f"`tolerance` of {call}() must be a finite number > 0; got {tolerance!r}. "
            "0.01 stops within one per cent."
        )
