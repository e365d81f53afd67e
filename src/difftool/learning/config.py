"""The types of a run's config.json: the network and its training. Counts are of training items, under "images" whatever
the items are."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict, TypeVar

T = TypeVar("T")


class NetConfig(TypedDict):
    """A network; other keys are arguments of its type."""

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
    """The training data."""

    name: str
    pictures: int
    sha256: str


class TrainConfig(TypedDict):
    """The recipe of a run; other keys are settings that differ from their defaults, see `chosen`."""

    preset: str
    data: DataConfig
    length: dict[str, float]
    """{unit: value}"""
    batch_size: int
    lr: float
    warmup: float
    """A share of the run, as is `ema`."""
    ema: float
    weight_decay: float
    label_dropout: NotRequired[float]
    images: int
    """Items to see in all; missing until a run of minutes has been measured."""
    planned: NotRequired[int]
    """Items planned in a run that ran out of time."""
    micro_batch: NotRequired[int]
    guidance: NotRequired[float]
    scale: NotRequired[float]
    """Scale of the latents."""
    seed: int
    dtype: str


class RunConfig(TypedDict):
    """The config.json of a run."""

    schema: str
    net: NetConfig
    size: list[int]
    train: TrainConfig


class DenoiserConfig(RunConfig):
    """The config.json of a run that trains a denoiser."""

    path: PathConfig
    target: str
    classes: list[str]


def chosen(train: TrainConfig, name: str, default: T) -> T:
    """A setting of the recipe, stored in a config only if it is not the default."""
    value: Any = train.get(name, default)
    return value


def readable(key: str, value: object) -> object:
    """A value of a config as people read it: the size, stored as [height, width], is WIDTHxHEIGHT."""
    if key == "size" and isinstance(value, list) and len(value) == 2:
        return f"{value[1]}x{value[0]}"
    return value
