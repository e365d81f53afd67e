"""Shows results once they are printed: pictures in the terminal, report pages in the browser."""

from __future__ import annotations

import sys
from pathlib import Path

from .console import Console, is_ansi


def show_picture(console: Console, path: Path) -> None:
    """Shows a picture in the terminal: by sixels or Kitty's graphics where the terminal has them, in half blocks of
    colour otherwise."""
    if console.json or console.quiet or not is_ansi(sys.stdout):
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
