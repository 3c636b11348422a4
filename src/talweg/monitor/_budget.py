"""Which measurement may run now, so that all of them together stay within a share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from talweg._errors import InputError

SEEN = 0.85
"""Of the seconds that measuring costs: the rest is what clocks around it do not see, caches above
all (benchmarks/monitor.py: 5.2 % by the monitor's own account were 5.7 % of the bare loop)."""


TELLING = ("gradient", "curvature")
"""The measurements that findings need most."""
ENOUGH = 5
"""Looks from which a course shows."""


class Budget:
    """Spends at most ``share`` of the bare loop's time on measurements, or keeps to a schedule.

    Each kind has an account of its own, a part of the share in proportion to its weight, so that a
    cheap kind does not spend what a dear one saves for. A kind costs what it cost before (a running
    mean) and may run when its account holds that much. The first run of each is free to make a
    debt, which is paid back by waiting.

    Args:
        weights: Names of the measurements, and their weights in the share.
        share: Of the time that all else takes, in (0, 1).
        every: Period in steps for kinds on a fixed schedule, which the clock does not touch; 0
            switches a kind off.
        clock: Seconds; for tests.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
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
        unknown = sorted(set(self.every) - set(weights))
        if unknown or any(int(period) != period or period < 0 for period in self.every.values()):
            raise InputError(
                f"every of Monitor: whole periods >= 0 for some of {', '.join(weights)} are "
                f"required; got {every!r}; correct it"
            )
        free = [kind for kind in weights if kind not in self.every]
        total = sum(weights[kind] for kind in free)
        most = SEEN * share / (1 + share)  # of the wall time, which holds both
        self.shares = {kind: most * weights[kind] / total for kind in free}
        self.kinds, self.clock = tuple(weights), clock
        self.started = clock()
        self.spent = dict.fromkeys(weights, 0.0)
        self.own = 0.0  # the monitor's own work between measurements
        self.costs: dict[str, float] = {}
        self.last = dict.fromkeys(weights, -1)
        self.looks = dict.fromkeys(weights, 0)
        self.share = share

    def due(self, step: int) -> list[str]:
        """The kinds that may run at this step: those on a schedule, and at most one other."""
        fixed = self.scheduled(step)
        elapsed = self.clock() - self.started
        for kind in sorted(self.shares, key=lambda k: self.last[k]):
            debt = self.spent[kind] + self.own / len(self.shares) + self.costs.get(kind, 0.0)
            if kind not in self.costs or debt <= self.shares[kind] * elapsed:
                return [*fixed, kind]
        return fixed

    def scheduled(self, step: int) -> list[str]:
        """The kinds on a schedule that are due at this step, whatever the clock says."""
        return [k for k in self.kinds if self.every.get(k, 0) and step % self.every[k] == 0]

    def charge(self, kind: str | None, seconds: float, step: int = 0) -> None:
        """Book the seconds of a measurement, or of the monitor's own work (None)."""
        if kind is None:
            self.own += seconds
            return
        self.spent[kind] += seconds
        self.looks[kind] += 1
        before = self.costs.get(kind)
        self.costs[kind] = seconds if before is None else 0.7 * before + 0.3 * seconds
        self.last[kind] = step

    def held_back(self, steps: int) -> str:
        """That the share held measurements back, in words; empty where there were enough.

        Args:
            steps: Of the run.
        """
        few = [k for k in self.shares if k in TELLING and self.looks[k] < ENOUGH]
        if not few or steps < 2 * ENOUGH:
            return ""
        paid = " and ".join(f"{_counted(self.looks[kind])} at the {kind}" for kind in few)
        return (
            f"the time allowed for measuring, overhead={self.share:g} of Monitor, paid for {paid} "
            f"in {steps} steps; raise it for more"
        )

    @property
    def overhead(self) -> float:
        """Seconds spent per second of everything else, so far."""
        spent = sum(self.spent.values()) + self.own
        rest = self.clock() - self.started - spent
        return spent / rest if rest > 0 else 0.0


def _counted(looks: int) -> str:
    return f"{looks or 'no'} look" + ("" if looks == 1 else "s")
