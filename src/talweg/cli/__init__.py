"""The command line: parses, calls, prints. Nothing else in talweg imports it."""

from talweg.cli._app import main

__all__ = ["main"]
