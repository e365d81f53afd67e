from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import processes
from ..device import rest_idle_threads
from ..errors import DifftoolError, Exit
from ..files import expanded, read_text
from ..settings import OUTPUT, TEXT
from ..voice.engines import BUNDLED, choose_engine, united
from ..voice.settings import Settings
from .console import Console, Result
from .options import DryRun, OutputDir, Overwrite, one_of_each
from .speech import SEVERAL_RUNS, carry_out, dry, places, read_out

if TYPE_CHECKING:
    from ..voice.documents import Document

SENTENCE = "This is a test recording to make AI clone my voice."
"""The text spoken by default."""


@one_of_each(("text", "textfile"), ("save_stages", "verify"))
def clone(
    console: Console,
    settings: Settings,
    options: Annotated[object, united],
    textfile: Annotated[
        str | None,
        typer.Option(
            "--textfile",
            metavar="FILE",
            help="Text, EPUB or Markdown file; - for stdin.",
            rich_help_panel=TEXT,
        ),
    ] = None,
    chapters: Annotated[
        str | None,
        typer.Option("--chapters", metavar="3,7-9", help="Speak only these chapters.", rich_help_panel=TEXT),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Output .wav, .flac, .mp3, .ogg, .m4b or .m4a.", rich_help_panel=OUTPUT),
    ] = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    save_stages: Annotated[
        Path | None,
        typer.Option(
            "--save-stages",
            metavar="FILE.npz",
            help="Also write the intermediate outputs of the networks.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    redo: Annotated[
        str | None,
        typer.Option("--redo", metavar="3,7-9", help="Speak these parts of a long text again.", rich_help_panel=OUTPUT),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes",
            help="Time limit for a long text, at least 0.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    dry_run: DryRun = False,
) -> Result:
    """Speak a text in a voice.

    The small engine in this package, mini, speaks unless a larger one is installed. It was trained on synthetic speech
    of Kokoro-82M (Apache-2.0): of a real person it takes pitch, pace and brightness, not identity.

    A long text is spoken in parts, kept in a folder beside the result. Repeat the command to resume after an
    interruption.

    Examples:

    difftool voice clone --voice alma "It is late, and nobody is at home."

    difftool voice clone --voice me --textfile book.epub -o book.m4b
    """
    if max_minutes is not None and not max_minutes >= 0:  # also NaN
        message = f"--max-minutes must be at least 0, not {max_minutes}"
        raise DifftoolError(Exit.USAGE, message, "leave it out for no limit")
    settings.connect()
    if processes.count() == 1:  # several have loaded PyTorch to connect
        _rest_idle_threads(settings, options)
    document, text = processes.agreed(lambda: _given(console, settings.text, textfile, chapters))
    settings = replace(settings, text=text)
    destination = processes.agreed(lambda: console.destination(output, output_dir, overwrite=overwrite))
    # a long text resumes with the files that exist
    to = places(replace(destination, standing=False), settings.candidates, settings.seed, save_stages)
    if to.default and max_minutes is not None:
        raise DifftoolError(Exit.USAGE, SEVERAL_RUNS, "add -o FILE")
    from ..voice.long_text import spans
    from ..voice.plan import plan_speech

    if redo is not None:
        spans(redo)  # reports a malformed value before any model is opened
    with processes.together():
        plan = plan_speech(settings, vars(options), document=document)
    if len(plan.parts) == 1:
        to = places(destination, settings.candidates, settings.seed, save_stages)
    if dry_run:
        return dry(plan, to)
    if len(plan.parts) > 1:
        return read_out(console, plan, to, redo, max_minutes, overwrite=overwrite)
    if redo is not None:
        raise DifftoolError(
            Exit.USAGE, "--redo needs a text of several parts, and this text has only one", "use another --seed"
        )
    return processes.agreed(lambda: carry_out(console, plan, to, overwrite=overwrite))


def _rest_idle_threads(settings: Settings, options: object) -> None:
    """For the large engines, whose products take longer than waking a thread up. Called before PyTorch is loaded."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    models_dir = None if settings.models_dir is None else expanded(settings.models_dir)
    if choose_engine(settings.engine, given, models_dir, quantised=settings.quantised) != BUNDLED:
        rest_idle_threads()


def _given(
    console: Console, text: str | None, textfile: str | None, chapters: str | None
) -> tuple[Document | None, str]:
    """The document to speak, None for a plain text, and its text."""
    document = _document(textfile, chapters)
    return document, _text(console, text, textfile) if document is None else document.text


def _document(textfile: str | None, chapters: str | None) -> Document | None:
    """The document to speak, None for a plain text. Raises DifftoolError 2 for chapters that do not exist, 4 if it
    cannot be read."""
    from ..voice.documents import is_document, read_document

    if textfile is None or not is_document(Path(textfile)):
        if chapters is not None:
            message = "--chapters needs an EPUB or Markdown file"
            raise DifftoolError(Exit.USAGE, message, "pass one with --textfile")
        return None
    document = read_document(textfile)
    if chapters is None:
        return document
    from ..voice.long_text import numbers

    return document.only(numbers(chapters, len(document.chapters), "chapter"))


def _text(console: Console, text: str | None, textfile: str | None) -> str:
    """The text to speak. Raises DifftoolError 2 if it is empty, 4 if a file cannot be read."""
    if text is not None:
        source = "the text"
    elif textfile is not None and textfile != "-":
        text, source = read_text(expanded(textfile)), textfile
    elif textfile == "-" or _is_stdin_input():
        text, source = read_text(None), "the text from stdin"
    else:
        console.say(f"no text given; speaking: {SENTENCE}")
        return SENTENCE
    if not text.strip():
        hint = 'pass a text: difftool voice clone "Hello.", or use --textfile'
        raise DifftoolError(Exit.USAGE, f"{source} is empty", hint)
    return text


def _is_stdin_input() -> bool:
    """Whether stdin is a pipe, a socket or a file."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed by the caller
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)
