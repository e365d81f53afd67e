"""Parts of a transcript that are not speech: tags, sounds, names of speakers, and repeated lines."""

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
"""Signs of music; some use # for it."""
TURN = re.compile(r"(?m)(?<!\S)>{2,}|^[ \t]*(?:>|»(?!.*«)|[-–—‐‑](?=[ \t]|[^\W\d]))")
"""Marks of a change of speaker."""
LABEL = re.compile(
    r"(?m)(?:^[ \t]*|(?<=[.!?…][ \t])|(?<=[ ]{2}))([^\W_][\w.'’&-]*(?:[ \t]+#?\w[\w.'’&-]*){0,3})[ \t]*:(?=\s|\Z)"
)
"""A possible name of a speaker; a sentence may begin like this too."""
ROLE = re.compile(
    r"(?i)(?:speaker|narrator|man|woman|boy|girl|host|guest|interviewer|interviewee|reporter|announcer)"
    r"(?:[ _]?#?\w{1,2})?"
)
SPOKEN = re.compile(
    "note|remember|warning|caution|question|answer|example|first|second|third|finally|problem|solution|rule|tip|fact"
    "|reason|result|conclusion|step|part|chapter|today|now|so|but|and|or|then|ok|okay|yes|no|well|here|there|this|that",
    re.I,
)
"""Words before a colon that are not names."""
SOUNDS = re.compile(
    r"(?i)\b(?:laugh|chuckl|giggl|applau|clapping|cheer|music|sigh|gasp|cough|sneez|sniff|sob|scream|groan|inaudible"
    r"|unintelligible|indistinct|crosstalk|silence|pause|rires?\b|musique|lacht|gelächter|seufzt|musik|gelach|muziek"
    r"|risas|aplausos|música|risate|applausi|musica|risos|смех|аплодисменты|музыка)|笑|拍手|音楽|掌声|音乐"
)
FEW = 4
"""Most words of a note in parentheses."""
ACRONYM = 3
"""Most letters of an acronym in parentheses, as in: the World Health Organization (WHO)."""


def untagged(text: str) -> str:
    """The text of a cue without tags and with HTML entities decoded."""
    return TAG.sub("", html.unescape(html.unescape(text)))


def without_notes(text: str, names: frozenset[str] = frozenset()) -> str:
    """A text in which everything that is not spoken is replaced by blanks of equal length. `names` are those of
    speakers, from `speakers`."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"\S", " ", match[0])

    def note(match: re.Match[str]) -> str:
        inside = match[1] or match[2] or ""
        before, after = text[: match.start()], text[match.end() :]
        line = before.rpartition("\n")[2] + after.partition("\n")[0]
        is_alone = not PARENTHESES.sub("", line).strip(" \t-–—>.")
        is_short = inside.isalpha() and len(inside) <= ACRONYM
        is_acronym = is_short and not after.startswith(":")
        is_shouted = inside.upper() == inside != inside.lower() and not is_acronym
        is_first = not before.strip(" \t\n-–—>")
        is_sound = len(inside.split()) <= FEW and (is_first or SOUNDS.search(inside))
        return blank(match) if is_alone or is_shouted or is_sound else match[0]

    for pattern in (BRACKETS, SIGNS):
        text = pattern.sub(blank, text)
    text = PARENTHESES.sub(note, text)
    text = TURN.sub(blank, text)
    is_shouted = text == text.upper()  # then capitals mean nothing

    def label(match: re.Match[str]) -> str:
        name = match[1]
        is_capitals = name == name.upper() != name.lower()
        is_shouted_name = is_capitals and not is_shouted and not _is_spoken(name)
        return blank(match) if is_shouted_name or ROLE.fullmatch(name) or name in names else match[0]

    text = LABEL.sub(label, text)
    return re.sub(r"(?m)(^[ \t]*|[ ]{2}):(?=\s)", r"\1 ", text)  # after a name in brackets


def speakers(texts: Sequence[str]) -> frozenset[str]:
    """The names with which several cues begin."""
    count = Counter(match[1] for text in texts for match in LABEL.finditer(without_notes(text)))
    repeated = [name for name, times in count.items() if times > 1 and not _is_spoken(name)]
    return frozenset(name for name in repeated if all(word[0].isupper() for word in name.split()))


def _is_spoken(name: str) -> bool:
    """Whether the text before a colon begins with a word that is part of a sentence."""
    return SPOKEN.fullmatch(name.split()[0]) is not None


def unrolled(texts: Sequence[str]) -> Iterator[str]:
    """Each cue without the text of the cue before, where captions roll as on YouTube: most cues begin with the end of
    the one before, by more than a word or a whole cue."""
    words = [text.split() for text in texts]
    shared = [0, *(_shared(a, b) for a, b in pairwise(words))]
    rolled = 0
    for (before, after), count in zip(pairwise(words), shared[1:], strict=True):
        is_whole = 0 < count == min(len(before), len(after))
        rolled += count > 1 or is_whole
    rolls = len(texts) > 2 and rolled * 2 >= len(texts) - 1
    for text, own, count in zip(texts, words, shared, strict=True):
        yield " ".join(own[count:]) if rolls and count else text


def _shared(before: Sequence[str], after: Sequence[str]) -> int:
    """The number of words at the end of one text that begin the other."""
    for size in range(min(len(before), len(after)), 0, -1):
        if list(before[-size:]) == list(after[:size]):
            return size
    return 0
