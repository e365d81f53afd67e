"""The page of difftool studio in a real browser, with a sound as its microphone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, binary

import difftool.web

STATIC = Path(difftool.web.__file__).parent / "static"
SENTENCE = "The morning train was late again, so we walked along the river."
TOKEN = "an-example-of-a-token"
needs_browser = pytest.mark.skipif(binary() is None, reason="needs Chromium")

NAMED = ("button", "textbox", "combobox", "slider", "link", "spinbutton", "radio", "meter", "progressbar", "image")
"""Roles whose elements have to have a name, which screen readers say."""
WIDTHS = (320, 400, 700, 1000, 1400)
SECTIONS = ("speak", "record", "pictures", "queue")


@contextmanager
def studio(folder: Path, *options: str) -> Iterator[str]:
    """A studio that works in a folder; its address."""
    command = [sys.executable, "-m", "difftool", "studio", "--port", "0", "--json", *options]
    settings = os.environ | {"XDG_DATA_HOME": str(folder / "data"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())["data"]["url"].rstrip("/")
        finally:
            server.terminate()


def read(address: str, body: Any = None) -> bytes:
    """What the studio answers, to a request with a body if there is one."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return response.read()


def ask(address: str, body: Any = None) -> Any:
    return json.loads(read(address, body))


def spoken(address: str, text: str = SENTENCE) -> bytes:
    """A text in a voice of the package, by the studio."""
    settings = {"text": text, "voice": "clara", "engine": "mini", "preset": "draft"}
    job = ask(f"{address}/api/jobs", {"kind": "speech", "settings": settings})
    with urllib.request.urlopen(f"{address}/api/events") as events:
        for line in events:
            if line.startswith(b"data:") and (job := json.loads(line[5:]))["state"] == "done":
                return read(address + job["outputs"][0]["url"])
    raise AssertionError("the events ended")


def clean(page: Browser, address: str) -> None:
    """The page reported no error, and asked nobody but the studio."""
    assert page.errors == []
    assert {asked.split("/api")[0].split("/static")[0].rstrip("/") for asked in page.addresses} <= {
        address,
        "about:blank",
    }


def test_page_is_small_and_self_contained() -> None:
    files = list(STATIC.iterdir())
    assert sum(file.stat().st_size for file in files) < 110_000
    for file in files:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text, f"{file.name} has the address of another host"
        assert not re.search(r"(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(", text), file.name
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"\s(style|on\w+)=|<style|<script(?! type=\"module\" src=\"/static/)", page)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, str]]:
    """A browser without a microphone, and the address of a studio that it may open."""
    folder = tmp_path_factory.mktemp("studio")
    with studio(folder) as address, Browser(folder) as page:
        yield page, address


@needs_browser
def test_page_fits_and_every_control_has_a_name(opened: tuple[Browser, str]) -> None:
    page, address = opened
    page.open(address)
    page.wait("!document.querySelector('#speak').hidden")
    for section in SECTIONS:
        page.evaluate(f"location.hash = '{section}'")
        page.wait(f"document.activeElement.id === '{section}-title'")
        nodes = page.send("Accessibility.getFullAXTree")["nodes"]
        shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in NAMED]
        assert [node for node in shown if not node["name"]["value"]] == []
        for width in WIDTHS:
            page.size(width, dark=width % 400 == 0)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (section, width)
    clean(page, address)


@needs_browser
def test_page_without_a_microphone_offers_the_upload(opened: tuple[Browser, str]) -> None:
    page, address = opened
    page.open(f"{address}/#record")
    page.click("#record-button")
    page.wait("document.querySelector('#no-microphone').innerText.includes('No microphone was found.')")
    http = "Object.defineProperty(window, 'isSecureContext', {value: false})"  # as from another machine, without TLS
    page.send("Page.addScriptToEvaluateOnNewDocument", source=http)
    page.open("about:blank")
    page.open(f"{address}/#record")
    page.wait("!document.querySelector('#record').hidden")
    assert "difftool studio --tls" in page.text("#no-microphone")
    assert not page.evaluate("document.querySelector('#booth').checkVisibility()")
    assert page.evaluate("document.querySelector('#upload-panel').checkVisibility()")
    clean(page, address)


@needs_browser
def test_page_sends_agreements_of_any_type(opened: tuple[Browser, str]) -> None:
    page, address = opened
    page.open(f"{address}/#record")
    letter = "'POST', '/api/uploads?paper=1&name=letter.txt', new Blob(['I agree.'], {type: 'text/plain'})"
    assert page.evaluate(f"import('/static/api.js').then(api => api.request({letter}))")["name"] == "letter.txt"
    clean(page, address)


@needs_browser
def test_page_takes_the_token_from_its_address_or_asks_for_it(opened: tuple[Browser, str], tmp_path: Path) -> None:
    page, _ = opened
    with studio(tmp_path, "--token", TOKEN) as printed:
        address = printed.partition("/#")[0]
        page.open(address)
        page.fill("#login [name=token]", "a wrong one")
        page.click("#login .primary")
        page.wait("document.querySelector('#login .problem').innerText.includes('The token is wrong.')")
        page.open("about:blank")
        page.open(f"{address}/#token={TOKEN}")
        page.wait("!document.querySelector('#speak').hidden")
        assert page.evaluate("location.href") == f"{address}/"
    page.errors.clear()  # the refusals, which were wanted
    page.addresses.clear()


@pytest.mark.slow
@needs_browser
def test_voice_is_recorded_built_and_heard(tmp_path: Path) -> None:
    microphone = tmp_path / "microphone.wav"
    with studio(tmp_path) as address:
        microphone.write_bytes(spoken(address))
        with Browser(tmp_path, microphone) as page:
            page.open(f"{address}/#record")
            record(page)
            build(page)
            speak(page, address, tmp_path)
            cancel(page)
            draw(page, tmp_path)
            clean(page, address)


def record(page: Browser) -> None:
    """Three takes of three sentences, each graded: two with the mouse, one with the keyboard."""
    page.click("#record-button")  # turns the microphone on
    page.wait("document.querySelector('#record-button').innerText.includes('hold')")
    sentences = set()
    for count in (1, 2, 3):
        sentences.add(page.text("#sentence"))
        if count < 3:
            page.hold("#record-button", 3)
        else:
            page.press(" ", 3)
        page.wait(f"document.querySelectorAll('#takes .grade:not(.waiting)').length === {count}")
    assert len(sentences) == 3
    grades = "[...document.querySelectorAll('#takes .grade')].map(grade => grade.innerText).join('')"
    assert re.fullmatch("[A-F]{3}", page.evaluate(grades))
    page.wait("document.querySelector('#takes audio').duration > 2.5")


def build(page: Browser) -> None:
    page.fill("#voice-form [name=name]", "me")
    page.click("#voice-form .primary")  # without a consent
    assert page.evaluate("document.querySelector('#consents :invalid') !== null")
    page.click("#consents [value=self]")
    page.click("#voice-form .primary")
    page.wait("document.querySelector('#voice-jobs .grade')")
    page.click("#voice-jobs a.first")
    page.wait("document.querySelector('#speak-form [name=voice]').value === 'me'")


def speak(page: Browser, address: str, folder: Path) -> None:
    """A sentence in the new voice: its duration, download and rerun."""
    page.fill("#speak-form [name=text]", "This is my voice.")
    page.choose("#speak-form [name=preset]", "draft")
    page.click("#speak-form .primary")
    page.wait("document.querySelector('#speak-jobs .job:first-child h3').innerText === 'This is my voice.'")
    page.wait("document.querySelector('#speak-jobs .job:first-child audio')?.duration > 0.5")
    job = ask(f"{address}/api/jobs?limit=1")[0]
    output = job["outputs"][0]
    heard = page.evaluate("document.querySelector('#speak-jobs audio').duration")
    assert (job["settings"]["voice"], heard) == ("me", pytest.approx(output["seconds"], abs=0.01))
    page.click("#speak-jobs a[download]")
    downloaded = page.downloaded().read_bytes()
    assert downloaded == read(address + output["url"])
    assert downloaded in [file.read_bytes() for file in folder.glob(f"outputs/*/*/{output['name']}")]
    page.click("#speak-jobs .action:has([href='#icon-rerun'])")
    page.wait("document.querySelector('#speak-jobs .badge.good')?.innerText === 'Rerun: identical'")


def cancel(page: Browser) -> None:
    page.fill("#speak-form [name=text]", "It was late. " * 200)
    page.click("#speak-form .primary")
    page.click("#speak-jobs .progress .action")
    page.wait("document.querySelector('#speak-jobs .job:first-child .badge')?.innerText === 'Cancelled'")
    page.click("#speak-jobs .job:first-child .action:has([href='#icon-rerun'])")  # tries it again
    page.click("#speak-jobs .progress .action")
    page.wait("document.querySelectorAll('#speak-jobs .badge.cancelled').length === 2")


def draw(page: Browser, folder: Path) -> None:
    """A picture by the model in the package, and its settings out of its file."""
    page.evaluate("location.hash = 'pictures'")
    page.fill("#pictures-form [name=prompt]", "a red circle on a blue ground")
    page.fill("#pictures-form [name=count]", "1")
    page.fill("#pictures-form [name=seed]", "7")
    page.click("#pictures-form .primary")
    page.wait("document.querySelector('#pictures-jobs .grid img')?.naturalWidth === 64")
    page.click("#pictures-jobs .grid button")
    page.wait("document.querySelector('#lightbox').open")
    page.press("Escape")
    page.wait("!document.querySelector('#lightbox').open")
    page.fill("#pictures-form [name=prompt]", "")
    page.fill("#pictures-form [name=seed]", "0")
    page.attach("#pictures .drop input", *folder.glob("outputs/txt2img/*/*.png"))
    page.wait("document.querySelector('#pictures-form [name=prompt]').value === 'a red circle on a blue ground'")
    assert page.evaluate("document.querySelector('#pictures-form [name=seed]').value") == "7"
