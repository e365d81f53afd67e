"""The mel spectrograms of the packed utterances at every factor: `mels.py PACKED`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torchaudio

from difftool.nets.mini.vocoder import HOP, MELS, RATE, WINDOW

FACTORS = (8, 9, 10, 11, 12)
"""Resampled to 10 / this of the length, so that pitch and formants move together: five speakers of each."""
HALF = 300
"""Samples of a value of the teacher's pitch."""


def frames_of(samples: int, factor: int) -> int:
    """Whole frames of an utterance at a factor."""
    return samples * 10 // factor // HOP


def main() -> None:
    packed = Path(sys.argv[1])
    torch.set_num_threads(1)
    sounds = np.memmap(packed / "sounds.i16", np.int16, "r")
    with np.load(packed / "rows.npz") as rows:
        starts = np.concatenate([[0], np.cumsum(rows["frames_per_row"])]) * HALF
    mel = torchaudio.transforms.MelSpectrogram(RATE, WINDOW, hop_length=HOP, n_mels=MELS, power=1)
    for factor in FACTORS:
        path = packed / f"mels{factor}.f16"
        if path.exists():
            continue
        part = path.with_suffix(".tmp")
        with part.open("wb") as file:
            for first, last in zip(starts[:-1], starts[1:], strict=True):
                sound = torch.from_numpy(sounds[first:last].astype(np.float32) / 32768)
                if factor != 10:
                    sound = torchaudio.functional.resample(sound, factor, 10)
                count = frames_of(int(last - first), factor)
                logs = mel(sound)[:, :count].clamp(min=1e-7).log()
                file.write(logs.T.numpy().astype(np.float16).tobytes())
        part.replace(path)
        print(path, flush=True)


if __name__ == "__main__":
    main()
