"""Processing of one recording: decode, transcribe, cut and filter. Each result is stored under a hash of everything it
depends on, so that nothing is done twice."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from ...audio.files import RATE, Samples, write_short
from ...files import read_json, replace_folder, temporary, write_json
from ...progress import timed
from ..identity import Voiceprint, averaged, voiceprint
from . import activity, speakers
from .clips import Take, envelope, sound_of, takes, units
from .cut import MOST_SECONDS, Unit
from .decode import Recording, decode
from .gates import SILENCE
from .measure import Array
from .plan import PrepPlan, Source
from .settings import noted
from .shapes import KeptTake, Sounds, SourceNote, SpokenWord
from .transcribe import MOMENT, Transcriber, Transcript, Whisper, over_speech, portions
from .words import Segment, Word

SCHEMA, TRANSCRIPTS = "difftool/stage/5", "difftool/stage/3"
"""Versions of the stored results, and of Whisper's transcripts; another number makes all of them again."""
HEARING = ("whisper", "language", "verify")
"""Settings that are part of the keys of transcribers."""
POINTS = 160
"""Points of a drawn waveform."""
QUALITY = 0.75
"""Compression of the MP3s in the report, from 0, the best, to 1."""


class KeptSegment(TypedDict):
    """A segment of a stored transcript."""

    words: list[SpokenWord]
    exact: bool
    scores: dict[str, float]


class Done(NamedTuple):
    """The result of a recording."""

    folder: Path
    """The folder of its clips and sounds"""
    source: SourceNote
    takes: list[KeptTake]


def key_of(plan: PrepPlan, source: Source) -> str:
    """Hash of everything that the result of a recording depends on."""
    settings = {name: value for name, value in noted(plan.settings).items() if name not in HEARING}
    verifier = plan.verifier.key if plan.verifier else None
    parts = [SCHEMA, source.sha256, source.key, settings, verifier]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def is_done(plan: PrepPlan, source: Source) -> bool:
    """Whether the result of a recording is stored."""
    return (plan.work / key_of(plan, source) / "stage.json").exists()


def run(plan: PrepPlan, source: Source, seconds: dict[str, float]) -> Iterator[float]:
    """Processes a recording, and yields the share that is done, from 0 to 1; `seconds` receives the time of each stage.
    `load` returns the result then. Raises DifftoolError 4 for a recording that cannot be read."""
    final = plan.work / key_of(plan, source)
    if is_done(plan, source):
        return
    folder = temporary(final)
    folder.mkdir(parents=True)
    try:
        with timed(seconds, "decode"):
            recording = decode(source.path, folder / "decoded.f32")
        yield 0.2
        with timed(seconds, "speech"):
            likely = activity.speech(recording.samples, plan.net())
        yield 0.4
        segments, warning = None, None
        if source.transcriber is not None:
            spans = activity.spans(likely, recording.seconds)
            with timed(seconds, "transcribe"):
                transcript = yield from _transcribed(plan, source, source.transcriber, recording, spans)
                segments, warning = over_speech(transcript, spans)
        heard = source.transcriber.heard_language if source.transcriber else None
        language = heard or plan.settings.language
        with timed(seconds, "cut and measure"):
            kept = yield from _takes(plan, recording, likely, segments, language, folder, seconds)
        about: SourceNote = {
            "seconds": round(recording.seconds, 3),
            "rate": recording.rate,
            "channels": recording.channels,
            "language": language,
            "warnings": [*recording.warnings, *([warning] if warning else [])],
        }
        if isinstance(source.transcriber, Transcript):
            about["warnings"] += source.transcriber.warnings
        (folder / "decoded.f32").unlink()
        write_json(folder / "stage.json", {"source": about, "takes": kept})
        replace_folder(folder, final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _takes(
    plan: PrepPlan,
    recording: Recording,
    likely: Array,
    segments: Sequence[Segment] | None,
    language: str | None,
    folder: Path,
    seconds: dict[str, float],
) -> Generator[float, None, list[KeptTake]]:
    """The takes of a recording with their sounds. Where it has several speakers, it is cut again between them."""

    @cache
    def print_at(start: float, end: float) -> Voiceprint:
        with timed(seconds, "voiceprints"):
            return voiceprint(recording.samples[round(start * RATE) : round(end * RATE)])

    def print_of(unit: Unit) -> Voiceprint:
        return print_at(unit.start, unit.end)

    def cut(parts: Sequence[Unit]) -> Generator[float, None, list[tuple[Take, Sounds]]]:
        found = takes(recording, likely, segments, plan.settings.allow, verify, language, parts)
        return (yield from _with_sounds(found, folder, recording, plan, seconds))

    verify = _once(plan.verifier.text_of) if plan.verifier else None
    parts = units(recording, likely, segments)
    made = yield from cut(parts)
    if speakers.REASON not in plan.settings.allow:
        told = speakers.told_apart(parts, [take for take, _ in made], print_of)
        if told != parts:
            for path in folder.iterdir():
                if path.suffix in (".mp3", ".wav"):
                    path.unlink()
            made = yield from cut(told)
    return [{**_kept(take, print_of), **sounds} for take, sounds in made]


def _once(text_of: Callable[[Samples], str]) -> Callable[[Samples], str]:
    """Transcribes equal clips once."""
    known: dict[bytes, str] = {}

    def text(clip: Samples) -> str:
        digest = hashlib.sha256(clip.tobytes()).digest()
        if digest not in known:
            known[digest] = text_of(clip)
        return known[digest]

    return text


def _with_sounds(
    found: Iterator[Take], folder: Path, recording: Recording, plan: PrepPlan, seconds: dict[str, float]
) -> Generator[float, None, list[tuple[Take, Sounds]]]:
    """Takes as they are found, and their sounds, which are written beside that."""
    work: list[tuple[Take, Future[Sounds]]] = []
    with ThreadPoolExecutor(1) as renderer:
        try:
            for number, take in enumerate(found, 1):
                work.append((take, renderer.submit(_rendered, folder, number, recording, take, plan, seconds)))
                yield 0.5 + 0.5 * take.end / recording.seconds
            return [(take, sounds.result()) for take, sounds in work]
        finally:
            renderer.shutdown(cancel_futures=True)


def load(plan: PrepPlan, source: Source) -> Done:
    """The result of `run`."""
    folder = plan.work / key_of(plan, source)
    stage = read_json(folder / "stage.json")
    return Done(folder, stage["source"], stage["takes"])


def _transcribed(
    plan: PrepPlan, source: Source, transcriber: Transcriber, recording: Recording, spans: Sequence[activity.Span]
) -> Iterator[Any]:
    """The transcript of a recording. That of Whisper is stored after each portion, so that it can be resumed."""
    if not isinstance(transcriber, Whisper):
        return list(transcriber(recording.samples, spans))
    key = f"{TRANSCRIPTS} {source.sha256} {transcriber.key}"
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    path = plan.work / f"transcript-{name}.json"
    kept = read_json(path) if path.exists() else {"heard": 0, "language": None, "segments": []}
    segments: list[Segment] = [_segment(segment) for segment in kept["segments"]]
    parts = portions(spans)
    transcriber.heard_language = kept["language"]
    for k, portion in enumerate(parts[kept["heard"] :], kept["heard"] + 1):
        segments += transcriber.listen(recording.samples, portion)
        plain = [segment._asdict() for segment in segments]
        write_json(path, {"heard": k, "language": transcriber.heard_language, "segments": plain})
        yield 0.4 + 0.1 * k / len(parts)
    return segments


def _segment(kept: KeptSegment) -> Segment:
    return Segment(tuple(Word(*word) for word in kept["words"]), kept["exact"], kept["scores"])


def _kept(take: Take, print_of: Callable[[Unit], Voiceprint]) -> KeptTake:
    words: list[SpokenWord] = []
    for word in take.words:
        start, end = round(word.start - take.start, 3), round(word.end - take.start, 3)
        words.append((start, end, word.text, word.probability))
    kept: KeptTake = {**take.spoken(), "reasons": list(take.reasons), "words": words}
    if take.units:
        prints = [print_of(unit) for unit in take.units]
        lengths = [max(unit.end - unit.start, MOMENT) for unit in take.units]  # of a transcript they may be 0
        mean = averaged(prints, lengths)
        kept["speaker"], kept["voiceprint"] = take.units[0].speaker, speakers.stored(mean)
    return kept


def _rendered(
    folder: Path, number: int, recording: Recording, take: Take, plan: PrepPlan, seconds: dict[str, float]
) -> Sounds:
    """Writes the sounds of a take: the clip, and an MP3 for the report."""
    if take.reasons[:1] == (SILENCE,):
        return {}
    end = min(take.end, take.start + 2 * MOST_SECONDS)
    sound = sound_of(recording, take.start, end, plan.settings.high_pass)
    made: Sounds = {"wave": wave(sound), "sound": f"{number:05d}.mp3"}
    if not take.reasons:
        made |= {"clip": f"{number:05d}.wav", "envelope": envelope(sound)}
        write_short(folder / f"{number:05d}.wav", sound, RATE, subtype="PCM_16")
    with timed(seconds, "sounds of the report"):
        kind = {"format": "MP3", "compression_level": QUALITY, "bitrate_mode": "VARIABLE"}
        write_short(folder / f"{number:05d}.mp3", sound.clip(-1, 1), RATE, **kind)
    return made


def wave(sound: Samples) -> list[int]:
    """The waveform of a sound: the peak, in hundredths, of each of POINTS pieces."""
    edges = np.linspace(0, len(sound), POINTS + 1).astype(int)
    peaks = [np.abs(sound[a:b]).max(initial=0) for a, b in itertools.pairwise(edges)]
    return [round(100 * float(peak)) for peak in peaks]
