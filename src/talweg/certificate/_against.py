"""Whether a file still speaks of a live model and data: operations and hashes compared."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from talweg._errors import CertificateFileError
from talweg.certificate._document import read_document
from talweg.certificate._model_record import (
    ModelRecord,
    array_hash,
    as_read,
    model_and_weights,
    operations_of,
    stored,
    weights_hash,
)
from talweg.certificate._problem import KINDS
from talweg.network import gate, read


def differences(path: str | Path, model: nn.Module, data: tuple[Tensor, Tensor]) -> list[str]:
    """What differs between a certificate file and a live model with its data.

    Args:
        path: A `.talweg` file.
        model: The live model.
        data: ``(X, y)`` as given to `certify`.

    Returns:
        One sentence per difference; empty when file and live objects agree in every bit.

    Raises:
        CertificateFileError: The file cannot be read.
        InputError: The data are malformed.
        UnsupportedModelError: The model cannot be read.
    """
    body = read_document(path).body
    X, y = data
    network = read(model, X)
    kind = body["loss"].get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise CertificateFileError(
            f"`path` of differences(path, model, data) must be a file about one of the losses "
            f"{', '.join(KINDS)}; {path} speaks of {kind!r}. Write it again with this version."
        )
    targets = KINDS[kind].stored_targets(network, X, y)
    gate(model, network, X)
    record, arrays = model_and_weights(network)
    found: list[str] = []
    if record != body["model"]:
        found.append(_operations(record, body["model"]))
    live = {
        "weights": weights_hash(arrays, record),
        "inputs": array_hash(stored(as_read(network, X))),
        "targets": array_hash(stored(targets)),
    }
    for name, value in live.items():
        if value != body["hashes"].get(name):
            found.append(
                f"{name} differ: sha256 {value[:16]}... live, "
                f"{str(body['hashes'].get(name))[:16]}... in the file"
            )
    return found


def _operations(live: ModelRecord, written: ModelRecord) -> str:
    ours, theirs = operations_of(live), operations_of(written)
    if len(ours) != len(theirs):
        return f"the model has {len(ours)} operations live, {len(theirs)} in the file"
    for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one != other:
            return f"operation {index} is {one} live, {other} in the file"
    shapes = [m["input_shape"] if isinstance(m, dict) else None for m in (live, written)]
    return f"one sample has the shape {shapes[0]} live, {shapes[1]} in the file"
