"""Which measurement may run now, so that all of them together stay within a share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from talweg._errors import InputError


class Budget:
    """Spends at most ``share`` of the wall time on measurements, or follows a fixed schedule.

    A kind of measurement costs what it cost before (a running mean). It may run when what was
    spent, with its cost, stays below the share of the time since the start. The first run of a kind
    is allowed when there is no debt; it may make one, which is paid back by waiting.

    Args:
        kinds: Names of the measurements; when several are due, the one that waited longest runs.
        share: Of the wall time, in (0, 1).
        every: Period in steps for kinds on a fixed schedule, which the clock does not touch; 0
            switches a kind off.
        clock: Seconds; for tests.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        share: float,
        every: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not 0.0 < share < 1.0:
            raise InputError(
                "overhead of Monitor: a share of the wall time in (0, 1) is required; got "
                f"{share!r}; 0.05 is usual"
            )
        self.every = dict(every or {})
        unknown = sorted(set(self.every) - set(kinds))
        if unknown or any(int(period) != period or period < 0 for period in self.every.values()):
            raise InputError(
                f"every of Monitor: whole periods >= 0 for some of {', '.join(kinds)} are "
                f"required; got {every!r}; correct it"
            )
        self.kinds, self.share, self.clock = tuple(kinds), share, clock
        self.started = clock()
        self.spent = 0.0
        self.costs: dict[str, float] = {}
        self.last = dict.fromkeys(kinds, -1)

    def due(self, step: int) -> list[str]:
        """The kinds that may run at this step: those on a schedule, and at most one other."""
        fixed = [k for k in self.kinds if self.every.get(k, 0) and step % self.every[k] == 0]
        free = sorted((k for k in self.kinds if k not in self.every), key=lambda k: self.last[k])
        allowed = self.share * (self.clock() - self.started)
        for kind in free:
            if self.spent + self.costs.get(kind, 0.0) <= allowed:
                return [*fixed, kind]
        return fixed

    def charge(self, kind: str | None, seconds: float, step: int = 0) -> None:
        """Book the seconds of a measurement, or of the monitor's own work (None)."""
        self.spent += seconds
        if kind is not None:
            before = self.costs.get(kind)
            self.costs[kind] = seconds if before is None else 0.7 * before + 0.3 * seconds
            self.last[kind] = step

    @property
    def overhead(self) -> float:
        """Seconds spent per second of everything else, so far."""
        rest = self.clock() - self.started - self.spent
        return self.spent / rest if rest > 0 else 0.0
