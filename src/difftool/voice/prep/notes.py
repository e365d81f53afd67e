"""What a transcript holds besides speech: tags, sounds, who speaks, and lines that are shown a second time."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

TAG = re.compile(r"</?(?:i|b|u|s|c|v|lang|ruby|rt|font|span|br|p|em|strong)\b[^<>]*>|<[\d:.]+>|\{[\\\w][^{}]*\}", re.I)
BRACKETS = re.compile(r"\[[^\[\]]*\]|【[^【】]*】|［[^［］]*］|\[[^\[\]]*\Z|\A[^\[\]]*\]")
"""A note, or one that begins or ends in another cue."""
PARENTHESES = re.compile(r"\(([^()]*)\)|（([^（）]*)）")
SIGNS = re.compile("[\u2669-\u266f\U0001f3b5\U0001f3b6]|(?<!\\S)#(?!\\S|\\s[0-9])")
"""Of music; some write # for it."""
TURN = re.compile(r"(?m)(?<!\S)>{2,}|^[ \t]*(?:>|»(?!.*«)|[-–—‐‑](?=[ \t]|[^\W\d]))")
"""That somebody else speaks now."""
LABEL = re.compile(
    r"(?m)(?:^[ \t]*|(?<=[.!?…][ \t])|(?<=[ ]{2}))([^\W_][\w.'’&-]*(?:[ \t]+#?\w[\w.'’&-]*){0,3})[ \t]*:(?=\s|\Z)"
)
"""Perhaps who speaks: so begins a sentence too."""
ROLE = re.compile(
    r"(?i)(?:speaker|narrator|man|woman|boy|girl|host|guest|interviewer|interviewee|reporter|announcer)"
    r"(?:[ _]?#?\w{1,2})?"
)
SPOKEN = re.compile(
    "note|remember|warning|caution|question|answer|example|first|second|third|finally|problem|solution|rule|tip|fact"
    "|reason|result|conclusion|step|part|chapter|today|now|so|but|and|or|then|ok|okay|yes|no|well|here|there|this|that",
    re.I,
)
"""Words before a colon that are no names."""
SOUNDS = re.compile(
    r"(?i)\b(?:laugh|chuckl|giggl|applau|clapping|cheer|music|sigh|gasp|cough|sneez|sniff|sob|scream|groan|inaudible"
    r"|unintelligible|indistinct|crosstalk|silence|pause|rires?\b|musique|lacht|gelächter|seufzt|musik|gelach|muziek"
    r"|risas|aplausos|música|risate|applausi|musica|risos|смех|аплодисменты|музыка)|笑|拍手|音楽|掌声|音乐"
)
FEW = 4
"""Words of a note in parentheses."""
ACRONYM = 3
"""Capitals in parentheses that are a name, as in: the World Health Organization (WHO)."""


def untagged(text: str) -> str:
    """A cue's text without its tags, and with what stands for a sign as that sign."""
    return TAG.sub("", html.unescape(html.unescape(text)))


def without_notes(text: str, names: frozenset[str] = frozenset()) -> str:
    """A text in which blanks stand in the place of what is not spoken, so that all else stays where it is. `names` are
    those of who speaks, as `speakers` finds them."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"\S", " ", found[0])

    def note(found: re.Match[str]) -> str:
        inside = found[1] or found[2] or ""
        around = text[: found.start()].rpartition("\n")[2] + text[found.end() :].partition("\n")[0]
        around = PARENTHESES.sub("", around).strip(" \t-–—>.")
        few = len(inside.split()) <= FEW
        name = inside.isalpha() and len(inside) <= ACRONYM and not text.startswith(":", found.end())
        shouted = inside.upper() == inside != inside.lower() and not name
        first = not text[: found.start()].strip(" \t\n-–—>")
        return blank(found) if not around or shouted or (few and (first or SOUNDS.search(inside))) else found[0]

    for pattern in (BRACKETS, SIGNS):
        text = pattern.sub(blank, text)
    text = PARENTHESES.sub(note, text)
    text = TURN.sub(blank, text)
    shouted = text == text.upper()  # then capitals tell nothing

    def label(found: re.Match[str]) -> str:
        name = found[1]
        capitals = not shouted and name == name.upper() != name.lower() and not _said(name)
        return blank(found) if capitals or ROLE.fullmatch(name) or name in names else found[0]

    text = LABEL.sub(label, text)
    return re.sub(r"(?m)(^[ \t]*|[ ]{2}):(?=\s)", r"\1 ", text)  # of a name in brackets


def speakers(texts: Sequence[str]) -> frozenset[str]:
    """The names with which several cues begin."""
    count = Counter(found[1] for text in texts for found in LABEL.finditer(without_notes(text)))
    return frozenset(
        name
        for name, times in count.items()
        if times > 1 and not _said(name) and all(word[0].isupper() for word in name.split())
    )


def _said(name: str) -> bool:
    """Whether what stands before a colon begins with a word that is said."""
    return SPOKEN.fullmatch(name.split()[0]) is not None


def unrolled(texts: Sequence[str]) -> Iterator[str]:
    """Of each cue what the one before did not show, where captions roll as those of YouTube do: most cues begin with
    what the one before ends with, and that is more than a word, or all of a cue."""
    words = [text.split() for text in texts]
    shared = [0, *(_shared(a, b) for a, b in pairwise(words))]
    rolled = sum(
        count > 1 or 0 < count == min(len(a), len(b)) for (a, b), count in zip(pairwise(words), shared[1:], strict=True)
    )
    rolls = len(texts) > 2 and rolled * 2 >= len(texts) - 1
    for text, own, known in zip(texts, words, shared, strict=True):
        yield " ".join(own[known:]) if rolls and known else text


def _shared(before: Sequence[str], after: Sequence[str]) -> int:
    """How many words end the one and begin the other."""
    sizes = range(min(len(before), len(after)), 0, -1)
    return next((size for size in sizes if list(before[-size:]) == list(after[:size])), 0)
