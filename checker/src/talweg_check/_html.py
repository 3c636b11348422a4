"""A verdict as a small table for notebooks; nothing here decides anything."""

from __future__ import annotations

import html

STYLE = "text-align:left;vertical-align:top;white-space:normal"


class Shown:
    """What has `verdict`, `reason`, `claim` and `grade`, shown with what stands in a file escaped.

    Colours are those of the page around it.
    """

    verdict: str
    reason: str
    claim: str | None
    grade: str | None

    def _repr_html_(self) -> str:
        heading = "proved" if self.verdict == "valid" else "claimed, NOT proved"
        rows = {"verdict": self.verdict, "reason": self.reason, heading: self.claim}
        body = "".join(
            f'<tr style="background:none"><th scope="row" style="{STYLE}">{label}</th>'
            f'<td style="{STYLE}">{html.escape(text)}</td></tr>'
            for label, text in (rows | {"grade": self.grade}).items()
            if text is not None
        )
        return f'<table style="color:inherit;background:none">{body}</table>'
