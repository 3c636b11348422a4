"""`python -m talweg_check` is `talweg-check`."""

import sys

from talweg_check._cli import main

sys.exit(main())
