"""The shapes of a run's config.json: what a network is, and how it is trained. Counts are of what is learned from, and
stand under "images" whatever that is."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict, TypeVar

T = TypeVar("T")


class NetConfig(TypedDict):
    """A network; what else stands there are the arguments of its type."""

    type: str
    channels: NotRequired[int]
    classes: NotRequired[int]
    learned_range: NotRequired[bool]


class PathConfig(TypedDict):
    """A path, as `models.build_path` takes it: discrete_vp has betas and T, flow shift and clock, karras lo and hi."""

    type: str
    betas: NotRequired[str]
    T: NotRequired[int]
    zero_snr: NotRequired[bool]
    shift: NotRequired[float]
    clock: NotRequired[int]
    lo: NotRequired[float]
    hi: NotRequired[float]


class DataConfig(TypedDict):
    """What is learned from."""

    name: str
    pictures: int
    sha256: str


class TrainConfig(TypedDict):
    """The recipe of a training; what else stands there are settings that are not their defaults, as `chosen` reads
    them."""

    preset: str
    data: DataConfig
    length: dict[str, float]
    """{unit: value}"""
    batch_size: int
    lr: float
    warmup: float
    """As `ema` a share of the run."""
    ema: float
    weight_decay: float
    label_dropout: NotRequired[float]
    images: int
    """How many are seen in all; not there while minutes are not yet measured."""
    planned: NotRequired[int]
    """Those that were to be seen in a run which was out of time."""
    micro_batch: NotRequired[int]
    guidance: NotRequired[float]
    scale: NotRequired[float]
    """Of latents."""
    seed: int
    dtype: str


class RunConfig(TypedDict):
    """The config.json of a run."""

    schema: str
    net: NetConfig
    size: list[int]
    train: TrainConfig


class DenoiserConfig(RunConfig):
    """That of a run which trains a denoiser."""

    path: PathConfig
    target: str
    classes: list[str]


def chosen(train: TrainConfig, name: str, default: T) -> T:
    """A setting of the recipe that stands in a config where it is not its default."""
    value: Any = train.get(name, default)
    return value
