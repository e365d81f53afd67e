"""Options that several commands have, spelled the same everywhere."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.grid import SPACINGS
from ..device import DTYPES, MOST_THREADS, spelled
from ..errors import DifftoolError, Exit, pick
from ..limits import MOST
from ..sampling import aliases
from ..settings import MACHINE, OUTPUT, SAMPLING, TEXT, Option, kinds, name_of, options, plain

MOST_SHOWN = 1e9
"""Ends of a range that a help shows."""
LARGEST = 8192
"""Pixels along a side of a picture."""
INPUT = TEXT


def count_of(value: str | int) -> int:
    """A whole number above 0 that may end in k or M: 500k is 500,000."""
    text = str(value).strip()
    factor = {"k": 1_000, "K": 1_000, "m": 1_000_000, "M": 1_000_000}.get(text[-1:], 1)
    try:
        number = float(text[:-1] if factor > 1 else text) * factor
        if number == int(number) and number > 0:
            return int(number)
    except (ValueError, OverflowError):
        pass
    raise typer.BadParameter(f"{value!r} is not a whole number above 0 such as 5000, 500k or 2M")


def size_of(value: str | None) -> tuple[int, int] | None:
    """(width, height) of WxH. Raises DifftoolError 2 where it is none."""
    if value is None:
        return None
    parts = value.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 6 and 0 < int(part) <= LARGEST for part in parts):
        hint = f"give whole numbers from 1 to {LARGEST:,}"
        raise DifftoolError(Exit.USAGE, f"a size is WIDTHxHEIGHT such as 64x48, not {value!r}", hint)
    return int(parts[0]), int(parts[1])


def one_of(kind: str, table: Iterable[str]) -> Callable[[str | None], str | None]:
    """A callback for an option that takes a name from a table: hyphens and underscores, small and large letters are
    the same."""
    known = {plain(name): name for name in table}

    def read(value: str | None) -> str | None:
        return None if value is None else pick(kind, plain(value), known)

    return read


def dtype_of(dtype: str, half: bool) -> str:
    """The number format that --dtype or --half asks for."""
    return "fp16" if half else dtype


def known_sampler(value: str | None) -> str | None:
    """A callback that lets no unknown sampler pass, whatever it is called."""
    if value is not None:
        aliases.sampler(value)
    return value


def known_schedule(value: str | None) -> str | None:
    """The same for a schedule."""
    if value is not None:
        aliases.schedule(value)
    return value


def one_of_each(*groups: tuple[str, ...]) -> Callable[[Callable], Callable]:
    """Marks a command that takes one of the options of each group."""

    def mark(command: Callable) -> Callable:
        command.exclusive = groups  # type: ignore[attr-defined]
        return command

    return mark


def exclusive_of(command: Callable, settings: Iterable[type]) -> list[tuple[str, ...]]:
    """The groups of options of which a command takes one: its own, those of its classes of settings, and those that are
    shared by all that have them."""
    own = list(getattr(command, "exclusive", ()))
    return [("output", "output_dir"), *own, *(group for cls in settings for group in getattr(cls, "exclusive", ()))]


def parameters(settings: type) -> list[inspect.Parameter]:
    """A parameter of a command for each of the settings of a class."""
    annotations, defaults = kinds(settings), {field.name: field.default for field in dataclasses.fields(settings)}
    made = []
    for name, option in options(settings).items():
        kind = annotations[name] if option.typed is None else option.typed
        annotation = Annotated[kind, _typer(name, option, kind)]
        made.append(inspect.Parameter(name, KEYWORD, default=_typed(defaults[name]), annotation=annotation))
    return made


KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _typed(default: Any) -> Any:
    return list(default) or None if isinstance(default, tuple) else default


def _typer(name: str, option: Option, kind: Any) -> Any:
    """A setting as Typer takes it."""
    if option.argument:
        return typer.Argument(metavar=option.metavar, help=option.help, callback=_callback(option))
    names = option.names or (name_of(name, option),)
    shown: dict[str, Any] = {}
    if bool in (kind, *typing.get_args(kind)):
        names = (f"{names[0]}/--no-{names[0].removeprefix('--')}", *names[1:])
        shown = {"show_default": False}
    whole = int in (kind, *typing.get_args(kind))
    ends = [None if end is None or abs(end) > MOST_SHOWN else end for end in (option.least, option.most)]
    return typer.Option(
        *names,
        help=option.help,
        metavar=option.metavar,
        min=ends[0] if whole or ends[0] is not None else None,
        max=ends[1],
        callback=_callback(option),
        parser=option.parser,
        rich_help_panel=option.panel,
        **shown,
    )


def _callback(option: Option) -> Callable[[Any], Any] | None:
    check = option.check
    return None if check is None else lambda value: None if value is None else check(value)


ModelName = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="A run, model or diffusers folder; none: the digits in the package."),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        help=f"Levels to visit: {', '.join(SPACINGS)}; the model's own unless told otherwise.",
        callback=known_schedule,
        rich_help_panel=SAMPLING,
    ),
]
Eta = Annotated[
    float | None,
    typer.Option("--eta", help="Fresh noise: 0 none, 1 all of it.", min=0, max=1, rich_help_panel=SAMPLING),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The result: a PNG; of several pictures their grid.", rich_help_panel=OUTPUT),
]
OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", help="Folder for every single result and the grid.", rich_help_panel=OUTPUT),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite/--no-overwrite", help="Replace files that exist.", show_default=False, rich_help_panel=OUTPUT
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run/--no-dry-run", help="Say what would be done, and end.", show_default=False, rich_help_panel=OUTPUT
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Result k has seed + k.", rich_help_panel=SAMPLING)]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", help="How many at once; results agree to rounding.", min=1, max=MOST, rich_help_panel=MACHINE
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.", callback=spelled, rich_help_panel=MACHINE)
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="auto, fp32, bf16 or fp16.",
        callback=one_of("dtype", ("auto", *DTYPES)),
        rich_help_panel=MACHINE,
    ),
]
Half = Annotated[
    bool,
    typer.Option("--half/--no-half", help="The same as --dtype fp16.", show_default=False, rich_help_panel=MACHINE),
]
LowVram = Annotated[
    bool,
    typer.Option(
        "--low-vram/--no-low-vram",
        help="One at a time, for little memory.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
ModelsDir = Annotated[
    Path | None,
    typer.Option("--models-dir", help="Where models live; your data folder unless given.", rich_help_panel=MACHINE),
]
VoicesDir = Annotated[
    Path | None,
    typer.Option("--voices-dir", help="Where voices live: ./voices, or your data folder.", rich_help_panel=INPUT),
]
Threads = Annotated[
    int | None, typer.Option("--threads", help="CPU threads.", min=1, max=MOST_THREADS, rich_help_panel=MACHINE)
]
