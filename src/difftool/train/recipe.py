"""What a run is trained by: the preset, what was asked for otherwise, and what the data say."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import processes
from ..device import choose, name_of, spelled
from ..errors import DifftoolError, Exit, pick
from ..presets import family
from ..presets import preset as read_preset

if TYPE_CHECKING:
    import torch

    from .data.pictures import Pictures

log = logging.getLogger(__name__)


MOST = 10**12
"""Of any length of a run."""
AIMS = ("v", "flow", "eps", "x0", "edm", "flow_rev")
"""What a network can be trained to predict, of `core.TARGETS`."""
WEIGHTINGS = ("plain", "min_snr", "p2", "edm")
TIMES = ("even", "log_normal", "logit_normal")
BETAS = ("linear", "scaled_linear", "cosine", "sigmoid")
"""Names of `core.WEIGHTS`, `core.DENSITIES` and `core.betas`, which take a second to import."""
POINTS = ("moons", "swiss_roll", "eight_gaussians")
LARGE = 32 * 32
"""Pixels of a picture from which on bf16 is faster on a CPU that computes in it."""


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
    weight: str | None = None,
    times: str | None = None,
    betas: str | None = None,
    learned_range: bool | None = None,
    label_dropout: float | None = None,
    flip: bool | None = None,
    held_out: float | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    micro_batch: int | None = None,
    compile: bool = False,
    checkpointing: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
) -> Job:
    """Reads the data and checks the settings of `train`, without training.

    The length of the run is one of `steps`, `images`, `epochs` and `minutes`; `size` is (width, height); `weight`,
    `times` and `betas` are rows of `core.WEIGHTS`, `core.DENSITIES` and names of `core.betas`; what is None comes from
    the preset.
    """
    name, row = _preset(data, preset)
    lengths = {"steps": steps, "images": images, "epochs": epochs, "minutes": minutes}
    own = {"batch_size": batch_size, "lr": lr, "label_dropout": label_dropout}
    length, numbers, target = _numbers(row, lengths, own, target)
    numbers |= _extras(row, target, weight=weight, times=times, learned_range=learned_range, flip=flip)
    path = _path(target, row.get("betas") if betas is None else betas)
    path |= {"zero_snr": True} if row.get("zero_snr") else {}
    numbers |= {key: True for key, on in (("compile", compile), ("checkpointing", checkpointing)) if on}
    if micro_batch is not None and not 1 <= micro_batch <= numbers["batch_size"]:
        what = f"micro-batch must lie between 1 and the batch of {numbers['batch_size']}, not {micro_batch}"
        raise DifftoolError(Exit.USAGE, what, "leave it out: it is found by itself")
    spelled(device)
    if dtype == "fp16":
        raise DifftoolError(Exit.USAGE, "training in fp16 loses small gradients", "take --dtype bf16 or fp32")
    if processes.count() > numbers["batch_size"]:
        what = f"{processes.count()} processes cannot share a batch of {numbers['batch_size']}"
        raise DifftoolError(Exit.USAGE, what, "start fewer, or give a larger --batch-size")
    from .data.pictures import announce, load  # from here on it takes seconds

    where, kind = choose(device, dtype, threads)
    where = processes.begin(where)
    pictures = processes.first(lambda: load(str(row["data"] if data is None else data), size, held_out))
    announce(pictures)
    log.info(_found(pictures))
    _suits(name, row, pictures, numbers, path, target)
    height, width = pictures.pixels.shape[1:3]
    if dtype == "auto" and where.type == "cpu" and height * width >= LARGE and _computes_bf16():
        import torch

        kind = torch.bfloat16
    config = _config(name, row, pictures, length, numbers, target, path, seed, name_of(kind))
    if micro_batch is not None:
        config["train"]["micro_batch"] = micro_batch
    return Job(config, pictures, where, kind)


def _suits(
    name: str, row: dict[str, Any], pictures: Pictures, numbers: dict[str, Any], path: dict[str, Any], target: str
) -> None:
    """Raises DifftoolError 2 where a preset is for other data, or a setting for other networks."""
    if (row["net"]["type"] == "mlp") != pictures.points:
        kind = "points of the plane" if row["net"]["type"] == "mlp" else "pictures"
        raise DifftoolError(Exit.USAGE, f"the preset {name} is for {kind}", "leave out --preset")
    if pictures.points and numbers.get("checkpointing"):
        raise DifftoolError(Exit.USAGE, f"the preset {name} has no checkpointing", "leave out --checkpointing")
    if pictures.points and numbers.get("flip"):
        raise DifftoolError(Exit.USAGE, "points of the plane cannot be mirrored", "leave out --flip")
    if "autoencoder" not in row:
        return
    _, height, width, _ = pictures.pixels.shape
    factor = 2 ** (len(row["autoencoder"]["net"]["widths"]) + len(row["net"]["widths"]) - 2)
    if pictures.captions is None or pictures.held_out is None:
        lacks = "captions" if pictures.captions is None else "held-out pictures"
        hint = "put a .txt beside each picture" if pictures.captions is None else "take more pictures, or --held-out"
        raise DifftoolError(Exit.USAGE, f"the preset {name} reads captions, and {pictures.name} has no {lacks}", hint)
    if height != width or height % factor:
        what = f"the preset {name} wants square pictures of a multiple of {factor} pixels, not {width}x{height}"
        raise DifftoolError(Exit.USAGE, what, f"add --size {factor * 4}x{factor * 4}")
    if path.get("betas") not in ("linear", "scaled_linear") or (target == "eps" and path.get("zero_snr")):
        what = (
            "a Stable Diffusion folder is written for linear or scaled_linear betas, and eps says nothing at pure noise"
        )
        raise DifftoolError(Exit.USAGE, what, "leave out --target and --betas")
    for setting in ("flip", "learned_range", "checkpointing"):
        if numbers.get(setting):
            what = f"the preset {name} has no {setting.replace('_', '-')}"
            raise DifftoolError(Exit.USAGE, what, f"leave out --{setting.replace('_', '-')}")


def _computes_bf16() -> bool:
    """Whether the CPU multiplies in bf16 (AMX, AVX512-BF16), not just converts to it."""
    from torch import cpu

    return cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]


def classes_of(names: Sequence[str]) -> str:
    """How many classes there are, and what the first are called."""
    return f"{len(names)} classes ({', '.join(names[:10])}{', ...' if len(names) > 10 else ''})"


def _found(pictures: Pictures) -> str:
    """What the data are, in a line."""
    number, height, width, channels = pictures.pixels.shape
    kinds = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}
    parts = [f"{number:,} {'points' if pictures.points else f'pictures of {width}x{height}, {kinds[channels]}'}"]
    parts += [classes_of(pictures.classes)] if pictures.classes else []
    parts += ["with captions"] if pictures.captions is not None else []
    parts += [f"{len(pictures.held_out.pixels):,} more held out"] if pictures.held_out is not None else []
    parts += [f"{pictures.duplicates:,} of them twice"] if pictures.duplicates else []
    return f"{pictures.name}: {', '.join(parts)}"


def _extras(row: dict[str, Any], target: str, **own: Any) -> dict[str, Any]:
    """The settings of a recipe that need not be there."""
    given = {key: row.get(key) if value is None else value for key, value in own.items()}
    pick("weight", given["weight"] or "plain", dict.fromkeys(WEIGHTINGS))
    pick("times", given["times"] or "even", dict.fromkeys(TIMES))
    if given["times"] is None and target == "edm":
        given["times"] = "log_normal"
    if given["learned_range"] and target in ("flow", "flow_rev", "edm"):
        what = f"a variance is learned for the steps of a discrete path, which {target} has not"
        raise DifftoolError(Exit.USAGE, what, "take --target v, eps or x0 with --learned-range")
    if given["learned_range"] and given["times"] not in (None, "even"):
        what = "a variance is learned at whole levels, which only even times are"
        raise DifftoolError(Exit.USAGE, what, "leave out --times")
    return {key: value for key, value in given.items() if value not in (None, False, "plain", "even")}


def _path(target: str, betas: str | None) -> dict[str, Any]:
    """The path that a target is trained on, as `models.build_path` takes it."""
    if target in ("flow", "flow_rev", "edm") and betas is not None:
        raise DifftoolError(Exit.USAGE, f"{target} has a path of its own, without betas", "leave out --betas")
    if target == "edm":
        return {"type": "karras", "lo": 0.002, "hi": 80.0}
    if target in ("flow", "flow_rev"):
        return {"type": "flow", "shift": 1.0, "clock": 1000}
    pick("betas", betas or "cosine", dict.fromkeys(BETAS))
    return {"type": "discrete_vp", "betas": betas or "cosine", "T": 1000}


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
    path: dict[str, Any],
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
    ranged = {"learned_range": True} if numbers.pop("learned_range", False) else {}
    data = {"name": pictures.name, "pictures": len(pictures.pixels), "sha256": pictures.fingerprint}
    net = {**row["net"], **ranged, "channels": channels, "classes": len(pictures.classes)}
    more = {}
    if "autoencoder" in row:
        net, more = row["net"], {"autoencoder": row["autoencoder"]}
        numbers["guidance"] = row["guidance"]
    return {
        "schema": SCHEMA,
        "net": net,
        "path": path,
        "target": target,
        "size": [height, width],
        "classes": [] if more else pictures.classes,
        **more,
        "train": {"preset": name, "data": data, "length": length, **numbers, "seed": seed, "dtype": dtype},
    }


def _preset(data: str | Path | None, name: str | None) -> tuple[str, dict[str, Any]]:
    """The preset by name, else the one made for the data."""
    if name is None:
        known = "digits" if data is None else str(data)
        rows = family("train")
        name = known if known in rows and "data" in rows[known] else "points" if known in POINTS else "pictures"
    row = read_preset("train", name)
    if data is None and "data" not in row:
        raise DifftoolError(
            Exit.USAGE,
            f"the preset {name} has no data of its own",
            f"name them: difftool train DATA --preset {name}",
        )
    return name, row
