"""Words with times: assembled from the pieces of a recogniser, and joined as in the text."""

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
"""Characters of scripts without spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, Japanese and Chinese."""


class Word(NamedTuple):
    """A word with its times in seconds from the beginning of the recording."""

    start: float
    end: float
    text: str
    probability: float | None


class Segment(NamedTuple):
    """A segment of a transcript."""

    words: tuple[Word, ...]
    exact: bool
    """Whether times are known for each word, not only for the segment."""
    scores: dict[str, float]
    """Whisper's avg_logprob, compression_ratio, no_speech_prob and temperature; empty for other transcripts."""

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
        needs_space = text and not _is_joined(text, word.text)
        text += f" {word.text}" if needs_space else word.text
    return text.strip()


def _is_joined(before: str, after: str) -> bool:
    """Whether two words are joined without an additional space."""
    if after[:1].isspace():
        return True
    return bool(UNSPACED.match(before[-1]) or UNSPACED.match(after))


def whole(pieces: Sequence[Word], text: str = "", span: tuple[float, float] | None = None) -> tuple[Word, ...]:
    """Words from the pieces of a recogniser, which begin with spaces where a word begins, or else are found in `text`.
    A piece without a time has NaN; `span` is the time of all of them."""
    pieces = [piece for piece in pieces if piece.text.strip()]
    places = _places(text, pieces)
    if places is None:
        text = _as_they_stand(pieces)
        places = _places(text, pieces) or []
    words = []
    begins, ends = [first for first, _ in places], [last for _, last in places]
    for first, last, blank in _tokens(without_notes(text), begins):
        own = pieces[bisect_right(ends, first) : bisect_left(begins, last)]
        starts = [piece.start for piece in own if not math.isnan(piece.start)]
        stops = [piece.end for piece in own if not math.isnan(piece.end)]
        probabilities = [piece.probability for piece in own if piece.probability is not None]
        start, stop = min(starts, default=math.nan), max(stops, default=math.nan)
        words.append(Word(start, stop, blank + text[first:last], min(probabilities, default=None)))
    return tuple(_filled(words, span))


def guessed(start: float, end: float, text: str) -> tuple[Word, ...]:
    """The words of a text, with durations in proportion to their letters."""
    tokens = _tokens(without_notes(text), ())
    words = [Word(math.nan, math.nan, blank + text[first:last], None) for first, last, blank in tokens]
    return tuple(_filled(words, (start, end)))


def _places(text: str, pieces: Sequence[Word]) -> list[tuple[int, int]] | None:
    """The place of each piece in a text; None where other words stand between them."""

    def has_words(text: str) -> bool:
        return any(char.isalnum() for char in text)

    places, at = [], 0
    for piece in pieces:
        word = piece.text.strip()
        first = text.find(word, at)
        if first < 0 or has_words(text[at:first]):
            return None
        at = first + len(word)
        places.append((first, at))
    return None if has_words(text[at:]) else places


def _as_they_stand(pieces: Sequence[Word]) -> str:
    """Pieces joined by their own spaces; where none has any, they are words or punctuation."""
    if any(piece.text[:1].isspace() for piece in pieces):
        return "".join(piece.text for piece in pieces)
    return re.sub(r" (?=[-,.:;!?%'’)\]])", "", joined(pieces))


def _tokens(text: str, starts: Sequence[int]) -> list[tuple[int, int, str]]:
    """Begin and end of the words of a text: at spaces, and in scripts without them where a piece begins. Each comes
    with the space before it that such a speech would lose."""
    tokens: list[tuple[int, int, str]] = []
    for token in re.finditer(r"\S+", text):
        last_char = text[tokens[-1][1] - 1] if tokens else ""
        is_unspaced = tokens and (UNSPACED.match(last_char) or UNSPACED.match(token[0]))
        blank = " " if is_unspaced else ""
        inside = starts[bisect_right(starts, token.start()) : bisect_left(starts, token.end())]
        cuts = [at for at in inside if _may_cut(text, at)]
        for first, last in itertools.pairwise([token.start(), *cuts, token.end()]):
            tokens.append((first, last, blank if first == token.start() else ""))
    return tokens


def _may_cut(text: str, at: int) -> bool:
    """Whether a word may begin here in a text without spaces; never at a mark or a vowel sign."""
    char = text[at]
    is_unspaced = UNSPACED.match(text[at - 1]) or UNSPACED.match(char)
    return bool(is_unspaced) and char.isalnum() and unicodedata.category(char)[0] != "M"


def _filled(words: Sequence[Word], span: tuple[float, float] | None) -> list[Word]:
    """Words where those without a time share the time between their neighbours, in proportion to their letters."""
    filled = list(words)
    known = [k for k, word in enumerate(filled) if not math.isnan(word.start + word.end)]
    for a, b in itertools.pairwise([-1, *known, len(filled)]):
        inside = filled[a + 1 : b]
        if not inside:
            continue
        first = filled[a].end if a >= 0 else (span[0] if span else filled[b].start)
        last = filled[b].start if b < len(filled) else (span[1] if span else first)
        last = max(first, last)
        letters = [len(word.text) + 1 for word in inside]
        sizes = list(itertools.accumulate(letters, initial=0))
        times = [first + (last - first) * size / sizes[-1] for size in sizes]
        timed = zip(inside, times, times[1:], strict=False)
        filled[a + 1 : b] = [word._replace(start=start, end=end) for word, start, end in timed]
    return filled
