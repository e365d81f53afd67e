"""How well sound comes back from mel spectrograms without a network.

python bench/inversion.py           # three recordings of people, in each format; needs a package registry
python bench/inversion.py FILE...   # other recordings

Each row is the mean of the recordings: the spectral convergence of all bins, ||S' - S|| / ||S||, and the mean distance
in dB of 80 log mels (window 1,024, hop 256), for the pseudo-inverse of the filters or non-negative least squares, with
Griffin-Lim without and with momentum, at equal iterations; in the last column the bands are corrected, too.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from identity import PEOPLE, fetched
from torch import Tensor

from difftool.audio.files import read_sound
from difftool.audio.inversion import ITERATIONS, MOMENTUM, griffin_lim, inverted, unmixed
from difftool.audio.mels import FORMATS, MelFormat
from difftool.nets.spectrum import filters, transformed

CHOSEN = ("angie/1.wav", "geralt/3.wav", "train_atkins/1.wav")
SECONDS = 6


def measured(own: MelFormat, sound: Tensor) -> Iterator[tuple[float, float]]:
    """(convergence, dB) of each way to invert the mels of a sound (1, S)."""
    spectrum = transformed(sound, own.window, own.hop, own.padding).abs()
    bands = own.logarithms(sound).exp()
    weights = own.filters(sound)

    def figures(made: Tensor) -> tuple[float, float]:
        again = transformed(made, own.window, own.hop, own.padding).abs()
        return float((again - spectrum).norm() / spectrum.norm()), distance(made, sound, own.rate)

    for linear in ((torch.linalg.pinv(weights) @ bands).clamp(min=0), unmixed(bands, weights)):
        for momentum in (0.0, MOMENTUM):
            made = griffin_lim(linear ** (1 / own.power), own.hop, [0], momentum=momentum, padding=own.padding)
            yield figures(made)
    yield figures(inverted(own, bands, [0]))


def distance(made: Tensor, sound: Tensor, rate: int) -> float:
    bank = filters(rate, 1024, 80, "slaney", "slaney")
    length = made.shape[-1]
    decibels = [20 * (bank @ transformed(x[..., :length], 1024).abs()).clamp(min=1e-5).log10() for x in (made, sound)]
    return float((decibels[0] - decibels[1]).abs().mean())


def report(paths: Sequence[Path]) -> None:
    print(f"{len(paths)} recordings, {ITERATIONS} iterations: convergence, dB")
    print(f"{'format':17}{'pinv':>12}{'momentum':>12}{'NNLS':>12}{'momentum':>12}{'difftool':>12}   dB of each")
    for own in FORMATS.values():
        rows = []
        for path in paths:
            sound = torch.from_numpy(read_sound(path, own.rate))[None, : SECONDS * own.rate]
            rows.append([*measured(own, sound)])
        means = torch.tensor(rows).mean(0).tolist()
        each = ", ".join(f"{row[-1][1]:.2f}" for row in rows)
        print(f"{own.name:17}" + "".join(f"{sc:7.3f} {db:4.2f}" for sc, db in means) + f"   {each}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1:]:
        report([Path(name) for name in sys.argv[1:]])
        return
    with fetched(PEOPLE, "--no-binary", ":all:") as archive, tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
        report([next(Path(folder).rglob(f"voices/{name}")) for name in CHOSEN])


if __name__ == "__main__":
    main()
