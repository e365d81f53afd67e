"""Speech from a text in a voice."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from ..audio.files import Mark, Samples
from ..audio.joining import from_bytes, gain, join, starts, to_bytes
from ..audio.loudness import loudness
from ..errors import DifftoolError, Exit
from ..files import digest_of, manifest, run_id
from ..progress import Track, untracked
from .documents import Document, DocumentRecord
from .engines import Speaker, Spoken, Steps
from .library import Consent
from .plan import Clip, SpeechPlan, plan_speech_with
from .seeds import derived
from .verify import Check, Said, led_by, verified

SYNTHETIC = "Synthetic speech"
"""Label in the tags of every file."""


class CandidateRecord(TypedDict):
    """How a candidate was made, as stored in a manifest."""

    sample: int
    score: float | None
    stopped: bool


class VoiceRecord(TypedDict):
    """A voice, as stored in a manifest."""

    name: str
    sha256: str
    consent: Consent | None


class Manifest(TypedDict):
    """How speech was made: all that is needed to make it again, and that it is synthetic."""

    schema: str
    command: str
    run_id: str
    created: str
    versions: dict[str, str]
    machine: str
    settings: dict[str, object]
    synthetic: bool
    voices: list[VoiceRecord]
    models: dict[str, str]
    trained: NotRequired[dict[str, str]]
    """SHA-256 of what `voice train` learned of the voice, by engine."""
    said: NotRequired[list[list[CandidateRecord]]]
    """The candidates of each part."""
    attempts: NotRequired[list[int]]
    """How often each part was spoken before."""
    accepted: NotRequired[list[int | None]]
    """The sample of each part that was verified."""
    item: NotRequired[dict[str, int]]
    """The rank of the candidate in this file."""
    terms: NotRequired[dict[str, str]]
    """Licence, training data and limits of the networks."""
    files: NotRequired[dict[str, str]]
    """SHA-256 of the recordings that it was spoken into."""
    words: NotRequired[str]
    """SHA-256 of the words of the reference."""
    document: NotRequired[DocumentRecord]
    """Where the text comes from."""


class Cloned(NamedTuple):
    """Speech and how it was made."""

    sounds: list[Samples]
    """The candidates, the best first: (S,) float32 within [-1, 1] at 24 kHz"""
    manifest: Manifest
    seconds: dict[str, float]
    """How long each stage took."""
    marks: Sequence[Sequence[Mark]] = ()
    """The chapters of each sound."""
    checks: Sequence[Check | None] = ()
    """How each part was verified."""


def clone(text: str | Document, voice: str = "random", *, track: Track | None = None, **settings: Any) -> Cloned:
    """Speaks a text or a document in a voice of the library: its name, several mixed as ``a&b``, or ``random``.

    `settings` are those of `voice.settings.Settings`:

    - `preset`: draft, ultra_fast, fast, standard or high_quality.
    - `engine`: a name, or auto.
    - `candidates`: how many to keep, best first.
    - `seed`
    - `batch_size`: samples at once; changes the result of tortoise-tts only.
    - `device`, `dtype`, `threads`, `low_vram` (one network at a time)
    - `voices_dir`, `models_dir`
    - `cache`: keep the conditioning latents beside the voice.
    - `trained`: use what `voice train` learned of the voice for the engine.
    - `verify`: check each part with Whisper (`whisper`, a size or a file) and try at most `tries` candidates until one
      is right; `checks` says which parts are. Of the others the try with the fewest errors stays.

    `clips` are reference clips instead of a voice. The other settings are options of the engine, such as
    `engines.f5.Options`, or of Tortoise `engines.tortoise.Options`:

    - `samples`: candidates of the decoder, of which CLVP takes the best.
    - `temperature`, `top_p`, `top_k`, `repetition_penalty`, `max_mel_tokens` (of 46 ms): sampling of the decoder.
    - `sampler`, `steps`, `schedule`, `eta`, `guidance` with `guidance_mode`, `guidance_interval` and
      `guidance_rescale`, `diffusion_temperature`: the diffusion.
    - `compat`: "stock" or "stock-kv", bit-compatible with tortoise-tts 3.0.0.
    - `ar_checkpoint`: another decoder.

    Raises DifftoolError: 1 where a network returns NaN, 2 for invalid settings or a text that cannot be spoken, 3 for
    a device that is not available, 4 for a voice or a model that is missing or damaged, 6 when out of memory, 7 where
    no consent is recorded for the voice.
    """
    return speak_plan(plan_speech_with(text, voice, **settings), track=track)


def tts_with_preset(
    text: str, reference_clips: Sequence[Clip], preset: str = "fast", *, track: Track | None = None, **settings: Any
) -> Tensor:
    """The function of this name in tortoise-tts: speech (1, 1, S) at 24 kHz from reference clips, (S,) or (1, S) each
    at 22,050 Hz, or their files; with several `candidates` (k, 1, S), shorter ones padded with silence. `settings` as
    for `clone`. The caller is responsible for the consent of the speaker."""
    if not reference_clips:
        raise DifftoolError(Exit.USAGE, "no reference clips given", "pass at least one, or call clone()")
    sounds = clone(text, clips=reference_clips, preset=preset, track=track, **settings).sounds
    longest = max(map(len, sounds))
    padded = [np.pad(sound, (0, longest - len(sound))) for sound in sounds]
    return torch.from_numpy(np.stack(padded))[:, None]


def speak_plan(
    plan: SpeechPlan,
    *,
    track: Track | None = None,
    attempts: Sequence[int] = (),
    accepted: Sequence[int | None] = (),
    stages: dict[str, Tensor] | None = None,
) -> Cloned:
    """Speaks a plan. `attempts` tells how often each part was spoken before, `accepted` which sample was taken where it
    is not the best; `stages` receives the intermediate tensors of the last part."""
    speaker = plan.work.speaker()
    every: list[Said] = []

    def steps() -> Iterator[None]:
        yield from speaker.prepare(plan.work.reference)
        for k in range(len(plan.parts)):
            is_last = k + 1 == len(plan.parts)
            speaker.keep = not plan.settings.low_vram and not is_last
            attempt = attempts[k] if k < len(attempts) else 0
            sample = accepted[k] if k < len(accepted) else None
            every.append((yield from say_part(plan, speaker, k, attempt, sample, stages)))

    for _ in (track or untracked)(steps(), plan.steps * len(plan.parts)):
        pass
    ranks = range(plan.settings.candidates)
    sounds = [_joined(plan, [said.candidates[rank].sound for said in every]) for rank in ranks]
    marks = [marks_of(plan, [len(said.candidates[rank].sound) for said in every])[0] for rank in ranks]
    speech: Manifest = speech_manifest(plan, run_id())
    if attempts or plan.verifier:
        speech["attempts"] = [said.attempt for said in every]
    if accepted or plan.verifier:
        speech["accepted"] = [said.check["sample"] for said in every if said.check] or [*accepted]
    speech["said"] = [[candidate_record(spoken) for spoken in said.candidates] for said in every]
    return Cloned(sounds, speech, seconds_of(plan, speaker), marks, [said.check for said in every])


def marks_of(plan: SpeechPlan, lengths: Sequence[int]) -> tuple[list[Mark], int]:
    """The chapters in the joined sound, and its length, from the samples of each part."""
    positions = starts((length, part.pause) for length, part in zip(lengths, plan.parts, strict=True))
    begins = [positions[k] for k, _ in plan.chapters]
    ends = [*begins[1:], positions[-1]]
    titles = [title for _, title in plan.chapters]
    return [*map(Mark, titles, begins, ends)], positions[-1]


def say_part(
    plan: SpeechPlan,
    speaker: Speaker,
    k: int,
    attempt: int = 0,
    sample: int | None = None,
    stages: dict[str, Tensor] | None = None,
) -> Steps[Said]:
    """Speaks a part. Its first candidate is the given sample, else the first that a verifier finds right, else the
    best."""
    text = plan.parts[k].text
    before = sum(part.text == text for part in plan.parts[:k])

    def seed_of(attempt: int) -> int:
        """From the text, how often it came before, and how often it was spoken before; some engines use one for all."""
        seed = plan.settings.seed
        return seed if plan.work.one_seed else derived(seed, "part", text, before, attempt)

    if plan.verifier and sample is None:
        return (yield from verified(speaker, plan.verifier, text, seed_of, attempt))
    candidates = yield from speaker.say(text, seed_of(attempt), stages)
    return Said(candidates if sample is None else led_by(speaker, candidates, sample), attempt)


def seconds_of(plan: SpeechPlan, speaker: Speaker) -> dict[str, float]:
    """The time of each stage."""
    return speaker.seconds | (plan.verifier.seconds if plan.verifier else {})


def typical(loud: Sequence[float | None]) -> float | None:
    """The loudness that parts are brought to: their median."""
    known = [value for value in loud if value is not None]
    return statistics.median(known) if known else None


def _joined(plan: SpeechPlan, sounds: Sequence[Samples]) -> Samples:
    """The sounds of all parts as one."""
    if len(sounds) == 1:
        return sounds[0]
    loud = [loudness(sound) for sound in sounds]
    target = typical(loud)

    def pieces() -> Iterator[tuple[bytes, float, float]]:
        for sound, own, part in zip(sounds, loud, plan.parts, strict=True):
            peak = float(np.abs(sound).max())
            yield to_bytes(sound), gain(own, peak, target), part.pause

    return from_bytes(b"".join(join(pieces())))


def speech_manifest(plan: SpeechPlan, run: str) -> Manifest:
    """The manifest of speech, before it is spoken."""
    voices = plan.work.reference.voices
    records: list[VoiceRecord] = [
        {"name": voice.name, "sha256": voice.sha256, "consent": voice.consent} for voice in voices
    ]
    common = manifest("voice clone", run, plan.manifest, plan.work.packages)
    speech: dict[str, object] = {"synthetic": True, "voices": records, "models": plan.work.models()}
    if plan.work.reference.trained:
        speech["trained"] = {plan.settings.engine: digest_of(plan.work.reference.trained)}
    if plan.work.terms:
        speech["terms"] = {**plan.work.terms}
    if plan.work.inputs:
        speech["files"] = {**plan.work.inputs}
    if plan.work.words is not None:
        speech["words"] = hashlib.sha256(plan.work.words.encode()).hexdigest()
    if plan.document is not None:
        speech["document"] = plan.document.record
    return cast(Manifest, common | speech)


def candidate_record(spoken: Spoken) -> CandidateRecord:
    """A candidate as stored in a manifest."""
    return {"sample": spoken.sample, "score": spoken.score, "stopped": spoken.stopped}
