"""The report of a run."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import cast

import pytest
from PIL import Image

from difftool import html
from difftool.learning.config import RunConfig
from difftool.learning.report import Outcome, ReportLabels, write
from difftool.pictures.plots import COLOURS

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


def line(images: int, loss: float, **more: object) -> str:
    return json.dumps({"images": images, "step": images // 100, "loss": loss, "images_per_second": 250.0, **more})


def config(data: str, **train: object) -> RunConfig:
    settings = {"images": 12000, "data": {"name": data, "pictures": 1297}, "length": {"minutes": 2.0}, **train}
    return cast("RunConfig", {"net": {"base": 32}, "train": settings})


def test_everything_is_in_the_page_and_nothing_is_markup(tmp_path: Path) -> None:
    folder = tmp_path / "<b>run"
    folder.mkdir()
    Image.new("RGB", (2, 3)).save(folder / "a.png")
    (folder / "log.jsonl").write_text(line(6000, 0.5) + "\n" + line(12000, 0.123456))
    figures = {"fd": ("FD <of> pixels", "grey & squared"), "kid": ("KID", ""), "nearest": ("nearest", "near is bad")}
    quality = {"nearest": 0.5, "fd": 12345.678}
    outcome = Outcome(quality, {"fd": 32.06, "kid": 0.1}, ["it falls", EVIL], f"CPU {EVIL}", more_seconds=75)
    pictures = {"Samples": folder / "a.png", "None of it": folder / "b.png"}
    labels = ReportLabels("pictures", figures, {"go on": f"difftool {EVIL}"})
    write(folder / "report.html", config(f"caf\udce9 {EVIL}"), outcome, pictures, labels)

    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert page.texts("title") == page.texts("h1")
    title, when = page.texts("h1")[0].rsplit(", ", 1)
    assert title == f"caf? {EVIL}: 2 min run"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", when)
    first = [f"12,000 pictures seen of caf? {EVIL} (1,297), loss 0.1235", "it falls", EVIL]
    assert page.texts("p")[:3] == first
    assert page.texts("b")[:2] == ["12,346", "0.5"]
    shown = [text for text in page.texts("span") if text][:5]
    assert shown == ["FD <of> pixels", "real: 32.1", "grey & squared", "nearest", "near is bad"]
    assert page.texts("h2") == ["Quality", "Curves", "Samples", "Next", "Run", "Settings"]
    assert [attrs["alt"] for tag, attrs, _ in page.elements if tag == "img"] == ["Samples"]
    assert page.texts("pre") == [f"difftool {EVIL}"]
    facts = dict(zip(page.texts("th"), page.texts("td"), strict=True))
    assert facts["training time"] == "2 min 3 s"  # 12,000 at 250 a second, and 75 s
    assert facts["speed"] == "250 pictures/s"
    assert facts["machine"] == f"CPU {EVIL}"
    assert re.fullmatch(r"python 3\S+, difftool \S+, torch 2\S+", facts["versions"])
    assert facts["net.base"] == "32"
    assert facts["train.data.name"] == f"caf? {EVIL}"


def test_a_run_without_figures_and_pictures(tmp_path: Path) -> None:
    outcome = Outcome(None, {}, [], "a machine")
    write(tmp_path / "report.html", config("points", images=1), outcome, {}, ReportLabels("sounds", {}, {}))
    page = Page((tmp_path / "report.html").read_text())
    assert page.texts("p") == ["1 sounds seen of points (1,297)"]
    assert page.texts("h2") == ["Run", "Settings"]


@pytest.mark.parametrize(
    ("length", "text"),
    [
        ({"minutes": 0.5}, "0.5 min"),
        ({"steps": 20000}, "20,000 step"),
        ({"epochs": 3.0}, "3 epoch"),
        ({"images": 1_000_000}, "1,000,000 sound"),
    ],
)
def test_the_title_says_how_long(tmp_path: Path, length: dict[str, float], text: str) -> None:
    outcome, labels = Outcome(None, {}, [], "a machine"), ReportLabels("sounds", {}, {})
    write(tmp_path / "report.html", config("talks", length=length), outcome, {}, labels)
    assert Page((tmp_path / "report.html").read_text()).texts("h1")[0].startswith(f"talks: {text} run, 20")


@pytest.mark.parametrize(("value", "shown"), [(5830951894.8, "5.83e+09"), (12345.6, "12,346"), (0.51234, "0.512")])
def test_a_figure_fits_its_card(tmp_path: Path, value: float, shown: str) -> None:
    labels = ReportLabels("pictures", {"nearest": ("nearest", "")}, {})
    write(tmp_path / "report.html", config("talks"), Outcome({"nearest": value}, {}, [], ""), {}, labels)
    assert f">{shown}<" in (tmp_path / "report.html").read_text()


def test_the_title_names_extensions(tmp_path: Path) -> None:
    outcome, labels = Outcome(None, {}, [], "a machine"), ReportLabels("sounds", {}, {})
    more = [{"length": {"minutes": 10.0}, "after": 1000}, {"length": {"images": 500}, "after": 2000}]
    write(tmp_path / "report.html", config("talks", more=more), outcome, {}, labels)
    title = Page((tmp_path / "report.html").read_text()).texts("h1")[0]
    assert title.startswith("talks: run of 2 min + 10 min + 500 sounds, 20")


def test_curves_are_drawn_in_the_page(tmp_path: Path) -> None:
    """At any width: lines that are scaled, and labels that are text of the page."""
    bands = [1.0, None, None, 0.25]
    lines = [line(1000, 1.5, held_out=2.0, bands=bands), line(2000, 0.5, held_out=1.0, bands=bands)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    outcome, labels = Outcome(None, {}, [], "a machine"), ReportLabels("pictures", {}, {})
    write(tmp_path / "report.html", config("points", images=2000), outcome, {}, labels)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    drawn = [attrs for tag, attrs, _ in page.elements if tag == "polyline"]
    assert [attrs["points"] for attrs in drawn[:4]] == 2 * ["500.0,75.0 1000.0,225.0", "500.0,0.0 1000.0,150.0"]
    assert [attrs["class"] for attrs in drawn[2:4]] == ["curve0", "curve1"]
    # a colour has one meaning in all panels; a level that was never seen has no curve
    assert [attrs["class"] for attrs in drawn[6:]] == ["curve2", "curve5"]
    assert page.texts("figcaption") == ["loss", "loss by noise"]
    legend = re.findall(r'<li class="curve(\d)">(.*) <b>(.*)</b>', text)
    assert legend == [
        ("0", "training", "0.5"),
        ("1", "held out", "1"),
        ("2", "least noise", "1"),
        ("5", "most noise", "0.25"),
    ]
    described = [attrs["aria-label"] for tag, attrs, _ in page.elements if tag == "svg"]
    assert described[0] == "loss, by pictures seen; at the end training 0.5, held out 1"
    ticks = re.findall(r'<span style="(left|bottom):(.*)%">(.*)</span>', text)
    assert ("bottom", "50.00", "1") in ticks
    assert ("left", "100.00", "2 k") in ticks


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_texts_and_curves_contrast_with_the_page() -> None:
    """4.5 for texts and 3 for lines, as WCAG 2 asks for, on a light and a dark screen."""
    style = (html.TEMPLATES / "report.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--(\w+):(#\w+)", block)) for block in style.split("\n")[:2])
    assert [light[f"curve{k}"] for k in range(len(COLOURS))] == list(COLOURS)
    assert light.keys() == dark.keys()
    light["ground"] = "#ffffff"
    for colours in (light, dark):
        for behind in ("ground", "card"):
            for name in {*colours} - {"ground", "card", "line"}:
                least = 4.5 if name in ("ink", "soft", "good", "bad") else 3
                pair = sorted(luminance(colours[key]) + 0.05 for key in (name, behind))
                assert pair[1] / pair[0] >= least, (name, behind)
