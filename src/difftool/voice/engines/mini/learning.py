"""What the voice in the package learns of a voice, and its file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ....audio.files import RATE, read_sound
from ....core.noise import keys, normal, uniform
from ....core.objective import DENSITIES, times, training_level
from ....core.paths import Flow as Straight
from ....core.paths import Level
from ....device import DTYPES
from ....files import digest_of, load_tensors, metadata_of, save_tensors
from ....learning.config import NetConfig, RunConfig
from ....learning.loop import Trainee
from ....learning.tasks import HELD_SEED, Task, indices
from ....nets.mini.aligner import Aligner
from ....nets.mini.mel import mel
from ....nets.mini.speech import CHANNELS, Speech
from ....nets.mini.vocoder import pitch_of
from ....nets.spectrum import MELS
from ...library import WEIGHTS
from ...tuning import Clip, Tuning
from ...tuning.clips import fingerprint
from .alignment import ALIGNER, frames_of, open_aligner
from .clarity import clarity
from .files import FOLDER
from .losses import LONGEST, NOISIER, PACING, Batch, Item, batched, contour, terms_of
from .networks import FILES, LEARNED, Networks, Voice, base_of, open_networks
from .phonemes import phonemes
from .synthesis import symbols_of
from .voices import levelled, median_of, voice_of

ALIGNED, VERSION = "clips.safetensors", "2"
"""In the folder of a run: what is learned from, and the version of its contents."""
log = logging.getLogger(__name__)
NOISE, WINDOW, TURN = 0, 10, 15
"""Stages of the random numbers."""
MOST_READ = 40
"""Clips that the vectors of the voice begin with."""
SHARES = (1.0, 0.7, 0.5, 0.35)
"""How far the weights that a voice speaks with may lie from those of the package to the trained ones. Between the two,
speech is like its speaker and clearer than at the end (as with classifiers in Wortsman et al. 2022, arXiv:2109.01903);
the first share that is clear enough is taken."""
LOST = 0.1
"""How much clarity may be lost, see `clarity`."""
HELD_ITEMS = 48
"""In the held-out loss: each clip several times, with different noise."""


class Utterance(NamedTuple):
    """A clip as it is learned from."""

    text: Tensor
    """(L,) symbols"""
    frames: Tensor
    """(L,) of each symbol"""
    mel: Tensor
    """(T, MELS) float16"""
    hertz: Tensor
    """(T,) the pitch, 0 where unvoiced"""


class Learner(nn.Module):
    """The networks with the vectors of one voice. Flow, durations and these vectors are trained."""

    def __init__(self, speech: Speech, vectors: Tensor, pitch: Tensor) -> None:
        """`vectors`: (K, C) of the voice; `pitch`: (1,) its median in Hz."""
        super().__init__()
        self.speech = speech.float().requires_grad_(False)
        for part in (speech.flow, speech.durations):
            part.requires_grad_(True)
        self.vectors, self.pitch = nn.Parameter(vectors), nn.Buffer(pitch)
        self.height = nn.Buffer(speech.voice.height(pitch).detach())

    def forward(self, batch: Batch, level: Level, eps: Tensor) -> Tensor:
        """The losses (B,) of a batch with this noise."""
        voice = (self.vectors + self.height).expand(len(batch.text), -1, -1)
        terms = terms_of(self.speech, batch, voice, level, eps)
        # logarithms of durations that vary have a mean that is too short: their sum is held to that of the clip
        spoken = (terms.logs.float().exp() * (batch.text > 0)).sum(1)
        tempo = (spoken.log() - batch.frames.sum(1).log()).square()
        return terms.flow + PACING * (terms.pacing + tempo)


class Imitating:
    """The task: the clips of a voice from their phonemes. A `Ragged` one."""

    banded = False

    def __init__(self, config: RunConfig, net: Learner, train: Sequence[Utterance], held: Sequence[Utterance]) -> None:
        self.train, self.net, self.clips, self.held = config["train"], net, train, held
        self.dtype = getattr(torch, DTYPES[self.train["dtype"]])
        self.held_out = max(HELD_ITEMS // len(held), 1) * len(held)
        self.path, self.density = Straight(), DENSITIES["logit_normal"](**NOISIER)
        self.longest = sorted(train, key=lambda clip: -len(clip.mel))

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        """As `Task.losses`."""
        seed, size = self.train["seed"], self.train["batch_size"]
        chosen = indices(seed, len(self.clips), first, size)[rows.start : rows.stop].tolist()
        every = times(seed, first, size)  # in order of noise
        turn = uniform(keys([seed]), first, TURN, size)[0].argsort().tolist()
        here = first + torch.arange(rows.start, rows.stop)
        return self._losses(self.net, [self.clips[k] for k in chosen], seed, here, [every[turn[k]] for k in rows])

    def heaviest(self, rows: range) -> tuple[Tensor, Tensor]:
        """As `Ragged.heaviest`."""
        clips = [self.longest[k % len(self.longest)] for k in rows]
        return self._losses(self.net, clips, 0, torch.arange(rows.start, rows.stop), [0.5] * len(rows))

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        """As `Task.held_losses`."""
        clips = [self.held[k % len(self.held)] for k in rows]
        # every time once, in an order unrelated to that of the clips
        when = [(k * 37 % self.held_out + 0.5) / self.held_out for k in rows]

        def net(*args: object) -> Tensor:
            return torch.func.functional_call(self.net, dict(weights), args)

        return self._losses(net, clips, HELD_SEED, torch.arange(rows.start, rows.stop), when)

    def _losses(
        self, net: Callable[..., Tensor], clips: Sequence[Utterance], seed: int, here: Tensor, when: list[float]
    ) -> tuple[Tensor, Tensor]:
        device = self.net.vectors.device
        seeds, here = keys([seed] * len(clips)).to(device), here.to(device)
        places = uniform(seeds, here, WINDOW, 1)[:, 0].tolist()
        items = [_item(clip, place) for clip, place in zip(clips, places, strict=True)]
        batch = Batch(*(part.to(device) for part in batched(items)))
        level = training_level(self.path, when, 3, device, self.density)
        length = batch.speech.shape[-1]
        eps = normal(seeds, here, NOISE, (CHANNELS, LONGEST))[..., :length]  # the same beside longer clips
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            losses = net(batch, level, eps)
        return losses, torch.zeros(len(clips), dtype=torch.int64, device=device)


def blend(start: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights at a share of the way from those of the beginning to the trained ones."""
    return {name: start[name].lerp(value.to(start[name]), share) for name, value in trained.items()}


def _item(clip: Utterance, place: float) -> Item:
    """A clip, or a window of it at a place in (0, 1]."""
    start = int(place * max(len(clip.mel) - LONGEST, 0))
    window = slice(start, start + LONGEST)
    tune = contour(clip.hertz.numpy())[window]
    return Item(clip.text, clip.frames, clip.frames.log(), start, clip.mel.numpy()[window], tune)


class MiniTuning(Tuning):
    """The voice in the package, to be trained on a voice."""

    files: ClassVar[Sequence[str]] = (ALIGNED,)
    judged: ClassVar[int] = 8
    drawing: ClassVar[float] = 120.0

    @property
    def net(self) -> NetConfig:
        return {"type": "mini-full", "base": base_of()}  # type: ignore[typeddict-unknown-key]

    @property
    def _key(self) -> str:
        """What the utterances in a file depend on."""
        names = [clip.name for part in self.clips for clip in part]
        networks = (digest_of(FOLDER / file) for file in (ALIGNER, *FILES))
        return " ".join([VERSION, fingerprint(self.clips), *names, *networks])

    def prepare(self, folder: Path) -> Iterator[None]:
        if metadata_of(folder / ALIGNED).get("key") == self._key:
            return
        nets, aligner = open_networks(torch.device("cpu"), torch.float32), open_aligner()
        voice = _heard(nets, self.clips.train)
        tensors = {"vectors": voice.vectors}
        for clip in (*self.clips.train, *self.clips.held):
            for name, value in utterance(nets, aligner, voice, clip)._asdict().items():
                tensors[f"{clip.name}.{name}"] = value
            yield
        train = torch.cat([tensors[f"{clip.name}.hertz"] for clip in self.clips.train])
        save_tensors(folder / ALIGNED, tensors, {"key": self._key, "pitch": repr(median_of(train).item())})

    def make(self, folder: Path, config: RunConfig) -> tuple[Trainee, Task]:
        tensors = load_tensors(folder / ALIGNED).tensors
        train, held = (
            [Utterance(*(tensors[f"{clip.name}.{name}"] for name in Utterance._fields)) for clip in clips]
            for clips in self.clips
        )
        learner = _untrained(open_networks(torch.device("cpu"), torch.float32), folder).to(self.settings.device)
        return Trainee(learner, config["train"]), Imitating(config, learner, train, held)

    def publish(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        _write(path, weights, SHARES[-1])

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> Sequence[Path]:
        share = clear_share(folder, weights, [phonemes(clip.text) for clip in self.clips.held[: self.judged]])
        log.info(f"the voice speaks with {share:.0%} of what was learned" + (", to stay clear" if share < 1 else ""))
        _write(folder / WEIGHTS, weights, share)
        return ()


def _write(path: Path, weights: Mapping[str, Tensor], share: float) -> None:
    """Writes what the voice speaks with, beside what the clips are learned from."""
    learner = _untrained(open_networks(torch.device("cpu"), torch.float32), path.parent)
    blended = blend(dict(learner.named_parameters()), weights, share)
    halves = {name.removeprefix("speech."): value.detach().half() for name, value in blended.items()}
    pitch = repr(learner.pitch.item())
    save_tensors(path, halves, {"schema": LEARNED, "base": base_of(), "pitch": pitch})


@torch.no_grad()
def clear_share(folder: Path, weights: Mapping[str, Tensor], texts: Sequence[str]) -> float:
    """The first of SHARES with which texts, as phonemes, are said about as clearly as without training."""
    nets = open_networks(torch.device("cpu"), torch.float32)
    learner = _untrained(nets, folder)
    start = {name: value.clone() for name, value in learner.named_parameters()}

    def clear(share: float) -> float:
        learner.load_state_dict(blend(start, weights, share), strict=False)
        return clarity(nets, Voice(learner.vectors, learner.pitch, torch.zeros(MELS, 1)), texts)

    least = clear(0.0) - LOST
    return next((share for share in SHARES[:-1] if clear(share) >= least), SHARES[-1])


def _untrained(nets: Networks, folder: Path) -> Learner:
    """What a run in a folder begins with; its networks become those of the learner."""
    aligned = load_tensors(folder / ALIGNED)
    pitch = torch.tensor([float(aligned.metadata["pitch"])])
    return Learner(nets.speech, aligned.tensors["vectors"], pitch)


@torch.no_grad()
def _heard(nets: Networks, clips: Sequence[Clip]) -> Voice:
    """The voice in the first clips, as the networks know it without training."""
    return voice_of(nets, [torch.from_numpy(read_sound(clip.path, RATE)) for clip in clips[:MOST_READ]])


@torch.no_grad()
def utterance(nets: Networks, aligner: Aligner, voice: Voice, clip: Clip) -> Utterance:
    """A clip of a voice with its phonemes, how long each lasts, and its pitch."""
    mels = mel(levelled(torch.from_numpy(read_sound(clip.path, RATE))))
    scores = aligner(mels[None], torch.ones(1, mels.shape[-1], dtype=torch.bool))[0]
    text = torch.tensor(symbols_of(phonemes(clip.text)))
    hertz = pitch_of(nets.vocoder.filters_of(mels[None]).pitch)[0]
    mask = torch.ones(1, len(text), dtype=torch.bool)
    vectors = voice.vectors + nets.speech.voice.height(voice.pitch)
    logs = nets.speech.durations(nets.speech.text(text[None], mask), vectors, mask)[0]
    return Utterance(text, frames_of(scores, text, logs), mels.T.half().contiguous(), hertz)
