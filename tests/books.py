"""Small EPUB files for tests."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="{package}" media-type="application/oebps-package+xml"/></rootfiles></container>"""
PACKAGE = """<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">x</dc:identifier><dc:title>The Sea &amp; the Shore</dc:title>
<dc:creator>Ann Author</dc:creator><dc:language>en</dc:language>{metadata}</metadata>
<manifest>{items}</manifest><spine{spine}>{refs}</spine>{guide}</package>"""
PAGE = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">
<head><title>not read</title><style>p {{ margin: 0 }}</style></head><body>{body}</body></html>"""
NAV = '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'


def page(body: str) -> str:
    """A page of XHTML."""
    return PAGE.format(body=body)


def picture(kind: str = "JPEG") -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (30, 40), (200, 30, 30)).save(buffer, kind)
    return buffer.getvalue()


def write_epub(
    path: Path,
    pages: Mapping[str, str],
    contents: Sequence[tuple[str, str]] = (),
    *,
    cover: bytes | None = None,
    metadata: str = "",
    items: str = "",
    refs: str = "",
    spine: str = "",
    guide: str = "",
    files: Mapping[str, str | bytes] | None = None,
    folder: str = "OEBPS/",
) -> Path:
    """An EPUB 3 of pages {name: body} with a table of contents [(title, href)]. Further `files` are stored as named,
    and replace those of the same name."""
    stored: dict[str, str | bytes] = {"META-INF/container.xml": CONTAINER.format(package=f"{folder}book.opf")}
    for k, (name, body) in enumerate(pages.items()):
        items += f'<item id="p{k}" href="{name}" media-type="application/xhtml+xml"/>'
        refs += f'<itemref idref="p{k}"/>'
        stored[f"{folder}{name}"] = page(body)
    if contents:
        items += NAV
        entries = "".join(f'<li><a href="{href}">{title}</a></li>' for title, href in contents)
        stored[f"{folder}nav.xhtml"] = page(f'<nav epub:type="toc"><ol>{entries}</ol></nav>')
    if cover is not None:
        items += '<item id="c" href="cover.jpg" media-type="image/jpeg" properties="cover-image"/>'
        stored[f"{folder}cover.jpg"] = cover
    package = PACKAGE.format(metadata=metadata, items=items, refs=refs, spine=spine, guide=guide)
    stored |= {f"{folder}book.opf": package, **(files or {})}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        for name, data in stored.items():
            archive.writestr(name, data)
    return path
