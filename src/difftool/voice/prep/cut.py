"""Cutting of a recording at sentence ends and pauses, into clips of a length that suits every engine."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ...audio.files import RATE
from .activity import Span
from .decode import Stored
from .words import Segment, Word, joined

LEAST, SHORT, LONG, MOST_SECONDS = 2.0, 6.0, 10.0, 11.6
"""Seconds of a clip: minimum, preferred range, and maximum (that of Tortoise's trainer)."""
MOST_TEXT = 200
"""Characters of a clip's text."""
PAUSE, BREAK = 0.25, 1.2
"""Seconds of silence at which a cut is allowed, and at which it is required."""
PAD, BREATH, NEAR = 0.12, 0.2, 0.08
"""Seconds kept before and after speech; the same where it has words, which begin earlier and end later than their
times say; and the distance within which a quieter point is searched for."""
TIGHT, TORN = 0.1, 0.4
"""Cost in seconds of a cut without a pause, without and with words: a part of a word may be lost."""
INSIDE, EXACT, CUE = 0.5, 0.6, 1.0
"""Seconds by which a transcript may miss a pause: inside a sentence without a pause; and where a pause is expected, by
times of words, and by those of whole cues."""
EMPTY = 10.0
"""Cost in seconds of a unit without length."""
BESIDE = 0.25
"""Seconds beside a hole that are left out."""
HALF = 1.0
"""Minimum seconds of a half."""
ENDS = (".", "!", "?", "…", "。", "！", "？")
CLOSING = "\"'”’)]»"


class Unit(NamedTuple):
    """Speech that is not cut: words up to a sentence end or a pause, or the speech between two pauses."""

    start: float
    end: float
    words: tuple[Word, ...] = ()
    segments: tuple[int, ...] = ()
    """The segments of the transcript that its words come from."""
    closed: bool = True
    """Whether a sentence ends with it."""
    speaker: int = 0
    """Index among the speakers of the recording."""


class Piece(NamedTuple):
    """A possible clip: a span of the recording and the units in it."""

    start: float
    end: float
    units: tuple[Unit, ...]

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for unit in self.units for word in unit.words)

    @property
    def text(self) -> str:
        return joined(self.words)


def of_speech(spans: Sequence[Span]) -> list[Unit]:
    """The units of a recording without a transcript."""
    return [Unit(*span) for span in spans]


def without(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """Speech without the holes of a recording and their margins."""
    parts = list(spans)
    for hole in holes:
        low, high = hole.start - BESIDE, hole.end + BESIDE
        before = [part._replace(end=min(part.end, low)) for part in parts]
        after = [part._replace(start=max(part.start, high)) for part in parts if part.end > high]
        parts = sorted(part for part in (*before, *after) if part.seconds > 0)
    return parts


def of_words(segments: Sequence[Segment], spans: Sequence[Span]) -> list[Unit]:
    """The units of a transcript. Where it has times of whole segments only, each segment is a unit. Their edges are
    moved to the edges of speech in `spans`, where these are near."""
    units: list[Unit] = []
    misses: list[float] = []
    for k, segment in enumerate(segments):
        if not segment.exact:
            closed = _closes(segment.words[-1])
            units.append(Unit(segment.start, segment.end, segment.words, (k,), closed))
            misses.append(CUE)
            continue
        for word in segment.words:
            unit = Unit(word.start, max(word.start, word.end), (word,), (k,), _closes(word))
            is_continued = units and not units[-1].closed
            if is_continued and unit.start - units[-1].end < PAUSE:
                units[-1] = _merged(units[-1], unit)
            else:
                units.append(unit)
                misses.append(EXACT)
    for k in range(1, len(units)):  # words do not overlap
        before, after = units[k - 1], units[k]
        if after.start < before.end:
            middle = max(before.start, (after.start + before.end) / 2)
            units[k - 1] = before._replace(end=middle)
            units[k] = after._replace(start=middle, end=max(middle, after.end))
    return _snapped(units, misses, spans)


def _snapped(units: Sequence[Unit], misses: Sequence[float], spans: Sequence[Span]) -> list[Unit]:
    """Units whose edges are moved to the edges of pauses, in order and by the smallest total distance. `misses` tells
    how far an edge of each unit may be moved where a pause is expected."""
    if not units or not spans:
        return list(units)
    bounds = [-math.inf, *(edge for span in spans for edge in span), math.inf]
    starts, ends = bounds[::2], bounds[1::2]
    pauses = [Span(start, end) for start, end in zip(starts, ends, strict=True)]
    between = [a.closed or b.start - a.end >= PAUSE for a, b in pairwise(units)]
    expected = [True, *between, True]
    options: list[list[Place]] = []
    for k, unit in enumerate(units):
        for time, side in ((unit.start, 1), (unit.end, 0)):
            miss = misses[k] if expected[k + 1 - side] else INSIDE
            first, last = bisect_left(ends, time - miss), bisect_right(starts, time + miss)
            places = [Place(time, miss)]
            for pause in pauses[first:last]:
                distance = max(pause.start - time, time - pause.end, 0.0)
                if math.isfinite(pause[side]):
                    places.append(Place(pause[side], distance))
            options.append(places)
    times = _in_order(options)
    edges = zip(units, times[::2], times[1::2], strict=True)
    return [unit._replace(start=start, end=end) for unit, start, end in edges]


class Place(NamedTuple):
    """A possible time of an edge of a unit, and its cost."""

    time: float
    cost: float


def _in_order(options: Sequence[Sequence[Place]]) -> list[float]:
    """One place for each edge, a start and an end in turn, in order and with the least total cost, by dynamic
    programming. The first place of each edge is always possible."""
    totals, times = [0.0], [-math.inf]
    came: list[list[int]] = []
    for number, places in enumerate(options):
        best: list[tuple[float, int]] = []
        for place in places:
            paths = [(math.inf, 0)]
            for k, (total, time) in enumerate(zip(totals, times, strict=True)):
                if time <= place.time:
                    is_empty = number % 2 == 1 and time == place.time
                    extra = EMPTY if is_empty else 0.0
                    paths.append((total + place.cost + extra, k))
            best.append(min(paths))
        totals, times = [total for total, _ in best], [place.time for place in places]
        came.append([k for _, k in best])
    k = totals.index(min(totals))
    chosen = []
    for places, before in zip(reversed(options), reversed(came), strict=True):
        chosen.append(places[k].time)
        k = before[k]
    return chosen[::-1]


def _merged(a: Unit, b: Unit) -> Unit:
    segments = tuple(dict.fromkeys((*a.segments, *b.segments)))
    return Unit(a.start, max(a.end, b.end), (*a.words, *b.words), segments, b.closed)


def _closes(word: Word) -> bool:
    return word.text.rstrip(CLOSING).endswith(ENDS)


def groups(units: Sequence[Unit]) -> list[tuple[Unit, ...]]:
    """Neighbouring units grouped into clips of the preferred length that end with a sentence, and with as little as
    possible too short or too long: the grouping of least cost, by dynamic programming."""
    best: list[tuple[float, int]] = [(0.0, 0)]  # of the first k units: least cost, and where the last clip begins
    for k in range(1, len(units) + 1):
        options = []
        for first in range(k - 1, -1, -1):
            if first < k - 1 and not _fits(units[first:k]):
                break
            cost = best[first][0] + _cost(units[first:k], units[k : k + 1])
            options.append((cost, first))
        best.append(min(options))
    clips, k = [], len(units)
    while k:
        first = best[k][1]
        clips.append(tuple(units[first:k]))
        k = first
    return clips[::-1]


def _fits(units: Sequence[Unit]) -> bool:
    """Whether several units can be one clip, where all but the first can."""
    first, second = units[:2]
    if second.start - first.end > BREAK or second.speaker != first.speaker:
        return False
    if units[-1].end - first.start > MOST_SECONDS - 2 * _pad(first):
        return False
    words = [word for unit in units for word in unit.words]
    return len(joined(words)) <= MOST_TEXT


def _cost(units: Sequence[Unit], after: Sequence[Unit]) -> float:
    """Cost of a clip; a second that is lost costs 1."""
    last = units[-1]
    seconds = last.end - units[0].start + 2 * _pad(units[0])
    lost = seconds if not LEAST <= seconds <= MOST_SECONDS else 0.0
    off = max(0.0, SHORT - seconds) * 0.1 + max(0.0, seconds - LONG) * 0.1
    tight = 0.0
    if after and after[0].start - last.end < PAUSE:
        tight = TORN if last.words else TIGHT
    return 0.1 + lost + off + (0.0 if last.closed else 0.2) + tight


def pieces(samples: Stored, units: Sequence[Unit]) -> Iterator[Piece]:
    """The clips of a recording (S,) at RATE, cut at the quietest points near."""
    ends = [0.0, *(unit.end for unit in units), len(samples) / RATE]
    starts = [0.0, *(unit.start for unit in units), len(samples) / RATE]
    at = 0
    for group in groups(units):
        before, after = ends[at], starts[at + len(group) + 1]
        start = _cut(samples, group[0].start, before, -1, _pad(group[0]))
        end = _cut(samples, group[-1].end, after, 1, _pad(group[0]))
        at += len(group)
        yield Piece(start, end, group)


def split(samples: Stored, piece: Piece) -> list[Piece]:
    """The two halves of a clip, cut at its longest pause; empty where it has no pause, or a half would be too short."""
    options = []
    pad = _pad(piece.units[0])
    for k in range(1, len(piece.units)):
        a, b = piece.units[k - 1], piece.units[k]
        halves = (a.end - piece.start + pad, piece.end - b.start + pad)
        if min(halves) >= HALF:
            options.append((b.start - a.end, k))
    if not options:
        return []
    k = max(options)[1]
    a, b = piece.units[:k], piece.units[k:]
    return [
        Piece(piece.start, _cut(samples, a[-1].end, b[0].start, 1, pad), a),
        Piece(_cut(samples, b[0].start, a[-1].end, -1, pad), piece.end, b),
    ]


def _pad(unit: Unit) -> float:
    return BREATH if unit.words else PAD


def _cut(samples: Stored, edge: float, other: float, side: int, pad: float) -> float:
    """Where to cut between the `edge` of speech and the `other` speech beyond it (`side` is +1 after speech, -1
    before): at a distance of `pad`, or half of the pause, at the quietest 10 ms within NEAR. Where there is no pause,
    both sides are cut at one point."""
    room = max(0.0, side * (other - edge))
    target = min(pad, room / 2)
    low, high = target - NEAR, target + NEAR
    if room >= 2 * NEAR:
        limit = room / 2 if room < 2 * (pad + NEAR) else room
        low, high = max(0.0, low), min(high, limit)
    tick = RATE // 200
    first = max(0, round((edge + side * (low if side > 0 else high)) * RATE))
    length = round((high - low) * RATE) // tick * tick
    sound = samples[first : first + length].astype(np.float64)
    energy = (sound[: len(sound) // tick * tick] ** 2).reshape(-1, tick).sum(1)
    if len(energy) < 2:
        return max(0.0, edge + side * target)
    pair = energy[:-1] + energy[1:]
    return (first + (int(pair.argmin()) + 1) * tick) / RATE
