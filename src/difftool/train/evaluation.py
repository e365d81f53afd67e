"""Compares the pictures or sounds that a model draws with held-out real ones: `difftool eval`."""

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
    from ..models import Model
    from ..pixels.draw import Sampled
    from ..pixels.plan import SamplePlan
    from ..pixels.settings import Settings as DrawingSettings
    from .data.pictures import Pictures
    from .data.sounds import Sounds

log = logging.getLogger(__name__)

FEWEST = 50
"""Least number of pictures or sounds to draw."""
COUNT, COUNT_OF_SOUNDS = 500, 100
"""Default number of pictures, and of sounds."""


@dataclass(frozen=True)
class Settings(AverageSettings, SamplerSettings, MachineSettings):
    """Settings of `eval`. Those it shares with `pixels.settings.Settings` have the same meaning."""

    model: str | Path | None = setting(
        None,
        "Run folder, model folder, diffusers folder, or a bundled model: digits (the default) or tones.",
        argument=True,
        metavar="MODEL",
        typed=str | None,
    )
    data: str | Path | None = setting(
        None, "Data set to compare with, as for train; default: that of a bundled model.", typed=str | None
    )
    inception: Path | None = setting(None, "Inception weights of pytorch-fid; adds the standard FID.")
    held_out: float | None = setting(
        None,
        "Share held out in training; default: 0.05 of the pictures, or 0.1 of the recordings.",
        least=0,
        most=0.99,
    )
    sampler: str | None = setting("ddim", "Sampler, by any of its names.", panel=SAMPLING, check=known_sampler)
    steps: int | None = setting(50, "Number of steps.", panel=SAMPLING, least=1, most=MAX_COUNT)
    guidance: float = setting(
        1.0, "Classifier-free guidance scale; 1 is off.", "--guidance", "--cfg", panel=SAMPLING, **GUIDANCE
    )
    count: int | None = setting(
        None,
        f"Number of pictures or sounds to generate; default: {COUNT} pictures, {COUNT_OF_SOUNDS} sounds.",
        panel=SAMPLING,
        least=FEWEST,
        most=MAX_COUNT,
    )
    seed: int = setting(1000, "Random seed; item k uses SEED + k.", panel=SAMPLING)
    batch_size: int | None = setting(
        None, "Batch size; results agree up to rounding.", panel=MACHINE, least=1, most=MAX_COUNT
    )

    def drawing(self) -> DrawingSettings:
        """The settings that `pixels` draws with."""
        from ..pixels.settings import Settings as DrawingSettings

        shared = options(DrawingSettings).keys() & options(Settings).keys()
        return DrawingSettings(**{name: getattr(self, name) for name in shared})


class EvaluationPlan(NamedTuple):
    """An opened model and the data to compare with."""

    settings: Settings
    source: str
    """Name of the data set."""
    data: Pictures | Sounds
    held_out: int
    """Number of held-out items that are compared with."""
    plan: SamplePlan


@dataclass(frozen=True)
class Evaluation:
    """The quality of a model."""

    quality: dict[str, float]
    """Figures of `learning.metrics.Quality`, and `legible` and `fid` where they apply; or those of
    `sounds.quality.SoundQuality`."""
    count: int
    """Number of pictures or sounds drawn."""
    held_out: int
    """Number of real ones they were compared with."""
    settings: DrawingSettings
    """The settings that draw them again."""
    name: str
    """Name of the model."""
    model: Mapping[str, object]
    """Its name, hash, size and classes."""
    source: str
    """Name of the data set."""


def evaluate(
    model: str | Path | None = None, data: str | Path | None = None, *, track: Track = untracked, **settings: Any
) -> Evaluation:
    """Compares the pictures or sounds that a model draws with held-out real ones.

    Args:
        model: as for `sample`; None is the bundled model of digits.
        data: as for `train`; its held-out part is compared with. None is the data of a bundled model.
        track: follows the steps, to show progress.
        settings: fields of `Settings`: `count` pictures or sounds, `sampler`, `steps`, `schedule`, `eta`, `guidance`,
            `ema`, `seed`, `held_out` (the share that train held out), `inception` (the file of pytorch-fid's weights,
            for a real FID), `batch_size`, `device`, `dtype`, `threads`.

    Raises DifftoolError as `sample`, and 4 for data of another size or with too little held out.
    """
    return run_evaluation(plan_evaluation(from_call(Settings, model=model, data=data, **settings)), track=track)


def plan_evaluation(settings: Settings) -> EvaluationPlan:
    """Opens the model and reads the data, without drawing."""
    from ..pixels import plan as pixels
    from .data.pictures import BUILT_IN as PICTURES
    from .data.pictures import announce
    from .data.sound_sets import BUILT_IN as SOUNDS
    from .quality import by_share

    settings = checked(settings)
    if settings.inception is not None and not settings.inception.is_file():
        message = f"no such file: {settings.inception}"
        raise DifftoolError(Exit.FILE, message, "pass the Inception weights of pytorch-fid")
    plan = pixels.plan_samples(settings.drawing())
    has_sounds = plan.model.sound is not None
    source = str(settings.data or ("tones" if has_sounds else "digits"))
    if source in (PICTURES if has_sounds else SOUNDS):
        message = f"{plan.model.name} generates {plan.model.item}s, unlike {source}"
        raise DifftoolError(Exit.FILE, message, "pass the data it was trained on with --data")
    data, held_out = (_sounds if has_sounds else _pictures)(source, plan.model, settings)
    announce(data)
    count = settings.count or (COUNT_OF_SOUNDS if has_sounds else COUNT)
    assert data.held_out is not None
    labels = by_share(data.held_out, plan.model.classes, count)
    plan = pixels.plan_samples(replace(settings.drawing(), label=labels, count=count), plan.model)
    return EvaluationPlan(settings, source, data, held_out, plan)


def _pictures(source: str, model: Model, settings: Settings) -> tuple[Pictures, int]:
    """(the pictures to compare with, how many of them are held out). Raises DifftoolError 4 for pictures of another
    size, or if too few are held out."""
    from .data.pictures import BUILT_IN, load
    from .quality import FEWEST as FEWEST_HELD_OUT
    from .quality import is_measurable

    channels, height, width = model.shape
    pictures = load(source, None if source in BUILT_IN else (width, height), settings.held_out)
    if pictures.shape != model.shape:
        depth, high, wide = pictures.shape
        shape, drawn = f"{wide}x{high}x{depth}", f"{width}x{height}x{channels}"
        message = f"{model.name} generates pictures of {drawn}, but those of {source} are {shape}"
        raise DifftoolError(Exit.FILE, message, "pass the data it was trained on with --data")
    if pictures.held_out is None or not is_measurable(pictures):
        message = f"{source} has fewer than {FEWEST_HELD_OUT} held-out pictures"
        raise DifftoolError(Exit.FILE, message, "use more pictures, or a larger --held-out")
    return pictures, pictures.held_out.items


def _sounds(source: str, model: Model, settings: Settings) -> tuple[Sounds, int]:
    """The same for sounds."""
    from .data.sound_sets import load_sounds
    from .sounds.quality import COMPARED, is_measurable
    from .sounds.quality import FEWEST as FEWEST_HELD_OUT

    assert model.sound is not None
    if settings.inception is not None:
        raise DifftoolError(Exit.USAGE, "--inception has no meaning for sounds", "leave out --inception")
    sounds = load_sounds(source, model.sound.format.name, model.sound.frames, settings.held_out)
    if sounds.held_out is None or not is_measurable(sounds):
        message = f"{source} has fewer than {FEWEST_HELD_OUT} held-out windows"
        raise DifftoolError(Exit.FILE, message, "use more recordings, or a larger --held-out")
    return sounds, min(sounds.held_out.items, COMPARED)


def run_evaluation(planned: EvaluationPlan, *, track: Track = untracked) -> Evaluation:
    """Draws the items and computes the figures."""
    from ..pixels.draw import draw_samples

    plan = planned.plan
    drawn = draw_samples(plan, track=track)
    log.info("evaluating")
    return Evaluation(
        _figures(planned, drawn),
        plan.count,
        planned.held_out,
        plan.settings,
        plan.model.name,
        drawn.manifest["model"],
        planned.source,
    )


def _figures(planned: EvaluationPlan, drawn: Sampled) -> dict[str, float]:
    from ..learning.metrics import fid
    from .data.sounds import Sounds
    from .quality import measure
    from .sounds.quality import quality_of

    if isinstance(planned.data, Sounds):
        assert drawn.mels is not None
        return quality_of(drawn.mels, planned.data)._asdict()
    quality = measure(drawn, planned.data)
    if planned.settings.inception is not None:
        assert planned.data.held_out is not None
        quality["fid"] = fid(drawn.pixels, planned.data.held_out.pixels, planned.settings.inception)
    return quality
