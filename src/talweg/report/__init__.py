"""What a person sees of saved records and certificates: a page of HTML, a view in the terminal.

The page is one file that loads nothing. It needs the extra ``report``; the terminal does not.
"""

from talweg.report._certificate import certificate_report
from talweg.report._comparison import comparison_report
from talweg.report._demo import demo_report
from talweg.report._experiment import experiment_report
from talweg.report._follow import Follower, read_findings
from talweg.report._joined import joined_report
from talweg.report._live import LiveView
from talweg.report._page import render, write
from talweg.report._pieces import (
    Card,
    Facts,
    Figure,
    Paragraph,
    Part,
    Picture,
    Report,
    Section,
    Table,
)
from talweg.report._run import run_report

__all__ = [
    "Card",
    "Facts",
    "Figure",
    "Follower",
    "LiveView",
    "Paragraph",
    "Part",
    "Picture",
    "Report",
    "Section",
    "Table",
    "certificate_report",
    "comparison_report",
    "demo_report",
    "experiment_report",
    "joined_report",
    "read_findings",
    "render",
    "run_report",
    "write",
]
