"""What every worker of the tangent kernel benchmark does: wait, and take a turn when asked.

After ``ready SECONDS CPU`` (of the first evaluation after compilation) a worker answers, line by
line, ``run`` with the least seconds and CPU seconds of an evaluation, repeated until its turn is
over, ``save PATH`` with ``saved`` after writing the kernel as ``(n, k, n, k)``, and ``memory`` with
the peak resident memory of its process, in MiB.

A turn of some length is what makes milliseconds comparable: the first evaluation after another
worker's turn finds its weights out of the cache and the other's threads still spinning.
"""

from __future__ import annotations

import re
import resource
import sys
import time
from pathlib import Path

import numpy as np

TURN = 0.3  # seconds of a turn; a longer evaluation is made once


def peak_mib():
    """Peak resident memory; Linux's ru_maxrss also counts the parent, from before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(evaluate, as_array):
    """Answer until stdin closes; `evaluate()` gives a kernel, ``as_array(kernel)`` its array."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = evaluate()
    print(f"ready {time.perf_counter() - wall} {time.process_time() - cpu}", flush=True)
    for line in sys.stdin:
        command, _, path = line.strip().partition(" ")
        if command == "save":
            np.save(path, as_array(value))
            print("saved", flush=True)
        elif command == "memory":
            print(peak_mib(), flush=True)
        else:
            end, least, least_cpu = time.perf_counter() + TURN, float("inf"), float("inf")
            while least == float("inf") or time.perf_counter() < end:
                del value
                wall, cpu = time.perf_counter(), time.process_time()
                value = evaluate()
                least = min(least, time.perf_counter() - wall)
                least_cpu = min(least_cpu, time.process_time() - cpu)
            print(least, least_cpu, flush=True)
