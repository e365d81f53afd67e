"""Draws docs/voice-report.png: the report that `difftool voice prep` writes for the spoken text of the tests.

python docs/voice_report.py FILE.png    # needs Chromium
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
SIZE = "1100,700"
COLOURS = 64
FRAME = "#c8ccd0"
"""So that the page ends somewhere on a white one."""


def main() -> None:
    to = Path(sys.argv[1])
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("error: Chromium is not installed\nhint: install it (Debian: apt install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "difftool", "voice", "prep", str(GOLDEN / "speech.ogg"), "--voice", "example"]
        command += ["--consent", "synthetic", "--transcript", str(GOLDEN / "speech.json"), "--voices-dir", folder]
        subprocess.run(command, check=True)
        shot = Path(folder) / "shot.png"
        browser = [chromium, "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE}"]
        browser += [f"--screenshot={shot}", str(Path(folder) / "example" / "report.html")]
        subprocess.run(browser, check=True, stderr=subprocess.DEVNULL)
        framed = ImageOps.expand(Image.open(shot).convert("RGB"), border=1, fill=FRAME)
        framed.quantize(COLOURS, dither=Image.Dither.NONE).save(to, optimize=True)


if __name__ == "__main__":
    main()
