"""Speech by F5-TTS: a mel spectrogram from a reference with its words and a text, and sound from that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ....core.guide import Scale
from ....core.noise import START, Noise
from ....core.paths import Level, require
from ....core.predict import FLOW_REV, Denoised, Predict, denoiser
from ....core.step import Draw
from ....device import finite
from ....nets.f5.architecture import Architecture
from ....nets.f5.dit import Condition, DiT, Modulations
from ....nets.f5.official import load
from ....nets.f5.text import TextEmbedding
from ....nets.vocos.mel import mel
from ....nets.vocos.official import load as load_vocos
from ....nets.vocos.vocoder import Vocos
from ....sampling.choice import Choice
from ....sampling.guidance import guided, started
from ....sampling.settings import GuidanceSettings
from .. import Steps
from .files import Files

MOST = 65_536
"""Frames of the longest sound."""


class SpeechSettings(NamedTuple):
    """Settings of the synthesis."""

    choice: Choice
    guidance: Scale
    guide: GuidanceSettings = GuidanceSettings()


class Item(NamedTuple):
    """What is said at once."""

    tokens: Tensor
    """(L,) of the words of the reference and the text"""
    reference: Tensor
    """Its log mels (R, mels), with which the sound begins."""
    frames: int
    """Of the reference and the speech."""
    seed: int


class Times:
    """The modulations of the DiT by time: those of a grid computed together, others when they are needed. Their
    network, with two fifths of all weights, is open only meanwhile."""

    def __init__(self, opened: Callable[[], nn.Module], device: torch.device) -> None:
        self._opened, self._device = opened, device
        self._known: dict[float, Modulations] = {}

    def add(self, times: Iterable[float]) -> None:
        new = [t for t in dict.fromkeys(times) if t not in self._known]
        if new:
            together: Modulations = self._opened()(torch.tensor(new, device=self._device))
            self._known |= {t: together.at(i) for i, t in enumerate(new)}

    def at(self, t: float) -> Modulations:
        """Those of one time, (1, ...)."""
        self.add([t])
        return self._known[t]


class Networks(NamedTuple):
    """The networks, ready to run."""

    text: TextEmbedding
    dit: DiT
    """In the number format of the run, the rest in float32."""
    vocoder: Vocos
    times: Times
    mels: int
    device: torch.device


def open_networks(
    files: Files,
    architecture: Architecture,
    vocabulary: int,
    device: torch.device,
    dtype: torch.dtype,
    choice: Choice | None = None,
) -> Networks:
    """The networks, for a vocabulary of so many tokens. With the sampler that will run, memory never holds that of the
    times beside the others. Raises DifftoolError 4 for files that are damaged or of another architecture."""

    def opened(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
        return load(name, files.checkpoint, architecture, vocabulary, device=device, dtype=dtype)

    times = Times(partial(opened, "time"), device)
    times.add(level.t for level in (choice.called_at() if choice else ()))
    vocoder = cast(Vocos, load_vocos(files.vocoder, device=device))
    text, dit = cast(TextEmbedding, opened("text")), cast(DiT, opened("dit", dtype))
    return Networks(text, dit, vocoder, times, architecture.mels, device)


def reference_mel(nets: Networks, sound: Tensor) -> Tensor:
    """Log mels (1 + S // HOP, mels) of sound (S,) at 24 kHz."""
    return mel(sound.to(nets.device)).T.contiguous()


def item_of(nets: Networks, tokens: Sequence[int], reference: Tensor, speech: int, seed: int) -> Item:
    """An item with so many frames of speech, at least one more than it has tokens and than its reference."""
    wanted = max(len(reference) - 1, 0) + speech
    frames = min(max(wanted, len(tokens) + 1, len(reference) + 1), MOST)
    return Item(torch.tensor(tokens, device=nets.device), reference, frames, seed)


def spectrograms(
    nets: Networks, settings: SpeechSettings, items: Sequence[Item], noise: Draw = None
) -> Steps[list[Tensor]]:
    """Log mels (T, mels) of items in one batch: the last frame of the reference, if there is one, and the speech.
    Yields at every step. `noise` (B, T, mels) replaces that of the seeds."""
    every = yield from flow(nets, settings, items, noise)
    mels = []
    for row, item in zip(every, items, strict=True):
        mels.append(torch.cat([item.reference[-1:], row[len(item.reference) : item.frames]]))
    return mels


def flow(nets: Networks, settings: SpeechSettings, items: Sequence[Item], noise: Draw = None) -> Steps[Tensor]:
    """All frames (B, T, mels) of a batch as the network makes them, also those in the place of the references. Of items
    with different lengths none depends on the others: each has noise of its own, its text is embedded alone, and frames
    beyond its end are masked."""
    guide, choice = settings.guide, settings.choice
    longest = max(item.frames for item in items)
    is_plain = guide.guidance_mode == "cfg" and not guide.guidance_rescale
    require(is_plain or all(item.frames == longest for item in items), "only plain guidance takes items of any lengths")
    nets.times.add(level.t for level in choice.called_at())
    predict = _predict(nets, settings, items)
    by_frame = noise or Noise([item.seed for item in items], (longest, nets.mels), nets.device)

    def draw(i: int, j: int) -> Tensor:
        return by_frame(i, j).transpose(1, 2)

    x = draw(START, 0)  # (B, mels, T), as guidance has it
    for state in choice.run(predict, x, draw):
        x = state.x
        yield
    frames = x.transpose(1, 2)
    for row, item in zip(frames, items, strict=True):
        finite(row[: item.frames], "the flow")
    return frames


def _predict(nets: Networks, settings: SpeechSettings, items: Sequence[Item]) -> Predict:
    """The prediction for a batch, guided away from that without reference and text. Both run in one batch, unless
    guidance acts in a part of the run only."""
    guide, choice, scale = settings.guide, settings.choice, settings.guidance
    texts = [nets.text(item.tokens, item.frames) for item in items]
    references = [item.reference for item in items]
    if scale == 1 and not choice.needs_uncond:
        return _predicted(nets, nets.dit.condition(references, texts))
    no_texts = [nets.text(item.tokens, item.frames, dropped=True) for item in items]
    no_references = [torch.zeros_like(reference) for reference in references]
    if guide.guidance_interval is None:
        both = nets.dit.condition([*references, *no_references], [*texts, *no_texts])
        cond, uncond = _predicted(nets, both), None
    else:
        cond = _predicted(nets, nets.dit.condition(references, texts))
        uncond = _predicted(nets, nets.dit.condition(no_references, no_texts))
    values = nets.mels * max(item.frames for item in items)
    return started(guide, choice, guided(guide, choice, cond, uncond, scale, values))


def _predicted(nets: Networks, condition: Condition) -> Predict:
    def predict(x: Tensor, level: Level) -> Denoised:
        modulations = nets.times.at(level.t)

        def net(x: Tensor, t: Tensor) -> Tensor:
            return nets.dit(x.transpose(1, 2), modulations, condition).transpose(1, 2)

        return denoiser(net, FLOW_REV)(x, level)

    return predict


def sound_of(nets: Networks, mels: Tensor, gain: float) -> Tensor:
    """Sound (S,) at 24 kHz, HOP samples for each frame but the first, from log mels (T, mels) of a reference that was
    amplified by `gain`."""
    sound = nets.vocoder(mels.T[None])[0]
    return (sound / gain).clamp(-1, 1)
