"""Options shared by several commands."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..limits import size_of as size_of
from ..outputs import NEARBY
from ..settings import MACHINE, OUTPUT, TEXT, Option, check_range, kinds, name_of, options, range_of
from .completion import completer

MOST_SHOWN = 1e5
"""The largest bound of a range that the help shows."""
INPUT = TEXT


def one_of_each(*groups: tuple[str, ...]) -> Callable[[Callable], Callable]:
    """Marks the options of each group as mutually exclusive."""

    def mark(command: Callable) -> Callable:
        command.exclusive = groups  # type: ignore[attr-defined]
        return command

    return mark


def exclusive_of(command: Callable, settings: Iterable[type]) -> list[tuple[str, ...]]:
    """The groups of mutually exclusive options: the shared one, the command's own, and those of its settings."""
    groups = [("output", "output_dir"), *getattr(command, "exclusive", ())]
    for cls in settings:
        groups += getattr(cls, "exclusive", ())
    return groups


def parameters(settings: type) -> list[inspect.Parameter]:
    """The parameters of a command for the fields of a class of settings."""
    annotations = kinds(settings)
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    params = []
    for name, option in options(settings).items():
        kind = annotations[name] if option.typed is None else option.typed
        annotation = Annotated[kind, _typer(name, option, kind)]
        params.append(inspect.Parameter(name, KEYWORD, default=_typed(defaults[name]), annotation=annotation))
    return params


KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _typed(default: Any) -> Any:
    return list(default) or None if isinstance(default, tuple) else default


def _typer(name: str, option: Option, kind: Any) -> Any:
    """A setting as an option or argument of Typer."""
    if option.argument:
        return typer.Argument(
            metavar=option.metavar,
            help=option.help,
            callback=_callback(name_of(name, option), option),
            autocompletion=_completion(option),
        )
    names = option.names or (name_of(name, option),)
    shown: dict[str, Any] = {}
    if bool in (kind, *typing.get_args(kind)):
        long, *short = names
        names = (f"{long}/--no-{long.removeprefix('--')}", *short)
        shown = {"show_default": False}
    return typer.Option(
        *names,
        help=_help(option),
        metavar=option.metavar,
        callback=_callback(names[0].partition("/")[0], option),
        parser=_parser(option),
        autocompletion=_completion(option),
        rich_help_panel=option.panel,
        **shown,
    )


def _help(option: Option) -> str:
    """The help of a setting with its range, which ends the first clause."""
    shown = {end: bound for end in ("least", "most") if abs(bound := getattr(option, end) or 0) > MOST_SHOWN}
    limits = range_of(dataclasses.replace(option, **dict.fromkeys(shown)))
    if not limits:
        return option.help
    clause, ending = re.match(r"(.*?)([;:.](?:\s.*)?)?$", option.help, re.DOTALL).groups("")  # type: ignore[union-attr]
    limits = limits.removeprefix("from ")
    clause = f"{clause[:-1]}; {limits})" if clause.endswith(")") else f"{clause} ({limits})"
    return clause + ending


def _completion(option: Option) -> Callable[..., list[str]] | None:
    values = option.values or getattr(option.check, "values", None)
    return None if values is None else completer(values)


def _parser(option: Option) -> Callable[[str], Any] | None:
    """The parser of a setting; Typer shows its message with the name of the option."""
    parser = option.parser
    if parser is None:
        return None

    def parse(text: str) -> Any:
        try:
            return parser(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parse


def _callback(label: str, option: Option) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is None:
            return None
        check_range(label, option, value)
        return value if option.check is None else option.check(value)

    return check


OUTPUT_HELP = (
    "Output PNG; for several pictures, their grid: singles go beside it as STEM-00000-SEED.png, "
    f"more than {NEARBY} into STEM-singles/."
)
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help=OUTPUT_HELP, rich_help_panel=OUTPUT),
]
AnyOutput = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help=OUTPUT_HELP.replace("PNG;", "PNG, or WAV for a sound;"), rich_help_panel=OUTPUT
    ),
]
GridOnly = Annotated[
    bool,
    typer.Option(
        "--grid-only/--no-grid-only",
        help="Of several results, write only the grid.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        help="Output folder: a file per result (and a picture grid).",
        rich_help_panel=OUTPUT,
    ),
]
Show = Annotated[
    bool,
    typer.Option(
        "--show/--no-show",
        help="Show the picture, or the spectrogram, in the terminal.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
Open = Annotated[
    bool,
    typer.Option(
        "--open/--no-open", help="Open the report in the browser.", rich_help_panel=OUTPUT, show_default=False
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite/--no-overwrite", help="Overwrite existing files.", show_default=False, rich_help_panel=OUTPUT
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run/--no-dry-run", help="Print what would be done and exit.", show_default=False, rich_help_panel=OUTPUT
    ),
]
ModelsDir = Annotated[
    Path | None,
    typer.Option("--models-dir", help="Folder of models; default: in the user data folder.", rich_help_panel=MACHINE),
]
VoicesDir = Annotated[
    Path | None,
    typer.Option(
        "--voices-dir",
        help="Folder of voices; default: ./voices if it exists, else in the user data folder.",
        rich_help_panel=INPUT,
    ),
]
