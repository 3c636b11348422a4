r"""Formulas as MathML, made when the site is built.

Browsers render MathML by themselves, so a page needs no script, no font and no network for it.
Arithmatex puts what stands between dollars, or between ``\(`` and ``\)``, into an element of class
"arithmatex". It knows displays on paragraphs of their own only; the pages, which are also read on
hosts that render Markdown, have them inside of paragraphs, so these are marked beforehand.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

_CODE_OR_DISPLAY = re.compile(r"^```.*?^```|`[^`\n]+`|\$\$(.+?)\$\$", re.DOTALL | re.MULTILINE)
_FORMULA = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_TAG = re.compile(r"\\tag\{(.*?)\}")
_BIG_DELIMITER = re.compile(r"(?<=>)\\(\{|\}|lceil|rceil|lVert|rVert)(?=</mo>)")

_BAR = '<mo stretchy="false">&#x0007C;</mo>'
_TIGHT_BAR = '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>'
"""An absolute value; by itself MathML sets the bar like a relation, with space on both sides."""

_DELIMITERS = {"{": "{", "}": "}", "lceil": "⌈", "rceil": "⌉", "lVert": "‖", "rVert": "‖"}
"""What the converter leaves as a command after \\Bigl and its kind."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    r"""Turn ``$$...$$`` into ``\(\[...\]\)``; called by MkDocs.

    Args:
        markdown: The page as it was written.
    """
    return _CODE_OR_DISPLAY.sub(
        lambda match: match[0] if match[1] is None else rf"\(\[{match[1].strip()}\]\)", markdown
    )


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Replace the formulas of one page; called by MkDocs.

    Args:
        content: The page as HTML.
        page: The page, for the message.

    Returns:
        The page with ``<math>`` elements.

    Raises:
        PluginError: A formula holds a command that the converter does not know.
    """

    def formula(match: re.Match[str]) -> str:
        tex = html.unescape(match[1]).strip()
        result = mathml(tex)
        if "\\" in result:
            raise PluginError(f"{page.file.src_path}: not converted: {tex!r} gave {result!r}")
        return result

    return _FORMULA.sub(formula, content)


def mathml(tex: str) -> str:
    r"""One formula, a display where it stands between ``\[`` and ``\]``.

    Args:
        tex: LaTeX without dollars. A ``\tag`` is set behind the formula.
    """
    display = tex.startswith(r"\[")
    tex = tex.removeprefix(r"\[").removesuffix(r"\]")
    tex = _TAG.sub(r"\\qquad(\1)", tex.replace("\n", " "))
    result = convert(tex, display="block" if display else "inline")
    result = result.replace(_BAR, _TIGHT_BAR)
    return _BIG_DELIMITER.sub(lambda match: _DELIMITERS[match[1]], result)
