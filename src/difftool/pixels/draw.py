"""Samples a model of pixels: for `difftool sample` and the previews of training."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .. import processes
from ..core.guide import inpaint, windows
from ..core.noise import START, Noise, slerp
from ..core.predict import Net, Predict, denoiser
from ..core.solve import State
from ..device import finite, halved
from ..errors import DifftoolError, Exit
from ..files import ItemNote, ModelNote, PictureManifest, digest_of, manifest, run_id
from ..models import Model
from ..pictures.sheets import to_pixels
from ..progress import Step, Track, untracked
from ..sampling.choice import Choice
from ..settings import manifest_of
from .editing import Edit
from .plan import (
    BATCH_VALUES,
    SamplePlan,
    batches,
    hop_of,
    needs_two,
    plan_samples_with,
    predicted,
    width_of,
    windows_of,
)
from .settings import Settings
from .sounds import SoundPlan, sounds_of

if TYPE_CHECKING:
    from ..audio.files import Samples
    from ..pictures import Pixels
    from .sounds import Mels

WIDEST = 16
"""Maximum number of columns of a grid."""


class Frame(NamedTuple):
    """The first pictures of a run at some step: uint8 (N, H, W, C)."""

    state: Pixels
    estimate: Pixels
    """The clean pictures that the network estimates from it."""


class Sampled(NamedTuple):
    """Pictures, or sounds, and their manifest."""

    pixels: Pixels
    """uint8 (N, H, W, C); of sounds their spectrograms, the lowest band first"""
    items: list[ItemNote]
    """{"index", "seed", "label"} of each"""
    manifest: PictureManifest
    trajectory: list[Frame]
    """Frames of the trajectory, if requested."""
    mels: Mels | None = None
    """Of a model of sounds: float32 (N, mels, frames) in [-1, 1]"""
    sounds: Sequence[Samples] = ()
    """Of a model of sounds: the samples of each, float32 (S,) in [-1, 1]"""
    sound: SoundPlan | None = None
    """What became of the spectrograms"""


def sample(model: str | Path | None = None, *, track: Track = untracked, **settings: Any) -> Sampled:
    """Generates pictures or sounds from a model: a run folder, a model folder, a diffusers folder, or (None) the
    bundled digits model.

    `settings` are the fields of `Settings`: `sampler` (a row of `core.SAMPLERS`, or an alias),
    `steps` (None: 25, all levels for ddpm, 4 for lcm), `schedule` (a spacing of `core.grid`; None: the model's own),
    `eta` (strength of fresh noise), `churn`, `guidance` (scale of classifier-free guidance, 1 = off), `guidance_mode`,
    `guidance_interval` (low, high), `guidance_rescale`, `autoguide` (a worse model), `dynamic_threshold`, `ema`
    (width of a stored average of the weights), `label` (a class, several separated by commas, or "any"; None cycles
    through all classes), `count`, `seed` (picture k uses seed + k, whatever the batch), `batch_size` (halved when out
    of memory), `device`, `dtype`, `threads`; `between` (two seeds whose starting noises are joined by an arc), and for
    sounds `seconds`, `init` (a file), `strength` (the share of it that is generated anew), `mask` (the seconds of it
    that are generated anew), `vocoder`, `models_dir`.

    Raises DifftoolError: 1 if the network returns NaN, 2 for invalid settings, 3 for a device that does not exist, 4
    for a model that cannot be opened, 6 if not even one picture fits in memory.
    """
    return with_sounds(draw_samples(plan_samples_with(model, **settings), track=track))


def with_sounds(drawn: Sampled) -> Sampled:
    """Adds the sounds of spectrograms; pictures stay as they are."""
    if drawn.sound is None or drawn.mels is None:
        return drawn
    seeds = [item["seed"] for item in drawn.items]
    return drawn._replace(sounds=sounds_of(drawn.sound, drawn.mels, seeds))


def draw_samples(
    plan: SamplePlan,
    *,
    only: Collection[int] | None = None,
    track: Track = untracked,
    name: str | None = None,
    frames: int = 0,
) -> Sampled:
    """Generates the pictures of a plan.

    only: indices of the pictures to generate, in the batches of the whole run: all matrix products keep their size, so
    the pixels are bit-identical; track: shows progress; name: the run's ID in the manifest; frames: the number of
    frames (at least 2), evenly spaced, of the trajectory of the first batch.
    """
    size = plan.batch_size
    mine = only
    if processes.count() > 1:
        mine = _share(plan, size, only)
    while True:
        try:
            part = _sampled(plan, size, mine, track, frames)
            break
        except (RuntimeError, MemoryError) as error:
            hint = "try --dtype bf16, or use a machine with more memory"
            size = halved(size, error, DifftoolError(Exit.MEMORY, "one picture does not fit in memory", hint))
    # the pictures of all processes, in order
    parts = processes.gathered(part)
    items = [item for part in parts for item in part.items]
    order = sorted(range(len(items)), key=lambda k: items[k]["index"])
    pixels = np.concatenate([part.pixels for part in parts])[order]
    mels = [part.mels for part in parts if part.mels is not None]
    spectrograms = np.concatenate(mels)[order] if mels else None
    model = plan.model
    about: ModelNote = {
        "name": model.name,
        "sha256": model.sha256,
        "size": list(model.shape[1:]),
        "classes": list(model.classes),
    }
    settings = {**manifest_of(plan.settings), "batch_size": size}
    common = manifest("sample", name or run_id(), settings, plan.model.packages)
    note: PictureManifest = {**common, "model": about, "network_calls": plan.calls}
    models = {} if plan.worse is None else {"autoguide": plan.worse.sha256}
    if plan.sound is not None and plan.sound.vocoder.sha256 is not None:
        models["vocoder"] = plan.sound.vocoder.sha256
    if models:
        note["models"] = models
    if plan.settings.init is not None:
        note["files"] = {str(plan.settings.init.absolute()): digest_of(plan.settings.init)[:16]}
    return Sampled(pixels, [items[k] for k in order], note, parts[0].trajectory, spectrograms, sound=plan.sound)


def _share(plan: SamplePlan, size: int, only: Collection[int] | None) -> list[int]:
    """The pictures of this process: every n-th batch of n processes."""
    shares = batches(plan, size, only)[processes.rank() :: processes.count()]
    indices = [k for batch in shares for k in batch]
    return [k for k in indices if only is None or k in only]


def columns(drawn: Sampled) -> int | None:
    """The number of grid columns that aligns the classes and is closest to a square; None if no number does."""
    classes = len(drawn.manifest["model"]["classes"])
    count = len(drawn.items)
    if classes < 2 or drawn.manifest["settings"]["label"] is not None:
        return None
    fitting = [width for width in range(classes, WIDEST + 1, classes) if count % width == 0]
    return min(fitting, key=lambda width: abs(width - math.sqrt(count)), default=None)


def states(
    model: Model,
    choice: Choice,
    seeds: Sequence[int],
    labels: Sequence[str | None],
    *,
    settings: Settings = Settings(),  # noqa: B008
    worse: Model | None = None,
    fresh: Sequence[int] | None = None,
    first: torch.Tensor | None = None,
    edit: Edit | None = None,
) -> Iterator[State]:
    """Samples one batch: yields the states (B, *model.shape) at the start and after each step.

    choice: the sampler on its grid; seeds: one per picture; labels: names of classes, None for any; settings: of
    guidance and limits; worse: the model of autoguidance; fresh: other seeds for the noise of the steps; first: unit
    noise to start from, by default that of the seeds; edit: the sound to start from.
    """
    weight = next(model.net.parameters())
    if first is None:
        first = Noise(seeds, model.shape, weight.device)(START)
    start = choice.levels[0].sigma * first
    cond, anything = {}, {}
    if model.classes:
        numbers = [len(model.classes) if label is None else model.classes.index(label) for label in labels]
        cond = {"label": torch.tensor(numbers, device=weight.device)}
        anything = {"label": torch.full_like(cond["label"], len(model.classes))}
    predict, away = _predictor(model, cond), None
    if needs_two(settings, choice):
        away = _predictor(model, anything) if worse is None else _predictor(worse, cond)
    predict = predicted(model, choice, settings, predict, away)
    if edit is not None:
        known = encoded(model, edit.mel.to(weight.device))
        start = choice.levels[0].alpha * known + start
        if edit.mask is not None:
            columns = edit.mask.view(-1, model.stride).amax(1)
            predict = inpaint(predict, known, columns.to(weight.device), first)
    noise = Noise(seeds if fresh is None else fresh, model.shape, weight.device)
    yield State(0, choice.levels[0], start)
    yield from choice.run(predict, start, noise)


def encoded(model: Model, mel: torch.Tensor) -> torch.Tensor:
    """The clean data (1, *model.shape) of a spectrogram (mels, T)."""
    return mel[None, None] if model.autoencoder is None else model.autoencoder.encode(mel[None])


def decoded(model: Model, x: torch.Tensor) -> torch.Tensor:
    """The pictures (B, C, H, W) of clean data (B, *model.shape). Raises DifftoolError 1 if they are not finite."""
    if model.autoencoder is None:
        return x
    pictures = model.autoencoder.decode(x)[:, None]
    finite(pictures, hint="use another copy of the model")
    return pictures


def _predictor(model: Model, cond: Mapping[str, torch.Tensor]) -> Predict:
    """The prediction of a model's network, in windows where an item is longer than what that learned."""
    dtype, is_learned = next(model.net.parameters()).dtype, model.variance == "learned"
    width, count = width_of(model), len(windows_of(model))
    cond = {name: value.repeat_interleave(count, 0) for name, value in cond.items()}
    net = model.net
    if count > 1:
        net = in_parts(net, max(1, BATCH_VALUES // math.prod((*model.shape[:2], width))))
    predict = denoiser(net, model.target, learned_range=is_learned, scale=model.scale, dtype=dtype, cond=cond)
    return predict if count == 1 else windows(predict, width, hop_of(width))


def in_parts(net: Net, most: int) -> Net:
    """A network that is called with at most so many windows at once."""

    def called(x: torch.Tensor, t: torch.Tensor, **cond: torch.Tensor) -> torch.Tensor:
        if len(x) <= most:
            return net(x, t, **cond)
        rows = zip(x.split(most), t.split(most), strict=True)
        parts = {name: value.split(most) for name, value in cond.items()}
        return torch.cat([net(*row, **{name: part[k] for name, part in parts.items()}) for k, row in enumerate(rows)])

    return called


def walk(
    plan: SamplePlan, size: int, only: Collection[int] | None = None, fresh: int = 0
) -> Iterator[tuple[range, State]]:
    """Yields (batch, state) at the start and after each step of every batch; the noise of the steps uses the pictures'
    seeds + `fresh`."""
    for batch in batches(plan, size, only):
        seeds = [plan.settings.seed_of(k) for k in batch]
        labels = [plan.labels[k] for k in batch]
        noise = [seed + fresh for seed in seeds]
        first = None if plan.settings.between is None else _between(plan, batch)
        edit = plan.sound and plan.sound.edit
        run = states(
            *(plan.model, plan.choice, seeds, labels),
            settings=plan.settings,
            worse=plan.worse,
            fresh=noise,
            first=first,
            edit=edit,
        )
        for state in run:
            yield batch, state


def _between(plan: SamplePlan, batch: range) -> torch.Tensor:
    """The starting noise of a batch of the items between two seeds."""
    assert plan.settings.between is not None
    device = next(plan.model.net.parameters()).device
    ends = Noise(plan.settings.between, plan.model.shape, device)(START)
    last = max(plan.count - 1, 1)
    return torch.stack([slerp(*ends, share=k / last) for k in batch])


def ended(plan: SamplePlan, state: State) -> bool:
    """Whether a batch is complete. Raises DifftoolError 1 if its values are not finite."""
    if state.i < plan.choice.steps:
        return False
    finite(state.x, hint="try --dtype fp32, or train the model again")
    return True


class Part(NamedTuple):
    """What a process generated of a plan."""

    pixels: Pixels
    items: list[ItemNote]
    trajectory: list[Frame]
    mels: Mels | None


def _sampled(plan: SamplePlan, size: int, only: Collection[int] | None, track: Track, frames: int) -> Part:
    """Generates the items of a plan, in batches of `size`."""
    trajectory: list[Frame] = []
    items: list[ItemNote] = []
    last, runs = plan.choice.steps, batches(plan, size, only)
    shown = evenly(last, frames) if frames else []

    def steps() -> Iterator[Step]:
        for batch, state in walk(plan, size, only):
            if state.i in shown and batch == runs[0]:
                trajectory.append(frame_of(state, plan.model))
            if state.i:
                yield Step(batch, state, partial(_preview, plan.model, state) if plan.sound is None else None)

    channels, height, width = plan.model.shape
    if plan.sound is not None:
        channels, height, width = 1, plan.sound.own.format.mels, plan.sound.frames
    parts = [np.zeros((0, height, width, channels), dtype=np.uint8)]  # a process may have no batch
    mels = [np.zeros((0, height, width), dtype=np.float32)]
    for batch, state, _ in track(steps(), len(runs) * last):
        if ended(plan, state):
            indices = [k for k in batch if only is None or k in only]
            rows = [k - batch.start for k in indices]
            pictures = decoded(plan.model, state.x)[rows]
            parts.append(to_pixels(pictures))
            if plan.sound is not None:
                mels.append(pictures[:, 0].clamp(-1, 1).float().cpu().numpy())
            items += [ItemNote(index=k, seed=plan.settings.seed_of(k), label=plan.labels[k]) for k in indices]
    return Part(np.concatenate(parts), items, trajectory, np.concatenate(mels) if plan.sound is not None else None)


def _preview(model: Model, state: State) -> Pixels:
    """The first picture (H, W, C) of a state as the network estimates it."""
    return frame_of(state._replace(x=state.x[:1], x0=None if state.x0 is None else state.x0[:1]), model).estimate[0]


def evenly(last: int, count: int) -> list[int]:
    """The numbers 0 to `last`, or `count` of them at equal distances."""
    return sorted({round(k * last / (count - 1)) for k in range(count)})


def frame_of(state: State, model: Model | None = None) -> Frame:
    """The pictures of a state."""
    # states above unit variance are scaled down to it
    deviation = math.hypot(state.level.alpha, state.level.sigma)
    scaled = state.x / max(1.0, deviation)
    estimate = torch.zeros_like(scaled) if state.x0 is None else state.x0
    if model is not None:
        scaled, estimate = decoded(model, scaled), decoded(model, estimate)
    return Frame(to_pixels(scaled), to_pixels(estimate))
