"""Certificates with exactly one thing wrong, each with the verdict and the reason it must get."""

import sys
from pathlib import Path

BUILDERS = str(Path(__file__).resolve().parents[3] / "checker" / "tests")
if BUILDERS not in sys.path:  # `generator` and `classifier` build certificates
    sys.path.append(BUILDERS)
