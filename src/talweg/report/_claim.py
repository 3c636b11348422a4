"""What a certificate file states, read with care: all numbers exact, nothing else let through.

A file may have been written by anyone. What is not in the form of docs/certificate-format.md, or is
larger than any page needs, is refused here in one message; whether it is true is for the checker.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from talweg._errors import InputError

MOST_RADII = 10_000
LONGEST_CLAIM = 200_000
LONGEST_TEXT = 300
MOST_TEXTS = 20
VERDICT = "PROVED"
"""The word that only a checked claim may be called by; no sentence of the format holds it."""

COMMON = (
    "sigma_min_lower", "jacobian_norm_upper", "radius", "step_size", "rate", "one_minus_rate",
    "halving_steps",
)  # fmt: skip
NEEDED: dict[tuple[str, str], tuple[str, ...]] = {
    ("squared", "T11"): ("residual_norm_upper",),
    ("squared", "T4"): ("residual_norm_upper", "epsilon"),
    ("squared", "T7"): ("residual_norm_upper", "target_loss", "steps_upper", "overshoot_radius"),
    ("squared", "T9"): (
        "residual_norm_upper", "theta", "gradient_error_upper", "floor", "steps_upper",
    ),
    ("cross_entropy", "T4"): ("initial_gap_upper", "pl_lower", "epsilon"),
    ("cross_entropy", "T13"): (
        "initial_loss_upper", "epsilon", "target_loss", "steps_upper", "overshoot_radius",
    ),
}  # fmt: skip
MAY_BE_ZERO = {"initial_gap_upper", "residual_norm_upper", "gradient_error_upper", "rate"}
SHARES = {"epsilon", "theta"}


@dataclass(frozen=True)
class Claim:
    """The parts of a certificate that a page shows.

    Attributes:
        theorem: As in the file.
        kind: Of the loss: "squared" or "cross_entropy".
        scaling: Of the loss.
        sentence: The claim in words, as in the file.
        semantics: What kind of descent it speaks of.
        numbers: The claims by name, exact.
        profile: ``(radius, beta)``, as listed, exact.
        samples: Rows as stored.
        outputs: Of one sample.
        parameters: Trainable scalars.
        hashes: Of weights, inputs and targets.
        assumptions: What the claim rests on beside the stored numbers.
        provenance: Names and texts that nobody checks.
    """

    theorem: str
    kind: str
    scaling: str
    sentence: str
    semantics: str
    numbers: Mapping[str, Fraction]
    profile: tuple[tuple[Fraction, Fraction], ...]
    samples: int
    outputs: int
    parameters: int
    hashes: Mapping[str, str]
    assumptions: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]

    @property
    def unit(self) -> Fraction:
        """The named loss over the sum (of squares, or of cross-entropies)."""
        if self.scaling == "mean":
            rows = self.samples * (self.outputs if self.kind == "squared" else 1)
            return Fraction(1, rows)
        return Fraction(1, 2) if self.scaling == "half_sum" else Fraction(1)

    @property
    def start(self) -> Fraction:
        """Upper bound of the loss at the start, above its infimum, in the unit of the loss."""
        if self.kind == "squared":
            return self.unit * self.numbers["residual_norm_upper"] ** 2
        known = self.numbers
        return self.unit * known.get("initial_gap_upper", known.get("initial_loss_upper", 0))

    @property
    def goal(self) -> Fraction | None:
        """The target or the floor; None where the claim is about all later steps."""
        return self.numbers.get("target_loss", self.numbers.get("floor"))


def read_claim(body: Mapping[str, Any], name: str) -> Claim:
    """The parts of a file's JSON object.

    Args:
        body: Of a `.talweg` file.
        name: Of the file, for the message.

    Raises:
        InputError: It is not of the format, or too large to show.
    """
    try:
        return _read(body)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"body of certificate_report: a certificate of format 1 or 2 is required; {name!r} "
            f"does not read as one ({clean(detail)}); `talweg check` says more"
        ) from None


def clean(text: str, most: int = LONGEST_TEXT) -> str:
    """Text of a stranger on one line, of bearable length, and without our verdict in it."""
    letters = "".join(
        " " if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp", "Cs") else letter
        for letter in text[: 4 * most]
    ).strip()
    letters = letters.replace(VERDICT, "[…]")
    return letters if len(letters) <= most else letters[: most - 1] + "…"


def _read(body: Mapping[str, Any]) -> Claim:
    kind, theorem = str(body["loss"]["kind"]), str(body["theorem"])
    if (kind, theorem) not in NEEDED:
        raise ValueError(f"no theorem {theorem!r} about the loss {kind!r} is known")
    scaling = body["loss"]["scaling"]
    if scaling not in ("mean", "sum", *(["half_sum"] if kind == "squared" else [])):
        raise ValueError(f"the scaling of the loss is {scaling!r}")
    claims = body["claims"]
    numbers = {key: _number(claims[key]) for key in (*COMMON, *NEEDED[kind, theorem])}
    for key, value in numbers.items():
        if value < 0 or (value == 0 and key not in MAY_BE_ZERO):
            raise ValueError(f"{key} is not positive")
        if key in SHARES and value >= 1:
            raise ValueError(f"{key} is not below 1")
    if numbers["one_minus_rate"] > 1:
        raise ValueError("one_minus_rate is above 1")
    counts = {key: body["counts"][key] for key in ("samples", "outputs", "parameters")}
    if not all(type(count) is int and 0 < count < 2**63 for count in counts.values()):
        raise ValueError("counts must be positive integers")
    hashes = {key: body["hashes"][key] for key in ("weights", "inputs", "targets")}
    if not all(isinstance(v, str) and re.fullmatch("[0-9a-f]{64}", v) for v in hashes.values()):
        raise ValueError("hashes must be sha256 in lower-case hex")
    return Claim(
        theorem, kind, scaling, _sentence(body["claim"], LONGEST_CLAIM),
        _sentence(body["semantics"], LONGEST_TEXT), numbers,
        _profile(claims["jacobian_lipschitz_upper"], numbers["radius"]), **counts, hashes=hashes,
        assumptions=tuple(_sentence(t, LONGEST_TEXT) for t in _listed(body["assumptions"])),
        provenance=_provenance(body.get("provenance")),
    )  # fmt: skip


def _number(text: Any) -> Fraction:
    if not isinstance(text, str) or len(text) > 40:
        raise ValueError("a claim is no hexadecimal float")
    return Fraction(float.fromhex(text))  # raises for infinities and NaN, as it should


def _profile(pairs: Any, radius: Fraction) -> tuple[tuple[Fraction, Fraction], ...]:
    if not isinstance(pairs, list) or not 0 < len(pairs) <= MOST_RADII:
        raise ValueError(f"from 1 to {MOST_RADII} radii must be listed")
    made = tuple((_number(at), _number(beta)) for at, beta in pairs)
    grows = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(made))
    if not grows or made[0][0] <= 0 or made[0][1] < 0:
        raise ValueError("the listed radii and betas must grow")
    if radius > made[-1][0]:
        raise ValueError("the radius is beyond the listed ones")
    return made


def _sentence(text: Any, most: int) -> str:
    """Text that is shown as it stands; what no sentence of the format can hold is refused."""
    if not isinstance(text, str) or not 0 < len(text) <= most:
        raise ValueError(f"a text must have 1 to {most} letters")
    if VERDICT in text or not text.isascii() or not text.isprintable():
        raise ValueError("a text is none of the format's")
    return text


def _listed(texts: Any) -> list[Any]:
    if not isinstance(texts, list) or len(texts) > MOST_TEXTS:
        raise ValueError(f"at most {MOST_TEXTS} assumptions can be listed")
    return texts


def _provenance(found: Any) -> tuple[tuple[str, str], ...]:
    """What stands there, as far as it is text."""
    if not isinstance(found, Mapping):
        return ()
    items = []
    given = found.get("as_given")
    if isinstance(given, str):
        same = given == VERDICT
        items.append(
            ("Weights", "as given" if same else "polished; those given were not certified")
        )
    if isinstance(found.get("torch"), str):
        items.append(("Written with torch", clean(found["torch"], 60)))
    notes = found.get("notes")
    if isinstance(notes, list):
        items += [("Note", clean(note)) for note in notes[:MOST_TEXTS] if isinstance(note, str)]
    return tuple(items)
