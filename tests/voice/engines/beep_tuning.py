"""What the engine that beeps learns of a voice: how many seconds a word takes, by a network of one weight."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from difftool.core.noise import keys, normal
from difftool.files import save_tensors
from difftool.learning.loop import Trainee
from difftool.learning.tasks import HELD_SEED, indices
from difftool.voice.tuning import Clip, Method, Tuning

METHODS = {"full": Method(lr=0.05, batch_size=4, epochs=2, updates=(10, 40)), "lora": Method(lr=0.1, batch_size=4)}
LEARNED = "training beeps, which are nobody's"


def unusable(clip: Clip) -> str | None:
    return "it is about silence" if "silence" in clip.text else None


class Task:
    banded = False

    def __init__(self, config: Any, train: list[Clip], held: list[Clip]) -> None:
        self.train, self.clips, self.held, self.net = config["train"], train, held, nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.net.weight)
        self.held_out = len(held)

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        numbers = indices(self.train["seed"], len(self.clips), first, self.train["batch_size"])
        chosen = [self.clips[k] for k in numbers[rows.start : rows.stop].tolist()]
        here = first + torch.arange(rows.start, rows.stop)
        return self._losses(self.net, chosen, self.train["seed"], here)

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        here = torch.arange(rows.start, rows.stop)

        def net(x: Tensor) -> Tensor:
            return torch.func.functional_call(self.net, dict(weights), (x,))

        return self._losses(net, [self.held[k] for k in rows], HELD_SEED, here)

    def _losses(self, net: Any, clips: list[Clip], seed: int, here: Tensor) -> tuple[Tensor, Tensor]:
        words = torch.tensor([[float(len(clip.text.split()))] for clip in clips])
        seconds = torch.tensor([[clip.seconds] for clip in clips])
        noise = normal(keys([seed]).expand(len(here)), here, 0, (1,))
        return (net(words) - seconds + 0.01 * noise).square()[:, 0], torch.zeros(len(clips), dtype=torch.int64)


class Beeping(Tuning):
    judged: ClassVar[int] = 2
    drawing: ClassVar[float] = 0.1

    @property
    def net(self) -> Any:
        return {"type": "beep-full"}

    def make(self, folder: Path, config: Any) -> tuple[Trainee, Task]:
        task = Task(config, [*self.clips.train], [*self.clips.held])
        return Trainee(task.net, config["train"]), task

    def publish(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        save_tensors(path, {"seconds": weights["weight"]}, {"schema": "difftool/beep/1"})


plan = Beeping
