"""Small classifiers in NumPy, and certificate files about their cross-entropy."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from flint import ctx
from generator import Array, Draft, Problem, make

from talweg_check._arrays import PRECISION
from talweg_check._losses import CrossEntropy
from talweg_check._network import merged

SMOOTHING = 0.125


def smoothed(labels: Array, classes: int, smoothing: float) -> Array:
    """(n, k) probabilities."""
    q = np.full((len(labels), classes), smoothing / classes)
    q[np.arange(len(labels)), labels] += 1 - smoothing
    return q


def classifier(
    widths: list[int], smoothing: float = SMOOTHING, samples: int = 5, repeats: int = 0,
    goal: float = 1e-4, **options: Any,
) -> tuple[Problem, Array]:  # fmt: skip
    """A network polished towards the logarithms of the smoothed labels, and the labels."""
    problem = make(widths, samples=samples, **options)
    labels = np.arange(samples) % widths[-1]
    q = smoothed(labels, widths[-1], max(smoothing, 0.1))
    problem.targets = np.log(q) - np.log(q).mean(axis=1, keepdims=True)
    problem.polish(goal)
    last = problem.linear()[-1]["bias"]  # the last step may have gone far below the goal
    problem.weights[last] = problem.weights[last] + 1e-6 * np.arange(widths[-1])
    if repeats:
        problem.inputs = np.concatenate([problem.inputs, problem.inputs[:repeats]])
        labels = np.concatenate([labels, labels[:repeats]])
    problem.targets = labels.astype(float)[:, None]
    return problem, labels


class EntropyDraft(Draft):
    """T4 with smoothed labels, T13 without, in the making."""

    def __init__(
        self, problem: Problem, labels: Array, smoothing: float = SMOOTHING, scaling: str = "mean"
    ) -> None:
        self.k = problem.weights[problem.linear()[-1]["weight"]].shape[0]
        super().__init__(problem, "T4" if smoothing else "T13", "mean")
        self.labels, self.smoothing, self.scaling = labels, smoothing, scaling
        self.arrays["targets"] = (labels.astype("<i8").tobytes(), "I64", labels.shape)
        self.counts["outputs"] = self.k
        self.unit = 1 / len(labels) if scaling == "mean" else 1.0

    def measure(self, radii: list[float] | None = None, pad: float = 1e-6) -> EntropyDraft:
        """The claims about w0."""
        inputs, labels, counts = merged(self.problem.inputs, self.labels)
        kernel, z = self.at_start(inputs)
        basis = np.linalg.svd(np.eye(self.k) - 1 / self.k)[0][:, : self.k - 1]
        frame = np.kron(np.diag(np.sqrt(counts)), basis)
        spectrum = np.linalg.eigvalsh(frame.T @ kernel @ frame)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        if self.smoothing:
            q = smoothed(labels, self.k, self.smoothing)
            p = np.exp(log_p)
            terms = (q - p) ** 2 / np.maximum(p, 2 * np.minimum(p, q))
            self.start = float((counts * terms.sum(1)).sum()) * (1 + 1e-9)
            least = q.min()
            self.mu = float(least - math.sqrt(2 * least * self.start)) * (1 - 1e-9)
            self.need = math.sqrt(2 * self.start / self.mu)
        else:
            self.start = float(-(counts * log_p[np.arange(len(labels)), labels]).sum())
            self.start *= 1 + 1e-13
        self.sigma = float(math.sqrt(max(spectrum[0], 0)) * (1 - pad))
        self.jacobian = float(math.sqrt(spectrum[-1]) * (1 + pad))
        with ctx.workprec(PRECISION):
            loss = CrossEntropy(Fraction(1), "sum", "", len(labels), self.k, Fraction(0))
            lipschitz = self.bound(inputs, counts, loss.frame)
            if radii is None:
                radii = [3 * self.need / self.sigma, 6 * self.need / self.sigma]
            betas = [float(lipschitz.upper(radius).upper()) for radius in radii]
        self.profile = [
            [radius, beta * (1 + pad)] for radius, beta in zip(radii, betas, strict=True)
        ]
        return self

    def conclude(self, epsilon: float = 0.5, target: float | None = None) -> EntropyDraft:
        """Radius, step and rate; `target` on the scale of the stated loss."""
        n, k = len(self.labels), self.k
        root, share = math.sqrt(n), (k - 1) / k
        if target is not None:
            t = target / self.unit
            a, b = self.start / root, t / root
            ratio = math.log(math.expm1(a) / math.expm1(b))
            self.need = math.sqrt(share * n) * ratio * (1 + 1e-9)
        low, high = 0.0, self.profile[-1][0]
        if (1 - epsilon) * self.s_integral(high) < self.need or self.s(high) <= 0:
            raise ValueError("the criterion does not hold")
        for _ in range(200):
            middle = (low + high) / 2
            if (1 - epsilon) * self.s_integral(middle) < self.need:
                low = middle
            else:
                high = middle
        radius = high * (1 + 1e-9)
        top, bottom, beta = self.jacobian + self.beta_integral(radius), self.s(radius), 0.0
        beta = self.profile[-1][1]
        outer = self.jacobian + self.beta_integral(self.profile[-1][0])
        eta = 2 * epsilon / (outer**2 / 2 + math.sqrt(self.start) * beta) * (1 - 1e-9)
        c = (1 - epsilon) * eta * bottom**2
        self.claims = {
            "sigma_min_lower": self.sigma, "jacobian_norm_upper": self.jacobian,
            "jacobian_lipschitz_upper": self.profile, "radius": radius,
            "step_size": eta / self.unit * (1 - 1e-12), "epsilon": epsilon,
        }  # fmt: skip
        if target is None:
            self.claims |= {"initial_gap_upper": self.start, "pl_lower": self.mu}
            gain = 2 * c * self.mu * (1 - 1e-9)
        else:
            leap = eta * top * math.sqrt(self.start)
            least = min((1 - math.exp(-u / root)) ** 2 / u for u in (t, self.start))
            gain = c / share * least * (1 - 1e-9)
            bracket = ratio + 1 / math.expm1(b) - 1 / math.expm1(a)
            steps = share * root * bracket / c * (1 + 1e-9)
            self.claims |= {
                "initial_loss_upper": self.start, "target_loss": target,
                "overshoot_radius": (radius + leap) * (1 + 1e-9),
                "steps_upper": float(math.ceil(steps)),
            }  # fmt: skip
        self.claims |= {
            "rate": math.nextafter(1 - gain, 2), "one_minus_rate": gain,
            "halving_steps": math.log(2) / -math.log1p(-gain) * (1 + 1e-9),
        }  # fmt: skip
        return self

    def words(self) -> str:
        smoothing = f", label smoothing {self.smoothing}" if self.smoothing else ""
        return (
            f"({self.scaling} of softmax cross-entropies over {len(self.labels)} samples and "
            f"{self.k} classes{smoothing})"
        )

    def sentence(self, hashes: dict[str, str]) -> str:
        c = self.claims
        begin = super().sentence(hashes)
        begin = begin[: begin.index(", with ") + len(", with ")]
        if self.theorem == "T13":
            return begin + (
                f"constant step size {c['step_size']}, reaches a training loss of at most "
                f"{c['target_loss']} {self.words()} after at most {int(c['steps_upper'])} steps: "
                f"until then every iterate stays within Euclidean distance "
                f"{c['overshoot_radius']} of the start."
            )
        return begin + (
            f"any constant step size in (0, {c['step_size']}], converges to the infimum of the "
            f"training loss {self.words()}, which is the {self.scaling} over the samples of the "
            f"entropies of their smoothed labels: every iterate stays within Euclidean distance "
            f"{c['radius']} of the start, and with step size {c['step_size']} "
            f"the loss above its infimum falls by at least the fraction "
            f"{c['one_minus_rate']} in every step."
        )

    def tree(self) -> dict[str, Any]:
        loss = {
            "kind": "cross_entropy", "scaling": self.scaling,
            "label_smoothing": float(self.smoothing).hex(),
        }  # fmt: skip
        return super().tree() | {"loss": loss}


def smoothed_draft(scaling: str = "mean", **options: Any) -> EntropyDraft:
    """A valid T4 certificate."""
    problem, labels = classifier(options.pop("widths", [4, 14, 3]), **options)
    return EntropyDraft(problem, labels, scaling=scaling).measure().conclude()


def target_draft(scaling: str = "mean") -> EntropyDraft:
    """A valid T13 certificate; the part of the loss that it removes is small."""
    problem, labels = classifier([4, 24, 3], 0.0, samples=4, goal=1e-2)
    draft = EntropyDraft(problem, labels, 0.0, scaling).measure([1e-4, 1e-3, 0.03])
    return draft.conclude(0.05, target=0.9999 * draft.start * draft.unit)
