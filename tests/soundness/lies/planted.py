"""A planted lie, the file that holds it, and the judge of a group of them."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from generator import Draft, canonical, write
from tests.soundness.shard import Tally

from talweg_check import check

INVALID, INCOMPLETE, VALID = "invalid", "incomplete", "valid"
UNDER_TEST = ("talweg_check",)
PATIENCE = 20.0  # seconds of one check; the files here take some 20 ms
Made = Draft | tuple[bytes, bytes] | bytes


@dataclass(frozen=True)
class Lie:
    """One certificate with one thing wrong.

    Attributes:
        name: What is wrong.
        make: The certificate: a draft, the two members (text, blob), or the bytes of the file.
        reason: Regular expression that the checker's reason has to match.
        verdict: What the checker has to say.
    """

    name: str
    make: Callable[[], Made]
    reason: str
    verdict: str = INVALID


@dataclass
class Group:
    """Lies that share their genuine certificates."""

    name: str
    controls: dict[str, Callable[[], Made]]
    lies: list[Lie] = field(default_factory=list)

    def add(self, name: str, make: Callable[[], Made], reason: str, verdict: str = INVALID) -> None:
        """One more lie; its name has to be new."""
        if any(lie.name == name for lie in self.lies):
            raise ValueError(f"{self.name} holds the lie {name!r} twice")
        self.lies.append(Lie(name, make, reason, verdict))


def stored(made: Made, path: Path) -> Path:
    """The file at `path`, written."""
    if isinstance(made, Draft):
        return write(path, canonical(made.tree()), made.blob())
    if isinstance(made, tuple):
        return write(path, *made)
    path.write_bytes(made)
    return path


def judged(group: Group, wanted: Sequence[Lie] | None = None) -> Tally:
    """Every control has to be valid, every lie refused, for the right reason and in time."""
    violations: list[str] = []
    tracebacks: list[str] = []
    lies = group.lies if wanted is None else wanted
    genuine = [Lie(f"control {name}", make, "^every claim is confirmed", VALID)
               for name, make in group.controls.items()]  # fmt: skip
    if wanted is not None:  # a sample has a sample of controls
        genuine = genuine[: len(wanted) // 4 + 1]
    with tempfile.TemporaryDirectory() as folder:
        for lie in [*genuine, *lies]:
            where = f"lies/{group.name}: {lie.name}"
            try:
                path = stored(lie.make(), Path(folder) / "case.talweg")
                start = time.perf_counter()
                found = check(str(path))
                seconds = time.perf_counter() - start
            except Exception as error:
                tracebacks.append(f"{where}: {type(error).__name__}: {error}"[:300])
                continue
            if found.verdict != lie.verdict or not re.search(lie.reason, found.reason):
                violations.append(
                    f"{where}: {found.verdict} ({found.reason[:200]}); "
                    f"expected {lie.verdict} ({lie.reason})"
                )
            elif seconds > PATIENCE:
                violations.append(f"{where}: the verdict took {seconds:.1f} s")
    return Tally(len(lies), tuple(violations), tuple(tracebacks), {"controls": len(genuine)})
