r"""A Markdown extension: formulas as MathML, made when the site is built.

Browsers render MathML by themselves, so a page needs no script, no font and no network for it.
Arithmatex puts what stands between dollars, or between ``\(`` and ``\)``, into an element of class
"arithmatex". It knows displays on paragraphs of their own only; the pages, which are also read on
hosts that render Markdown, have them inside of paragraphs, so these are marked beforehand.
"""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.postprocessors import Postprocessor
from markdown.preprocessors import Preprocessor

_CODE_OR_DISPLAY = re.compile(r"`[^`\n]+`|\$\$(.+?)\$\$", re.DOTALL)
_FORMULA = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_TAG = re.compile(r"\\tag\{(.*?)\}")
_BIG_DELIMITER = re.compile(r"(?<=>)\\(\{|\}|lceil|rceil|lVert|rVert)(?=</mo>)")

_BAR = '<mo stretchy="false">&#x0007C;</mo>'
_TIGHT_BAR = '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>'
"""An absolute value; by itself MathML sets the bar like a relation, with space on both sides."""

_DELIMITERS = {"{": "{", "}": "}", "lceil": "⌈", "rceil": "⌉", "lVert": "‖", "rVert": "‖"}
"""What the converter leaves as a command after \\Bigl and its kind."""


def mathml(tex: str) -> str:
    r"""One formula, a display where it stands between ``\[`` and ``\]``.

    Args:
        tex: LaTeX without dollars. A ``\tag`` is set behind the formula.

    Raises:
        ValueError: It holds a command that the converter does not know.
    """
    display = tex.startswith(r"\[")
    inner = tex.removeprefix(r"\[").removesuffix(r"\]").replace("\n", " ")
    result = convert(_TAG.sub(r"\\qquad(\1)", inner), display="block" if display else "inline")
    result = result.replace(_BAR, _TIGHT_BAR)
    result = _BIG_DELIMITER.sub(lambda match: _DELIMITERS[match[1]], result)
    if "\\" in result:
        raise ValueError(f"a formula of the documentation was not converted: {tex!r}")
    return result


class _Displays(Preprocessor):
    r"""Turns ``$$...$$`` into ``\(\[...\]\)``."""

    def run(self, lines: list[str]) -> list[str]:
        """The lines of a page, without fenced code, which is taken out before."""
        text = _CODE_OR_DISPLAY.sub(
            lambda match: match[0] if match[1] is None else rf"\(\[{match[1].strip()}\]\)",
            "\n".join(lines),
        )
        return text.split("\n")


class _Formulas(Postprocessor):
    """Replaces Arithmatex' elements."""

    def run(self, text: str) -> str:
        """A page, or a part of one, as HTML."""
        return _FORMULA.sub(lambda match: mathml(html.unescape(match[1]).strip()), text)


class MathMLExtension(Extension):
    """Both steps, around Arithmatex."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register them: the first behind fenced code (25), the second behind everything."""
        md.preprocessors.register(_Displays(md), "mathml-displays", 22)
        md.postprocessors.register(_Formulas(md), "mathml", -10)


def makeExtension(**options: object) -> MathMLExtension:
    """Called by Markdown.

    Args:
        **options: None are known.
    """
    return MathMLExtension(**options)
