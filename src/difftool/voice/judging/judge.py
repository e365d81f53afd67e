"""Judges speech: what a listener understands, whose voice it is, and how it sounds."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from ... import device as devices
from ...audio.files import RATE, Samples
from ...audio.loudness import loudness, true_peak
from ...audio.media import Span
from ...audio.notes import load
from ...audio.pitch import pitches
from ...errors import DifftoolError, Exit, is_out_of_memory
from ...files import expanded
from ...progress import Track, untracked
from ...settings import checked, from_call
from ..comparison import Comparison, compare, words_of
from ..hearing import heard, listener
from ..identity import voiceprint
from ..library import RANDOM
from ..prep import activity
from ..prep.clips import Take, levels_of, takes
from ..prep.decode import decode
from ..prep.plan import recordings_in
from ..prep.settings import WHISPER
from ..prep.transcribe import Whisper, installed_size, known_language, pull_hint
from .likeness import Scale, scale_of, verdict
from .opinions import opinions
from .settings import Settings

log = logging.getLogger(__name__)

FAULTS = ("damaged", "reverb", "music", "phone", "noise", "clipping", "coarse")
"""The reasons of `voice prep` that concern the sound."""
BLOCK = 300
"""Seconds whose loudness is measured at a time: that of a longer sound is the mean of its blocks."""
TICK, FLOOR = 0.02, 5
"""Seconds over which a level is measured, and the percentile of the levels that is the noise floor."""
LOW, HIGH = 10, 90
"""Percentiles of the pitch that are its range."""


class Words(NamedTuple):
    """What was understood."""

    model: str
    """The size of Whisper, or the name of its file"""
    heard: str
    text: str | None
    comparison: Comparison | None
    """With the text; None without one"""


class Identity(NamedTuple):
    """Whose voice it is."""

    scale: Scale
    likeness: float
    verdict: str
    """Whether it is that voice: yes, no or unsure"""


class Pitch(NamedTuple):
    """In Hz."""

    median: float
    low: float
    high: float


class Judgement(NamedTuple):
    """The figures of a recording; None for those that could not be measured."""

    path: Path
    seconds: float
    speech: float
    """Seconds of speech"""
    words: Words | None
    identity: Identity | None
    pitch: Pitch | None
    words_per_second: float | None
    """Of speech, by what was heard, else by the text"""
    loudness: float | None
    """LUFS"""
    peak: float
    """True peak in dB of full scale"""
    noise_floor: float
    """dB of full scale"""
    snr: float
    """dB of speech over the background noise"""
    faults: dict[str, float]
    """Seconds of speech with each of the faults of the sound, by the gates of `voice prep`"""
    opinions: dict[str, float]
    """Mean opinion scores of other judges, from 1 to 5"""
    warnings: tuple[str, ...]


class Judged(NamedTuple):
    """The result of `judge`."""

    judgements: list[Judgement]
    failed: dict[Path, DifftoolError]
    """Recordings that could not be judged, and why"""


class Plan(NamedTuple):
    """Checked settings."""

    paths: list[Path]
    settings: Settings
    whisper: Whisper | None
    scale: Scale | None
    """Of the voice that was named"""


def judge(
    sources: str | Path | Sequence[str | Path], voice: str | None = None, *, track: Track = untracked, **settings: Any
) -> Judged:
    """Judges recordings: files, or folders of them, of any kind that ffmpeg reads.

    Speech made by difftool is compared with the text and the voice in its manifest, unless others are given. `settings`
    are fields of `Settings`:

    - `text`: what is spoken.
    - `voices_dir`, `models_dir`
    - `whisper`: a size, or a .pt file; by default base or the largest installed. Without any, words are not judged.
    - `language`: detected by default.
    - `device`, `threads`

    Raises DifftoolError: 2 for invalid settings, 3 for a device that is not available, 4 for a voice or a model that is
    missing, or where no recording can be judged.
    """
    paths = [sources] if isinstance(sources, (str, Path)) else sources
    return perform(plan_judging(paths, from_call(Settings, voice=voice, **settings)), track)


def plan_judging(sources: Sequence[str | Path], settings: Settings) -> Plan:
    """Checks the settings. Raises as `judge`."""
    settings = checked(settings)
    if settings.text is not None and not settings.text.strip():
        raise DifftoolError(Exit.USAGE, "the text is empty", "leave it out, or pass what is spoken")
    language = known_language(settings.language)
    paths = recordings_in(sources)
    device, _ = devices.choose(settings.device, "fp32", settings.threads)
    models_dir = None if settings.models_dir is None else expanded(settings.models_dir)
    size = settings.whisper or installed_size(models_dir)
    scale = scale_of(settings.voice, _voices_dir(settings)) if settings.voice is not None else None
    whisper = listener(size, device, language, models_dir, otherwise="leave out --whisper") if size else None
    if whisper is None:
        log.warning("words are not judged: Whisper is not installed; %s", pull_hint(WHISPER, models_dir))
    return Plan(paths, settings, whisper, scale)


def _voices_dir(settings: Settings) -> Path | None:
    return None if settings.voices_dir is None else Path(settings.voices_dir)


def perform(plan: Plan, track: Track = untracked) -> Judged:
    """Judges each recording of a plan. Raises DifftoolError 4 where none can be judged."""
    judgements: list[Judgement] = []
    failed: dict[Path, DifftoolError] = {}
    scales: dict[str, Scale | None] = {plan.scale.voice: plan.scale} if plan.scale else {}
    net = activity.network()

    def steps() -> Iterator[None]:
        for path in plan.paths:
            try:
                judgements.append(_judgement(path, plan, net, scales))
            except DifftoolError as error:
                if error.code != Exit.FILE or is_out_of_memory(error):
                    raise
                failed[path] = error
            yield

    for _ in track(steps(), len(plan.paths)):
        pass
    if not judgements:
        first = next(iter(failed.values()))
        many = f"none of {len(failed)} recordings can be judged: " if len(failed) > 1 else ""
        raise DifftoolError(Exit.FILE, many + first.message, first.hint)
    return Judged(judgements, failed)


def _judgement(path: Path, plan: Plan, net: Any, scales: dict[str, Scale | None]) -> Judgement:
    """The figures of a recording; `scales` are those of the voices so far. Raises DifftoolError 4 for a recording that
    cannot be read or has no speech."""
    text, voice = _expected(path, plan.settings)
    with tempfile.TemporaryDirectory() as folder:
        recording = decode(path, Path(folder) / "decoded.f32")
        likely = activity.speech(recording.samples, net)
        spans = activity.spans(likely, recording.seconds)
        cut = [take for take in takes(recording, likely, None) if take.units]
        if not cut:
            raise DifftoolError(Exit.FILE, f"{path} contains no speech", "pass recordings of speech")
        sound = recording.samples[:]
    speech = np.concatenate([sound[round(span.start * RATE) : round(span.end * RATE)] for span in spans])
    words = _words(plan.whisper, sound, spans, text)
    said = words.heard if words else text
    seconds = len(speech) / RATE
    language = plan.whisper.heard_language if plan.whisper else plan.settings.language
    return Judgement(
        path,
        seconds=round(len(sound) / RATE, 3),
        speech=round(seconds, 3),
        words=words,
        identity=_identity(path, speech, voice, plan, scales),
        pitch=_pitch(speech),
        words_per_second=round(len(words_of(said, language)) / seconds, 2) if said else None,
        loudness=_loudness(sound),
        peak=round(max(true_peak(sound[k : k + BLOCK * RATE]) for k in range(0, len(sound), BLOCK * RATE)), 1),
        noise_floor=round(float(np.percentile(levels_of(sound, TICK), FLOOR)), 1),
        snr=_snr(cut),
        faults=_faults(cut),
        opinions=opinions(speech),
        warnings=recording.warnings,
    )


def _expected(path: Path, settings: Settings) -> tuple[str | None, str | None]:
    """The text and the voice that a recording should have: as given, or by the manifest of speech made by difftool."""
    _, note = load(path)
    made = note.get("settings") if note else None
    stored = cast(Mapping[str, object], made) if isinstance(made, Mapping) else {}
    text, voice = (value if isinstance(value := stored.get(name), str) else None for name in ("text", "voice"))
    return settings.text or text, settings.voice or voice


def _words(whisper: Whisper | None, sound: Samples, spans: Sequence[Span], text: str | None) -> Words | None:
    if whisper is None:
        return None
    whisper.heard_language = None  # of the recording before
    said = heard(whisper, sound, spans)
    language = whisper.language or whisper.heard_language
    return Words(whisper.size, said, text, compare(text, said, language) if text else None)


def _identity(
    path: Path, speech: Samples, voice: str | None, plan: Plan, scales: dict[str, Scale | None]
) -> Identity | None:
    if voice is None or voice == RANDOM or "&" in voice:  # of the manifest: nobody's voice
        return None
    if voice not in scales:
        try:
            scales[voice] = scale_of(voice, _voices_dir(plan.settings))
        except DifftoolError as error:  # of the manifest: nobody asked for it
            log.warning("%s is not compared with its voice: %s", path, error.message)
            scales[voice] = None
    if (scale := scales[voice]) is None:
        return None
    likeness = round(float(voiceprint(speech) @ scale.owner), 3)
    return Identity(scale, likeness, verdict(likeness, len(speech) / RATE))


def _snr(cut: Sequence[Take]) -> float:
    """The mean over the stretches of speech."""
    values = [take.figures["snr"] or 0.0 for take in cut]
    return round(float(np.average(values, weights=[take.end - take.start for take in cut])), 1)


def _faults(cut: Sequence[Take]) -> dict[str, float]:
    """The seconds with each fault."""
    seconds = {name: sum(take.end - take.start for take in cut if name in take.reasons) for name in FAULTS}
    return {name: round(lasts, 1) for name, lasts in seconds.items() if lasts}


def _pitch(speech: Samples) -> Pitch | None:
    hertz = pitches(speech)
    if not len(hertz):
        return None
    median, low, high = np.percentile(hertz, (50, LOW, HIGH))
    return Pitch(round(float(median), 1), round(float(low), 1), round(float(high), 1))


def _loudness(sound: Samples) -> float | None:
    """LUFS; of a long sound the mean of its blocks."""
    blocks = [sound[k : k + BLOCK * RATE] for k in range(0, len(sound), BLOCK * RATE)]
    measured = [(lufs, len(block)) for block in blocks if (lufs := loudness(block)) is not None]
    if not measured:
        return None
    power = np.average([10 ** (lufs / 10) for lufs, _ in measured], weights=[length for _, length in measured])
    return round(10 * float(np.log10(power)), 1)
