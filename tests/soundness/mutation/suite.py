"""Brings the cases together and makes what they need, once per process."""

from __future__ import annotations

import importlib

from tests.soundness.mutation import (
    cases_activations,
    cases_algebra,
    cases_arrays,
    cases_binding,
    cases_chain,
    cases_cli,
    cases_entropy,
    cases_files,
    cases_format,
    cases_grammar,
    cases_graph_grammar,
    cases_graph_norms,
    cases_graph_numbers,
    cases_graph_pairs,
    cases_graph_products,
    cases_graph_work,
    cases_graphs,
    cases_html,
    cases_kinds,
    cases_kinds_refusals,
    cases_network,
    cases_rounding,
    cases_rules,
)
from tests.soundness.mutation.mutants import PACKAGE

MODULES = (
    cases_rules, cases_entropy, cases_files, cases_binding, cases_grammar, cases_format,
    cases_arrays, cases_cli, cases_algebra, cases_activations, cases_network, cases_rounding,
    cases_graphs, cases_kinds, cases_kinds_refusals, cases_graph_grammar, cases_graph_numbers,
    cases_graph_norms, cases_graph_pairs, cases_graph_products, cases_graph_work,
    cases_chain, cases_html,
)  # fmt: skip


def prepare() -> None:
    """Everything that children share: it is made before the first of them."""
    for name in ("_check", "_cli"):  # with them NumPy and flint
        importlib.import_module(f"{PACKAGE}.{name}")
    for module in MODULES:
        ready = getattr(module, "prepare", None)
        if ready is not None:
            ready()
