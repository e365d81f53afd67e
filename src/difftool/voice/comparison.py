"""What was heard, compared word by word with the text that was to be spoken."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from .prep.words import UNSPACED
from .text import TYPOGRAPHY, written_out

RUN = 3
"""Wrong words in a row that are no slip of the listener."""
SHORT_SHARE = 0.5
"""Share of wrong letters in a text of fewer than `RUN` words, where no such run fits."""
CHANCE = 3
"""Letters of a single word that may be right by chance, and ends no run: an and, a the."""
CONTRACTIONS = (
    (r"\bwon't\b", "will not"),
    (r"\b(?:can't|cannot)\b", "can not"),
    (r"n't\b", " not"),
    (r"'re\b", " are"),
    (r"'ll\b", " will"),
    (r"'ve\b", " have"),
    (r"\bi'm\b", "i am"),
    (r"\blet's\b", "let us"),
    (r"\b(it|he|she|that|there|here|what|who|where)'s\b", r"\1 is"),
)


class Step(NamedTuple):
    """A stretch of a comparison."""

    kind: str
    """equal, replace, delete or insert"""
    text: tuple[str, ...]
    """Words of the text"""
    heard: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """How far what was heard differs from the text."""

    steps: tuple[Step, ...]
    errors: int
    """Words that were replaced, left out or added."""
    count: int
    """Words of the text."""
    word_error_rate: float
    """`errors` over `count`: it can exceed 1."""
    character_error_rate: float
    longest_run: int
    """The largest number of wrong words in a row; a short right one between them does not count."""
    misses_end: bool
    """Whether the last word was not heard, or not half of it."""

    @property
    def missing_end(self) -> int:
        """Words of the text after the last that was heard."""
        missing = 0
        for step in reversed(self.steps):
            if step.kind == "equal":
                break
            missing += len(step.text) - len(step.heard)
        return max(0, missing)

    @property
    def right(self) -> bool:
        """Whether the text was spoken: the words to its end, without a run of wrong ones."""
        wrong = self.character_error_rate > SHORT_SHARE if self.count < RUN else self.longest_run >= RUN
        return not wrong and not self.misses_end


def compare(text: str, heard: str, language: str | None = "en") -> Comparison:
    """Compares the words of both. Case and punctuation make no difference, nor in English spelling, digits,
    contractions and hyphens."""
    from rapidfuzz.distance import Levenshtein

    wanted, given = words_of(text, language), words_of(heard, language)
    known = {*wanted, *given}
    wanted, given = _closed_up(wanted, known), _closed_up(given, known)
    steps = tuple(
        Step(code.tag, tuple(wanted[code.src_start : code.src_end]), tuple(given[code.dest_start : code.dest_end]))
        for code in Levenshtein.opcodes(wanted, given)
    )
    errors, letters = Levenshtein.distance(wanted, given), " ".join(wanted)
    return Comparison(
        steps,
        errors,
        len(wanted),
        errors / max(1, len(wanted)),
        Levenshtein.distance(letters, " ".join(given)) / max(1, len(letters)),
        _longest_run(steps),
        _misses_end(steps),
    )


def _longest_run(steps: Sequence[Step]) -> int:
    run = longest = 0
    for step in steps:
        if step.kind == "equal":
            by_chance = len(step.text) == 1 and len(step.text[0]) <= CHANCE
            run = run if by_chance else 0
        else:
            run += max(len(step.text), len(step.heard))
            longest = max(longest, run)
    return longest


def _misses_end(steps: Sequence[Step]) -> bool:
    """Whether more than half of the letters of the last word are missing at the end."""
    if not steps or steps[-1].kind == "equal" or not any(step.text for step in steps):
        return False
    last = next(step.text[-1] for step in reversed(steps) if step.text)
    lost = 0
    for step in reversed(steps):
        if step.kind == "equal":
            break
        lost += len("".join(step.text)) - len("".join(step.heard))
    return lost > len(last) / 2


def words_of(text: str, language: str | None = "en") -> list[str]:
    """The words of a text as they are compared: in lower case, without punctuation; in English with numbers and signs
    in words, and American spelling; the characters in a script without spaces."""
    if language != "en":
        from whisper.normalizers import BasicTextNormalizer

        return BasicTextNormalizer(split_letters=bool(UNSPACED.search(text)))(text).split()
    for fancy, plain in TYPOGRAPHY.items():
        text = text.replace(fancy, plain)
    text = written_out(text).lower()
    for pattern, long in CONTRACTIONS:
        text = re.sub(pattern, long, text)
    return [_american()(word) for word in re.findall(r"[^\W_]+", text.replace("'", ""))]


@cache
def _american() -> Any:
    """The table of British spellings of openai-whisper."""
    from whisper.normalizers.english import EnglishSpellingNormalizer

    return EnglishSpellingNormalizer()


def _closed_up(words: Sequence[str], known: Collection[str]) -> list[str]:
    """Words with those pairs and triples joined that occur as one word: good bye, where there is a goodbye."""
    joined: list[str] = []
    at = 0
    while at < len(words):
        sizes = (size for size in (3, 2) if at + size <= len(words) and "".join(words[at : at + size]) in known)
        size = next(sizes, 1)
        joined.append("".join(words[at : at + size]))
        at += size
    return joined
