"""A resumable run of a part of the voice, by the loop of `difftool.learning`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from plan import TRAININGS
from torch import Tensor, nn

from difftool.core.noise import keys
from difftool.errors import DifftoolError, Exit
from difftool.learning.config import RunConfig
from difftool.learning.driver import RunContext, learn
from difftool.learning.folder import Layout
from difftool.learning.loop import Trainee, Update
from difftool.learning.tasks import Task
from difftool.models import SCHEMA, save_model
from difftool.signals import deferred

LAYOUT = Layout("items", "samples", "*.png", lambda folder, seen: folder / "samples" / f"{seen}.png")
PRINT_EVERY = 50
"""Updates."""


def config_of(part: str) -> RunConfig:
    """The config.json of the run of a part, a row of TRAININGS."""
    training = TRAININGS[part]
    items = training.updates * training.batch_size
    return {
        "schema": SCHEMA,
        "net": {"type": f"mini-{part}", **training.net},
        "size": [0, 0],
        "train": {
            "preset": f"mini-{part}",
            "data": {"name": "kokoro mixes", "pictures": 0, "sha256": ""},
            "length": {"images": items},
            "batch_size": training.batch_size,
            "lr": training.rate,
            "warmup": 0.02,
            "ema": 0.05,
            "weight_decay": 0.01,
            "images": items,
            "seed": 0,
            "dtype": "bf16",
        },
    }


def run(folder: Path, config: RunConfig, task: Task, end: float) -> None:
    """Trains until all items are seen; repeat it to go on. Raises DifftoolError 75 where the time, by
    `time.monotonic`, is over before, with the state saved."""
    trainee = Trainee(task.net, config["train"])
    began = time.monotonic()
    with deferred() as stop:

        def track(steps: Iterable[Update], total: int, label: str = "") -> Iterator[Update]:
            for k, update in enumerate(steps):
                if time.monotonic() > end and stop.code is None:
                    stop.code = Exit.LATER  # as a signal would: it saves and ends
                if k % PRINT_EVERY == 0:
                    seconds = time.monotonic() - began
                    print(f"{update.step:,} updates, loss {update.loss:.4f}, {seconds:.0f} s", flush=True)
                yield update

        def publish(trainee: Trainee) -> None:
            save_model(folder, config, trainee.averaged())

        try:
            learn(folder, config, trainee, task, RunContext(LAYOUT, stop, math.inf, None, None, track, publish))
        except DifftoolError as error:
            if stop.code is None:
                raise
            raise DifftoolError(error.code, error.message, "repeat the command to go on") from error


def arguments(config: RunConfig) -> dict[str, int]:
    """The arguments of the network of a run."""
    return {key: value for key, value in config["net"].items() if key != "type"}


def addresses(seed: int, rows: range, first: int = 0) -> tuple[Tensor, Tensor]:
    """The seeds (B,) and the numbers (B,) in a run, by which the `rows` of the batch from item number `first` on are
    drawn."""
    return keys([seed] * len(rows)), first + torch.arange(rows.start, rows.stop)


def unbanded(losses: Tensor) -> tuple[Tensor, Tensor]:
    """The losses (B,) of a task without bands, as `Task.losses` returns them."""
    return losses, torch.zeros(len(losses), dtype=torch.int64)


@contextmanager
def with_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, a network has other weights, by parameter name."""
    own = {name: p.detach().clone() for name, p in net.named_parameters()}
    net.load_state_dict(dict(weights), strict=False)
    try:
        yield
    finally:
        net.load_state_dict(own, strict=False)
