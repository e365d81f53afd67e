"""Texts as they are spoken: in parts of a length over which a voice holds, with pauses between them. How much fits into
a part is for an engine to say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import DifftoolError, Exit
from . import numbers

WANTED, MOST = 200, 300
"""Characters of a part: it ends with the sentence in which it comes to the first, and never goes beyond the second."""
PAUSES = {",": 0.15, ";": 0.25, ":": 0.25, ".": 0.35, "!": 0.35, "?": 0.35, "...": 0.7}
"""Seconds of silence after a part, by what it ends in."""
PARAGRAPH = 0.9
"""Seconds after a paragraph."""
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
"""Marks of printed text, and what they are on a keyboard."""
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
"""What follows the name of a street; a saint stands before his."""
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
"""A heading as Markdown has it, or the line below one."""

CUT = "|"
"""What ends a part where somebody wants it to."""


class Part(NamedTuple):
    """A piece of a text that is spoken in one go."""

    text: str
    pause: float
    """Seconds of silence after it."""


def parts(
    text: str, fits: Callable[[str], bool], speakable: Callable[[str], bool] = bool, *, whole: bool = False
) -> list[Part]:
    """A text in parts that fit, by their length and by what an engine says, each with something that is `speakable`.
    `whole` leaves it in one, as it stands.

    Raises DifftoolError 2 for a text in which nothing can be spoken, one with [brackets], or a number too large to be
    spoken.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DifftoolError(Exit.USAGE, "the text is no UTF-8", "see to the encoding of the terminal") from error
    if "\0" in text:
        raise DifftoolError(Exit.USAGE, "there are zero bytes in the text", "save it as UTF-8")
    if bracket := re.search(r"[\[\]]", text):
        message = (
            f"the text has a {bracket[0]} in it: prompts in brackets, which are not to be heard, are not supported"
        )
        raise DifftoolError(Exit.USAGE, message, "take out the brackets")
    heard = lambda part: bool(re.search(r"[^\W_]", part)) and speakable(part)  # noqa: E731
    try:
        made = [Part(" ".join(text.split()), 0.0)] if whole else _split(text, fits, heard)
    except ValueError as error:
        raise DifftoolError(Exit.USAGE, f"{error}, in the text", "write it in words") from error
    if not any(heard(part.text) for part in made):
        raise DifftoolError(Exit.USAGE, "there is nothing in the text that can be spoken", "give it some words")
    return made


def spoken(text: str) -> str:
    """A text in which numbers, signs and abbreviations that a reader of letters misreads are in words,
    its headings paragraphs of their own, and its dashes and quotes plain."""
    text = re.sub(HEADING, r"\n\n\1\n\n", text)
    text = re.sub(r"(?m)^[ \t]*[—–-]{1,3}[ \t]+", "", text)  # who speaks, or a list
    text = numbers.read(_long(text))
    text = re.sub(r"[ \t]?—(?=[ \t]*$)", "", text, flags=re.MULTILINE)
    text = re.sub(r"[ \t]?—[ \t]?|[ \t][–-]{1,2}[ \t]", ", ", text)
    for fancy, plain in TYPOGRAPHY.items():
        text = text.replace(fancy, plain)
    return _signs(text)


def written_out(text: str) -> str:
    """A text as LJSpeech has it beside the original: numbers, signs and abbreviations in words, all else as it is."""
    try:
        text = _signs(numbers.read(_long(text)))
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
        text = re.sub(
            rf"((?:\b[A-Z][a-z]+|[0-9](?:st|nd|rd|th))[ \t]){short}\.(?=[ \t\n]+[a-z]|[,;:)])", rf"\1{long}", text
        )
        text = re.sub(rf"((?:\b[0-9]+ [A-Z][a-z]+|[0-9](?:st|nd|rd|th))[ \t]){short}\.", rf"\1{long}.", text)
        text = re.sub(rf"(\b[A-Z][a-z]+[ \t]){short}\.(?=\s*(?:\Z|\n[ \t]*\n))", rf"\1{long}.", text)
    return text


def _signs(text: str) -> str:
    for sign, word in SIGNS.items():
        text = text.replace(sign, f" {word} ")
    return text


def _split(text: str, room: Callable[[str], bool], heard: Callable[[str], bool]) -> list[Part]:
    """Sentences together until they are WANTED characters; longer ones at a comma or a space near their middle."""

    def fits(text: str) -> bool:
        return len(text) <= MOST and room(text)

    made: list[Part] = []

    def end(part: str, pause: float) -> None:
        if heard(part):
            made.append(Part(part, pause))
        elif made:  # only a mark, such as the stars between two scenes
            made[-1] = made[-1]._replace(pause=max(made[-1].pause, pause))

    for paragraph in re.split(r"\n\s*\n", spoken(text)):
        part = ""
        for piece in [piece for sentence in _sentences(paragraph) for piece in _broken(sentence, fits)]:
            if piece == CUT or (part and not fits(f"{part} {piece}")):
                end(part, _pause(part))
                part = ""
            part = f"{part} {piece}".strip() if piece != CUT else ""
            if len(part) >= WANTED or part.endswith("..."):
                end(part, _pause(part))
                part = ""
        end(part, PARAGRAPH)
        if made:
            made[-1] = made[-1]._replace(pause=max(made[-1].pause, PARAGRAPH))
    return [*made[:-1], made[-1]._replace(pause=0.0)] if made else []


def _pause(part: str) -> float:
    part = part.rstrip("\"') ")
    return PAUSES["..."] if part.endswith("...") else PAUSES.get(part[-1:], 0.0)


def _sentences(paragraph: str) -> Iterator[str]:
    """The sentences of a paragraph, and CUT where it asks for the end of a part."""
    for k, piece in enumerate(" ".join(paragraph.split()).split(CUT)):
        if k:
            yield CUT
        start = 0
        for mark in re.finditer(r"[.!?]+[\"')]*(?=\s|$)", piece):
            word = re.split(r"[\s(\"']", piece[start : mark.start()])[-1]
            if mark[0] == "." and (word.capitalize() in TITLES or re.fullmatch("[A-Z]", word)):
                continue
            if re.search(r"\w\.\w\Z", word) and re.match(r"\s+[a-z]", piece[mark.end() :]):  # seven p.m. and
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
    for pattern in (r"[,;:](?=\s)", r"\S(?=\s)", r"(?=.)"):
        places = [found.end() for found in re.finditer(pattern, sentence) if 0 < found.end() < len(sentence)]
        near = [place for place in places if abs(place - middle) < middle * 0.7]
        if near:
            cut = min(near, key=lambda place: abs(place - middle))
            return [*_broken(sentence[:cut].strip(), fits), *_broken(sentence[cut:].strip(), fits)]
    return [sentence]
