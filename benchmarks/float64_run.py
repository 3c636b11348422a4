"""Float64 descent as it runs (T9), and a run judged after the fact (T12), on handwritten digits.

    python benchmarks/float64_run.py [--width 256] [--rows 200] [--steps 100000]
        [--armijo 40] [--state FILE --seconds 240]

1. 64-256-1 (or --width), tanh, 200 digits (or --rows), polished: `certify(theorem="T9")`, and
   talweg-check on the file.
2. From the certified weights, the actual torch program: every iterate's distance from the start,
   bounded rigorously from the float vectors, against the certified radius; the loss as torch prints
   it against the envelope at every step, and enclosed loss bounds at sampled steps.
3. Armijo descent from the same weights, recorded; `certify_run` proves its steps.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from certificates import digits, tanh_network
from torch import Tensor, nn

import talweg
from talweg import Certificate
from talweg.enclosure import Interval, norm_upper
from talweg.network import FlatFunction, linearize, read, residual_norm_bound
from talweg.optim import ArmijoGD, CertifiedGD, certify_run, parameters_of
from talweg.theory import SquaredLoss

SAMPLES = 60
"""Steps at which the loss is enclosed, evenly spaced in the logarithm."""
SAVED_EVERY = 2000
"""Steps between two writings of the state."""


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def distance_upper(w: Tensor, start: Tensor) -> float:
    """Upper bound of |w - start|: a float difference is off by a relative 2^-53."""
    return (Interval.point(float(norm_upper(w - start))) * (1.0 + Interval.point(2.0**-53))).hi


def certified(width: int, data: tuple[Tensor, Tensor]) -> tuple[nn.Module, Certificate]:
    model = tanh_network((64, width, 1))
    X, y = data
    with torch.no_grad():
        untrained = float(nn.functional.mse_loss(model(X), y))
    begun = time.perf_counter()
    certificate = talweg.certify(model, data, theorem="T9", polish=True, attack=False)
    seconds = time.perf_counter() - begun
    print(f"T9 on digits 64-{width}-1, n = {len(X)}: {certificate.status}")
    if certificate.document is None:
        print(certificate.reason)
        raise SystemExit(1)
    claims = {
        name: float.fromhex(value)
        for name, value in certificate.document.body["claims"].items()
        if isinstance(value, str)
    }
    start = claims["residual_norm_upper"] ** 2 / y.numel()
    print(f"  seconds                      {seconds:.1f}")
    print(f"  untrained loss               {untrained:.6g}")
    print(f"  certified loss at the start  {start:.6g}")
    print(f"  floor                        {claims['floor']:.6g}")
    print(f"  floor / untrained loss       {claims['floor'] / untrained:.3g}   (asked: < 1e-16)")
    print(f"  gradient error e <=          {claims['gradient_error_upper']:.3g}")
    print(f"  theta, step, radius          {claims['theta']:g}, {claims['step_size']:.6g}, "
          f"{claims['radius']:.6g}")  # fmt: skip
    print(f"  loss falls per step by >=    {claims['one_minus_rate']:.4g}")
    print(f"  steps to the floor <=        {claims['steps_upper']:,.0f}")
    for assumption in certificate.assumptions:
        print(f"  assumed: {assumption}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t9.talweg"
        certificate.save(file)
        begun = time.perf_counter()
        checked = subprocess.run(
            [sys.executable, "-m", "talweg_check", str(file)], capture_output=True, text=True
        )
        print(f"  talweg-check                 {checked.stdout.splitlines()[0]} "
              f"({time.perf_counter() - begun:.1f} s)")  # fmt: skip
    assert checked.returncode == 0
    assert claims["floor"] < 1e-16 * untrained
    return model, certificate


@dataclass
class Tally:
    """What the replay saw so far; a run may be cut into several calls through a file."""

    steps: int = 0
    seconds: float = 0.0
    outside: int = 0
    above: int = 0
    enclosed: int = 0
    above_enclosed: int = 0
    farthest: float = 0.0
    worst: float = 0.0
    envelope: float = math.inf
    last: float = math.inf
    floor_reached: bool = False


def save(
    state: Path | None, tally: Tally, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    if state is not None:
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({"tally": asdict(tally), **parts}, state)


def replay(
    model: nn.Module, data: tuple[Tensor, Tensor], cert: Certificate, steps: int,
    state: Path | None, seconds: float,
) -> bool:  # fmt: skip
    """Run to `steps`, or for `seconds`; whether it came to the end."""
    X, y = data
    cert.load_into_(model)
    function, loss = FlatFunction(read(model, X), X), SquaredLoss("mean", y.numel())
    optimizer = CertifiedGD(model.parameters(), cert)
    start, tally = flat(model), Tally(envelope=optimizer.loss_envelope(0))
    fall = 1.0 - (cert.one_minus_rate or 0.0)
    if state is not None and state.exists():
        saved = torch.load(state)
        tally = Tally(**saved["tally"])
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    chosen = {0, steps, *(round(math.exp(i * math.log(steps) / SAMPLES)) for i in range(SAMPLES))}
    begun, booked = time.perf_counter(), 0.0
    while tally.steps <= steps and not tally.floor_reached:
        k = tally.steps
        optimizer.zero_grad()
        value = nn.functional.mse_loss(model(X), y)
        tally.last = value.item()
        tally.above += not tally.last <= tally.envelope
        tally.worst = max(tally.worst, tally.last / tally.envelope)
        w = flat(model)
        away = distance_upper(w, start)
        tally.farthest = max(tally.farthest, away)
        tally.outside += not away <= cert.radius
        if k in chosen:
            there = linearize(function.network_at(w), X)
            tally.enclosed += 1
            above = not loss.loss_upper(residual_norm_bound(there, y)) <= tally.envelope
            tally.above_enclosed += above
        # nothing is claimed from the next iterate on
        tally.floor_reached = tally.last <= (cert.floor or 0.0)
        value.backward()
        optimizer.step()
        tally.steps += 1
        tally.envelope *= fall * (1.0 - 2.0**-51)  # below the envelope that is claimed
        now = time.perf_counter()
        if tally.steps % SAVED_EVERY == 0 or now - begun > seconds:
            tally.seconds += now - begun - booked
            booked = now - begun
            save(state, tally, model, optimizer)
            if booked > seconds:
                break
    print(f"replay of {tally.steps - 1:,} steps by torch and CertifiedGD, {tally.seconds:.0f} s")
    print(f"  iterates outside the ball            {tally.outside}   (farthest / radius "
          f"{tally.farthest / cert.radius:.4f}, bounded at every step)")  # fmt: skip
    print(f"  losses above the envelope            {tally.above}   (largest loss / envelope "
          f"{tally.worst:.6f})")  # fmt: skip
    print(f"  enclosed losses above the envelope   {tally.above_enclosed} of {tally.enclosed} "
          "sampled")  # fmt: skip
    print(f"  last loss {tally.last:.6g}, envelope after it {tally.envelope:.6g}; floor reached: "
          f"{tally.floor_reached}")  # fmt: skip
    assert tally.outside == tally.above == tally.above_enclosed == 0
    return tally.steps > steps or tally.floor_reached


def armijo(model: nn.Module, data: tuple[Tensor, Tensor], cert: Certificate, steps: int) -> None:
    X, y = data
    cert.load_into_(model)
    optimizer = ArmijoGD(model.parameters(), lr=64.0 * cert.step_size, share=0.6)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.mse_loss(model(X), y)
        value.backward()
        return value

    iterates, taken = [parameters_of(model)], []
    for _ in range(steps):
        optimizer.step(closure)
        iterates.append(parameters_of(model))
        taken.append(optimizer.param_groups[0]["lr"])
    begun = time.perf_counter()
    run = certify_run(model, data, iterates, share=0.59)
    print(f"T12 on {steps} Armijo steps: {run.status} ({time.perf_counter() - begun:.1f} s)")
    print(f"  {run.reason}")
    if run.radius is None:
        raise SystemExit(1)
    print(f"  proved radius                        {run.radius:.6g}")
    print(f"  steps taken / certified GD step      {min(taken) / cert.step_size:.3g} to "
          f"{max(taken) / cert.step_size:.3g}")  # fmt: skip
    print(f"  proved fraction lost per step        {min(run.one_minus_rates):.4g} to "
          f"{max(run.one_minus_rates):.4g}")  # fmt: skip
    print(f"  proved: last / first loss <=         {run.shrink:.6g}")
    print(
        f"  enclosed: last / first loss <=       {run.losses_upper[-1] / run.losses_upper[0]:.6g}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--armijo", type=int, default=40)
    parser.add_argument("--state", type=Path, default=None, help="file to go on from")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of replay in this call")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    data = digits(chosen.rows, 1)
    model, certificate = certified(chosen.width, data)
    if not replay(model, data, certificate, chosen.steps, chosen.state, chosen.seconds):
        print("not at the end: call again with the same --state")
        return
    armijo(model, data, certificate, chosen.armijo)


if __name__ == "__main__":
    main()
