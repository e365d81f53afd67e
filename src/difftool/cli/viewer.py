"""Shows results once they are printed: pictures in the terminal, report pages in the browser."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from .console import Console, Result, is_ansi


def showing(console: Console, result: Result) -> Result:
    """The result, whose last picture, or the spectrogram of a sound, is shown once it is printed."""
    if not result.paths:
        return result
    last = Path(result.paths[-1])
    picture = last.with_suffix(".png") if last.suffix.lower() == ".wav" else last
    return result._replace(after=partial(show_picture, console, picture))


def show_picture(console: Console, path: Path) -> None:
    """Shows a picture in the terminal: by sixels or Kitty's graphics where the terminal has them, in half blocks of
    colour otherwise."""
    # the terminal is asked what it can show, and answers on stdin
    is_terminal = sys.stdin.isatty() and is_ansi(sys.stdout) and os.get_terminal_size(1).columns > 0
    if console.json or console.quiet or not is_terminal:
        console.warn("--show needs a terminal and has no effect with --json or --quiet")
        return
    from rich.console import Console as RichConsole
    from textual_image.renderable import Image

    RichConsole().print(Image(path))


def open_page(console: Console, path: Path) -> None:
    """Opens a page in the browser."""
    import webbrowser

    if not webbrowser.open(path.absolute().as_uri()):
        console.warn(f"cannot open {path}: no web browser found")
