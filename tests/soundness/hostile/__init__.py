"""Hostile files, arguments and specifications: no traceback, a right exit code, bounded time."""

import tests.soundness.lies  # noqa: F401 - puts the builders of certificates on the path
