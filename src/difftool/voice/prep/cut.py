"""Where a recording is cut: at sentence ends and pauses, into clips of a length that every engine likes."""

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
"""Seconds of a clip: at least, wanted from, wanted to, at most (which is what Tortoise's trainer takes)."""
MOST_TEXT = 200
"""Characters of a clip's text."""
PAUSE, BREAK = 0.25, 1.2
"""Seconds of silence at which may be cut, and at which must be."""
PAD, BREATH, NEAR = 0.12, 0.2, 0.08
"""Seconds kept before and after speech; a breath where it has words, which begin earlier and end later than they are
heard to; and how far from there a quieter point is looked for."""
TIGHT, TORN = 0.1, 0.4
"""What it costs, as seconds, to cut where nobody pauses, and where it has words: whoever hears the clip alone misses a
part of one."""
INSIDE, EXACT, CUE = 0.5, 0.6, 1.0
"""Seconds by which a transcript may miss the pause that is meant: where no sentence ends and it has no pause; and where
there is one to be expected, by times of words, and by those of whole cues."""
EMPTY = 10.0
"""What it costs, as seconds, if a unit has no length."""
BESIDE = 0.25
"""Seconds beside a hole that belong to no clip."""
HALF = 1.0
"""Seconds that can be judged."""
ENDS = (".", "!", "?", "…", "。", "！", "？")
CLOSING = "\"'”’)]»"


class Unit(NamedTuple):
    """Speech that is not cut into: words up to a sentence end or a pause, or what lies between two pauses."""

    start: float
    end: float
    words: tuple[Word, ...] = ()
    segments: tuple[int, ...] = ()
    """The segments of the transcript that its words are of."""
    closed: bool = True
    """Whether a sentence ends with it."""


class Piece(NamedTuple):
    """A clip to be: a span of the recording and the units in it."""

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
    """The units of a recording of which only is known where somebody speaks."""
    return [Unit(*span) for span in spans]


def without(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """Speech without what is beside the holes of a recording."""
    parts = list(spans)
    for hole in holes:
        low, high = hole.start - BESIDE, hole.end + BESIDE
        before = [part._replace(end=min(part.end, low)) for part in parts]
        after = [part._replace(start=max(part.start, high)) for part in parts if part.end > high]
        parts = sorted(part for part in (*before, *after) if part.seconds > 0)
    return parts


def of_words(segments: Sequence[Segment], spans: Sequence[Span]) -> list[Unit]:
    """The units of a transcript. Where its times are those of whole segments, a segment is a unit. They begin and end
    where somebody begins and ends to speak, by `spans`, as far as that is near."""
    made: list[Unit] = []
    misses: list[float] = []
    for k, segment in enumerate(segments):
        if not segment.exact:
            made.append(Unit(segment.start, segment.end, segment.words, (k,), _closes(segment.words[-1])))
            misses.append(CUE)
            continue
        for word in segment.words:
            one = Unit(word.start, max(word.start, word.end), (word,), (k,), _closes(word))
            if made and not made[-1].closed and one.start - made[-1].end < PAUSE:
                made[-1] = _merged(made[-1], one)
            else:
                made.append(one)
                misses.append(EXACT)
    for k in range(1, len(made)):  # nobody says two words at a time
        if made[k].start < made[k - 1].end:
            middle = max(made[k - 1].start, (made[k].start + made[k - 1].end) / 2)
            made[k - 1] = made[k - 1]._replace(end=middle)
            made[k] = made[k]._replace(start=middle, end=max(middle, made[k].end))
    return _snapped(made, misses, spans)


def _snapped(units: Sequence[Unit], misses: Sequence[float], spans: Sequence[Span]) -> list[Unit]:
    """Units that begin where a pause ends, and end where one begins: of all ways to move their edges in order, the one
    that moves them least. `misses` are how far an edge of each may be moved to where a pause is to be expected."""
    if not units or not spans:
        return list(units)
    bounds = [-math.inf, *(edge for span in spans for edge in span), math.inf]
    pauses = [Span(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True)]
    expected = [True, *(a.closed or b.start - a.end >= PAUSE for a, b in pairwise(units)), True]
    options: list[list[Place]] = []
    for k, unit in enumerate(units):
        for time, side in ((unit.start, 1), (unit.end, 0)):
            miss = misses[k] if expected[k + 1 - side] else INSIDE
            near = pauses[bisect_left(bounds[1::2], time - miss) : bisect_right(bounds[::2], time + miss)]
            moved = [Place(pause[side], max(pause.start - time, time - pause.end, 0.0)) for pause in near]
            options.append([Place(time, miss), *(place for place in moved if math.isfinite(place.time))])
    times = _in_order(options)
    return [unit._replace(start=a, end=b) for unit, a, b in zip(units, times[::2], times[1::2], strict=True)]


class Place(NamedTuple):
    """Where an edge of a unit can be, and what that costs."""

    time: float
    cost: float


def _in_order(options: Sequence[Sequence[Place]]) -> list[float]:
    """Of each edge, a start and an end in turn, one place, so that none is before the one before it and all together
    cost least: by dynamic programming. The first place of each edge is always possible."""
    totals, times = [0.0], [-math.inf]
    came: list[list[int]] = []
    for number, places in enumerate(options):
        best: list[tuple[float, int]] = []
        for place in places:
            ways = [(math.inf, 0)]
            for k, (total, time) in enumerate(zip(totals, times, strict=True)):
                if time <= place.time:
                    empty = number % 2 == 1 and time == place.time
                    ways.append((total + place.cost + (EMPTY if empty else 0.0), k))
            best.append(min(ways))
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
    """Neighbouring units as clips, so that as little as may be is too short or too long, and as many as may be are of
    the wanted length and end with a sentence. The best of all ways, by dynamic programming."""
    best: list[tuple[float, int]] = [(0.0, 0)]  # of the first k units: what it costs, and where the last clip begins
    for k in range(1, len(units) + 1):
        options = []
        for first in range(k - 1, -1, -1):
            if first < k - 1 and (
                units[first + 1].start - units[first].end > BREAK
                or units[k - 1].end - units[first].start > MOST_SECONDS - 2 * _pad(units[first])
                or len(joined([word for unit in units[first:k] for word in unit.words])) > MOST_TEXT
            ):
                break
            options.append((best[first][0] + _cost(units[first:k], units[k : k + 1]), first))
        best.append(min(options))
    made, k = [], len(units)
    while k:
        made.append(tuple(units[best[k][1] : k]))
        k = best[k][1]
    return made[::-1]


def _cost(units: Sequence[Unit], after: Sequence[Unit]) -> float:
    """Of a clip; a second that is lost costs 1."""
    seconds = units[-1].end - units[0].start + 2 * _pad(units[0])
    lost = seconds if not LEAST <= seconds <= MOST_SECONDS else 0.0
    off = max(0.0, SHORT - seconds) * 0.1 + max(0.0, seconds - LONG) * 0.1
    tight = (TORN if units[-1].words else TIGHT) if after and after[0].start - units[-1].end < PAUSE else 0.0
    return 0.1 + lost + off + (0.0 if units[-1].closed else 0.2) + tight


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
    """A clip in two, at its longest pause; none where there is no pause in it, or a half
    would be too short to be judged."""
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


def _cut(samples: Stored, edge: float, other: float, way: int, pad: float) -> float:
    """Where to cut between the `edge` of speech and the `other` speech beyond it (`way` is +1 after speech, -1 before):
    `pad` away or half of the way, at the quietest 10 ms within NEAR of that. Where there is no pause, what is before
    and what is after it are cut at one point."""
    room = max(0.0, way * (other - edge))
    wanted = min(pad, room / 2)
    if room < 2 * NEAR:
        low, high = wanted - NEAR, wanted + NEAR
    else:
        low, high = max(0.0, wanted - NEAR), min(wanted + NEAR, room / 2 if room < 2 * (pad + NEAR) else room)
    tick = RATE // 200
    first = max(0, round((edge + way * (low if way > 0 else high)) * RATE))
    sound = samples[first : first + round((high - low) * RATE) // tick * tick].astype(np.float64)
    energy = (sound[: len(sound) // tick * tick] ** 2).reshape(-1, tick).sum(1)
    if len(energy) < 2:
        return max(0.0, edge + way * wanted)
    pair = energy[:-1] + energy[1:]
    return (first + (int(pair.argmin()) + 1) * tick) / RATE
