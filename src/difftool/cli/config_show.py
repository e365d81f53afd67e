from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import typer

from ..errors import unknown
from ..settings import Given, key_of, options
from . import COMMANDS
from .completion import completer
from .config import FILES, settle
from .console import Console, Result

FAMILIES = {"train": "train", "txt2img": "txt2img"}
"""The presets of a command."""
ENGINES = {"tortoise": "voice", "f5": "f5", "mini": "mini", "stock": "voice"}
"""The presets of `voice clone`, by engine."""
BUILT_IN, PRESET, LINE = "built-in", "preset", "command line"


class Value(NamedTuple):
    """The value of an option."""

    key: str
    """As in a configuration file."""
    value: object
    source: str
    """The command line, the name of an environment variable, the path of a file, a preset, or built-in."""


def show(
    console: Console,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND] [ARGS]...",
            help="A command or a group; default: all. After --, also options of a command.",
            autocompletion=completer(lambda params: _next_words(params)),
        ),
    ] = None,
) -> Result:
    """Show the value of every option and where it comes from.

    Sources are the command line, an environment variable, a configuration file, a preset, or the built-in default; an
    option without a value is shown as -.

    Examples:

    difftool config show sample

    difftool config show -- voice clone --preset standard
    """
    names, args = _named(words or [])
    commands = {name: _values(console, name, args) for name in names}
    lines = []
    for name, values in commands.items():
        lines.append(f"[{'.'.join(name.split())}]")
        width = max(len(row.key) for row in values)
        lines += [f"{row.key:{width}} = {_text(row.value)}  ({row.source})" for row in values]
        lines.append("")
    shown = {}
    for name, values in commands.items():
        shown[name] = {row.key: {"value": row.value, "source": row.source} for row in values}
    files = [str(path) for path in dict.fromkeys(console.read)]
    return Result({"files": files, "commands": shown}, lines[:-1], files)


def _next_words(params: Given) -> Iterable[str]:
    """The words that may follow those of a command that is typed in part."""
    typed = list(cast("Iterable[str]", params.get("words") or ()))
    names = [name.split() for name in COMMANDS]
    return dict.fromkeys(name[len(typed)] for name in names if name[: len(typed)] == typed and len(name) > len(typed))


def _named(words: Sequence[str]) -> tuple[list[str], Sequence[str]]:
    """(the commands that the first words name, the other words). Raises DifftoolError 2 for an unknown command."""
    for count in (2, 1):
        name = " ".join(words[:count])
        if len(words) >= count and name in COMMANDS:
            return [name], words[count:]
    names = [name for name in COMMANDS if not words or name.split()[0] == words[0]]
    if len(words) > 1 or not names:
        raise unknown("command", " ".join(words[:2]), COMMANDS)
    return names, []


def _values(console: Console, name: str, args: Sequence[str]) -> list[Value]:
    """The options of a command as it would read them with these arguments."""
    from .app import load

    command = load(name, *COMMANDS[name])
    ctx = typer.Context(command, info_name=f"difftool {name}", obj=console)
    given, rest, _ = command.make_parser(ctx).parse_args(args=list(args))
    if console.config is not None:
        given.setdefault("config", console.config)
    params = [param for param in command.params if param.name]
    for param in sorted(params, key=lambda param: not param.is_eager):  # --config first
        param.required = False
        param.handle_parse_result(ctx, given, rest)
    exclusive = command.callback.exclusive
    settled = settle(ctx, ctx.params, exclusive)
    row = _preset(name, settled)
    for group in exclusive:
        if any(settled.get(name) not in (None, False) for name in group):
            row = {key: value for key, value in row.items() if key not in group}
    return [_value(ctx, param, settled, row) for param in params if param.nargs != -1]


def _value(ctx: typer.Context, param: Any, settled: Mapping[str, object], row: Mapping[str, object]) -> Value:
    """The value of one option; `settled` are those of all, `row` is the preset."""
    value = settled[param.name]
    spelling = next((opt for opt in param.opts if opt.startswith("--")), param.name)
    source = ctx.get_parameter_source(param.name)
    origin = source.name if source and value == ctx.params[param.name] else "DEFAULT"
    where = BUILT_IN
    if origin == "COMMANDLINE":
        where = LINE
    elif origin == "ENVIRONMENT":
        where = next(variable for variable in param.envvar if os.environ.get(variable))
    elif origin == "DEFAULT_MAP":
        where = str(ctx.meta[FILES][param.name])
    elif value is None and param.name in row:
        value, where = row[param.name], f"{PRESET} {settled['preset']}"
    return Value(key_of(spelling), _plain(value), where)


def _preset(name: str, settled: Given) -> Mapping[str, object]:
    """The row of a command's preset, if one is chosen; of `voice clone` that of the engine they select."""
    from ..presets import family

    rows = ENGINES.get(_engine(settled)) if name == "voice clone" else FAMILIES.get(name)
    return family(rows).get(str(settled.get("preset")), {}) if rows else {}


def _engine(settled: Given) -> str:
    """The engine that the settings of `voice clone` select."""
    from ..voice.engines import choose_engine, united

    given = {key: settled[key] for key in options(united()) if settled[key] is not None}
    return choose_engine(str(settled["engine"]), given, cast(Path | None, settled["models_dir"]))


def _plain(value: Any) -> object:
    """A value for JSON."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _text(value: object) -> str:
    """A value as TOML has it; - for none."""
    import json

    return "-" if value is None else json.dumps(value, ensure_ascii=False)
