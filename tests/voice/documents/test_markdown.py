"""Markdown files as chapters."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftool.errors import DifftoolError
from difftool.voice.documents import cleaned, read_document
from difftool.voice.text import BETWEEN_CHAPTERS, PARAGRAPH, SCENE, Part, parts

BOOK = """---
title: "My Book"
author: Ann Author
---
Before.

# My Book

## One

Some *emph*, `code`, a [link](http://x.org)[^1] and ![img](x.png) end.  \r
hard break
soft break

- item one
- item two

```python
[code]
```

> quote

***

| A | B |
|---|---|
| 1 | 2 |

<!-- comment -->

[^1]: The note
    goes on.

    And on.

## Two

Text[^a] \\[x\\].

[^a]: lazy
continued

### Section

End &amp; <br> so.
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "book.md"


def chapters(path: Path, text: str) -> list[tuple[str, list[str]]]:
    path.write_text(text)
    return [(chapter.title, chapter.text.split("\n\n")) for chapter in read_document(path).chapters]


def test_a_book(path: Path) -> None:
    assert chapters(path, BOOK) == [
        ("", ["Before."]),
        ("My Book", [""]),
        (
            "One",
            [
                "Some emph, code, a link and end.\nhard break\nsoft break",
                "item one",
                "item two",
                "quote",
                SCENE,
                "A, B",
                "1, 2",
            ],
        ),
        ("Two", ["Text (x).", "Section", "End &\nso."]),
    ]
    document = read_document(path)
    assert (document.title, document.author, document.cover) == ("My Book", "Ann Author", None)


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("Text.", [""]),
        ("# Title\n\nText.\n\n## Section\n\nMore.", ["Title"]),
        ("# Title\n\n## A\n\nText.\n\n## B\n\nMore.", ["Title", "A", "B"]),
        ("# A\n\n## A.1\n\nText.\n\n# B\n\nMore.", ["A", "B"]),
        ("Title\n=====\n\nA\n-\n\nText.\n\nB\n-\n\nMore.", ["Title", "A", "B"]),
        ("```\n# no\n# no\n```\n\nText.", [""]),
    ],
)
def test_which_headings_begin_chapters(text: str, titles: list[str], path: Path) -> None:
    assert [title for title, _ in chapters(path, text)] == titles


def test_plain_text_stays_as_it_was(path: Path) -> None:
    """What was spoken of a file without markup is not spoken again; only the pauses before chapters are longer."""
    text = "# One\n\nIt was late.\nNobody came.\n\n# Two\n\n“Yes,” he said.\n\n***\n\nEnd."
    chapters(path, text)
    before, now = parts(text, bool), parts(read_document(path).text, bool)
    assert [part.text for part in now] == [part.text for part in before]
    assert [part.pause for part in before][:2] == [PARAGRAPH, PARAGRAPH]
    assert [part.pause for part in now][:2] == [PARAGRAPH, BETWEEN_CHAPTERS]
    assert [part.chapter for part in before] == [None] * 5
    assert now[2] == Part("Two", PARAGRAPH, "Two")


def test_no_text(path: Path) -> None:
    for text in ("", "![a](b.png)", "<!-- no -->", "[^1]: Only a note."):
        with pytest.raises(DifftoolError, match="contains no text"):
            chapters(path, text)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DifftoolError, match="not UTF-8"):
        read_document(path)


def test_what_turns_the_direction_of_a_terminal_is_left_out() -> None:
    assert cleaned("\u202eevil \u2066x\u2069 \u05e9\u05dc\u05d5\u05dd") == "evil x \u05e9\u05dc\u05d5\u05dd"
