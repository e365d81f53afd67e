"""Pipelines and schedulers of diffusers, as parity with them is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from difftool.core.paths import CLEAN, Level


def opened(folder: Path, scheduler: str | None = None, **more: Any) -> Any:
    import diffusers

    pipe = diffusers.DiffusionPipeline.from_pretrained(str(folder), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    if scheduler is not None:
        pipe.scheduler = scheduler_of(pipe, scheduler, **more)
    return pipe


def scheduler_of(pipe: Any, name: str, **more: Any) -> Any:
    """Another scheduler of diffusers for a pipeline, with settings of its own."""
    import diffusers

    config = {**pipe.scheduler.config, "rescale_betas_zero_snr": False, **more}
    del config["_use_default_values"]  # of which none would be heard
    return getattr(diffusers, name).from_config(config)


def levels_of(scheduler: Any, path: Any, *, flow: bool, clock: float) -> list[Level]:
    """The grid that a scheduler visited."""
    times = list(dict.fromkeys(scheduler.timesteps.tolist()))
    if "DDIM" in type(scheduler).__name__:
        return [*(path.level(float(t)) for t in times), CLEAN]
    sigmas = list(dict.fromkeys(scheduler.sigmas.double().tolist()))[: len(times)]
    if flow:
        return [*(Level(clock * s, 1 - s, s) for s in sigmas), CLEAN]
    return [
        *(Level(t, (1 + s * s) ** -0.5, s * (1 + s * s) ** -0.5) for t, s in zip(times, sigmas, strict=True)),
        CLEAN,
    ]
