"""A recording in clips: cut, measured, judged, and where a clip does not pass, cut once more."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...audio.files import RATE, Samples
from ...audio.loudness import normalised
from . import activity, cut
from .activity import Span
from .cut import BREAK, MOST_SECONDS, PAD, Piece
from .decode import Recording
from .gates import SILENCE, UNHEARD, known, reasons
from .measure import Array, measure, spectra
from .shapes import Spoken
from .transcribe import error_rate
from .words import Segment, Word, joined

LEAST_GAP = 0.5
"""Seconds of silence that are told of."""
UNSPOKEN = 1.0
"""Seconds of speech that a transcript may lack."""
LOOKED_AT = 30.0
"""Seconds of a stretch without speech that are measured."""
QUIET, SILENT = -30.0, -55.0
"""dB below speech, and of full scale, under which nothing is to be heard."""
TICK, SHORT_PAUSE, SHORT_PAUSE_LEVEL = 0.01, 0.09, -25.0
"""Where somebody speaks for longer than a clip may last, the longest pauses are cut at that last so many seconds in
which the level, taken each TICK, is so many dB below that of loud speech."""
FAINTEST = 1e-1
"""Power of a tenth of a second under which bands are all alike in an `envelope`."""
CONTEXT = 0.5
"""Seconds beside a clip for the high-pass to swing in."""
SPLITTABLE = frozenset(
    ("no_speech", "damaged", "reverb", "phone", "music", "noise", "coarse", "clipping", "filler", "stutter")
)
"""Reasons that may hold of one half of a clip only."""


class Take(NamedTuple):
    """A span of a recording, and what became of it."""

    start: float
    end: float
    words: tuple[Word, ...]
    figures: dict[str, float | None]
    reasons: tuple[str, ...]
    """Why it is left out, the one that explains most first; none for a clip."""

    @property
    def text(self) -> str:
        return joined(self.words)

    def spoken(self) -> Spoken:
        """As it is written into files."""
        return {"start": round(self.start, 3), "end": round(self.end, 3), "text": self.text, "figures": self.figures}


def units(recording: Recording, likely: Array, segments: Sequence[Segment] | None) -> list[cut.Unit]:
    """What a recording is cut into: by its transcript, or where there is none by its pauses."""
    spans = activity.spans(likely, recording.seconds)
    if segments is None:
        return cut.of_speech([part for span in cut.without(spans, recording.holes) for part in _parts(recording, span)])
    return [
        unit._replace(end=min(unit.end, recording.seconds))  # a transcript may go on for longer
        for unit in cut.of_words(segments, spans)
    ]


def _parts(recording: Recording, span: Span) -> list[Span]:
    """A span cut at its longest short pauses until each part can be a clip."""
    if span.seconds <= MOST_SECONDS - 2 * PAD:
        return [span]
    levels = _levels(recording.samples[round(span.start * RATE) : round(span.end * RATE)], TICK)
    quiet = levels < np.percentile(levels, 90) + SHORT_PAUSE_LEVEL
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet, [0]])))
    gaps = [
        (end - start, span.start + start * TICK, span.start + end * TICK)
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if min(start, len(levels) - end) * TICK >= cut.LEAST and (end - start) * TICK >= SHORT_PAUSE
    ]
    if not gaps:
        return [span]
    _, end, start = max(gaps)
    return [*_parts(recording, Span(span.start, end)), *_parts(recording, Span(start, span.end))]


def takes(
    recording: Recording,
    likely: Array,
    segments: Sequence[Segment] | None,
    allowed: Sequence[str] = (),
    verify: Callable[[Samples], str] | None = None,
    language: str | None = None,
) -> Iterator[Take]:
    """All spans of a recording in order: its clips, what is left out and why, and where nobody speaks. `segments` is
    its transcript; `verify` transcribes a clip once more, which is then compared with the text. `language`
    tells which words are fillers."""
    told = list(segments or ())

    def judged(piece: Piece) -> Take:
        scores = _scores([told[k] for k in dict.fromkeys(k for unit in piece.units for k in unit.segments)])
        figures = known(measure(recording, likely, piece.start, piece.end), scores, piece.words, language)
        why = reasons(figures, allowed)
        if verify and piece.words and not why:
            heard = verify(recording.samples[round(piece.start * RATE) : round(piece.end * RATE)])
            figures["character_error_rate"] = round(error_rate(heard, piece.text), 3)
            why = reasons(figures, allowed)
        return Take(piece.start, piece.end, piece.words, figures, tuple(why))

    def saved(piece: Piece) -> list[Take]:
        """A piece judged, and where it is not of one quality, or does not pass as a whole, its halves."""
        whole = judged(piece)
        if whole.reasons and SPLITTABLE.isdisjoint(whole.reasons):
            return [whole]
        parts = cut.split(recording.samples, piece)
        if not whole.reasons and all(SPLITTABLE.isdisjoint(_heard(recording, likely, part, allowed)) for part in parts):
            return [whole]
        halves = [take for half in parts for take in saved(half)]
        return halves if any(not take.reasons for take in halves) else [whole]

    def between(start: float, end: float) -> Iterator[Take]:
        """What lies between two pieces: silence, something that is no speech, or speech that the transcript lacks."""
        for span in spans if segments is not None else ():
            if start - 0.1 <= span.start and span.end <= end + 0.1 and span.seconds >= UNSPOKEN:
                yield from _without_speech(recording, likely, start, span.start, voice)
                yield Take(span.start, span.end, (), {"seconds": round(span.seconds, 3)}, (UNHEARD,))
                start = span.end
        yield from _without_speech(recording, likely, start, end, voice)

    parts = units(recording, likely, segments)
    spans = activity.spans(likely, recording.seconds)
    voice = _level(recording, [(unit.start, unit.end) for unit in parts])
    at = 0.0
    for piece in cut.pieces(recording.samples, parts):
        for take in saved(piece):
            yield from between(at, take.start)
            yield take
            at = take.end
    yield from between(at, recording.seconds)


def _heard(recording: Recording, likely: Array, piece: Piece, allowed: Sequence[str]) -> list[str]:
    """What speaks against the sound of a piece."""
    return reasons(measure(recording, likely, piece.start, piece.end)._asdict(), allowed)


def _scores(segments: Sequence[Segment]) -> dict[str, float]:
    """The worst of the scores of several segments."""
    worst: dict[str, float] = {}
    for name, pick in (("avg_logprob", min), ("compression_ratio", max), ("no_speech_prob", max), ("temperature", max)):
        if found := [segment.scores[name] for segment in segments if name in segment.scores]:
            worst[name] = pick(found)
    return worst


def _level(recording: Recording, spans: Sequence[tuple[float, float]]) -> float:
    """dB of full scale of the middle one of some spans."""
    levels = [
        _decibels(recording.samples[round(a * RATE) : round(b * RATE)]) for a, b in spans[:: len(spans) // 64 + 1]
    ]
    return float(np.median(levels)) if levels else 0.0


def _levels(sound: Samples, seconds: float) -> Array:
    """dB of full scale of each so many seconds."""
    size = round(seconds * RATE)
    power = (sound[: len(sound) // size * size].astype(np.float64) ** 2).reshape(-1, size).mean(1)
    return 10 * np.log10(power + 1e-10)


def _decibels(sound: Samples) -> float:
    return 10 * float(np.log10(float(np.mean(sound.astype(np.float64) ** 2)) + 1e-10)) if len(sound) else -100.0


def _without_speech(recording: Recording, likely: Array, start: float, end: float, voice: float) -> Iterator[Take]:
    """A stretch in which nobody is heard to speak, if it is long enough to be told of; `voice` is the level of speech
    beside it in dB."""
    holes = recording.holes_in(start, end)
    if end - start < LEAST_GAP and not holes:
        return
    figures: dict[str, float | None] = {"seconds": round(end - start, 3), "speech": 0.0}
    if holes:
        figures |= measure(recording, likely, start, min(end, start + LOOKED_AT))._asdict() | figures
        yield Take(start, end, (), figures, tuple(reasons(figures)))
        return
    # without the last of a word before and the first of one after
    levels = _levels(recording.samples[round((start + 0.1) * RATE) : round((end - 0.1) * RATE)], 0.1)
    figures["level"] = level = round(float(np.median(levels)), 1)  # a breath or a cough is no speech either
    if level < max(SILENT, voice + QUIET) or end - start < BREAK:
        yield Take(start, end, (), figures, (SILENCE,))
        return
    figures = measure(recording, likely, start, min(end, start + LOOKED_AT))._asdict() | figures
    yield Take(start, end, (), figures, tuple(reasons(figures)))


def sound_of(recording: Recording, start: float, end: float, high_pass: float = 0.0) -> Samples:
    """A span of a recording as a clip: one loudness, and if asked for, nothing below so many Hz."""
    before = min(CONTEXT, start)
    sound = recording.samples[round((start - before) * RATE) : round((end + CONTEXT) * RATE)]
    if high_pass:
        from scipy.signal import butter, sosfiltfilt

        second = butter(2, high_pass, "highpass", fs=RATE, output="sos")  # twice over: of order 4, without delay
        sound = sosfiltfilt(second, sound).astype(np.float32)
    first = round(start * RATE) - round((start - before) * RATE)
    return normalised(sound[first : first + round(end * RATE) - round(start * RATE)])


def envelope(sound: Samples) -> list[int]:
    """dB in four bands, twenty times a second, by which a sound is known again."""
    powers = spectra(sound, RATE // 10, RATE // 20)
    edges = (10, 50, 100, 200, 400)  # of 10 Hz
    bands = [10 * np.log10(powers[:, a:b].mean(1) + FAINTEST) for a, b in itertools.pairwise(edges)]
    return np.round(np.stack(bands, 1)).astype(int).flatten().tolist()
