"""What importing talweg costs beside importing torch, and which packages the time goes into.

    python benchmarks/import_time.py [--repeats 5]

Each import runs in a fresh process; the smallest CPU seconds of the repeats are printed, because a
busy machine adds to them and nothing subtracts. "Beyond torch" is measured after ``import torch``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict

CASES = {
    "import torch": ("", "import torch"),
    "import talweg": ("", "import talweg"),
    "talweg.certify beyond torch": ("import torch", "import talweg; talweg.certify"),
    "talweg.Monitor beyond torch": ("import torch", "import talweg; talweg.Monitor"),
    "every public name beyond torch": (
        "import torch",
        "import talweg; [getattr(talweg, name) for name in talweg.__all__]",
    ),
}
"""What is imported first, and what is measured."""


def seconds(before: str, measured: str) -> float:
    """CPU seconds of one import in a process of its own."""
    clock = "time.process_time()"
    code = f"import time\n{before}\nt = {clock}\n{measured}\nprint({clock} - t)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def by_package(before: str, measured: str) -> dict[str, float]:
    """Seconds of each top-level package in the measured import, its own modules alone."""
    mark = "wave"  # a module of the standard library that nothing here imports
    code = f"{before}\nimport {mark}\n{measured}"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True
    )
    packages: dict[str, float] = defaultdict(float)
    counting = False
    for line in done.stderr.splitlines():
        fields = line.removeprefix("import time:").split("|")
        if len(fields) != 3 or not fields[0].strip().isdigit():
            continue
        module = fields[2].strip()
        counting = counting or module == mark
        if counting:
            packages[module.split(".")[0]] += int(fields[0]) / 1e6
    return packages


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats

    print(f"{'CPU seconds':<34}{'least of ' + str(repeats):>12}{'/ torch':>10}")
    least = {name: min(seconds(*case) for _ in range(repeats)) for name, case in CASES.items()}
    for name, value in least.items():
        print(f"{name:<34}{value:>12.3f}{value / least['import torch']:>10.2f}")

    print("\nOwn seconds of packages in talweg.certify beyond torch (one run, with tracing)")
    packages = by_package(*CASES["talweg.certify beyond torch"])
    known = {
        name: value
        for name, value in packages.items()
        if name not in sys.stdlib_module_names or name == "talweg"
    }
    known["standard library"] = sum(packages.values()) - sum(known.values())
    for name, value in sorted(known.items(), key=lambda item: -item[1])[:8]:
        print(f"{name:<34}{value:>12.3f}")


if __name__ == "__main__":
    main()
