"""Every theorem and figure of the four sources, measured beside predicted.

`run` runs one experiment, section by section; `NAMES` lists them. The module
``talweg.experiments.<name>`` holds ``SECTIONS``, which maps the title of each section to a function
of one `Section`.
"""

from talweg.experiments._index import COLUMNS, compared, number, row
from talweg.experiments._record import Comparison, Record, Section, SectionFunction
from talweg.experiments._run import NAMES, Outcome, run, write_overview

__all__ = [
    "COLUMNS",
    "NAMES",
    "Comparison",
    "Outcome",
    "Record",
    "Section",
    "SectionFunction",
    "compared",
    "number",
    "row",
    "run",
    "write_overview",
]
