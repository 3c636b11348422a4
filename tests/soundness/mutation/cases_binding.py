"""What a file is bound to, in which order it is asked, and how much of an answer is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from flint import arb
from tests.soundness.mutation.cases_files import CONFIRMED, PATHS, judge
from tests.soundness.mutation.comparison import instead
from tests.soundness.mutation.materials import drafts
from tests.soundness.mutation.registry import Checker, case, demand, precision, refused


@case
def hashes_bind(checker: Checker) -> None:
    """Another hash, smaller or larger than the true one, and the sentence that goes with it."""
    for key, words in (("weights", "the stored weights do not have the stated sha256"),
                       ("inputs", "the inputs do not have the stated sha256"),
                       ("targets", "the targets do not have the stated sha256")):  # fmt: skip
        for digit in "0f":
            found = judge(checker, PATHS[f"hash {key} {digit}"], "invalid", words, exact=True)
            demand(digit * 64 in found.claim, "the claim names the hash")


@case
def sentences_bind(checker: Checker) -> None:
    words = "the stated claim is not the sentence that the fields give"
    found = judge(checker, PATHS["sentence"], "invalid", words, exact=True)
    demand(found.claim is None, "a sentence that does not follow is not repeated")


@case
def the_size_is_limited(checker: Checker) -> None:
    """Residual entries after merging: three rows of two outputs."""
    limits = checker.grades.ARB_LIMIT, checker.grades.FLOAT64_LIMIT
    demand(limits == (10_000, 40_000), "as the guide says")
    try:
        checker.grades.ARB_LIMIT = 6
        judge(checker, PATHS["wide"], "valid", CONFIRMED, exact=True)
        checker.grades.ARB_LIMIT = checker.grades.FLOAT64_LIMIT = 5
        words = "the grade float64 of this checker takes at most 5 residual entries"
        judge(checker, PATHS["wide"], "incomplete", words, exact=True)
        checker.grades.ARB_LIMIT, checker.grades.FLOAT64_LIMIT = 5, 6
        for asked, verdict, grade in (("auto", "valid", "float64"), ("arb", "incomplete", "arb"),
                                      ("float64", "valid", "float64")):  # fmt: skip
            found = checker.check.check(PATHS["wide"], None, asked)
            demand((found.verdict, found.grade) == (verdict, grade), found)
            demand(("float64-verified" in found.reason) == (verdict == "valid"), found)
        checker.grades.ARB_LIMIT, checker.grades.FLOAT64_LIMIT = 6, 5
        found = checker.check.check(PATHS["wide"], None, "float64")
        words = "the grade float64 of this checker takes at most 5 residual entries"
        demand((found.verdict, found.reason) == ("incomplete", words), found)
        demand(found.grade == "float64", found)
    finally:
        checker.grades.ARB_LIMIT, checker.grades.FLOAT64_LIMIT = limits


@case
def the_grade_is_named(checker: Checker) -> None:
    """Also where a check ends early, once the size of the problem was known."""
    for name, grade in (("plain", "arb"), ("nonsense", None), ("lie", None)):
        if name in PATHS:
            demand(checker.check.check(PATHS[name]).grade == grade, name)
    demand(checker.check.check(PATHS["T9 two doubts"]).grade == "arb", "a doubt")
    found = checker.check.check(PATHS["plain"], None, "float64")
    demand(found.grade == "float64" and found.verdict == "valid", found)
    words = ("every claim is confirmed, float64-verified: linear algebra in binary64 with rounding "
             "bounds, assuming IEEE 754 binary64 rounding to nearest and products that are sums of "
             "products in some order")  # fmt: skip
    demand(found.reason == words, found.reason)


@case
def grades_by_size(checker: Checker) -> None:
    """At the limits, and what may be asked for."""
    module, incomplete = checker.grades, checker.verdict.Incomplete
    demand(module.CHOICES == ("auto", "arb", "float64"), module.CHOICES)
    demand(module.Grade().asked == "auto" and module.Grade().name is None, "the default")
    for asked, entries, name in (
        ("auto", 10_000, "arb"), ("auto", 10_001, "float64"), ("auto", 40_000, "float64"),
        ("arb", 10_000, "arb"), ("float64", 1, "float64"), ("float64", 40_000, "float64"),
    ):  # fmt: skip
        grade = module.Grade(asked)
        demand(grade.choose(entries) == name and grade.name == name, (asked, entries, grade))
    for asked, entries, name, limit in (
        ("auto", 40_001, "float64", 40_000), ("arb", 10_001, "arb", 10_000),
        ("float64", 40_001, "float64", 40_000),
    ):  # fmt: skip
        words = f"the grade {name} of this checker takes at most {limit} residual entries"
        refused(lambda a=asked, n=entries: module.Grade(a).choose(n), incomplete, words)  # type: ignore[misc]


@case
def the_grade_decides_who_checks(checker: Checker) -> None:
    """What the grade float64 finds is the verdict, and nobody else is asked."""
    module, verdict = checker.check, checker.verdict
    asked: list[int] = []

    def refuse(certificate: Any, values: Any, distinct: Any) -> None:
        asked.append(len(distinct))
        raise verdict.Invalid("refused in binary64")

    with instead(module, require_float64=refuse):
        found = module.check(PATHS["plain"], None, "float64")
        demand((found.verdict, found.reason) == ("invalid", "refused in binary64"), found)
        demand(asked == [3] and found.grade == "float64", (asked, found))
        judge(checker, PATHS["plain"], "valid", CONFIRMED, exact=True)
        demand(asked == [3], "Arb checks alone")
    with instead(module, require_float64=lambda *given: None, network=None):
        found = module.check(PATHS["plain"], None, "float64")
        demand(found.verdict == "valid", "Arb is asked as well")


@case
def one_bound_is_enough(checker: Checker) -> None:
    """Of several Lipschitz constants any one that confirms a claim will do."""
    module = checker.check
    good, bad = (SimpleNamespace(upper=lambda radius, x=x: arb(x)) for x in (0, 1e300))
    for bounds, verdict in (
        ([good], "valid"), ([good, bad], "valid"), ([bad, good], "valid"), ([bad], "incomplete"),
        ([bad, bad], "incomplete"),
    ):  # fmt: skip
        with instead(module, jacobian_lipschitz=lambda net, b=bounds: b):
            found = module.check(PATHS["plain"])
            demand(found.verdict == verdict, (verdict, found))


@case
def memory_may_run_out(checker: Checker) -> None:
    def hungry(error: type[Exception], *arguments: Any) -> None:
        raise error

    kept = checker.check.bound
    try:
        for error in (MemoryError, RecursionError, np.linalg.LinAlgError):
            checker.check.bound = partial(hungry, error)
            words = f"{error.__name__}: the problem is too large or too extreme"
            found = judge(checker, PATHS["plain"], "incomplete", words, exact=True)
            demand(found.claim == drafts()["plain"].tree()["claim"], "the claim")
    finally:
        checker.check.bound = kept


@case
def doubts_are_collected(checker: Checker) -> None:
    """Those of the loss and of the rounding together; the costly one only without them."""
    words = "gradient_error_upper is not confirmed"
    judge(checker, PATHS["T9 two doubts"], "incomplete", words, exact=True)
    kept = checker.losses.Squared.doubts
    try:
        checker.losses.Squared.doubts = lambda *arguments: ["x"]
        judge(checker, PATHS["T9 two doubts"], "incomplete", f"x; {words}", exact=True)
    finally:
        checker.losses.Squared.doubts = kept
    found = checker.check.check(PATHS["many doubts"])
    demand(found.verdict == "incomplete" and len(found.reason) == 500, found.reason)


@case
def names_bind(checker: Checker) -> None:
    """Two arrays of the same size cannot trade their bytes."""
    words = "the stored weights do not have the stated sha256"
    judge(checker, PATHS["traded"], "invalid", words, exact=True)


@case
def given_data_fit(checker: Checker) -> None:
    """Data with the stated hash, but of another shape than the model or the counts."""
    stored = checker.file.StoredArray
    targets = drafts()["plain"].arrays["targets"]
    for rows, columns in ((2, 3), (4, 3), (3, 2), (3, 4), (3, 3)):
        path = PATHS[f"shape {rows} {columns}"]
        inputs = np.ones((rows, columns)) + np.arange(float(rows))[:, None]
        data = (stored("F64", (rows, columns), inputs.tobytes()),
                stored("F64", targets[2], targets[0]))  # fmt: skip
        found = checker.check.check(path, data)
        fits = (rows, columns) == (3, 3)
        words = "disproved" if fits else "the given data do not fit the model or 'counts'"
        demand(found.verdict == "invalid" and words in found.reason, found)
    found = checker.check.check(path)
    demand(found.verdict == "incomplete" and "unbound" in found.reason, found)


@case
def reasons_are_short(checker: Checker) -> None:
    """A hostile file may hold long names."""
    found = checker.check.check(PATHS["long name"])
    demand(len(found.reason) == 500, f"{len(found.reason)} characters")


@case
def residuals_to_the_last_bit(checker: Checker) -> None:
    with precision():
        _residuals_to_the_last_bit(checker)


def _residuals_to_the_last_bit(checker: Checker) -> None:
    """The next binary64 above the norm of the residual is confirmed, the one below is disproved."""
    problem = drafts()["linear"].problem
    losses, network = checker.losses, checker.network
    net = network.Network(
        network.stages_of(problem.operations, problem.weights),
        checker.arrays.exact(problem.inputs), np.array([1, 4, 1]),
    )  # fmt: skip
    weight = problem.weights["weights/0.weight"][0].tolist()
    bias = problem.weights["weights/0.bias"].tolist()[0]
    total = Fraction(0)
    targets = problem.targets + np.array([[1.0], [2.0], [-3.0]])
    for row, y, count in zip(problem.inputs.tolist(), targets[:, 0].tolist(), (1, 4, 1),
                             strict=True):  # fmt: skip
        value = sum((Fraction(a) * Fraction(b) for a, b in zip(row, weight, strict=True)),
                    Fraction(bias) - Fraction(y))  # fmt: skip
        total += count * value**2
    size = math.sqrt(total)
    above, below = size, size
    while Fraction(above) ** 2 < total:
        above = math.nextafter(above, math.inf)
    while Fraction(below) ** 2 >= total:
        below = math.nextafter(below, 0)
    loss = losses.loss({"kind": "squared", "scaling": "sum"}, {"samples": 3, "outputs": 1})
    doubts: Callable[..., list[str]] = loss.doubts
    demand(doubts(net, targets, {"residual_norm_upper": above}) == [], "a true claim is doubted")
    try:
        doubts(net, targets, {"residual_norm_upper": below})
    except checker.verdict.Invalid as error:
        demand("disproved" in str(error), "disproved by name")
    else:
        raise AssertionError("a false claim is not disproved")
