"""Markdown: chapters by headings, without notes, pictures and code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import read_text
from . import Block, Chapter, Document, chapter_of, cleaned, one_line, paragraph

if TYPE_CHECKING:
    from markdown_it.token import Token

FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
NOTE = re.compile(
    r"""^[ ]{0,3}\[\^[^\]\s]+\]: .*\n?
    (?: (?:[ \t]*\n)* (?:[ ]{4}|\t) .*\n?
      | (?! [ \t]*$ | [ ]{0,3}(?:\#|```|~~~|\[\^) ) .+\n?
    )*""",
    re.MULTILINE | re.VERBOSE,
)
"""The text of a note: its line, those that go on without an empty line, and those indented by four."""
NOTE_MARK = re.compile(r"\[\^[^\]\s]+\]|\^\[[^\]]*\]")


def read_markdown(path: Path) -> Document:
    """Raises DifftoolError 4 for a file that cannot be read or is not UTF-8."""
    from markdown_it import MarkdownIt

    text = read_text(path).replace("\r\n", "\n")
    about: dict[str, str] = {}
    if front := FRONT_MATTER.match(text):
        lines = re.findall(r"(?m)^(title|author|lang|language):[ \t]+(.+)$", front[1])
        about = {key: value.strip().strip("\"'") for key, value in lines}
        text = text[front.end() :]
    text = NOTE_MARK.sub("", NOTE.sub("", text))
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    blocks = [*_blocks(tokens)]
    top = [block.text for block in blocks if block.level == 1]
    title = one_line(about.get("title", top[0] if len(top) == 1 else ""))
    return Document(
        title=title,
        author=one_line(about.get("author", "")),
        language=one_line(about.get("lang", about.get("language", ""))),
        chapters=[*_chapters(blocks)],
    )


def _chapters(blocks: Sequence[Block]) -> Iterator[Chapter]:
    """A chapter for each heading of the highest level that occurs more than once, and of the levels above it."""
    levels = [block.level for block in blocks if block.level]
    several = next((level for level in sorted({*levels}) if levels.count(level) > 1), 0)
    own: list[Block] = []
    for block in blocks:
        if 0 < block.level <= several and own:
            yield chapter_of(None, own)
            own = []
        own.append(block)
    if own:
        yield chapter_of(None, own)


def _blocks(tokens: Iterable[Token]) -> Iterator[Block]:
    """The paragraphs, headings and breaks."""
    level, row = 0, None
    for token in tokens:
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close" and row is not None:
            yield from paragraph(", ".join(row), 0)
            row = None
        elif token.type == "hr":
            yield Block("")
        elif token.type == "html_block":
            yield from paragraph(re.sub(r"<!--.*?(?:-->|\Z)|<[^>]*>", "", token.content, flags=re.DOTALL))
        elif token.type == "inline":
            text = "".join(map(_spoken, token.children or []))
            if row is not None:
                row += [cell] if (cell := cleaned(text)) else []
            else:
                yield from paragraph(text, level)
            level = 0


def _spoken(token: Token) -> str:
    """A piece of a paragraph as text."""
    if token.type in ("softbreak", "hardbreak") or (token.type == "html_inline" and "<br" in token.content.lower()):
        return "\n"
    return token.content if token.type in ("text", "text_special", "code_inline") else ""
