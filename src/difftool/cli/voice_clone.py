from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DifftoolError, Exit
from ..files import expanded, read_text
from ..settings import OUTPUT, TEXT
from ..voice.engines import united
from ..voice.settings import Settings
from .console import Console, Result
from .options import DryRun, OutputDir, Overwrite, one_of_each
from .speech import SEVERAL_RUNS, carry_out, dry, places, read_out

SENTENCE = "This is a test recording to make AI clone my voice."
"""What is spoken when nobody gives a text."""


@one_of_each(("text", "textfile"))
def clone(
    console: Console,
    settings: Settings,
    options: Annotated[object, united],
    textfile: Annotated[
        str | None, typer.Option("--textfile", metavar="FILE", help="A file to say; - is stdin.", rich_help_panel=TEXT)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The result: .wav, .flac, .mp3 or .ogg.", rich_help_panel=OUTPUT),
    ] = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    save_stages: Annotated[
        Path | None,
        typer.Option("--save-stages", metavar="FILE.npz", help="Also what the networks said.", rich_help_panel=OUTPUT),
    ] = None,
    redo: Annotated[
        str | None,
        typer.Option("--redo", metavar="3,7-9", help="Say these parts of a long text again.", rich_help_panel=OUTPUT),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes", help="Stop a long text in time; the same command goes on.", min=0, rich_help_panel=OUTPUT
        ),
    ] = None,
    dry_run: DryRun = False,
) -> Result:
    """Say a text in a voice.

    A long text is said in parts, in a folder beside the result; the same command goes on where it was stopped.

    Examples:

    difftool voice clone --voice me --preset fast "It is late, and nobody is at home."

    difftool voice clone --voice me --textfile book.txt -o book.mp3
    """
    if max_minutes is not None and not max_minutes >= 0:  # which NaN is not
        raise DifftoolError(Exit.USAGE, f"max-minutes is a number of minutes, not {max_minutes}", "leave it out")
    settings = replace(settings, text=_said(console, settings.text, textfile))
    destination = console.destination(output, output_dir, overwrite=overwrite)
    # a long text goes on with the files that are there
    to = places(replace(destination, standing=False), settings.candidates, settings.seed, save_stages)
    if to.default and max_minutes is not None:
        raise DifftoolError(Exit.USAGE, SEVERAL_RUNS, "name it with -o FILE")
    from ..voice.long_text import spans
    from ..voice.plan import planned

    if redo is not None:
        spans(redo)  # which tells what is wrong whatever the text and the models are
    plan = planned(settings, vars(options))
    if len(plan.parts) == 1:
        to = places(destination, settings.candidates, settings.seed, save_stages)
    if dry_run:
        return dry(plan, to)
    if len(plan.parts) > 1:
        return read_out(console, plan, to, redo, max_minutes, overwrite=overwrite)
    if redo is not None:
        raise DifftoolError(Exit.USAGE, "the text is said in one go and has no parts", "take another --seed")
    return carry_out(console, plan, to, overwrite=overwrite)


def _said(console: Console, text: str | None, textfile: str | None) -> str:
    """The text to say. Raises DifftoolError 2 where it is empty, 4 where a file cannot be read."""
    if text is not None:
        found, where = text, "the text"
    elif textfile is not None and textfile != "-":
        found, where = read_text(expanded(textfile)), textfile
    elif textfile == "-" or _is_fed():
        found, where = read_text(None), "what is piped in"
    else:
        console.say(f"no text was given; saying: {SENTENCE}")
        return SENTENCE
    if not found.strip():
        raise DifftoolError(Exit.USAGE, f"{where} is empty", 'give a text: difftool voice clone "Hello." or --textfile')
    return found


def _is_fed() -> bool:
    """Whether something comes in: from a pipe, a socket or a file, and not from a terminal or nowhere."""
    try:
        kind = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed by whoever called
        return False
    return any(is_one(kind) for is_one in (stat.S_ISFIFO, stat.S_ISSOCK, stat.S_ISREG))
