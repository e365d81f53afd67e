"""What the chain does: its stages with their budgets, and what its networks are trained with."""

from __future__ import annotations

import time
from typing import NamedTuple

from difftool.errors import DifftoolError, Exit
from difftool.voice.engines.mini.losses import LONGEST


class Stage(NamedTuple):
    """A stage of the chain."""

    minutes: float
    """The budget, about twice what it takes on two idle cores. After it the stage stops, and goes on when it is
    repeated; lexicon and assets, which take seconds, end by themselves."""
    function: str
    """MODULE:FUNCTION in this folder, called with the folder of the chain and the end by `time.monotonic`."""
    does: str


STAGES = {
    "fetch": Stage(20, "fetch:packages", "download, check and unpack the packages of the teacher"),
    "teacher-env": Stage(10, "fetch:teacher_env", "make the virtual environment that the teacher runs in"),
    "speak": Stage(480, "fetch:utterances", "the teacher speaks 4,200 sentences in 700 voices, 4.9 hours"),
    "pack": Stage(5, "dataset:pack", "join these into arrays"),
    "mels": Stage(30, "dataset:mels", "compute their mel spectrograms at five speeds, 1.7 GB"),
    "lexicon": Stage(5, "lexicon:make", "make the pronouncing lexicon"),
    "letters": Stage(30, "letters:make", "train the network for words that are not in the lexicon"),
    "vocoder": Stage(120, "vocoder:train", "train from mel spectrograms to sound"),
    "speech": Stage(360, "speech:train", "train from phonemes to mel spectrograms"),
    "aligner": Stage(15, "aligner:train", "train from mel spectrograms to phonemes"),
    "voices": Stage(15, "voices:make", "the teacher speaks in 48 more voices, of which twenty are picked"),
    "held": Stage(30, "fetch:held", "the teacher speaks what the voice is judged by"),
    "assets": Stage(5, "assets:pack", "pack all into the package"),
}


class Training(NamedTuple):
    """How a network is trained."""

    net: dict[str, int]
    """The arguments of its class."""
    batch_size: int
    frames: int
    """Frames of 256 samples of an item, at most."""
    rate: float
    updates: int


TRAININGS = {
    "vocoder": Training({"width": 256, "hidden": 640, "blocks": 6}, 16, 64, 1e-3, 12_000),
    "speech": Training(
        {
            "symbols": 180,  # the teacher's, of which some fifty occur
            "text": 192,
            "text_blocks": 4,
            "voice": 192,
            "voice_blocks": 3,
            "slots": 16,
            "flow": 256,
            "hidden": 512,
            "blocks": 9,
        },
        8,
        LONGEST,
        1e-3,
        33_100,
    ),
    "aligner": Training({}, 8, LONGEST, 3e-3, 3_000),
}
"""The networks that are trained by the loop of `difftool.learning`."""


def out_of_time(message: str) -> DifftoolError:
    """The error that ends a stage at the end of its budget."""
    return DifftoolError(Exit.LATER, message, "repeat the command to go on")


def check_time(end: float) -> None:
    """Raises DifftoolError 75 after the end of a stage's budget, by `time.monotonic`."""
    if time.monotonic() > end:
        raise out_of_time("out of time; what is finished is kept")
