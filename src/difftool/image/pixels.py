"""Pictures straight from a model of pixels: what `difftool sample` does, and what training shows of itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch

from .. import names
from ..core.grid import grid
from ..core.guide import cfg, clip
from ..core.level import Level
from ..core.noise import START, Noise
from ..core.predict import Denoised, Predict, denoiser
from ..core.solve import SAMPLERS, Sampler, State
from ..device import choose, name_of
from ..errors import DifftoolError, Exit, is_out_of_memory, unknown
from ..files import manifest, run_id
from ..models import Model, open_model
from ..pictures import to_pixels

if TYPE_CHECKING:
    from torch import Tensor

    from ..core.solve import Draw
    from ..pictures import Pixels

Track: TypeAlias = Callable[[Iterable[Any], int], Iterable[Any]]
"""Wraps an iterable of a known length to show how far it is."""

BATCH_VALUES, BATCH_ITEMS = 2**20, 256
"""Numbers and pictures in a batch where nobody says how large: 21 pictures of 128x128 RGB, 256 small ones."""
MOST = 10**6
"""Pictures, steps and pictures at once at most."""
ALL_LEVELS = 1000
"""Steps of "all levels" on a path that has no whole ones."""
WIDEST = 16
"""Columns of a grid at most."""
ANY = "any"
"""The label that means all of them."""


class Plan(NamedTuple):
    """A run with every default filled in."""

    model: Model
    levels: list[Level]
    labels: list[str | None]
    settings: dict[str, Any]
    """The arguments of `plan` that give this plan again."""

    @property
    def calls(self) -> int:
        """Calls of the network for one batch, as the sampler makes them."""
        row, made = SAMPLERS[self.settings["sampler"]], []

        def predict(x: Tensor, level: Level) -> Denoised:
            made.append(level)
            return Denoised(x, torch.zeros_like(x))

        for _ in run(row, predict, torch.zeros(1), self.levels, self.model, lambda i, j: torch.zeros(1)):
            pass
        return len(made) * (1 if self.settings["guidance"] == 1 else 2)

    @property
    def steps(self) -> int:
        """Steps of all batches."""
        return (len(self.levels) - 1) * len(batches(self, self.settings["batch_size"]))


class Frame(NamedTuple):
    """Where the first pictures of a run stand: uint8 (N, H, W, C)."""

    step: int
    state: Pixels
    estimate: Pixels
    """The clean pictures that the network sees in it."""


class Sampled(NamedTuple):
    """Pictures and how they came to be."""

    pixels: Pixels
    """uint8 (N, H, W, C)"""
    items: list[dict[str, Any]]
    """{"index", "seed", "label"} of each"""
    manifest: dict[str, Any]
    way: list[Frame]
    """Frames of the way there, where they were asked for."""


def untracked(items: Iterable[Any], total: int) -> Iterable[Any]:
    """A `Track` that shows nothing."""
    return items


def plan(
    model: str | Path | None = None,
    *,
    sampler: str = "ddim",
    steps: int | None = None,
    schedule: str | None = None,
    eta: float | None = None,
    guidance: float = 1.0,
    label: str | None = None,
    count: int = 16,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
) -> Plan:
    """Opens the model and checks the settings of `sample`, without drawing."""
    named = names.sampler(sampler)
    spacing = named.schedule if schedule is None else names.schedule(schedule)
    row, strength = SAMPLERS[named.row], strength_of(SAMPLERS[named.row])
    if eta is not None and strength is None:
        raise DifftoolError(Exit.USAGE, f"{named.row} has no eta", "leave out --eta")
    if eta is not None and not 0 <= eta <= 1:
        raise DifftoolError(Exit.USAGE, f"eta must be a number from 0 to 1, not {eta}", "see difftool sample --help")
    if not abs(guidance) <= 1e30:
        raise DifftoolError(Exit.USAGE, f"guidance must be a number, not {guidance}", "leave out --guidance for 1")
    for name, value in (("count", count), ("batch size", batch_size), ("steps", steps)):
        if value is not None and not 1 <= value <= MOST:
            what = f"{name} must be at least 1 and at most {MOST:,}, not {value}"
            raise DifftoolError(Exit.USAGE, what, "see difftool sample --help")
    where, number = choose(device, dtype, threads)
    opened = open_model(model, where, number)
    labels = read_labels(label, opened, count)
    if guidance != 1 and not (opened.any_label and None not in labels):
        unknown_any = bool(opened.classes) and not opened.any_label
        why = "never learned without labels" if unknown_any else "has no label to be guided by here"
        raise DifftoolError(Exit.USAGE, f"{opened.name} {why}", "leave out --guidance")
    spacing = spacing or opened.path.spacing
    if steps is None:
        every = round(opened.path.hi - opened.path.clean) if opened.path.discrete else ALL_LEVELS
        steps = every if spacing == "all" else row.steps or every
    try:
        levels = grid(opened.path, steps, spacing)
    except ValueError as error:
        raise DifftoolError(Exit.USAGE, str(error), "choose other --steps or another --schedule") from error
    a, b = opened.target(levels[0])
    if a * levels[0].alpha == b * levels[0].sigma:
        what = f"{opened.name} predicts the noise, which says nothing at pure noise, where {spacing} starts"
        raise DifftoolError(Exit.USAGE, what, "try --schedule leading, which starts a step below it")
    fitting = max(1, min(BATCH_VALUES // int(np.prod(opened.shape)), BATCH_ITEMS))
    settings = {
        "model": opened.source,
        "sampler": named.row,
        "steps": steps,
        "schedule": spacing,
        "eta": next((value for value in (eta, named.eta) if value is not None), row.defaults.get(strength or "")),
        "guidance": float(guidance),
        "label": label,
        "count": count,
        "seed": seed,
        "batch_size": min(fitting if batch_size is None else batch_size, count),
        "device": str(where),
        "dtype": name_of(number),
        "threads": torch.get_num_threads(),
    }
    return Plan(opened, levels, labels, settings)


def sample(model: str | Path | None = None, *, track: Track = untracked, **settings: Any) -> Sampled:
    """Draws pictures from a model: a run folder, a model folder, a diffusers folder, or (None) the digits in the
    package.

    `settings` are the arguments of `plan`: `sampler` (a row of `core.SAMPLERS`, or what others call it: `names`),
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
    size = plan.settings["batch_size"]
    while True:
        try:
            pixels, items, way = _drawn(plan, size, only, track, frames)
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise DifftoolError(
                    Exit.MEMORY, "one picture does not fit in memory", "try --dtype bf16, or take a machine with more"
                ) from error
            size //= 2
    model = plan.model
    note = manifest("sample", name or run_id(), {**plan.settings, "batch_size": size}, plan.model.packages)
    note["model"] = {
        "name": model.name,
        "sha256": model.sha256,
        "size": list(model.shape[1:]),
        "classes": list(model.classes),
    }
    note["network_calls"] = plan.calls
    return Sampled(pixels, items, note, way)


def columns(drawn: Sampled) -> int | None:
    """Columns of a grid that put each class below itself; None where the pictures do not fill them."""
    classes = len(drawn.manifest["model"]["classes"])
    fits = classes > 1 and drawn.manifest["settings"]["label"] is None and len(drawn.items) % classes == 0
    return classes if fits and classes <= WIDEST else None


def states(
    model: Model,
    levels: Sequence[Level],
    seeds: Sequence[int],
    labels: Sequence[str | None],
    *,
    sampler: str = "ddim",
    eta: float | None = None,
    guidance: float = 1.0,
    fresh: Sequence[int] | None = None,
) -> Iterator[State]:
    """The engine's run for one batch: the states (B, *model.shape) at the start and after each step. `labels` name
    classes, None is any; `fresh` are other seeds for the noise of the steps than for that of the start."""
    weight = next(model.net.parameters())
    start = levels[0].sigma * Noise(seeds, model.shape, weight.device)(START)
    cond, anything = {}, {}
    if model.classes:
        numbers = [len(model.classes) if label is None else model.classes.index(label) for label in labels]
        cond = {"label": torch.tensor(numbers, device=weight.device)}
        anything = {"label": torch.full_like(cond["label"], len(model.classes))}
    own: dict[str, Any] = {
        "learned_range": model.variance == "learned",
        "scale": model.scale,
        "dtype": weight.dtype,
    }
    predict = denoiser(model.net, model.target, cond=cond, **own)
    if guidance != 1:
        predict = cfg(predict, denoiser(model.net, model.target, cond=anything, **own), guidance)
    if model.clip:
        predict = clip(predict)
    noise = Noise(seeds if fresh is None else fresh, model.shape, weight.device)
    yield State(0, levels[0], start)
    yield from run(SAMPLERS[sampler], predict, start, levels, model, noise, eta)


def run(
    row: Sampler,
    predict: Predict,
    x: Tensor,
    levels: Sequence[Level],
    model: Model,
    noise: Draw,
    eta: float | None = None,
) -> Iterator[State]:
    """A sampler on a model's levels, with the strength of noise that was asked for."""
    options, strength = dict(row.defaults), strength_of(row)
    if strength and eta is not None:
        options[strength] = eta
    if row is SAMPLERS["ddpm"]:
        options["variance"] = model.variance
    return row.solver(predict, x, levels, **options, noise=noise, path=model.path)


def strength_of(row: Sampler) -> str | None:
    """The option of a sampler that says how much fresh noise it draws; None where it has none."""
    return next((key for key in ("eta", "sde") if key in row.defaults), None)


def read_labels(label: str | None, model: Model, count: int) -> list[str | None]:
    """The class of each of `count` pictures: `label` is one, several with commas, "any", or None for all in turn."""
    if not model.classes:
        if label not in (None, ANY):
            raise DifftoolError(Exit.USAGE, f"{model.name} was trained without labels", "leave out --label")
        return [None] * count
    known = [*model.classes, *([ANY] if model.any_label else [])]
    if label is None:
        names = list(model.classes)
    else:
        names = [label] if label in known else [name.strip() for name in label.split(",")]  # "cats, black" may be one
    for name in names:
        if name not in known:
            raise unknown("label", name, known)
    return [name if name in model.classes else None for name in (names[k % len(names)] for k in range(count))]


def batches(plan: Plan, size: int, only: Collection[int] | None = None) -> list[range]:
    """The batches of a run in which a picture (or one of `only`) stands."""
    count = plan.settings["count"]
    every = [range(first, min(first + size, count)) for first in range(0, count, size)]
    return [batch for batch in every if only is None or not set(batch).isdisjoint(only)]


def walk(plan: Plan, size: int, only: Collection[int] | None = None, fresh: int = 0) -> Iterator[tuple[range, State]]:
    """(batch, state) at the start and after each step of every batch; the noise of the steps has the pictures' seeds +
    `fresh`."""
    settings = plan.settings
    options = {key: settings[key] for key in ("sampler", "eta", "guidance")}
    for batch in batches(plan, size, only):
        seeds, labels = [settings["seed"] + k for k in batch], [plan.labels[k] for k in batch]
        noise = [seed + fresh for seed in seeds]
        for state in states(plan.model, plan.levels, seeds, labels, **options, fresh=noise):
            yield batch, state


def ended(plan: Plan, state: State) -> bool:
    """Whether a batch is drawn. Raises DifftoolError 1 where that left numbers that are not finite."""
    if state.i < len(plan.levels) - 1:
        return False
    if not state.x.isfinite().all():
        what = "the network returned numbers that are not finite"
        raise DifftoolError(Exit.FAILED, what, "try --dtype fp32, or train it again")
    return True


def _drawn(
    plan: Plan, size: int, only: Collection[int] | None, track: Track, frames: int
) -> tuple[Pixels, list[dict[str, Any]], list[Frame]]:
    done, items, way = [], [], []
    last, wanted = len(plan.levels) - 1, batches(plan, size, only)
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
            items += [{"index": k, "seed": plan.settings["seed"] + k, "label": plan.labels[k]} for k in kept]
    return np.concatenate(done), items, way


def _frame(state: State) -> Frame:
    # a state of more than unit variance is shown with it
    seen = state.x / max(1.0, math.hypot(state.level.alpha, state.level.sigma))
    return Frame(state.i, to_pixels(seen), to_pixels(torch.zeros_like(seen) if state.x0 is None else state.x0))
