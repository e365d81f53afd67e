"""What a run is trained by: the preset, what was asked for otherwise, and what the data say."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..device import choose, name_of, spelled
from ..errors import DifftoolError, Exit, pick
from ..presets import preset as read_preset

if TYPE_CHECKING:
    import torch

    from .data import Pictures

log = logging.getLogger(__name__)


MOST = 10**12
"""Of any length of a run."""
AIMS = ("v", "flow", "eps", "x0")
"""What a network can be trained to predict here, of `core.TARGETS`."""


class Job(NamedTuple):
    """A run that is checked and ready to begin."""

    config: dict[str, Any]
    """What will stand in config.json; without train.images while minutes are not yet measured."""
    pictures: Pictures
    device: torch.device
    dtype: torch.dtype


def prepare(
    data: str | Path | None = None,
    *,
    preset: str | None = None,
    steps: int | None = None,
    images: int | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    target: str | None = None,
    label_dropout: float | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
) -> Job:
    """Reads the data and checks the settings of `train`, without training.

    The length of the run is one of `steps`, `images`, `epochs` and `minutes`; `size` is (width, height); what is None
    comes from the preset.
    """
    name, row = _preset(data, preset)
    lengths = {"steps": steps, "images": images, "epochs": epochs, "minutes": minutes}
    own = {"batch_size": batch_size, "lr": lr, "label_dropout": label_dropout}
    length, numbers, target = _numbers(row, lengths, own, target)
    spelled(device)
    if dtype == "fp16":
        raise DifftoolError(Exit.USAGE, "training in fp16 loses small gradients", "take --dtype bf16 or fp32")
    from .data import load  # from here on it takes seconds

    where, kind = choose(device, dtype, threads)
    pictures = load(str(row["data"] if data is None else data), size)
    for reason in pictures.skipped:
        log.warning(f"skipped {reason}")
    number, height, width, _ = pictures.pixels.shape
    classes = f" in {len(pictures.classes)} classes" if pictures.classes else ""
    log.info(f"{pictures.name}: {number:,} pictures of {width}x{height}{classes}")
    config = _config(name, row, pictures, length, numbers, target, seed, name_of(kind))
    return Job(config, pictures, where, kind)


def _numbers(
    row: dict[str, Any], lengths: dict[str, Any], own: dict[str, Any], target: str | None
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """(the length as {unit: value}, the numbers of the recipe, the target): the preset's where nothing else was asked
    for."""
    given = {unit: value for unit, value in lengths.items() if value is not None}
    if len(given) > 1:
        raise DifftoolError(
            Exit.USAGE, f"a run has one length, not {' and '.join(given)}", f"give one of {', '.join(lengths)}"
        )
    given = given or {unit: row[unit] for unit in lengths if unit in row}
    numbers = {key: row[key] for key in ("batch_size", "lr", "warmup", "ema", "label_dropout", "weight_decay")}
    numbers |= {key: value for key, value in own.items() if value is not None}
    for key, value in {**given, "batch_size": numbers["batch_size"], "lr": numbers["lr"]}.items():
        if not 0 < value < math.inf or (key != "lr" and value > MOST):
            limit = "" if key == "lr" else f" and up to {MOST:,}"
            what = f"{key.replace('_', '-')} must be a number above 0{limit}, not {value}"
            raise DifftoolError(Exit.USAGE, what, "see difftool train --help")
    if not 0 <= numbers["label_dropout"] <= 1:
        raise DifftoolError(
            Exit.USAGE, f"label-dropout must be a share from 0 to 1, not {numbers['label_dropout']}", "try 0.1"
        )
    aim = str(row["target"] if target is None else target)
    pick("target", aim, dict.fromkeys(AIMS))
    return given, numbers, aim


def _config(
    name: str,
    row: dict[str, Any],
    pictures: Pictures,
    length: dict[str, Any],
    numbers: dict[str, Any],
    target: str,
    seed: int,
    dtype: str,
) -> dict[str, Any]:
    """What stands in config.json: the model, and the recipe of its training."""
    (unit, value), size = next(iter(length.items())), numbers["batch_size"]
    if unit != "minutes":
        images = {"steps": size, "images": 1, "epochs": len(pictures.pixels)}[unit] * value
        numbers = {**numbers, "images": math.ceil(images / size) * size}  # whole updates
    from ..models import SCHEMA

    _, height, width, channels = pictures.pixels.shape
    path = (
        {"type": "flow", "shift": 1.0, "clock": 1000}
        if target == "flow"
        else {"type": "discrete_vp", "betas": "cosine", "T": 1000}
    )
    data = {"name": pictures.name, "pictures": len(pictures.pixels), "sha256": pictures.fingerprint}
    return {
        "schema": SCHEMA,
        "net": {**row["net"], "channels": channels, "classes": len(pictures.classes)},
        "path": path,
        "target": target,
        "size": [height, width],
        "classes": pictures.classes,
        "train": {"preset": name, "data": data, "length": length, **numbers, "seed": seed, "dtype": dtype},
    }


def _preset(data: str | Path | None, name: str | None) -> tuple[str, dict[str, Any]]:
    """The preset by name, else the one made for the data."""
    if name is None:
        name = "digits" if data is None or str(data) == "digits" else "pictures"
    row = read_preset("train", name)
    if data is None and "data" not in row:
        raise DifftoolError(
            Exit.USAGE,
            f"the preset {name} has no data of its own",
            f"name a folder: difftool train --preset {name} FOLDER",
        )
    return name, row
