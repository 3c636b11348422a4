"""The table of a verdict in a notebook: what a reader sees of valid, invalid and incomplete."""

from __future__ import annotations

from types import SimpleNamespace

from tests.soundness.mutation.registry import Checker, case, demand

CELL = "text-align:left;vertical-align:top;white-space:normal"


def _row(label: str, text: str) -> str:
    return (
        f'<tr style="background:none"><th scope="row" style="{CELL}">{label}</th>'
        f'<td style="{CELL}">{text}</td></tr>'
    )


def _table(*rows: str) -> str:
    return f'<table style="color:inherit;background:none">{"".join(rows)}</table>'


@case
def a_verdict_in_a_notebook(checker: Checker) -> None:
    """Word for word, with what comes from a file escaped and what is missing left out."""
    shown = checker.html.Shown._repr_html_
    valid = SimpleNamespace(verdict="valid", reason="all <good>", claim="a & b", grade="arb")
    expected = _table(
        _row("verdict", "valid"), _row("reason", "all &lt;good&gt;"),
        _row("proved", "a &amp; b"), _row("grade", "arb"),
    )  # fmt: skip
    demand(shown(valid) == expected, shown(valid))
    for verdict in ("invalid", "incomplete"):
        other = SimpleNamespace(verdict=verdict, reason="no", claim="c", grade=None)
        expected = _table(
            _row("verdict", verdict), _row("reason", "no"), _row("claimed, NOT proved", "c")
        )
        demand(shown(other) == expected, shown(other))
    none = SimpleNamespace(verdict="invalid", reason="no", claim=None, grade=None)
    expected = _table(_row("verdict", "invalid"), _row("reason", "no"))
    demand(shown(none) == expected, shown(none))
