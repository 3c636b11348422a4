"""Every phrase of the sentence, every label beside it, and every theorem in place of another."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from classifier import EntropyDraft
from generator import SEMANTICS, Draft, canonical
from tests.soundness.lies.drafts import FORMS, genuine
from tests.soundness.lies.planted import Group

from talweg_check._forms import ASSUMED_OF_THE_RUN, FLOAT64_DESCENT

UNFIT = "^the stated claim is not the sentence that the fields give"
Change = Callable[[dict[str, Any]], Any]

# What is said -> what is said instead; a phrase is a lie in every form whose sentence holds it.
PHRASES: dict[str, tuple[str, str]] = {
    "real arithmetic": ("real arithmetic", "floating-point arithmetic"),
    "float64": ("float64", "real arithmetic"),
    "full batch": ("on the full batch", "on minibatches"),
    "method": ("Gradient descent", "Stochastic gradient descent"),
    "stored weights": ("started from the stored weights", "started from any weights"),
    "hash name": ("sha256", "md5"),
    "inputs for targets": ("targets sha256", "labels sha256"),
    "parameters": ("parameters of", "weights of"),
    "operations": ("linear 4->", "linear 5->"),
    "trained": ("weight trained", "weight frozen"),
    "bias": (", bias trained)", ", bias none)"),
    "activation": ("tanh", "relu"),
    "any step": ("any constant step size in (0, ", "any step size in (0, "),
    "any positive step": ("in (0, ", "in [0, "),
    "constant step": ("with constant step size", "with any step size up to"),
    "zero training loss": ("zero training loss", "zero test loss"),
    "global minimum": ("converges to zero training loss", "converges to the global minimum"),
    "at most": ("of at most", "of"),
    "scaling": ("mean of", "sum of"),
    "squares": ("of squares", "of absolute values"),
    "cross-entropies": ("softmax cross-entropies", "cross-entropies"),
    "samples": (" samples", " test samples"),
    "every iterate": ("every iterate", "the last iterate"),
    "Euclidean distance": ("Euclidean distance", "distance"),
    "within": ("stays within", "stays strictly within"),
    "falls": ("falls by at least", "falls by exactly"),
    "fraction": ("the fraction", "the factor"),
    "in every step": ("in every step", "in the first step"),
    "after at most": ("after at most", "after exactly"),
    "until then": ("until then", "from then on"),
    "floor": ("down to the floor", "below the floor"),
    "fused": ("with or without fused multiply-add", "without fused multiply-add"),
    "nothing claimed": ("nothing is claimed about later iterates", "later iterates stay"),
    "assumed": ("Assumed, not proved", "Proved"),
    "an assumption dropped": (f"{ASSUMED_OF_THE_RUN[0]}; ", ""),
    "an assumption weakened": ("2^-50", "2^-40"),
    "infimum": ("converges to the infimum", "converges to a minimiser"),
    "entropies": ("entropies of their smoothed labels", "entropies of their labels"),
    "label smoothing": ("label smoothing 0.125", "label smoothing 0.25"),
    "above its infimum": ("the loss above its infimum", "the loss"),
    "full stop": (".", ""),
    "a further sentence": ("step.", "step. It generalises."),
    "two spaces": (" on ", "  on "),
    "a no-break space": (" on ", "\u00a0on "),
    "a zero-width space": ("sha256", "sha256\u200b"),
    "capital": ("descent", "Descent"),
    "trailing newline": ("Gradient", "\nGradient"),
    "a letter from another script": ("Gradient", "Gr\u0430dient"),
}  # fmt: skip

NUMBERS: dict[str, str] = {  # pattern -> what it is; the first number found is changed
    r"(?<=\(0, )[0-9.e-]+(?=\])": "the step of the interval",
    r"(?<=distance )[0-9.e-]+": "the radius",
    r"(?<=fraction )[0-9.e-]+": "the rate",
    r"(?<=the )[0-9]+(?= parameters)": "the number of parameters",
    r"(?<=over )[0-9]+(?= samples)": "the number of samples",
    r"(?<=and )[0-9]+(?= (outputs|classes))": "the number of outputs",
    r"(?<=at most )[0-9]+(?= steps)": "the number of steps",
    r"(?<=loss of at most )[0-9.e-]+": "the target",
    r"(?<=floor )[0-9.e-]+": "the floor",
    r"(?<=weights \(sha256 )[0-9a-f]": "a digit of the weights' hash",
    r"(?<=inputs sha256 )[0-9a-f]": "a digit of the inputs' hash",
    r"(?<=targets sha256 )[0-9a-f]": "a digit of the targets' hash",
}


def _changed(form: str, seed: int, change: Change) -> tuple[bytes, bytes]:
    draft = genuine(form, "mean", seed)
    tree = draft.tree()
    return canonical(change(tree) or tree), draft.blob()


def _claim(words: Callable[[str], str]) -> Change:
    def change(tree: dict[str, Any]) -> None:
        said = words(tree["claim"])
        if said == tree["claim"]:
            raise ValueError("the sentence has not changed")
        tree["claim"] = said

    return change


def _set(**fields: Any) -> Change:
    return lambda tree: tree.update(fields)


def _nudge(match: re.Match[str]) -> str:
    """The same number with another last digit."""
    text = match.group()
    return text[:-1] + ("1" if text[-1] != "1" else "2")


def _homes(pattern: str, literal: bool) -> list[str]:
    said = {form: genuine(form).tree()["claim"] for form in FORMS}
    return [form for form, text in said.items()
            if (pattern in text if literal else re.search(pattern, text))]  # fmt: skip


def sentences(seed: int) -> Group:
    """Each phrase once, in the first form that says it; and phrases of one form in another."""
    group = Group("sentences", {form: partial(genuine, form, "mean", seed) for form in FORMS})
    for name, (old, new) in PHRASES.items():
        form = _homes(old, literal=True)[0]
        change = _claim(lambda text, old=old, new=new: text.replace(old, new, 1))  # type: ignore[misc]
        group.add(f"phrase: {name}", partial(_changed, form, seed, change), UNFIT)
    for pattern, name in NUMBERS.items():
        form = _homes(pattern, literal=False)[0]
        change = _claim(lambda text, pattern=pattern: re.sub(pattern, _nudge, text, count=1))  # type: ignore[misc]
        group.add(f"number: {name}", partial(_changed, form, seed, change), UNFIT)
    group.add("empty", partial(_changed, "T11", seed, _set(claim="")), UNFIT)
    for one in FORMS:
        for other in FORMS:
            if one != other and (one, other) not in (("T11", "T4"), ("T4", "T11")):
                said = genuine(other, "mean", seed).tree()["claim"]
                group.add(f"the sentence of {other} under {one}",
                          partial(_changed, one, seed, _set(claim=said)), UNFIT)  # fmt: skip
    _labels(group, seed)
    _relabelled(group, seed)
    return group


def _labels(group: Group, seed: int) -> None:
    for name, value in {
        "0": 0, "3": 3, "-1": -1, "true": True, "1.0": 1.0, "text": "1", "null": None, "list": [1],
        "2^64 + 1": 2**64 + 1,
    }.items():  # fmt: skip
        group.add(f"format {name}", partial(_changed, "T11", seed, _set(format=value)),
                  "^'format' must be the integer 1 or 2")  # fmt: skip
    # A chain that calls itself a graph is read as one.
    group.add("format 2", partial(_changed, "T11", seed, _set(format=2)),
              "^'model' must be an object")  # fmt: skip
    real, run = SEMANTICS, FLOAT64_DESCENT
    for form in FORMS:
        wrong = {
            "of the other arithmetic": real if form == "T9" else run, "empty": "",
            "with a space more": (run if form == "T9" else real) + " ", "null": None,
        }  # fmt: skip
        for name, value in wrong.items():
            if form in ("T9", "T11") or name == "of the other arithmetic":
                group.add(f"{form}: semantics {name}",
                          partial(_changed, form, seed, _set(semantics=value)),
                          "^'semantics' is not that of ")  # fmt: skip
    first, second = ASSUMED_OF_THE_RUN
    weaker = {
        "none": [], "first only": [first], "second only": [second], "reversed": [second, first],
        "one twice": [first, first], "a third": [first, second, "the sun shines"],
        "in one text": f"{first}; {second}", "weakened": [first.replace("-50", "-49"), second],
        "null": None,
    }  # fmt: skip
    for name, assumed in weaker.items():
        group.add(f"T9: assumptions {name}",
                  partial(_changed, "T9", seed, _set(assumptions=assumed)),
                  "^'assumptions' must be ")  # fmt: skip
    for name, assumed in {"one": ["the run is exact"], "those of T9": [first, second],
                          "an object": {}, "null": None}.items():  # fmt: skip
        group.add(f"T11: assumptions {name}",
                  partial(_changed, "T11", seed, _set(assumptions=assumed)),
                  "^'assumptions' must be ")  # fmt: skip
    for value in ("T12", "t11", "T11 ", "", "T1", None, 11, ["T11"]):
        group.add(f"theorem {value!r}", partial(_changed, "T11", seed, _set(theorem=value)),
                  "^'theorem' must be one of ")  # fmt: skip


def _relabelled(group: Group, seed: int) -> None:
    """The name of a theorem alone; and with the claims and sentence of its form."""
    names = {form: form.removeprefix("entropy ") for form in FORMS}
    for form in FORMS:
        for name in sorted({*names.values()} - {names[form]}):
            group.add(f"{form} called {name}", partial(_changed, form, seed, _set(theorem=name)),
                      "must be one of|(unknown|missing) key|^'semantics' is not|^'assumptions'",
                      )  # fmt: skip
    completed: list[tuple[str, str, dict[str, float], str]] = [
        ("T11", "T4", {"epsilon": 0.5}, r"\(1 - epsilon\) int_0\^radius s"),
        ("T11", "T4", {"epsilon": 1e-300}, "eta M <= 2 epsilon"),
        ("T7", "T11", {}, "int_0\\^radius s >= residual_norm_upper$"),
        ("T7", "T4", {"epsilon": 0.5}, r"\(1 - epsilon\) int_0\^radius s"),
        ("T9", "T7", {"target_loss": 1e-30, "overshoot_radius": 1.0, "steps_upper": 1.0},
         "listed radii|steps_upper is large enough"),
    ]  # fmt: skip
    for form, name, extra, reason in completed:
        group.add(f"{form} as {name} with {extra or 'nothing more'}",
                  partial(_posing, form, name, extra, seed), reason)  # fmt: skip
    group.add("T4 for a smoothed entropy without smoothing", partial(_smoothing, "entropy T4", 0.0),
              "label_smoothing > 0")  # fmt: skip
    group.add("T13 with smoothed labels", partial(_smoothing, "entropy T13", 0.125),
              "label_smoothing = 0|initial_")  # fmt: skip
    for name, smoothing in {"a hair less": 0.125 * (1 - 1e-9), "a hair more": 0.125 * (1 + 1e-6),
                            "half": 0.0625, "one": 1.0}.items():  # fmt: skip
        group.add(f"label smoothing {name}", partial(_smoothing, "entropy T4", smoothing),
                  "disproved: initial_gap_upper|pl_lower|do not satisfy")  # fmt: skip


def _posing(form: str, name: str, extra: dict[str, float], seed: int) -> Draft:
    """A file of one theorem whose every word is that of another."""
    draft = genuine(form, "mean", seed)
    kept = {"residual_norm_upper", "sigma_min_lower", "jacobian_norm_upper", "halving_steps",
            "jacobian_lipschitz_upper", "radius", "step_size", "rate",
            "one_minus_rate"}  # fmt: skip
    poser = Draft(draft.problem, name, draft.scaling)
    poser.claims = {key: value for key, value in draft.claims.items() if key in kept} | extra
    return poser


def _smoothing(form: str, smoothing: float) -> Draft:
    draft = genuine(form)
    assert isinstance(draft, EntropyDraft)
    draft.smoothing = smoothing
    return draft
