"""Configuration files: --config, ./difftool.toml and the user's; command line and environment override them."""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DifftoolError, Exit, nearest
from ..files import expanded
from ..settings import exclude_each_other, key_of
from . import COMMANDS
from .console import Console

PROJECT = Path("difftool.toml")
Groups = Sequence[Sequence[str]]
"""Groups of options that cannot be used together."""
FILES = "difftool.files"
"""The key, in the context, of the files that options come from."""
RANKS = {"COMMANDLINE": 3, "ENVIRONMENT": 2, "DEFAULT_MAP": 1}
"""Precedence of the sources of an option, by Typer's names; a default ranks 0."""
SAID_ONLY = ("overwrite", "originals")
"""Options that can destroy files. PROJECT may come from a stranger, so it cannot set them."""


def apply(ctx: Any, command: str, named: str | None, annotations: Mapping[str, object], exclusive: Groups = ()) -> None:
    """Makes the tables for `command` in the configuration files the defaults of its options.

    ctx: Typer's context, with the `Console` as `obj`; its `meta[FILES]` becomes the file of each option; named: the
    value of --config; annotations: the types of the command's parameters; exclusive: groups of options that cannot
    be used together.

    Raises DifftoolError: 4 if the file of --config does not exist, 2 if a file is not TOML, has an unknown table or
    key, or a value of the wrong type.
    """
    single = [param for param in ctx.command.params if param.nargs != -1]
    by_key = {}
    for param in single:
        if param.name in annotations:
            spellings = [opt for opt in param.opts if opt.startswith("--")] or [param.name]
            by_key |= {key_of(spelling): param.name for spelling in spellings}
    merged: dict[str, object] = {}
    files = ctx.meta[FILES] = {}
    own = None if named is None else expanded(named)
    for path in (_user(ctx.obj), PROJECT, own):
        if path is None or not (path.exists() or path == own):
            continue
        values: dict[str, object] = {}
        for key, value in _table(path, command).items():
            name = by_key.get(key_of(key))
            if name is None:
                raise _unknown_key(path, command, key, by_key)
            values[name] = _checked(path, key, value, annotations[name])
        for name in SAID_ONLY:
            if path == PROJECT and values.pop(name, False):
                ctx.obj.warn(f"{path}: {name} is ignored in this file; use --{name}")
        if values:
            ctx.obj.read.append(path)
        # an option of a nearer file overrides those that exclude it in farther ones
        given = {name for name, value in values.items() if value is not False}
        overridden = {name for group in exclusive if given & set(group) for name in group}
        remaining = {name: value for name, value in merged.items() if name not in overridden}
        merged = remaining | values
        files |= dict.fromkeys(values, path)
    ctx.default_map = merged


def _unknown_key(path: Path, command: str, key: str, known: Iterable[str]) -> DifftoolError:
    table = ".".join(command.split())
    message = f"{path}: [{table}] has no key {key!r}"
    if near := nearest(key_of(key), known):
        message += f"; did you mean {near!r}?"
    return DifftoolError(Exit.USAGE, message, f"see difftool {command} --help")


def said(ctx: Any, name: str) -> int:
    """The rank of the source that set an option, as in RANKS; 0 for a default."""
    return RANKS.get(ctx.get_parameter_source(name).name, 0)


def settle(ctx: Any, options: Mapping[str, object], exclusive: Groups = ()) -> dict[str, object]:
    """`options` without those that a mutually exclusive option of a higher source overrides: the command line, then
    the environment, then a file. Raises DifftoolError 2 if one source sets two of a group."""
    settled = dict(options)
    params = {param.name: param for param in ctx.command.params}
    given = {name for group in exclusive for name in group if settled.get(name) not in (None, False)}
    ranks = {name: said(ctx, name) for name in given}
    by_rank = sorted((name for name in given if ranks[name]), key=lambda name: -ranks[name])
    chosen: list[str] = []
    for name in by_rank:
        rival = next((other for other in chosen if _exclude_each_other(other, name, exclusive)), None)
        if rival is None:
            chosen.append(name)
        elif ranks[rival] > ranks[name]:
            settled[name] = params[name].default
        else:
            pair = [_name(param) for param in ctx.command.params if param.name in (name, rival)]
            raise exclude_each_other(*pair)
    return settled


def _exclude_each_other(first: str, second: str, exclusive: Groups) -> bool:
    return any({first, second} <= set(group) for group in exclusive)


def _name(param: Any) -> str:
    """The name of a parameter in the help."""
    return param.metavar if param.param_type_name == "argument" else param.opts[0]


def _user(console: Console) -> Path | None:
    """The user's file; None if it cannot be read, as under sudo with the HOME of another user."""
    from platformdirs import user_config_dir

    path = Path(user_config_dir("difftool")) / "config.toml"
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        console.warn(f"cannot read {path}: permission denied; ignored")
        return None
    return path


def _table(path: Path, command: str) -> Mapping[str, object]:
    """The table of a command; the names of all tables are checked."""
    try:
        if path.exists() and not path.is_file():
            raise DifftoolError(Exit.FILE, f"{path} is not a configuration file", "pass a TOML file with --config")
        table: Any = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise DifftoolError(Exit.FILE, message, "pass an existing file with --config") from error
    except UnicodeDecodeError as error:
        raise DifftoolError(Exit.USAGE, f"{path} is not UTF-8 text", "save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DifftoolError(Exit.USAGE, f"{path} is not valid TOML: {error}", "fix that line") from error
    prefix = ""
    for word in command.split():
        known = {name.removeprefix(prefix).split()[0] for name in COMMANDS if name.startswith(prefix)}
        for key, value in table.items():
            if key not in known or not isinstance(value, dict):
                message = f"{path}: no command is named {prefix}{key!r}"
                if near := nearest(key, known):
                    message += f"; did you mean [{near}]?"
                hint = "settings belong in the table of their command, such as [sample] or [voice.clone]"
                raise DifftoolError(Exit.USAGE, message, hint)
        table = table.get(word, {})
        prefix = f"{prefix}{word} "
    return table


ALLOWED: dict[object, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("text", (str, int, float)),
    Path: ("text", (str,)),
}
"""The type of an option to its name in errors and the TOML types that it accepts."""


def _checked(path: Path, key: str, value: Any, annotation: Any) -> Any:
    """A TOML value, if its type is one the option takes. Text is parsed only by options with a parser (500k)."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *options = typing.get_args(annotation)
        if isinstance(value, str) and any(getattr(option, "parser", None) for option in options):
            return value
    kinds = set(typing.get_args(annotation)) if isinstance(annotation, types.UnionType) else {annotation}
    listed = next((kind for kind in kinds if typing.get_origin(kind) in (list, tuple)), None)
    if listed is not None:
        kind, *_ = typing.get_args(listed)
        items = value if isinstance(value, list) else [value]
        return [_checked(path, key, item, kind) for item in items]
    for kind in kinds & ALLOWED.keys():
        _, types_allowed = ALLOWED[kind]
        if type(value) in types_allowed and "\0" not in str(value):
            return str(value) if kind is str else value
    expected = " or ".join(name for kind, (name, _) in ALLOWED.items() if kind in kinds)
    raise DifftoolError(Exit.USAGE, f"{path}: {key} must be {expected}, not {value!r}", "fix that line")
