"""Packs the trained parts into the package: `assets.py PACKED SPEECH_RUN VOCODER_RUN VOCABULARY OUT`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from speech import SHIFT, SILENCE, Speaking

from difftool.files import load_tensors, read_json, save_tensors
from difftool.nets.mini.speech import Speech
from difftool.voice.engines.mini.phonemes import SYMBOLS

DIRECTIONS = 24
"""Of the voices that random ones are drawn in."""


def main() -> None:
    packed, speech_run, vocoder_run, vocabulary, out = map(Path, sys.argv[1:6])
    torch.set_num_threads(1)
    weights = load_tensors(speech_run / "model.safetensors").tensors
    speech = {name.removeprefix("speech."): value for name, value in weights.items() if name.startswith("speech.")}
    known = json.loads(vocabulary.read_text(encoding="utf-8"))
    rows = [0, SILENCE, *(known[sign] + SHIFT for sign in SYMBOLS)]  # the symbols that occur, in the package's order
    net = Speech(**{key: value for key, value in read_json(speech_run / "config.json")["net"].items() if key != "type"})
    net.load_state_dict({name: value.float() for name, value in speech.items()})
    mean, basis = random_voices(net.eval(), Speaking(read_json(speech_run / "config.json"), packed))
    speech["text.embed.weight"] = speech["text.embed.weight"][rows]
    tensors = {**speech, "random.mean": mean, "random.basis": basis}
    out.mkdir(parents=True, exist_ok=True)
    save_tensors(out / "speech.safetensors", {name: value.half().contiguous() for name, value in tensors.items()}, {})
    vocoder = load_tensors(vocoder_run / "model.safetensors").tensors
    save_tensors(out / "vocoder.safetensors", {name: value.half().contiguous() for name, value in vocoder.items()}, {})
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size / 1e6:6.2f} MB {path.name}")


@torch.no_grad()
def random_voices(net: Speech, task: Speaking) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean (K, C) of the training voices, and the principal directions (N, K, C) in which they differ, each as long
    as their deviation in it."""
    from difftool.core.noise import keys

    voices = []
    for first in range(0, task.count - 8, 24):
        batch = task.items([*range(first, first + 8)], keys([1] * 8), torch.arange(first, first + 8))
        voices.append(net.voice(batch["reference"], batch["heard"]))
    every = torch.cat(voices)
    mean = every.mean(0)
    flat = (every - mean).flatten(1)
    _, sizes, directions = torch.linalg.svd(flat, full_matrices=False)
    scaled = directions[:DIRECTIONS] * (sizes[:DIRECTIONS, None] / len(flat) ** 0.5)
    print(f"{sizes[:DIRECTIONS].square().sum() / sizes.square().sum():.0%} of the variance in {DIRECTIONS} directions")
    return mean, scaled.unflatten(1, mean.shape)


if __name__ == "__main__":
    main()
