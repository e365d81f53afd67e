"""The report of a run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import cast

from PIL import Image

from difftool.learning.config import RunConfig
from difftool.learning.report import Outcome, ReportLabels, write

EVIL = "<script>alert('a & \"b\" &lt;')</script>"


class Page(HTMLParser):
    """The elements of a page, with their attributes and the text directly after their start."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.elements:
            tag, attrs, text = self.elements[-1]
            self.elements[-1] = (tag, attrs, text + data.rstrip("\n"))

    def texts(self, tag: str) -> list[str]:
        return [text for name, _, text in self.elements if name == tag]


def test_everything_is_in_the_page_and_nothing_is_markup(tmp_path: Path) -> None:
    folder = tmp_path / "<b>run"
    folder.mkdir()
    Image.new("RGB", (2, 3)).save(folder / "a.png")
    data = {"name": f"caf\udce9 {EVIL}", "pictures": 1297, "classes": [EVIL]}
    config = cast("RunConfig", {"net": {"base": 32}, "train": {"images": 12000, "data": data}})
    figures = {"fd": ("FD <of> pixels", "grey & squared"), "kid": ("KID", ""), "nearest": ("nearest", "1")}
    outcome = Outcome(0.123456, {"nearest": 0.5, "fd": 12.3456}, ["it falls", EVIL])
    pictures = {"Samples": folder / "a.png", "None of it": folder / "b.png"}
    write(folder / "report.html", config, outcome, folder / "a.png", pictures, ReportLabels("pictures", figures))

    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert page.texts("title") == page.texts("h1") == ["Run <b>run"]
    assert page.texts("p") == [f"12,000 pictures seen of caf? {EVIL} (1,297), loss 0.1235", "it falls", EVIL]
    assert page.texts("b") == ["12.35", "0.5"]
    assert page.texts("span") == ["FD <of> pixels", "grey & squared", "nearest", "1"]
    assert page.texts("h2") == ["Curves", "Samples", "Settings"]
    assert [attrs["alt"] for tag, attrs, _ in page.elements if tag == "img"] == ["Curves", "Samples"]
    assert page.texts("th")[0] == "net.base"
    assert page.texts("td")[2:4] == [f"caf? {EVIL}", "1297"]


def test_a_run_without_figures_and_pictures(tmp_path: Path) -> None:
    config = cast("RunConfig", {"train": {"images": 1, "data": {"name": "points", "pictures": 3}}})
    write(
        tmp_path / "report.html", config, Outcome(None, None, []), tmp_path / "no.png", {}, ReportLabels("sounds", {})
    )
    page = Page((tmp_path / "report.html").read_text())
    assert page.texts("p") == ["1 sounds seen of points (3)"]
    assert page.texts("h2") == ["Settings"]
