"""From a model and data to a claim, and the file that carries it."""

from talweg.certificate._against import differences
from talweg.certificate._certificate import AsGiven, Certificate
from talweg.certificate._certify import certify
from talweg.certificate._document import Document, read_document, write_document
from talweg.certificate._rebuild import network_of
from talweg.certificate._run import RunCertificate, certify_run, parameters_of

__all__ = [
    "AsGiven",
    "Certificate",
    "Document",
    "RunCertificate",
    "certify",
    "certify_run",
    "differences",
    "network_of",
    "parameters_of",
    "read_document",
    "write_document",
]
