"""Packs the trained parts, in halves, and the voices into the package."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from dataset import packed
from fetch import vocabulary
from letters import weights_path
from lexicon import lexicon_path
from pairs import Pairs, symbol_rows
from runs import addresses, arguments
from torch import Tensor

from difftool.errors import DifftoolError, Exit
from difftool.files import load_tensors, read_json, save_tensors
from difftool.learning.config import RunConfig
from difftool.models import ASSETS
from difftool.nets.mini.speech import Speech

DIRECTIONS = 12
"""In which random voices differ from the mean."""
EVERY, TOGETHER = 24, 8
"""Of so many utterances, so many are read for these, in one batch."""
SEED = 1
"""Decides which parts of them."""


def pack(folder: Path, end: float) -> None:
    """The stage: assets/mini and assets/voices of this checkout, from what the other stages made."""
    out = ASSETS / "mini"
    made = {"letters": weights_path(folder), "lexicon": lexicon_path(folder), "voices": folder / "voices"}
    models = {part: folder / part / "model.safetensors" for part in ("speech", "vocoder", "aligner")}
    for stage, path in (made | models).items():
        if not path.exists():
            raise DifftoolError(Exit.FILE, f"{path} is missing", f"run the stage {stage} first")
    _save(out / "speech.safetensors", speech(folder))
    for part in ("vocoder", "aligner"):
        _save(out / f"{part}.safetensors", load_tensors(models[part]).tensors)
    for path in (weights_path(folder), lexicon_path(folder)):
        shutil.copyfile(path, out / path.name)
    shutil.copytree(folder / "voices", ASSETS / "voices", dirs_exist_ok=True, copy_function=shutil.copyfile)
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size / 1e6:6.2f} MB {path.name}", flush=True)


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors as halves."""
    save_tensors(path, {name: value.half().contiguous() for name, value in tensors.items()}, {})


def speech(folder: Path) -> dict[str, Tensor]:
    """The networks of speech with the symbols of the package, and what random voices are drawn from."""
    trained = load_tensors(folder / "speech" / "model.safetensors").tensors
    weights = {name.removeprefix("speech."): value for name, value in trained.items() if name.startswith("speech.")}
    config = cast(RunConfig, read_json(folder / "speech" / "config.json"))
    net = Speech(**arguments(config))
    net.load_state_dict({name: value.float() for name, value in weights.items()})
    weights["text.embed.weight"] = weights["text.embed.weight"][symbol_rows(vocabulary(folder))]
    return {**weights, **random_voices(net.eval(), Pairs(packed(folder)))}


@torch.no_grad()
def random_voices(net: Speech, pairs: Pairs) -> dict[str, Tensor]:
    """The mean (K, C) of the training voices, the principal directions (N, K, C) in which they differ, each as long as
    their deviation in it, and (1 + N,) the logarithm of the pitch at the mean, and how it changes in each."""
    voices, pitches = [], []
    for first in range(0, pairs.count - TOGETHER, EVERY):
        seeds, rows = addresses(SEED, range(first, first + TOGETHER))
        _, heard = pairs.items(rows.tolist(), seeds, rows)
        known = heard.pitch > 0
        voices.append(net.voice(heard.reference, heard.mask)[known])
        pitches.append(heard.pitch[known].log())
    every = torch.cat(voices)
    mean = every.mean(0)
    flat = (every - mean).flatten(1)
    pitch = torch.cat(pitches)
    places, sizes, directions = torch.linalg.svd(flat, full_matrices=False)
    scaled = directions[:DIRECTIONS] * (sizes[:DIRECTIONS, None] / len(flat) ** 0.5)
    share = sizes[:DIRECTIONS].square().sum() / sizes.square().sum()
    print(f"{share:.0%} of the variance in {DIRECTIONS} directions", flush=True)
    drawn = places[:, :DIRECTIONS] * len(flat) ** 0.5
    along = drawn.T @ (pitch - pitch.mean()) / len(flat)
    return {
        "random.mean": mean,
        "random.basis": scaled.unflatten(1, mean.shape),
        "random.pitch": torch.cat([pitch.mean()[None], along]),
    }
