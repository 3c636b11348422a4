"""From pieces to one HTML file that loads nothing: no fonts, no scripts, no requests.

Whatever comes out of a record is text of a stranger. Jinja escapes it wherever it stands, the data
of the figures are JSON in which no tag can be written, and the page's security policy runs only the
scripts whose hashes it names, so that a tag that got through would still not run.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from talweg._durable import durable
from talweg._errors import InputError, MissingDependencyError
from talweg.report._pieces import Report

TEMPLATES = Path(__file__).parent / "templates"
POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""Plotly writes style attributes and rules of its own, hence 'unsafe-inline' for styles alone."""


def render(report: Report) -> str:
    """The report as one HTML document.

    Args:
        report: What it holds.

    Raises:
        MissingDependencyError: plotly or Jinja is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise _missing("Jinja2") from error
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawing = _script((TEMPLATES / "page.js").read_text(encoding="utf-8"))
    scripts = [_plotly(), drawing]
    return environment.get_template("page.html").render(
        report=report,
        policy=POLICY.format(scripts=" ".join(f"'sha256-{_digest(text)}'" for text in scripts)),
        plotly=scripts[0],
        drawing=drawing,
        data={f.name: plain({"traces": f.traces, "layout": f.layout}) for f in report.figures},
    )


def write(report: Report, path: str | Path) -> Path:
    """Write the report to a file, which appears whole or not at all.

    Args:
        report: What it holds.
        path: The file to write or to replace.

    Returns:
        The path.

    Raises:
        InputError: the file cannot be written.
        MissingDependencyError: plotly or Jinja is not installed.
    """
    target = Path(path)
    text = render(report)
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        with durable(target) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(
            f"path of report: a file that can be written is required; got {str(path)!r} "
            f"({error.strerror}); choose another path"
        ) from error
    return target


def plain(value: Any) -> Any:
    """Plain data for JSON; numbers that it cannot hold become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@cache
def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise _missing("plotly") from error
    return _script(str(get_plotlyjs()))


def _script(text: str) -> str:
    """A script as it stands between its tags; the parser changes line ends before it hashes."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lowered = text.lower()
    if "</script" in lowered or "<!--" in lowered:
        raise ValueError("a script that would end its own tag")
    return text


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _missing(name: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"a report needs {name}, which is not installed. Run: pip install 'talweg[report]'"
    )
