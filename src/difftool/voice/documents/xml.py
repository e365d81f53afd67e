"""XML of strangers: no entities, no other files, limited depth."""

from __future__ import annotations

import html
import re
from html.entities import html5
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

DEEPEST = 200
"""Most elements inside each other."""
BUILT_IN = ("lt", "gt", "amp", "quot", "apos")
"""Entities of XML itself."""


def parse_xml(data: bytes) -> Element:
    """The root of an XML document. Tags are without their prefix and in lower case; attributes keep theirs. Named
    entities of HTML are characters; no others exist. Raises ValueError for what is not well-formed."""
    builder, depth = TreeBuilder(), 0
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} elements inside each other")
        builder.start(_local(name), attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_local(name))

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(_without_entities(_decoded(data)), True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from error
    return builder.close()


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _without_entities(text: str) -> str:
    """The document without its type declaration, and so without entities of its own."""

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name in BUILT_IN:
            return match[0]
        return html.escape(html5[f"{name};"]) if f"{name};" in html5 else f"&amp;{name};"

    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", text).lstrip()
    text = re.sub(r"<!DOCTYPE[^\[>]*(\[[^\]]*\]\s*)?>", "", text, count=1)
    if "<!ENTITY" in text:
        raise ValueError("it defines entities of its own")
    text = re.sub(r"&([A-Za-z]\w*);", replaced, text)
    return re.sub(r"&(?!\w+;|#\d+;|#[xX][0-9a-fA-F]+;)", "&amp;", text)
