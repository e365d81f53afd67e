"""How many sounds of a model of `tones` have the instrument and the pitch that were asked for.

python bench/tones.py [MODEL] [--count 200]     # default: the model in the package
python bench/tones.py RUN --pack                # makes assets/tones of a run of `difftool train tones`, in halves

A plain spectral reader (`train/data/tone_reader.py`) reads each sound. It also reads held-out sounds of the set, as
they are and after the inversion of their spectrograms: no model can do better than the latter.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from torch import from_numpy

from difftool.audio.mels import FORMATS
from difftool.files import read_json, write_json
from difftool.models import ASSETS
from difftool.pixels.draw import sample
from difftool.train.data.tone_reader import read
from difftool.train.data.tones import CLASSES, INSTRUMENTS, draw_set, hertz_of
from difftool.train.sounds.quality import sound_of

NEAR, SLACK = 30.0, 10.0
"""Cents that a pitch may be off, and beyond the error after the inversion of a true sound."""


def errors(sounds: Sequence[np.ndarray], labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(cents, whether the instrument is right) of each sound."""
    cents, right = [], []
    for sound, label in zip(sounds, labels, strict=True):
        instrument, note = CLASSES[label].split("-")
        reading = read(sound)
        cents.append(abs(reading.cents(hertz_of(note))))
        right.append(reading.instrument == instrument)
    return np.array(cents), np.array(right)


def shown(name: str, cents: np.ndarray, right: np.ndarray, allowed: np.ndarray | float = NEAR) -> None:
    print(
        f"{name:28} pitch {np.mean(cents <= allowed):6.1%} (median {np.median(cents):.1f} cents)"
        f"   instrument {right.mean():6.1%}"
    )


def pack(run: Path) -> None:
    """Writes the model of a run into assets."""
    target = ASSETS / "tones"
    target.mkdir(exist_ok=True)
    halves = {name: value.half() for name, value in load_file(run / "model.safetensors").items()}
    save_file(halves, target / "model.safetensors", {"format": "pt"})
    write_json(target / "config.json", read_json(run / "config.json"))
    print((target / "model.safetensors").stat().st_size, "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="tones")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--pack", action="store_true")
    options = parser.parse_args()
    if options.pack:
        pack(Path(options.model))
        return
    own = FORMATS["mel24"]
    true, labels = draw_set(options.count, held=True)
    shown("true sounds", *errors(true, labels))
    copies = sound_of(own.encode(from_numpy(true)).numpy(), own)
    copied = errors(copies, labels)
    shown("after the inversion", *copied)
    names = [CLASSES[label] for label in labels]
    drawn = sample(options.model, count=options.count, label=names, steps=options.steps, guidance=options.guidance)
    cents, right = errors(drawn.sounds, labels)
    allowed = np.maximum(NEAR, copied[0] + SLACK)
    shown("samples", cents, right, allowed)
    kinds = np.array([name.split("-")[0] for name in names])
    for kind in INSTRUMENTS:
        mine = kinds == kind
        shown(f"  {kind}", cents[mine], right[mine], allowed[mine])


if __name__ == "__main__":
    main()
