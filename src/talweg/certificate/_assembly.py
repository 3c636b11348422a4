"""From a proof to the file that states it (docs/certificate-format.md)."""

from __future__ import annotations

from typing import Any

import torch

from talweg.certificate._document import Document
from talweg.certificate._model_record import (
    array_hash,
    as_read,
    format_of,
    model_and_weights,
    parameter_arrays,
    stored,
    weights_hash,
)
from talweg.certificate._problem import Problem
from talweg.certificate._sentence import claim_sentence
from talweg.network import Network


def assembled(
    problem: Problem, network: Network, claims: dict[str, Any], as_given: str
) -> Document:
    """The file of a proof: body and arrays, bound by hashes.

    Args:
        problem: What was asked.
        network: The network with the certified weights.
        claims: Names and hexadecimal numbers.
        as_given: Status of the weights as they came.
    """
    model, arrays = model_and_weights(network)
    names = parameter_arrays(network, model)
    arrays["inputs"] = stored(as_read(network, problem.inputs))
    arrays["targets"] = stored(problem.objective.stored_targets)
    body: dict[str, Any] = {
        "format": format_of(network),
        "theorem": problem.theorem.id,
        "semantics": problem.theorem.semantics,
        "model": model,
        "loss": problem.objective.record,
        "hashes": {
            "weights": weights_hash(arrays, model),
            "inputs": array_hash(arrays["inputs"]),
            "targets": array_hash(arrays["targets"]),
        },
        "claims": claims,
        "counts": {
            "samples": problem.samples, "outputs": problem.outputs,
            "parameters": network.trainable_parameters,
        },
        "assumptions": list(problem.theorem.assumptions),
        "hints": {},
        "provenance": {
            "torch": str(torch.__version__), "as_given": as_given, "notes": list(problem.notes),
            "parameters": names,
        },
    }  # fmt: skip
    body["claim"] = claim_sentence(body, arrays)
    return Document(body, arrays)
