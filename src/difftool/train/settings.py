"""The settings of `difftool train`."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..device import DeviceSettings
from ..errors import DifftoolError, Exit
from ..learning.settings import LEARNING, LENGTH, MOST_ITEMS, known_dtype_of_training
from ..limits import count_of, size_of
from ..presets import family
from ..settings import MACHINE, OUTPUT, one_of, setting

DATA = "Data"
"""A box of the help that no other command has."""
AIMS = ("v", "flow", "eps", "x0", "edm", "flow_rev")
"""What a network can be trained to predict, of `core.TARGETS`."""
WEIGHTINGS = ("plain", "min_snr", "p2", "edm")
TIMES = ("even", "log_normal", "logit_normal")
BETAS = ("linear", "scaled_linear", "cosine", "sigmoid")
"""Names of `core.WEIGHTS`, `core.DENSITIES` and `core.betas`, which take a second to import."""
SOUND_FORMATS = ("mel24", "vocos24", "mel16", "mel44", "audio_diffusion")
"""Names of `audio.mels.FORMATS`, which takes a second to import."""
LENGTHS = ("steps", "images", "epochs", "minutes")
"""The settings for the length of a run, of which one is used."""


MINUTES = {"h": 60.0, "m": 1.0, "s": 1 / 60}
"""Units of time, in minutes."""


def amount_of(text: str) -> dict[str, float]:
    """The length of an extension, as {unit: value}: minutes of a time such as 2m or 1h30m, or a number of images such
    as 20k or 1M. Raises DifftoolError 2 for any other text."""
    text = text.strip()
    times = re.findall(r"([0-9]+(?:\.[0-9]+)?)([hms])", text)
    amount: dict[str, float] = {"images": 0}
    if times and "".join(map("".join, times)) == text:
        amount = {"minutes": sum(float(number) * MINUTES[unit] for number, unit in times)}
    elif not text.endswith("m"):  # other counts take it for a million
        with suppress(ValueError):
            amount = {"images": count_of(text)}
    if not 0 < sum(amount.values()) <= MOST_ITEMS:
        message = f"--more must be a time or a number of pictures or windows, not {text!r}"
        raise DifftoolError(Exit.USAGE, message, "for example 2m, 90s, 1h, 20k or 1M")
    return amount


def known_amount(text: str) -> str:
    """The length of an extension. Raises DifftoolError 2 for any other text."""
    amount_of(text)
    return text


@dataclass(frozen=True)
class Settings(DeviceSettings):
    """Settings of `train`. None stands for the value of the preset, if it has one; at most one of LENGTHS is set.

    A `stored` setting is part of the recipe: unless it is the default, it is saved under its name in `train` of a run's
    config.json. So a run from before it was added has the default.
    """

    data: str | Path | None = setting(None, "Same as DATA.", panel=DATA, typed=str | None, stored=False)
    size: tuple[int, int] | None = setting(
        None,
        "Crop and scale the pictures to this size.",
        panel=DATA,
        metavar="WxH",
        typed=str | None,
        read=size_of,
        stored=False,
    )
    held_out: float | None = setting(
        None,
        "Share held out for evaluation; default: 0.05 of the pictures, if there are 100 or more, or 0.1 of the "
        "recordings, if there are 10 or more.",
        panel=DATA,
        least=0,
        most=0.99,
        stored=False,
    )
    sound_format: str | None = setting(
        None,
        f"Format of the spectrograms of sounds: {', '.join(SOUND_FORMATS)}; default: mel24.",
        panel=DATA,
        check=one_of("sound format", SOUND_FORMATS),
        stored=False,
    )
    frames: int | None = setting(
        None,
        "Frames of a window of sounds; default: 128, which are 1.37 s in mel24.",
        panel=DATA,
        least=16,
        most=4096,
        stored=False,
    )
    gain: float | None = setting(
        None, "Change the loudness of sounds by up to so many dB, at random.", panel=DATA, least=0, most=20
    )
    preset: str | None = setting(
        None,
        f"Preset: {', '.join(family('train'))}.",
        panel=LEARNING,
        check=one_of("preset", lambda: family("train")),
        stored=False,
    )
    minutes: float | None = setting(
        None, "Duration of the whole command in minutes.", panel=LENGTH, above=0, most=MOST_ITEMS, stored=False
    )
    images: int | None = setting(
        None,
        "Number of training pictures, or windows of sounds, repeats included, such as 500k or 2M.",
        panel=LENGTH,
        metavar="N",
        least=1,
        most=MOST_ITEMS,
        parser=count_of,
        stored=False,
    )
    steps: int | None = setting(
        None,
        "Number of optimiser steps.",
        panel=LENGTH,
        metavar="N",
        least=1,
        most=MOST_ITEMS,
        parser=count_of,
        stored=False,
    )
    epochs: float | None = setting(
        None, "Number of passes over the data.", panel=LENGTH, above=0, most=MOST_ITEMS, stored=False
    )
    more: str | None = setting(
        None,
        "Train a finished run further: a time (2m, 90s, 1h) or pictures or windows (20k, 1M). Repeated after an "
        "interruption, it resumes; once done, it extends the run again.",
        panel=LENGTH,
        metavar="AMOUNT",
        check=known_amount,
        stored=False,
    )
    init_from: str | Path | None = setting(
        None,
        "Begin with the averaged weights of this run or model, which must have the same network, target and size.",
        "--from",
        panel=LEARNING,
        metavar="RUN|MODEL",
        typed=str | None,
        stored=False,
    )
    lr: float | None = setting(None, "Peak learning rate.", panel=LEARNING, above=0)
    batch_size: int | None = setting(
        None, "Pictures or windows per optimiser step.", panel=LEARNING, least=1, most=MOST_ITEMS
    )
    target: str | None = setting(
        None,
        f"Prediction target: {', '.join(AIMS)}.",
        panel=LEARNING,
        check=one_of("target", AIMS),
        stored=False,
    )
    weight: str | None = setting(
        None,
        f"Loss weighting: {', '.join(WEIGHTINGS)}.",
        panel=LEARNING,
        check=one_of("weight", WEIGHTINGS),
    )
    times: str | None = setting(
        None,
        f"Distribution of training times: {', '.join(TIMES)}.",
        panel=LEARNING,
        check=one_of("times", TIMES),
    )
    betas: str | None = setting(
        None,
        f"Beta schedule for v, eps and x0: {', '.join(BETAS)}.",
        panel=LEARNING,
        check=one_of("betas", BETAS),
        stored=False,
    )
    learned_range: bool | None = setting(None, "Also learn the variance of the ddpm steps.", panel=LEARNING)
    label_dropout: float | None = setting(
        None, "Probability of dropping a label, for guidance.", panel=LEARNING, least=0, most=1
    )
    flip: bool | None = setting(None, "Flip pictures horizontally half of the time.", panel=DATA)
    seed: int = setting(0, "Random seed for weights, data order, times and noise.", panel=LEARNING, stored=False)
    save_every: int | None = setting(
        None,
        "Save a checkpoint every N training pictures or windows; default: one per minute.",
        panel=OUTPUT,
        metavar="N",
        least=1,
        most=MOST_ITEMS,
        parser=count_of,
        stored=False,
    )
    preview_every: int | None = setting(
        None,
        "Write samples every N training pictures or windows; default: five per run.",
        panel=OUTPUT,
        metavar="N",
        least=1,
        most=MOST_ITEMS,
        parser=count_of,
        stored=False,
    )
    keep_averages: bool = setting(
        False,
        "Store averages of the weights, 40 files of half precision in a run and up to 40 more in each extension, for "
        "`sample --ema`.",
        panel=OUTPUT,
    )
    micro_batch: int | None = setting(
        None,
        "Pictures or windows per forward pass; default: chosen automatically.",
        panel=MACHINE,
        least=1,
        most=MOST_ITEMS,
        stored=False,
    )
    compile: bool = setting(False, "Compile the network: slower start, faster training.", panel=MACHINE)
    checkpointing: bool = setting(False, "Gradient checkpointing: less memory, slower.", panel=MACHINE)
    dtype: str = setting(
        "auto", "Number format: auto, fp32 or bf16.", panel=MACHINE, check=known_dtype_of_training, stored=False
    )

    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = ((*LENGTHS, "more"),)
    """Groups of settings that cannot be used together."""
