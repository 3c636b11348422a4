"""From a model and data to a claim, and the file that carries it."""

from talweg.certificate._against import differences
from talweg.certificate._certificate import AsGiven, Certificate
from talweg.certificate._certify import certify
from talweg.certificate._document import Document, read_document, write_document

__all__ = [
    "AsGiven",
    "Certificate",
    "Document",
    "certify",
    "differences",
    "read_document",
    "write_document",
]
