"""That weights and data are the ones whose hashes the claim states."""

from __future__ import annotations

from dataclasses import replace

from talweg_check._file import StoredArray, digest
from talweg_check._grammar import Certificate
from talweg_check._verdict import Incomplete, Invalid

Data = tuple[StoredArray, StoredArray] | None  # inputs and targets, where the file leaves them out


def bound(certificate: Certificate, data: Data) -> Certificate:
    """The certificate with its data: `data` = (inputs, targets) where they are given, else its own.

    Raises Invalid unless each array has the stated hash, Incomplete where there are no data.
    """
    arrays = dict(certificate.arrays)
    graph = certificate.graph
    names = [name for item in certificate.operations if item["kind"] == "linear"
             for name in (item["weight"], item["bias"]) if name is not None]  # fmt: skip
    if graph is not None:
        names = list(graph.trains)
    chunks = [name.encode("ascii") + b"\n" + arrays[name].digest_input() for name in names]
    if digest(chunks) != certificate.hashes["weights"]:
        raise Invalid("the stored weights do not have the stated sha256")
    if data is not None:
        arrays.update(zip(("inputs", "targets"), data, strict=True))
    if "inputs" not in arrays:
        raise Incomplete("unbound: the file leaves its data out, and none was given")
    for name in ("inputs", "targets"):
        if digest([arrays[name].digest_input()]) != certificate.hashes[name]:
            raise Invalid(f"the {name} do not have the stated sha256")
    if graph is not None:
        graph.require_inputs(arrays["inputs"], certificate.counts["samples"])
        return replace(certificate, arrays=arrays)
    expected = certificate.counts["samples"], *arrays[names[0]].shape[1:]
    if arrays["inputs"].shape != expected:
        raise Invalid("the given data do not fit the model or 'counts'")
    return replace(certificate, arrays=arrays)
