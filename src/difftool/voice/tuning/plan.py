"""The plan of a run: everything checked, and every default filled in."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

from ...device import choose, cpu_computes_bf16, name_of
from ...errors import DifftoolError, Exit
from ...files import expanded
from ...learning.config import Length, RunConfig
from ...learning.folder import REPORT, Layout, standing
from ...models import AVERAGES, SCHEMA
from ...settings import checked, options
from ...settings import name_of as option_name
from .. import engines
from ..library import PACKAGE, TRAINED, WEIGHTS, find, named
from . import ITEMS, TRAINABLE, Method, Tuning, tuner
from .clips import clips_of, fingerprint, split
from .previews import SAMPLES, preview_path, speech_of
from .settings import Settings

log = logging.getLogger(__name__)

LORA, RANK = "lora", 16
"""The method with a rank, and its usual one."""


class Job(NamedTuple):
    """A checked run, ready to begin."""

    tuning: Tuning
    config: RunConfig
    """The contents of config.json, without train.images until a run of minutes has been measured."""
    folder: Path
    left_out: Mapping[str, str]
    """Clips that cannot be learned from: the reason by name."""

    @property
    def layout(self) -> Layout:
        """The files in the folder of the run."""
        return Layout(
            items=ITEMS,
            previews=SAMPLES,
            drawn="*.mp3*",
            preview=preview_path,
            models=(REPORT,),  # not WEIGHTS: those of a run before this one stay until there are better ones
            folders=(AVERAGES, WEIGHTS, *self.tuning.files),
            options=_option_names(),
            again="add --overwrite to start over",
            extendable=False,
        )

    def standing(self, *, overwrite: bool) -> tuple[RunConfig, bool]:
        """As `learning.folder.standing`. A run whose weights were removed is not finished."""
        config, finished = standing(self.folder, self.config, self.layout, overwrite)
        return (config, True) if finished and (self.folder / WEIGHTS).is_file() else (config, False)


def prepared(settings: Settings) -> Job:
    """Checks the settings of `voice train` and reads the clips, without training. Raises as `run.train`."""
    settings = checked(settings)
    voices_dir, models_dir = (
        None if path is None else expanded(path) for path in (settings.voices_dir, settings.models_dir)
    )
    (voice,) = find(named(settings.voice), voices_dir, "")
    if voice.folder.parent == PACKAGE:
        message = f"the voice {voice.name!r} is in the package, which is not changed"
        raise DifftoolError(Exit.FILE, message, "record a voice with difftool voice prep")
    engine = _engine(settings.engine, models_dir)
    learner = tuner(engine)
    method = settings.method or next(iter(learner.METHODS))
    if method not in learner.METHODS:
        message = f"the engine {engine} has no method {method}; it has {' and '.join(learner.METHODS)}"
        raise DifftoolError(Exit.USAGE, message, f"leave out --method, or use --engine {_having(method)}")
    usual = learner.METHODS[method]
    if settings.rank is not None and method != LORA:
        other = f"--method {LORA}" if LORA in learner.METHODS else f"--engine {_having(LORA)}"
        raise DifftoolError(Exit.USAGE, f"the method {method} has no --rank", f"leave it out, or use {other}")
    clips, left_out = clips_of(voice, learner.unusable)
    parts = split(clips)
    device, dtype = choose(settings.device, settings.dtype, settings.threads)
    number_format = name_of(dtype)
    if settings.dtype == "auto" and device.type == "cpu" and cpu_computes_bf16():
        number_format = "bf16"
    settings = replace(
        settings,
        voices_dir=voices_dir,
        models_dir=models_dir,
        engine=engine,
        method=method,
        rank=(settings.rank or RANK) if method == LORA else None,
        lr=settings.lr or usual.lr,
        batch_size=min(settings.batch_size or usual.batch_size, len(parts.train)),
        device=str(device),
        dtype=number_format,
    )
    tuning = learner.plan(settings, voice, parts)
    log.info(learner.LEARNED)
    speech_of(tuning, settings.text)  # whether previews can be spoken
    return Job(tuning, _config(tuning, usual), voice.folder / TRAINED / engine, left_out)


def _engine(name: str, models_dir: Path | None) -> str:
    """The engine to train; for auto, the first whose networks are installed."""
    if name != engines.AUTO:
        return name
    return next(row for row in engines.ENGINES if row in TRAINABLE and engines.engine(row).installed(models_dir))


def _having(method: str) -> str:
    """The engines that have a method."""
    return " or ".join(name for name in TRAINABLE if method in tuner(name).METHODS)


def _config(tuning: Tuning, usual: Method) -> RunConfig:
    """The contents of config.json."""
    settings, clips = tuning.settings, tuning.clips
    length = _length(settings, usual, len(clips.train))
    assert settings.batch_size is not None
    known = {"images": int(length["steps"]) * settings.batch_size} if "steps" in length else {}
    sparing = {"checkpointing": True} if settings.checkpointing else {}
    train = {
        "preset": f"{settings.engine} {settings.method}",
        "data": {"name": tuning.voice.name, "pictures": len(clips.train), "sha256": fingerprint(clips)},
        "length": length,
        "batch_size": settings.batch_size,
        "lr": settings.lr,
        "warmup": usual.warmup,
        "ema": usual.ema,
        "weight_decay": usual.weight_decay,
        "keep_best": True,
        **known,
        **sparing,
        "seed": settings.seed,
        "dtype": settings.dtype,
    }
    return cast(RunConfig, {"schema": SCHEMA, "net": tuning.net, "train": train})


def _length(settings: Settings, usual: Method, clips: int) -> Length:
    """The length of a run."""
    if settings.minutes is not None and settings.steps is not None:
        raise DifftoolError(Exit.USAGE, "minutes and steps cannot be used together", "use only one of them")
    if settings.minutes is not None:
        return {"minutes": settings.minutes}
    if settings.steps is not None:
        return {"steps": settings.steps}
    if usual.minutes is not None:
        return {"minutes": usual.minutes}
    assert settings.batch_size is not None
    least, most = usual.updates
    updates = math.ceil(usual.epochs * clips / settings.batch_size)
    return {"steps": min(max(updates, least), most)}


def _option_names() -> dict[str, str]:
    """The options behind the entries of a config, by their place in it."""
    names = {name: option_name(name, option) for name, option in options(Settings).items()}
    places = {f"train.{name}": names[name] for name in ("lr", "batch_size", "seed", "dtype", "checkpointing")}
    places |= {f"train.length.{unit}": names[unit] for unit in ("minutes", "steps")}
    data = {"train.data.sha256": "clips of the voice", "train.data.pictures": "number of clips"}
    return places | data | {"net.rank": names["rank"], "train.preset": names["method"]}
