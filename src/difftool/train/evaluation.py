"""Compares the pictures that a model draws with held-out real ones: `difftool eval`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..device import MachineSettings
from ..errors import DifftoolError, Exit
from ..limits import GUIDANCE, MAX_COUNT
from ..progress import Track, untracked
from ..sampling.settings import AverageSettings, SamplerSettings, known_sampler
from ..settings import MACHINE, SAMPLING, checked, from_call, options, setting

if TYPE_CHECKING:
    from ..pixels.plan import SamplePlan
    from ..pixels.settings import Settings as DrawingSettings
    from .data.pictures import Pictures

log = logging.getLogger(__name__)

FEWEST = 50
"""Least number of pictures to draw."""


@dataclass(frozen=True)
class Settings(AverageSettings, SamplerSettings, MachineSettings):
    """Settings of `eval`. Those it shares with `pixels.settings.Settings` have the same meaning."""

    model: str | Path | None = setting(
        None,
        "Run folder, model folder or diffusers folder; default: the bundled digits model.",
        argument=True,
        metavar="MODEL",
        typed=str | None,
    )
    data: str | Path | None = setting(
        None, "Data set to compare with, as for train; default: digits.", typed=str | None
    )
    inception: Path | None = setting(None, "Inception weights of pytorch-fid; adds the standard FID.")
    held_out: float | None = setting(
        None, "Share of the pictures held out in training; default: 0.05.", least=0, most=0.99
    )
    sampler: str | None = setting("ddim", "Sampler, by any of its names.", panel=SAMPLING, check=known_sampler)
    steps: int | None = setting(50, "Number of steps.", panel=SAMPLING, least=1, most=MAX_COUNT)
    guidance: float = setting(
        1.0, "Classifier-free guidance scale; 1 is off.", "--guidance", "--cfg", panel=SAMPLING, **GUIDANCE
    )
    count: int = setting(500, "Number of pictures to generate.", panel=SAMPLING, least=FEWEST, most=MAX_COUNT)
    seed: int = setting(1000, "Random seed; picture k uses SEED + k.", panel=SAMPLING)
    batch_size: int | None = setting(
        None, "Batch size; results agree up to rounding.", panel=MACHINE, least=1, most=MAX_COUNT
    )

    def drawing(self) -> DrawingSettings:
        """The settings that `pixels` draws with."""
        from ..pixels.settings import Settings as DrawingSettings

        shared = options(DrawingSettings).keys() & options(Settings).keys()
        return DrawingSettings(**{name: getattr(self, name) for name in shared})


class EvaluationPlan(NamedTuple):
    """An opened model and the pictures to compare with."""

    settings: Settings
    source: str
    """Name of the data set."""
    pictures: Pictures
    held_out: Pictures
    plan: SamplePlan


@dataclass(frozen=True)
class Evaluation:
    """The quality of a model."""

    quality: dict[str, float]
    """Figures of `learning.metrics.judge`, and of `legible` and `fid` where they apply."""
    count: int
    """Number of pictures drawn."""
    held_out: int
    """Number of real pictures they were compared with."""
    settings: DrawingSettings
    """The settings that draw these pictures again."""
    name: str
    """Name of the model."""
    model: Mapping[str, object]
    """Its name, hash, size and classes."""
    source: str
    """Name of the data set."""


def evaluate(
    model: str | Path | None = None, data: str | Path | None = None, *, track: Track = untracked, **settings: Any
) -> Evaluation:
    """Compares the pictures that a model draws with held-out real ones.

    Args:
        model: as for `sample`; None is the bundled model of digits.
        data: as for `train`; its held-out part is compared with. None is the digits.
        track: follows the steps, to show progress.
        settings: fields of `Settings`: `count` pictures, `sampler`, `steps`, `schedule`, `eta`, `guidance`, `ema`,
            `seed`, `held_out` (the share that train held out), `inception` (the file of pytorch-fid's weights, for a
            real FID), `batch_size`, `device`, `dtype`, `threads`.

    Raises DifftoolError as `sample`, and 4 for data of another size or with too few held-out pictures.
    """
    return run_evaluation(plan_evaluation(from_call(Settings, model=model, data=data, **settings)), track=track)


def plan_evaluation(settings: Settings) -> EvaluationPlan:
    """Opens the model and reads the pictures, without drawing."""
    from ..pixels import plan as pixels
    from .data.pictures import BUILT_IN, announce, load
    from .quality import FEWEST as FEWEST_HELD_OUT
    from .quality import by_share, is_measurable

    settings = checked(settings)
    if settings.inception is not None and not settings.inception.is_file():
        message = f"no such file: {settings.inception}"
        raise DifftoolError(Exit.FILE, message, "pass the Inception weights of pytorch-fid")
    drawing = settings.drawing()
    plan = pixels.plan_samples(drawing)
    channels, height, width = plan.model.shape
    source = "digits" if settings.data is None else str(settings.data)
    pictures = load(source, None if source in BUILT_IN else (width, height), settings.held_out)
    announce(pictures)
    if pictures.pixels.shape[1:] != (height, width, channels):
        _, high, wide, depth = pictures.pixels.shape
        shape, drawn = f"{wide}x{high}x{depth}", f"{width}x{height}x{channels}"
        message = f"{plan.model.name} generates pictures of {drawn}, but those of {source} are {shape}"
        raise DifftoolError(Exit.FILE, message, "pass the data it was trained on with --data")
    held_out = pictures.held_out
    if held_out is None or not is_measurable(pictures):
        message = f"{source} has fewer than {FEWEST_HELD_OUT} held-out pictures"
        raise DifftoolError(Exit.FILE, message, "use more pictures, or a larger --held-out")
    labels = by_share(held_out, plan.model.classes, settings.count)
    plan = pixels.plan_samples(replace(drawing, label=labels), plan.model)
    return EvaluationPlan(settings, source, pictures, held_out, plan)


def run_evaluation(planned: EvaluationPlan, *, track: Track = untracked) -> Evaluation:
    """Draws the pictures and computes the figures."""
    from ..learning.metrics import fid
    from ..pixels.draw import draw_samples
    from .quality import measure

    drawn = draw_samples(planned.plan, track=track)
    log.info("evaluating")
    quality = measure(drawn, planned.pictures)
    real = planned.held_out.pixels
    if planned.settings.inception is not None:
        quality["fid"] = fid(drawn.pixels, real, planned.settings.inception)
    plan = planned.plan
    return Evaluation(
        quality, plan.count, len(real), plan.settings, plan.model.name, drawn.manifest["model"], planned.source
    )
