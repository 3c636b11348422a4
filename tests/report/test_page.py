"""The page: complete in itself, and safe whatever a record holds."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from tests.report.records import ATTACK, FINDINGS, hostile_rows, rows_of_descent

from talweg import InputError, MissingDependencyError
from talweg.report import (
    Card,
    Facts,
    Figure,
    Paragraph,
    Report,
    Section,
    Table,
    comparison_report,
    render,
    run_report,
    write,
)
from talweg.report._plot import label, layout, line
from talweg.report._series import Series

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Elements with their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def every_piece() -> Report:
    values = Series((0.0, 1.0), (1.0, 2.0), (0.1, 0.1))
    table = Table("numbers", ("step", "value"), (("0", "1"), ("1", "2")))
    figure = Figure("one", "One", "caption", "words", (line(values, "v", 1),), layout("v"), table)
    parts = (figure, table, Paragraph("text", strong=True), Facts((("a", "b"),)),
             Card("1. Card", (("Seen", "x"),), share=0.5, share_text="50% sure"))  # fmt: skip
    return Report("Test", "Pieces", Facts((("k", "v"),)), (Section("s", "Section", parts, "in"),))


@pytest.fixture(scope="module")
def hostile() -> str:
    return render(run_report(hostile_rows(), title=ATTACK))


def test_every_piece_is_shown_and_named() -> None:
    page = Page(render(every_piece()))
    assert page.unbalanced == []
    assert page.open == []
    for tag in ("header", "nav", "main", "footer", "h1", "h2", "figure", "article", "meter"):
        assert page.all(tag), tag
    [plot] = [a for a in page.all("div") if a.get("role") == "img"]
    assert plot["aria-label"] == "One. words"
    assert page.all("a")[0] == {"class": "skip", "href": "#content"}


@pytest.mark.parametrize(
    "report", [every_piece(), run_report(rows_of_descent(), FINDINGS),
               comparison_report({"a": rows_of_descent()})], ids=["pieces", "run", "comparison"],
)  # fmt: skip
def test_every_name_points_at_one_element(report: Report) -> None:
    page = Page(render(report))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    named = {a[k] for _, a in page.elements for k in ("aria-labelledby",) if k in a}
    assert named <= set(ids)
    targets = {(a["href"] or "")[1:] for a in page.all("a")}
    assert targets <= set(ids)


def test_headings_do_not_skip_a_level() -> None:
    page = Page(render(run_report(rows_of_descent(), FINDINGS)))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_nothing_is_loaded_and_only_two_scripts_may_run() -> None:
    page = Page(render(run_report(rows_of_descent(), FINDINGS)))
    [policy] = [a["content"] or "" for a in page.all("meta")
                if a.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy
    kinds = [a.get("type") for a in page.all("script")]
    assert kinds == ["application/json", None, None]
    for script in page.scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not [a for _, a in page.elements if "src" in a]
    assert [a["href"] for a in page.all("link")] == ["data:,"]
    assert not [a for _, a in page.elements for key in a if key.startswith("on")]


def test_text_of_a_record_stays_text(hostile: str) -> None:
    page = Page(hostile)
    assert page.unbalanced == []
    assert len(page.scripts) == 3
    assert not page.all("img")
    assert not page.all("b")
    assert all((a["href"] or "").startswith("#") for a in page.all("a"))
    assert not [a for _, a in page.elements for key in a if key.startswith("on")]
    assert "</script><script>window" not in hostile
    assert json.loads(page.scripts[0])  # the data of the figures survive


def test_plotly_gets_no_markup_from_a_record(hostile: str) -> None:
    """It reads tags in the names of lines and in its labels."""
    texts: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            for item in value.values():
                collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)

    collect(json.loads(Page(hostile).scripts[0]))
    assert any("pwned" in text for text in texts)
    assert [t for t in texts if "<" in t and "<extra></extra>" not in t] == []


def test_labels() -> None:
    assert label('<b>&"') == '&lt;b&gt;&amp;"'


@pytest.mark.parametrize(
    "report",
    [
        run_report(rows_of_descent(), FINDINGS),
        run_report(rows_of_descent(layers=[f"layer{i}.weight" for i in range(40)])),
        run_report(hostile_rows()),
        comparison_report({"a": rows_of_descent(), "b": rows_of_descent(7), "c": []}),
    ],
    ids=["run", "many layers", "hostile", "comparison"],
)
def test_plotly_accepts_every_figure(report: Report) -> None:
    assert report.figures
    for figure in report.figures:
        plain = json.loads(re.sub(r'"@[a-z0-9/.]+"', '"#123456"', json.dumps(
            {"data": list(figure.traces), "layout": figure.layout})))  # fmt: skip
        go.Figure(plain)
        assert figure.alternative
        assert figure.table is not None


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    assert write(every_piece(), path) == path
    assert path.read_text(encoding="utf-8") == render(every_piece())
    assert [p.name for p in tmp_path.iterdir()] == ["run.html"]


@pytest.mark.parametrize("name", ["absent/run.html", "."])
def test_a_path_that_cannot_be_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="path of report: a file that can be written"):
        write(every_piece(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["jinja2", "plotly.offline"])
def test_a_missing_package_names_the_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from talweg.report import _page

    _page._plotly.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'talweg\[report\]'"):
        render(every_piece())
