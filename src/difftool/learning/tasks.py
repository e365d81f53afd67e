"""What a network is trained on: losses in which everything random is a function of (config, item number)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from ..core.noise import keys, normal, uniform
from ..core.objective import DENSITIES, DROP, NOISE, WEIGHTS, even, loss, times, training_level
from ..core.paths import CLEAN, Level, Path
from ..core.predict import TARGETS, edm_scale
from ..models import build_path
from ..nets.unet import Dropout, number_dropout
from .config import DenoiserConfig, TrainConfig, chosen
from .metrics import scattered

ORDER, FLIP, WINDOW = 3, 4, 5
"""Stages of the random numbers that shuffle an epoch, mirror items, and place windows; those of `core.objective` come
before them."""
BANDS = 4
"""Bands of noise levels, each with an equal share of the training times."""
AHEAD = 2**17
"""Random numbers drawn in one call, if those of several updates fit: a small draw is mostly overhead."""
UPDATES_AHEAD = 512
"""Most updates to draw for in one call: each keeps its own tensors, however small."""
HELD = 256
"""Most held-out items in the held-out loss."""
HELD_SEED = 2**40


class Windows(Protocol):
    """Items that are windows of something longer, on the network's device."""

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)"""
        ...

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __getitem__(self, numbers: Tensor) -> Tensor:
        """Items (R, C, H, W) by number, each at its middle place."""
        ...

    def drawn(self, numbers: Tensor, draws: Tensor) -> Tensor:
        """The same at other places and otherwise varied, by two numbers (R, 2) in (0, 1] for each."""
        ...


class Data(NamedTuple):
    """Training items, on the network's device."""

    x: Tensor | Windows
    """(N, C, H, W): uint8 pictures, floats such as latents, or windows."""
    cond: Mapping[str, Tensor]
    """The conditioning of each item, (N, ...) by argument of the network: label, tokens."""
    nothing: Mapping[str, Tensor]
    """The value of each argument that means "no conditioning"."""


class Task(Protocol):
    """What `loop.updates` trains a network on."""

    held_out: int
    """Number of items in the held-out loss."""
    banded: bool
    """Whether the loss is also reported by noise level."""

    @property
    def net(self) -> nn.Module: ...

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        """(loss, band), (R,) each, of the `rows` of the batch that begins with item number `first`."""
        ...

    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        """The same for held-out items, always with the same noise, of a network with these `weights`."""
        ...


class Denoising:
    """Predicting the noise that was added to items, or another target of `core.predict`."""

    banded = True

    def __init__(
        self,
        config: DenoiserConfig,
        net: nn.Module,
        data: Data,
        held: Data | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`config`: net, path, target and train, as in a run's config.json; `dtype` is that of the computation."""
        self.train, self.data, self.held, self.dtype = config["train"], data, held, dtype
        self.path, self.target = build_path(config["path"]), TARGETS[config["target"]]
        self.net = place(net, data.x.device, self.train)
        self.forward = self.net
        self.dropouts = [module for module in net.modules() if isinstance(module, Dropout)]
        if chosen(self.train, "compile", False):
            uncompiled = cast(Any, torch.compiler.disable)
            # batches have few sizes, and with dynamic sizes the compiler fails on some networks
            self.forward = torch.compile(self.net, dynamic=False)
            for dropout in self.dropouts:  # a compiled network would make their random numbers constants
                dropout.mask = uncompiled(dropout.mask)
        self.learned = config["net"].get("learned_range", False)
        self.density = DENSITIES[chosen(self.train, "times", "even")]()
        weight = chosen(self.train, "weight", None)
        self.weight = None if weight is None else WEIGHTS[weight]()
        self.scale = edm_scale() if config["target"] == "edm" else None
        self.held_out = 0 if held is None else min(len(held.x), HELD)
        self.watched = scattered(0 if held is None else len(held.x), HELD)

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        train, x = self.train, self.data.x
        seed, size = train["seed"], train["batch_size"]
        numbers = indices(seed, len(x), first + rows.start, len(rows)).to(x.device)
        draws = draw_batch(seed, first // size, rows, size, x.shape[1:], x.device)
        x0 = floats(x[numbers]) if isinstance(x, Tensor) else x.drawn(numbers, draws.window)
        if chosen(train, "flip", False):
            x0 = torch.where((draws.flip <= 0.5).reshape(-1, 1, 1, 1), x0.flip(-1), x0)
        cond = {name: value[numbers] for name, value in self.data.cond.items()}
        dropped = draws.drop <= chosen(train, "label_dropout", 0.0)
        for name, value in cond.items():
            hidden = dropped.reshape(-1, *[1] * (value.ndim - 1))
            cond[name] = torch.where(hidden, self.data.nothing[name], value)
        number_dropout(self.dropouts, seed, first // size, rows, size)
        return self._losses(self.forward, x0, draws.times, draws.noise, cond), draws.bands

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        assert self.held is not None
        here = torch.arange(rows.start, rows.stop, device=self.held.x.device)
        watched = torch.from_numpy(self.watched)[rows.start : rows.stop].to(here.device)
        x0 = floats(self.held.x[watched])
        seeds = keys([HELD_SEED] * len(rows), x0.device)
        # every time once, in an order unrelated to that of the items
        when = [(k * 97 % self.held_out + 0.5) / self.held_out for k in rows]
        cond = {name: value[watched] for name, value in self.held.cond.items()}
        was = self.net.training
        self.net.eval()
        try:

            def net(*args: Tensor, **named: Tensor) -> Tensor:
                return torch.func.functional_call(self.net, dict(weights), args, named)

            losses = self._losses(net, x0, when, normal(seeds, here, NOISE, x0.shape[1:]), cond)
            return losses, bands(when, x0.device)
        finally:
            self.net.train(was)

    def _losses(self, net: Any, x0: Tensor, when: list[float], eps: Tensor, cond: dict[str, Tensor]) -> Tensor:
        level = training_level(self.path, when, x0.ndim, x0.device, self.density)
        to = training_level(self.path, when, x0.ndim, x0.device, below) if self.learned else None

        def scaled(x: Tensor, t: Tensor, **named: Tensor) -> Tensor:
            x = x if self.scale is None else x * self.scale(level)
            return net(x, t, **named).float()

        with torch.autocast(x0.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return loss(scaled, self.target, x0, level, eps, weight=self.weight, to=to, cond=cond)


class BatchDraws(NamedTuple):
    """Random numbers for some rows of a batch, except for dropout and the choice of items."""

    times: list[float]
    bands: Tensor
    """(R,), the band of each time."""
    noise: Tensor
    """(R, C, H, W), unit Gaussian."""
    drop: Tensor
    """(R,) in (0, 1]: decides whether the conditioning is hidden."""
    flip: Tensor
    """(R,) in (0, 1]: decides whether the item is mirrored."""
    window: Tensor
    """(R, 2) in (0, 1], for items that are windows."""


def draw_batch(seed: int, step: int, rows: range, size: int, shape: torch.Size, device: torch.device) -> BatchDraws:
    """The random numbers for `rows` of the batch of `size` items of this `shape` in update number `step`."""
    updates = max(AHEAD // (len(rows) * shape.numel()), 1)
    updates = min(updates, UPDATES_AHEAD)
    block, k = divmod(step, updates)
    drawn = _draw_updates if updates == 1 else _draw_updates_cached  # large draws are not cached
    return drawn(seed, block * updates, updates, rows, size, shape, device)[k]


def _draw_updates(
    seed: int, step: int, count: int, rows: range, size: int, shape: torch.Size, device: torch.device
) -> list[BatchDraws]:
    """The same for the `count` updates from `step` on."""
    mine = slice(rows.start, rows.stop)
    items = torch.arange(step * size, (step + count) * size, device=device)
    here = items.reshape(count, size)[:, mine].flatten()
    seeds = keys([seed], device).expand(len(here))
    every = times(seed, step * size, size, count)
    whens = [every[k + rows.start : k + rows.stop] for k in range(0, count * size, size)]
    banded = bands(every, device).reshape(count, size)[:, mine]
    noise = normal(seeds, here, NOISE, shape)
    drop, flip = (uniform(seeds, here, stage, 1)[:, 0] for stage in (DROP, FLIP))
    window = uniform(seeds, here, WINDOW, 2)
    split = (part.split(len(rows)) for part in (noise, drop, flip, window))
    return [BatchDraws(*row) for row in zip(whens, banded, *split, strict=True)]


_draw_updates_cached = lru_cache(maxsize=32)(_draw_updates)


def bands(times: list[float], device: torch.device) -> Tensor:
    """The band of each of these times."""
    return torch.tensor([min(int(time * BANDS), BANDS - 1) for time in times], device=device)


def below(path: Path, time: float) -> Level:
    """The level below that of `even` on a discrete path, to which a step of DDPM leads."""
    level = even(path, time)
    return path.level(level.t - 1) if level.t > 0 else CLEAN


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """The network that `make` returns, initialised with this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        return make()


def place(net: nn.Module, device: torch.device, train: TrainConfig) -> nn.Module:
    """A network on its device, in the memory format for training."""
    if hasattr(net, "checkpointing"):
        net.checkpointing = chosen(train, "checkpointing", False)  # type: ignore[assignment]
    if device.type == "cuda":
        return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.to(device)


def floats(x: Tensor) -> Tensor:
    """uint8 pictures as floats in [-1, 1]; latents as floats."""
    return x.float().div_(127.5).sub_(1) if x.dtype == torch.uint8 else x.float()


def indices(seed: int, n: int, first: int, count: int) -> Tensor:
    """(count,): which of `n` items are number `first` .. `first + count - 1` of the run; an epoch is a permutation."""
    parts = []
    while count:
        epoch, start = divmod(first, n)
        part = _epoch(seed, n, epoch)[start : start + count]
        parts.append(part)
        first, count = first + len(part), count - len(part)
    return torch.cat(parts)


@lru_cache(maxsize=2)
def _epoch(seed: int, n: int, epoch: int) -> Tensor:
    return torch.argsort(uniform(keys([seed]), epoch, ORDER, n)[0], stable=True)
