"""The lecture's statements E1 to E4, each on a function whose constants are known exactly."""

from __future__ import annotations

from talweg.experiments._record import SectionFunction
from talweg.experiments.lecture._decreasing import decreasing_steps_under_pl
from talweg.experiments.lecture._floor import noise_floor_against_step
from talweg.experiments.lecture._linear_rate import linear_rate
from talweg.experiments.lecture._nonconvex import nonconvex_gradients
from talweg.experiments.lecture._saddle import saddle_escape

SECTIONS: dict[str, SectionFunction] = {
    "linear rate under PL": linear_rate,
    "noise floor against step": noise_floor_against_step,
    "nonconvex gradients": nonconvex_gradients,
    "decreasing steps under PL": decreasing_steps_under_pl,
    "saddle escape": saddle_escape,
}
