"""Fine-tuning of an engine on a voice: everything that knows no engine.

An engine that can be trained has a module `tuning` with the names of `Tuner`. It imports nothing heavy at its top.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, cast

from ...errors import DifftoolError, Exit, pick
from ...learning.config import NetConfig
from ...settings import knows, plain
from ..engines import ALIASES, AUTO, ENGINES

if TYPE_CHECKING:
    from torch import Tensor

    from ...learning.config import RunConfig
    from ...learning.loop import Trainee
    from ...learning.tasks import Task
    from ..library import Voice
    from .settings import Settings

TRAINABLE = ("tortoise", "mini")
"""The engines with a module `tuning`."""
ITEMS = "clips"
"""What is counted in a run."""


class Method(NamedTuple):
    """A way to train an engine, and its usual values."""

    lr: float
    batch_size: int
    minutes: float | None = None
    """The length of a run; None: by `epochs`"""
    epochs: float = 8
    updates: tuple[int, int] = (100, 1500)
    """Least and most updates of a length by epochs"""
    warmup: float = 0.05
    """A share of the run, as is `ema`"""
    ema: float = 0.1
    weight_decay: float = 0.01


class Clip(NamedTuple):
    """A recorded sentence."""

    name: str
    path: Path
    """Mono at 24 kHz"""
    text: str
    """Normalised, numbers written out"""
    seconds: float
    source: str
    """The recording that it was cut from"""


class Clips(NamedTuple):
    """The clips of a voice."""

    train: Sequence[Clip]
    held: Sequence[Clip]
    """Set aside for evaluation."""


@dataclass(frozen=True)
class Tuning(ABC):
    """An engine's part in a run, with everything checked and no network open."""

    settings: Settings
    """None filled in, device and dtype as chosen."""
    voice: Voice
    clips: Clips
    """Those that can be learned from."""

    preset: ClassVar[str] = "fast"
    """The preset that previews and judged sentences are spoken with."""
    judged: ClassVar[int] = 4
    """Most sentences that are spoken before and after, to be judged."""
    drawing: ClassVar[float] = 20.0
    """Passes of the network that a sentence costs, for the plan of the time: a pass is a quarter of an update of one
    clip."""
    files: ClassVar[Sequence[str]] = ()
    """Files and folders that it keeps in the folder of the run, beside WEIGHTS: cached targets, exports."""

    @property
    @abstractmethod
    def net(self) -> NetConfig:
        """What config.json says of the network: `type` is NAME-METHOD, and whatever else decides what is learned, such
        as the rank and the SHA-256 of the weights that are tuned."""

    def prepare(self, folder: Path) -> Iterator[None]:
        """Computes what the clips are learned from, once, into `files` in the folder of the run; yields once for each
        clip. Called again, it does what is missing."""
        for _ in (*self.clips.train, *self.clips.held):
            yield

    @abstractmethod
    def make(self, folder: Path, config: RunConfig) -> tuple[Trainee, Task]:
        """The network with the weights of the base, and its task on the clips, `prepare`d in this folder. `held_out` of
        the task is the number of held-out clips. A task whose items differ in size is a `learning.tasks.Ragged`."""

    @abstractmethod
    def publish(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        """Writes learned weights, by parameter name of the network of `make`, atomically to the file that the engine
        speaks with (`Reference.trained`). Called at every checkpoint and before previews."""

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> Sequence[Path]:
        """Writes what other tools open into the folder of a run, once, at its end; returns the files."""
        return ()


class Tuner(Protocol):
    """The module `tuning` of an engine."""

    METHODS: Mapping[str, Method]
    """By name, the default first."""
    LEARNED: str
    """The licence and origin of the weights that are tuned, in a line for the user."""

    def unusable(self, clip: Clip) -> str | None:
        """Why a clip cannot be learned from, in a few words; None where it can."""
        ...

    def plan(self, settings: Settings, voice: Voice, clips: Clips) -> Tuning:
        """The engine's part. Raises DifftoolError 2 for settings that do not fit, 4 where a network is missing or
        damaged."""
        ...


def tuner(name: str) -> Tuner:
    """The module of an engine that can be trained."""
    return cast(Tuner, import_module(f"{ENGINES[name]}.tuning"))


@knows(lambda: (AUTO, *TRAINABLE))
def known_engine(name: str) -> str:
    """The name of an engine that can be trained, or auto. Raises DifftoolError 2 for another."""
    own = {known: known for known in (AUTO, *TRAINABLE)}
    if (other := plain(name)) in ENGINES and other not in own:
        raise DifftoolError(Exit.USAGE, f"the engine {other} cannot be trained", f"use {' or '.join(TRAINABLE)}")
    return pick("engine", other, own | ALIASES)


def methods() -> list[str]:
    """The methods of all engines."""
    return list(dict.fromkeys(method for name in TRAINABLE for method in tuner(name).METHODS))


@knows(methods)
def known_method(name: str) -> str:
    """The name of a method of any engine. Raises DifftoolError 2 for another."""
    return pick("method", plain(name), {known: known for known in methods()})
