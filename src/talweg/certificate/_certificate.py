"""The answer of `certify`: what is proved, for which weights, and what was measured on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from talweg._display import Sheet, Shown
from talweg._errors import InputError
from talweg.certificate._document import Document, write_document
from talweg.network import Network
from talweg.theory import Verdict


@dataclass(frozen=True)
class AsGiven:
    """What was found for the weights as they were given.

    Attributes:
        status: "PROVED", "UNDECIDED" or "REFUTED".
        reason: Why, in one sentence.
        missing_factor: ``|r_0| / int s`` for a squared loss (``(|r_0| - rho) / int s`` for a
            target), in general what the criterion asks of int s over what it is: how many times too
            large the residual still is, a float estimate and no bound (the last beta is continued
            to where s vanishes); below 1 when proved, None when no number came out. Far from the
            criterion a rough beta may stand in it, and where a large problem is polished anyway,
            an approximate eigenvalue (the reason says so).
    """

    status: str
    reason: str
    missing_factor: float | None


@dataclass(frozen=True, eq=False, repr=False)
class Certificate(Shown):
    """A claim about gradient descent from the stored weights, or the reason why there is none.

    Numbers are None where they were not reached. One-sided bounds say their side in the file
    format (docs/certificate-format.md).

    Attributes:
        status: "PROVED", "UNDECIDED" or "REFUTED".
        reason: One sentence: the hypothesis that failed, by how much; or what was proved.
        theorem: "T11", "T4", "T7" or "T9".
        loss: "mse", "sse" or "half_sse".
        samples: Rows n, as given.
        outputs: Outputs k of one sample.
        parameters: Trainable scalars p.
        as_given: The answer for the weights as given.
        verdict: The theorem's hypotheses one by one.
        claim: The sentence, only when PROVED.
        advice: What to try next, only where a hypothesis was not shown.
        label_smoothing: Of a cross-entropy.
        residual_norm: Squared losses: upper bound of ``|F(w0) - y|``.
        initial_gap: Smoothed labels: upper bound of the loss at w0 above its infimum, summed over
            the samples.
        pl_constant: Smoothed labels: lower bound of mu_l on the sublevel set, summed loss.
        initial_loss: Cross-entropy with a target: upper bound of the loss at w0, summed.
        sigma_min_lower: Lower bound of the smallest singular value of the Jacobian at w0.
        jacobian_lipschitz_upper: Lipschitz constant of the Jacobian on the ball.
        radius: Every iterate stays within this Euclidean distance of w0.
        step_size: Largest certified ``lr`` of plain full-batch `torch.optim.SGD`.
        rate: Bounds ``f_{k+1} / f_k`` at ``step_size``, f measured from its infimum.
        one_minus_rate: ``1 - rate`` from below.
        halving_steps: So many steps at ``step_size`` surely halve the loss.
        steps: T7 and T9: steps after which the target or floor is surely reached.
        target: T7 only: the target loss.
        floor: T9 only: the loss below which nothing is claimed.
        assumptions: What the claim rests on beside the stored numbers; empty for the top grade.
        slack: Lipschitz bound at R -> 0 over the strongest attack found; None without attack.
        polished: Whether the claim speaks of polished weights, not of those given.
        polish_distance: Euclidean distance between the two, float.
        notes: What the reading normalised, merged or dropped.
        seconds: Wall time by stage.
        file: Where it was saved.
    """

    status: str
    reason: str
    theorem: str
    loss: str
    samples: int
    outputs: int
    parameters: int
    as_given: AsGiven
    verdict: Verdict[Any] | None = None
    claim: str | None = None
    advice: str | None = None
    label_smoothing: float = 0.0
    residual_norm: float | None = None
    initial_gap: float | None = None
    pl_constant: float | None = None
    initial_loss: float | None = None
    sigma_min_lower: float | None = None
    jacobian_lipschitz_upper: float | None = None
    radius: float | None = None
    step_size: float | None = None
    rate: float | None = None
    one_minus_rate: float | None = None
    halving_steps: float | None = None
    steps: float | None = None
    target: float | None = None
    floor: float | None = None
    assumptions: tuple[str, ...] = ()
    slack: float | None = None
    polished: bool = False
    polish_distance: float = 0.0
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    file: str | None = None
    document: Document | None = field(default=None, repr=False)
    network: Network | None = field(default=None, repr=False)

    def save(self, path: str | Path) -> Certificate:
        """Write the `.talweg` file; the file appears whole or not at all.

        Args:
            path: Where to write.

        Returns:
            The certificate with ``file`` set.

        Raises:
            InputError: Nothing is proved, so there is nothing to save.
            CertificateFileError: The place cannot be written.
        """
        if self.document is None:
            raise InputError(
                f"Certificate.save(path) requires status PROVED; this one is {self.status}: "
                f"{self.reason} Only claims that are proved are written."
            )
        write_document(self.document, Path(path))
        return replace(self, file=str(path))

    def load_into_(self, model: nn.Module) -> nn.Module:
        """Copy the certified weights into a model of the same architecture.

        Args:
            model: The model that was certified, or one with the same parameter names and shapes.

        Returns:
            The model.

        Raises:
            InputError: There are no certified weights, a parameter is missing or shaped
                differently, or its dtype cannot hold the certified values exactly.
        """
        if self.network is None:
            raise InputError(
                f"Certificate.load_into_(model) requires status PROVED; this one is {self.status}. "
                "There are no certified weights to load."
            )
        parameters = dict(model.named_buffers()) | dict(model.named_parameters())
        copies: list[tuple[Tensor, Tensor]] = []
        for name, value in named_tensors(self.network):
            target = parameters.get(name)
            if target is None or target.shape != value.shape:
                came = "no such parameter" if target is None else f"shape {tuple(target.shape)}"
                raise InputError(
                    f"`model` of Certificate.load_into_(model) must have a parameter {name!r} of "
                    f"shape {tuple(value.shape)}; got {came}. Pass the model that was certified."
                )
            exact = value.to(torch.float64)
            if not torch.equal(exact.to(target.dtype).to(torch.float64), exact):
                raise InputError(
                    f"parameter {name!r} of `model` in Certificate.load_into_(model) must hold the "
                    f"certified values exactly; its dtype {target.dtype} rounds them. Call "
                    "model.double() first."
                )
            copies.append((target, exact))
        with torch.no_grad():
            for target, exact in copies:
                target.copy_(exact)
        return model

    def to_dict(self) -> dict[str, Any]:
        """The numbers as a JSON-able dictionary; infinities become None."""
        keys = (
            "status", "reason", "advice", "theorem", "loss", "label_smoothing", "target", "claim",
            "samples", "outputs", "parameters", "residual_norm", "initial_gap", "pl_constant",
            "initial_loss", "sigma_min_lower", "jacobian_lipschitz_upper", "radius",
            "step_size", "rate", "one_minus_rate", "halving_steps", "steps", "floor", "slack",
            "polished", "polish_distance", "file",
        )  # fmt: skip
        record = {key: _finite(getattr(self, key)) for key in keys}
        record["as_given"] = {
            "status": self.as_given.status,
            "reason": self.as_given.reason,
            "missing_factor": _finite(self.as_given.missing_factor),
        }
        record["assumptions"] = list(self.assumptions)
        record["notes"] = list(self.notes)
        record["seconds"] = {stage: round(s, 4) for stage, s in self.seconds.items()}
        return record

    def _smoothing(self) -> str:
        return f", label smoothing {self.label_smoothing!r}" if self.label_smoothing else ""

    def _scaled(self, summed: float | None) -> tuple[float | None, str]:
        """A loss summed over the samples on the scale of the loss, as its targets are."""
        if summed is None or self.loss.endswith("_sum"):
            return summed, " (summed over the samples)"
        return summed / self.samples, f" (summed over the samples {summed:.6g})"

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of every line of the table."""
        lines = [("status", self.status), ("reason", self.reason)]
        if self.advice is not None:
            lines.append(("what to do", self.advice))
        lines.append(
            ("weights", f"polished, {self.polish_distance:.3g} away from those given")
            if self.polished
            else ("weights", "as given")
        )
        if self.polished or self.status != "PROVED":
            given = self.as_given
            factor = given.missing_factor
            text = (
                given.status if factor is None else f"{given.status}, missing factor {factor:.4g}"
            )
            lines.append(("as given", text))
        lines.append(
            ("problem", (f"{self.samples} samples x {self.outputs} outputs, "
             f"{self.parameters} parameters, loss {self.loss}{self._smoothing()}"))
        )  # fmt: skip
        numbers: list[tuple[str, float | None, str]] = [
            ("|r_0| <=", self.residual_norm, ""),
            ("loss above infimum <=", *self._scaled(self.initial_gap)),
            ("mu_l >=", self.pl_constant, " where the loss is no larger"),
            ("loss at w0 <=", *self._scaled(self.initial_loss)),
            ("sigma_min(J) >=", self.sigma_min_lower, ""),
            ("Lipschitz of J <=", self.jacobian_lipschitz_upper, ""),
            ("radius R*", self.radius, ""),
            ("certified step", self.step_size, " (lr of plain full-batch SGD)"),
            ("1 - rate >=", self.one_minus_rate, " of the loss per step"),
            ("halving steps <=", self.halving_steps, ""),
            ("steps to target <=" if self.floor is None else "steps to floor <=", self.steps, ""),
            ("floor of the loss", self.floor, " (nothing is claimed once the loss is below)"),
            ("slack", self.slack, " (bound / attack at R -> 0)"),
        ]
        lines += [(name, f"{v:.6g}{unit}") for name, v, unit in numbers if v is not None]
        if self.seconds:
            lines.append(("seconds", ", ".join(f"{k} {v:.2f}" for k, v in self.seconds.items())))
        lines += [("assumed, not proved", assumption) for assumption in self.assumptions]
        lines += [("note", note) for note in self.notes]
        if self.claim is not None:
            lines.append(("claim", self.claim))
        if self.file is not None:
            lines.append(("file", self.file))
        return lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(title=f"talweg certificate ({self.theorem})", show_header=False)
        table.add_column("what", style="bold", no_wrap=True)
        table.add_column("value", overflow="fold")
        for label, text in self.rows():
            table.add_row(label, Text(text))  # brackets of a claim are no markup
        yield table

    def _sheet(self) -> Sheet:
        return Sheet.of_status(f"talweg certificate ({self.theorem})", self.status, self.rows())


def named_tensors(network: Network) -> list[tuple[str, Tensor]]:
    """Names and values of all stored tensors, frozen ones included, each once."""
    return list({slot.name: slot.tensor for slot in network.slots()}.items())


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
