"""What was heard, compared word by word with the text that was to be spoken."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

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


@dataclass(frozen=True)
class Words:
    """How far what was heard differs from the text."""

    errors: int
    """Words that were replaced, left out or added."""
    count: int
    """Words of the text."""
    wer: float
    """Word error rate: `errors` over `count`."""
    cer: float
    """Character error rate."""
    longest_run: int
    """The largest number of wrong words in a row; a short right one between them does not count."""
    misses_end: bool
    """Whether the last word was not heard, or not half of it."""

    @property
    def right(self) -> bool:
        """Whether the text was spoken: the words to its end, without a run of wrong ones."""
        wrong = self.cer > SHORT_SHARE if self.count < RUN else self.longest_run >= RUN
        return not wrong and not self.misses_end


def compare(text: str, heard: str) -> Words:
    """Compares the words of both. Case, punctuation, spelling, digits, contractions and hyphens make no difference."""
    from rapidfuzz.distance import Levenshtein

    wanted, given = words_of(text), words_of(heard)
    known = {*wanted, *given}
    wanted, given = _closed_up(wanted, known), _closed_up(given, known)
    run = longest = 0
    tail = (0, 0)
    for step in Levenshtein.opcodes(wanted, given):
        if step.tag == "equal":
            tail = (step.src_end, step.dest_end)
            same = wanted[step.src_start : step.src_end]
            run = run if len(same) == 1 and len(same[0]) <= CHANCE else 0
            continue
        run += max(step.src_end - step.src_start, step.dest_end - step.dest_start)
        longest = max(longest, run)
    errors, letters = Levenshtein.distance(wanted, given), " ".join(wanted)
    lost = len("".join(wanted[tail[0] :])) - len("".join(given[tail[1] :]))
    return Words(
        errors,
        len(wanted),
        errors / max(1, len(wanted)),
        Levenshtein.distance(letters, " ".join(given)) / max(1, len(letters)),
        longest,
        bool(wanted) and lost > len(wanted[-1]) / 2,
    )


def words_of(text: str) -> list[str]:
    """The words of a text in the form in which they are compared: numbers and signs in words, lower case, American
    spelling, no punctuation."""
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
