"""What a certificate may say: the closed grammar of `certificate.json` and of its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from talweg_check._entrywise import entrywise
from talweg_check._file import StoredArray, as_object, is_count, number
from talweg_check._forms import FORMS, MAY_BE_ZERO, Form
from talweg_check._graph_grammar import Graph, graph
from talweg_check._losses import Loss, loss
from talweg_check._verdict import Invalid


@dataclass(frozen=True)
class Certificate:
    """What the file says; checked for form, not yet for truth."""

    theorem: str
    sentence: str
    operations: list[dict[str, Any]]
    loss: Loss
    hashes: dict[str, str]
    claims: dict[str, float]
    profile: list[tuple[float, float]]
    counts: dict[str, int]
    arrays: dict[str, StoredArray]
    graph: Graph | None = None  # of format 2, which has no list of operations


def certificate(tree: Any, arrays: dict[str, StoredArray]) -> Certificate:
    """The certificate that a JSON tree and arrays make; raises Invalid where they do not."""
    top = as_object(
        tree,
        ("format", "theorem", "semantics", "claim", "model", "loss", "hashes", "claims",
         "counts", "assumptions", "hints", "provenance"),
        "certificate.json",
    )  # fmt: skip
    if not is_count(top["format"]) or top["format"] not in (1, 2):
        raise Invalid("'format' must be the integer 1 or 2")
    if not isinstance(top["claim"], str):
        raise Invalid("'claim' must be a string")
    as_object(top["hints"], None, "'hints'")
    as_object(top["provenance"], None, "'provenance'")

    hashes = as_object(top["hashes"], ("weights", "inputs", "targets"), "'hashes'")
    for key, value in hashes.items():
        if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
            raise Invalid(f"'hashes.{key}' must be 64 lower-case hex digits")

    counts = as_object(top["counts"], ("samples", "outputs", "parameters"), "'counts'")
    for key, value in counts.items():
        if not is_count(value) or value < 1:
            raise Invalid(f"'counts.{key}' must be a positive integer")

    stated_loss = loss(top["loss"], counts)
    form = _form(top, stated_loss.kind)
    stated = as_object(top["claims"], (*form.claims, "jacobian_lipschitz_upper"), "'claims'")
    claims = {name: _claim(stated, name) for name in form.claims}

    operations, network = [], None
    if top["format"] == 1:
        operations = _operations(top["model"])
        _match(operations, arrays, counts)
    elif top["theorem"] == "T9":
        raise Invalid("T9 speaks of chains, which have format 1")
    else:
        network = graph(top["model"], arrays, counts)
    if "targets" in arrays:
        stated_loss.targets(arrays["targets"], counts)
    return Certificate(
        top["theorem"], top["claim"], operations, stated_loss, hashes, claims,
        _profile(stated["jacobian_lipschitz_upper"]), counts, arrays, network,
    )  # fmt: skip


def _form(top: dict[str, Any], kind: str) -> Form:
    """The form for this theorem and kind of loss, whose semantics and assumptions are stated."""
    theorem = top["theorem"]
    names = [name for of, name in FORMS if of == kind]
    if not isinstance(theorem, str) or theorem not in names:
        raise Invalid(f"'theorem' must be one of {', '.join(names)} for a {kind} loss")
    form = FORMS[kind, theorem]
    if top["semantics"] != form.semantics:
        raise Invalid(f"'semantics' is not that of {theorem} in format {top['format']}")
    if top["assumptions"] != list(form.assumptions):
        raise Invalid(f"'assumptions' must be {list(form.assumptions)} for {theorem}")
    return form


def _claim(stated: dict[str, Any], name: str) -> float:
    """One stated number, positive but for those that may be zero."""
    value = number(stated[name], f"'claims.{name}'")
    if value < 0 or (value == 0 and name not in MAY_BE_ZERO):
        raise Invalid(f"'claims.{name}' must be positive")
    return value


def _profile(value: Any) -> list[tuple[float, float]]:
    where = "'claims.jacobian_lipschitz_upper'"
    if not isinstance(value, list) or not value:
        raise Invalid(f"{where} must be a list of pairs")
    pairs: list[tuple[float, float]] = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Invalid(f"{where} must be a list of pairs")
        radius, beta = (number(value, where) for value in pair)
        before = pairs[-1] if pairs else (0.0, 0.0)
        if not (radius > before[0] and beta >= before[1]):
            raise Invalid(f"{where} must have increasing radii and nondecreasing betas")
        pairs.append((radius, beta))
    return pairs


def _operations(value: Any) -> list[dict[str, Any]]:
    """The chain, with numbers read; every linear layer names the arrays of its own index."""
    if not isinstance(value, list):
        raise Invalid("'model' must be a list of operations")
    operations: list[dict[str, Any]] = []
    for index, item in enumerate(value):
        where = f"operation {index}"
        kind = as_object(item, None, where).get("kind")
        if kind == "linear":
            keys = ("kind", "weight", "bias", "weight_trainable", "bias_trainable")
            item = as_object(item, keys, where)
            if item["weight"] != f"weights/{index}.weight":
                raise Invalid(f"{where} must name its weight 'weights/{index}.weight'")
            if item["bias"] not in (None, f"weights/{index}.bias"):
                raise Invalid(f"{where} must name its bias 'weights/{index}.bias', or null")
            if not all(isinstance(item[key], bool) for key in keys[3:]):
                raise Invalid(f"{where} must say with booleans what is trainable")
            if item["bias"] is None and item["bias_trainable"]:
                raise Invalid(f"{where} has no bias to train")
        elif kind in ("elementwise", "scale"):
            item = entrywise(item, where)
        else:
            raise Invalid(f"{where} has the unknown kind {kind!r}")
        operations.append(item)
    return operations


def _match(
    operations: list[dict[str, Any]], arrays: dict[str, StoredArray], counts: dict[str, int]
) -> None:
    """The arrays are those the operations name, with shapes that fit, and nothing else."""
    expected: set[str] = set()
    width, parameters = None, 0
    for operation in (item for item in operations if item["kind"] == "linear"):
        name = operation["weight"]
        if name not in arrays or len(arrays[name].shape) != 2:
            raise Invalid(f"array {name!r} is missing or is not a matrix")
        shape = arrays[name].shape
        if width is not None and shape[1] != width:
            raise Invalid(f"array {name!r} takes {shape[1]} values, but {width} come in")
        if width is None and "inputs" in arrays and arrays["inputs"].shape[1:] != shape[1:]:
            raise Invalid("the inputs do not fit the first layer")
        expected.add(name)
        width = shape[0]
        parameters += shape[0] * shape[1] * operation["weight_trainable"]
        if operation["bias"] is not None:
            if operation["bias"] not in arrays or arrays[operation["bias"]].shape != (width,):
                raise Invalid(f"array {operation['bias']!r} is missing or has the wrong shape")
            expected.add(operation["bias"])
            parameters += width * operation["bias_trainable"]
    if width is None:
        raise Invalid("the model has no linear operation")
    if width != counts["outputs"] or parameters != counts["parameters"]:
        raise Invalid(f"the model has {width} outputs and {parameters} trainable parameters, "
                      "'counts' says otherwise")  # fmt: skip
    data = {"inputs", "targets"} & set(arrays)
    if len(data) == 1:
        raise Invalid("inputs and targets must both be stored, or both be left out")
    if data and arrays["inputs"].shape[0] != counts["samples"]:
        raise Invalid("the stored inputs have another number of rows than 'counts' says")
    for name in arrays:
        if name not in expected | data:
            raise Invalid(f"array {name!r} belongs to no operation")
