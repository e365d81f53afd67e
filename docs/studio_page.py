"""Draws docs/studio.png: the page of `difftool studio` while a voice is recorded.

python docs/studio_page.py FILE.png    # needs Chromium
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "web")]

from browser import Browser, binary  # noqa: E402
from test_page import ask, spoken, studio  # noqa: E402

SIZE = (1180, 1120)
TAKES = 3
SECONDS = 4.0
"""Of a take."""
COLOURS = 128
FRAME = "#c8ccd0"
"""So that the page ends somewhere on a white one."""


def main() -> None:
    to = Path(sys.argv[1])
    if binary() is None:
        sys.exit("error: Chromium is not installed\nhint: install it (Debian: apt install chromium)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, studio(Path(folder)) as address:
        sentences = ask(f"{address}/api/state")["sentences"]
        microphone = Path(folder) / "microphone.wav"
        microphone.write_bytes(spoken(address, " ".join(sentences[:TAKES])))
        with Browser(Path(folder), microphone, ("--hide-scrollbars",)) as page:
            page.size(*SIZE)
            page.open(f"{address}/#record")
            record(page)
            shot = Path(folder) / "shot.png"
            page.screenshot(shot, whole=False)
        framed = ImageOps.expand(Image.open(shot).convert("RGB"), border=1, fill=FRAME)
        framed.quantize(COLOURS, dither=Image.Dither.NONE).save(to, optimize=True)


def record(page: Browser) -> None:
    page.click("#record-button")  # turns the microphone on
    page.wait("document.querySelector('#record-button').innerText.includes('hold')")
    for count in range(1, TAKES + 1):
        page.hold("#record-button", SECONDS)
        page.wait(f"document.querySelectorAll('#takes .player').length === {count}")
    page.click("#record-button")
    page.fill("#voice-form [name=name]", "me")
    page.click("#consents [value=self]")
    page.evaluate("document.activeElement.blur(); scrollTo({top: 0, behavior: 'instant'})")
    page.wait("document.querySelector('#level').innerText.endsWith('good · 0:02')")


if __name__ == "__main__":
    main()
