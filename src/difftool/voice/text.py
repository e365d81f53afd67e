"""Texts as they are spoken: in parts of a length that an engine speaks well, with pauses between them. The engine
decides how much fits into a part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import DifftoolError, Exit
from . import numbers

WANTED, MOST = 200, 300
"""Characters of a part: it ends with the sentence that reaches the first, and is never longer than the second."""
PAUSES = {
    **dict.fromkeys(",，、", 0.15),
    **dict.fromkeys(";:；：", 0.25),
    **dict.fromkeys(".!?。！？", 0.35),
    "...": 0.7,
}
"""Seconds of silence after a part, by what it ends in."""
PARAGRAPH = 0.9
"""Seconds after a paragraph."""
BETWEEN_SCENES, BETWEEN_CHAPTERS = 1.5, 2.0
"""Seconds between two scenes, and two chapters, of a document."""
SIGNS = {
    "&": "and",
    "%": "percent",
    "+": "plus",
    "=": "equals",
    "@": "at",
    "#": "number",
    "°": "degrees",
    "×": "times",
    "§": "section",
}
"""Signs in words."""
TYPOGRAPHY = {
    **dict.fromkeys("“”„«»", '"'),
    **dict.fromkeys("‘’‚", "'"),
    "…": "...",
    "–": "-",
}
"""Typographic characters and their ASCII forms."""
SHORT = {
    "e.g.": "for example",
    "i.e.": "that is",
    "vs.": "versus",
    "approx.": "approximately",
    "prof.": "professor",
    "fig.": "figure",
}
"""Abbreviations in words."""
STREETS = {"St": "Street", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road"}
"""Abbreviations after the name of a street (as in "Main St."; before a name, "St." is Saint)."""
TITLES = {
    "Capt": "Captain",
    "Co": "Company",
    "Col": "Colonel",
    "Dr": "Doctor",
    "Drs": "Doctors",
    "Esq": "Esquire",
    "Ft": "Fort",
    "Gen": "General",
    "Hon": "Honorable",
    "Jr": "Junior",
    "Lt": "Lieutenant",
    "Ltd": "Limited",
    "Maj": "Major",
    "Mr": "Mister",
    "Mrs": "Missus",
    "Rev": "Reverend",
    "Sgt": "Sergeant",
    "St": "Saint",
}
"""Abbreviations of titles and names, which end no sentence."""
HEADING = r"(?m)^[ \t]{0,3}#{1,6}[ \t]+(\S.*?)[ \t]*#*[ \t]*$|^[ \t]*[=#+]{3,}[ \t]*$"
"""A Markdown heading, or the line below one."""

CUT = "|"
"""Ends a part wherever it stands in the text."""
CHAPTER, SCENE = "\x1d", "\x1e"
"""Stand at the start of a line in the text of a document: before the title of a chapter, and between two scenes. They
are ASCII's separators of groups and records, which to everything else are white space."""


class Part(NamedTuple):
    """A piece of a text that is spoken at once."""

    text: str
    pause: float
    """Seconds of silence after it."""
    chapter: str | None = None
    """The title of the chapter that begins with it."""


def parts(
    text: str, fits: Callable[[str], bool], speakable: Callable[[str], bool] = bool, *, whole: bool = False
) -> list[Part]:
    """A text in parts that fit, by their length and by `fits` of the engine, each with something `speakable` in it.
    `whole` leaves the text unchanged in one part.

    Raises DifftoolError 2 for a text in which nothing can be spoken, one with [brackets], or a number too large to be
    spoken.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DifftoolError(Exit.USAGE, "the text is not valid UTF-8", "check the encoding of the terminal") from error
    if "\0" in text:
        raise DifftoolError(Exit.USAGE, "the text contains null bytes", "save it as UTF-8")
    if bracket := re.search(r"[\[\]]", text):
        message = f"the text contains {bracket[0]}: prompts in brackets are not supported"
        raise DifftoolError(Exit.USAGE, message, "remove the brackets")

    def has_words(part: str) -> bool:
        return bool(re.search(r"[^\W_]", part)) and speakable(part)

    try:
        pieces = [Part(" ".join(text.split()), 0.0)] if whole else _split(text, fits, has_words)
    except ValueError as error:
        raise DifftoolError(Exit.USAGE, f"{error}, in the text", "write it in words") from error
    if not any(has_words(part.text) for part in pieces):
        raise DifftoolError(Exit.USAGE, "nothing in the text can be spoken", "add some words")
    return pieces


def spoken(text: str) -> str:
    """A text normalised for speech: numbers, signs and abbreviations in words, headings as paragraphs of their own, and
    plain dashes and quotes."""
    text = re.sub(HEADING, r"\n\n\1\n\n", text)
    text = re.sub(r"(?m)^[ \t]*[—–-]{1,3}[ \t]+", "", text)  # who speaks, or a list
    text = numbers.numbers_in_words(_long(text))
    text = re.sub(r"[ \t]?—(?=[ \t]*$)", "", text, flags=re.MULTILINE)
    text = re.sub(r"[ \t]?—[ \t]?|[ \t][–-]{1,2}[ \t]", ", ", text)
    for fancy, plain in TYPOGRAPHY.items():
        text = text.replace(fancy, plain)
    return _signs(text)


def written_out(text: str) -> str:
    """The normalised text of an LJSpeech row: numbers, signs and abbreviations in words, everything else unchanged."""
    try:
        text = _signs(numbers.numbers_in_words(_long(text)))
    except ValueError:  # a number that has no name
        return text
    for short, long in TITLES.items():
        # at the end of a sentence its dot is that of the sentence too
        text = re.sub(rf"\b{short}\.(?=\Z)", f"{long}.", text)
        text = re.sub(rf"\b{short}\.", long, text)
    return " ".join(text.split())


def _long(text: str) -> str:
    """A text with abbreviations, and signs beside letters, in words."""
    text = re.sub(r"(?<!\w)#(?=[^\W\d])", "hashtag ", text)
    text = re.sub(r"\b([A-G])#(?!\w)", r"\1 sharp", text)
    for short, long in SHORT.items():
        text = re.sub(rf"(?<![\w.]){re.escape(short)}", long, text, flags=re.IGNORECASE)
    # at the end of a sentence its dot is that of the sentence too
    text = re.sub(r"(?i)(?<![\w.])etc\.(?=\s+(?-i:[A-Z])|\s*\Z|\s*\n\s*\n)", "et cetera.", text)
    text = re.sub(r"(?i)(?<![\w.])etc\.", "et cetera", text)
    for short, long in STREETS.items():
        ordinal = r"[0-9](?:st|nd|rd|th)"
        inside = rf"((?:\b[A-Z][a-z]+|{ordinal})[ \t]){short}\.(?=[ \t\n]+[a-z]|[,;:)])"
        text = re.sub(inside, rf"\1{long}", text)
        text = re.sub(rf"((?:\b[0-9]+ [A-Z][a-z]+|{ordinal})[ \t]){short}\.", rf"\1{long}.", text)
        text = re.sub(rf"(\b[A-Z][a-z]+[ \t]){short}\.(?=\s*(?:\Z|\n[ \t]*\n))", rf"\1{long}.", text)
    return text


def _signs(text: str) -> str:
    for sign, word in SIGNS.items():
        text = text.replace(sign, f" {word} ")
    return text


def _split(text: str, room: Callable[[str], bool], has_words: Callable[[str], bool]) -> list[Part]:
    """Joins sentences until they have WANTED characters; cuts longer ones at a comma or a space near their middle."""

    def fits(text: str) -> bool:
        return len(text) <= MOST and room(text)

    parts: list[Part] = []
    chapter: str | None = None

    def lengthen(pause: float) -> None:
        """Makes the pause after the last part at least this long."""
        if parts:
            last = parts[-1]
            parts[-1] = last._replace(pause=max(last.pause, pause))

    def end(part: str, pause: float) -> None:
        nonlocal chapter
        if has_words(part):
            parts.append(Part(part, pause, chapter))
            chapter = None
        else:  # only a mark, such as the stars between two scenes
            lengthen(pause)

    for stretch in re.split(f"(?m)(?=^[{CHAPTER}{SCENE}])", text):
        if stretch.startswith(SCENE):
            lengthen(BETWEEN_SCENES)
        elif stretch.startswith(CHAPTER):
            lengthen(BETWEEN_CHAPTERS)
            chapter, _, body = stretch[1:].partition("\n")
            stretch = f"{chapter}\n\n{body}"
        for paragraph in re.split(r"\n\s*\n", spoken(stretch)):
            for part, pause in _pieces(paragraph, fits):
                end(part, pause)
            lengthen(PARAGRAPH)
    if parts:
        parts[-1] = parts[-1]._replace(pause=0.0)
    return parts


def _pieces(paragraph: str, fits: Callable[[str], bool]) -> Iterator[tuple[str, float]]:
    """The parts of a paragraph, and the pause after each."""
    part = ""
    for sentence in _sentences(paragraph):
        for piece in _broken(sentence, fits):
            is_full = part and not fits(f"{part} {piece}")
            if piece == CUT or is_full:
                yield part, _pause(part)
                part = ""
            part = f"{part} {piece}".strip() if piece != CUT else ""
            if len(part) >= WANTED or part.endswith("..."):
                yield part, _pause(part)
                part = ""
    yield part, PARAGRAPH


def _pause(part: str) -> float:
    part = part.rstrip("\"') ")
    return PAUSES["..."] if part.endswith("...") else PAUSES.get(part[-1:], 0.0)


def _sentences(paragraph: str) -> Iterator[str]:
    """The sentences of a paragraph, and CUT where it asks for the end of a part."""
    for k, piece in enumerate(" ".join(paragraph.split()).split(CUT)):
        if k:
            yield CUT
        start = 0
        for mark in re.finditer(r"(?<![.!?])[.!?]+[\"')]*(?=\s|$)|[。！？]+[\"'）」』]*", piece):
            word = re.split(r"[\s(\"']", piece[start : mark.start()])[-1]
            is_short = word.capitalize() in TITLES or re.fullmatch("[A-Z]", word)
            if mark[0] == "." and is_short:
                continue
            goes_on = re.match(r"\s+[a-z]", piece[mark.end() :])
            if goes_on and re.search(r"\w\.\w\Z", word):  # seven p.m. and
                continue
            yield piece[start : mark.end()].strip()
            start = mark.end()
        if rest := piece[start:].strip():
            yield rest


def _broken(sentence: str, fits: Callable[[str], bool]) -> list[str]:
    """A sentence in as few pieces as fit: cut after a clause, else between words, else anywhere, near the middle."""
    if sentence == CUT or len(sentence) < 2 or fits(sentence):
        return [sentence]
    middle = len(sentence) / 2
    for pattern in (r"[,;:](?=\s)|[，；：、]", r"\S(?=\s)", r"(?=.)"):
        places = [match.end() for match in re.finditer(pattern, sentence)]
        inside = [place for place in places if 0 < place < len(sentence)]
        near = [place for place in inside if abs(place - middle) < middle * 0.7]
        if near:
            cut = min(near, key=lambda place: abs(place - middle))
            first, second = sentence[:cut].strip(), sentence[cut:].strip()
            return [*_broken(first, fits), *_broken(second, fits)]
    return [sentence]
