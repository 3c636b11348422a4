"""talweg against its checker, and against itself on other threads, storages, backends, devices."""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from flint import arb, ctx
from tests.soundness.containment import draws
from tests.soundness.containment.checker_chains import Drawn
from tests.soundness.containment.checker_lipschitz import Outputs, attack
from tests.soundness.containment.record import Record
from tests.soundness.instances import Instance, instance
from tests.soundness.shard import Shard, Tally

import talweg
from talweg.certificate import Certificate
from talweg.enclosure import Ball, activation_names, elementwise_orders
from talweg_check import check
from talweg_check._arrays import PRECISION, exact
from talweg_check._file import read
from talweg_check._grammar import certificate as parsed
from talweg_check._lipschitz import JacobianLipschitz
from talweg_check._network import Network, merged, stages_of

UNDER_TEST = ("talweg.certificate", "talweg_check._check", "tests.soundness.instances")
PER_BATCH = 8
MORE_BITS = 2048  # 1 - tanh^2 of a saturated unit may be 10^-300: 128 bits do not resolve it


def certify(drawn: Instance, **changes: Any) -> Certificate | None:
    """The certificate, None where talweg refuses the instance."""
    arguments = {"attack": False, **drawn.arguments, **changes}
    try:
        return talweg.certify(drawn.model, (drawn.X, drawn.y), **arguments)
    except talweg.TalwegError:
        return None


@contextmanager
def saved(certificate: Certificate) -> Iterator[str]:
    """The path of its file, for a while."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.talweg"
        certificate.save(path)
        yield str(path)


def confirm(record: Record, certificate: Certificate, *words: object) -> bool:
    """One question: does the checker confirm the file, if need be with more bits?"""
    with saved(certificate) as path:
        verdict = record.call(check, path)
        if verdict is None:
            return False
        record.counts[verdict.verdict] += 1
        if verdict.verdict == "incomplete":
            with patch("talweg_check._check.PRECISION", MORE_BITS):
                verdict = record.call(check, path) or verdict
            record.counts[f"incomplete, then {verdict.verdict} with {MORE_BITS} bits"] += 1
    if verdict.verdict == "incomplete":
        if _composed_beta(certificate, verdict.reason):
            record.counts["incomplete, two functions in a row"] += 1
            return False
        if _beyond_doubles(certificate, verdict.reason):
            record.counts["incomplete, condition number beyond doubles"] += 1
            return False
    record.check(verdict.verdict == "valid", *words, verdict.verdict, verdict.reason)
    return bool(verdict.verdict == "valid")


def _composed_beta(certificate: Certificate, reason: str) -> bool:
    """Whether only beta is in doubt, in a chain with two functions in a row.

    Enclosures of composed functions differ by more than talweg's padding of 1e-6, on either side.
    """
    if certificate.document is None:
        return False
    operations = certificate.document.body["model"]
    entrywise = [item["kind"] == "elementwise" for item in operations]
    composed = any(one and two for one, two in itertools.pairwise(entrywise))
    doubts = [part.strip() for part in reason.split(";")]
    return composed and all("jacobian_lipschitz_upper".startswith(part[:24]) for part in doubts)


def _beyond_doubles(certificate: Certificate, reason: str) -> bool:
    """Whether only sigma_min is in doubt, of a kernel that double precision takes for singular.

    The checker's hints come from LAPACK, whatever the bits of its proofs.
    """
    if certificate.document is None or reason != "sigma_min_lower is not confirmed":
        return False
    claims = _bounds(certificate.document.body["claims"])
    return claims["jacobian_norm_upper"] > 2.0**25 * claims["sigma_min_lower"]


def status(record: Record, certificate: Certificate | None) -> bool:
    """Whether there is a file to be checked; counted."""
    word = "refused" if certificate is None else certificate.status.lower()
    record.counts[word] += 1
    return word == "proved"


def certificates(seed: int, record: Record) -> None:
    """Everything that is proved is valid."""
    drawn = instance(seed)
    certificate = certify(drawn)
    if status(record, certificate) and certificate is not None:
        confirm(record, certificate, drawn.description)


def attacks(seed: int, record: Record) -> None:
    """Pairs of points of the balls against the Lipschitz constants that a file claims."""
    certificate = certify(instance(seed))
    if status(record, certificate) and certificate is not None:
        with saved(certificate) as path:
            _attacked(seed, record, path)


def _attacked(seed: int, record: Record, path: str) -> None:
    """Pairs of points of each ball against the file's beta and the checker's own."""
    file = parsed(*read(path))
    values = {name: array.values() for name, array in file.arrays.items() if array.dtype != "I64"}
    targets = file.loss.targets(file.arrays["targets"], file.counts)
    inputs, _, counts = merged(values["inputs"], targets)
    drawn = Drawn(file.operations, values, inputs, counts)
    zero_sum = file.loss.kind == "cross_entropy"
    rng = np.random.default_rng(seed)
    with ctx.workprec(PRECISION), np.errstate(all="ignore"):
        outputs = Outputs(drawn, zero_sum=zero_sum)
        stages = stages_of(file.operations, values)
        lipschitz = JacobianLipschitz(Network(stages, exact(inputs), counts, file.loss.frame))
        for radius, beta in file.profile:
            own = lipschitz.upper(radius).upper()
            attack(rng, record, drawn, outputs, radius, own.min(arb(beta)))


def threads(seed: int, record: Record) -> None:
    """One torch thread and two: both files are valid and speak of the same problem."""
    drawn, found = instance(seed), []
    before = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(certify(drawn))
    finally:
        torch.set_num_threads(before)
    _agreeing(record, found, drawn.description)


def _agreeing(record: Record, found: list[Certificate | None], words: str) -> None:
    """Those that are proved are valid; their files differ in the claims alone."""
    proved = [c for c in found if status(record, c) and c is not None]
    bodies = []
    for certificate in proved:
        confirm(record, certificate, words)
        if certificate.document is not None:
            bodies.append(dict(certificate.document.body))
    if len(bodies) < 2:
        return
    kept = [{k: v for k, v in b.items() if k not in ("claims", "claim")} for b in bodies]
    record.check(kept[0] == kept[1], "two runs speak of different problems:", words)
    bounds = [_bounds(body["claims"]) for body in bodies]
    for lower, upper in (bounds, bounds[::-1]):
        consistent = lower["sigma_min_lower"] <= upper["jacobian_norm_upper"]
        record.check(consistent, "bounds of two runs exclude each other:", words)


def _bounds(claims: Mapping[str, Any]) -> dict[str, float]:
    return {k: float.fromhex(v) for k, v in claims.items() if isinstance(v, str)}


def storage(seed: int, record: Record) -> None:
    """The same numbers in float64: the same claims, confirmed alike; other hashes."""
    drawn = instance(seed)
    dtype = next(drawn.model.parameters()).dtype
    if dtype == torch.float64 and drawn.X.dtype == torch.float64:
        record.counts["already float64"] += 1
        return
    wide = Instance(
        copy.deepcopy(drawn.model).double(), drawn.X.double(),
        drawn.y.double() if drawn.y.is_floating_point() else drawn.y, drawn.arguments,
        drawn.description,
    )  # fmt: skip
    one, two = certify(drawn), certify(wide)
    proved = [status(record, c) for c in (one, two)]
    if one is None or two is None:  # the gate runs the model, which may overflow in its own dtype
        return
    record.check(proved[0] == proved[1], "another status in float64:", drawn.description)
    if not all(proved) or one.document is None or two.document is None:
        return
    confirm(record, one, drawn.description)
    confirm(record, two, drawn.description, "in float64")
    first, second = one.document.body, two.document.body
    same = ("claims", "model", "loss", "counts", "theorem", "assumptions", "semantics")
    for key in same:
        record.check(first[key] == second[key], "differs in float64:", key, drawn.description)
    weights = first["hashes"]["weights"] == second["hashes"]["weights"]
    record.check(weights == (dtype == torch.float64), "hash of the weights:", drawn.description)


def on_arb(seed: int, record: Record) -> None:
    """Certificates with elementary functions from Arb instead of crival."""
    drawn = instance(seed)
    found = [certify(drawn)]
    with without_crival():
        found.append(certify(drawn))
    _agreeing(record, found, drawn.description)


@contextmanager
def without_crival() -> Iterator[None]:
    """talweg's elementary functions come from Arb."""
    with patch("talweg.enclosure._elementary._crival", lambda: None):
        yield


def backends(seed: int, record: Record) -> None:
    """Balls of both backends around the same number: they must overlap."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(sorted(activation_names())))
    parameters: dict[str, float] = {}
    if name == "softplus":
        parameters = {"beta": float(rng.choice([1.0, 0.3, 7.0]))}
    if name == "smooth_leaky_relu":
        parameters = {"slope": float(rng.choice([0.5, 0.01]))}
    mid = draws.numbers(rng, 100) if rng.random() < 0.5 else 6 * rng.standard_normal(100)
    rad = draws.radii(rng, mid) if rng.random() < 0.5 else np.zeros(100)
    ball = Ball(torch.from_numpy(mid), torch.from_numpy(rad))
    orders = (0, 1, 2)
    ours = record.call(elementwise_orders, name, orders, ball, **parameters)
    with without_crival():
        theirs = record.call(elementwise_orders, name, orders, ball, **parameters)
    if ours is None or theirs is None:
        return
    for order, one, two in zip(orders, ours, theirs, strict=True):
        numbers = (t.tolist() for t in (one.mid, one.rad, two.mid, two.rad))
        for x, (a, r, b, s) in zip(mid.tolist(), zip(*numbers, strict=True), strict=True):
            if r == float("inf") or s == float("inf"):
                record.counts["no bound"] += 1
                continue
            apart = abs(draws.units(a) - draws.units(b))
            together = apart <= draws.units(r) + draws.units(s)
            record.check(together, name, parameters, order, "at", x, "gave", a, r, "and", b, s)


def devices(seed: int, record: Record) -> None:
    """CPU and GPU: both files are valid and speak of the same problem."""
    if not torch.cuda.is_available():
        record.counts["skipped: no CUDA device"] += 1
        return
    drawn = instance(seed)
    there = Instance(
        copy.deepcopy(drawn.model).cuda(), drawn.X.cuda(), drawn.y.cuda(), drawn.arguments,
        drawn.description,
    )  # fmt: skip
    _agreeing(record, [certify(drawn), certify(there)], drawn.description)


def _shard(
    name: str, question: Callable[[int, Record], None], goal: int, each: int = PER_BATCH
) -> Shard:
    def batch(seed: int) -> Tally:
        record = Record()
        for number in range(each):
            question(each * seed + number, record)
        return record.tally()

    return Shard(f"differential/{name}", UNDER_TEST, goal, batch)


SHARDS = (
    _shard("checker", certificates, 5_000),
    _shard("attacks", attacks, 20_000),
    _shard("threads", threads, 2_000),
    _shard("storage", storage, 3_000),
    _shard("backends", backends, 100_000, 20),
    _shard("certificates_on_arb", on_arb, 500),
    _shard("devices", devices, 500),
)
