"""All rules on one run, ranked."""

from __future__ import annotations

import dataclasses

from talweg.monitor._data import DataFacts
from talweg.monitor._finding import Finding, Findings, ranked
from talweg.monitor._history import History
from talweg.monitor._rules_facts import data_rules, state_rules, structure_rules
from talweg.monitor._rules_run import run_rules
from talweg.monitor._stretches import stretches
from talweg.monitor._structure import ModelFacts


def findings(
    history: History, model: ModelFacts, data: DataFacts | None, held_back: str = ""
) -> Findings:
    """What limits the run, by evidence; "unsure" stands first where nothing is likely.

    Args:
        history: The rows of the run.
        model: The model as it stands now.
        data: What is known of the data.
        held_back: That the budget held measurements back, in words.
    """
    found = [*structure_rules(history, model), *state_rules(history, model)]
    if data is not None:
        found += data_rules(history, data)
    found += run_rules(history, model, data)
    if not any(finding.certainty >= 0.5 for finding in found):
        found.append(
            Finding(
                "unsure",
                0.5,
                _seen(history) + ", and no rule applies",
                "",
                "Watch for longer, or measure more often: overhead=0.5 of Monitor allows half of "
                'the time, every={"gradient": 20} fixes a period.',
            )
        )
    # Two rules may tell of one thing, from its cause and from its effect: the surer one stays.
    best = {f.kind: f for f in sorted(found, key=lambda f: f.certainty)}
    if held_back:
        for kind in {"converging", "unsure"} & set(best):
            best[kind] = dataclasses.replace(best[kind], seen=f"{best[kind].seen}; {held_back}")
    placed = [
        f if f.steps else dataclasses.replace(f, steps=stretches(f.kind, history))
        for f in best.values()
    ]
    return ranked(placed)


def _seen(history: History) -> str:
    looks = len(history.losses)
    if looks < 2:
        return f"{looks or 'no'} look at the loss, which shows no course"
    return f"{looks} looks at the loss over {history.steps} steps, {history.left:.0%} of it is left"
