"""Settings that every test shares: one thread, and examples that are the same in every run."""

from __future__ import annotations

import os

# Before torch is imported: small matrices gain nothing from threads, and sums keep their order.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

settings.register_profile(
    "talweg",
    deadline=None,  # a shared machine is slow at times, which is no defect
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("talweg")
