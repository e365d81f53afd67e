"""EPUB files, also those of people who mean no good."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from books import page, picture, write_epub

from difftool.errors import DifftoolError, Exit
from difftool.voice.documents import Chapter, epub, read_document
from difftool.voice.text import SCENE

ENCRYPTION = """<encryption xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData>
<enc:EncryptionMethod Algorithm="{algorithm}"/><enc:CipherData><enc:CipherReference URI="{uri}"/></enc:CipherData>
</enc:EncryptedData></encryption>"""
AES = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
ONE = {"a.xhtml": "<h1>One</h1><p>Text.</p>"}


def chapters(path: Path) -> list[tuple[str, list[str]]]:
    return [(chapter.title, chapter.text.split("\n\n")) for chapter in read_document(path).chapters]


def text_of(tmp_path: Path, body: str) -> list[str]:
    """The paragraphs of a page after its heading."""
    ((_, paragraphs),) = chapters(write_epub(tmp_path / "a.epub", {"a.xhtml": f"<h1>One</h1>{body}"}))
    return paragraphs


def test_a_book(tmp_path: Path) -> None:
    cover = picture()
    pages = {
        "front.xhtml": '<section epub:type="cover"><img src="cover.jpg" alt="a red cover"/></section>',
        "title.xhtml": "<h1>The Sea &amp; the Shore</h1><p>by Ann Author</p>",
        "one.xhtml": "<h2>Chapter 1<br/>The Storm</h2><p>It was late.</p><h3>At night</h3><p>Rain.</p>",
        "one-b.xhtml": "<p>It went on.</p>",
        "two.xhtml": "<h2>II</h2><p>Calm.</p>",
        "notes.xhtml": '<section epub:type="endnotes"><h2>Notes</h2><p>1. A note.</p></section>',
    }
    contents = [("Chapter 1: The Storm", "one.xhtml"), ("II. The Calm", "two.xhtml"), ("Notes", "notes.xhtml")]
    document = read_document(write_epub(tmp_path / "a.epub", pages, contents, cover=cover))
    assert (document.title, document.author, document.language) == ("The Sea & the Shore", "Ann Author", "en")
    assert document.cover == cover
    assert document.chapters == [
        Chapter("The Sea & the Shore", "by Ann Author", 1),
        Chapter("Chapter 1: The Storm", "It was late.\n\nAt night\n\nRain.\n\nIt went on.", 2),
        Chapter("II. The Calm", "Calm.", 3),
    ]
    assert [chapter.title for chapter in document.only({1, 3}).chapters] == ["The Sea & the Shore", "II. The Calm"]


def test_epub_2(tmp_path: Path) -> None:
    ncx = """<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>
    <navPoint><navLabel><text>Part One</text></navLabel><content src="a.xhtml"/>
      <navPoint><navLabel><text>First</text></navLabel><content src="b.xhtml#x"/></navPoint>
      <navPoint><navLabel><text>A section</text></navLabel><content src="b.xhtml#y"/></navPoint></navPoint>
    <navPoint><navLabel><text>Part Two</text></navLabel><content src="c.xhtml"/></navPoint></navMap></ncx>"""
    pages = {
        "toc.xhtml": "<p><a href='a.xhtml'>Part One</a></p>",
        "a.xhtml": "<h1>Part One</h1>",
        "b.xhtml": "<p>Before.</p><h2><a id='x'/>First</h2><p>Text.</p><h3 id='y'>A section</h3><p>More.</p>",
        "c.xhtml": "<h1>Part Two</h1><p>End.</p>",
    }
    path = write_epub(
        tmp_path / "a.epub",
        pages,
        items='<item id="n" href="t.ncx" media-type="application/x-dtbncx+xml"/>'
        '<item id="pic" href="cover.png" media-type="image/png"/>',
        metadata='<meta name="cover" content="pic"/>',
        spine=' toc="n"',
        guide='<guide><reference type="toc" href="toc.xhtml"/></guide>',
        files={"OEBPS/t.ncx": ncx, "OEBPS/cover.png": picture("PNG")},
    )
    assert chapters(path) == [
        ("Part One", ["Before."]),
        ("First", ["Text.", "A section", "More."]),
        ("Part Two", ["End."]),
    ]
    assert read_document(path).cover == picture("PNG")


def test_without_a_table_of_contents_headings_begin_chapters(tmp_path: Path) -> None:
    pages = {"a.xhtml": "<h1>One</h1><p>Text.</p>", "b.xhtml": "<p>More.</p>", "c.xhtml": "<h2>Two</h2><p>End.</p>"}
    assert chapters(write_epub(tmp_path / "a.epub", pages)) == [("One", ["Text.", "More."]), ("Two", ["End."])]
    no_headings = write_epub(tmp_path / "b.epub", {"a.xhtml": "<p>Text.</p>"})
    assert chapters(no_headings) == [("The Sea & the Shore", ["Text."])]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("<p>A <em>w</em>ord,&nbsp;caf&eacute; &amp; AT&T&mdash;&unknown;</p>", ["A word, café & AT&T—&unknown;"]),
        ("<p>so\n<!-- no -->  it   goes</p>", ["so it goes"]),
        ("<p>One line<br/>and another</p>", ["One line\nand another"]),
        ("<pre>One line\nand another</pre>", ["One line\nand another"]),
        ("<p>A.</p><hr/><p>B.</p><p>* * *</p><p>C.</p>", ["A.", SCENE, "B.", SCENE, "C."]),
        ("<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>", ["漢"]),
        ("<figure><img alt='no'/><figcaption>A map.</figcaption></figure>", ["A map."]),
        (
            "<table><caption>Ages</caption><tr><th>Ann</th><td>7</td></tr><tr><td>Bob</td><td>8</td></tr></table>",
            ["Ages", "Ann, 7", "Bob, 8"],
        ),
        ("<ul><li>one</li><li>two <b>and</b></li></ul>", ["one", "two and"]),
        ("<p><q>Yes</q>, co\xadop</p>", ["“Yes”, coop"]),
        ("<p>He [sic] said [T]he [12] end[3]. [Illustration: A map]</p>", ["He (sic) said The end."]),
        ("<p>A<span hidden=''>B</span><i style='display: none'>C</i></p>", ["A"]),
        ("<p>A<script>B</script><svg><text>C</text></svg></p>", ["A"]),
        ("<p>x<sup>2</sup></p>", ["x2"]),
        ("<pre><code>x = 1</code></pre><p>A.</p>", ["A."]),
        ("<p>esc\x1b\x9b[31m \x1d \x1e</p>", ["esc (31m"]),
    ],
)
def test_what_is_read(body: str, wanted: list[str], tmp_path: Path) -> None:
    assert text_of(tmp_path, body) == wanted


@pytest.mark.parametrize(
    "body",
    [
        "<p>A<a epub:type='noteref' href='#n'>1</a>.</p><aside epub:type='footnote' id='n'>No.</aside>",
        "<p>A<a role='doc-noteref' href='#n'>1</a>.</p><div role='doc-endnotes'><p id='n'>No.</p></div>",
        "<p>A<sup><a href='#n'>1</a></sup>.</p><p id='n'>1 No.</p>",
        "<p>A<sup>[<a href='#n' id='r'>1</a>]</sup>.</p><p><a id='n' href='#r'>[1]</a> No.</p>",
        "<p>A<a href='#n'><sup>a</sup></a>.</p><ol><li id='n'>No.</li></ol>",
        "<p>A<a id='r' class='fnanchor' href='#n'>[1]</a>.</p><div class='footnote'><p>No.</p></div>",
        "<p>A<a href='a.xhtml#n'>*</a>.</p><aside id='n'><p>No.</p></aside>",
        "<p>A<span epub:type='pagebreak' title='7'>7</span>.</p><span class='pagenum'>8</span>",
    ],
)
def test_notes_and_page_numbers_are_left_out(body: str, tmp_path: Path) -> None:
    assert text_of(tmp_path, body) == ["A."]


def test_links_that_are_no_notes_stay(tmp_path: Path) -> None:
    body = "<p>See <a href='#b'>chapter 2</a>, <a href='#c'>1</a>.</p><p id='b'>B.</p><p id='c'>C.</p>"
    assert text_of(tmp_path, body) == ["See chapter 2, 1.", "B.", "C."]


def test_a_title_is_said_once(tmp_path: Path) -> None:
    for title, body, wanted in (
        ("One", "<h1>ONE</h1><p>Text.</p>", ("One", ["Text."])),
        ("I", "<h1>I</h1><h2>The Storm</h2><p>Text.</p>", ("I", ["The Storm", "Text."])),
        ("Storm", "<h1>Chapter 1: Storm</h1><p>Text.</p>", ("Chapter 1: Storm", ["Text."])),
        ("1. Storm", "<p>1. Storm</p><p>Text.</p>", ("1. Storm", ["Text."])),
        ("Dedication", "<p>To Anna.</p>", ("Dedication", ["To Anna."])),
    ):
        path = write_epub(tmp_path / "a.epub", {"a.xhtml": body}, [(title, "a.xhtml")])
        assert chapters(path) == [wanted]


def test_names_and_encodings(tmp_path: Path) -> None:
    path = write_epub(tmp_path / "a.epub", {"caf%C3%A9%20x.xhtml": ""}, files={"OEBPS/café x.xhtml": page("<p>A.</p>")})
    assert chapters(path)[0][1] == ["A."]
    for encoding in ("utf-16", "iso-8859-1", "utf-8-sig"):
        data = page("<p>Ünï</p>").replace('"utf-8"', f'"{encoding}"').encode(encoding)
        assert chapters(write_epub(tmp_path / "a.epub", ONE, files={"OEBPS/a.xhtml": data}))[0][1] == ["Ünï"]
    assert chapters(write_epub(tmp_path / "a.epub", ONE, folder="")) == [("One", ["Text."])]


def test_entities_read_no_file_and_do_not_grow(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    laughs = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
    for declared in (f'<!ENTITY x SYSTEM "{secret.as_uri()}">', f'<!ENTITY l0 "ha">{laughs}<!ENTITY x "&l9;">'):
        body = f"<!DOCTYPE html [{declared}]><html><body><p>A &x; B</p></body></html>"
        path = write_epub(tmp_path / "a.epub", ONE, files={"OEBPS/a.xhtml": body})
        assert chapters(path)[0][1] == ["A &x; B"]
        hidden = write_epub(tmp_path / "b.epub", ONE, files={"OEBPS/a.xhtml": f"<!-- <!DOCTYPE a> -->{body}"})
        with pytest.raises(DifftoolError, match="entities of its own"):
            read_document(hidden)


MISSING = {"refs": '<itemref idref="m"/>'}
ITEM = '<item id="m" href="{}" media-type="application/xhtml+xml"/>'


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"files": {"META-INF/container.xml": "<a/>"}}, "package file is missing"),
        ({"files": {"META-INF/container.xml": "no"}}, "container.xml is not valid XML"),
        ({"files": {"OEBPS/a.xhtml": "<html><body><p>A</body></html>"}}, "a.xhtml is not valid XML"),
        ({"files": {"OEBPS/a.xhtml": "<div>" * 9999 + "</div>" * 9999}}, "inside each other"),
        ({"files": {"OEBPS/a.xhtml": b" " * (9 << 20)}}, "more than 8 MiB"),
        (MISSING, "no item 'm'"),
        ({**MISSING, "items": ITEM.format("m.xhtml")}, "OEBPS/m.xhtml is missing"),
        ({**MISSING, "items": ITEM.format("../../../etc/passwd")}, "etc/passwd is missing"),
        ({**MISSING, "items": ITEM.format("file:///etc/passwd")}, "etc/passwd is missing"),
        ({**MISSING, "items": ITEM.format("https://example.com/a.xhtml")}, "a.xhtml is missing"),
        ({**MISSING, "items": ITEM.format("a%0A%1B.xhtml")}, r"a\?\?.xhtml is missing"),
        ({"files": {"META-INF/encryption.xml": ENCRYPTION.format(algorithm=AES, uri="OEBPS/a.xhtml")}}, "DRM"),
    ],
)
def test_what_is_no_book(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = write_epub(tmp_path / "a.epub", ONE, **settings)
    with pytest.RaisesExc(DifftoolError, match=says, check=lambda error: error.code == Exit.FILE):
        read_document(path)


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = write_epub(tmp_path / "a.epub", ONE)
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[data.index(b"OEBPS/a.xhtml") + 20] ^= 255
    for broken in (b"", b"<html></html>", data[: len(data) // 2], bytes(flipped)):
        path.write_bytes(broken)
        with pytest.RaisesExc(DifftoolError, check=lambda error: error.code == Exit.FILE):
            read_document(path)
    with pytest.raises(DifftoolError, match="cannot read"):
        read_document(tmp_path / "none.epub")
    with pytest.raises(DifftoolError, match="contains no text"):
        read_document(write_epub(path, {"a.xhtml": "<img src='a.jpg' alt='a'/>"}))


def test_too_many_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that takes little room in the archive."""
    monkeypatch.setattr(epub, "MOST_TEXT", 2 << 20)
    path = write_epub(tmp_path / "a.epub", {f"{k}.xhtml": " " * (1 << 20) for k in range(2)})
    assert path.stat().st_size < 1 << 14
    with pytest.raises(DifftoolError, match="more than 2 MiB"):
        read_document(path)


def test_fonts_may_be_obfuscated(tmp_path: Path) -> None:
    note = ENCRYPTION.format(algorithm="http://www.idpf.org/2008/embedding", uri="OEBPS/a.otf")
    path = write_epub(tmp_path / "a.epub", ONE, files={"META-INF/encryption.xml": note})
    assert chapters(path) == [("One", ["Text."])]


def test_a_cover_that_is_none(tmp_path: Path) -> None:
    for data in (b"", b"GIF89a", picture("GIF"), picture()[:300]):
        document = read_document(write_epub(tmp_path / "a.epub", ONE, cover=data))
        assert document.cover is None
        assert document.chapters


def test_a_book_is_not_unpacked(tmp_path: Path) -> None:
    path = write_epub(tmp_path / "a.epub", ONE, files={"../../out.txt": "x"})
    read_document(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.epub"]
    assert "../../out.txt" in zipfile.ZipFile(path).namelist()
