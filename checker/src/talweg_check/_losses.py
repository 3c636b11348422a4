"""The kinds of loss: what the file says of one, and what its claims say of the outputs at w0.

A cross-entropy is read as PyTorch defines it: label y of k classes and smoothing a stand for the
probabilities q_j = (1 - a) [j = y] + a / k, and the loss of a sample with outputs z is
-sum_j q_j log p_j, log p_j = z_j - log sum_c e^{z_c}.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from flint import arb
from numpy.typing import NDArray

from talweg_check._arrays import Balls, exact, full, rational
from talweg_check._file import StoredArray, as_object, number
from talweg_check._network import Network
from talweg_check._verdict import Invalid

Counts = Mapping[str, int]


class Loss(Protocol):
    """One training loss."""

    @property
    def kind(self) -> str:
        """As in the file."""
        ...

    @property
    def unit(self) -> Fraction:
        """A step of lr on this loss is the step unit * lr on the one that the rules speak of."""
        ...

    @property
    def scaling(self) -> str:
        """As the sentence names it."""
        ...

    @property
    def words(self) -> str:
        """The loss as the sentence names it."""
        ...

    @property
    def frame(self) -> Balls | None:
        """Orthonormal rows that span its gradients, sample by sample; None: all outputs."""
        ...

    def targets(self, array: StoredArray, counts: Counts) -> NDArray[Any]:
        """The targets, one entry or row per sample; Invalid where they are of another form."""
        ...

    def doubts(self, net: Network, targets: NDArray[Any], claims: Mapping[str, float]) -> list[str]:
        """The claims about the outputs that are not confirmed; Invalid where one is disproved."""
        ...


@dataclass(frozen=True)
class Squared:
    """c |F - y|^2; the rules speak of |F - y|^2 / 2."""

    unit: Fraction
    scaling: str
    words: str
    kind: str = "squared"
    frame: None = None

    def targets(self, array: StoredArray, counts: Counts) -> NDArray[Any]:
        """(n, k) real numbers."""
        values = array.values()
        if values.shape != (counts["samples"], counts["outputs"]):
            raise Invalid("the targets do not have one row per sample, one column per output")
        return values

    def doubts(self, net: Network, targets: NDArray[Any], claims: Mapping[str, float]) -> list[str]:
        """residual_norm_upper against |F(w0) - y|."""
        residual = net.squared_residual(exact(targets))
        stated = arb(claims["residual_norm_upper"]) ** 2
        if stated >= residual:
            return []
        if stated < residual:
            raise Invalid("disproved: residual_norm_upper is below the residual norm")
        return ["residual_norm_upper is not confirmed"]


@dataclass(frozen=True)
class CrossEntropy:
    """Summed or averaged softmax cross-entropy; the claims and the rules speak of the sum."""

    unit: Fraction
    scaling: str
    words: str
    samples: int
    classes: int
    smoothing: Fraction
    kind: str = "cross_entropy"

    @property
    def frame(self) -> Balls:
        """Gradients sum to zero: the rows (1, ..., 1, -j, 0, ...) / sqrt(j (j + 1)), (k - 1, k)."""
        result = full((self.classes - 1, self.classes), 0)
        for j in range(1, self.classes):
            length = arb(j * (j + 1)).sqrt()
            result[j - 1, :j] = 1 / length
            result[j - 1, j] = -j / length
        return result

    @property
    def smallest_label(self) -> Fraction:
        """The least probability of a smoothed label."""
        return self.smoothing / self.classes

    def targets(self, array: StoredArray, counts: Counts) -> NDArray[Any]:
        """(n,) class indices."""
        labels = array.integers()
        if labels.shape != (counts["samples"],):
            raise Invalid("the targets do not have one label per sample")
        if not ((labels >= 0) & (labels < counts["outputs"])).all():
            raise Invalid("a label is not one of the classes")
        return labels

    def doubts(self, net: Network, targets: NDArray[Any], claims: Mapping[str, float]) -> list[str]:
        """The summed loss at w0, above its infimum if labels are smoothed."""
        name = "initial_gap_upper" if self.smoothing else "initial_loss_upper"
        a, k = rational(self.smoothing), self.classes
        hit, miss = 1 - a + a / k, a / k
        total = arb(0)
        for outputs, label, count in zip(net.h[-1], targets.tolist(), net.counts, strict=True):
            normaliser = sum(z.exp() for z in outputs).log()
            for c, z in enumerate(outputs):
                q = hit if c == label else miss
                if self.smoothing:  # q > 0 for every class
                    total += count * q * (q.log() - z + normaliser)
                elif c == label:
                    total += count * (normaliser - z)
        stated = arb(claims[name])
        if stated >= total:
            return []
        if stated < total:
            raise Invalid(f"disproved: {name} is below its value at the stored weights")
        return [f"{name} is not confirmed"]


SCALINGS = {"mean": "mean", "sum": "sum", "half_sum": "half sum"}


def _squared(stated: dict[str, Any], counts: Counts) -> Loss:
    stated = as_object(stated, ("kind", "scaling"), "'loss'")
    scaling = _one_of(stated["scaling"], SCALINGS, "'loss.scaling'")
    n, k = counts["samples"], counts["outputs"]
    unit = {"mean": Fraction(2, n * k), "sum": Fraction(2), "half_sum": Fraction(1)}[scaling]
    said = SCALINGS[scaling]
    return Squared(unit, said, f"{said} of squares over {n} samples and {k} outputs")


def _cross_entropy(stated: dict[str, Any], counts: Counts) -> Loss:
    stated = as_object(stated, ("kind", "scaling", "label_smoothing"), "'loss'")
    n, k = counts["samples"], counts["outputs"]
    if k < 2:
        raise Invalid("a cross-entropy needs at least two outputs")
    units = {"mean": Fraction(1, n), "sum": Fraction(1)}
    scaling = _one_of(stated["scaling"], units, "'loss.scaling'")
    smoothing = number(stated["label_smoothing"], "'loss.label_smoothing'")
    if not 0 <= smoothing <= 1 or math.copysign(1, smoothing) < 0:
        raise Invalid("'loss.label_smoothing' must lie in [0, 1]")
    words = f"{scaling} of softmax cross-entropies over {n} samples and {k} classes"
    if smoothing > 0:
        words += f", label smoothing {smoothing!r}"
    return CrossEntropy(units[scaling], scaling, words, n, k, Fraction(smoothing))


KINDS: dict[str, Callable[[dict[str, Any], Counts], Loss]] = {
    "squared": _squared,
    "cross_entropy": _cross_entropy,
}


def loss(stated: Any, counts: Counts) -> Loss:
    """The loss that the object under 'loss' describes."""
    if "kind" not in as_object(stated, None, "'loss'"):
        raise Invalid("missing key 'kind' in 'loss'")
    return KINDS[_one_of(stated["kind"], KINDS, "'loss.kind'")](stated, counts)


def _one_of(value: Any, names: Mapping[str, Any], where: str) -> str:
    if not isinstance(value, str) or value not in names:
        raise Invalid(f"{where} must be one of {', '.join(names)}")
    return value
