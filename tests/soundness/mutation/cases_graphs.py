"""Files of format 2, as far as the modules that chains use as well look at them."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
from tests.soundness.mutation import materials
from tests.soundness.mutation.materials import Build, GraphDraft, canonical
from tests.soundness.mutation.registry import Checker, case, demand

from talweg_check._forms import ASSUMED_OF_THE_RUN, FLOAT64_DESCENT

_PATHS: dict[str, str] = {}


@cache
def _drafts() -> dict[str, Any]:
    """A residual network, and one with a table and tokens of three axes."""
    b = Build(np.random.default_rng(0), [4])
    h = b.act(b.linear(0, 4, 8))
    b.linear(b.add("sum", [h, b.linear(h, 8, 8, gain=0.2)], signs=[1, 1]), 8, 1)
    found = {"residual": b.model(3, 1).polish(1e-6)}
    b = Build(np.random.default_rng(1), [1, 3])
    h = b.weighted("embedding", 0, (5, 4), gain=1.0)
    h = b.add("reshape", b.act(h, "softplus", beta=2.0, threshold=20.0), shape=[12])
    b.linear(b.add("scale", h, numerator=1.0, denominator=3.0), 12, 1)
    found["tokens"] = b.model(3, 1, b.rng.integers(0, 5, size=(3, 1, 3))).polish(1e-6)
    made: dict[str, Any] = {}
    for name, model in found.items():
        made[name] = GraphDraft(model)
        made[name].measure().conclude()
    return made


def _saved(name: str, of: str, **changes: Any) -> None:
    draft = _drafts()[of]
    tree = copy.deepcopy(draft.tree()) | changes
    _PATHS[name] = materials.bound(canonical(tree), draft.blob(), name)


def prepare() -> None:
    """The files."""
    for name, draft in _drafts().items():
        _PATHS[name] = str(draft.save(materials.folder() / f"graph {name}.talweg"))
    draft = _drafts()["tokens"]
    bare = materials.folder() / "graph bare.talweg"
    _PATHS["bare"] = str(draft.save(bare, leave_out=("inputs", "targets")))
    tree = draft.tree()
    wrong = tree["hashes"] | {"weights": "0" * 64}
    other = copy.copy(draft)
    raw, dtype, _ = draft.arrays["inputs"]
    other.arrays = draft.arrays | {"inputs": (raw, dtype, (3, 3))}
    flat = materials.folder() / "graph flat.talweg"
    _PATHS["flat"] = str(other.save(flat, leave_out=("inputs", "targets")))
    for axes in (16, 17):
        other.arrays = draft.arrays | {"more": (bytes(8), "F64", (1,) * axes)}
        path = materials.folder() / f"graph {axes}.talweg"
        _PATHS[f"{axes} axes"] = str(other.save(path))
    names = ("theta", "gradient_error_upper", "floor", "steps_upper")
    _saved(
        "T9", "residual", theorem="T9", semantics=FLOAT64_DESCENT,
        assumptions=list(ASSUMED_OF_THE_RUN),
        claims=_drafts()["residual"].tree()["claims"] | dict.fromkeys(names, (0.5).hex()),
    )  # fmt: skip
    _saved("hash", "tokens", hashes=wrong, claim=draft.sentence(wrong))
    _saved("sentence", "tokens", claim=tree["claim"].replace("embedding 5->4", "embedding 4->5"))
    _saved("model", "residual", model={"input_shape": [4]})
    _saved("format", "residual", format=3)
    _saved("chain", "tokens", format=1)


@case
def graphs(checker: Checker) -> None:
    for name in ("residual", "tokens"):
        found = checker.check.check(_PATHS[name])
        demand((found.verdict, found.reason) == ("valid", "every claim is confirmed"), found)
        demand(found.claim == _drafts()[name].tree()["claim"], found.claim)


@case
def graphs_that_do_not_hold(checker: Checker) -> None:
    for name, verdict, words in (
        ("bare", "incomplete", "unbound"), ("hash", "invalid", "the stored weights do not have"),
        ("sentence", "invalid", "the stated claim is not the sentence"),
        ("model", "invalid", "missing key 'operations'"),
        ("format", "invalid", "'format' must be the integer 1 or 2"),
        ("chain", "invalid", "must have one or two dimensions"),
        ("16 axes", "invalid", "array 'more' belongs to no operation"),
        ("17 axes", "invalid", "array 'more' must have 1 to 16 dimensions"),
        ("T9", "invalid", "T9 speaks of chains"),
    ):  # fmt: skip
        found = checker.check.check(_PATHS[name])
        demand(found.verdict == verdict and words in found.reason, (name, found))


@case
def data_of_graphs(checker: Checker) -> None:
    arrays = _drafts()["tokens"].arrays
    stored = checker.file.StoredArray
    inputs, targets = (
        stored(dtype, shape, raw) for raw, dtype, shape in (arrays["inputs"], arrays["targets"])
    )
    found = checker.check.check(_PATHS["bare"], (inputs, targets))
    demand(found.verdict == "valid", found)
    flat = stored("I64", (3, 3), inputs.raw)
    found = checker.check.check(_PATHS["flat"], (flat, targets))
    demand(found.verdict == "invalid" and "the inputs do not fit" in found.reason, found)
    other = stored("I64", inputs.shape, inputs.raw[8:] + inputs.raw[:8])
    found = checker.check.check(_PATHS["bare"], (other, targets))
    demand(found.verdict == "invalid" and "the inputs do not have" in found.reason, found)
