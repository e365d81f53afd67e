"""The training loop: a generator of updates in which everything random is a function of (config, number of the
picture)."""

from __future__ import annotations

import copy
import itertools
import math
import statistics
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.ema import EMA
from ..core.noise import keys, normal, uniform
from ..core.objective import DROP, NOISE, loss, times, training_level
from ..core.predict import TARGETS
from ..models import build_net, build_path

CLIP = 1.0
"""Largest norm of a gradient; longer ones are scaled down."""
ORDER = 3
"""Stage of the draws that shuffle an epoch; the stages of `core.objective` come before it."""


class Trainee:
    """A network in training with all that an update changes. `state` and `restore` are its checkpoint."""

    def __init__(self, config: dict[str, Any], device: torch.device) -> None:
        """`config`: net, path, target, classes and train, as in a run's config.json."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config["train"]["seed"] % 2**63)
            self.net: nn.Module = build_net(config["net"]).to(device)
        self.params = list(self.net.parameters())
        self.ema = EMA(self.params, config["train"]["ema"])
        self.optimizer = torch.optim.AdamW(
            self.params,
            lr=config["train"]["lr"],
            betas=(0.9, 0.99),
            weight_decay=config["train"]["weight_decay"],
            fused=True,
        )
        self.step = 0
        self.taken = 0
        """Updates that were finite and therefore made."""

    def averaged(self) -> dict[str, Tensor]:
        """The average of the weights, by the names of the network."""
        names = [name for name, _ in self.net.named_parameters()]
        return dict(zip(names, self.ema.params, strict=True))

    def state(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """(tensors, numbers as text): what `restore` takes."""
        tensors = {}
        for k, param in enumerate(self.params):
            moments = self.optimizer.state.get(param, {})
            tensors |= {f"net.{k}": param.detach(), f"ema.{k}": self.ema.params[k]}
            tensors |= {f"optimizer.{k}.{name}": value for name, value in moments.items()}
        return tensors, {"step": str(self.step), "taken": str(self.taken)}

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, str]) -> None:
        """Goes back to a `state`. Raises ValueError, with nothing changed, for that of another network."""
        shapes = {f"{kind}.{k}": p.shape for k, p in enumerate(self.params) for kind in ("net", "ema")}
        if {name: tensors[name].shape for name in shapes if name in tensors} != shapes:
            raise ValueError("it is the state of another network")
        with torch.no_grad():
            for k, param in enumerate(self.params):
                param.copy_(tensors[f"net.{k}"])
                self.ema.params[k].copy_(tensors[f"ema.{k}"])
                prefix = f"optimizer.{k}."
                # the step count stays on the device of the fused optimiser, as the moments do
                self.optimizer.state[param] = {
                    name.removeprefix(prefix): value.to(param.device)
                    for name, value in tensors.items()
                    if name.startswith(prefix)
                }
        self.step, self.taken = int(numbers["step"]), int(numbers["taken"])


class Update(NamedTuple):
    """What one update did."""

    step: int
    """Updates so far, this one counted."""
    loss: float
    norm: float
    """Of the gradient, before clipping."""
    lr: float
    finite: bool
    """Whether loss and gradient were, so that the update was made."""


def learning_rate(config: dict[str, Any], step: int) -> float:
    """Rises over the warm-up share of the run, then falls along half a cosine to 0. `step` counts from 0. A run that
    was out of time keeps the rates that were planned."""
    train = config["train"]
    share = train["batch_size"] / train.get("planned", train["images"])
    done = step * share
    warm = min(1.0, (done + share) / train["warmup"]) if train["warmup"] else 1.0
    return train["lr"] * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def updates(
    trainee: Trainee, config: dict[str, Any], pixels: Tensor, labels: Tensor | None, dtype: torch.dtype
) -> Iterator[Update]:
    """Trains from where `trainee` stands to the last picture of the run, yielding after each update.

    `pixels` uint8 (N, C, H, W) and `labels` int64 (N,) lie on the device of the network; `dtype` is what it computes
    in.
    """
    train = config["train"]
    device, size, seed = pixels.device, train["batch_size"], train["seed"]
    path, target = build_path(config["path"]), TARGETS[config["target"]]
    seeds = keys([seed] * size, device)
    while trainee.step * size < train["images"]:
        first = trainee.step * size
        numbers = torch.arange(first, first + size, device=device)
        chosen = indices(seed, len(pixels), first, size).to(device)
        x0 = pixels[chosen].float().div_(127.5).sub_(1)
        level = training_level(path, times(seed, first, size), x0.ndim, device)
        eps = normal(seeds, numbers, NOISE, x0.shape[1:])
        cond = {}
        if labels is not None:
            dropped = uniform(seeds, numbers, DROP, 1)[:, 0] <= train["label_dropout"]
            cond["label"] = labels[chosen].masked_fill(dropped, len(config["classes"]))
        if config["net"]["dropout"]:
            torch.manual_seed((seed * 1_000_003 + trainee.step) % 2**63)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            mean = loss(trainee.net, target, x0, level, eps, cond=cond).mean()
        mean.backward()
        norm, value = float(nn.utils.clip_grad_norm_(trainee.params, CLIP)), float(mean.detach())
        finite = math.isfinite(norm) and math.isfinite(value)
        lr = learning_rate(config, trainee.step)
        trainee.step += 1
        if finite:
            for group in trainee.optimizer.param_groups:
                group["lr"] = lr
            trainee.optimizer.step()
            trainee.taken += 1
            trainee.ema.update(trainee.params, trainee.taken)
        trainee.optimizer.zero_grad()
        yield Update(trainee.step, value, norm, lr, finite)


def indices(seed: int, n: int, first: int, count: int) -> Tensor:
    """Which of `n` pictures come as numbers `first` .. `first + count - 1` of the run, (count,): each epoch is a
    permutation."""
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


def seconds_per_update(
    config: dict[str, Any], pixels: Tensor, labels: Tensor | None, dtype: torch.dtype, seconds: float = 2.0
) -> float:
    """Tries the first updates of a run for about `seconds`, on a network that is thrown away."""
    config = copy.deepcopy(config)
    config["train"]["images"] = 2**62
    marks = [time.perf_counter()]
    for _ in updates(Trainee(config, pixels.device), config, pixels, labels, dtype):
        marks.append(time.perf_counter())
        if len(marks) > 6 and marks[-1] - marks[0] > seconds:
            break
    # the first two set up what the others use
    return statistics.median(after - before for before, after in itertools.pairwise(marks[2:]))
