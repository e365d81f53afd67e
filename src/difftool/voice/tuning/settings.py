"""The settings of `difftool voice train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...device import DeviceSettings
from ...learning.settings import LEARNING, LENGTH, MOST_ITEMS, known_dtype_of_training
from ...limits import count_of
from ...settings import MACHINE, TEXT, setting
from ..engines import AUTO
from . import TRAINABLE, known_engine, known_method

SENTENCE = "Every morning the old baker opens his window and listens to the rain."
"""What the previews of a run say."""


@dataclass(frozen=True)
class Settings(DeviceSettings):
    """Settings of `voice train`. None is the value of the method."""

    voice: str = ""
    voices_dir: str | Path | None = setting(
        None,
        "Folder of voices; default: ./voices if it exists, else in the user data folder.",
        panel=TEXT,
        typed=Path | None,
    )
    text: str = setting(SENTENCE, "Sentence that the previews say.", panel=TEXT)
    minutes: float | None = setting(
        None, "Duration of the whole command in minutes.", panel=LENGTH, above=0, most=MOST_ITEMS
    )
    steps: int | None = setting(
        None,
        "Number of optimiser steps.",
        panel=LENGTH,
        metavar="N",
        least=1,
        most=MOST_ITEMS,
        parser=count_of,
    )
    engine: str = setting(AUTO, f"Engine to train: {', '.join(TRAINABLE)} or auto.", panel=LEARNING, check=known_engine)
    method: str | None = setting(
        None, "What is trained: full, or for Tortoise lora (default).", panel=LEARNING, check=known_method
    )
    lr: float | None = setting(None, "Peak learning rate.", panel=LEARNING, above=0)
    rank: int | None = setting(None, "Rank of lora; default: 16.", panel=LEARNING, least=1, most=1024)
    batch_size: int | None = setting(None, "Clips per optimiser step.", panel=LEARNING, least=1, most=4096)
    seed: int = setting(0, "Random seed.", panel=LEARNING)
    checkpointing: bool = setting(False, "Gradient checkpointing: less memory, slower.", panel=MACHINE)
    dtype: str = setting("auto", "Number format: auto, fp32 or bf16.", panel=MACHINE, check=known_dtype_of_training)
    models_dir: str | Path | None = setting(
        None, "Folder of models; default: in the user data folder.", panel=MACHINE, typed=Path | None
    )

    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("minutes", "steps"),)
    """Groups of settings that cannot be used together."""
