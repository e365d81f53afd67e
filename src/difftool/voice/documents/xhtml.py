"""The text of an XHTML page, as it is read aloud."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote, urldefrag
from xml.etree.ElementTree import Element

from . import Block, paragraph

HEADINGS = {f"h{level}": level for level in range(1, 7)}
BLOCKS = frozenset(
    (
        *("p", "div", "section", "article", "main", "header", "footer", "hgroup", "address", "center"),
        *("blockquote", "pre", "ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tfoot", "tr"),
        *("caption", "figure", "figcaption", "hr", "body"),
    )
) | {*HEADINGS}
"""Elements that end a paragraph."""
SILENT = frozenset(
    (
        *("head", "script", "style", "template", "nav", "aside", "img", "svg", "math", "audio", "video", "object"),
        *("embed", "iframe", "canvas", "map", "form", "button", "rt", "rp", "area"),
    )
)
"""Elements that are not read."""
ROLES = frozenset(
    (
        *("footnote", "footnotes", "endnote", "endnotes", "rearnote", "rearnotes", "note", "noteref", "annoref"),
        *("backlink", "pagebreak", "page-list", "toc", "landmarks", "loi", "lot", "lov", "loa", "index", "cover"),
        *("copyright-page"),
    )
)
"""What is not read: values of epub:type and, after doc-, of role."""
CLASSES = frozenset(
    (
        *("footnote", "footnotes", "endnote", "endnotes", "rearnote", "noteref", "footnote-ref", "footnoteref"),
        *("fnanchor", "pagenum", "pageno", "page-number", "pagebreak", "pg-boilerplate"),
    )
)
"""Class names of the same, where there is no epub:type."""
NOTES = frozenset(("p", "li", "aside", "dd", "tr", "td"))
"""Elements that are a note if a reference mark points to them."""
MARK = re.compile(r"[\[({]?\s*(\d{1,4}|[*†‡§¶]{1,4}|[a-z]|[ivxl]{1,6})\s*[\])}]?")
"""The mark of a note."""

Place: TypeAlias = tuple[str, str]
"""A file in the archive, and the id of an element."""


class Anchor(NamedTuple):
    """A place where a chapter begins."""

    id: str


def blocks_of(page: Element, name: str, anchors: Collection[str], notes: set[Place]) -> list[Block | Anchor]:
    """The paragraphs of a page, with an Anchor where an element has one of the ids `anchors`. `name` is its file;
    `notes` collects where reference marks point to: these places, if they come later, are not read."""
    return _Reader(name, anchors, notes).read(page)


class _Reader:
    """Collects the blocks of one page."""

    def __init__(self, name: str, anchors: Collection[str], notes: set[Place]) -> None:
        self.name = name
        self.anchors = anchors
        self.notes = notes
        self.blocks: list[Block | Anchor] = []
        self.text: list[str] = []
        """Of the current paragraph."""
        self.level = 0
        """Of the current heading."""
        self.is_note = False
        """Whether the current paragraph is a note."""
        self.lines = False
        """Whether it is preformatted."""

    def read(self, page: Element) -> list[Block | Anchor]:
        body = next((child for child in page if child.tag == "body"), page)
        for event, element in _events(body, self.skips):
            if event == "start":
                self.start(element)
            elif event == "end":
                self.end(element)
            else:
                self.add(element.tail)
        self.flush()
        return self.blocks

    def skips(self, element: Element) -> bool:
        """Whether an element is not read."""
        if element.tag in SILENT or _is_hidden(element) or _is_note(element):
            return True
        if element.get("id") and (self.name, element.get("id")) in self.notes:
            if element.tag in NOTES:
                return True
            self.is_note = self.is_note or element.tag not in BLOCKS  # a mark at the start of the note
        target = _reference(element)
        if target is None:
            return False
        file, fragment = urldefrag(target)
        self.notes.add((resolved(self.name, file) if file else self.name, unquote(fragment)))
        return True

    def start(self, element: Element) -> None:
        tag, identity = element.tag, element.get("id", "")
        if tag in BLOCKS:
            self.flush()
            self.level = HEADINGS.get(tag, self.level)
            self.lines = self.lines or tag == "pre"
        if identity and identity in self.anchors:
            self.blocks.append(Anchor(identity))
        if tag == "hr":
            self.blocks.append(Block(""))
        elif tag == "br":
            self.text.append(" " if self.level else "\n")
        elif tag in ("td", "th") and "".join(self.text).strip():
            self.text.append(", ")
        elif tag == "q":
            self.text.append("“")
        self.add(element.text)

    def end(self, element: Element) -> None:
        if element.tag in BLOCKS:
            self.flush()
            if element.tag in HEADINGS:
                self.level = 0
            if element.tag == "pre":
                self.lines = False
        elif element.tag == "q":
            self.text.append("”")

    def add(self, text: str | None) -> None:
        """Text of the current paragraph. Only in preformatted text do line ends mean anything."""
        self.text.append(text or "" if self.lines else (text or "").replace("\n", " "))

    def flush(self) -> None:
        """Ends the paragraph."""
        if not self.is_note:
            self.blocks += paragraph("".join(self.text), self.level)
        self.text, self.is_note = [], False


def _events(element: Element, skips: Callable[[Element], bool]) -> Iterator[tuple[str, Element]]:
    """The start and end of each element that is not skipped, and the end of the text after it, in order."""
    yield "start", element
    open_elements = [(element, iter(element))]
    while open_elements:
        parent, children = open_elements[-1]
        child = next(children, None)
        if child is None:
            open_elements.pop()
            yield "end", parent
            if open_elements:
                yield "tail", parent
        elif skips(child):
            yield "tail", child
        else:
            yield "start", child
            open_elements.append((child, iter(child)))


def _is_hidden(element: Element) -> bool:
    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    is_program = element.tag == "pre" and len(element) and element[0].tag == "code"
    return bool(is_program or re.search(r"display\s*:\s*none", element.get("style", "")))


def _is_note(element: Element) -> bool:
    """Whether an element says that it is a note, a page number or a list of the book."""
    kinds = [*element.get("epub:type", "").split(), *element.get("role", "").replace("doc-", "").split()]
    return not ROLES.isdisjoint(kinds) or not CLASSES.isdisjoint(element.get("class", "").lower().split())


def _reference(element: Element) -> str | None:
    """Where the mark of a note points to: a link that is raised, in brackets or a sign. None for anything else."""
    link = element.find("a") if element.tag == "sup" else element
    if link is None or link.tag != "a" or not urldefrag(link.get("href", ""))[1]:
        return None
    text = "".join(islice(element.itertext(), 8)).strip()
    mark = MARK.fullmatch(text)
    is_raised = element.tag == "sup" or link.find("sup") is not None
    return link.get("href") if mark and (is_raised or not text.isalnum()) else None


def resolved(base: str, href: str) -> str:
    """The name in the archive that a reference in the file `base` stands for."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(href)))
    return path.lstrip("/")
