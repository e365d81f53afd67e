"""Synthesis exactly as in tortoise-tts 3.0.0, with its quirks and its single stream of random numbers: a seed gives the
same codes, and from them the same sound up to rounding."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ....errors import DifftoolError, Exit
from ....nets.tortoise.autoregressive import UnifiedVoice
from ....nets.tortoise.diffusion import frames
from ....nets.tortoise.vocoder import TAIL
from .. import Spoken, Steps
from .decoding import CALM, STOP, prefill, scores
from .synthesis import (
    HEARD,
    Networks,
    SpeechSettings,
    Timbre,
    candidate_of,
    clvp_input,
    random_timbre,
    saved_stages,
    score_codes,
    spectrogram,
    timbre_of,
)

AT_ONCE = 16
"""Samples that tortoise-tts draws at once on a large GPU; its result depends on this number."""


class Stream:
    """The random numbers of a run, in the order in which tortoise-tts draws them."""

    def __init__(self, seed: int) -> None:
        self.numbers = torch.Generator().manual_seed(seed)
        self.crops = random.Random(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.numbers)


def timbre(nets: Networks, clips: Sequence[Tensor], stream: Stream) -> Timbre:
    """`listen` to a random passage of each clip, or, without clips, a random voice."""
    if not clips:
        return random_timbre(nets, lambda which, dim: stream.normal(1, dim))
    starts = [stream.crops.randint(0, len(clip) - HEARD) if len(clip) > HEARD else 0 for clip in clips]
    return timbre_of(nets, clips, starts)


def synthesise(
    nets: Networks,
    speech: SpeechSettings,
    timbre: Timbre,
    tokens: Sequence[int],
    stream: Stream,
    mode: str,
    stages: dict[str, Tensor] | None = None,
) -> Steps[list[Spoken]]:
    """`synthesis.speak` as in tortoise-tts."""
    text = torch.tensor([tokens], device=nets.device)
    voice = timbre.autoregressive.to(nets.device)
    drawn = torch.empty(0, 0, dtype=torch.long, device=nets.device)
    with nets.using("autoregressive", "autoregressive") as decoder:
        for _ in range(speech.samples // speech.block):
            codes = yield from sample_codes(decoder, voice, text, speech, stream, shift=int(mode == "stock-kv"))
            most = max(drawn.shape[1], codes.shape[1])
            drawn = torch.cat([F.pad(part, (0, most - part.shape[1]), value=STOP) for part in (drawn, codes)])
    del decoder
    if (drawn == STOP - 1).any():
        message = "a sample contains the start code, on which tortoise-tts fails"
        raise DifftoolError(Exit.FAILED, message, "use another --seed, or leave out --compat")
    with nets.using("clvp", "clvp") as clvp:
        ranked = score_codes(clvp, text, clvp_input(drawn, speech.most), speech.block)
    del clvp
    best = ranked.topk(speech.candidates).indices.tolist()
    winners = clvp_input(drawn, speech.most)[best]
    with nets.using("autoregressive", "autoregressive") as decoder:
        latents = decoder.latents(voice.expand(len(best), -1), text.expand(len(best), -1), winners)
    del decoder
    sounds = []
    for codes, heard in zip(winners, latents, strict=True):
        heard = heard[None, : _quiet(codes.tolist())]
        shape = (1, 100, frames(heard.shape[1]))
        with nets.using("diffusion", "diffusion") as diffusion:
            mel = yield from spectrogram(
                diffusion, heard, timbre, speech, lambda i, j, shape=shape: stream.normal(*shape).to(nets.device)
            )
        del diffusion
        stream.normal(*shape)  # it draws for the last step too, which has no use for it
        with nets.using("vocoder", "vocoder") as vocoder:
            sounds.append(vocoder(mel, stream.normal(1, vocoder.noise, mel.shape[2] + TAIL).to(nets.device))[0])
        del vocoder
        if stages is not None and len(sounds) == 1:
            stages |= saved_stages(timbre, drawn, ranked, mel[0])
    return [candidate_of(sound, k, drawn, ranked) for k, sound in zip(best, sounds, strict=True)]


def sample_codes(
    decoder: UnifiedVoice, voice: Tensor, text: Tensor, speech: SpeechSettings, stream: Stream, *, shift: int
) -> Steps[Tensor]:
    """One batch of samples (B, M). All rows go on drawing until the last has stopped, and the codes 1 and 8192 count as
    already drawn: tortoise-tts uses them as placeholders for the prefix."""
    rows, device = speech.block, voice.device
    before, first = prefill(decoder, voice, text)
    start = before.shape[4]
    cache = decoder.new_cache(rows, start + speech.most)
    cache[:, :, :, :, :start] = before
    seen = torch.zeros(rows, STOP + 1, dtype=torch.bool, device=device)
    seen[:, [1, decoder.start_code]] = True
    codes = torch.full((rows, speech.most), STOP, device=device)
    stopped = torch.zeros(rows, dtype=torch.bool, device=device)
    hidden, m = first.expand(rows, -1, -1), 0
    for m in range(speech.most):
        chances, candidates = speech.sampling(scores(decoder, hidden), seen)
        full = torch.zeros(rows, STOP + 1, device=device).scatter(1, candidates, chances)
        current = torch.multinomial(full.cpu(), 1, generator=stream.numbers)[:, 0].to(device)
        codes[:, m] = current = current.masked_fill(stopped, STOP)
        seen.scatter_(1, current[:, None], True)
        stopped |= current == STOP
        yield
        if stopped.all() or m + 1 == speech.most:
            break
        hidden = decoder(decoder.embed(current[:, None], m + 1 + shift), cache, start + m)
    for _ in range(m + 1, speech.most):
        yield
    return codes[:, : m + 1]


def _quiet(codes: Sequence[int]) -> int:
    """Where tortoise-tts cuts: at the ninth calm code in a row."""
    calm = 0
    for k, code in enumerate(codes):
        calm = calm + 1 if code == CALM else 0
        if calm > 8:
            return k
    return len(codes)
