"""The settings of `difftool train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..device import DeviceSettings, known_dtype
from ..errors import DifftoolError, Exit
from ..limits import count_of, size_of
from ..presets import family
from ..settings import MACHINE, OUTPUT, knows, one_of, setting

LENGTH, DATA, LEARNING = "Length (one of)", "Data", "Learning"
"""The boxes of the help that no other command has."""
MAX_IMAGES = 10**12
"""Of any length of a run."""
AIMS = ("v", "flow", "eps", "x0", "edm", "flow_rev")
"""What a network can be trained to predict, of `core.TARGETS`."""
WEIGHTINGS = ("plain", "min_snr", "p2", "edm")
TIMES = ("even", "log_normal", "logit_normal")
BETAS = ("linear", "scaled_linear", "cosine", "sigmoid")
"""Names of `core.WEIGHTS`, `core.DENSITIES` and `core.betas`, which take a second to import."""
LENGTHS = ("steps", "images", "epochs", "minutes")
"""The settings for the length of a run, of which one is used."""


@knows(lambda: ("auto", "fp32", "bf16"))
def known_dtype_of_training(name: str) -> str:
    """A number format that gradients fit into. Raises DifftoolError 2 for another."""
    if known_dtype(name) == "fp16":
        raise DifftoolError(Exit.USAGE, "training in fp16 loses small gradients", "use --dtype bf16 or fp32")
    return known_dtype(name)


@dataclass(frozen=True)
class Settings(DeviceSettings):
    """Settings of `train`. None stands for the value of the preset, if it has one; at most one of LENGTHS is set.

    A `stored` setting is part of the recipe: unless it is the default, it is saved under its name in `train` of a run's
    config.json. So a run from before it was added has the default.
    """

    data: str | Path | None = setting(None, "The same as DATA.", panel=DATA, typed=str | None, stored=False)
    size: tuple[int, int] | None = setting(
        None,
        "Cut and scale the pictures to this.",
        panel=DATA,
        metavar="WxH",
        typed=str | None,
        read=size_of,
        stored=False,
    )
    held_out: float | None = setting(
        None, "Share kept back for judging (0.05, of 100 or more).", panel=DATA, least=0, most=0.99, stored=False
    )
    preset: str | None = setting(
        None,
        f"One of {', '.join(family('train'))}.",
        panel=LEARNING,
        check=one_of("preset", lambda: family("train")),
        stored=False,
    )
    minutes: float | None = setting(
        None, "How long the whole command may take.", panel=LENGTH, above=0, most=MAX_IMAGES, stored=False
    )
    images: int | None = setting(
        None,
        "Pictures to see: 500k, 2M.",
        panel=LENGTH,
        metavar="N",
        least=1,
        most=MAX_IMAGES,
        parser=count_of,
        stored=False,
    )
    steps: int | None = setting(
        None,
        "Updates of the weights.",
        panel=LENGTH,
        metavar="N",
        least=1,
        most=MAX_IMAGES,
        parser=count_of,
        stored=False,
    )
    epochs: float | None = setting(
        None, "Times through the data.", panel=LENGTH, above=0, most=MAX_IMAGES, stored=False
    )
    lr: float | None = setting(None, "Highest learning rate.", panel=LEARNING, above=0)
    batch_size: int | None = setting(None, "Pictures an update.", panel=LEARNING, least=1, most=MAX_IMAGES)
    target: str | None = setting(
        None,
        f"What the network predicts: {', '.join(AIMS)}; flows and edm bring paths of their own.",
        panel=LEARNING,
        check=one_of("target", AIMS),
        stored=False,
    )
    weight: str | None = setting(
        None,
        f"What an error counts: {', '.join(WEIGHTINGS)}.",
        panel=LEARNING,
        check=one_of("weight", WEIGHTINGS),
    )
    times: str | None = setting(
        None,
        f"Which noise is trained at: {', '.join(TIMES)}.",
        panel=LEARNING,
        check=one_of("times", TIMES),
    )
    betas: str | None = setting(
        None,
        f"The path of v, eps and x0: {', '.join(BETAS)}.",
        panel=LEARNING,
        check=one_of("betas", BETAS),
        stored=False,
    )
    learned_range: bool | None = setting(None, "Learn the variance of ddpm's steps too.", panel=LEARNING)
    label_dropout: float | None = setting(
        None, "Share of labels hidden, for guidance.", panel=LEARNING, least=0, most=1
    )
    flip: bool | None = setting(None, "Mirror a picture half of the times it is seen.", panel=DATA)
    seed: int = setting(0, "Of weights, order, times and noise.", panel=LEARNING, stored=False)
    save_every: int | None = setting(
        None,
        "Pictures between checkpoints (a minute).",
        panel=OUTPUT,
        metavar="N",
        least=1,
        most=MAX_IMAGES,
        parser=count_of,
        stored=False,
    )
    preview_every: int | None = setting(
        None,
        "Pictures between grids (a fifth of the run).",
        panel=OUTPUT,
        metavar="N",
        least=1,
        most=MAX_IMAGES,
        parser=count_of,
        stored=False,
    )
    micro_batch: int | None = setting(
        None, "Pictures at once; found by itself.", panel=MACHINE, least=1, most=MAX_IMAGES, stored=False
    )
    compile: bool = setting(False, "Compile the network: minutes at first, faster after that.", panel=MACHINE)
    checkpointing: bool = setting(False, "Compute stages twice, for less memory.", panel=MACHINE)
    dtype: str = setting("auto", "auto, fp32 or bf16.", panel=MACHINE, check=known_dtype_of_training, stored=False)

    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (LENGTHS,)
    """Groups of settings that exclude each other."""
