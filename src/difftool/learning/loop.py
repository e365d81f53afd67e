"""The training loop: a generator of updates. Its whole state is in `Trainee`; everything else is a function of (config,
item number)."""

from __future__ import annotations

import itertools
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import processes
from ..core.ema import EMA
from ..device import halved
from ..errors import is_out_of_memory
from .config import TrainConfig, chosen, part_at
from .tasks import BANDS, Ragged, Task

log = logging.getLogger(__name__)

MAX_GRADIENT_NORM = 1.0
"""Largest norm of a gradient; longer ones are scaled down."""
ROOM = 0.9
"""Share of the free memory that a batch may take."""
WORKSPACE = 1.5
"""Memory of a batch on a CPU, as a multiple of what is saved for the backward pass."""
KEPT = (0.05, 0.1)
"""Widths of the averages that `--keep-averages` stores: those of other widths follow from two."""


Losses = Callable[[range], tuple[Tensor, Tensor]]
"""(loss, band) of some rows of a batch, as `Task.losses`."""


class Trainee:
    """A network in training, with everything that an update changes. `state` and `restore` are its checkpoint."""

    def __init__(self, net: nn.Module, train: TrainConfig, undecayed: Iterable[Tensor] = ()) -> None:
        """`train`: as in a run's config.json; `undecayed`: parameters that weight decay spares."""
        self.net = net
        self.params = [p for p in net.parameters() if p.requires_grad]
        own = train["ema"]
        widths = {own, *KEPT} if chosen(train, "keep_averages", False) else {own}
        self.averages = {std: EMA(self.params, std) for std in sorted(widths)}
        self.ema = self.averages[own]
        self.named = {"ema" if std == own else f"ema{std:g}": ema for std, ema in self.averages.items()}
        """The averages by their names in `state`."""
        spared = {id(p) for p in undecayed}
        decayed = {"params": [p for p in self.params if id(p) not in spared]}
        others = {"params": [p for p in self.params if id(p) in spared], "weight_decay": 0.0}
        self.optimizer = torch.optim.AdamW(
            [decayed, others] if spared else self.params,
            lr=train["lr"],
            betas=(0.9, 0.99),
            weight_decay=train["weight_decay"],
            fused=True,
        )
        self.step = 0
        self.taken = 0
        """Number of finite updates; others are skipped."""

    def averaged(self, std: float | None = None) -> dict[str, Tensor]:
        """The average of the weights by parameter name, or the one of width `std`."""
        names = [name for name, p in self.net.named_parameters() if p.requires_grad]
        ema = self.ema if std is None else self.averages[std]
        return dict(zip(names, ema.params, strict=True))

    def state(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """(tensors, numbers as text), for `restore`."""
        tensors = {}
        for k, param in enumerate(self.params):
            moments = self.optimizer.state.get(param, {})
            tensors[f"net.{k}"] = param.detach()
            tensors |= {f"{name}.{k}": ema.params[k] for name, ema in self.named.items()}
            tensors |= {f"optimizer.{k}.{name}": value for name, value in moments.items()}
        return tensors, {"step": str(self.step), "taken": str(self.taken)}

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, str]) -> None:
        """Restores a `state`. Raises ValueError, with nothing changed, for the state of another network."""
        shapes = {f"{kind}.{k}": p.shape for k, p in enumerate(self.params) for kind in ("net", *self.named)}
        for k, p in enumerate(self.params):  # a parameter that never had a gradient has no moments
            moments = {"step": torch.Size(), "exp_avg": p.shape, "exp_avg_sq": p.shape}
            if any(f"optimizer.{k}.{name}" in tensors for name in moments):
                shapes |= {f"optimizer.{k}.{name}": shape for name, shape in moments.items()}
        if {name: value.shape for name, value in tensors.items()} != shapes:
            raise ValueError("it is the state of another network")
        if not all(value.is_floating_point() for value in tensors.values()):
            raise ValueError("it contains integers instead of floats")
        step, taken = int(numbers["step"]), int(numbers["taken"])
        if not 0 <= taken <= step:
            raise ValueError(f"invalid counts: {taken} of {step} updates")
        with torch.no_grad():
            for k, param in enumerate(self.params):
                param.copy_(tensors[f"net.{k}"])
                for name, ema in self.named.items():
                    ema.params[k].copy_(tensors[f"{name}.{k}"])
                prefix = f"optimizer.{k}."
                # the step count stays on the device of the fused optimiser, as the moments do
                self.optimizer.state[param] = {
                    name.removeprefix(prefix): value.to(param.device)
                    for name, value in tensors.items()
                    if name.startswith(prefix)
                }
        self.step, self.taken = step, taken


class Update(NamedTuple):
    """The result of one update."""

    step: int
    """Number of updates so far, including this one."""
    loss: float
    bands: list[float | None]
    """The loss by noise level, from little to much; None if no item fell into a band."""
    norm: float
    """Norm of the gradient before clipping."""
    lr: float
    finite: bool
    """Whether loss and gradient were finite; otherwise the update was skipped."""
    asked: tuple[bool, ...] = ()
    """The answers to `ask`, true if any process said so."""


def learning_rate(train: TrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to 0. `step` counts from 0. A run that ran out of time keeps the planned
    rates. An extension warms up by itself, to the cosine of a run that was meant to end where it ends."""
    size = train["batch_size"]
    part = part_at(train, step * size)
    share = size / len(part)
    done = (step - part.start // size) * share
    warm = min(1.0, (done + share) / train["warmup"]) if train["warmup"] else 1.0
    whole = step * (size / part.stop)
    return train["lr"] * warm * 0.5 * (1 + math.cos(math.pi * min(whole, 1.0)))


def updates(
    trainee: Trainee,
    task: Task,
    train: TrainConfig,
    *,
    micro: int | None = None,
    ask: Callable[[], Sequence[bool]] = tuple,
) -> Iterator[Update]:
    """Trains from the state of `trainee` to the last item of the run, yielding after each update.

    Each process takes its share of the batch, `micro` items at once (None: all), and half as many after running out of
    memory; both change only the order of sums. `ask` is called before each update, and its answers are shared by all
    processes.
    """
    size, device = train["batch_size"], trainee.params[0].device
    mine = processes.share(size)
    micro = max(len(mine), 1) if micro is None else micro
    while trainee.step * size < train["images"]:
        first = trainee.step * size
        answers = [float(answer) for answer in ask()]
        while True:
            try:
                sums = _backward(partial(task.losses, first), mine, micro, size, device)
                break
            except (RuntimeError, MemoryError) as error:
                micro = halved(micro, error)
            trainee.optimizer.zero_grad()
        totals = torch.cat([sums, torch.tensor(answers, device=device)])
        _share_gradients(trainee.params, totals)
        norm = float(nn.utils.clip_grad_norm_(trainee.params, MAX_GRADIENT_NORM, foreach=True))
        numbers = totals.tolist()
        value = sum(numbers[:BANDS]) / size
        finite = math.isfinite(norm) and math.isfinite(value)
        lr = learning_rate(train, trainee.step)
        trainee.step += 1
        if finite:
            for group in trainee.optimizer.param_groups:
                group["lr"] = lr
            trainee.optimizer.step()
            trainee.taken += 1
            for ema in trainee.averages.values():
                ema.update(trainee.params, trainee.taken)
        trainee.optimizer.zero_grad()
        bands = means(numbers[: 2 * BANDS])
        asked = tuple(number > 0 for number in numbers[2 * BANDS :])
        yield Update(trainee.step, value, bands, norm, lr, finite, asked)


def means(sums: Sequence[float]) -> list[float | None]:
    """Means by band, from the sums of all bands followed by their counts."""
    return [total / n if n else None for total, n in zip(sums[:BANDS], sums[BANDS:], strict=True)]


def _backward(losses_of: Losses, mine: range, micro: int, size: int, device: torch.device) -> Tensor:
    """Computes the gradients of this process's rows; returns the sums of the loss by band, followed by their counts."""
    sums = torch.zeros(2 * BANDS, dtype=torch.float64, device=device)
    for start in range(mine.start, mine.stop, micro):
        losses, bands = losses_of(range(start, min(start + micro, mine.stop)))
        (losses.sum() / size).backward()
        sums.index_add_(0, bands, losses.detach().double())
        sums.index_add_(0, bands + BANDS, torch.ones_like(losses, dtype=torch.float64))
    return sums


def _share_gradients(params: Sequence[Tensor], totals: Tensor) -> None:
    """Sums gradients and totals over all processes, in place."""
    if processes.count() == 1:
        return
    for p in params:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    grads = [p.grad for p in params if p.grad is not None]
    flat = processes.summed(torch.cat([grad.flatten() for grad in grads]))
    for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.reshape(grad.shape))
    processes.summed(totals)


def held_out(trainee: Trainee, task: Task) -> list[float | None] | None:
    """The loss of the averaged weights on held-out items, by band; None without such items."""
    if not task.held_out:
        return None
    sums = torch.zeros(2 * BANDS, dtype=torch.float64, device=trainee.params[0].device)
    mine, weights = processes.share(task.held_out), trainee.averaged()
    for start in range(mine.start, mine.stop, 64):
        losses, bands = task.held_losses(weights, range(start, min(start + 64, mine.stop)))
        sums.index_add_(0, bands, losses.double())
        sums.index_add_(0, bands + BANDS, torch.ones_like(losses, dtype=torch.float64))
    return means(processes.summed(sums).tolist())


def items_that_fit(task: Task, train: TrainConfig) -> int:
    """Number of items that fit in memory at once, by linear extrapolation from the peak memory of a small batch and of
    one twice its size; of items that differ in size, the largest. Leaves no gradients."""
    mine = max(len(processes.share(train["batch_size"])), 1)
    if mine < 4:
        return mine
    small = max(mine // 16, 1)
    device = next(task.net.parameters()).device
    losses = task.heaviest if isinstance(task, Ragged) else partial(task.losses, 0)

    def peak(rows: int) -> float:
        memory = _peak(device, lambda: _backward(losses, range(rows), rows, rows, device))
        task.net.zero_grad(set_to_none=True)
        return memory

    try:
        return line_fit(small, peak(small), peak(2 * small), _free(device), mine)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        task.net.zero_grad(set_to_none=True)
        return small  # the updates halve it further if it does not fit


def line_fit(small: int, one: float, two: float, free: float, most: int) -> int:
    """The largest batch up to `most` whose memory stays below ROOM of `free`, if `small` items take `one` and twice as
    many take `two`."""
    each = (two - one) / small
    if each <= 0:
        return most
    return max(min(int((ROOM * free - (one - each * small)) / each), most), 1)


def _peak(device: torch.device, work: Callable[[], Any]) -> float:
    """Peak memory of a function in bytes, beyond what was allocated before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return float(torch.cuda.max_memory_allocated(device) - before)
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        work()
    return WORKSPACE * sum(kept.values())


def _free(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    import psutil

    return float(psutil.virtual_memory().available) / processes.count()


def seconds_per_update(
    make: Callable[[], tuple[Trainee, Task]], train: TrainConfig, micro: int | None = None, seconds: float = 3.0
) -> float:
    """Times the first updates of a run for about `seconds`, on a network that is thrown away."""
    # with the learning rates of a short run: those of an endless one are so small that denormal numbers slow it down
    endless: TrainConfig = {**train, "more": [], "images": 2**62, "planned": 1000 * train["batch_size"]}
    marks = [time.perf_counter()]

    def ask() -> list[bool]:
        return [len(marks) > 6 and marks[-1] - marks[0] > seconds]

    for update in updates(*make(), endless, micro=micro, ask=ask):
        marks.append(time.perf_counter())
        if update.asked[0]:
            break
    # the first two include set-up; the lower quartile leaves out moments when other programs slow the machine down
    durations = [after - before for before, after in itertools.pairwise(marks[2:])]
    return statistics.quantiles(durations, n=4)[0]
