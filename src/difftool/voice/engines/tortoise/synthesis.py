"""Synthesis by Tortoise: codes from a text and a voice, a mel spectrogram from the best of them by CLVP, and sound from
that. Differences of tortoise-tts are in `compat`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....core.guide import clip
from ....core.noise import START, Noise
from ....core.paths import DiscreteVP, Level, betas
from ....core.predict import EPS, denoiser
from ....device import finite
from ....nets.tortoise.clvp import CLVP
from ....nets.tortoise.diffusion import Condition, DiffusionTts, denormalise, frames
from ....nets.tortoise.mel import CODE_HZ, SOUND_HZ, conditioning_mel, diffusion_mel
from ....nets.tortoise.vocoder import TAIL
from ....progress import timed
from ....sampling.choice import Choice
from ....sampling.guidance import guided
from ....sampling.settings import GuidanceSettings
from ...seeds import derived
from .. import Spoken, Steps
from .decoding import CALM, STOP, SampledCodes, TokenSampling, sample_codes
from .networks import open_network

PATH = DiscreteVP(betas("linear", 4000, 2.5e-5, 5e-3))
"""The noise levels of the diffusion's training."""
HEARD, TONE = 132_300, 102_400
"""Samples of a reference clip that are used: 6 s at 22,050 Hz for the decoder, 4.3 s at 24,000 Hz for the diffusion."""
ENDING = (45, 45, 248)
"""The last codes of all speech in CLVP's training that ends by itself."""
SCORED = 16
"""Samples that CLVP scores at once."""


class Timbre(NamedTuple):
    """The conditioning latents of a voice."""

    autoregressive: Tensor
    """(1, 1024), for the decoder"""
    diffusion: Tensor
    """(1, 2048)"""


class SpeechSettings(NamedTuple):
    """Settings of the synthesis."""

    sampling: TokenSampling
    choice: Choice
    samples: int
    candidates: int
    most: int
    """Maximum of codes in a sample."""
    guidance: float
    temperature: float
    """Standard deviation of the initial noise of the diffusion."""
    block: int
    """Samples that the decoder draws at once."""
    guide: GuidanceSettings = GuidanceSettings()


class Samples(NamedTuple):
    """What the decoder drew for a text."""

    drawn: SampledCodes
    scores: Tensor | None
    """By CLVP (samples,); None for a single sample."""
    seed: int

    def ranked(self, first: int) -> tuple[list[int], list[int]]:
        """The numbers of the `first` best and of the others, the best first."""
        if self.scores is None:
            return [0], []
        best = self.scores.topk(first).indices.tolist()
        return best, [k for k in self.scores.argsort(descending=True).tolist() if k not in best]


class Networks:
    """The networks of a folder, loaded on demand. `keep` says whether one stays in memory after use; on a CPU loading
    takes half a second, and all of them together take 4 GB in float32."""

    def __init__(
        self,
        folder: Path,
        checkpoint: Path | None,
        device: torch.device,
        dtype: torch.dtype,
        learned: Path | None = None,
        *,
        quantised: bool = False,
    ) -> None:
        """`checkpoint` replaces the folder's autoregressive.pth; `learned` is what its decoder learned of a voice;
        `quantised` rounds the weights of the decoder to 8 bits."""
        self.folder, self.checkpoint, self.device, self.dtype = folder, checkpoint, device, dtype
        self.learned, self.quantised = learned, quantised
        self.keep = False
        self.seconds: dict[str, float] = {}
        """Time of each stage."""
        self._open: dict[str, nn.Module] = {}

    def source(self, name: str) -> Path | None:
        """The checkpoint of a network, where it is not in the folder."""
        return self.checkpoint if name in ("autoregressive", "conditioning_encoder") else None

    @contextmanager
    def using(self, name: str, stage: str, dtype: torch.dtype | None = None) -> Iterator[Any]:
        """Loads a network, timed as "load", and yields it for the time of a stage."""
        net = self._open.pop(name, None)
        if net is None:
            is_decoder = name == "autoregressive"
            dtype = torch.int8 if is_decoder and self.quantised else dtype or self.dtype
            with self.timed("load"):
                net = open_network(
                    name,
                    self.folder,
                    checkpoint=self.source(name),
                    learned=self.learned if is_decoder else None,
                    device=self.device,
                    dtype=dtype,
                )
        with self.timed(stage):
            yield net
        if self.keep:
            self._open[name] = net

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        with timed(self.seconds, stage):
            try:
                yield
            finally:
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)


def timbre_of(nets: Networks, clips: Sequence[Tensor], starts: Sequence[int] | None = None) -> Timbre:
    """The conditioning latents of reference clips, (S,) each at 22,050 Hz: from `HEARD` samples of each, from `starts`
    or the beginning, padded with silence, and from the first `TONE`. Always in float32."""
    from torchaudio.functional import resample

    def fitted(sound: Tensor, length: int) -> Tensor:
        return F.pad(sound[:length], (0, max(0, length - len(sound))))

    def tone(clip: Tensor) -> Tensor:
        return fitted(resample(clip[: 2 * HEARD], CODE_HZ, SOUND_HZ), TONE)

    offsets = starts or [0] * len(clips)
    heard = torch.stack([fitted(clip[at:], HEARD) for clip, at in zip(clips, offsets, strict=True)])
    high = torch.stack([tone(clip) for clip in clips]).to(nets.device)
    with nets.using("conditioning_encoder", "conditioning", torch.float32) as encoder:
        voice = encoder(conditioning_mel(heard.to(nets.device)))
    with nets.using("contextual_embedder", "conditioning", torch.float32) as embedder:
        return Timbre(voice, embedder(diffusion_mel(high)))


def random_timbre(nets: Networks, noise: Callable[[int, int], Tensor]) -> Timbre:
    """A random voice, from ``noise(which, dim)`` (1, dim)."""
    latents = []
    for which, name in enumerate(("random_autoregressive", "random_diffusion")):
        with nets.using(name, "conditioning", torch.float32) as net:
            dim = net.layers[0].in_features
            latents.append(net(noise(which, dim).to(nets.device)))
    return Timbre(*latents)


def draw(
    nets: Networks, speech: SpeechSettings, timbre: Timbre, tokens: Sequence[int], seed: int, *, score: bool = False
) -> Steps[Samples]:
    """Samples for the tokens of a text, scored where there are several or `score` says so. Yields at every step of the
    decoder. Each sample has noise of its own from `seed`, independent of their number and of the batches."""
    text = torch.tensor([tokens], device=nets.device)
    voice = timbre.autoregressive.to(nets.device)
    seeds = [derived(seed, "codes", k) for k in range(speech.samples)]
    with nets.using("autoregressive", "autoregressive") as decoder:
        drawn = yield from sample_codes(
            decoder, voice, text, seeds, speech.sampling, most=speech.most, block=speech.block
        )
    del decoder  # frees its memory for the next network on a CPU
    scores = None
    if speech.samples > 1 or score:
        with nets.using("clvp", "clvp") as clvp:
            scores = score_codes(clvp, text, clvp_input(drawn.codes, speech.most))
    return Samples(drawn, scores, seed)


def synthesise(
    nets: Networks,
    speech: SpeechSettings,
    timbre: Timbre,
    samples: Samples,
    chosen: Sequence[int],
    stages: dict[str, Tensor] | None = None,
) -> Steps[list[Spoken]]:
    """Some of the samples as sound. Yields at every step of the diffusion. `stages` receives intermediate tensors, with
    the mel of the first."""
    drawn, scores, seed = samples
    # 1. mel spectrograms from the diffusion
    mels: dict[int, Tensor] = {}
    with nets.using("diffusion", "diffusion") as diffusion:
        lengths = [len(latents) for latents in drawn.latents]
        # on a CPU a batch is no faster, and the bits of an item may depend on the others
        batches = [[k] for k in chosen] if nets.device.type == "cpu" else _alike(chosen, lengths)
        for rows in batches:
            latents = torch.stack([drawn.latents[k] for k in rows])
            shape = (diffusion.mels, frames(latents.shape[1]))
            noise = Noise([derived(seed, "diffusion", k) for k in rows], shape, nets.device)
            made = yield from spectrogram(diffusion, latents, timbre, speech, noise)
            mels |= zip(rows, made, strict=True)
    del diffusion
    # 2. sound from the vocoder
    sounds = []
    with nets.using("vocoder", "vocoder") as vocoder:
        for k in chosen:
            shape = (vocoder.noise, mels[k].shape[1] + TAIL)
            noise = Noise([derived(seed, "vocoder", k)], shape, nets.device)
            sounds.append(vocoder(mels[k][None], noise(START))[0])
    if stages is not None and scores is not None:
        stages |= saved_stages(timbre, drawn.codes, scores, mels[chosen[0]])
    return [candidate_of(sound, k, drawn.codes, scores) for k, sound in zip(chosen, sounds, strict=True)]


def clvp_input(codes: Tensor, most: int) -> Tensor:
    """Samples (B, M) in the form of CLVP's training, (B, `most`): CALM after the stop, and `ENDING`."""
    stopped = (codes == STOP).cumsum(1) > 0
    stopped = F.pad(stopped, (0, most - codes.shape[1]), value=True)
    padded = F.pad(codes, (0, most - codes.shape[1])).masked_fill(stopped, CALM)
    ends = stopped.any(1, keepdim=True)
    padded[:, -3:] = torch.tensor(ENDING, device=codes.device).where(ends, padded[:, -3:])
    return padded


def score_codes(clvp: CLVP, text: Tensor, codes: Tensor, rows: int = SCORED) -> Tensor:
    """CLVP's scores (B,) of samples (B, M) for one text (1, N), `rows` at once."""
    read = clvp.read(text)
    return torch.cat([clvp.score(read, part) for part in codes.split(rows)])


def spectrogram(
    diffusion: DiffusionTts,
    latents: Tensor,
    timbre: Timbre,
    speech: SpeechSettings,
    noise: Callable[[int, int], Tensor],
) -> Steps[Tensor]:
    """Log mels (B, 100, L) from the latents (B, T, dim) of samples of equal length. With guidance, both predictions run
    in one batch. The initial noise is `noise` at the step START."""
    b, length = len(latents), frames(latents.shape[1])
    condition = diffusion.condition(latents, timbre.diffusion.to(latents.device).expand(b, -1), length)
    is_guided = speech.guidance != 1 or speech.choice.needs_uncond
    if is_guided:
        nothing = diffusion.unconditional(b, length).codes
        condition = Condition(torch.cat([condition.codes, nothing.to(condition.codes.dtype)]), condition.biases)
    predict = denoiser(diffusion, EPS, learned_range=True, cond={"condition": condition})
    if is_guided:
        scale, values = ramp(speech.choice, speech.guidance), diffusion.mels * length
        predict = guided(speech.guide, speech.choice, predict, None, scale, values)
    x = noise(START, 0) * speech.temperature
    for state in speech.choice.run(clip(predict), x, noise):
        x = state.x
        yield
    return denormalise(finite(x, "the diffusion"))


def ramp(choice: Choice, guidance: float) -> Callable[[Level], float]:
    """The guidance scale by level: it rises from 1 + (guidance - 1) / n to `guidance` in n steps, linearly between two
    levels of the grid."""
    clocks = [level.t for level in choice.levels[-2::-1]]
    count = len(clocks)

    def scale(level: Level) -> float:
        if count == 1:
            return 1 + (guidance - 1)
        i = min(max(bisect_left(clocks, level.t), 1), count - 1)
        before, after = clocks[i - 1], clocks[i]
        place = i - 1 + (level.t - before) / (after - before)
        return 1 + (guidance - 1) * (1 - place / count)

    return scale


def candidate_of(sound: Tensor, k: int, codes: Tensor, scores: Tensor | None) -> Spoken:
    """A candidate from the k-th of the samples."""
    score = None if scores is None else float(scores[k])
    return Spoken(sound.float().cpu().numpy(), k, score, bool((codes[k] == STOP).any()))


def saved_stages(timbre: Timbre, codes: Tensor, scores: Tensor, mel: Tensor) -> dict[str, Tensor]:
    """The tensors of --save-stages: conditioning latents (dim,), samples (samples, M), their scores (samples,), and the
    log mels (100, L) of the best."""
    return {
        "conditioning_ar": timbre.autoregressive[0],
        "conditioning_diffusion": timbre.diffusion[0],
        "codes": codes,
        "clvp": scores,
        "mel": mel,
    }


def _alike(rows: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Rows grouped by length, so that each group can be one batch."""
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(lengths[row], []).append(row)
    return list(groups.values())
