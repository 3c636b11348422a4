"""xu2025: two-layer linear networks, their local constants, steps, and convergence far away."""

from talweg.experiments._record import SectionFunction
from talweg.experiments.xu2025._not_lazy import not_lazy
from talweg.experiments.xu2025._problems import Problem, build, suite
from talweg.experiments.xu2025._runs import Run, best_constant, run_rule
from talweg.experiments.xu2025._sections import contraction, far_from_lazy, local_constants, steps

SECTIONS: dict[str, SectionFunction] = {
    "local constants": local_constants,
    "contraction per step": contraction,
    "step rules": steps,
    "not lazy": far_from_lazy,
}

__all__ = ["SECTIONS", "Problem", "Run", "best_constant", "build", "not_lazy", "run_rule", "suite"]
