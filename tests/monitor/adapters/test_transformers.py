"""The Trainer of transformers trains the same bit for bit with a Monitor, and logs its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import talweg
from talweg.monitor import read_records

transformers = pytest.importorskip("transformers", reason="pip install 'talweg[transformers]'")
pytest.importorskip("accelerate", reason="pip install 'talweg[transformers]'")

from talweg.monitor.adapters import MonitoredTrainer, TrainerMixin  # noqa: E402

EVERY = {"gradient": 2, "curvature": 3, "units": 0, "updates": 3, "kernel": 4}


def data() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "input_ids": torch.randint(20, (7,), generator=generator),
            "labels": torch.randint(3, (), generator=generator),
        }
        for _ in range(48)
    ]


def bert() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8, num_labels=3,
    )  # fmt: skip
    model: nn.Module = transformers.BertForSequenceClassification(config)
    return model


def train(
    kind: Any,
    model: nn.Module,
    folder: Path,
    training: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[dict[str, Tensor], Tensor, Any]:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=4, per_device_train_batch_size=8, use_cpu=True,
        report_to=[], disable_tqdm=True, save_strategy="no", logging_strategy="no", seed=3,
        learning_rate=0.01, dataloader_pin_memory=False, **(training or {}),
    )  # fmt: skip
    trainer = kind(model=model, args=arguments, train_dataset=data(), **options)
    trainer.train()
    return {k: t.clone() for k, t in model.state_dict().items()}, torch.get_rng_state(), trainer


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"gradient_accumulation_steps": 2, "max_grad_norm": 0.1},
        {"bf16": True, "eval_strategy": "steps", "eval_steps": 1},
    ],
    ids=["plain", "accumulation and clipping", "mixed precision and evaluation"],
)
def test_bit_for_bit(training: dict[str, Any], tmp_path: Path) -> None:
    held_out = {"eval_dataset": data()[:8]} if "eval_steps" in training else {}
    alone, generator, _ = train(transformers.Trainer, bert(), tmp_path, training, **held_out)
    seen, after, trainer = train(
        MonitoredTrainer, bert(), tmp_path, training, monitor={"every": EVERY}, **held_out
    )
    assert torch.equal(generator, after)
    assert all(torch.equal(alone[key], seen[key]) for key in alone)
    monitor = trainer.monitor
    assert monitor.steps == 4 * training.get("gradient_accumulation_steps", 1)
    assert monitor.optimizer_steps == 4
    assert all(row["fresh"] for row in monitor.rows if "fresh" in row)
    keys = {key for row in monitor.rows for key in row}
    assert {"pl_ratio", "stability", "update_ratios", "kernel_condition"} <= keys
    assert any(row.get("kernel_samples") == 8 for row in monitor.rows)
    assert monitor.findings()
    logged = {key for entry in trainer.state.log_history for key in entry}
    assert {"monitor/loss", "monitor/stability", "monitor/noise_scale"} <= logged
    assert not any("gradient_norms" in key for key in logged)


class Pairs(nn.Module):
    """Outputs without a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 3)

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        del labels
        return {"logits": self.embedding(input_ids).mean(1)}


class Own(transformers.Trainer):  # type: ignore[misc, name-defined]
    """A Trainer with a loss of its own."""

    def compute_loss(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        return F.cross_entropy(model(**inputs)["logits"], inputs["labels"])


class Watched(TrainerMixin, Own):
    """The mixin in front of another subclass."""


def test_a_loss_of_another_form(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, rows = tmp_path / "r.jsonl", []
    options = {"every": EVERY, "record": path, "log": rows.append}
    with pytest.raises(talweg.InputError, match="outputs with a loss are required"):
        train(Watched, Pairs(), tmp_path, monitor=options)

    def loss_of(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(**batch)["logits"], batch["labels"])

    _, _, trainer = train(Watched, Pairs(), tmp_path, monitor={"loss_of": loss_of, **options})
    assert trainer.monitor._file is None
    assert rows == trainer.monitor.rows
    assert len(read_records(path)) == len(rows)
    _, _, quiet = train(
        Watched, Pairs(), tmp_path, monitor={"loss_of": loss_of, "every": EVERY, "log": False}
    )
    assert not any("monitor/loss" in entry for entry in quiet.state.log_history)
