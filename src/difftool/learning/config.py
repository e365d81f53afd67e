"""The types of a run's config.json: the network and its training. Counts are of training items, under "images" whatever
the items are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, TypeVar

T = TypeVar("T")


class NetConfig(TypedDict):
    """A network; other keys are arguments of its type."""

    type: str
    channels: NotRequired[int]
    classes: NotRequired[int]
    learned_range: NotRequired[bool]
    rows: NotRequired[int]


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


class SourceConfig(TypedDict):
    """The model that a run began with."""

    name: str
    sha256: str
    """Of its weight file."""


Length = dict[str, float]
"""The length of a run or an extension as it was given, {unit: value}."""


class Extension(TypedDict):
    """A later part of a run, from `train --more`. It ends where the next one begins; the last one ends at `images`."""

    length: Length
    after: int
    """Items seen before it."""
    planned: NotRequired[int]
    """Items planned before it, if the part before it ran out of time."""


class TrainConfig(TypedDict):
    """The recipe of a run; other keys are settings that differ from their defaults, see `chosen`."""

    preset: str
    data: DataConfig
    init_from: NotRequired[SourceConfig]
    length: Length
    """Without the extensions."""
    more: NotRequired[list[Extension]]
    batch_size: int
    lr: float
    warmup: float
    """A share of the run, as is `ema`."""
    ema: float
    weight_decay: float
    label_dropout: NotRequired[float]
    images: int
    """Items to see in all; missing until a part of minutes has been measured."""
    planned: NotRequired[int]
    """Items planned in all, if the last part ran out of time."""
    micro_batch: NotRequired[int]
    keep_best: NotRequired[bool]
    """Whether the averages with the least held-out loss are stored."""
    held_out_before: NotRequired[float]
    """The held-out loss of the weights that the run begins with."""
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


class SoundConfig(TypedDict):
    """What a model of sounds generates."""

    format: str
    """A name of `audio.mels.FORMATS`."""
    frames: int


class DenoiserConfig(RunConfig):
    """The config.json of a run that trains a denoiser."""

    path: PathConfig
    target: str
    classes: list[str]
    sound: NotRequired[SoundConfig]


def items_of(config: Mapping[str, object]) -> str:
    """What a run of `train` counts, by its config."""
    return "windows" if "sound" in config else "pictures"


def chosen(train: TrainConfig, name: str, default: T) -> T:
    """A setting of the recipe, stored in a config only if it is not the default."""
    value: Any = train.get(name, default)
    return value


def part_at(train: TrainConfig, seen: int) -> range:
    """The items planned for the part of a run to which item number `seen` belongs: up to the first extension, or one
    extension."""
    first = 0
    for extension in train.get("more", []):
        if seen < extension["after"]:
            return range(first, extension.get("planned", extension["after"]))
        first = extension["after"]
    return range(first, train.get("planned", train["images"]))


def last_part(train: TrainConfig) -> tuple[Length, int]:
    """(the length of the last part of a run as it was given, the number of items seen before it)."""
    extensions = train.get("more", [])
    return (extensions[-1]["length"], extensions[-1]["after"]) if extensions else (train["length"], 0)


def readable(key: str, value: object) -> object:
    """A value of a config as people read it: the size, stored as [height, width], is WIDTHxHEIGHT."""
    if key == "size" and isinstance(value, list) and len(value) == 2:
        return f"{value[1]}x{value[0]}"
    return value
