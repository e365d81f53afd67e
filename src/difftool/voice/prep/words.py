"""Words and when they are said: whole, however finely they were heard, and joined as they stand in the text."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from .notes import without_notes

UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u31ff\u3400-\u9fff"
    "\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
"""Characters of scripts that put no blanks between words: Thai, Lao, Tibetan, Burmese, Khmer, Japanese and Chinese."""


class Word(NamedTuple):
    """A word and when it is said, in seconds from the beginning of the recording."""

    start: float
    end: float
    text: str
    probability: float | None


class Segment(NamedTuple):
    """What was heard in one go."""

    words: tuple[Word, ...]
    exact: bool
    """Whether the times are those of words, and not only of the segment."""
    scores: dict[str, float]
    """Whisper's own: avg_logprob, compression_ratio, no_speech_prob, temperature; of a transcript none."""

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def end(self) -> float:
        return self.words[-1].end

    @property
    def text(self) -> str:
        return joined(self.words)


def joined(words: Sequence[Word]) -> str:
    """The text of some words."""
    text = ""
    for word in words:
        text += word.text if not text or _close(text, word.text) else f" {word.text}"
    return text.strip()


def _close(before: str, after: str) -> bool:
    """Whether no blank stands between two words but those that they bring along."""
    return bool(after[:1].isspace() or UNSPACED.match(before[-1]) or UNSPACED.match(after))


def whole(pieces: Sequence[Word], text: str = "", span: tuple[float, float] | None = None) -> tuple[Word, ...]:
    """Words from pieces of them as a recogniser gives them: with the blanks that stand before them, or where it gives
    none, with the `text` in which they stand. A piece without a time has NaN; `span` is where all of them lie."""
    pieces = [piece for piece in pieces if piece.text.strip()]
    places = _places(text, pieces)
    if places is None:
        text = _as_they_stand(pieces)
        places = _places(text, pieces) or []
    made = []
    begins, ends = [first for first, _ in places], [last for _, last in places]
    for first, last, blank in _tokens(without_notes(text), begins):
        own = pieces[bisect_right(ends, first) : bisect_left(begins, last)]
        starts = [piece.start for piece in own if not math.isnan(piece.start)]
        stops = [piece.end for piece in own if not math.isnan(piece.end)]
        odds = [piece.probability for piece in own if piece.probability is not None]
        made.append(
            Word(
                min(starts, default=math.nan),
                max(stops, default=math.nan),
                blank + text[first:last],
                min(odds, default=None),
            )
        )
    return tuple(_filled(made, span))


def guessed(start: float, end: float, text: str) -> tuple[Word, ...]:
    """The words of a text, each taken to last as long as it is written."""
    found = [Word(math.nan, math.nan, blank + text[a:b], None) for a, b, blank in _tokens(without_notes(text), ())]
    return tuple(_filled(found, (start, end)))


def _places(text: str, pieces: Sequence[Word]) -> list[tuple[int, int]] | None:
    """Where each piece stands in a text, if nothing but marks stands between them."""
    places, at = [], 0
    for piece in pieces:
        word = piece.text.strip()
        first = text.find(word, at)
        if first < 0 or any(char.isalnum() for char in text[at:first]):
            return None
        at = first + len(word)
        places.append((first, at))
    return None if any(char.isalnum() for char in text[at:]) else places


def _as_they_stand(pieces: Sequence[Word]) -> str:
    """Pieces joined by their own blanks; where none has any, they are words, or what ends one."""
    if any(piece.text[:1].isspace() for piece in pieces):
        return "".join(piece.text for piece in pieces)
    return re.sub(r" (?=[-,.:;!?%'’)\]])", "", joined(pieces))


def _tokens(text: str, starts: Sequence[int]) -> list[tuple[int, int, str]]:
    """Where the words of a text begin and end: at blanks, and in scripts without them where a piece begins. With each
    comes the blank before it, where a script that has none has one."""
    found: list[tuple[int, int, str]] = []
    for token in re.finditer(r"\S+", text):
        own = found and (UNSPACED.match(text[found[-1][1] - 1]) or UNSPACED.match(token[0]))
        blank = " " if own else ""
        inside = starts[bisect_right(starts, token.start()) : bisect_left(starts, token.end())]
        cuts = [at for at in inside if _may_cut(text, at)]
        for first, last in itertools.pairwise([token.start(), *cuts, token.end()]):
            found.append((first, last, blank if first == token.start() else ""))
    return found


def _may_cut(text: str, at: int) -> bool:
    """Whether a word may begin inside what no blank divides; never with a mark or a vowel sign."""
    unspaced = UNSPACED.match(text[at - 1]) or UNSPACED.match(text[at])
    return bool(unspaced) and text[at].isalnum() and unicodedata.category(text[at])[0] != "M"


def _filled(words: Sequence[Word], span: tuple[float, float] | None) -> list[Word]:
    """Words without a time take that between their neighbours, each as long as it is written."""
    made = list(words)
    known = [k for k, word in enumerate(made) if not math.isnan(word.start + word.end)]
    for a, b in itertools.pairwise([-1, *known, len(made)]):
        inside = made[a + 1 : b]
        if not inside:
            continue
        first = made[a].end if a >= 0 else (span[0] if span else made[b].start)
        last = made[b].start if b < len(made) else (span[1] if span else first)
        last = max(first, last)
        sizes = list(itertools.accumulate((len(word.text) + 1 for word in inside), initial=0))
        times = [first + (last - first) * size / sizes[-1] for size in sizes]
        made[a + 1 : b] = [w._replace(start=x, end=y) for w, x, y in zip(inside, times, times[1:], strict=False)]
    return made
