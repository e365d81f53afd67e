"""Settings from files: --config, ./difftool.toml and the user's own, below the command line and the environment."""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DifftoolError, Exit, nearest
from ..files import expanded
from . import COMMANDS
from .console import Console

PROJECT = Path("difftool.toml")
Groups = Sequence[Sequence[str]]
"""Options of which a command takes one, in groups."""
RANKS = {"COMMANDLINE": 3, "ENVIRONMENT": 2, "DEFAULT_MAP": 1}
"""Where an option was said, by Typer's names of the sources; the default is nowhere."""
SAID_ONLY = ("overwrite", "originals")
"""Options by which something may be lost: a PROJECT's file, which may come from anybody, cannot say them."""


def apply(ctx: Any, command: str, named: str | None, annotations: Mapping[str, object], exclusive: Groups = ()) -> None:
    """Makes the files' tables for `command` the defaults of its options. `annotations` are its parameters' types.

    Raises DifftoolError: 4 for a file that was named and is not there, 2 for one that is no TOML or holds an unknown
    table or key, or a value of the wrong type.
    """
    single = [param for param in ctx.command.params if param.nargs != -1]
    by_key = {_plain(opt): param.name for param in single for opt in (param.name, *param.opts)}
    by_key = {key: name for key, name in by_key.items() if name in annotations}
    merged: dict[str, object] = {}
    own = None if named is None else expanded(named)
    for path in (_user(ctx.obj), PROJECT, own):
        if path is None or not (path.exists() or path == own):
            continue
        found: dict[str, object] = {}
        for key, value in _table(path, command).items():
            name = by_key.get(_plain(key))
            if name is None:
                near = nearest(_plain(key), by_key)
                what = f"{path}: [{'.'.join(command.split())}] has no key {key!r}" + (
                    f"; did you mean {near!r}?" if near else ""
                )
                raise DifftoolError(Exit.USAGE, what, f"see difftool {command} --help")
            found[name] = _checked(path, key, value, annotations[name])
        for name in SAID_ONLY:
            if path == PROJECT and found.pop(name, False):
                ctx.obj.warn(f"{path}: {name} does not count there; say --{name}")
        if found:
            ctx.obj.read.append(path)
        given = {name for name, value in found.items() if value is not False}
        overruled = {name for group in exclusive if given & set(group) for name in group}
        merged = {name: value for name, value in merged.items() if name not in overruled} | found
    ctx.default_map = merged


def said(ctx: Any, name: str) -> int:
    """Where an option was said, as in RANKS; 0 is nowhere."""
    return RANKS.get(ctx.get_parameter_source(name).name, 0)


def settle(ctx: Any, options: Mapping[str, object], exclusive: Groups = ()) -> dict[str, object]:
    """`options` in which, of those that exclude each other, only the one said nearest is left: on the command line,
    else in the environment, else in a file. Raises DifftoolError 2 where two were said in one place."""
    settled = dict(options)
    names = {param.name: param for param in ctx.command.params}
    told = {name for group in exclusive for name in group if settled.get(name) not in (None, False)}
    ranks = {name: said(ctx, name) for name in told}
    kept: list[str] = []
    for name in sorted((name for name in told if ranks[name]), key=lambda name: -ranks[name]):
        rival = next((one for one in kept if any({one, name} <= set(group) for group in exclusive)), None)
        if rival is None:
            kept.append(name)
        elif ranks[rival] > ranks[name]:
            settled[name] = names[name].default
        else:
            what = " and ".join(_name(param) for param in ctx.command.params if param.name in (name, rival))
            raise DifftoolError(Exit.USAGE, f"{what} exclude each other", "give one of them")
    return settled


def _name(param: Any) -> str:
    """A parameter as the help shows it."""
    return param.metavar if param.param_type_name == "argument" else param.opts[0]


def _user(console: Console) -> Path | None:
    """The user's own file; None where its folder belongs to somebody else, as under sudo with the HOME of another."""
    from platformdirs import user_config_dir

    path = Path(user_config_dir("difftool")) / "config.toml"
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        console.warn(f"{path} cannot be read and does not count")
        return None
    return path


def _table(path: Path, command: str) -> Mapping[str, object]:
    """The table of one command, after a look at the names of all tables."""
    try:
        if path.exists() and not path.is_file():
            raise DifftoolError(Exit.FILE, f"{path} is no file of settings", "name one with --config")
        found: Any = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DifftoolError(
            Exit.FILE, f"cannot read {path}: {error.strerror}", "name a file with --config that exists"
        ) from error
    except UnicodeDecodeError as error:
        raise DifftoolError(Exit.USAGE, f"{path} is no UTF-8 text", "save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DifftoolError(Exit.USAGE, f"{path} is not TOML: {error}", "mend that line") from error
    here = ""
    for word in command.split():
        known = {name.removeprefix(here).split()[0] for name in COMMANDS if name.startswith(here)}
        for key, value in found.items():
            if key not in known or not isinstance(value, dict):
                near = nearest(key, known)
                what = f"{path} has no table for a command named {here}{key!r}" + (
                    f"; did you mean [{near}]?" if near else ""
                )
                raise DifftoolError(
                    Exit.USAGE, what, f"write the settings of a command below [{command.replace(' ', '.')}]"
                )
        found, here = found.get(word, {}), f"{here}{word} "
    return found


def _checked(path: Path, key: str, value: Any, annotation: Any) -> Any:
    """A TOML value if it is of the kind the option takes: TOML has types of its own, so nothing is guessed from
    text, except by an option that reads text of its own, such as 500k."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *options = typing.get_args(annotation)
        if isinstance(value, str) and any(getattr(option, "parser", None) for option in options):
            return value
    kinds = set(typing.get_args(annotation)) if isinstance(annotation, types.UnionType) else {annotation}
    allowed: dict[Any, tuple[str, tuple[type, ...]]] = {
        bool: ("true or false", (bool,)),
        int: ("a whole number", (int,)),
        float: ("a number", (int, float)),
        str: ("text", (str, int, float)),
        Path: ("text", (str,)),
    }
    listed = next((kind for kind in kinds if typing.get_origin(kind) is list), None)
    if listed is not None:
        (kind,) = typing.get_args(listed)
        return [_checked(path, key, one, kind) for one in (value if isinstance(value, list) else [value])]
    for kind in kinds & allowed.keys():
        if type(value) in allowed[kind][1] and "\0" not in str(value):
            return str(value) if kind is str else value
    wanted = " or ".join(allowed[kind][0] for kind in allowed if kind in kinds)
    raise DifftoolError(Exit.USAGE, f"{path}: {key} must be {wanted}, not {value!r}", "mend that line")


def _plain(word: str) -> str:
    return word.lstrip("-").replace("-", "_")
