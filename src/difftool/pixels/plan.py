"""The plan of a sampling run: defaults resolved and settings checked before sampling starts."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import processes
from ..core.guide import clip, dynamic_threshold, window_starts
from ..core.predict import Predict
from ..device import machine_used
from ..errors import DifftoolError, Exit, unknown
from ..models import Model, open_model
from ..sampling.choice import Choice, choose_sampler, refuse_pure_noise
from ..sampling.guidance import check_guidance, guided, started
from ..settings import checked, from_call
from .editing import strength_of
from .settings import COUNT, Settings
from .sounds import SoundPlan, plan_sounds

if TYPE_CHECKING:
    import torch

BATCH_VALUES, BATCH_ITEMS = 2**20, 256
"""Values and pictures in a batch by default: 21 pictures of 128x128 RGB, 256 small ones."""
SAMPLER = "ddim"
"""The default sampler."""
ANY = "any"
"""The label for no particular class."""


@dataclass(frozen=True)
class SamplePlan:
    """A run with all defaults resolved."""

    model: Model
    choice: Choice
    """The sampler on its grid."""
    labels: list[str | None]
    settings: Settings
    """The settings that reproduce this plan."""
    worse: Model | None = None
    """The model of autoguidance."""
    sound: SoundPlan | None = None
    """What becomes of the spectrograms of a model of sounds."""

    @property
    def is_guided(self) -> bool:
        """Whether there is a prediction to guide away from."""
        return needs_two(self.settings, self.choice)

    @property
    def calls(self) -> int:
        """Network calls for one batch."""
        settings, away = self.settings, self.is_guided
        calls = self.choice.counted(
            lambda predict: predicted(self.model, self.choice, settings, predict, predict if away else None)
        )
        return calls * len(windows_of(self.model))

    @property
    def steps(self) -> int:
        """Steps of all batches."""
        return self.choice.steps * len(batches(self, self.batch_size))

    @property
    def count(self) -> int:
        return len(self.labels)

    @property
    def batch_size(self) -> int:
        return self.settings.batch_size or self.count


def plan_samples_with(model: str | Path | Model | None = None, **settings: Any) -> SamplePlan:
    """`plan_samples` with the fields of `Settings`; `model` may be an opened one."""
    if isinstance(model, Model):
        return plan_samples(from_call(Settings, **settings), model)
    return plan_samples(from_call(Settings, model=model, **settings))


def plan_samples(settings: Settings, model: Model | None = None) -> SamplePlan:
    """Opens the model, unless one is given, and checks the settings; nothing is sampled."""
    settings = checked(settings)
    device, dtype = settings.machine()
    device = processes.begin(device)
    opened = open_model(settings.model, device, dtype, settings.ema) if model is None else model
    sound = plan_sounds(settings, opened, device)
    count = COUNT if settings.count is None else settings.count
    if settings.between is not None and count < 2:
        raise DifftoolError(Exit.USAGE, "--between needs a --count of at least 2", "leave out --count")
    labels = read_labels(settings.label, opened, count)
    choice = choose_sampler(
        opened.path,
        settings.sampler or SAMPLER,
        settings.steps,
        settings.schedule,
        settings.eta,
        opened.variance,
        strength_of(settings) or 1.0,
        settings.churn,
    )
    _check_labels(settings, opened, labels, choice)
    check_guidance(settings, choice, opened.name, settings.guidance != 1, "add --guidance 2")
    worse = _worse(settings, opened, device, dtype)
    refuse_pure_noise(opened.name, opened.target, choice)
    if sound is not None:
        opened, worse = sound.stretched(opened), worse and sound.stretched(worse)
    batch_size = 1 if settings.low_vram else settings.batch_size
    if batch_size is None:
        batch_size = _default_batch(opened, count)
    used = replace(
        settings,
        model=opened.source,
        ema=opened.ema,
        **choice.settings,
        guidance=float(settings.guidance),
        count=count,
        batch_size=min(batch_size, count),
        low_vram=False,
        seed=settings.seed_of(0),
        strength=strength_of(settings),
        vocoder=settings.vocoder if sound is None else sound.vocoder.name,
        autoguide=None if worse is None else worse.source,
        **machine_used(device, dtype),
    )
    return SamplePlan(opened, choice, labels, used, worse, sound)


def needs_two(settings: Settings, choice: Choice) -> bool:
    """Whether a run needs a prediction to guide away from."""
    return settings.guidance != 1 or choice.needs_uncond


def predicted(model: Model, choice: Choice, settings: Settings, cond: Predict, uncond: Predict | None) -> Predict:
    """The prediction `cond`, guided away from `uncond` (None: not at all), within the limits of the model's data."""
    predict = cond
    if uncond is not None:
        predict = guided(settings, choice, cond, uncond, settings.guidance, math.prod(model.shape))
    if settings.dynamic_threshold is not None:
        predict = dynamic_threshold(predict, settings.dynamic_threshold)
    elif model.clip:
        predict = clip(predict)
    return started(settings, choice, predict)


def _worse(settings: Settings, model: Model, device: torch.device, dtype: torch.dtype) -> Model | None:
    """The model of autoguidance. Raises DifftoolError 2 without guidance, 4 if it is of another kind than `model`."""
    if settings.autoguide is None:
        return None
    if settings.guidance == 1:
        raise DifftoolError(Exit.USAGE, "--autoguide has no effect without guidance", "add --guidance 2")
    worse = open_model(settings.autoguide, device, dtype)
    ends = [[m.path.level(m.path.lo), m.path.level(m.path.hi)] for m in (model, worse)]
    differences = {
        f"{model.item}s of another size": model.shape != worse.shape,
        "other classes": model.classes != worse.classes,
        "another noise path": type(model.path) is not type(worse.path) or ends[0] != ends[1],
    }
    if other := next((difference for difference, is_there in differences.items() if is_there), None):
        message = f"{worse.name} cannot guide {model.name}: it has {other}"
        raise DifftoolError(Exit.FILE, message, "use a shorter or smaller run on the same data")
    return worse


def _check_labels(settings: Settings, model: Model, labels: Sequence[str | None], choice: Choice) -> None:
    """Raises DifftoolError 2 if guidance needs predictions with and without a label, and there are not both."""
    if settings.autoguide is not None or not needs_two(settings, choice):
        return
    if model.any_label and None not in labels:
        return
    unknown_any = bool(model.classes) and not model.any_label
    why = "was trained only with labels, and guidance needs both" if unknown_any else "has no labels for guidance"
    option = "--guidance" if settings.guidance != 1 else f"--sampler {choice.sampler}"
    if model.any_label:
        message = "--label any has no labels for guidance"
        raise DifftoolError(Exit.USAGE, message, f"leave out {option} or --label any")
    raise DifftoolError(Exit.USAGE, f"{model.name} {why}", f"leave out {option}")


def _default_batch(model: Model, count: int) -> int:
    """The batch size for `count` pictures by default: each process has its share."""
    share = math.ceil(count / processes.count())
    fitting = BATCH_VALUES // math.prod(model.shape)
    return max(1, min(fitting, BATCH_ITEMS, share))


def read_labels(label: str | Sequence[str] | None, model: Model, count: int) -> list[str | None]:
    """The class of each of `count` pictures. `label`: a class, several in turn (a list, or separated by commas), "any",
    or None for all in turn; upper and lower case are equal unless classes differ in nothing else."""
    if not model.classes:
        if label is not None and str(label).casefold() != ANY:
            raise DifftoolError(Exit.USAGE, f"{model.name} was trained without labels", "leave out --label")
        return [None] * count
    known = [*model.classes, *([ANY] if model.any_label else [])]
    if label is None:
        names = list(model.classes)
    elif not isinstance(label, str):
        names = list(label)
    else:
        is_one = bool(_same(label, known))  # "cats, black" may be one class
        names = [label] if is_one else [name.strip() for name in label.split(",")]
    labels = [_known_label(name, known) for name in names or [""]]
    classes = [label if label in model.classes else None for label in labels]
    return [classes[k % len(classes)] for k in range(count)]


def _known_label(name: str, known: Sequence[str]) -> str:
    """The label of that name. Raises DifftoolError 2 if there is none, or several that differ only in case."""
    same = _same(name, known) if isinstance(name, str) else []  # from Python it may be anything
    if not same:
        raise unknown("label", str(name), known)
    if same[1:]:
        message = f"label {name!r} is ambiguous: {' or '.join(same)}"
        raise DifftoolError(Exit.USAGE, message, "match upper and lower case exactly")
    return same[0]


def _same(name: str, known: Sequence[str]) -> list[str]:
    """The label that is exactly `name`, or else those that differ only in case."""
    return [name] if name in known else [label for label in known if label.casefold() == name.casefold()]


def windows_of(model: Model) -> list[int]:
    """Where the windows begin in which the network sees an item: a sound may be longer than those that it learned."""
    width = width_of(model)
    return window_starts(model.shape[2], width, hop_of(width))


def width_of(model: Model) -> int:
    """The width of what the network learned."""
    return model.shape[2] if model.sound is None else model.sound.frames // model.stride


def hop_of(width: int) -> int:
    """The distance of the windows."""
    return max(1, width // 2)


def batches(plan: SamplePlan, size: int, only: Collection[int] | None = None) -> list[range]:
    """The batches of a run; with `only`, those that contain one of these pictures."""
    starts = range(0, plan.count, size)
    every = [range(start, min(start + size, plan.count)) for start in starts]
    if only is None:
        return every
    return [batch for batch in every if not set(batch).isdisjoint(only)]
