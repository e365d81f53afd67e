"""EPUB 2 and 3: chapters, title, author and cover. The archive is read in memory and may come from a stranger."""

from __future__ import annotations

import logging
import posixpath
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urldefrag
from xml.etree.ElementTree import Element

from ...errors import DifftoolError, Exit
from ...files import is_endless
from . import Block, Chapter, Document, chapter_of, is_cover, one_line
from .xhtml import ROLES, Anchor, Place, blocks_of, resolved
from .xml import parse_xml

log = logging.getLogger(__name__)

MOST_BYTES = 8 << 20
"""Of a file in the archive."""
MOST_TEXT = 64 << 20
"""Bytes of all pages."""
MOST_LEVELS = 20
"""Of a table of contents."""
FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"""Ways in which fonts are made unusable outside the book; its text is not protected by them."""
NCX = "application/x-dtbncx+xml"
PAGES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
"""Media types of pages."""
HINT = "pass another copy of the book"


class Item(NamedTuple):
    """A file of the book."""

    name: str
    """In the archive."""
    kind: str
    properties: Sequence[str]


class Entry(NamedTuple):
    """A line of the table of contents."""

    title: str
    file: str
    fragment: str
    level: int


def read_epub(path: Path) -> Document:
    """Raises DifftoolError 4 for a file that is not an EPUB, is damaged, protected, or too large."""
    if is_endless(path):
        raise DifftoolError(Exit.FILE, f"{path} is not a regular file", "pass an EPUB file")
    try:
        with zipfile.ZipFile(path) as archive:
            return _Book(path, archive).document()
    except OSError as error:
        raise DifftoolError(Exit.FILE, f"cannot read {path}: {error.strerror or error}", "pass an EPUB file") from error
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError) as error:
        raise DifftoolError(Exit.FILE, f"{path} is not an EPUB or is damaged: {error}", HINT) from error


class _Book:
    """An open EPUB."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self.archive = archive
        container = self.xml("META-INF/container.xml")
        self.package_name = next((root.get("full-path", "") for root in container.iter("rootfile")), "")
        self.package = self.xml(self.package_name)
        self.items = {item.get("id", ""): self.item(item) for item in self.package.iter("item")}
        self.navs = [item for item in self.items.values() if "nav" in item.properties]

    def document(self) -> Document:
        self.refuse_protected()
        pages = self.pages()
        title = self.about("title")
        authors = [one_line("".join(element.itertext())) for element in self.package.iter("creator")]
        return Document(
            title=title,
            author=one_line(", ".join(filter(None, authors))),
            language=self.about("language"),
            cover=self.cover(),
            chapters=[*self.chapters(pages, title)],
        )

    # --- the archive -----------------------------------------------------------------------------------------------

    def fails(self, message: str) -> DifftoolError:
        printable = "".join(char if char.isprintable() else "?" for char in message)  # names are a stranger's
        return DifftoolError(Exit.FILE, f"{self.path} {printable}", HINT)

    def read(self, name: str) -> bytes:
        """A file of the archive. Raises DifftoolError 4 if it is missing, damaged, protected or too large."""
        try:
            info = self.archive.getinfo(name)
            if info.flag_bits & 1:
                raise self.protected()
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self.fails(f"is not an EPUB: {name} is compressed in another way")
            with self.archive.open(info) as file:
                data = file.read(MOST_BYTES + 1)
        except KeyError as error:
            raise self.fails(f"is not a complete EPUB: {name or 'its package file'} is missing") from error
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError) as error:
            raise self.fails(f"is damaged: {name} cannot be unpacked") from error
        if len(data) > MOST_BYTES:
            raise self.fails(f"is too large: {name} has more than {MOST_BYTES >> 20} MiB")
        return data

    def xml(self, name: str) -> Element:
        data = self.read(name)
        try:
            return parse_xml(data)
        except ValueError as error:
            raise self.fails(f"is damaged: {name} is not valid XML ({error})") from error

    def protected(self) -> DifftoolError:
        message = f"{self.path} is protected by DRM and cannot be read"
        return DifftoolError(Exit.FILE, message, "pass a book without copy protection")

    def refuse_protected(self) -> None:
        """Raises DifftoolError 4 if pages are encrypted. Fonts may be."""
        name = "META-INF/encryption.xml"
        if name not in self.archive.namelist():
            return
        files = {item.name for item in self.items.values() if item.kind in (*PAGES, NCX)}
        for data in self.xml(name).iter("encrypteddata"):
            method = next((element.get("Algorithm") for element in data.iter("encryptionmethod")), None)
            uris = {posixpath.normpath(unquote(element.get("URI", ""))) for element in data.iter("cipherreference")}
            if method not in FONTS and not files.isdisjoint(uris):
                raise self.protected()

    # --- the package -----------------------------------------------------------------------------------------------

    def item(self, element: Element) -> Item:
        href, kind = urldefrag(element.get("href", ""))[0], element.get("media-type", "").lower()
        return Item(resolved(self.package_name, href), kind, element.get("properties", "").split())

    def about(self, tag: str) -> str | None:
        """The first value of a field of the metadata."""
        values = (one_line("".join(element.itertext())) for element in self.package.iter(tag))
        return next(filter(None, values), None)

    def pages(self) -> list[str]:
        """The pages in reading order, without the table of contents, the cover and what is not part of the text."""
        silent = {item.name for item in self.navs}
        for guide in self.package.iter("reference"):
            if guide.get("type", "").lower() in ROLES:
                silent.add(resolved(self.package_name, urldefrag(guide.get("href", ""))[0]))
        for item in self.navs:
            for link in self.xml(item.name).iter("a"):
                if not ROLES.isdisjoint(link.get("epub:type", "").split()):
                    silent.add(resolved(item.name, urldefrag(link.get("href", ""))[0]))
        names = []
        for reference in self.package.iter("itemref"):
            item = self.items.get(reference.get("idref", ""))
            if item is None:
                raise self.fails(f"is damaged: it has no item {reference.get('idref')!r}")
            if reference.get("linear", "yes").lower() != "no" and item.kind in PAGES and item.name not in silent:
                names.append(item.name)
        return list(dict.fromkeys(names))

    def cover(self) -> bytes | None:
        """The picture on the cover, if it is a JPEG or PNG."""
        ids = [meta.get("content", "") for meta in self.package.iter("meta") if meta.get("name") == "cover"]
        items = [item for item in self.items.values() if "cover-image" in item.properties]
        items += [self.items[identity] for identity in ids if identity in self.items]
        for item in items:
            try:
                data = self.read(item.name)
            except DifftoolError as error:
                log.warning("no cover: %s", error.message)
                continue
            if is_cover(data):
                return data
            log.warning("no cover: %s is not a valid JPEG or PNG picture", item.name)
        return None

    # --- the text --------------------------------------------------------------------------------------------------

    def chapters(self, pages: Sequence[str], title: str | None) -> Iterator[Chapter]:
        """The chapters in reading order."""
        starts = self.starts(pages)
        notes: set[Place] = set()
        blocks: list[Block] = []
        heading: str | None = None
        total = 0
        for name in pages:
            total += self.archive.getinfo(name).file_size if name in self.archive.namelist() else 0
            if total > MOST_TEXT:
                raise self.fails(f"is too large: its pages have more than {MOST_TEXT >> 20} MiB")
            own = starts.get(name, {})
            page = self.xml(name)
            found = blocks_of(page, name, own, notes)
            ids = {block.id for block in found if isinstance(block, Anchor)}
            begin = own.get("") or next((label for identity, label in own.items() if identity not in ids), None)
            begins = [Anchor("")] if begin or (not starts and _has_title(found)) else []
            for block in (*begins, *found):
                if isinstance(block, Block):
                    blocks.append(block)
                    continue
                yield from _chapter(heading, blocks, title)
                heading, blocks = (own[block.id] if block.id else begin), []
        yield from _chapter(heading, blocks, title)

    def starts(self, pages: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """The titles of the chapters by file and id; the id "" is the beginning of a file. Chapters are the highest
        level of the table of contents that has several entries, the levels above it, and what has a file of its own."""
        read = {*pages}
        entries = [entry for entry in self.contents() if entry.file in read]
        levels = [entry.level for entry in entries]
        several = next((level for level in sorted({*levels}) if levels.count(level) > 1), max(levels, default=0))
        starts: dict[str, dict[str, str]] = {}
        for entry in entries:
            own = starts.setdefault(entry.file, {})
            if entry.level <= several or not own:
                own.setdefault(entry.fragment, entry.title)
        return starts

    def contents(self) -> Iterator[Entry]:
        """The table of contents: that of EPUB 3, else that of EPUB 2."""
        for item in self.navs:
            for nav in self.xml(item.name).iter("nav"):
                if "toc" in nav.get("epub:type", "").split():
                    yield from _listed(nav, item.name)
                    return
        spine = next(self.package.iter("spine"), None)
        chosen = self.items.get(spine.get("toc", "")) if spine is not None else None
        item = chosen or next((item for item in self.items.values() if item.kind == NCX), None)
        if item is not None:
            for points in self.xml(item.name).iter("navmap"):
                yield from _pointed(points, item.name)


def _listed(element: Element, base: str, level: int = 0) -> Iterator[Entry]:
    """The entries of a list of EPUB 3."""
    for child in element:
        if child.tag == "a":
            yield from _entry("".join(child.itertext()), child.get("href", ""), base, level)
        elif level < MOST_LEVELS:
            yield from _listed(child, base, level + (child.tag == "ol"))


def _pointed(element: Element, base: str, level: int = 1) -> Iterator[Entry]:
    """The entries of a list of EPUB 2."""
    for point in element.findall("navpoint"):
        label, content = point.find("navlabel"), point.find("content")
        text = "" if label is None else "".join(label.itertext())
        yield from _entry(text, "" if content is None else content.get("src", ""), base, level)
        if level < MOST_LEVELS:
            yield from _pointed(point, base, level + 1)


def _entry(text: str, href: str, base: str, level: int) -> Iterator[Entry]:
    file, fragment = urldefrag(href)
    title = one_line(text)
    if title and file:
        yield Entry(title, resolved(base, file), unquote(fragment), level)


def _has_title(blocks: Sequence[Block | Anchor]) -> bool:
    """Whether a page begins with a heading of a chapter."""
    first = next((block for block in blocks if isinstance(block, Block)), Block(""))
    return 1 <= first.level <= 2


def _chapter(heading: str | None, blocks: Sequence[Block], title: str | None) -> Iterator[Chapter]:
    """The chapter of these blocks, if there are any. Without a heading it has the title of the book."""
    if not any(block.text for block in blocks):
        return
    chapter = chapter_of(heading, blocks)
    yield chapter if chapter.title else chapter_of(title, blocks)
