"""liu2020: PL*, the conditioning of the tangent kernel, wide networks, landscapes, PL*_eps."""

from talweg.experiments._record import SectionFunction
from talweg.experiments.liu2020._landscape import landscapes
from talweg.experiments.liu2020._rates import rate_against_conditioning
from talweg.experiments.liu2020._stochastic import stochastic_interpolation
from talweg.experiments.liu2020._target import target_loss
from talweg.experiments.liu2020._transition import transition_to_linearity
from talweg.experiments.liu2020._width import certified_width

SECTIONS: dict[str, SectionFunction] = {
    "rate against the condition number": rate_against_conditioning,
    "transition to linearity": transition_to_linearity,
    "certified width": certified_width,
    "stochastic descent under interpolation": stochastic_interpolation,
    "landscapes": landscapes,
    "target loss": target_loss,
}
"""Title and function of every section, in order."""
