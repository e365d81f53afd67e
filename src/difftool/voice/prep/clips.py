"""A recording in clips: cut, measured, filtered, and where a clip does not pass, split once more."""

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
"""Minimum seconds of silence that are listed."""
UNSPOKEN = 1.0
"""Seconds of speech that may be missing from a transcript."""
LOOKED_AT = 30.0
"""Seconds of a stretch without speech that are measured."""
QUIET, SILENT = -30.0, -55.0
"""dB below speech, and of full scale, under which a stretch is silent."""
TICK, SHORT_PAUSE, SHORT_PAUSE_LEVEL = 0.01, 0.09, -25.0
"""Speech that is longer than a clip may be is cut at its longest pauses: at least SHORT_PAUSE seconds in which the
level, measured each TICK, is SHORT_PAUSE_LEVEL dB below loud speech."""
FAINTEST = 1e-1
"""Floor of the power of a band in an `envelope`."""
CONTEXT = 0.5
"""Seconds of context for the high-pass beside a clip."""
SPLITTABLE = frozenset(
    ("no_speech", "damaged", "reverb", "phone", "music", "noise", "coarse", "clipping", "filler", "stutter")
)
"""Reasons that may apply to one half of a clip only."""


class Take(NamedTuple):
    """A span of a recording with its figures and the result of the gates."""

    start: float
    end: float
    words: tuple[Word, ...]
    figures: dict[str, float | None]
    reasons: tuple[str, ...]
    """Why it is left out, the most telling one first; none for a clip."""
    units: tuple[cut.Unit, ...] = ()
    """The speech in it; none where it is not cut from speech"""

    @property
    def text(self) -> str:
        return joined(self.words)

    def spoken(self) -> Spoken:
        """As it is written into files."""
        start, end = round(self.start, 3), round(self.end, 3)
        return {"start": start, "end": end, "text": self.text, "figures": self.figures}


def units(recording: Recording, likely: Array, segments: Sequence[Segment] | None) -> list[cut.Unit]:
    """The units of a recording: by its transcript, or where there is none by its pauses."""
    spans = activity.spans(likely, recording.seconds)
    if segments is None:
        intact = cut.without(spans, recording.holes)
        return cut.of_speech([part for span in intact for part in _parts(recording, span)])
    return [
        unit._replace(end=min(unit.end, recording.seconds))  # a transcript may go on for longer
        for unit in cut.of_words(segments, spans)
    ]


def _parts(recording: Recording, span: Span) -> list[Span]:
    """A span cut at its longest short pauses until each part can be a clip."""
    if span.seconds <= MOST_SECONDS - 2 * PAD:
        return [span]
    levels = levels_of(recording.samples[round(span.start * RATE) : round(span.end * RATE)], TICK)
    quiet = levels < np.percentile(levels, 90) + SHORT_PAUSE_LEVEL
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet, [0]])))
    gaps = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        shorter_part = min(start, len(levels) - end) * TICK
        if shorter_part >= cut.LEAST and (end - start) * TICK >= SHORT_PAUSE:
            gaps.append((end - start, span.start + start * TICK, span.start + end * TICK))
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
    parts: Sequence[cut.Unit] | None = None,
) -> Iterator[Take]:
    """All spans of a recording in order: clips, rejected spans with their reasons, and stretches without speech.
    `segments` is its transcript; `verify` transcribes a clip once more, which is then compared with the text.
    `language` decides which words are fillers; `parts` are its `units`, if they are known."""
    transcript = list(segments or ())

    def judged(piece: Piece) -> Take:
        numbers = dict.fromkeys(k for unit in piece.units for k in unit.segments)
        scores = _scores([transcript[k] for k in numbers])
        figures = known(measure(recording, likely, piece.start, piece.end), scores, piece.words, language)
        failed = reasons(figures, allowed)
        if verify and piece.words and not failed:
            text = verify(recording.samples[round(piece.start * RATE) : round(piece.end * RATE)])
            figures["character_error_rate"] = round(error_rate(text, piece.text), 3)
            failed = reasons(figures, allowed)
        return Take(piece.start, piece.end, piece.words, figures, tuple(failed), piece.units)

    def saved(piece: Piece) -> list[Take]:
        """A piece, or where it fails or its quality varies, its halves."""
        whole = judged(piece)
        if whole.reasons and SPLITTABLE.isdisjoint(whole.reasons):
            return [whole]
        parts = cut.split(recording.samples, piece)
        if not whole.reasons:
            faults = (_faults(recording, likely, part, allowed) for part in parts)
            if all(SPLITTABLE.isdisjoint(names) for names in faults):
                return [whole]
        halves = [take for half in parts for take in saved(half)]
        return halves if any(not take.reasons for take in halves) else [whole]

    def between(start: float, end: float) -> Iterator[Take]:
        """The takes between two pieces: silence, other sounds, or speech that is missing from the transcript."""
        for span in spans if segments is not None else ():
            is_inside = start - 0.1 <= span.start and span.end <= end + 0.1
            if is_inside and span.seconds >= UNSPOKEN:
                yield from _without_speech(recording, likely, start, span.start, voice)
                yield Take(span.start, span.end, (), {"seconds": round(span.seconds, 3)}, (UNHEARD,))
                start = span.end
        yield from _without_speech(recording, likely, start, end, voice)

    parts = units(recording, likely, segments) if parts is None else parts
    spans = activity.spans(likely, recording.seconds)
    voice = _level(recording, [(unit.start, unit.end) for unit in parts])
    at = 0.0
    for piece in cut.pieces(recording.samples, parts):
        for take in saved(piece):
            yield from between(at, take.start)
            yield take
            at = take.end
    yield from between(at, recording.seconds)


def _faults(recording: Recording, likely: Array, piece: Piece, allowed: Sequence[str]) -> list[str]:
    """The gates that the sound of a piece does not pass."""
    return reasons(measure(recording, likely, piece.start, piece.end)._asdict(), allowed)


def _scores(segments: Sequence[Segment]) -> dict[str, float]:
    """The worst of the scores of several segments."""
    worst: dict[str, float] = {}
    picks = {"avg_logprob": min, "compression_ratio": max, "no_speech_prob": max, "temperature": max}
    for name, pick in picks.items():
        values = [segment.scores[name] for segment in segments if name in segment.scores]
        if values:
            worst[name] = pick(values)
    return worst


def _level(recording: Recording, spans: Sequence[tuple[float, float]]) -> float:
    """Median level of spans in dB of full scale."""
    sample = spans[:: len(spans) // 64 + 1]
    levels = [_decibels(recording.samples[round(a * RATE) : round(b * RATE)]) for a, b in sample]
    return float(np.median(levels)) if levels else 0.0


def levels_of(sound: Samples, seconds: float) -> Array:
    """Levels in dB of full scale, one for each stretch of so many seconds."""
    size = round(seconds * RATE)
    whole = sound[: len(sound) // size * size].astype(np.float64)
    power = (whole**2).reshape(-1, size).mean(1)
    return 10 * np.log10(power + 1e-10)


def _decibels(sound: Samples) -> float:
    if not len(sound):
        return -100.0
    power = float(np.mean(sound.astype(np.float64) ** 2))
    return 10 * float(np.log10(power + 1e-10))


def _without_speech(recording: Recording, likely: Array, start: float, end: float, voice: float) -> Iterator[Take]:
    """A stretch without speech, if it is long enough to be listed; `voice` is the level of speech beside it in dB."""
    holes = recording.holes_in(start, end)
    if end - start < LEAST_GAP and not holes:
        return
    figures: dict[str, float | None] = {"seconds": round(end - start, 3), "speech": 0.0}
    measured_end = min(end, start + LOOKED_AT)
    if holes:
        figures |= measure(recording, likely, start, measured_end)._asdict() | figures
        yield Take(start, end, (), figures, tuple(reasons(figures)))
        return
    # without the ends of the words beside it
    first, last = round((start + 0.1) * RATE), round((end - 0.1) * RATE)
    levels = levels_of(recording.samples[first:last], 0.1)
    level = round(float(np.median(levels)), 1)  # the median ignores a breath or a cough
    figures["level"] = level
    if level < max(SILENT, voice + QUIET) or end - start < BREAK:
        yield Take(start, end, (), figures, (SILENCE,))
        return
    figures = measure(recording, likely, start, measured_end)._asdict() | figures
    yield Take(start, end, (), figures, tuple(reasons(figures)))


def sound_of(recording: Recording, start: float, end: float, high_pass: float = 0.0) -> Samples:
    """A span of a recording as a clip: normalised in loudness, and with `high_pass` in Hz filtered."""
    before = min(CONTEXT, start)
    offset = round((start - before) * RATE)
    sound = recording.samples[offset : round((end + CONTEXT) * RATE)]
    if high_pass:
        from scipy.signal import butter, sosfiltfilt

        second = butter(2, high_pass, "highpass", fs=RATE, output="sos")  # applied twice: order 4, zero phase
        sound = sosfiltfilt(second, sound).astype(np.float32)
    first, length = round(start * RATE) - offset, round(end * RATE) - round(start * RATE)
    return normalised(sound[first : first + length])


def envelope(sound: Samples) -> list[int]:
    """dB in four bands, twenty times a second, by which a copy of a sound is recognised."""
    powers = spectra(sound, RATE // 10, RATE // 20)
    edges = (10, 50, 100, 200, 400)  # of 10 Hz
    bands = [10 * np.log10(powers[:, a:b].mean(1) + FAINTEST) for a, b in itertools.pairwise(edges)]
    return np.round(np.stack(bands, 1)).astype(int).flatten().tolist()
