"""How much is held at once: samples in parts, and numbers that are counted before they are made."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from tests.soundness.mutation.cases_graph_numbers import network, page_of
from tests.soundness.mutation.comparison import bound, instead
from tests.soundness.mutation.graph_models import broad
from tests.soundness.mutation.graph_numbers import (
    COLUMN_DIRECTIONS,
    COLUMNS,
    DIRECTIONS,
    FORMED,
    ORDER,
    ROW_DIRECTIONS,
    Page,
)  # fmt: skip
from tests.soundness.mutation.materials import matrix_of
from tests.soundness.mutation.registry import Checker, add, case, demand, precision, refused


def _parts(name: str, checker: Checker) -> None:
    """The same numbers where only some samples are held at a time."""
    at = page_of(name)
    page: Page = at.start
    with precision():
        net = network(checker, at)
        for _ in page.limits(checker.graph_pairs):
            for chunk in (1, 3000, 200000):
                with (
                    instead(checker.graph_forms, CHUNK=chunk),
                    instead(checker.graph_start, CHUNK=chunk),
                ):
                    start = checker.graph_start.Start(net)
                for key, wanted in page.maps.items():
                    by = start.maps.by_weight if page.by_weight(key[0]) else start.maps.by_value
                    found = np.asarray(by[key], dtype=object)
                    bound(checker, found, wanted, f"map {key}", 1e-5, 1e-5, 1e-7)
                for key, found in start.omega.items():
                    bound(checker, found, page.omega[key], f"omega {key}", 1e-6, 1e-9)
                for key, found in start.nu.items():
                    bound(checker, found, page.nu[key], f"nu {key}", 1e-6, 1e-7)


for _name in ("pictures", "images", "words", "residual", "attention"):
    add(f"graph, samples in parts: {_name}", partial(_parts, _name))


@case
def limits_of_graphs(checker: Checker) -> None:
    """How many numbers are held, and which maps are formed, as the page says."""
    module, incomplete = checker.graph, checker.verdict.Incomplete
    demand(module.BALLS == 50_000_000, module.BALLS)
    demand(checker.graph_forms.CHUNK == checker.graph_start.CHUNK == 2_000_000, "chunks")
    demand(checker.graph_norms.FRACTION == 65536, "parts of a unit")
    pairs = checker.graph_pairs
    demand((pairs.FORMED, pairs.DIRECTIONS) == (FORMED, DIRECTIONS), "limits")
    rows = checker.graph_rows
    demand((rows.DIRECTIONS, rows.COLUMNS) == (ROW_DIRECTIONS, COLUMNS), "limits of rows")
    demand(pairs.COLUMNS == COLUMNS, "columns")
    columns = checker.graph_columns
    demand((columns.DIRECTIONS, columns.ORDER) == (COLUMN_DIRECTIONS, ORDER), "limits of columns")
    demand(pairs.ORDER == ORDER, "order")
    module.bounded(50_000_000)
    words = "this checker handles at most 50000000 numbers at once"
    refused(lambda: module.bounded(50_000_001), incomplete, words)


def _held(name: str, checker: Checker) -> None:
    for _ in page_of(name).start.limits(checker.graph_pairs):
        for wanted, counted in _work(checker, name):
            demand(counted == wanted, f"{counted}, not {wanted}")


for _name in ("pictures", "images", "words", "tokens", "scenes", "two_gates", "tied", "grouped",
              "long_rows"):  # fmt: skip
    add(f"graph, work: {_name}", partial(_held, _name))


@case
def squares_of_many_numbers(checker: Checker) -> None:
    """A sum of squares over 1024 directions is refused by its own size, before it is made."""
    counted: list[int] = []

    def refuse(count: int) -> None:
        counted.append(count)
        raise ArithmeticError

    at = SimpleNamespace(model=broad(), counts=np.array([1]), frame=None)
    with precision(), instead(checker.graph_forms, bounded=refuse):
        net = network(checker, at)
        refused(lambda: checker.graph_start.Start(net), ArithmeticError, "")
    demand(counted == [1024**2], counted)


def _work(checker: Checker, name: str) -> list[tuple[Any, Any]]:
    """What should be counted, and what is."""
    at = page_of(name)
    page: Page = at.start
    counted: dict[str, list[int]] = {"graph": [], "graph_forms": [], "graph_start": []}
    with precision():
        with instead(checker.graph, bounded=counted["graph"].append):
            net = network(checker, at)
        with (
            instead(checker.graph_forms, bounded=counted["graph_forms"].append),
            instead(checker.graph_start, bounded=counted["graph_start"].append),
        ):
            checker.graph_start.Start(net)
    dense, n, k = page.net, page.n, page.k
    size, work = dense.size, [0, *(kind.work for kind in net.graph.kinds)]
    indices = range(1, dense.last + 1)
    first = [n * sum(size(t) * (1 + k) + work[t] for t in indices),
             n * len(dense.at) * (dense.last + 1)]  # fmt: skip
    uses: dict[str, list[int]] = {}
    for t in dense.at:
        for trained in dense.trains[t].values():
            uses.setdefault(trained, []).append(t)
    for trained, readers in uses.items():
        alone = all(len(uses[x]) == 1 for x in dense.trains[readers[0]].values())
        flat = dense.values[readers[0]].ndim == 2 and dense.items[readers[0]]["kind"] == "linear"
        if not (alone and flat):
            first.append(n * k * page.model.weights[trained].size)
    result = [(first, counted["graph"])]
    largest = max(size(t) + work[t] for t in indices)
    forms = []
    for a in dense.at:
        ends = sorted(two for one, two in page.maps if one == a)
        if not ends:
            continue
        numbers_of, columns = dense.e[a].shape[2], page.columns(a)
        kept = {dense.reads[b][0] for b in ends if page.multiplied(a, b)}
        kept |= {e for c in page.curved if c in dense.reached[a] for e in dense.reads[c]}
        cost = columns * k * (sum(map(size, kept)) + sum(map(size, ends)) + largest)
        forms.append(max(cost, columns**2, numbers_of**2 * page.by_weight(a)))
        for b in ends:
            if page.columned(a, b):
                o, c = matrix_of(dense, b).shape
                forms.append(columns * k * o * min(c, COLUMN_DIRECTIONS, ORDER // o))
            if page.multiplied(a, b):
                forms += n * [size(dense.reads[b][0]) ** 2]
    result.append((sorted(forms), sorted(counted["graph_forms"])))
    omega, nu = page.products()
    if omega or nu:
        held = {dense.reads[b][0] for b, _ in omega}
        held |= {e for _, chosen in nu for c in chosen for e in dense.reads[c]}
        cost = sum(
            size(a) * (
                sum(size(e) for e in held if e in dense.reached[a])
                + max(size(t) + work[t] for t in dense.reached[a])
            )
            for a in {a for _, a in omega} | {a for a, _ in nu}
        )  # fmt: skip
        result.append((cost, counted["graph_start"][0]))
        demand(set(counted["graph_start"][1:]) <= {size(e) ** 2 for e in held}, "Phi")
    else:
        result.append(([], counted["graph_start"]))
    return result
