"""How good the voice in the package is: words by Whisper, identity by the speaker encoder, its vocoder, and how many
calls of the flow it takes.

    python bench/mini.py words HELD WHISPER       # 20 unseen speakers, 5 sentences each, beside the teacher
    python bench/mini.py vocoder HELD WHISPER     # the teacher's own mel spectrograms as sound
    python bench/mini.py calls HELD WHISPER docs/mini-calls.png
    python bench/mini.py mels HELD docs/mini-mels.png
    python bench/mini.py flite HELD               # four voices of another make (Debian's flite)
    python bench/mini.py readers FILE...          # the pitch of recordings of people

HELD is the folder that `python recipes/mini/make.py FOLDER held` made, WHISPER a size or a .pt file. No sentence and no
speaker of it was in the training; seed 0, one candidate, no verifying.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import difftool
from difftool.audio.files import RATE, Samples, read_sound
from difftool.audio.pitch import pitches
from difftool.core.grid import EPSS
from difftool.core.paths import Flow
from difftool.nets.mini.mel import FAINTEST, mel
from difftool.nets.spectrum import HOP, WINDOW, filters
from difftool.presets import preset
from difftool.sampling.choice import Choice, choose_sampler
from difftool.sampling.settings import GuidanceSettings
from difftool.voice.comparison import compare
from difftool.voice.engines import finished
from difftool.voice.engines.mini.networks import Networks, open_networks
from difftool.voice.engines.mini.phonemes import phonemes
from difftool.voice.engines.mini.synthesis import SpeechSettings, sound_of, spectrograms
from difftool.voice.engines.mini.voices import voice_of
from difftool.voice.identity import voiceprint
from difftool.voice.prep.transcribe import Whisper
from difftool.voice.verify import LANGUAGE

EACH, SECONDS = 5, 5
"""Sentences of a speaker; length of a reference."""
HEARD = 1e-5
"""Magnitudes below are equal to the ear: of log mels that are compared."""
CALLS = (4, 6, 8, 10, 12, 16, 24, 32)
DISTANCES = (0.01, 0.02, 0.05, 0.1, 0.2)
WAYS = {
    "euler": ("euler", None),
    "euler, EPSS": ("euler", "epss"),
    "unipc": ("unipc", None),
    "dpmpp_2m": ("dpmpp_2m", None),
    "midpoint (dpm2)": ("dpm2", None),
}
"""Samplers and schedules by how the figure names them."""
TWICE = ("dpm2",)
"""Samplers with two calls a step, but for the last."""


class Held(NamedTuple):
    """What the voice is judged by."""

    texts: dict[str, str]
    folder: Path

    @property
    def speakers(self) -> list[str]:
        return sorted({name.split("-")[0] for name in self.texts})

    def reference(self, speaker: str) -> Samples:
        """The first SECONDS of what a speaker says besides the sentences."""
        names = sorted(name for name in self.texts if name.startswith(f"{speaker}-reference"))
        sound = np.concatenate([read_sound(self.folder / f"{name}.wav", RATE) for name in names])
        return sound[: SECONDS * RATE]

    def sentences(self, speaker: str) -> Iterator[tuple[str, Samples]]:
        """The sentences of a speaker, and how the teacher says them."""
        for k in range(EACH):
            name = f"{speaker}-said{k}"
            yield self.texts[name], read_sound(self.folder / f"{name}.wav", RATE)


def held_in(folder: str) -> Held:
    return Held(json.loads((Path(folder) / "texts.json").read_text()), Path(folder))


def tensor(sound: Samples) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(sound))


class Words:
    """Counts the words that Whisper does not hear as they were written."""

    def __init__(self, whisper: Whisper, name: str) -> None:
        self.whisper, self.name, self.errors, self.words = whisper, name, 0, 0

    def __call__(self, text: str, sound: Samples) -> None:
        heard = self.whisper.text_of(sound)
        compared = compare(text, heard)
        self.errors += compared.errors
        self.words += len(text.split())
        if compared.errors:
            print(f"  {self.name}, {compared.errors}: {text} | {heard}", flush=True)

    def __str__(self) -> str:
        return f"{self.name}: {self.errors} of {self.words} words, {100 * self.errors / self.words:.1f} %"


def listener(size: str) -> Whisper:
    return Whisper(size, torch.device("cpu"), LANGUAGE)


def cloned(text: str, reference: Samples, seed: int = 0) -> Samples:
    """What a user gets with the default preset, from a recording."""
    with tempfile.TemporaryDirectory() as folder:
        _make_voice(Path(folder) / "one", reference)
        return difftool.voice.clone(text, "one", voices_dir=folder, engine="mini", seed=seed).sounds[0]


def _make_voice(folder: Path, sound: Samples) -> None:
    import soundfile

    (folder / "clips").mkdir(parents=True)
    soundfile.write(folder / "clips" / "1.wav", sound, RATE)
    (folder / "voice.json").write_text('{"consent": {"kind": "synthetic"}}')


def identity(prints: Sequence[np.ndarray], own: Sequence[int], references: np.ndarray) -> str:
    """How near the voiceprints are to the references of their own speakers and to those of others."""
    likeness = np.stack(prints) @ references.T
    rows = np.arange(len(own))
    mine = likeness[rows, own]
    others = (likeness.sum(1) - mine) / (len(references) - 1)
    first = (likeness.argmax(1) == np.array(own)).mean()
    return f"top-1 {first:.0%}, own {mine.mean():.3f}, own minus others {(mine - others).mean():.3f}"


def words(folder: str, size: str) -> None:
    held, whisper = held_in(folder), listener(size)
    teacher, ours = Words(whisper, "teacher"), Words(whisper, "mini")
    references = np.stack([voiceprint(held.reference(speaker)) for speaker in held.speakers])
    prints, own, originals = [], [], []
    for k, speaker in enumerate(held.speakers):
        for text, original in held.sentences(speaker):
            sound = cloned(text, held.reference(speaker))
            teacher(text, original)
            ours(text, sound)
            prints.append(voiceprint(sound))
            originals.append(voiceprint(original))
            own.append(k)
    print(teacher, ours, sep="\n")
    shuffled = [*range(len(references))]
    random.Random(0).shuffle(shuffled)
    print("teacher:", identity(originals, own, references))
    print("mini:", identity(prints, own, references))
    print("mini, references shuffled:", identity(prints, [shuffled[k] for k in own], references))


def vocoder(folder: str, size: str) -> None:
    held, whisper, nets = held_in(folder), listener(size), opened()
    teacher, ours = Words(whisper, "teacher"), Words(whisper, "vocoder")
    likeness, distances = [], []
    for k, speaker in enumerate(held.speakers):
        for text, original in held.sentences(speaker):
            mels = mel(tensor(original))
            sound = sound_of(nets, mels, k).numpy()
            teacher(text, original)
            ours(text, sound)
            likeness.append(voiceprint(sound) @ voiceprint(original))
            distances.append(distance(mel(tensor(sound)), mels))
    print(teacher, ours, sep="\n")
    print(f"cosine {np.mean(likeness):.3f} (least {np.min(likeness):.3f}), log-mel L1 {np.mean(distances):.3f}")


def distance(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of log mels, natural logarithm, as far as they can be heard."""
    floor = float(np.log(HEARD))
    return float((a.clamp(min=floor) - b.clamp(min=floor)).abs().mean())


def opened() -> Networks:
    return open_networks(torch.device("cpu"), torch.float32)


def calls(folder: str, size: str, path: str) -> None:
    """Distance of the mels to a solution of 200 calls, and words, by calls."""
    held, whisper, nets = held_in(folder), listener(size), opened()
    items = [(held.reference(speaker), next(held.sentences(speaker))[0]) for speaker in held.speakers[::4]]
    voices = [voice_of(nets, [tensor(reference)]) for reference, _ in items]

    def spectrogram(k: int, choice: Choice) -> Tensor:
        settings = SpeechSettings(choice, preset("mini", "fast")["guidance"], GuidanceSettings(), 1.0)
        return finished(spectrograms(nets, settings, phonemes(items[k][1]), voices[k], [k]))[0]

    exact = [spectrogram(k, choose_sampler(Flow(), "dpmpp_2m", 200)) for k in range(len(items))]
    curves: dict[str, list[tuple[int, float]]] = {}
    for way, (sampler, schedule) in WAYS.items():
        for most in EPSS if schedule == "epss" else CALLS:
            choice = choose_sampler(Flow(), sampler, most // 2 if sampler in TWICE else most, schedule)
            count = choice.calls
            heard, distances = Words(whisper, f"{way} {count}"), []
            for k, (_, text) in enumerate(items):
                mels = spectrogram(k, choice)
                distances.append(distance(mels, exact[k]))
                heard(text, sound_of(nets, mels, k).numpy())
            error = 100 * heard.errors / heard.words
            curves.setdefault(way, []).append((count, float(np.mean(distances))))
            print(f"{way:15} {count:3} calls: distance {np.mean(distances):.3f}, words {error:.1f} %", flush=True)
    _draw(curves, Path(path))


def _draw(curves: dict[str, list[tuple[int, float]]], path: Path) -> None:
    import matplotlib.pyplot as plt

    from difftool.pictures.plots import COLOURS

    figure, axis = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
    for colour, (way, rows) in zip(COLOURS, curves.items(), strict=False):
        axis.plot(*zip(*rows, strict=True), color=colour, label=way, marker=".")
    axis.set(xlabel="calls of the flow", ylabel="distance of log mels to 200 calls", xscale="log", yscale="log")
    axis.set(xticks=CALLS, xticklabels=CALLS, yticks=DISTANCES, yticklabels=DISTANCES)
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=120)


def mels(folder: str, path: str) -> None:
    """The same sentence by the teacher, by the voice in the package, and by Griffin-Lim from the teacher's mels."""
    import matplotlib.pyplot as plt

    held = held_in(folder)
    speaker = held.speakers[0]
    text, original = next(held.sentences(speaker))
    sounds = {
        "Kokoro, the teacher": original,
        "mini, from five other seconds of this speaker": cloned(text, held.reference(speaker)),
        "Griffin-Lim, from the teacher's own mel spectrogram": griffin_lim(mel(tensor(original))).numpy(),
    }
    figure, axes = plt.subplots(3, 1, figsize=(9, 7), layout="constrained")
    for axis, (title, sound) in zip(axes, sounds.items(), strict=True):
        shown = mel(tensor(sound))
        axis.imshow(shown, origin="lower", aspect="auto", cmap="magma", vmin=-9, vmax=2, extent=extent(shown))
        axis.set(title=title, ylabel="band")
    axes[-1].set_xlabel(f"seconds: {text}")
    figure.savefig(path, dpi=120)


def extent(shown: Tensor) -> tuple[float, float, float, float]:
    return 0, shown.shape[1] * HOP / RATE, 0, len(shown)


def griffin_lim(mels: Tensor, rounds: int = 32) -> Tensor:
    """Sound from log mels by Griffin & Lim 1984."""
    import torchaudio

    magnitudes = torch.linalg.lstsq(filters(), mels.exp(), driver="gelsd").solution.clamp(min=FAINTEST)
    torch.manual_seed(0)
    return torchaudio.functional.griffinlim(
        magnitudes, torch.hann_window(WINDOW), WINDOW, HOP, WINDOW, 1.0, rounds, 0.99, None, True
    )


def flite(folder: str) -> None:
    """Voices of another make: is a clone nearer to its own than to the other three and the 20 mixes?"""
    held, names = held_in(folder), ("slt", "rms", "awb", "kal16")
    texts = [held.texts[f"{held.speakers[0]}-reference{k}"] for k in (0, 1)]
    sounds = [read_flite(name, " ".join(texts))[: SECONDS * RATE] for name in names]
    references = np.stack([voiceprint(sound) for sound in [*map(held.reference, held.speakers), *sounds]])
    for k, (name, sound) in enumerate(zip(names, sounds, strict=True)):
        spoken = [voiceprint(cloned(text, sound)) for text, _ in held.sentences(held.speakers[1])]
        mean = np.mean(spoken, 0)
        likeness = references @ (mean / np.linalg.norm(mean))
        own = len(held.speakers) + k
        print(f"{name}: own {likeness[own]:.3f}, place {1 + int((likeness > likeness[own]).sum())} of {len(likeness)}")


def read_flite(voice: str, text: str) -> Samples:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "said.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(file)], check=True)
        return read_sound(file, RATE)


def readers(*files: str) -> None:
    """The median pitch of a clone beside that of the recording, and their likeness."""
    text = "The ferry leaves the harbour at a quarter to nine, and nobody in the office knew how to open the safe."
    for file in files:
        sound = read_sound(Path(file), RATE)
        spoken = cloned(text, sound)
        theirs, ours = (float(np.median(pitches(part))) for part in (sound, spoken))
        likeness = float(voiceprint(sound) @ voiceprint(spoken))
        print(
            f"{Path(file).name}: {theirs:.0f} Hz, clone {ours:.0f} Hz ({ours / theirs - 1:+.0%}), cosine {likeness:.3f}"
        )


COMMANDS: dict[str, Callable[..., None]] = {
    "words": words,
    "vocoder": vocoder,
    "calls": calls,
    "mels": mels,
    "flite": flite,
    "readers": readers,
}

if __name__ == "__main__":
    torch.set_grad_enabled(False)
    COMMANDS[sys.argv[1]](*sys.argv[2:])
