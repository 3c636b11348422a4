"""Time per step with Cockpit over time without; runs in the environment `.venv-cockpit`.

Prints one JSON object per model and setting. Bare and watched slices alternate.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")  # of libraries that are older than the interpreter

from backpack import extend  # noqa: E402
from cockpit import Cockpit  # noqa: E402
from cockpit.utils import schedules  # noqa: E402
from cockpit.utils.configuration import configuration  # noqa: E402

BATCH = 64
MODELS = {
    "MLP 64-512-512-10": lambda: nn.Sequential(
        nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    ),
    "ConvNet 8x8, 2 layers": lambda: nn.Sequential(  # no batch normalisation: refused by BackPACK
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10),
    ),
}  # fmt: skip


class Loop:
    """One training, watched or not."""

    def __init__(self, build, level: str, interval: int) -> None:
        torch.manual_seed(0)
        self.model = extend(build())
        self.loss = extend(nn.CrossEntropyLoss())
        self.each = nn.CrossEntropyLoss(reduction="none")
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.cockpit = None
        if level:
            wanted = configuration(level, track_schedule=schedules.linear(interval=interval))
            self.cockpit = Cockpit(self.model.parameters(), quantities=wanted)
        self.number, self.seconds, self.steps = 0, 0.0, 0

    def slice(self, steps: int, counted: bool) -> None:
        start = time.perf_counter()
        for _ in range(steps):
            X, y = torch.randn(BATCH, 64), torch.randint(10, (BATCH,))
            self.optimizer.zero_grad()
            outputs = self.model(X)
            loss = self.loss(outputs, y)
            if self.cockpit is None:
                loss.backward()
            else:
                said = {
                    "batch_size": BATCH, "individual_losses": self.each(outputs, y),
                    "loss": loss, "optimizer": self.optimizer,
                }  # fmt: skip
                with self.cockpit(self.number, info=said):
                    loss.backward(create_graph=self.cockpit.create_graph(self.number))
            self.optimizer.step()
            self.number += 1
        if counted:
            self.seconds += time.perf_counter() - start
            self.steps += steps


def main() -> None:
    torch.set_num_threads(1)
    seconds = float(sys.argv[1])
    for name, build in MODELS.items():
        for level, interval in (("economy", 64), ("economy", 16), ("economy", 1)):
            bare, seen = Loop(build, "", 1), Loop(build, level, interval)
            steps = 16 if interval == 1 else 64
            end, rounds = time.perf_counter() + seconds, 0
            while time.perf_counter() < end or rounds < 2:
                bare.slice(steps, rounds > 0)
                seen.slice(steps, rounds > 0)
                rounds += 1
            ratio = seen.seconds / bare.seconds
            row = {"model": name, "level": level, "interval": interval, "ratio": ratio}
            print(json.dumps(row | {"ms": 1000 * bare.seconds / bare.steps}), flush=True)


main()
