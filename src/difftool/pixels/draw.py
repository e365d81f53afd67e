"""Pictures straight from a model of pixels: what `difftool sample` does, and what training shows of itself."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .. import processes
from ..core.guide import cfg, clip
from ..core.noise import START, Noise
from ..core.predict import denoiser
from ..core.solve import State
from ..device import finite, halved
from ..errors import DifftoolError, Exit
from ..files import ItemNote, ModelNote, PictureManifest, manifest, run_id
from ..models import Model
from ..pictures.sheets import to_pixels
from ..progress import Track, untracked
from ..sampling.choice import Choice
from ..settings import manifest_of
from .plan import Plan, batches, plan

if TYPE_CHECKING:
    from ..pictures import Pixels


WIDEST = 16
"""Columns of a grid at most."""


class Frame(NamedTuple):
    """Where the first pictures of a run stand: uint8 (N, H, W, C)."""

    state: Pixels
    estimate: Pixels
    """The clean pictures that the network sees in it."""


class Sampled(NamedTuple):
    """Pictures and how they came to be."""

    pixels: Pixels
    """uint8 (N, H, W, C)"""
    items: list[ItemNote]
    """{"index", "seed", "label"} of each"""
    manifest: PictureManifest
    way: list[Frame]
    """Frames of the way there, where they were asked for."""


def sample(model: str | Path | None = None, *, track: Track = untracked, **settings: Any) -> Sampled:
    """Draws pictures from a model: a run folder, a model folder, a diffusers folder, or (None) the digits in the
    package.

    `settings` are the fields of `Settings`: `sampler` (a row of `core.SAMPLERS`, or what others call it),
    `steps` (None: 25, all levels for ddpm, 4 for lcm), `schedule` (a spacing of `core.grid`; None: the model's own),
    `eta` (strength of fresh noise), `guidance` (scale of classifier-free guidance, 1 = off), `label` (a class, several
    with commas, or "any"; None goes through all classes in turn), `count`, `seed` (picture k has seed + k and depends
    on nothing else of the batch), `batch_size` (halved where memory ends), `device`, `dtype`, `threads`.

    Raises DifftoolError: 1 where the network returns NaN, 2 for settings that do not fit, 3 for a device that is not
    there, 4 for a model that cannot be opened, 6 where not even one picture finds room.
    """
    return draw(plan(model, **settings), track=track)


def draw(
    plan: Plan,
    *,
    only: Collection[int] | None = None,
    track: Track = untracked,
    name: str | None = None,
    frames: int = 0,
) -> Sampled:
    """Draws what was planned, or `only` the pictures with these indices, in the batches the whole run has: then every
    matrix product has its size again, and the pixels are the same to the last bit. `name` is the run's in the
    manifest; `frames` (at least 2) asks for so many, evenly spread, of the way of the first batch."""
    size = plan.batch_size
    mine = only
    if processes.count() > 1:  # each draws its share of the batches
        every = batches(plan, size, only)
        mine = [k for batch in every[processes.rank() :: processes.count()] for k in batch if only is None or k in only]
    while True:
        try:
            pixels, items, way = _drawn(plan, size, mine, track, frames)
            break
        except (RuntimeError, MemoryError) as error:
            hint = "try --dtype bf16, or take a machine with more"
            size = halved(size, error, DifftoolError(Exit.MEMORY, "one picture does not fit in memory", hint))
    parts = processes.gathered((pixels, items, way))
    pixels, items = np.concatenate([part[0] for part in parts]), [item for part in parts for item in part[1]]
    order = sorted(range(len(items)), key=lambda k: items[k]["index"])
    pixels, items, way = pixels[order], [items[k] for k in order], parts[0][2]
    model = plan.model
    about: ModelNote = {
        "name": model.name,
        "sha256": model.sha256,
        "size": list(model.shape[1:]),
        "classes": list(model.classes),
    }
    settings = {**manifest_of(plan.settings), "batch_size": size}
    common = manifest("sample", name or run_id(), settings, plan.model.packages)
    return Sampled(pixels, items, {**common, "model": about, "network_calls": plan.calls}, way)


def columns(drawn: Sampled) -> int | None:
    """Columns of a grid that put each class below itself, as near to a square as they do; None where the pictures do
    not fill them."""
    classes, count = len(drawn.manifest["model"]["classes"]), len(drawn.items)
    if classes < 2 or drawn.manifest["settings"]["label"] is not None:
        return None
    fitting = [wide for wide in range(classes, WIDEST + 1, classes) if count % wide == 0]
    return min(fitting, key=lambda wide: abs(wide - math.sqrt(count)), default=None)


def states(
    model: Model,
    way: Choice,
    seeds: Sequence[int],
    labels: Sequence[str | None],
    *,
    guidance: float = 1.0,
    fresh: Sequence[int] | None = None,
) -> Iterator[State]:
    """The engine's run for one batch: the states (B, *model.shape) at the start and after each step. `labels` name
    classes, None is any; `fresh` are other seeds for the noise of the steps than for that of the start."""
    weight = next(model.net.parameters())
    start = way.levels[0].sigma * Noise(seeds, model.shape, weight.device)(START)
    cond, anything = {}, {}
    if model.classes:
        numbers = [len(model.classes) if label is None else model.classes.index(label) for label in labels]
        cond = {"label": torch.tensor(numbers, device=weight.device)}
        anything = {"label": torch.full_like(cond["label"], len(model.classes))}
    ask = partial(
        denoiser,
        model.net,
        model.target,
        learned_range=model.variance == "learned",
        scale=model.scale,
        dtype=weight.dtype,
    )
    predict = ask(cond=cond)
    if guidance != 1:
        predict = cfg(predict, ask(cond=anything), guidance)
    if model.clip:
        predict = clip(predict)
    noise = Noise(seeds if fresh is None else fresh, model.shape, weight.device)
    yield State(0, way.levels[0], start)
    yield from way.run(predict, start, noise)


def walk(plan: Plan, size: int, only: Collection[int] | None = None, fresh: int = 0) -> Iterator[tuple[range, State]]:
    """(batch, state) at the start and after each step of every batch; the noise of the steps has the pictures' seeds +
    `fresh`."""
    guidance = plan.settings.guidance
    for batch in batches(plan, size, only):
        seeds, labels = [plan.settings.seed + k for k in batch], [plan.labels[k] for k in batch]
        noise = [seed + fresh for seed in seeds]
        for state in states(plan.model, plan.way, seeds, labels, guidance=guidance, fresh=noise):
            yield batch, state


def ended(plan: Plan, state: State) -> bool:
    """Whether a batch is drawn. Raises DifftoolError 1 where that left numbers that are not finite."""
    if state.i < plan.way.steps:
        return False
    finite(state.x, hint="try --dtype fp32, or train it again")
    return True


def _drawn(
    plan: Plan, size: int, only: Collection[int] | None, track: Track, frames: int
) -> tuple[Pixels, list[ItemNote], list[Frame]]:
    done, items, way = [], [], []
    last, wanted = plan.way.steps, batches(plan, size, only)
    shown = {round(k * last / (frames - 1)) for k in range(frames)} if frames else set()

    def steps() -> Iterator[tuple[range, State]]:
        for batch, state in walk(plan, size, only):
            if state.i in shown and batch == wanted[0]:
                way.append(_frame(state))
            if state.i:
                yield batch, state

    for batch, state in track(steps(), len(wanted) * last):
        if ended(plan, state):
            kept = [k for k in batch if only is None or k in only]
            done.append(to_pixels(state.x)[[k - batch.start for k in kept]])
            items += [{"index": k, "seed": plan.settings.seed + k, "label": plan.labels[k]} for k in kept]
    nothing = np.zeros((0, *plan.model.shape[1:], plan.model.shape[0]), dtype=np.uint8)
    return np.concatenate([nothing, *done]), items, way


def _frame(state: State) -> Frame:
    # a state of more than unit variance is shown with it
    seen = state.x / max(1.0, math.hypot(state.level.alpha, state.level.sigma))
    return Frame(to_pixels(seen), to_pixels(torch.zeros_like(seen) if state.x0 is None else state.x0))
