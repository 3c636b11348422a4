"""Which claims, semantics and assumptions a file has, by kind of loss and theorem.

An entry here goes with one in `_theorems.RULES` and one in `_sentence.SENTENCES`.
"""

from __future__ import annotations

from dataclasses import dataclass

REAL_DESCENT = "real-arithmetic full-batch gradient descent on the exact stored weights"
FLOAT64_DESCENT = (
    "float64 full-batch gradient descent as run by the program of T9 from the exact stored weights"
)
ASSUMED_OF_THE_RUN = (
    (
        "tanh and sigmoid of the library that runs the program are within 2^-50 of their value "
        "relatively (4 units of 2^-52), plus 2^-1000 absolutely"
    ),
    (
        "the program runs in IEEE 754 binary64, rounding to nearest, and every inner product in it "
        "is a sum of products, in some order, with or without fused multiply-add"
    ),
)
COMMON = (
    "sigma_min_lower", "jacobian_norm_upper", "radius", "step_size", "rate", "one_minus_rate",
    "halving_steps",
)  # fmt: skip
MAY_BE_ZERO = ("residual_norm_upper", "initial_gap_upper", "rate")


@dataclass(frozen=True)
class Form:
    """What a file of one kind of loss and one theorem states beside the common claims."""

    extra: tuple[str, ...]
    semantics: str = REAL_DESCENT
    assumptions: tuple[str, ...] = ()

    @property
    def claims(self) -> tuple[str, ...]:
        """The names of all numbers under 'claims'."""
        return COMMON + self.extra

    @property
    def grade(self) -> str:
        """What a verdict adds where something is assumed."""
        number = len(self.assumptions)
        return f", under {number} assumptions that the claim names" if number else ""


_TARGET = ("target_loss", "steps_upper", "overshoot_radius")
FORMS: dict[tuple[str, str], Form] = {
    ("squared", "T11"): Form(("residual_norm_upper",)),
    ("squared", "T4"): Form(("residual_norm_upper", "epsilon")),
    ("squared", "T7"): Form(("residual_norm_upper", *_TARGET)),
    ("squared", "T9"): Form(
        ("residual_norm_upper", "theta", "gradient_error_upper", "floor", "steps_upper"),
        FLOAT64_DESCENT,
        ASSUMED_OF_THE_RUN,
    ),
    ("cross_entropy", "T4"): Form(("initial_gap_upper", "pl_lower", "epsilon")),
    ("cross_entropy", "T13"): Form(("initial_loss_upper", "epsilon", *_TARGET)),
}
