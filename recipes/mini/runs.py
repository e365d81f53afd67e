"""A resumable run of a part of the voice, by the loop of `difftool.learning`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from difftool.learning.config import RunConfig
from difftool.learning.driver import RunContext, learn
from difftool.learning.folder import Layout
from difftool.learning.loop import Trainee
from difftool.learning.tasks import Task
from difftool.models import SCHEMA, save_model
from difftool.errors import DifftoolError, Exit
from difftool.signals import deferred

LAYOUT = Layout("items", "samples", "*.png", lambda folder, seen: folder / "samples" / f"{seen}.png")


def config_of(part: str, net: dict, items: int, batch_size: int, lr: float, data: str, ema: float = 0.05) -> RunConfig:
    """The config.json of a run."""
    train = {
        "preset": f"mini-{part}",
        "data": {"name": data, "pictures": 0, "sha256": ""},
        "length": {"images": items},
        "batch_size": batch_size,
        "lr": lr,
        "warmup": 0.02,
        "ema": ema,
        "weight_decay": 0.01,
        "images": items,
        "seed": 0,
        "dtype": "bf16",
    }
    return {"schema": SCHEMA, "net": {"type": f"mini-{part}", **net}, "size": [0, 0], "train": train}


def run(folder: Path, config: RunConfig, make: Callable[[RunConfig], Task], minutes: float) -> None:
    """Trains until the items are seen or the time is over; repeat it to go on."""
    task = make(config)
    trainee = Trainee(task.net, config["train"])

    def publish(trainee: Trainee) -> None:
        save_model(folder, config, trainee.averaged())

    began = time.monotonic()

    def track(steps, total):  # noqa: ANN001, ANN202
        for k, update in enumerate(steps):
            if time.monotonic() - began > minutes * 60 and stop.code is None:
                stop.code = Exit.TERMINATED  # it saves and ends
            if k % 50 == 0:
                print(f"{update.step:,} updates, loss {update.loss:.4f}, {time.monotonic() - began:.0f} s", flush=True)
            yield update

    with deferred() as stop:
        context = RunContext(LAYOUT, stop, float("inf"), None, None, track, publish)
        try:
            learn(folder, config, trainee, task, context)
        except DifftoolError as error:
            print(error.message)
