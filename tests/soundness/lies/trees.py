"""Faults in the structure of `certificate.json`: keys, types, numbers and the canonical form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from generator import canonical
from tests.soundness.lies.drafts import FORMS, genuine
from tests.soundness.lies.planted import Group

Tree = dict[str, Any]
NOT_JSON, NOT_CANONICAL = (
    "^certificate.json is not JSON",
    "^certificate.json is not in canonical form",
)
PLACES: dict[str, Callable[[Tree], Any]] = {
    "the top": lambda t: t, "claims": lambda t: t["claims"], "counts": lambda t: t["counts"],
    "hashes": lambda t: t["hashes"], "loss": lambda t: t["loss"],
    "a linear operation": lambda t: t["model"][0], "an activation": lambda t: t["model"][1],
    "parameters": lambda t: t["model"][1]["parameters"],
}  # fmt: skip
SPELLINGS: dict[str, Any] = {
    "nan": "nan", "NaN": "NaN", "inf": "inf", "-inf": "-inf", "infinity": "infinity",
    "negative": "-0x1.8000000000000p-3", "negative zero": "-0x0.0p+0", "decimal": "0.001",
    "JSON float": 0.001, "JSON integer": 1, "true": True, "null": None, "empty": "",
    "list": ["0x1.8000000000000p-3"], "object": {}, "leading space": " 0x1.8000000000000p-3",
    "trailing newline": "0x1.8000000000000p-3\n", "plus": "+0x1.8000000000000p-3",
    "capitals": "0X1.8000000000000P-3", "short": "0x1.8p-3", "unnormalised": "0x3.0000000000000p-4",
    "without prefix": "1.8000000000000p-3", "too many digits": "0x1.80000000000000p-3",
    "overflow": "0x1.0p+1024", "underflow": "0x1.0000000000000p-1080", "a word": "small",
    "other digits": "\u0661", "underscore": "0x1_8p-3",
}  # fmt: skip
PROFILES: dict[str, tuple[Callable[[list[Any]], Any], str]] = {
    "empty": (lambda p: [], "list of pairs"), "an object": (lambda p: {}, "list of pairs"),
    "text": (lambda p: "0x1.0p+0", "list of pairs"),
    "a pair with one number": (lambda p: [[p[0][0]], *p[1:]], "list of pairs"),
    "a pair with three": (lambda p: [[*p[0], p[0][1]], *p[1:]], "list of pairs"),
    "radius zero": (lambda p: [["0x0.0p+0", p[0][1]], *p[1:]], "increasing radii"),
    "negative radius": (lambda p: [["-" + p[0][0], p[0][1]], *p[1:]], "increasing radii"),
    "negative beta": (lambda p: [[p[0][0], "-" + p[0][1]], *p[1:]], "nondecreasing betas"),
    "radii swapped": (lambda p: [p[1], p[0], *p[2:]], "increasing radii|nondecreasing"),
    "a radius twice": (lambda p: [p[0], p[0], *p[1:]], "increasing radii"),
    "betas that fall": (
        lambda p: [*p[:-1], [p[-1][0], (float.fromhex(p[0][1]) / 2).hex()]], "nondecreasing betas"),
    "a number bare": (lambda p: [float.fromhex(p[0][0]), *p[1:]], "list of pairs"),
}  # fmt: skip
OPERATIONS: dict[str, tuple[Callable[[list[Tree]], Any], str]] = {
    "no operations": (lambda o: [], "no linear operation"),
    "an object": (lambda o: {"0": o[0]}, "must be a list of operations"),
    "null": (lambda o: None, "must be a list of operations"),
    "a list inside": (lambda o: [o], "operation 0 must be an object"),
    "no kind": (lambda o: [{}, *o], "unknown kind None"),
    "unknown kind": (lambda o: [{**o[0], "kind": "conv"}, *o[1:]], "unknown kind 'conv'"),
    "kind is a list": (lambda o: [{**o[0], "kind": ["linear"]}, *o[1:]], "unknown kind"),
    "relu": (lambda o: [o[0], {**o[1], "function": "relu"}, o[2]], "unknown function 'relu'"),
    "function null": (lambda o: [o[0], {**o[1], "function": None}, o[2]], "unknown function None"),
    "function is a list": (lambda o: [o[0], {**o[1], "function": ["tanh"]}, o[2]], "unknown fun"),
    "slope 0": (lambda o: _leaky(o, "0x0.0p+0"), "outside its range"),
    "slope 1": (lambda o: _leaky(o, "0x1.0000000000000p+0"), "outside its range"),
    "slope negative": (lambda o: _leaky(o, "-0x1.0000000000000p-1"), "outside its range"),
    "softplus beta 0": (lambda o: _softplus(o, "0x0.0p+0"), "outside its range"),
    "softplus beta negative": (lambda o: _softplus(o, "-0x1.0000000000000p+0"), "outside its"),
    "denominator zero": (lambda o: [*o, _scale("0x0.0p+0")], "divides by zero"),
    "denominator minus zero": (lambda o: [*o, _scale("-0x0.0p+0")], "divides by zero"),
    "the weight of another layer": (
        lambda o: [{**o[0], "weight": "weights/2.weight"}, *o[1:]], "must name its weight"),
    "the inputs as weight": (lambda o: [{**o[0], "weight": "inputs"}, *o[1:]], "must name its w"),
    "the bias of another layer": (
        lambda o: [{**o[0], "bias": "weights/2.bias"}, *o[1:]], "must name its bias"),
    "weight null": (lambda o: [{**o[0], "weight": None}, *o[1:]], "must name its weight"),
    "trainable 1": (lambda o: [{**o[0], "weight_trainable": 1}, *o[1:]], "with booleans"),
    "trainable null": (lambda o: [{**o[0], "bias_trainable": None}, *o[1:]], "with booleans"),
    "trainable without bias": (lambda o: [{**o[0], "bias": None}, *o[1:]], "has no bias to train"),
    "bias denied": (
        lambda o: [{**o[0], "bias": None, "bias_trainable": False}, *o[1:]], "'counts' says"),
    "only activations": (lambda o: [o[1]], "no linear operation"),
    "the first layer twice": (lambda o: [o[0], *o], "must name its weight"),
}  # fmt: skip


def _leaky(operations: list[Tree], slope: str) -> list[Tree]:
    other = {"kind": "elementwise", "function": "smooth_leaky_relu", "parameters": {"slope": slope}}
    return [operations[0], other, operations[2]]


def _softplus(operations: list[Tree], beta: str) -> list[Tree]:
    parameters = {"beta": beta, "threshold": "0x1.4000000000000p+4"}
    other = {"kind": "elementwise", "function": "softplus", "parameters": parameters}
    return [operations[0], other, operations[2]]


def _scale(denominator: str) -> Tree:
    return {"kind": "scale", "numerator": "0x1.0000000000000p+0", "denominator": denominator}


def _tree(seed: int, change: Callable[[Tree], Any], form: str = "T11") -> tuple[bytes, bytes]:
    draft = genuine(form, "mean", seed)
    tree = copy.deepcopy(draft.tree())
    return canonical(change(tree) or tree), draft.blob()


def _text(seed: int, change: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    draft = genuine("T11", "mean", seed)
    text = canonical(draft.tree())
    spoilt = change(text)
    if spoilt == text:
        raise ValueError("the text has not changed")
    return spoilt, draft.blob()


def _put(place: Callable[[Tree], Any], key: str, value: Any) -> Callable[[Tree], None]:
    return lambda tree: place(tree).__setitem__(key, value)


def _twice(part: bytes) -> Callable[[bytes], bytes]:
    """A key once more, with the same value, right behind itself."""

    def change(text: bytes) -> bytes:
        return text.replace(part, part + b"," + part, 1)

    return change


CANONICAL: dict[str, Callable[[bytes], bytes]] = {
    "a space": lambda t: t.replace(b":", b": ", 1),
    "a leading newline": lambda t: b"\n" + t,
    "a trailing newline": lambda t: t + b"\n",
    "a tab": lambda t: t.replace(b",", b",\t", 1),
    "another order of keys": lambda t: t.replace(b'"kind":"squared","scaling":"mean"',
                                                 b'"scaling":"mean","kind":"squared"'),
    "an escaped letter": lambda t: t.replace(b'"T11"', b'"T1\\u0031"'),
    "an escaped slash": lambda t: t.replace(b"weights/0.weight", b"weights\\/0.weight", 1),
    "an upper-case escape": lambda t: t.replace(b'"a test"', b'"\\u00E9"'),
    "a letter that is not ASCII": lambda t: t.replace(b'"a test"', '"é"'.encode()),
    "a float in other notation": lambda t: t.replace(b'"a test"', b"1e2"),
    "a float with a zero more": lambda t: t.replace(b'"a test"', b"1.50"),
    "an integer as minus zero": lambda t: t.replace(b'"a test"', b"-0"),
    "a float that rounds": lambda t: t.replace(b'"a test"', b"0.1000000000000000055"),
    "an exponent in capitals": lambda t: t.replace(b'"a test"', b"1E+22"),
}  # fmt: skip
BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda t: b"", NOT_JSON),
    "cut in the middle": (lambda t: t[: len(t) // 2], NOT_JSON),
    "cut by one": (lambda t: t[:-1], NOT_JSON),
    "twice": (lambda t: t + t, NOT_JSON),
    "a trailing comma": (lambda t: t[:-1] + b",}", NOT_JSON),
    "single quotes": (lambda t: t.replace(b'"', b"'"), NOT_JSON),
    "a comment": (lambda t: b"/* */" + t, NOT_JSON),
    "byte order mark": (lambda t: b"\xef\xbb\xbf" + t, NOT_JSON),
    "UTF-16": (lambda t: t.decode().encode("utf-16"), NOT_JSON),
    "Latin-1": (lambda t: t.replace(b"a test", b"caf\xe9"), NOT_JSON),
    "overlong UTF-8": (lambda t: t.replace(b"a test", b"\xc0\x80"), NOT_JSON),
    "a zero byte": (lambda t: t.replace(b"a test", b"a\0test"), NOT_JSON),
    "leading zero": (lambda t: t.replace(b'"format":1', b'"format":01'), NOT_JSON),
    "hex number": (lambda t: t.replace(b'"format":1', b'"format":0x1'), NOT_JSON),
    "plus sign": (lambda t: t.replace(b'"format":1', b'"format":+1'), NOT_JSON),
    "deep lists": (lambda t: b"[" * 500_000 + b"]" * 500_000, NOT_JSON),
    "deep objects in hints": (
        lambda t: t.replace(b'"hints":{}', b'"hints":' + b'{"a":' * 90_000 + b"1" + b"}" * 90_000),
        f"{NOT_JSON}|cannot be encoded again"),
    "a number of 10,000 digits": (lambda t: t.replace(b'"a test"', b"1" * 10_000), NOT_JSON),
    "NaN": (lambda t: t.replace(b'"a test"', b"NaN"), "^NaN is not a permitted number"),
    "Infinity": (lambda t: t.replace(b'"a test"', b"Infinity"), "^Infinity is not a permitted"),
    "-Infinity": (lambda t: t.replace(b'"a test"', b"-Infinity"), "^-Infinity is not a permitted"),
    "1e999": (lambda t: t.replace(b'"a test"', b"1e999"), "cannot be encoded again"),
    "a list": (lambda t: b"[]", "certificate.json must be an object"),
    "text": (lambda t: b'"valid"', "certificate.json must be an object"),
    "null": (lambda t: b"null", "certificate.json must be an object"),
    "a lone surrogate under the claim": (
        lambda t: t.replace(b'"Gradient', b'"\\ud800Gradient'), "is not the sentence"),
}  # fmt: skip
DUPLICATES = {
    "the top": b'"format":1', "claims": None, "counts": b'"outputs":1', "loss": b'"kind":"squared"',
    "an operation": b'"kind":"linear"', "an activation": b'"function":"tanh"',
    "provenance": b'"made_by":"a test"',
}  # fmt: skip


def trees(seed: int) -> Group:
    """Keys at every level, numbers in every spelling, and texts that are no canonical JSON."""
    group = Group("trees", {form: partial(genuine, form, "mean", seed) for form in FORMS})

    def add(name: str, change: Callable[[Tree], Any], reason: str, form: str = "T11") -> None:
        group.add(name, partial(_tree, seed, change, form), reason)

    sample = genuine("T11", "mean", 0).tree()
    for where, place in PLACES.items():
        add(f"unknown key in {where}", _put(place, "surprise", 0), "^unknown key 'surprise' in ")
        add(f"empty key in {where}", _put(place, "", 0), "^unknown key '' in ")
        for key in place(sample):
            reason = f"^missing key '{key}' in "
            if (where, key) in (("an activation", "kind"), ("a linear operation", "kind")):
                reason = "unknown kind None"
            add(f"no {key} in {where}", lambda t, p=place, k=key: p(t).pop(k) and None, reason)
    for where in ("claims", "counts", "hashes", "loss", "hints", "provenance"):
        for value in ([], None, "x", 1):
            add(f"{where} is {value!r}", _put(PLACES["the top"], where, value), "must be an object")
    for form in FORMS:
        keys = set(genuine(form).claims)
        for key in sorted(keys - {"jacobian_lipschitz_upper"}):
            add(f"{form}: {key} is nan", _put(lambda t: t["claims"], key, "nan"), key, form)
            add(
                f"{form}: {key} is negative",
                _put(lambda t: t["claims"], key, "-0x1.0000000000000p-3"),
                key,
                form,
            )
        for key in sorted({"epsilon", "theta", "floor", "target_loss", "pl_lower"} - keys)[:2]:
            add(
                f"{form}: {key} too much",
                _put(lambda t: t["claims"], key, "0x1.0000000000000p-1"),
                "^unknown key ",
                form,
            )
    for name, spelling in SPELLINGS.items():
        add(
            f"a number as {name}",
            _put(lambda t: t["claims"], "radius", spelling),
            "'claims.radius' must be ",
        )
    for name, (change, reason) in PROFILES.items():
        add(
            f"profile: {name}",
            lambda t, c=change: t["claims"].update(
                jacobian_lipschitz_upper=c(t["claims"]["jacobian_lipschitz_upper"])
            ),
            reason,
        )
    for name, (build, reason) in OPERATIONS.items():
        add(f"model: {name}", lambda t, b=build: t.update(model=b(t["model"])), reason)
    for key, values in {
        "samples": (0, -1, 6.0, True, "6", None, 2**64), "outputs": (0, 1.0, False, 2**70),
        "parameters": (0, -5, 10**30, [61]),
    }.items():  # fmt: skip
        for count in values:
            add(
                f"counts.{key} is {count!r}",
                _put(lambda t: t["counts"], key, count),
                f"'counts.{key}' must be|'counts' says|another number of rows",
            )
    for key in ("weights", "inputs", "targets"):
        digest = sample["hashes"][key]
        wrong = {
            "short": digest[:-1],
            "long": digest + "0",
            "capitals": digest.upper(),
            "other letters": "g" * 64,
            "null": None,
            "a number": int(digest, 16),
        }
        for name, value in wrong.items():
            add(
                f"hashes.{key} {name}",
                _put(lambda t: t["hashes"], key, value),
                "must be 64 lower-case hex digits",
            )
        add(
            f"hashes.{key} of zeros", _put(lambda t: t["hashes"], key, "0" * 64), "not the sentence"
        )
    for name, spoil in CANONICAL.items():
        group.add(f"text: {name}", partial(_text, seed, spoil), NOT_CANONICAL)
    for name, (spoil, reason) in BROKEN.items():
        group.add(f"text: {name}", partial(_text, seed, spoil), reason)
    for name, part in DUPLICATES.items():
        found = (
            part or canonical({"r": sample["claims"]["radius"]}).replace(b'"r"', b'"radius"')[1:-1]
        )
        if part is None:
            found = f'"radius":"{genuine("T11", "mean", seed).tree()["claims"]["radius"]}"'.encode()
        group.add(
            f"duplicate key in {name}", partial(_text, seed, _twice(found)), "^duplicate key "
        )
    return group
