"""Books: an EPUB or Markdown file that becomes an audiobook with chapters."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from books import picture, write_epub
from dying import dies

from difftool import voice
from difftool.audio.files import RATE, cover_of, ffmpeg, read_sound, tags_of
from difftool.audio.joining import FADE
from difftool.voice import long_text
from difftool.voice.text import BETWEEN_CHAPTERS

Run = Callable[..., Any]
PAGES = {
    "one.xhtml": "<h1>The Storm</h1><p>It was late.<a epub:type='noteref' href='#n'>1</a></p><p>Nobody came.</p>"
    "<aside epub:type='footnote' id='n'>This is a note.</aside>",
    "two.xhtml": "<h1>Calm</h1><p>The sea was quiet, and so was she.</p>",
    "three.xhtml": "<h1>The Shore</h1><p>They came home.</p>",
    "four.xhtml": "<h1>After</h1><p>Nothing more was heard of them.</p>",
}
TITLES = ["The Storm", "Calm", "The Shore", "After"]
TEXTS = [
    ["The Storm", "It was late.", "Nobody came."],
    ["Calm", "The sea was quiet, and so was she."],
    ["The Shore", "They came home."],
    ["After", "Nothing more was heard of them."],
]
DRAFT = ("--engine", "beep", "--preset", "draft")


def book(path: Path, count: int = 3, cover: bytes | None = None) -> Path:
    """An EPUB with the first chapters."""
    pages = dict([*PAGES.items()][:count])
    return write_epub(path, pages, [*zip(TITLES, pages, strict=False)], cover=cover)


def chapters_by_ffmpeg(path: Path) -> list[tuple[float, float, str]]:
    """What ffmpeg shows of a file."""
    shown = subprocess.run([ffmpeg(), "-i", path], capture_output=True, text=True).stderr
    pattern = r"Chapter #0:\d+: start ([\d.]+), end ([\d.]+)\s+Metadata:\s+title +: (.*)"
    return [(float(start), float(end), title) for start, end, title in re.findall(pattern, shown)]


@pytest.fixture
def clone(beep: None, difftool: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs voice clone with the engine that beeps."""
    monkeypatch.setattr("sys.stdin", None)
    return lambda *args: difftool("voice", "clone", *DRAFT, *args)


@pytest.fixture
def said(beep: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that the engine was asked to say."""
    import beep as module  # pyright: ignore[reportMissingImports]

    say, texts = module.Beeper.say, list[str]()

    def counted(self: Any, text: str, *args: Any) -> Any:
        texts.append(text)
        return say(self, text, *args)

    monkeypatch.setattr(module.Beeper, "say", counted)
    return texts


def test_an_audiobook(clone: Run, said: list[str], tmp_path: Path) -> None:
    cover = picture()
    book(tmp_path / "book.epub", cover=cover)
    ended = clone("--textfile", "book.epub", "-o", "book.m4b", "--json")
    assert ended.code == 0, ended
    assert said == [*itertools.chain(*TEXTS[:3])]

    output = tmp_path / "book.m4b"
    assert cover_of(output) == cover
    tags = tags_of(output)
    assert tags["title"] == "Synthetic speech: The Sea & the Shore"
    assert (tags["artist"], tags["album"]) == ("Ann Author", "The Sea & the Shore")
    assert "difftool" in tags["composer"]
    note = json.loads((tmp_path / "book.m4b.json").read_text())
    assert note["synthetic"] is json.loads(tags["comment"])["synthetic"] is True

    found = chapters_by_ffmpeg(output)
    assert [title for _, _, title in found] == TITLES[:3]
    parts = json.loads((tmp_path / "book.parts" / "manifest.json").read_text())["parts"]
    sound = read_sound(output, RATE)
    firsts = [0, 3, 5]
    for (start, _, _), first in zip(found, firsts, strict=True):
        before = sum(map(len, long_text.pieces(tmp_path / "book.parts", parts[:first], 0))) / 2 / RATE if first else 0
        assert start == pytest.approx(before - (FADE / 1000 if first else 0), abs=1e-3)
        at = round(start * RATE)
        assert np.abs(sound[at : at + RATE // 20]).max() > 0.02  # which is where it begins to beep
        assert not first or np.abs(sound[at - round(1.9 * RATE) : at]).max() < 0.005
    assert [parts[first - 1]["pause"] for first in firsts[1:]] == [BETWEEN_CHAPTERS] * 2
    ends = [*(start for start, _, _ in found[1:]), len(sound) / RATE]
    assert [end for _, end, _ in found] == pytest.approx(ends, abs=0.05)

    rows = [(row["start"], row["end"], row["title"]) for row in note["chapters"]]
    assert [(title, start) for start, _, title in rows] == [
        (title, pytest.approx(s, abs=1e-3)) for s, _, title in found
    ]
    assert ended.json["data"]["outputs"][0]["chapters"] == note["chapters"]
    assert rows[-1][1] == ended.json["data"]["outputs"][0]["seconds"]


@pytest.mark.parametrize(
    ("kind", "has_chapters", "has_cover"), [("m4b", True, True), ("mp3", True, True), ("flac", False, False)]
)
def test_every_format(
    kind: str, has_chapters: bool, has_cover: bool, clone: Run, difftool: Run, tmp_path: Path
) -> None:
    """The same bytes again, also by rerun, which needs no EPUB."""
    path = book(tmp_path / "book.epub", 2, picture("PNG"))
    outputs = [tmp_path / f"{name}.{kind}" for name in ("first", "second", "rerun")]
    for output in outputs[:2]:
        assert clone("--textfile", "book.epub", "-o", output).code == 0
    path.unlink()
    assert difftool("rerun", outputs[0], "-o", outputs[2], "--json").json["data"]["identical"] is True
    assert len({output.read_bytes() for output in outputs}) == 1
    assert cover_of(outputs[0]) == (picture("PNG") if has_cover else None)
    assert [title for _, _, title in chapters_by_ffmpeg(outputs[0])] == (TITLES[:2] if has_chapters else [])
    assert "chapter at 0:00:00: The Storm" in difftool("meta", outputs[0]).out
    assert [row["title"] for row in difftool("meta", outputs[0], "--json").json["data"]["chapters"]] == TITLES[:2]


def test_chapters_in_the_file_itself(clone: Run, difftool: Run, tmp_path: Path) -> None:
    """Without the note beside it, and with one that is damaged."""
    book(tmp_path / "book.epub", 2)
    clone("--textfile", "book.epub", "-o", "a.m4b")
    note = json.loads((tmp_path / "a.m4b.json").read_text())
    (tmp_path / "a.m4b.json").unlink()
    assert difftool("meta", "a.m4b", "--json").json["data"]["chapters"] == note["chapters"]
    for broken in ([1], [{"title": "a"}], [{"title": "a", "start": "b", "end": 1}]):
        (tmp_path / "a.m4b.json").write_text(json.dumps({**note, "chapters": broken}))
        assert difftool("meta", "a.m4b").code == 4


def test_a_new_chapter(clone: Run, said: list[str], tmp_path: Path) -> None:
    """Only what is new is spoken, and the user is asked before the file is written again."""
    path = book(tmp_path / "book.epub", 3)
    given = ("--textfile", "book.epub", "-o", "book.m4b")
    assert clone(*given).code == 0
    before = (tmp_path / "book.m4b").read_bytes()
    assert "nothing left to do" in clone(*given).out
    said.clear()

    book(path, 4)
    ended = clone(*given)
    assert ended.code == 4
    assert "book.m4b exists already, and 2 of 9 parts of the text are new" in ended.err
    assert "--overwrite to speak only the new parts" in ended.err
    assert "parts of the text are new" not in clone(*given, "--seed", "1").err  # all would be spoken again
    assert (said, (tmp_path / "book.m4b").read_bytes()) == ([], before)

    assert clone(*given, "--overwrite").code == 0
    assert said == TEXTS[3]
    assert [title for _, _, title in chapters_by_ffmpeg(tmp_path / "book.m4b")] == TITLES
    whole = ("--textfile", "book.epub", "-o", "whole.m4b")
    assert clone(*whole).code == 0
    assert (tmp_path / "whole.m4b").read_bytes() == (tmp_path / "book.m4b").read_bytes()


def test_another_cover_is_another_result(clone: Run, said: list[str], tmp_path: Path) -> None:
    given = ("--textfile", "book.epub", "-o", "book.m4b")
    book(tmp_path / "book.epub", 2)
    clone(*given)
    said.clear()
    book(tmp_path / "book.epub", 2, picture())
    assert clone(*given).code == 0
    assert said == []
    assert cover_of(tmp_path / "book.m4b") == picture()


def test_some_chapters(clone: Run, said: list[str], refused: Run, tmp_path: Path) -> None:
    book(tmp_path / "book.epub", 4)
    assert clone("--textfile", "book.epub", "--chapters", "2,4", "-o", "a.mp3").code == 0
    assert said == [*TEXTS[1], *TEXTS[3]]
    assert [title for _, _, title in chapters_by_ffmpeg(tmp_path / "a.mp3")] == ["Calm", "After"]
    for chapters, says in (("5", "there is no chapter 5: the text has only 4"), ("x", "not a list of chapters")):
        given = ("--textfile", "book.epub", "--chapters", chapters, "-o", "b.mp3")
        refused(2, "voice", "clone", *DRAFT, *given, says=says)
    refused(2, "voice", "clone", *DRAFT, "Hello.", "--chapters", "1", says="--chapters needs an EPUB or Markdown file")


def test_what_would_be_done(clone: Run, tmp_path: Path) -> None:
    (tmp_path / "book.md").write_text("Before.\n\n# One\n\nText. More.\n\n# Two\n\nText.\n\nMore.\n")
    ended = clone("--textfile", "book.md", "-o", "book.m4b", "--dry-run")
    lines = ended.out.splitlines()[-3:]
    assert lines == ["    1  without a title (1 part)", "    2  One (2 parts)", "    3  Two (3 parts)"]
    data = clone("--textfile", "book.md", "--chapters", "3", "-o", "book.m4b", "--dry-run", "--json").json["data"]
    assert data["chapters"] == [{"number": 3, "title": "Two", "parts": 3}]
    assert not (tmp_path / "book.m4b").exists()


def test_a_chapter_of_one_part(clone: Run, difftool: Run, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Only a title\n")
    assert clone("--textfile", "a.md", "-o", "a.m4b").code == 0
    ((start, _, title),) = chapters_by_ffmpeg(tmp_path / "a.m4b")
    assert (start, title) == (0, "Only a title")
    assert difftool("rerun", "a.m4b", "-o", "b.m4b").code == 0
    assert (tmp_path / "a.m4b").read_bytes() == (tmp_path / "b.m4b").read_bytes()


def test_broken_books(refused: Run, beep: None, tmp_path: Path) -> None:
    (tmp_path / "a.epub").write_text("<html>")
    for name, says in (("a.epub", "is not an EPUB"), ("b.epub", "cannot read"), ("b.md", "cannot read")):
        refused(4, "voice", "clone", *DRAFT, "--textfile", name, "-o", "a.m4b", says=says)


def test_from_python(beep: None, tmp_path: Path) -> None:
    document = voice.read_document(book(tmp_path / "book.epub", 2))
    reading = voice.read_out(document, tmp_path / "a.m4b", engine="beep", preset="draft")
    assert [row["title"] for row in reading.written.items[0].get("chapters", [])] == TITLES[:2]
    speech = voice.clone(document, engine="beep", preset="draft")
    assert [mark.title for mark in speech.marks[0]] == TITLES[:2]
    assert speech.marks[0][-1].end == len(speech.sounds[0])


@pytest.mark.slow
def test_a_kill_changes_no_byte(clone: Run, tmp_path: Path) -> None:
    """SIGKILL again and again at any moment, then the end: the file of an undisturbed run."""
    book(tmp_path / "book.epub", 4, picture())
    assert clone("--textfile", "book.epub", "-o", "whole.m4b").code == 0
    given = ("voice", "clone", *DRAFT, "--textfile", "book.epub", "-o", "book.m4b")
    moments = itertools.count(4, 4)
    while (code := dies(signal.SIGKILL, next(moments), "*", *given, cwd=tmp_path).returncode) != 0:
        assert code == -signal.SIGKILL
    assert next(moments) > 30
    assert (tmp_path / "book.m4b").read_bytes() == (tmp_path / "whole.m4b").read_bytes()
