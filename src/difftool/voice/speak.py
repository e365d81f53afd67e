"""Saying a text in somebody's voice."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from ..audio.files import Samples
from ..audio.joining import from_bytes, gain, join, to_bytes
from ..audio.loudness import loudness
from ..errors import DifftoolError, Exit
from ..files import manifest, run_id
from ..progress import Track, untracked
from .engines import Spoken
from .library import Consent
from .plan import Clip, Plan, plan
from .seeds import derived

SYNTHETIC = "Synthetic speech"
"""What every file says of itself."""


class Candidate(TypedDict):
    """How a candidate came to be, as a manifest tells it."""

    sample: int
    score: float | None
    stopped: bool


class Spoke(TypedDict):
    """A voice that spoke, as a manifest tells of it."""

    name: str
    sha256: str
    consent: Consent | None


class Manifest(TypedDict):
    """How speech came to be: enough to make it again, and that it is synthetic."""

    schema: str
    command: str
    run_id: str
    created: str
    versions: dict[str, str]
    machine: str
    settings: dict[str, object]
    synthetic: bool
    voices: list[Spoke]
    models: dict[str, str]
    said: NotRequired[list[list[Candidate]]]
    """The candidates of each part."""
    attempts: NotRequired[list[int]]
    """How often each part was said before."""
    item: NotRequired[dict[str, int]]
    """Of one file: the rank of its candidate."""


class Cloned(NamedTuple):
    """Speech and how it came to be."""

    sounds: list[Samples]
    """The candidates, the best first: (S,) float32 within [-1, 1] at 24 kHz"""
    manifest: Manifest
    seconds: dict[str, float]
    """How long each stage took."""


def clone(text: str, voice: str = "random", *, track: Track | None = None, **settings: Any) -> Cloned:
    """Says a text in a voice of the library: its name, several mixed as ``a&b``, or ``random``.

    `settings` are those of `voice.settings.Settings`: `preset` (draft, ultra_fast, fast, standard, high_quality),
    `engine`, `candidates` (how many are kept), `seed`, `batch_size` (samples at once, which changes nothing but for the
    original), `device`, `dtype`, `threads`, `voices_dir`, `models_dir`, `low_vram` (one network at a time) and `cache`
    (keep what the networks know of a voice beside it); `clips` (reference clips in the place of a voice); and the
    options of the engine, of Tortoise `engines.tortoise.Options`: `samples` of the decoder, of which CLVP takes the
    best, `temperature`, `top_p`, `top_k`, `repetition_penalty`, `max_mel_tokens` (of 46 ms), `sampler`, `steps`,
    `schedule`, `eta`, `guidance` and `diffusion_temperature` of the diffusion, `compat` ("stock", "stock-kv": as
    tortoise-tts 3.0.0 does it), `ar_checkpoint`.

    Raises DifftoolError: 1 where a network returns NaN, 2 for settings that do not fit or a text that cannot be
    spoken, 3 for a device that is not there, 4 for a voice or a model that is missing or damaged, 6 where memory ends,
    7 where no consent is recorded for the voice.
    """
    return perform(plan(text, voice, **settings), track=track)


def tts_with_preset(
    text: str, reference_clips: Sequence[Clip], preset: str = "fast", *, track: Track | None = None, **settings: Any
) -> Tensor:
    """As tortoise-tts has it: the speech (1, 1, S) at 24 kHz from reference clips, (S,) or (1, S) each at 22,050 Hz, or
    their files; of several `candidates` (k, 1, S), silence after those that are shorter. `settings` as for `clone`.
    Whose voice it is, and whether they agreed, is for the caller to know."""
    if not reference_clips:
        raise DifftoolError(Exit.USAGE, "there are no reference clips", "give at least one, or call clone")
    sounds = clone(text, clips=reference_clips, preset=preset, track=track, **settings).sounds
    longest = max(map(len, sounds))
    return torch.from_numpy(np.stack([np.pad(sound, (0, longest - len(sound))) for sound in sounds]))[:, None]


def perform(
    plan: Plan,
    *,
    track: Track | None = None,
    attempts: Sequence[int] = (),
    stages: dict[str, Tensor] | None = None,
) -> Cloned:
    """Says all that was planned. `attempts` are those of the parts, where some were said again; `stages` takes what the
    networks said for the last of them."""
    speaker = plan.work.speaker()
    takes: list[list[Spoken]] = []

    def steps() -> Iterator[None]:
        yield from speaker.prepare(plan.work.reference)
        for k, (part, seed) in enumerate(zip(plan.parts, seeds(plan, attempts), strict=True)):
            speaker.keep = not plan.settings.low_vram and k + 1 < len(plan.parts)
            takes.append((yield from speaker.say(part.text, seed, stages)))

    for _ in (track or untracked)(steps(), plan.steps * len(plan.parts)):
        pass
    ranks = range(plan.settings.candidates)
    sounds = [_joined(plan, [spoken[rank].sound for spoken in takes]) for rank in ranks]
    said = [[candidate(spoken) for spoken in take] for take in takes]
    return Cloned(sounds, {**described(plan, run_id()), "said": said}, speaker.seconds)


def seeds(plan: Plan, attempts: Sequence[int] = ()) -> list[int]:
    """A seed for each part, from its text, how often that came before, and how often it was said before; for some
    engines one for all."""
    if plan.work.one_seed:
        return [plan.settings.seed] * len(plan.parts)
    came: Counter[str] = Counter()
    made = []
    for k, part in enumerate(plan.parts):
        attempt = attempts[k] if k < len(attempts) else 0
        made.append(derived(plan.settings.seed, "part", part.text, came[part.text], attempt))
        came[part.text] += 1
    return made


def typical(loud: Sequence[float | None]) -> float | None:
    """The loudness that parts are brought to: their median."""
    known = [value for value in loud if value is not None]
    return statistics.median(known) if known else None


def _joined(plan: Plan, take: Sequence[Samples]) -> Samples:
    if len(take) == 1:
        return take[0]
    loud = [loudness(sound) for sound in take]
    wanted = typical(loud)
    pieces = (
        (to_bytes(sound), gain(own, float(np.abs(sound).max()), wanted), part.pause)
        for sound, own, part in zip(take, loud, plan.parts, strict=True)
    )
    return from_bytes(b"".join(join(pieces)))


def described(plan: Plan, run: str) -> Manifest:
    """The manifest of speech, before it is spoken."""
    voices = plan.work.reference.voices
    spoke: list[Spoke] = [{"name": voice.name, "sha256": voice.sha256, "consent": voice.consent} for voice in voices]
    common = manifest("voice clone", run, plan.manifest, plan.work.packages)
    return cast(Manifest, common | {"synthetic": True, "voices": spoke, "models": plan.work.models()})


def candidate(spoken: Spoken) -> Candidate:
    """What is kept of how a candidate came to be."""
    return {"sample": spoken.sample, "score": spoken.score, "stopped": spoken.stopped}
