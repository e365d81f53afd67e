"""Documents to read aloud: EPUB and Markdown files as chapters of plain text."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypedDict

from ...errors import DifftoolError, Exit
from ...files import expanded
from ..text import CHAPTER, SCENE

KINDS = (".epub", ".md", ".markdown")
"""Suffixes of documents; other files are plain text."""
LONGEST = 300
"""Characters of a title or an author."""
NOTE = r"\[\s*(?:\d+|[*†‡]+|\?|(?i:pp?|pg)\.?\s*\d+|(?i:illustration)\b[^\[\]]*)\s*\]"
"""A number of a note or a page, or a caption, in brackets."""


class Block(NamedTuple):
    """A paragraph, a heading, or a break between two scenes."""

    text: str
    """Empty for a break."""
    level: int = 0
    """1 to 6 for a heading."""


class Chapter(NamedTuple):
    """A chapter of a document."""

    title: str
    """Empty if it has none."""
    text: str
    """Paragraphs between empty lines; a line of SCENE is a break between two scenes."""
    number: int = 1
    """In the document."""


class DocumentRecord(TypedDict):
    """A document, as stored in a manifest."""

    title: str | None
    author: str | None
    language: str | None


@dataclass(frozen=True)
class Document:
    """A text in chapters, and what is known about it."""

    title: str | None = None
    author: str | None = None
    language: str | None = None
    cover: bytes | None = None
    """A JPEG or PNG file."""
    chapters: Sequence[Chapter] = ()

    @property
    def text(self) -> str:
        """The text to speak, with a mark before each title of a chapter."""
        return "\n\n".join(
            f"{CHAPTER}{chapter.title}\n\n{chapter.text}" if chapter.title else chapter.text
            for chapter in self.chapters
        )

    @property
    def record(self) -> DocumentRecord:
        """The document in a manifest. Its text is among the settings, its cover in the sound itself."""
        return {"title": self.title, "author": self.author, "language": self.language}

    def only(self, numbers: Collection[int]) -> Document:
        """The document with some of its chapters, by number."""
        return replace(self, chapters=[chapter for chapter in self.chapters if chapter.number in numbers])


def read_document(path: str | Path) -> Document:
    """An EPUB or Markdown file, to be spoken by `clone` or `read_out`. Raises DifftoolError 4 if it cannot be read or
    contains no text."""
    path = expanded(path)
    if path.suffix.lower() == ".epub":
        from .epub import read_epub as read
    else:
        from .markdown import read_markdown as read
    document = read(path)
    if not any(chapter.title or chapter.text for chapter in document.chapters):
        raise DifftoolError(Exit.FILE, f"{path} contains no text", "pass a document with text, not only pictures")
    return replace(document, chapters=[chapter._replace(number=k) for k, chapter in enumerate(document.chapters, 1)])


def is_document(path: Path) -> bool:
    """Whether a file is read as a document, not as plain text."""
    return path.suffix.lower() in KINDS


def is_cover(data: bytes) -> bool:
    """Whether a picture can be a cover: a complete JPEG or PNG."""
    from ...pictures.images import open_image

    try:
        with open_image(io.BytesIO(data)) as image:
            image.load()
            return image.format in ("JPEG", "PNG")
    except Exception:  # Pillow's readers raise whatever a broken file provokes
        return False


def cleaned(text: str) -> str:
    """A paragraph without control characters, invisible characters and numbers of notes; other brackets become
    parentheses, since engines take brackets for instructions. Lines stay."""
    text = re.sub("[\xad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]", "", text)
    text = re.sub(NOTE, "", text)
    text = re.sub(r"(?<=\w)\[(\w+)\]|\[(\w+)\](?=\w)", r"\1\2", text)  # [T]he
    text = text.replace("[", "(").replace("]", ")")
    lines = (" ".join(re.sub(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]", " ", line).split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def paragraph(text: str, level: int = 0) -> Iterator[Block]:
    """A paragraph, or if it has only marks such as stars, a break between two scenes; nothing if it is empty."""
    if text := cleaned(text):
        yield Block(text, level) if re.search(r"[^\W_]", text) else Block("")


def one_line(text: str) -> str | None:
    """A title or a name, None if it is empty."""
    return " ".join(cleaned(text).split())[:LONGEST].strip() or None


def chapter_of(title: str | None, blocks: Sequence[Block]) -> Chapter:
    """A chapter whose title is spoken once: headings at its start that repeat the title are left out, and one that
    says more replaces it. Without a title it has that of a heading at its start."""
    rest = [*blocks]
    while rest and not rest[0].text:
        del rest[0]
    if title is None:
        title = _heading(rest.pop(0).text) if rest and rest[0].level else ""
        return Chapter(title, _joined(rest))
    is_repeated, begin = False, 0
    while begin < len(rest) and rest[begin].text:
        text = rest[begin].text
        is_title = not is_repeated and _words(text) == _words(title)
        if not rest[begin].level and not is_title:
            break
        if not is_repeated and _contains(text, title) and not is_title:
            title = _heading(text)
        if _contains(title, text):
            is_repeated = True
            del rest[begin]
        else:
            begin += 1
    return Chapter(title, _joined(rest))


def _heading(text: str) -> str:
    return " ".join(text.split())[:LONGEST]


def _joined(blocks: Sequence[Block]) -> str:
    return "\n\n".join(block.text or SCENE for block in blocks)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _contains(text: str, other: str) -> bool:
    """Whether the words of `other` occur in `text` one after another."""
    words, sought = _words(text), _words(other)
    return any(words[k : k + len(sought)] == sought for k in range(len(words) - len(sought) + 1))
