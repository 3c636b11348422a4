"""Lightning trains the same bit for bit with a Monitor as a callback, and its loggers get rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import talweg

pl = pytest.importorskip("lightning.pytorch", reason="pip install 'talweg[lightning]'")

from lightning.pytorch.loggers.logger import Logger  # noqa: E402

from talweg.monitor.adapters import LightningCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]
EVERY = {"gradient": 2, "curvature": 3, "units": 3, "updates": 3, "kernel": 4}


class Module(pl.LightningModule):  # type: ignore[misc, name-defined]
    """A network with dropout and batch normalisation; its own step logs, as such steps do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Kept(Logger):
    """Holds what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[dict[str, float], int | None]] = []

    @property
    def name(self) -> str:
        return "kept"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.seen.append((metrics, step))


def fit(
    callbacks: list[Any], folder: Path, logger: Logger | None = None, **options: Any
) -> tuple[dict[str, Tensor], Tensor]:
    torch.manual_seed(0)
    module = Module()
    generator = torch.Generator().manual_seed(1)
    data = torch.utils.data.TensorDataset(
        torch.randn(60, 6, generator=generator), torch.randint(3, (60,), generator=generator)
    )
    loader = torch.utils.data.DataLoader(data, 12, shuffle=True, generator=generator)
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", devices=1, logger=logger or False, log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=callbacks, default_root_dir=folder, **options,
    )  # fmt: skip
    trainer.fit(module, loader)
    return {k: t.clone() for k, t in module.state_dict().items()}, torch.get_rng_state()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
        {"precision": "bf16-mixed"},
    ],
    ids=["plain", "accumulation and clipping", "mixed precision"],
)
def test_bit_for_bit(options: dict[str, Any], tmp_path: Path) -> None:
    watch = LightningCallback(F.cross_entropy, every=EVERY, log=False)
    alone, generator = fit([], tmp_path, **options)
    seen, after = fit([watch], tmp_path, **options)
    assert torch.equal(generator, after)
    assert all(torch.equal(alone[key], seen[key]) for key in alone)
    assert watch.monitor is not None
    assert watch.monitor.steps == 10  # batches, whatever the number of updates
    assert watch.monitor.optimizer_steps == (6 if "accumulate_grad_batches" in options else 10)
    assert all(row["fresh"] for row in watch.monitor.rows if "fresh" in row)
    keys = {key for row in watch.monitor.rows for key in row}
    assert {"pl_ratio", "stability", "units", "update_ratios", "kernel_condition"} <= keys
    assert watch.monitor.findings()


def test_rows_reach_the_loggers(tmp_path: Path) -> None:
    logger, watch = Kept(), LightningCallback(F.cross_entropy, every=EVERY)
    fit([watch], tmp_path, logger)
    names = {name for metrics, _ in logger.seen for name in metrics}
    assert {"monitor/noise_scale", "monitor/stability", "train_loss"} <= names
    assert max(step for _, step in logger.seen if step is not None) == 9
    assert "monitor/gradient_norms/net.0.weight" in names
    assert "monitor/update_ratios/net.0.weight" in names


def test_rows_reach_a_function(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    loss_of = lambda module, batch: F.cross_entropy(module.net(batch[0]), batch[1])  # noqa: E731
    watch = LightningCallback(loss_of=loss_of, every=EVERY, log=rows.append)
    fit([watch], tmp_path)
    assert watch.monitor is not None
    assert rows == watch.monitor.rows


class Stop(pl.Callback):  # type: ignore[misc, name-defined]
    """Ends the training with an error."""

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        raise ValueError("enough")


def test_an_interrupted_training_closes_the_record(tmp_path: Path) -> None:
    watch = LightningCallback(F.cross_entropy, every=EVERY, record=tmp_path / "r.jsonl")
    with pytest.raises(ValueError, match="enough"):
        fit([watch, Stop()], tmp_path)
    assert watch.monitor is not None
    assert watch.monitor._file is None
    assert not watch.monitor.optimizer._optimizer_step_pre_hooks  # type: ignore[attr-defined]


def test_arguments_reach_the_monitor(tmp_path: Path) -> None:
    with pytest.raises(talweg.InputError, match="exactly one of loss_fn"):
        fit([LightningCallback()], tmp_path)
